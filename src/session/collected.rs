//! The temporary tables in which an admin has collected rows of many tenants.
//!
//! They live in the admin's own server connection, which stays with the session from then on, and can be
//! read under the grant that they were collected under, alone or beside the shared tables that it opens.

use std::sync::Arc;

use super::admission::Admission;
use super::hatch::{Hatch, InForce};
use super::leave::Leave;
use super::{Condition, Session, Stage};
use crate::bypass::Sight;
use crate::catalog::{Column, Generated, Oid, Relation, RelationKind, RelationName, oid};
use crate::protocol::backend::TransactionStatus;
use crate::protocol::error_response::ErrorReport;
use crate::verify::TEMPORARY;

/// The tables, and what decides on statements about them.
#[derive(Debug)]
pub(super) struct Collected {
    leave: Arc<Leave>,
    tables: Vec<Relation>,
    admission: Arc<Admission>,
}

/// `default` and `C`: what the columns of a new table have.
const DEFAULT_COLLATION: Oid = 100;
const C_COLLATION: Oid = 950;

impl Hatch {
    /// What decides where tables were collected under the grant in force.
    pub(super) fn collected(&self) -> Option<&Arc<Admission>> {
        let InForce::Grant(leave, Ok(_)) = &self.in_force else {
            return None;
        };
        let collected = self.collected.as_ref()?;
        Arc::ptr_eq(&collected.leave, leave).then_some(&collected.admission)
    }

    /// The grant in force is another one, or has new rules.
    pub(super) fn follow_collected(&mut self) {
        let InForce::Grant(leave, _) = &self.in_force else {
            return;
        };
        let Some(collected) = self.collected.take() else {
            return;
        };
        let is_same = Arc::ptr_eq(&collected.leave, leave);
        self.collected = if is_same || !leave.continues(&collected.leave) {
            Some(collected)
        } else {
            leave.over(&collected.tables).map(|admission| Collected {
                leave: Arc::clone(leave),
                tables: collected.tables,
                admission,
            })
        };
    }

    /// What was collected under a grant that has ended is not shown again.
    pub(super) fn forget_collected(&mut self, leave: &Leave) {
        if let Some(collected) = &self.collected
            && collected.leave.grant.name == leave.grant.name
        {
            self.collected = None;
        }
    }

    /// Whether rows can be collected under this name now.
    pub(super) fn may_collect(&self, table: &str) -> Result<(), ErrorReport> {
        let Some(leave) = self.leave() else {
            return Err(super::hatch::without_grant());
        };
        if leave.grant.sight == Sight::AsTenant {
            return Err(ErrorReport::error(
                "0A000",
                "a grant that shows one tenant at a time collects nothing",
            ));
        }
        if self.transaction() != TransactionStatus::Idle {
            let message = "rows of many tenants are collected outside of a transaction block only";
            return Err(ErrorReport::error("25001", message));
        }
        let Some(classified) = leave.classified() else {
            return Err(ErrorReport::error(
                "57P03",
                "what the tables of the upstream look like is not known yet",
            ));
        };
        // A temporary table or its row type would be found before any other.
        let catalog = classified.catalog();
        let of_system = ["pg_catalog", "information_schema"].iter().any(|schema| {
            catalog
                .system_relations
                .contains(&format!("{schema}.{table}"))
        });
        let is_taken = of_system
            || catalog
                .relations
                .iter()
                .any(|known| known.name.name == table)
            || catalog.types.iter().any(|known| known.name == table);
        if is_taken {
            let message = format!("a temporary table \"{table}\" would hide what bears that name");
            return Err(ErrorReport::error("42P07", message).with_hint("Choose another name."));
        }
        Ok(())
    }
}

impl Session {
    /// The server connection holds a temporary table with these columns: their names, and their types by
    /// number.
    pub fn collected(&mut self, table: &str, columns: &[(String, Oid)]) {
        let (Some(hatch), Some(server)) = (&mut self.hatch, &mut self.server) else {
            return;
        };
        server.stage = Stage::Pinned;
        server.condition = Condition::Broken;
        let Some(leave) = hatch.leave().cloned() else {
            return;
        };
        let before = hatch
            .collected
            .take()
            .filter(|collected| Arc::ptr_eq(&collected.leave, &leave));
        let mut tables = before.map(|before| before.tables).unwrap_or_default();
        // One of that name has gone with DISCARD TEMP: the server would not have made another.
        tables.retain(|known| known.name.name != table);
        tables.push(relation(table, columns));
        hatch.collected = leave.over(&tables).map(|admission| Collected {
            leave,
            tables,
            admission,
        });
    }
}

fn relation(table: &str, columns: &[(String, Oid)]) -> Relation {
    let column = |(number, (name, type_oid)): (i16, &(String, Oid))| Column {
        name: name.clone(),
        number,
        type_oid: *type_oid,
        typmod: -1,
        collation: match *type_oid {
            oid::TEXT | oid::VARCHAR | oid::BPCHAR => DEFAULT_COLLATION,
            oid::NAME => C_COLLATION,
            _ => 0,
        },
        not_null: false,
        default: None,
        generated: Generated::No,
    };
    Relation {
        oid: 0,
        name: RelationName::new(TEMPORARY, table),
        kind: RelationKind::Table,
        columns: (1..).zip(columns).map(column).collect(),
        keys: Vec::new(),
        foreign_keys: Vec::new(),
        triggers: Vec::new(),
        code: Vec::new(),
        read_code: Vec::new(),
        indexed: Vec::new(),
        row_security: false,
        has_rules: false,
        parents: Vec::new(),
        view: None,
        owned_by: None,
        row_type: 0,
        extension: None,
    }
}
