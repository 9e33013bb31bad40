//! Relations whose rows belong to the tenant of the row that they refer to.
//!
//! # Invariants
//! 1. The server itself sees to it that each row refers to one row of the parent, which belongs to one tenant:
//!    by a foreign key of one NOT NULL column that is checked at once and was checked for the rows that were there.
//! 2. Both columns have one type, whose equality is that of the tenant column's types.

use std::collections::BTreeSet;

use super::classified::{Class, Closed, PARENTS_MAX, Scoped, classify, unseen};
use super::column::{COLLATIONS_OWN, by_column, is_table};
use super::{Policy, TenantType};
use crate::catalog::{Catalog, ForeignKey, Generated, Relation, RelationKind, RelationName};

/// What says whose a row is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ownership {
    /// The tenant column.
    Column(String),
    /// The row that it refers to.
    Via(Box<Via>),
}

/// How a row refers to the one whose tenant is its own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Via {
    /// The referring column.
    pub column: String,
    /// Its type, and that of the key.
    pub column_type: TenantType,
    /// The relation referred to.
    pub parent: RelationName,
    /// The column referred to, which is unique.
    pub key: String,
    /// The foreign key's name.
    pub constraint: String,
    /// What says whose a row of the parent is.
    pub ownership: Ownership,
}

/// A trigger that may give the referring column another value than the statement does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ChangedReference {
    /// The trigger.
    pub trigger: String,
    /// The relation that it is on.
    pub relation: RelationName,
    /// The column.
    pub column: String,
}

/// Why a relation cannot reach its tenant through another one.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Broken {
    /// The relation leads to itself, or too far.
    Circle,
    /// The check of the foreign key can be put off to the end of a transaction.
    Deferrable,
    /// There is no such foreign key, here or in a partition or child.
    NoForeignKey,
    /// The foreign key is NOT VALID: nobody looked at the rows that were there.
    NotValid,
    /// The referring column may be NULL.
    Nullable,
    /// It has a tenant column of its own.
    OwnTenantColumn,
    /// The parent has inheritance children, whose keys may be the same as its own.
    ParentWithChildren,
    /// The parent is closed, shared, or no table.
    UnscopedParent,
    /// The type or collation of the columns is not one in which a key is one row's only, or the referring
    /// column is computed.
    UnfitKey,
}

impl Ownership {
    /// The column of the relation itself that decides whose a row is.
    pub fn deciding_column(&self) -> &str {
        match self {
            Self::Column(column) => column,
            Self::Via(via) => &via.column,
        }
    }

    /// Whether equal values in the deciding columns say that rows of two relations have one owner.
    pub fn decides_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Column(_), Self::Column(_)) => true,
            (Self::Via(one), Self::Via(other)) => {
                one.parent == other.parent && one.key == other.key
            }
            (Self::Column(_), Self::Via(_)) | (Self::Via(_), Self::Column(_)) => false,
        }
    }
}

impl Scoped {
    /// The tenant column, if the relation has one.
    pub fn tenant_column(&self) -> Option<&str> {
        match &self.ownership {
            Ownership::Column(column) => Some(column),
            Ownership::Via(_) => None,
        }
    }

    /// The column of the relation itself that decides whose a row is.
    pub fn deciding_column(&self) -> &str {
        self.ownership.deciding_column()
    }

    /// How it reaches its tenant, if through another relation.
    pub fn via(&self) -> Option<&Via> {
        match &self.ownership {
            Ownership::Column(_) => None,
            Ownership::Via(via) => Some(via),
        }
    }

    /// Whether this is the foreign key by which rows belong to tenants, or its part for a partition of the
    /// parent.
    pub(super) fn is_owned_by(&self, catalog: &Catalog, key: &ForeignKey) -> bool {
        self.via().is_some_and(|via| {
            leads(key, &via.column, (&key.references, &via.key))
                && is_part_of(catalog, &key.references, &via.parent)
        })
    }
}

/// What a relation is that refers so to its owner's row.
pub(super) fn by_parent(
    (catalog, policy): (&Catalog, &Policy),
    relation: &Relation,
    (column, parent, key): (&str, &RelationName, &str),
    depth: usize,
) -> Class {
    match owned((catalog, policy), relation, (column, parent, key), depth) {
        Ok(scoped) => Class::Scoped(scoped),
        Err(broken) => Class::Refused(Closed::Via(broken)),
    }
}

