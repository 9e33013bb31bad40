//! What all clients share.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use quick_cache::sync::Cache;

use crate::net::scram::Verifiers;
use crate::registry::Registry;
use crate::session::{Admission, Numbers, Rules};
use crate::tenant::TenantId;
use crate::upstream::{Cancels, Pools};
use crate::verify::Reach;

/// How many combinations of variables have their `ParameterStatus` known.
const GREETINGS_MAX: usize = 1024;

/// What a client is told of by `ParameterStatus`, by the upstream and the variables it begins with.
type Greetings = Cache<(String, BTreeMap<String, String>), Arc<BTreeMap<String, String>>>;

/// By upstream where tables are shared, by reach where they are not.
type Admissions = HashMap<(String, Option<Reach>), Arc<Admission>>;

/// What all clients share.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) registry: Arc<Registry>,
    pub(super) pools: Pools,
    pub(super) cancels: Cancels,
    pub(super) verifiers: Verifiers,
    pub(super) numbers: Numbers,
    pub(super) greetings: Greetings,
    admissions: Mutex<Admissions>,
    connections: Mutex<HashMap<TenantId, u32>>,
}

impl Context {
    pub(super) fn new(registry: Arc<Registry>) -> Self {
        Self {
            registry,
            pools: Pools::default(),
            cancels: Cancels::default(),
            verifiers: Verifiers::new(rand::random()),
            numbers: Numbers::default(),
            greetings: Cache::new(GREETINGS_MAX),
            admissions: Mutex::default(),
            connections: Mutex::default(),
        }
    }

    /// The statements that were admitted under exactly these rules. Those with tables in common have
    /// them in common, by upstream; those who pass unrewritten, by how far their role reaches.
    pub(super) fn admission(&self, upstream: &str, rules: &Rules) -> Arc<Admission> {
        let place = match rules {
            Rules::Own(reach) => (String::new(), Some(*reach)),
            Rules::Shared(_) => (upstream.to_owned(), None),
        };
        let mut admissions = self.admissions.lock();
        match admissions.get(&place) {
            Some(admission) if admission.rules().is(rules) => Arc::clone(admission),
            Some(_) | None => {
                let admission = Arc::new(Admission::new(rules.clone(), self.numbers.clone()));
                admissions.insert(place, Arc::clone(&admission));
                admission
            }
        }
    }

    /// Counts a client of a tenant, if there may be one more.
    pub(super) fn count(
        self: &Arc<Self>,
        tenant: &TenantId,
        limit: Option<u32>,
    ) -> Option<Counted> {
        let mut connections = self.connections.lock();
        let count = connections.entry(tenant.clone()).or_default();
        if limit.is_some_and(|limit| *count >= limit) {
            return None;
        }
        *count += 1;
        Some(Counted {
            context: Arc::clone(self),
            tenant: tenant.clone(),
        })
    }
}

/// A client that is counted for its tenant.
#[derive(Debug)]
pub(super) struct Counted {
    context: Arc<Context>,
    tenant: TenantId,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut connections = self.context.connections.lock();
        if let Some(count) = connections.get_mut(&self.tenant) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                connections.remove(&self.tenant);
            }
        }
    }
}
