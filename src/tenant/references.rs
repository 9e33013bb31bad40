//! What foreign key checks tell: a check sees every row, whoever it belongs to.
//!
//! A key between tenants' tables tells nothing if it pairs their tenant columns: then the rows that it
//! compares are of one tenant. One that does not tells by 23503, or by its absence, that a row of
//! another tenant exists, and locks that row.

use std::collections::BTreeSet;

use super::classified::{Class, Classified, WriteHazard};
use super::{Scoped, TablePolicy, Verb};
use crate::catalog::{ForeignKey, ForeignKeyAction, Generated, Relation, RelationName};

/// A foreign key whose check tells of other tenants' rows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TellingCheck {
    /// The constraint.
    pub constraint: String,
    /// The relation that it is on.
    pub relation: RelationName,
    /// What to do about it.
    pub remedy: String,
}

/// A write whose checks are yet to be looked at.
struct Waiting<'a> {
    relation: &'a Relation,
    verb: Verb,
    /// What an UPDATE sets.
    columns: BTreeSet<&'a str>,
}

impl Classified {
    /// The foreign keys whose checks would tell of other tenants' rows: those of the relation, those that
    /// refer to it, and of what cascades from it.
    pub(super) fn telling_checks<'a>(
        &'a self,
        relation: &'a Relation,
        verb: Verb,
        columns: &BTreeSet<&'a str>,
    ) -> Vec<WriteHazard> {
        let mut hazards = Vec::new();
        if self.owns_all_rows() {
            return hazards;
        }
        let mut waiting = vec![Waiting {
            relation,
            verb,
            columns: columns.clone(),
        }];
        let mut seen = BTreeSet::new();
        while let Some(write) = waiting.pop() {
            let verb = write.verb;
            if !seen.insert((&write.relation.name, verb, write.columns.clone())) {
                continue;
            }
            for child in self.catalog().children(&write.relation.name) {
                let columns = write.columns.clone();
                waiting.push(Waiting {
                    relation: child,
                    verb,
                    columns,
                });
            }
            for key in &write.relation.foreign_keys {
                if write.refers_anew(key) && !self.refers_to_own(write.relation, key) {
                    hazards.push(self.telling_check(write.relation, key));
                }
            }
            for (referring, key) in self.catalog().referring(&write.relation.name) {
                if !write.leaves(key) {
                    continue;
                }
                if !self.is_referred_to_by_own(write.relation, referring, key) {
                    hazards.push(self.telling_check(referring, key));
                }
                waiting.extend(cascaded(referring, key, verb));
                // A row that moves to another partition is deleted in the one, before version 15.
                if verb == Verb::Update {
                    waiting.extend(cascaded(referring, key, Verb::Delete));
                }
            }
        }
        hazards
    }

    /// Whether the rows that this key can refer to are the tenant's own, or everybody's.
    fn refers_to_own(&self, relation: &Relation, key: &ForeignKey) -> bool {
        let parent = self.class_named(&key.references);
        match self.class_of_tables(relation) {
            Class::Scoped(own) => {
                let decides = |column: &String| column == own.deciding_column();
                let is_tenant = own.via().is_none() && key.columns.iter().all(decides);
                is_tenant
                    // What is put into the referring column is checked by the statement itself.
                    || own.is_owned_by(self.catalog(), key)
                    || self.accepts_existence_leak(relation)
                    || match parent {
                        Some(Class::Scoped(theirs)) => pairs(key, own, theirs),
                        Some(Class::Shared { .. }) => true,
                        Some(Class::Refused(_)) | None => false,
                    }
            }
            Class::Shared { .. } => matches!(parent, Some(Class::Shared { .. })),
            Class::Refused(_) => false,
        }
    }

    /// Whether the rows that refer to the tenant's own by this key are its own, or everybody's.
    fn is_referred_to_by_own(
        &self,
        relation: &Relation,
        referring: &Relation,
        key: &ForeignKey,
    ) -> bool {
        match (
            self.class_of_tables(relation),
            self.class_of_tables(referring),
        ) {
            (_, Class::Shared { .. }) => true,
            (Class::Scoped(own), Class::Scoped(theirs)) => {
                pairs(key, theirs, own)
                    || theirs.is_owned_by(self.catalog(), key)
                    || self.accepts_existence_leak(referring)
            }
            // Nothing is known of its rows but that they say whose row they refer to.
            (Class::Scoped(own), Class::Refused(_)) => {
                let mut referenced = key.referenced_columns.iter();
                referenced.any(|column| column == own.deciding_column())
            }
            (Class::Shared { .. } | Class::Refused(_), Class::Scoped(_)) => {
                self.accepts_existence_leak(referring)
            }
            (Class::Shared { .. } | Class::Refused(_), Class::Refused(_)) => false,
        }
    }

    /// Whether the policy accepts that constraints of this relation, or of what it is a part of, tell of
    /// other tenants' rows.
    pub(super) fn accepts_existence_leak(&self, relation: &Relation) -> bool {
        let mut waiting = vec![&relation.name];
        let mut seen = BTreeSet::new();
        while let Some(name) = waiting.pop() {
            if !seen.insert(name) {
                continue;
            }
            if let Some(
                TablePolicy::Scoped {
                    existence_leak: true,
                    ..
                }
                | TablePolicy::Via {
                    existence_leak: true,
                    ..
                },
            ) = self.policy().tables.get(name)
            {
                return true;
            }
            let found = self.catalog().relation(&name.schema, &name.name);
            waiting.extend(found.into_iter().flat_map(|found| &found.parents));
        }
        false
    }

    fn class_named(&self, name: &RelationName) -> Option<&Class> {
        let relation = self.catalog().relation(&name.schema, &name.name)?;
        Some(self.class_of_tables(relation))
    }

    fn telling_check(&self, relation: &Relation, key: &ForeignKey) -> WriteHazard {
        let remedy = match (
            self.class_of_tables(relation),
            self.class_named(&key.references),
        ) {
            (Class::Scoped(own), Some(Class::Scoped(theirs)))
                if own.ownership.decides_as(&theirs.ownership) =>
            {
                paired_key(relation, key, (own, theirs))
            }
            (_, Some(Class::Shared { .. }) | None) => {
                format!("{} is everybody's.", key.references)
            }
            (_, Some(Class::Scoped(_))) => format!("{} is tenants'.", key.references),
            (_, Some(Class::Refused(_))) => format!(
                "say what {parent} is in policy.toml: [tables.\"{parent}\"] kind = \"shared\".",
                parent = key.references
            ),
        };
        WriteHazard::ForeignKeyCheck(Box::new(TellingCheck {
            constraint: key.name.clone(),
            relation: relation.name.clone(),
            remedy,
        }))
    }
}

