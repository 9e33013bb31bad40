//! What an admin's session needs of the outside: the rules that the grants make, and the log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::audit::{AuditSink, wall_clock};
use crate::bypass::{
    AdminSession, AuditRecord, GrantEnd, Names, RecordedGrant, RecordedScope, Timestamp, shape,
};
use crate::catalog::Catalog;
use crate::config::{Audit, Isolation};
use crate::protocol::error_response::ErrorReport;
use crate::registry::{Registry, SharedTables, Snapshot};
use crate::session::{
    AdminRules, Admission, HatchEvent, Intent, Leave, Numbers, Progress, Refused, Rules, Session,
    Tenants, Touches,
};
use crate::tenant::{Classified, Policy, TableSet, TenantId, TenantSet};

/// What time it is, since 1970-01-01 00:00 UTC.
pub(super) fn now() -> Duration {
    let microseconds = wall_clock().microseconds();
    Duration::from_micros(u64::try_from(microseconds).unwrap_or_default())
}

/// What an admin may do on an upstream, by this state of the files and databases.
pub(super) fn admin_rules(snapshot: &Snapshot, upstream: &str, numbers: &Numbers) -> AdminRules {
    let classified = match snapshot.shared().get(upstream) {
        Some(SharedTables::Ready(classified)) => Some(classified),
        Some(SharedTables::Down { .. }) | None => None,
    };
    let mut tenants = Tenants::default();
    for tenant in snapshot.config().tenants.values() {
        match &tenant.isolation {
            Isolation::Database { .. } => {
                tenants.databases.insert(tenant.id.clone());
            }
            Isolation::Shared { upstream: own, key } if own == upstream => {
                tenants.shared.insert(tenant.id.clone(), key.clone());
            }
            Isolation::Shared { .. } => {}
        }
    }
    let closed = Rules::Closed(Arc::new(without_relations(snapshot, classified)));
    let closed = Arc::new(Admission::new(closed, numbers.clone()));
    let leave = |grant: &crate::bypass::Grant| {
        Arc::new(Leave::new(
            Arc::new(grant.clone()),
            classified.cloned(),
            &tenants,
            (Arc::clone(&closed), numbers.clone()),
        ))
    };
    AdminRules {
        closed: Arc::clone(&closed),
        leaves: snapshot
            .config()
            .grants
            .iter()
            .map(|(name, grant)| (name.clone(), leave(grant)))
            .collect(),
    }
}

/// The same database with nothing in it.
fn without_relations(snapshot: &Snapshot, classified: Option<&Arc<Classified>>) -> Classified {
    let catalog = match classified {
        // Nor are there functions of the application: they read relations.
        Some(classified) => Catalog {
            relations: Vec::new(),
            functions: Vec::new(),
            operators: Vec::new(),
            ..classified.catalog().clone()
        },
        None => Catalog {
            server_version: 0,
            search_path: Vec::new(),
            relations: Vec::new(),
            types: Vec::new(),
            functions: Vec::new(),
            operators: Vec::new(),
            system_functions: std::collections::BTreeSet::new(),
            system_relations: std::collections::BTreeSet::new(),
        },
    };
    let policy = Policy {
        trusted_functions: Vec::new(),
        ..snapshot.config().policy.clone()
    };
    Classified::new(catalog, policy)
}

/// Writes down which files are in effect, from now on and until told to stop.
pub(super) async fn record_changes(registry: Arc<Registry>, sink: AuditSink) {
    let mut versions = registry.changes();
    let mut before = registry.snapshot();
    append(&sink, &started(&before)).await;
    while versions.changed().await.is_ok() {
        let present = registry.snapshot();
        let changed = present.revision().changed_since(before.revision());
        if !changed.is_empty() {
            let record = AuditRecord::ConfigChanged {
                by: "reload".to_owned(),
                changed,
                previous: before.revision().to_string(),
                revision: present.revision().to_string(),
            };
            append(&sink, &record).await;
        }
        before = present;
    }
}

