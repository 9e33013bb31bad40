//! Prepared statements: those that a client has named, and those that a server connection holds.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use super::admission::{Plan, StatementId};
use crate::catalog::Oid;

/// How many statements one server connection keeps prepared.
const PREPARED_MAX: usize = 200;

/// A statement that a client has prepared.
#[derive(Debug)]
pub(super) struct ClientStatement {
    /// As the client sent it: it is admitted again when the catalog or the policy has changed.
    pub(super) sql: Bytes,
    pub(super) declared_types: Vec<Oid>,
    pub(super) plan: Arc<Plan>,
}

/// The statements that a server connection holds, the longest unused one known.
#[derive(Debug, Default)]
pub struct Prepared {
    used: HashMap<StatementId, u64>,
    order: BTreeMap<u64, StatementId>,
    clock: u64,
}

impl Prepared {
    /// Whether it is there; then it counts as used.
    pub fn touch(&mut self, id: StatementId) -> bool {
        let Some(at) = self.used.get_mut(&id) else {
            return false;
        };
        self.order.remove(at);
        self.clock += 1;
        *at = self.clock;
        self.order.insert(self.clock, id);
        true
    }

    /// Adds one, and gives the one that has to go for it.
    pub fn insert(&mut self, id: StatementId) -> Option<StatementId> {
        if self.touch(id) {
            return None;
        }
        self.clock += 1;
        self.used.insert(id, self.clock);
        self.order.insert(self.clock, id);
        if self.used.len() <= PREPARED_MAX {
            return None;
        }
        let (_, oldest) = self.order.pop_first()?;
        self.used.remove(&oldest);
        Some(oldest)
    }

    /// One that was to go is there still: nothing goes for it, since nothing is sent.
    pub fn restore(&mut self, id: StatementId) {
        if !self.touch(id) {
            self.clock += 1;
            self.used.insert(id, self.clock);
            self.order.insert(self.clock, id);
        }
    }

    /// Forgets one.
    pub fn remove(&mut self, id: StatementId) {
        if let Some(at) = self.used.remove(&id) {
            self.order.remove(&at);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.used.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.used.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_error_brings_back_drives_nothing_out() {
        let mut prepared = Prepared::default();
        let ids: Vec<StatementId> = (0..201).map(StatementId::test).collect();
        let (last, first) = ids.split_last().unwrap();
        assert!(first.iter().all(|id| prepared.insert(*id).is_none()));
        // A Parse and the Close behind it, neither of which took place.
        let evicted = prepared.insert(*last).unwrap();
        prepared.restore(evicted);
        prepared.remove(*last);
        assert!(first.iter().all(|id| prepared.touch(*id)));
        assert_eq!((prepared.len(), first.len()), (PREPARED_MAX, PREPARED_MAX));
    }
}
