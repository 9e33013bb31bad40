//! What an admin's statement is confined to: whose rows, which tables, which verbs.

use std::collections::BTreeSet;
use std::fmt;

use super::TenantKey;
use crate::catalog::RelationName;

/// What may be done to a table, as PostgreSQL's privileges name it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Verb {
    /// `DELETE`
    Delete,
    /// `INSERT`, and the rows that it adds.
    Insert,
    /// Anything that reads a column.
    Select,
    /// `UPDATE`, `ON CONFLICT DO UPDATE`, and the locks of `FOR UPDATE` and its kin.
    Update,
}

impl Verb {
    /// The verb that a grant's file calls so.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "delete" => Some(Self::Delete),
            "insert" => Some(Self::Insert),
            "select" => Some(Self::Select),
            "update" => Some(Self::Update),
            _ => None,
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Delete => "delete",
            Self::Insert => "insert",
            Self::Select => "select",
            Self::Update => "update",
        })
    }
}

/// A set of tables.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum TableSet {
    /// `"*"`: every table that the policy opens.
    All,
    /// These; what is not open otherwise does not become open by being listed.
    Listed(BTreeSet<RelationName>),
}

impl TableSet {
    /// Whether the relation is one of them.
    pub fn contains(&self, relation: &RelationName) -> bool {
        match self {
            Self::All => true,
            Self::Listed(relations) => relations.contains(relation),
        }
    }
}

/// Whose rows.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Rows {
    /// All rows of a database that belongs to one tenant: no row is told from another.
    All,
    /// One tenant's, as that tenant sees them: the tenant column is hidden.
    AsTenant(TenantKey),
    /// Those of these tenants; the tenant column is visible.
    Of(BTreeSet<TenantKey>),
}

/// Whether the rows that a statement gives or changes are counted against a limit.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Counted {
    /// They are not.
    No,
    /// They are: the command tag must count every row that the statement changes.
    Yes,
}

/// What an admin's statement is confined to. It is part of what is proved of the statement.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Scope {
    /// The name of the grant that it was taken from.
    pub grant: String,
    /// Whose rows.
    pub rows: Rows,
    /// Which tables.
    pub tables: TableSet,
    /// What may be done to them.
    pub verbs: BTreeSet<Verb>,
    /// Whether the rows of each statement are counted.
    pub counted: Counted,
}

impl Scope {
    /// Whether nothing can be written under it, so that the transaction can be read-only, too.
    pub fn is_read_only(&self) -> bool {
        self.verbs.iter().all(|verb| *verb == Verb::Select)
    }
}