impl Waiting<'_> {
    /// Whether the key of a row is checked: it is new, or may have changed.
    fn refers_anew(&self, key: &ForeignKey) -> bool {
        match self.verb {
            Verb::Insert => true,
            Verb::Update => self.changes(&key.columns),
            Verb::Delete | Verb::Select => false,
        }
    }

    /// Whether rows that refer to a row are looked for: it goes, or its key may have changed.
    fn leaves(&self, key: &ForeignKey) -> bool {
        match self.verb {
            Verb::Delete => true,
            Verb::Update => self.changes(&key.referenced_columns),
            Verb::Insert | Verb::Select => false,
        }
    }

    /// Whether an UPDATE may change one of these columns; what is computed from others may change.
    fn changes(&self, columns: &[String]) -> bool {
        columns.iter().any(|name| {
            let computed = |column: &crate::catalog::Column| match column.generated {
                Generated::Expression => true,
                Generated::IdentityAlways | Generated::IdentityByDefault | Generated::No => false,
            };
            self.columns.contains(name.as_str()) || self.relation.column(name).is_none_or(computed)
        })
    }
}

/// What a write to the relation referred to sets off on the referring one.
fn cascaded<'a>(referring: &'a Relation, key: &'a ForeignKey, verb: Verb) -> Option<Waiting<'a>> {
    let (action, set) = match verb {
        Verb::Delete if !key.on_delete_sets.is_empty() => (key.on_delete, &key.on_delete_sets),
        Verb::Delete => (key.on_delete, &key.columns),
        Verb::Update => (key.on_update, &key.columns),
        Verb::Insert | Verb::Select => return None,
    };
    let verb = match action {
        ForeignKeyAction::Cascade => verb,
        ForeignKeyAction::SetDefault | ForeignKeyAction::SetNull => Verb::Update,
        ForeignKeyAction::NoAction | ForeignKeyAction::Restrict => return None,
    };
    let columns = match verb {
        Verb::Update => set.iter().map(String::as_str).collect(),
        Verb::Delete | Verb::Insert | Verb::Select => BTreeSet::new(),
    };
    Some(Waiting {
        relation: referring,
        verb,
        columns,
    })
}

/// Whether a key pairs the columns of both sides that decide whose a row is.
pub(super) fn pairs(key: &ForeignKey, own: &Scoped, theirs: &Scoped) -> bool {
    key.columns
        .iter()
        .zip(&key.referenced_columns)
        .any(|(column, referenced)| {
            column == own.deciding_column() && referenced == theirs.deciding_column()
        })
        && own.ownership.decides_as(&theirs.ownership)
}

/// The commands that make a key pair the tenant columns.
fn paired_key(relation: &Relation, key: &ForeignKey, (own, theirs): (&Scoped, &Scoped)) -> String {
    let list = |tenant: &str, columns: &[String]| {
        let others = columns.iter().filter(|column| *column != tenant);
        let all: Vec<String> = std::iter::once(quoted(tenant))
            .chain(others.map(|column| quoted(column)))
            .collect();
        all.join(", ")
    };
    let name = |relation: &RelationName| {
        format!("{}.{}", quoted(&relation.schema), quoted(&relation.name))
    };
    let referenced = list(theirs.deciding_column(), &key.referenced_columns);
    format!(
        "pair the tenant columns: ALTER TABLE {parent} ADD UNIQUE ({referenced}); ALTER TABLE {child} \
         DROP CONSTRAINT {constraint}, ADD CONSTRAINT {constraint} FOREIGN KEY ({columns}) REFERENCES \
         {parent} ({referenced}).",
        parent = name(&key.references),
        child = name(&relation.name),
        constraint = quoted(&key.name),
        columns = list(own.deciding_column(), &key.columns),
    )
}

/// A name as a person would write it.
fn quoted(name: &str) -> String {
    let is_plain = name
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if is_plain && !name.starts_with(|c: char| c.is_ascii_digit()) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}