/// Says so when the files ask for another log than the one that was opened at the start: a chain goes on in one
/// place until its process ends.
pub(super) async fn watch_settings(registry: Arc<Registry>, opened: Option<Audit>) {
    let mut versions = registry.changes();
    let mut known = opened.clone();
    while versions.changed().await.is_ok() {
        let audit = registry.snapshot().config().audit.clone();
        if audit != known && audit != opened {
            tracing::warn!(
                "[audit] in tenantry.toml has changed: the log goes on as before until the next start"
            );
        }
        known = audit;
    }
}

fn started(snapshot: &Snapshot) -> AuditRecord {
    AuditRecord::ProxyStarted {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        revision: snapshot.revision().to_string(),
    }
}

/// What has happened already cannot be refused any more; the next statement will be.
async fn append(sink: &AuditSink, record: &AuditRecord) {
    if let Err(error) = sink.append(record).await {
        tracing::error!(%error, "something is not in the audit log");
    }
}

/// Writes down that an admin could not log in.
pub(super) fn note_refused_login(
    sink: &AuditSink,
    (login, client, database): (&str, &str, &str),
    sqlstate: &str,
) {
    sink.note(&AuditRecord::AdminLoginRefused {
        login: login.to_owned(),
        client: client.to_owned(),
        database: database.to_owned(),
        sqlstate: sqlstate.to_owned(),
    });
}

/// What a refusal says of itself: `TNnnnn` at the end of its message.
fn code(message: &str) -> Option<String> {
    let (_, behind) = message.rsplit_once(" [")?;
    let code = behind.strip_suffix(']')?;
    code.starts_with("TN").then(|| code.to_owned())
}

/// Writes down that a tenant's statement was refused, without its literals.
pub(super) fn note_refused_tenant(
    sink: &AuditSink,
    (tenant, login, client): (&str, &str, &str),
    refused: &Refused,
) {
    sink.note(&AuditRecord::TenantRefused {
        tenant: tenant.to_owned(),
        login: login.to_owned(),
        client: client.to_owned(),
        sqlstate: refused.sqlstate.to_string(),
        code: code(&refused.message),
        shape: shape(&refused.statement, &refused.sqlstate),
    });
}

/// A statement whose record is written.
#[derive(Debug)]
struct Written {
    number: u64,
    began: Instant,
    tenants: Names,
}

/// An admin's session, as the log knows it.
#[derive(Debug)]
pub(super) struct Witness {
    sink: Option<AuditSink>,
    admin: AdminSession,
    written: Option<Written>,
}

impl Witness {
    /// Watches an admin's session.
    pub(super) fn new(sink: Option<AuditSink>, admin: AdminSession) -> Self {
        Self {
            sink,
            admin,
            written: None,
        }
    }

    /// An admin has logged in.
    pub(super) async fn logged_in(&self, database: &str) {
        self.append(&AuditRecord::AdminLogin {
            admin: self.admin.clone(),
            database: database.to_owned(),
        })
        .await;
    }

    /// Puts what the session waits for on the disk.
    pub(super) async fn record(&mut self, intent: &Intent) -> Result<u64, ErrorReport> {
        let Some(sink) = &self.sink else {
            return Err(ErrorReport::error(
                "58030",
                "there is no audit log, and without one no escape hatch [TN6011]",
            )
            .with_hint("Name its file in tenantry.toml: [audit] file = \"..\"."));
        };
        let record = AuditRecord::Statement {
            admin: self.admin.clone(),
            grant: recorded(intent),
            statement: (&intent.statement[..]).into(),
            sent: intent.sent.as_str().into(),
            parameters: intent.parameters.clone(),
        };
        match sink.append(&record).await {
            Ok(anchor) => {
                self.written = Some(Written {
                    number: anchor.seq,
                    began: Instant::now(),
                    tenants: tenants(intent),
                });
                Ok(anchor.seq)
            }
            Err(error) => {
                tracing::error!(%error, "an admin's statement is refused");
                Err(ErrorReport::error(
                    error.sqlstate(),
                    format!("{error} [TN6011]"),
                ))
            }
        }
    }

