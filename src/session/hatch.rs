//! An admin's session: which grant is in force, and what has to happen before a statement goes out.
//!
//! An admin's messages are taken one after the other: each waits until the one before is answered. So it
//! is always known which grant a statement is under, and what of it was done when the grant ends.
//!
//! # Invariants
//! 1. A statement under a grant is sent only after [`Session::recorded`] has said that its record is on disk.
//! 2. A statement, a prepared one and a portal run only under the very grant that they were admitted under.
//! 3. A grant that has ended is in force nowhere any more: no rollback brings it back.
//!
//! # Not here
//! What a scope does to a statement: [`crate::isolate`]. The clock and the log: `proxy`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Session;
use super::admission::{Admission, Plan};
use super::client::refusal_report;
use super::collected::Collected;
use super::counting::Counting;
use super::fan::{FanOut, Kept, KeptPortal};
use super::leave::{Bound, Leave};
use super::portion::Portions;
use super::record::{HatchEvent, Intent, Touches};
use super::running::{Cut, Running};
use crate::bypass::{Ending, GrantEnd, SentParameter};
use crate::catalog::Oid;
use crate::isolate::refusal::{Reason, Refusal};
use crate::isolate::{Kind, SetScope};
use crate::protocol::backend::TransactionStatus;
use crate::protocol::error_response::{ErrorReport, Severity};

/// Names the grant that is taken.
pub(super) const BYPASS: &str = "tenantry.bypass";
/// Names the tenant that an admin is, under a grant for that.
pub(super) const TENANT: &str = "tenantry.tenant";
/// What becomes of a result when a tenant's database cannot be reached.
pub(super) const ON_ERROR: &str = "tenantry.on_error";

/// What an admin may do on an upstream.
#[derive(Clone, Debug)]
pub struct AdminRules {
    /// What decides without a grant.
    pub closed: Arc<Admission>,
    /// The grants, by name.
    pub leaves: BTreeMap<String, Arc<Leave>>,
}

/// How far the record of the message that is held has come.
#[derive(Debug)]
pub(super) enum Ticket {
    /// There is none.
    None,
    /// It is on disk, with this number.
    Valid(u64, Touches),
    /// It is to be written.
    Wanted(Box<Intent>),
}

/// Which grant is in force.
#[derive(Debug)]
pub(super) enum InForce {
    /// None.
    Nothing,
    /// This one; as far as one tenant has to be chosen, the error says so.
    Grant(Arc<Leave>, Result<Bound, ErrorReport>),
}

/// A portal that an admin has opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) sql: Bytes,
    pub(super) parameters: Vec<SentParameter>,
    pub(super) rows: u64,
}

/// What was sent since the server was last ready. A transaction may be open that no command has begun.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SinceReady {
    Messages,
    Nothing,
}

/// What an admin's session has beyond a tenant's.
#[derive(Debug)]
pub(super) struct Hatch {
    pub(super) login: String,
    pub(super) rules: AdminRules,
    pub(super) now: Duration,
    pub(super) in_force: InForce,
    /// What `tenantry.tenant` was when `in_force` was made.
    pub(super) bound_to: Option<String>,
    pub(super) status: TransactionStatus,
    /// What was sent since the server was last ready.
    pub(super) since_ready: SinceReady,
    pub(super) ticket: Ticket,
    pub(super) running: Option<Running>,
    /// What must be counted before it is committed.
    pub(super) counting: Option<Counting>,
    pub(super) portals: HashMap<Bytes, Opened>,
    /// What is run for each tenant by itself.
    pub(super) fan: Option<Box<FanOut>>,
    /// Temporary tables with rows of many tenants.
    pub(super) collected: Option<Collected>,
    /// Prepared statements of that kind, and portals of them.
    pub(super) kept: HashMap<Bytes, Kept>,
    pub(super) kept_portals: HashMap<Bytes, KeptPortal>,
    /// What is left of their results, where the client takes them in portions.
    pub(super) portions: HashMap<Bytes, Portions>,
    /// Such a result while it comes.
    pub(super) filling: Option<Portions>,
    /// The grant that something was done under in the open transaction.
    pub(super) used: Option<Arc<Leave>>,
    /// The grants that rows were changed under in it.
    pub(super) changed: Vec<Arc<Leave>>,
    /// The SQLSTATE of an error since the server was last ready.
    pub(super) failed: Option<String>,
    /// The records of changes that the next Sync commits.
    pub(super) unsettled: Vec<u64>,
    /// What the client is told if a Bind or a Sync does not end, which must.
    pub(super) ending_series: Option<ErrorReport>,
    /// A grant has ended in the open transaction: nothing but ROLLBACK is taken until it is over.
    pub(super) void: Option<ErrorReport>,
    pub(super) cancel: bool,
    pub(super) events: Vec<HatchEvent>,
}

