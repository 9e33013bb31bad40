//! Which sequences a tenant may take values from. They are shared by all: gaps tell that others work.

use super::{Class, Classified, Policy, TablePolicy, Unlisted};
use crate::catalog::{Relation, RelationKind};

impl Classified {
    /// Whether `nextval` of this relation is open: the sequence of a column goes with the column's table; one
    /// of its own is open unless the policy says otherwise.
    pub fn may_advance(&self, relation: &Relation) -> bool {
        if relation.kind != RelationKind::Sequence {
            return false;
        }
        let policy: &Policy = self.policy();
        match policy.tables.get(&relation.name) {
            Some(TablePolicy::Denied) => return false,
            Some(TablePolicy::Shared { .. }) => return true,
            Some(TablePolicy::Scoped { .. } | TablePolicy::Via { .. }) | None => {}
        }
        let Some(owner) = &relation.owned_by else {
            return policy.unlisted == Unlisted::ByColumn;
        };
        let table = self.catalog().relation(&owner.schema, &owner.name);
        match table.map(|table| self.class(table)) {
            Some(Class::Scoped(_) | Class::Shared { writable: true }) => true,
            Some(Class::Refused(_) | Class::Shared { writable: false }) | None => false,
        }
    }
}