    /// Writes down what happened in the session.
    pub(super) async fn tell(&mut self, session: &mut Session) {
        for event in session.take_hatch_events() {
            let record = match event {
                HatchEvent::Ended(leave, why) => AuditRecord::GrantEnded {
                    admin: self.admin.clone(),
                    grant: leave.grant.name.clone(),
                    why,
                },
                HatchEvent::Outcome {
                    rows,
                    ending,
                    progress,
                } => {
                    let Some(written) = self.written.take() else {
                        continue;
                    };
                    let duration = written.began.elapsed().as_micros();
                    let (tenants, changed) = match progress {
                        Some(progress) => told(&progress),
                        None => (written.tenants, BTreeMap::new()),
                    };
                    AuditRecord::Outcome {
                        statement: written.number,
                        rows,
                        ending,
                        duration_us: u64::try_from(duration).unwrap_or(u64::MAX),
                        tenants,
                        changed,
                    }
                }
                HatchEvent::Undone { statements, ending } => AuditRecord::Undone {
                    admin: self.admin.clone(),
                    statements,
                    ending,
                },
                HatchEvent::Taken(leave) => AuditRecord::GrantTaken {
                    admin: self.admin.clone(),
                    grant: recorded_grant(&leave, None),
                },
            };
            self.append(&record).await;
        }
    }

    /// Writes down that a statement was refused.
    pub(super) async fn refused(&self, refused: &Refused, grant: Option<String>) {
        self.append(&AuditRecord::Refused {
            admin: self.admin.clone(),
            grant,
            statement: (&refused.statement[..]).into(),
            sqlstate: refused.sqlstate.to_string(),
            message: refused.message.clone(),
        })
        .await;
    }

    /// The session is over.
    pub(super) async fn leaves(&mut self, session: &mut Session, why: GrantEnd) {
        session.close_hatch("the client has left", why);
        self.tell(session).await;
    }

    async fn append(&self, record: &AuditRecord) {
        if let Some(sink) = &self.sink {
            append(sink, record).await;
        }
    }
}

fn recorded(intent: &Intent) -> Option<RecordedGrant> {
    let leave = intent.leave.as_ref()?;
    Some(recorded_grant(leave, intent.tenant.as_ref()))
}

fn tenants(intent: &Intent) -> Names {
    if intent.touches == Touches::Nothing {
        return Names::Listed(Vec::new());
    }
    match (&intent.tenant, &intent.leave) {
        (Some(tenant), _) => Names::Listed(vec![tenant.to_string()]),
        (None, Some(leave)) => tenant_names(&leave.grant.tenants),
        (None, None) => Names::Listed(Vec::new()),
    }
}

/// Whose servers a statement for many was sent to, and what was changed there.
fn told(progress: &Progress) -> (Names, BTreeMap<String, u64>) {
    let changed = progress.changed.iter();
    (
        Names::Listed(progress.sent_for.iter().map(ToString::to_string).collect()),
        changed
            .map(|(tenant, rows)| (tenant.to_string(), *rows))
            .collect(),
    )
}

fn tenant_names(tenants: &TenantSet) -> Names {
    match tenants {
        TenantSet::All => Names::ALL,
        TenantSet::Listed(tenants) => {
            Names::Listed(tenants.iter().map(ToString::to_string).collect())
        }
    }
}

fn recorded_grant(leave: &Leave, tenant: Option<&TenantId>) -> RecordedGrant {
    let grant = &leave.grant;
    let expires = i64::try_from(grant.expires.as_micros()).unwrap_or(i64::MAX);
    RecordedGrant {
        grant: grant.name.clone(),
        reason: grant.reason.clone(),
        approved_by: grant.approved_by.clone(),
        expires: Timestamp::from_microseconds(expires),
        scope: RecordedScope {
            tenants: tenant_names(&grant.tenants),
            tables: match &grant.tables {
                TableSet::All => Names::ALL,
                TableSet::Listed(tables) => {
                    Names::Listed(tables.iter().map(ToString::to_string).collect())
                }
            },
            verbs: grant.verbs.iter().map(ToString::to_string).collect(),
            max_rows: grant.max_rows,
            as_tenant: tenant.map(ToString::to_string),
        },
    }
}