impl Hatch {
    pub(super) fn leave(&self) -> Option<&Arc<Leave>> {
        match &self.in_force {
            InForce::Grant(leave, _) => Some(leave),
            InForce::Nothing => None,
        }
    }

    /// The grants whose end would end the open transaction, though they may have been put down in it; none if it
    /// must be rolled back already.
    fn behind_changes(&self) -> &[Arc<Leave>] {
        match self.void {
            None => &self.changed,
            Some(_) => &[],
        }
    }

    /// What decides on a statement.
    pub(super) fn admission(&self) -> Result<&Arc<Admission>, ErrorReport> {
        match &self.in_force {
            InForce::Grant(_, Ok(bound)) => Ok(self.collected().unwrap_or(&bound.admission)),
            InForce::Grant(_, Err(report)) => Err(report.clone()),
            InForce::Nothing => Ok(&self.rules.closed),
        }
    }

    /// What decides on this text: Tenantry's own variables are known whatever grant is in force.
    pub(super) fn admission_of(&self, sql: &[u8]) -> Result<&Arc<Admission>, ErrorReport> {
        match crate::verify::own_variable(sql) {
            Ok(None) => self.admission(),
            Ok(Some(_)) | Err(_) => Ok(&self.rules.closed),
        }
    }

    /// Whether a text is refused where there are no relations and no functions of the application.
    pub(super) fn needs_relations(&self, sql: &Bytes, types: &[Oid]) -> bool {
        let Err(refusal) = self.rules.closed.admit(sql, types) else {
            return false;
        };
        is_of_relation(&refusal)
            || matches!(
                refusal.reason,
                Reason::FunctionNotAllowed { .. }
                    | Reason::OperatorNotAllowed { .. }
                    | Reason::TypeNotAllowed { .. }
                    | Reason::ConditionNotSilent { .. }
            )
    }

    /// Whether a plan was admitted by what is in force now.
    pub(super) fn is_current(&self, plan: &Plan) -> Result<bool, ErrorReport> {
        let number = match own_variable(plan) {
            Some(_) => self.rules.closed.number(),
            None => self.admission()?.number(),
        };
        Ok(plan.admission == number)
    }

    /// What an admin is told of a refusal.
    pub(super) fn refusal_report(&self, refusal: &Refusal, sql: &[u8]) -> ErrorReport {
        let relation = is_of_relation(refusal);
        let report = refusal_report(refusal, sql);
        if relation && matches!(self.in_force, InForce::Nothing) {
            return ErrorReport {
                position: report.position,
                ..without_grant()
            };
        }
        report
    }

    /// Whether nothing can be written under the grant in force.
    pub(super) fn is_read_only(&self) -> bool {
        self.leave().is_some_and(|leave| leave.is_read_only())
    }

    /// `ReadyForQuery` came.
    pub(super) fn note_status(&mut self, status: TransactionStatus) {
        self.status = status;
        self.since_ready = SinceReady::Nothing;
        if status == TransactionStatus::Idle {
            self.void = None;
            self.used = None;
            self.changed.clear();
            self.unsettled.clear();
            self.portals.clear();
            self.clear_kept_portals();
        }
    }

