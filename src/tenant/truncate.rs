//! Why a table must not be emptied by DELETE in place of TRUNCATE.

use std::collections::BTreeSet;

use super::{Classified, WriteHazard};
use crate::catalog::{Relation, RelationName};

/// Why TRUNCATE cannot be DELETE.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TruncateHazard {
    /// A table that is not among the emptied ones refers to one of them: PostgreSQL refuses that, and
    /// DELETE would reach it.
    Referenced,
    /// What runs at a DELETE does not run at a TRUNCATE, or the other way round.
    Unseen(WriteHazard),
}

impl Classified {
    /// Why these tables cannot be emptied, each with or without its partitions and children.
    pub fn truncate_hazard(&self, tables: &[(&Relation, WithChildren)]) -> Option<TruncateHazard> {
        let mut waiting: Vec<&Relation> = tables.iter().map(|(table, _)| *table).collect();
        let alone: BTreeSet<&RelationName> = tables
            .iter()
            .filter(|(_, children)| *children == WithChildren::No)
            .map(|(table, _)| &table.name)
            .collect();
        let mut emptied: BTreeSet<&RelationName> = BTreeSet::new();
        let mut all = Vec::new();
        while let Some(table) = waiting.pop() {
            if !emptied.insert(&table.name) {
                continue;
            }
            all.push(table);
            if !alone.contains(&table.name) {
                waiting.extend(self.catalog().children(&table.name));
            }
        }
        let referenced = all.iter().any(|table| {
            let mut referring = self.catalog().referring(&table.name);
            referring.any(|(from, _)| !emptied.contains(&from.name))
        });
        if referenced {
            return Some(TruncateHazard::Referenced);
        }
        all.iter().find_map(|table| unseen(table))
    }
}

/// Whether a table's partitions and children are emptied with it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WithChildren {
    /// `ONLY`
    No,
    /// Without it.
    Yes,
}

fn unseen(table: &Relation) -> Option<TruncateHazard> {
    let relation = || table.name.clone();
    if table.has_rules {
        let relation = relation();
        return Some(TruncateHazard::Unseen(WriteHazard::Rule { relation }));
    }
    let mut triggers = table.triggers.iter();
    let found = triggers.find(|trigger| trigger.events.contains(['D', 'T']))?;
    Some(TruncateHazard::Unseen(WriteHazard::Trigger {
        trigger: found.name.clone(),
        relation: relation(),
    }))
}
