//! Scopes of grants over the fixture's tables.

use tenantry::catalog::RelationName;
use tenantry::tenant::{Counted, Rows, Scope, TableSet, Verb};

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
        counted: Counted::No,
    }
}