    /// Whether a transaction is open, also one that the messages since the last Sync have begun.
    pub(super) fn transaction(&self) -> TransactionStatus {
        match (self.status, self.since_ready) {
            (TransactionStatus::Idle, SinceReady::Messages) => TransactionStatus::InTransaction,
            (status, _) => status,
        }
    }

    /// The transaction is over, and its portals with it.
    pub(super) fn clear_kept_portals(&mut self) {
        self.kept_portals.clear();
        self.portions.clear();
    }
}

fn is_of_relation(refusal: &Refusal) -> bool {
    matches!(
        refusal.reason,
        Reason::RelationDoesNotExist { .. }
            | Reason::RelationNotAllowed { .. }
            | Reason::SystemRelation { .. }
    )
}

/// What is said of a statement without a grant that would need one.
pub(super) fn without_grant() -> ErrorReport {
    ErrorReport::error(
        "42501",
        "an admin login can read nothing without a grant [TN6001]",
    )
    .with_hint("Take one: SET tenantry.bypass = '<grant>'.")
}

impl Session {
    /// The client is an admin: it has no tenant, and takes grants.
    pub fn open_hatch(&mut self, login: String, rules: AdminRules) {
        self.hatch = Some(Box::new(Hatch {
            login,
            rules,
            now: Duration::ZERO,
            in_force: InForce::Nothing,
            bound_to: None,
            status: TransactionStatus::Idle,
            since_ready: SinceReady::Nothing,
            ticket: Ticket::None,
            running: None,
            counting: None,
            portals: HashMap::new(),
            fan: None,
            collected: None,
            kept: HashMap::new(),
            kept_portals: HashMap::new(),
            portions: HashMap::new(),
            filling: None,
            used: None,
            changed: Vec::new(),
            failed: None,
            unsettled: Vec::new(),
            ending_series: None,
            void: None,
            cancel: false,
            events: Vec::new(),
        }));
    }

    /// The grants are these from now on.
    pub fn set_admin_rules(&mut self, rules: AdminRules) {
        let Some(hatch) = &mut self.hatch else {
            return;
        };
        let old = std::mem::replace(&mut hatch.rules, rules);
        let taken = self.variables.values_of(BYPASS);
        let taken = taken.iter().filter_map(|name| old.leaves.get(name));
        let revoked: Vec<Arc<Leave>> = taken
            .chain(hatch.behind_changes())
            .filter(|leave| {
                let new = hatch.rules.leaves.get(&leave.grant.name);
                new.is_none_or(|new| !new.continues(leave))
            })
            .cloned()
            .collect();
        for leave in revoked {
            self.end_grant(&leave, GrantEnd::Revoked);
        }
        self.bind_anew();
    }

    /// What time it is, since 1970-01-01 00:00 UTC.
    pub fn set_time(&mut self, now: Duration) {
        let Some(hatch) = &mut self.hatch else {
            return;
        };
        hatch.now = now;
        let taken = self.variables.values_of(BYPASS);
        let taken = taken.iter().filter_map(|name| hatch.rules.leaves.get(name));
        let expired: Vec<Arc<Leave>> = taken
            .chain(hatch.behind_changes())
            .filter(|leave| leave.permits(&hatch.login, now).is_err())
            .cloned()
            .collect();
        for leave in expired {
            self.end_grant(&leave, GrantEnd::Expired);
        }
    }

    /// When the grant in force ends, or one that something was done under in the open transaction.
    pub fn grant_ends_at(&self) -> Option<Duration> {
        let hatch = self.hatch.as_ref()?;
        let leaves = hatch.leave().into_iter().chain(hatch.behind_changes());
        leaves.map(|leave| leave.grant.expires).min()
    }

    /// What is to be recorded before anything else is sent.
    pub fn intent(&self) -> Option<&Intent> {
        match self.hatch.as_ref().map(|hatch| &hatch.ticket) {
            Some(Ticket::Wanted(intent)) => Some(intent),
            Some(Ticket::None | Ticket::Valid(..)) | None => None,
        }
    }

