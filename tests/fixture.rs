//! The isolation cases' database, as data: its catalog, its policy, and the cases themselves.

use std::collections::BTreeMap;

use tenantry::catalog::{Catalog, RelationName};
use tenantry::tenant::{
    Classified, Policy, Rows, Scope, TablePolicy, TableSet, TrustedTrigger, Unlisted, Verb,
};

/// The policy that the cases expect.
pub fn policy() -> Policy {
    let trigger = |name: &str, table: &str| TrustedTrigger {
        name: name.to_owned(),
        table: RelationName::new("public", table),
    };
    Policy {
        tenant_column: "tenant_id".to_owned(),
        unlisted: Unlisted::ByColumn,
        tables: BTreeMap::from([(
            RelationName::new("public", "countries"),
            TablePolicy::Shared { writable: false },
        )]),
        trusted_functions: vec![
            "public.fmt_money(numeric)".to_owned(),
            "public.cust_label(public.customers)".to_owned(),
        ],
        trusted_triggers: vec![
            trigger("orders_audit", "orders"),
            trigger("customers_touch", "customers"),
        ],
        explain_costs: false,
    }
}

/// The shared database's catalog under that policy.
pub fn classified() -> Classified {
    // Part of the program, since fuzz targets are programs of another package.
    let file = include_bytes!("cases/catalog.json");
    let catalog: Catalog = serde_json::from_slice(file).expect("a catalog");
    Classified::new(catalog, policy())
}

/// The scope of a grant over tables of `public` with these verbs; without them, over everything.
pub fn scope(rows: Rows, tables: Option<&[String]>, verbs: Option<&[String]>) -> Scope {
    let named = |tables: &[String]| {
        let tables = tables.iter().map(|name| RelationName::new("public", name));
        TableSet::Listed(tables.collect())
    };
    let all = ["delete", "insert", "select", "update"].map(str::to_owned);
    Scope {
        grant: "inc-1".to_owned(),
        rows,
        tables: tables.map_or(TableSet::All, named),
        verbs: verbs
            .unwrap_or(&all)
            .iter()
            .map(|verb| Verb::parse(verb).expect("a verb"))
            .collect(),
    }
}
