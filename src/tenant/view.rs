//! What a view is to a tenant: its definition, unless the policy says that its rows are told apart by a column.

use super::classified::{Class, Classified, Closed};
use super::column::by_column;
use super::{Policy, TablePolicy};
use crate::catalog::{Catalog, Relation};

impl Classified {
    /// The name of the tenant column that a view may show.
    pub(super) fn tenant_column_of_view(&self, view: &Relation) -> &str {
        match self.policy().tables.get(&view.name) {
            Some(TablePolicy::Scoped {
                column: Some(column),
                ..
            }) => column,
            Some(_) | None => &self.policy().tenant_column,
        }
    }

    /// The definition that takes the place of a view where it is read; none if the relation is closed, or no
    /// view, or filtered by its column.
    pub fn definition<'a>(&self, relation: &'a Relation) -> Option<&'a str> {
        match self.class(relation) {
            Class::Refused(Closed::View) => {
                let view = relation.view.as_ref();
                view.map(|view| view.definition.as_str())
            }
            Class::Refused(_) | Class::Scoped(_) | Class::Shared { .. } => None,
        }
    }
}

/// A view is filtered by its column only if the policy says that it was reviewed.
pub(super) fn of_view(catalog: &Catalog, policy: &Policy, relation: &Relation) -> Class {
    match policy.tables.get(&relation.name) {
        Some(TablePolicy::Scoped {
            column,
            trusted: true,
            ..
        }) => {
            let column = column.as_ref().unwrap_or(&policy.tenant_column);
            by_column(catalog, relation, column)
        }
        Some(TablePolicy::Denied) => Class::Refused(Closed::Denied),
        Some(
            TablePolicy::Scoped { trusted: false, .. }
            | TablePolicy::Shared { .. }
            | TablePolicy::Via { .. },
        )
        | None => Class::Refused(Closed::View),
    }
}