    /// The record is on disk, with this number, or cannot be written.
    pub fn recorded(&mut self, result: Result<u64, ErrorReport>) {
        let Some(hatch) = &mut self.hatch else {
            return;
        };
        match result {
            Ok(number) => {
                let ticket = std::mem::replace(&mut hatch.ticket, Ticket::None);
                if let Ticket::Wanted(intent) = ticket {
                    hatch.ticket = Ticket::Valid(number, intent.touches);
                }
            }
            Err(report) => {
                hatch.ticket = Ticket::None;
                hatch.fan = None;
                hatch.filling = None;
                if let Some(held) = self.held.take() {
                    self.fail(&held, &report);
                }
            }
        }
    }

    /// What happened since the last call, for the log.
    pub fn take_hatch_events(&mut self) -> Vec<HatchEvent> {
        self.hatch
            .as_mut()
            .map(|hatch| std::mem::take(&mut hatch.events))
            .unwrap_or_default()
    }

    /// Whether a record is to be written, or something is to be cancelled.
    pub fn wants_the_hatch(&self) -> bool {
        self.hatch.as_ref().is_some_and(|hatch| {
            !hatch.events.is_empty() || hatch.cancel || matches!(hatch.ticket, Ticket::Wanted(_))
        }) || self.fan_out().is_some()
            || self.wants_row_cancel()
    }

    /// What the client is told in place of the rest of the present answer, and with what its connection ends if
    /// that rest never comes.
    pub fn cut(&self) -> Option<ErrorReport> {
        let Some(hatch) = &self.hatch else {
            return self.row_cut();
        };
        let report = hatch.last_word()?.clone();
        Some(ErrorReport {
            severity: Severity::Fatal,
            ..report
        })
    }

    /// The name of the grant in force.
    pub fn grant(&self) -> Option<&str> {
        let leave = self.hatch.as_ref()?.leave()?;
        Some(&leave.grant.name)
    }

    /// Whether what the server works at must be cancelled; it is asked once.
    pub fn take_cancel(&mut self) -> bool {
        self.hatch
            .as_mut()
            .is_some_and(|hatch| std::mem::take(&mut hatch.cancel))
    }

    /// The client is gone, or its session must end: what was begun is told as well.
    pub fn close_hatch(&mut self, why: &str, end: GrantEnd) {
        if let Some(hatch) = &mut self.hatch {
            hatch.abandon(why);
            hatch.undone(Ending::Lost(why.to_owned()));
            if let InForce::Grant(leave, _) =
                std::mem::replace(&mut hatch.in_force, InForce::Nothing)
            {
                hatch.events.push(HatchEvent::Ended(leave, end));
            }
        }
    }

    /// A grant is over, whether it was in force or would come back by a rollback.
    fn end_grant(&mut self, leave: &Arc<Leave>, why: GrantEnd) {
        self.variables.purge(BYPASS, &leave.grant.name);
        if let Some(hatch) = &mut self.hatch {
            hatch.forget_collected(leave);
        }
        let in_block = self.variables.in_block();
        let works = self
            .server
            .as_ref()
            .is_some_and(|server| !server.expected.is_empty());
        if let Some(hatch) = &mut self.hatch {
            let name = leave.grant.name.as_str();
            let is_it = |leave: &Arc<Leave>| leave.grant.name == name;
            let in_force = hatch.leave().is_some_and(is_it);
            let report = ErrorReport::error("57014", over(name, why));
            let is_open = in_block || hatch.since_ready == SinceReady::Messages;
            match &mut hatch.running {
                Some(running) if in_force => {
                    let cut = Cut::at_the_end(report.clone());
                    running.cut.get_or_insert(cut);
                    hatch.cancel = true;
                }
                // What a Bind plans or a Sync commits was begun under it.
                None if works && (in_force || hatch.changed.iter().any(is_it)) => {
                    hatch.ending_series = Some(report.clone());
                    hatch.cancel = true;
                }
                Some(_) | None => {}
            }
            if is_open && (in_force || hatch.changed.iter().any(is_it)) {
                hatch.void = Some(ErrorReport {
                    sqlstate: "42501",
                    ..report
                });
            }
        }
        self.note_grant(why);
    }

