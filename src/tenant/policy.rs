//! The policy: what the operator says each relation is.

use std::collections::BTreeMap;

use crate::catalog::RelationName;

/// What becomes of a table that the policy does not name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unlisted {
    /// A table that has the tenant column is scoped; any other is refused.
    ByColumn,
    /// Every such table is refused.
    Refuse,
}

/// What the policy says of one relation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TablePolicy {
    /// Nobody may use it.
    Denied,
    /// Its rows belong to tenants, by a column of its own.
    Scoped {
        /// The tenant column, if it is not the default one.
        column: Option<String>,
        /// Writes are allowed although a unique key lacks the tenant column.
        existence_leak: bool,
        /// A view or materialized view that is filtered by its column, not inlined.
        trusted: bool,
    },
    /// Look-up data that all tenants read.
    Shared {
        /// Whether tenants may write it.
        writable: bool,
    },
    /// Its rows belong to the tenant of the row that they refer to.
    Via {
        /// The referring column.
        column: String,
        /// The relation referred to.
        parent: RelationName,
        /// The column referred to.
        parent_column: String,
        /// Writes are allowed although a unique key lacks the referring column.
        existence_leak: bool,
    },
}

/// A trigger that was reviewed.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct TrustedTrigger {
    /// The trigger's name.
    pub name: String,
    /// The table that it is on.
    pub table: RelationName,
}

/// What each relation is, as the operator wrote it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Policy {
    /// The tenant column's name where nothing else is said.
    pub tenant_column: String,
    /// What becomes of tables that are not listed.
    pub unlisted: Unlisted,
    /// The listed relations.
    pub tables: BTreeMap<RelationName, TablePolicy>,
    /// Reviewed functions, as `schema.name(type, type)`.
    pub trusted_functions: Vec<String>,
    /// Reviewed triggers.
    pub trusted_triggers: Vec<TrustedTrigger>,
    /// Whether EXPLAIN may show estimates, which count other tenants' rows.
    pub explain_costs: bool,
}

/// Whether EXPLAIN shows estimates.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Costs {
    /// It does not.
    Hidden,
    /// It does.
    Shown,
}

impl Policy {
    /// Whether EXPLAIN shows estimates.
    pub fn costs(&self) -> Costs {
        if self.explain_costs {
            Costs::Shown
        } else {
            Costs::Hidden
        }
    }
}
