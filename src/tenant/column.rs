//! Relations whose rows are told apart by a column.

use std::collections::BTreeSet;

use super::classified::{Class, Classified, Closed, PARENTS_MAX, Scoped};
use super::{Ownership, TablePolicy, TenantType};
use crate::catalog::{Catalog, Oid, Relation, RelationKind, RelationName};

/// The first object identifier that is not the system's (PostgreSQL's `FirstNormalObjectId`). The system's
/// collations are all deterministic: texts are equal if their bytes are.
pub(super) const COLLATIONS_OWN: Oid = 16_384;

/// Whether a row may be there in which a column is NULL.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Nulls {
    /// The server lets none in.
    Never,
    /// The column is said to be NOT NULL, but what fills it is not the server.
    Unchecked,
    /// Nothing forbids it.
    Possible,
}

/// What a relation with this tenant column is. In a table the column must be NOT NULL; what the server fills
/// from elsewhere cannot promise that.
pub(super) fn by_column(catalog: &Catalog, relation: &Relation, name: &str) -> Class {
    let Some(column) = relation.column(name) else {
        return Class::Refused(Closed::NoTenantColumn);
    };
    let column_type = TenantType::of_column(column.type_oid);
    let Some(column_type) = column_type.filter(|_| column.collation < COLLATIONS_OWN) else {
        return Class::Refused(Closed::UnfitTenantColumn);
    };
    let nulls = nulls(catalog, relation, name, 0);
    if nulls == Nulls::Possible && is_table(relation.kind) {
        return Class::Refused(Closed::NullableTenantColumn);
    }
    Class::Scoped(Scoped {
        ownership: Ownership::Column(name.to_owned()),
        column_type,
        not_null: nulls == Nulls::Never,
    })
}

/// Whether its rows are kept by the server itself, as they were written.
pub(super) fn is_table(kind: RelationKind) -> bool {
    match kind {
        RelationKind::PartitionedTable | RelationKind::Table => true,
        RelationKind::CompositeType
        | RelationKind::ForeignTable
        | RelationKind::Index
        | RelationKind::MaterializedView
        | RelationKind::Sequence
        | RelationKind::View => false,
    }
}

/// A child may have dropped the NOT NULL that its parent has, and is read with it.
fn nulls(catalog: &Catalog, relation: &Relation, name: &str, depth: usize) -> Nulls {
    let is_declared = relation.column(name).is_some_and(|column| column.not_null);
    let own = match (is_declared, is_table(relation.kind)) {
        (true, true) => Nulls::Never,
        (true, false) => Nulls::Unchecked,
        (false, _) => Nulls::Possible,
    };
    if depth > PARENTS_MAX {
        return Nulls::Possible;
    }
    let children = catalog.children(&relation.name);
    let children = children.map(|child| nulls(catalog, child, name, depth + 1));
    children.fold(own, Nulls::max)
}

impl Classified {
    /// The tables that are closed because their tenant column, which is named with them, may be NULL.
    pub fn nullable_tenant_columns(&self) -> BTreeSet<(&RelationName, &str)> {
        let mut found = BTreeSet::new();
        let closed = Class::Refused(Closed::NullableTenantColumn);
        let relations = self.catalog().relations.iter();
        for relation in relations.filter(|it| *self.class_of_tables(it) == closed) {
            let column = match self.policy().tables.get(&relation.name) {
                Some(TablePolicy::Scoped {
                    column: Some(column),
                    ..
                }) => column,
                Some(_) | None => &self.policy().tenant_column,
            };
            let mut parts = vec![relation];
            while let Some(part) = parts.pop() {
                if part.column(column).is_some_and(|column| !column.not_null) {
                    found.insert((&part.name, column.as_str()));
                }
                parts.extend(self.catalog().children(&part.name));
            }
        }
        found
    }
}