    /// The variables may have changed: finds out which grant is in force. `why` is for the one that no
    /// longer is.
    pub(super) fn note_grant(&mut self, why: GrantEnd) {
        let Some(hatch) = &mut self.hatch else {
            return;
        };
        let name = self.variables.own(BYPASS).unwrap_or_default();
        let tenant = self.variables.own(TENANT);
        let before = hatch.leave().map(|leave| leave.grant.name.as_str());
        if before.unwrap_or_default() == name && hatch.bound_to.as_deref() == tenant {
            return;
        }
        let same = before.unwrap_or_default() == name;
        hatch.bound_to = tenant.map(str::to_owned);
        let new = hatch.rules.leaves.get(name).cloned();
        if !same {
            let why = match (&new, why) {
                (Some(_), GrantEnd::Reset) => GrantEnd::Replaced,
                (_, why) => why,
            };
            if let Some(old) = hatch.leave().cloned() {
                hatch.events.push(HatchEvent::Ended(old, why));
            }
            if let Some(new) = &new {
                hatch.events.push(HatchEvent::Taken(Arc::clone(new)));
            }
        }
        hatch.in_force = match new {
            Some(leave) => {
                let bound = leave.bind(tenant);
                InForce::Grant(leave, bound)
            }
            None => InForce::Nothing,
        };
        hatch.follow_collected();
    }

    /// The rules are new: the same grant is in force, by its new rules.
    fn bind_anew(&mut self) {
        let Some(hatch) = &mut self.hatch else {
            return;
        };
        let Some(name) = hatch.leave().map(|leave| leave.grant.name.clone()) else {
            return;
        };
        hatch.in_force = match hatch.rules.leaves.get(&name) {
            Some(leave) => {
                let bound = leave.bind(hatch.bound_to.as_deref());
                InForce::Grant(Arc::clone(leave), bound)
            }
            None => InForce::Nothing,
        };
        hatch.follow_collected();
    }
}

/// What is said of a grant that is over.
fn over(name: &str, why: GrantEnd) -> String {
    let what = match why {
        GrantEnd::Expired => "has expired",
        GrantEnd::Revoked => "was revoked",
        GrantEnd::Disconnect
        | GrantEnd::ProxyStopped
        | GrantEnd::Replaced
        | GrantEnd::Reset
        | GrantEnd::TransactionEnd => "has ended",
    };
    format!("grant \"{name}\" {what} [TN6007]")
}

/// What makes every transaction of a server connection read-only.
pub(super) const READ_ONLY: (&str, &str) = ("default_transaction_read_only", "on");

/// The statement's kind, if it is about one of Tenantry's own variables.
pub(super) fn own_variable(plan: &Plan) -> Option<&Kind> {
    let [statement] = plan.statements.as_slice() else {
        return None;
    };
    let variable = match &statement.kind {
        Kind::Reset { variable }
        | Kind::Show { variable }
        | Kind::Set {
            variable,
            scope: SetScope::Local | SetScope::Session,
            ..
        } => variable,
        Kind::Characteristics(_)
        | Kind::ClearsSession
        | Kind::CloseCursor(_)
        | Kind::Cursor
        | Kind::Data
        | Kind::Deallocate(_)
        | Kind::Execute { .. }
        | Kind::Fetch
        | Kind::Hold(_)
        | Kind::Pins
        | Kind::Prepare(_)
        | Kind::ResetAll
        | Kind::SetTransaction
        | Kind::Transaction(_)
        | Kind::Truncate => return None,
    };
    variable
        .starts_with(super::variables::OWN_PREFIX)
        .then_some(&statement.kind)
}
