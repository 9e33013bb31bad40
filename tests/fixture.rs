//! The isolation cases' database, as data: its catalog, its policy, and the cases themselves.

use std::collections::BTreeMap;

use tenantry::catalog::{Catalog, RelationName};
use tenantry::tenant::{Classified, Policy, TablePolicy, TrustedTrigger, Unlisted};

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
