//! What all clients share.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quick_cache::sync::Cache;
use tokio::sync::Semaphore;

use super::hatch::admin_rules;
use crate::audit::{AuditSettings, AuditSink, wall_clock};
use crate::config::{Audit, Upstream};
use crate::net::scram::Verifiers;
use crate::registry::{Registry, Snapshot};
use crate::session::{AdminRules, Admission, Numbers, Pins, Rules};
use crate::tenant::{Classified, TenantId};
use crate::upstream::{Cancels, IntrospectError, Pools, introspect};
use crate::verify::Reach;

/// How many combinations of variables have their `ParameterStatus` known.
const GREETINGS_MAX: usize = 1024;

/// What a client is told of by `ParameterStatus`, by the upstream and the variables it begins with.
type Greetings = Cache<(String, BTreeMap<String, String>), Arc<BTreeMap<String, String>>>;

/// By upstream where tables are shared, by reach where they are not.
type Admissions = HashMap<(String, Option<Reach>), Arc<Admission>>;

/// By upstream and database, with the version of the snapshot.
type Databases = HashMap<(String, String), (u64, Arc<Classified>)>;

/// What all clients share.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) registry: Arc<Registry>,
    pub(super) pools: Pools,
    pub(super) cancels: Cancels,
    pub(super) verifiers: Verifiers,
    pub(super) numbers: Numbers,
    pub(super) greetings: Greetings,
    /// The audit log, if there is one.
    pub(super) audit: Option<AuditSink>,
    /// By upstream: what admins may do there, and in which version of the snapshot.
    admin_rules: Mutex<HashMap<String, (u64, AdminRules)>>,
    /// By upstream and database: what databases of tenants look like, and in which version.
    databases: Mutex<Databases>,
    admissions: Mutex<Admissions>,
    connections: Mutex<HashMap<TenantId, u32>>,
    /// For tenants with such a limit: the limit, and leave to use a server connection.
    turns: Mutex<HashMap<TenantId, (u32, Arc<Semaphore>)>>,
    /// The same for keeping one.
    pins: Mutex<HashMap<TenantId, Arc<Pins>>>,
}

impl Context {
    pub(super) fn new(registry: Arc<Registry>) -> Self {
        let audit = open_audit(registry.snapshot().config().audit.as_ref());
        Self {
            registry,
            audit,
            admin_rules: Mutex::default(),
            databases: Mutex::default(),
            pools: Pools::default(),
            cancels: Cancels::default(),
            verifiers: Verifiers::new(rand::random()),
            numbers: Numbers::default(),
            greetings: Cache::new(GREETINGS_MAX),
            admissions: Mutex::default(),
            connections: Mutex::default(),
            turns: Mutex::default(),
            pins: Mutex::default(),
        }
    }

    /// The statements that were admitted under exactly these rules. Those with tables in common have
    /// them in common, by upstream; those who pass unrewritten, by how far their role reaches.
    pub(super) fn admission(&self, upstream: &str, rules: &Rules) -> Arc<Admission> {
        let place = match rules {
            Rules::Own(reach) => (String::new(), Some(*reach)),
            Rules::Bypass(_) | Rules::Closed(_) | Rules::Shared(_) => (upstream.to_owned(), None),
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

    /// What admins may do on an upstream.
    pub(super) fn admin_rules(&self, snapshot: &Snapshot, upstream: &str) -> AdminRules {
        let mut known = self.admin_rules.lock();
        match known.get(upstream) {
            Some((version, rules)) if *version == snapshot.version() => rules.clone(),
            Some(_) | None => {
                let rules = admin_rules(snapshot, upstream, &self.numbers);
                known.insert(upstream.to_owned(), (snapshot.version(), rules.clone()));
                rules
            }
        }
    }

    /// What the database of a tenant looks like. It is asked when it is first needed, and again after each
    /// change of the files.
    pub(super) async fn classified_of(
        &self,
        database: &Upstream,
    ) -> Result<Arc<Classified>, IntrospectError> {
        let snapshot = self.registry.snapshot();
        let place = (database.name.clone(), database.database.clone());
        let known = self.databases.lock().get(&place).cloned();
        if let Some((version, classified)) = known
            && version == snapshot.version()
        {
            return Ok(classified);
        }
        let policy = snapshot.config().policy.clone();
        let classified = Arc::new(Classified::new(introspect(database).await?, policy));
        let entry = (snapshot.version(), Arc::clone(&classified));
        self.databases.lock().insert(place, entry);
        Ok(classified)
    }

    /// The queue of a tenant that may use so many server connections at once. Who holds one when the limit
    /// changes is counted under the old one until it is given back.
    pub(super) fn turns(&self, tenant: &TenantId, limit: u32) -> Arc<Semaphore> {
        let mut turns = self.turns.lock();
        if let Some((known, queue)) = turns.get(tenant)
            && *known == limit
        {
            return Arc::clone(queue);
        }
        let permits = usize::try_from(limit).unwrap_or(Semaphore::MAX_PERMITS);
        let queue = Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        turns.insert(tenant.clone(), (limit, Arc::clone(&queue)));
        queue
    }

    /// What counts the server connections that sessions of a tenant keep, if it may not keep more than so many.
    pub(super) fn pins(&self, tenant: &TenantId, limit: u32) -> Arc<Pins> {
        let mut pins = self.pins.lock();
        let known = pins.get(tenant).filter(|known| known.limit() == limit);
        let found = known.map_or_else(|| Pins::new(limit), Arc::clone);
        pins.insert(tenant.clone(), Arc::clone(&found));
        found
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

/// How long after a failure the audit log is tried again.
const AUDIT_RETRY: Duration = Duration::from_secs(1);

fn open_audit(settings: Option<&Audit>) -> Option<AuditSink> {
    let Audit { file, rotate_bytes } = settings?;
    let opened = AuditSink::open(AuditSettings {
        file: file.clone(),
        rotate_bytes: *rotate_bytes,
        clock: wall_clock,
        retry_after: AUDIT_RETRY,
    });
    match opened {
        Ok(sink) => Some(sink),
        Err(error) => {
            tracing::error!(%error, "there is no audit log: admins can take no grant");
            None
        }
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