/// What a partition or child is, whose rows belong to tenants as those of the whole do.
pub(super) fn owned_so(
    (catalog, policy): (&Catalog, &Policy),
    relation: &Relation,
    ownership: &Ownership,
    depth: usize,
) -> Class {
    match ownership {
        Ownership::Column(column) => by_column(catalog, relation, column),
        Ownership::Via(via) => {
            let path = (&*via.column, &via.parent, &*via.key);
            by_parent((catalog, policy), relation, path, depth)
        }
    }
}

fn owned(
    (catalog, policy): (&Catalog, &Policy),
    relation: &Relation,
    (column, parent, key): (&str, &RelationName, &str),
    depth: usize,
) -> Result<Scoped, Broken> {
    if depth > PARENTS_MAX {
        return Err(Broken::Circle);
    }
    if !is_table(relation.kind) {
        return Err(Broken::NoForeignKey);
    }
    if relation.column(&policy.tenant_column).is_some() {
        return Err(Broken::OwnTenantColumn);
    }
    let constraint = referring(catalog, relation, (column, parent, key), depth)?;
    let found = catalog.relation(&parent.schema, &parent.name);
    let found = found.ok_or(Broken::UnscopedParent)?;
    let is_partitioned = found.kind == RelationKind::PartitionedTable;
    if !is_partitioned && catalog.children(parent).next().is_some() {
        return Err(Broken::ParentWithChildren);
    }
    if !is_table(found.kind) || unseen(catalog, policy, found, 0).is_some() {
        return Err(Broken::UnscopedParent);
    }
    let theirs = match classify(catalog, policy, found, depth + 1) {
        Class::Scoped(theirs) if theirs.not_null => theirs,
        Class::Refused(Closed::Via(Broken::Circle)) => return Err(Broken::Circle),
        Class::Scoped(_) | Class::Refused(_) | Class::Shared { .. } => {
            return Err(Broken::UnscopedParent);
        }
    };
    let (Some(own), Some(referred)) = (relation.column(column), found.column(key)) else {
        return Err(Broken::NoForeignKey);
    };
    let column_type = TenantType::of_column(own.type_oid)
        .filter(|_| own.type_oid == referred.type_oid)
        // What is computed nobody checks.
        .filter(|_| own.generated != Generated::Expression)
        .filter(|_| own.collation == referred.collation && own.collation < COLLATIONS_OWN)
        // A blank too many is cut where the value is stored, behind the check: none fits another's key then.
        .filter(|_| {
            let is_as_short = referred.typmod != -1 && referred.typmod <= own.typmod;
            own.typmod == -1 || is_as_short
        })
        .ok_or(Broken::UnfitKey)?;
    Ok(Scoped {
        ownership: Ownership::Via(Box::new(Via {
            column: column.to_owned(),
            column_type,
            parent: parent.clone(),
            key: key.to_owned(),
            constraint,
            ownership: theirs.ownership,
        })),
        column_type: theirs.column_type,
        not_null: true,
    })
}

/// The name of the foreign key; each partition and child, which is read with the relation, has one, too.
fn referring(
    catalog: &Catalog,
    relation: &Relation,
    path: (&str, &RelationName, &str),
    depth: usize,
) -> Result<String, Broken> {
    if depth > PARENTS_MAX {
        return Err(Broken::Circle);
    }
    let (column, parent, key) = path;
    let is_declared = relation.column(column).is_some_and(|own| own.not_null);
    let mut keys = relation.foreign_keys.iter();
    let found = keys.find(|it| leads(it, column, (parent, key)));
    let found = found.ok_or(Broken::NoForeignKey)?;
    if !is_declared {
        return Err(Broken::Nullable);
    }
    if found.not_valid {
        return Err(Broken::NotValid);
    }
    if found.deferrable {
        return Err(Broken::Deferrable);
    }
    for child in catalog.children(&relation.name) {
        referring(catalog, child, path, depth + 1)?;
    }
    Ok(found.name.clone())
}

/// Whether this is the relation `whole`, or a partition or child of it.
fn is_part_of(catalog: &Catalog, name: &RelationName, whole: &RelationName) -> bool {
    let mut waiting = vec![name];
    let mut seen = BTreeSet::new();
    while let Some(name) = waiting.pop() {
        if name == whole {
            return true;
        }
        if seen.insert(name) {
            let found = catalog.relation(&name.schema, &name.name);
            waiting.extend(found.into_iter().flat_map(|found| &found.parents));
        }
    }
    false
}

/// Whether a foreign key leads from this column alone to this one.
fn leads(key: &ForeignKey, column: &str, (parent, referred): (&RelationName, &str)) -> bool {
    key.references == *parent
        && matches!(key.columns.as_slice(), [own] if own == column)
        && matches!(key.referenced_columns.as_slice(), [own] if own == referred)
}
