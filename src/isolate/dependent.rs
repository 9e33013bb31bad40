//! Columns that a primary key determines: GROUP BY the key lets them be selected.
//!
//! The server knows that of a table, but not of a fence around it. So they join the grouping there, which
//! changes no group.

use crate::catalog::{Catalog, Oid, Relation, RelationKind, TypeKind};

/// Types of `pg_catalog` without an equality to group by.
const NOT_GROUPED: [&str; 9] = [
    "box", "circle", "json", "jsonpath", "line", "lseg", "path", "point", "polygon",
];

/// The columns of a fenced table, by the names that it shows.
pub(super) struct Fenced<'a> {
    /// What the fence is called.
    pub(super) alias: String,
    /// The table.
    pub(super) relation: &'a Relation,
    /// Its columns in order, each with the name that it goes by.
    columns: Vec<(&'a str, Oid, String)>,
}

impl<'a> Fenced<'a> {
    /// These columns of a table, behind an alias that may rename the first of them; none if its primary
    /// key does not tell its rows apart. Children have rows of their own.
    pub(super) fn new(
        catalog: &Catalog,
        relation: &'a Relation,
        visible: &[&'a crate::catalog::Column],
        (alias, names): (String, &[String]),
    ) -> Option<Self> {
        let is_whole = relation.kind == RelationKind::PartitionedTable
            || catalog.children(&relation.name).next().is_none();
        let columns = visible.iter().enumerate().map(|(at, column)| {
            let shown = names.get(at).unwrap_or(&column.name);
            (column.name.as_str(), column.type_oid, shown.clone())
        });
        is_whole.then(|| Self {
            alias,
            relation,
            columns: columns.collect(),
        })
    }

    /// The columns that are to join the grouping: those that are used and not grouped by, if the key is.
    pub(super) fn dependent(
        &self,
        catalog: &Catalog,
        tenant_column: Option<&str>,
        grouped: impl Fn(&str) -> bool,
        used: impl Fn(&str) -> bool,
    ) -> Vec<&str> {
        let key = self.relation.primary_key();
        let key = key.map_or(&[][..], |key| key.columns.as_slice());
        let is_tenant = |name: &&String| tenant_column == Some(name.as_str());
        let own: Vec<&String> = key.iter().filter(|name| !is_tenant(name)).collect();
        let shown = |name: &str| {
            let mut columns = self.columns.iter();
            columns.find(|(column, _, _)| *column == name)
        };
        let is_grouped = |name: &&String| shown(name).is_some_and(|(_, _, name)| grouped(name));
        if own.is_empty() || !own.iter().all(is_grouped) {
            return Vec::new();
        }
        let joins = |(_, type_oid, name): &&(&str, Oid, String)| {
            used(name) && !grouped(name) && has_equality(catalog, *type_oid)
        };
        let joining = self.columns.iter().filter(joins);
        joining.map(|(_, _, name)| name.as_str()).collect()
    }
}

fn has_equality(catalog: &Catalog, type_oid: Oid) -> bool {
    let Some(found) = catalog.type_by_oid(type_oid) else {
        return false;
    };
    match found.kind {
        TypeKind::Array(element) => has_equality(catalog, element),
        TypeKind::Domain(under) => has_equality(catalog, under),
        TypeKind::Base => {
            found.schema != "pg_catalog" || !NOT_GROUPED.contains(&found.name.as_str())
        }
        TypeKind::Composite
        | TypeKind::Enum
        | TypeKind::Multirange
        | TypeKind::Pseudo
        | TypeKind::Range => true,
    }
}
