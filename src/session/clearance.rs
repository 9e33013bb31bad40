//! What has to happen before a message of an admin goes out: is it admitted by what is in force now, is
//! its record on disk, does the server know that nothing is to be written.
//!
//! # Not here
//! Which grant is in force: [`super::hatch`].

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::admission::{Plan, parse_text};
use super::hatch::{
    BYPASS, Hatch, InForce, ON_ERROR, Opened, READ_ONLY, SinceReady, TENANT, Ticket, own_variable,
    without_grant,
};
use super::leave::{Leave, unknown};
use super::record::{Intent, Refused, Touches, parameters};
use super::running::Running;
use super::{Housekeeping, Identity, Session, Stage};
use crate::admitted::Admitted;
use crate::bypass::Ending;
use crate::isolate::{Kind, TransactionCommand};
use crate::protocol::backend::TransactionStatus;
use crate::protocol::error_response::ErrorReport;
use crate::protocol::frontend::{Bind, FrontendMessage, Target};
use crate::tenant::{TenantKey, Verb};

/// Whether a message may go out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Clearance {
    /// Its record must be written first.
    Awaited,
    /// It may.
    Given,
}

impl Session {
    /// Whether a message has to wait for the answers to those before it.
    pub(super) fn must_wait_its_turn(&self, message: &FrontendMessage) -> bool {
        let is_awaited = match &self.hatch {
            Some(_) => self
                .server
                .as_ref()
                .is_some_and(|server| !server.expected.is_empty()),
            None => self.waits_for_rows(),
        };
        is_awaited && *message != FrontendMessage::Terminate
    }

    /// Whether a message of an admin may be sent now. A tenant's may.
    pub(super) fn clear(&mut self, message: &FrontendMessage) -> Result<Clearance, ErrorReport> {
        let Some(hatch) = &mut self.hatch else {
            return Ok(Clearance::Given);
        };
        if self.server.is_none() {
            return Ok(Clearance::Given);
        }
        if let (true, Some(void)) = (runs(message), hatch.void.clone())
            && !self.rolls_back(message)
        {
            if let Some(hatch) = &mut self.hatch {
                hatch.abandon("its grant has ended");
            }
            return Err(void);
        }
        if runs(message) && self.align_pinned() {
            return Ok(Clearance::Awaited);
        }
        let cleared = self.clear_plan(message);
        if let (Err(_), Some(hatch)) = (&cleared, &mut self.hatch) {
            hatch.abandon("refused");
        }
        cleared
    }

    /// Whether a message is part of ROLLBACK, which ends the whole block.
    fn rolls_back(&self, message: &FrontendMessage) -> bool {
        let plan = if let FrontendMessage::Describe(Target::Portal, name) = message {
            self.portals.get(name).cloned()
        } else {
            self.plan_of(message).unwrap_or_default()
        };
        plan.is_some_and(|plan| {
            let kinds: Vec<&Kind> = plan.statements.iter().map(|it| &it.kind).collect();
            kinds == [&Kind::Transaction(TransactionCommand::Rollback)]
        })
    }

    /// Rows of a change are made at the first Execute, however few of them it asks for.
    fn check_portion(&self, message: &FrontendMessage, plan: &Plan) -> Result<(), ErrorReport> {
        let is_portion =
            matches!(message, FrontendMessage::Execute { rows_max, .. } if *rows_max > 0);
        let leave = self.hatch.as_ref().and_then(|hatch| hatch.leave());
        let is_counted = leave.is_some_and(|leave| leave.grant.max_rows.is_some());
        if is_portion && is_counted && super::counting::changes_rows(plan) {
            return Err(ErrorReport::error(
                "0A000",
                "Execute with a row limit of a change is not supported under a grant that limits rows",
            ));
        }
        Ok(())
    }

    /// A connection that stays with the session is not lent again when a grant begins or ends: its variables
    /// are brought into line where no transaction is open. Whether that has to be waited for.
    fn align_pinned(&mut self) -> bool {
        let variables = self.server_variables().into_owned();
        let (Some(hatch), Some(server)) = (&self.hatch, &mut self.server) else {
            return false;
        };
        let is_between =
            hatch.since_ready == SinceReady::Nothing && hatch.status == TransactionStatus::Idle;
        if server.stage != Stage::Pinned || !is_between {
            return false;
        }
        let Some(task) = variables.task(&server.state.variables) else {
            return false;
        };
        server.out.housekeeping(&[task]);
        server.expected.push_housekeeping();
        server.state.variables = variables.current().clone();
        true
    }

    fn clear_plan(&mut self, message: &FrontendMessage) -> Result<Clearance, ErrorReport> {
        let Some(plan) = self.plan_of(message)? else {
            return Ok(Clearance::Given);
        };
        self.check_own_variable(&plan)?;
        self.check_modes(&plan)?;
        self.check_portion(message, &plan)?;
        let Some(hatch) = &mut self.hatch else {
            return Ok(Clearance::Given);
        };
        let is_sent = matches!(
            message,
            FrontendMessage::Bind(_)
                | FrontendMessage::Execute { .. }
                | FrontendMessage::Parse { .. }
                | FrontendMessage::Query(_)
        );
        if is_sent && !matches!(hatch.ticket, Ticket::Valid(..)) {
            if let Some(intent) = self.intent_of(message, &plan)
                && let Some(hatch) = &mut self.hatch
            {
                hatch.ticket = Ticket::Wanted(Box::new(intent));
                return Ok(Clearance::Awaited);
            }
            return Ok(Clearance::Given);
        }
        self.keep_read_only(message, &plan)?;
        Ok(Clearance::Given)
    }

    /// The plan that a message would run, admitted by what is in force now.
    fn plan_of(&self, message: &FrontendMessage) -> Result<Option<Arc<Plan>>, ErrorReport> {
        match message {
            FrontendMessage::Bind(Bind {
                statement: name, ..
            })
            | FrontendMessage::Describe(Target::Statement, name) => {
                let statement = self.current_statement(name)?;
                Ok(Some(Arc::clone(&statement.plan)))
            }
            FrontendMessage::Execute { portal, .. } => {
                let Some(plan) = self.portals.get(portal) else {
                    return Ok(None);
                };
                let is_current = |hatch: &Hatch| hatch.is_current(plan).unwrap_or(false);
                if !self.hatch.as_deref().is_some_and(is_current) {
                    return Err(ErrorReport::error(
                        "42501",
                        "this portal was opened under another grant [TN6007]",
                    ));
                }
                Ok(Some(Arc::clone(plan)))
            }
            FrontendMessage::Parse {
                statement,
                sql,
                declared_types,
            } => self.admit_parse(statement, sql, declared_types).map(Some),
            FrontendMessage::Query(sql) => self.admit(sql, &[]).map(Some),
            FrontendMessage::Close(..)
            | FrontendMessage::Copy
            | FrontendMessage::Describe(Target::Portal, _)
            | FrontendMessage::Flush
            | FrontendMessage::FunctionCall
            | FrontendMessage::Sync
            | FrontendMessage::Terminate
            | FrontendMessage::TooLong { .. } => Ok(None),
        }
    }

    /// Checks the value that one of Tenantry's variables is to have.
    fn check_own_variable(&self, plan: &Plan) -> Result<(), ErrorReport> {
        let (
            Some(hatch),
            Some(Kind::Set {
                variable, value, ..
            }),
        ) = (&self.hatch, own_variable(plan))
        else {
            return Ok(());
        };
        let invalid = || {
            ErrorReport::error(
                "22023",
                format!("invalid value for parameter \"{variable}\": \"{value}\""),
            )
        };
        match (variable.as_str(), value.as_str()) {
            (BYPASS | TENANT, "") | (ON_ERROR, "" | "skip" | "stop") => Ok(()),
            (BYPASS, name) => {
                let leave = hatch.rules.leaves.get(name).ok_or_else(|| unknown(name))?;
                leave.permits(&hatch.login, hatch.now)
            }
            (TENANT, tenant) => {
                let leave = hatch.leave().ok_or_else(without_grant)?;
                leave.bind(Some(tenant)).map(|_bound| ())
            }
            (_, _) => Err(invalid()),
        }
    }

    /// Under a grant that only reads nobody makes a transaction that writes.
    fn check_modes(&self, plan: &Plan) -> Result<(), ErrorReport> {
        if !self.is_read_only() {
            return Ok(());
        }
        for statement in &plan.statements {
            let writes = match &statement.kind {
                Kind::Set { variable, .. } | Kind::Reset { variable } => matches!(
                    variable.as_str(),
                    "default_transaction_read_only" | "transaction_read_only"
                ),
                Kind::SetTransaction | Kind::Transaction(TransactionCommand::Begin) => {
                    parse_text(&statement.admitted)
                        .to_ascii_lowercase()
                        .contains("write")
                }
                Kind::Characteristics(_) | Kind::ResetAll => true,
                Kind::ClearsSession
                | Kind::CloseCursor(_)
                | Kind::Cursor
                | Kind::Data
                | Kind::Deallocate(_)
                | Kind::Execute { .. }
                | Kind::Fetch
                | Kind::Hold(_)
                | Kind::Pins
                | Kind::Prepare(_)
                | Kind::Show { .. }
                | Kind::Transaction(_)
                | Kind::Truncate => false,
            };
            if writes {
                return Err(ErrorReport::error(
                    "42501",
                    "the grant allows reading only [TN6003]",
                ));
            }
        }
        Ok(())
    }

    fn is_read_only(&self) -> bool {
        self.hatch
            .as_ref()
            .is_some_and(|hatch| hatch.is_read_only())
    }

    /// Makes the transaction read-only on the server, whatever a savepoint has undone.
    fn keep_read_only(
        &mut self,
        message: &FrontendMessage,
        plan: &Plan,
    ) -> Result<(), ErrorReport> {
        let begins = matches!(
            message,
            FrontendMessage::Bind(_) | FrontendMessage::Query(_)
        );
        let tells = plan
            .statements
            .iter()
            .any(|statement| matches!(statement.kind, Kind::Data | Kind::Show { .. }));
        if !begins || !tells || !self.is_read_only() {
            return Ok(());
        }
        let (Some(server), Some(hatch)) = (&mut self.server, &self.hatch) else {
            return Ok(());
        };
        if hatch.status == TransactionStatus::Failed {
            return Ok(());
        }
        if self.variables.in_block() {
            server.out.housekeeping(&[Housekeeping::ReadOnly]);
            server.expected.push_housekeeping();
            return Ok(());
        }
        let known = server.state.variables.get(READ_ONLY.0);
        if known.is_some_and(|value| value == READ_ONLY.1) {
            return Ok(());
        }
        Err(ErrorReport::error(
            "0A000",
            "a grant that is taken outside a transaction block is in force after the next Sync [TN6010]",
        ))
    }

    /// What the log must hold before the message is sent.
    fn intent_of(&self, message: &FrontendMessage, plan: &Plan) -> Option<Intent> {
        let hatch = self.hatch.as_ref()?;
        let taken = match own_variable(plan) {
            Some(Kind::Set {
                variable, value, ..
            }) if variable == BYPASS => hatch.rules.leaves.get(value),
            Some(_) | None => None,
        };
        let leave = taken.or_else(|| hatch.leave()).or(hatch.used.as_ref());
        let tenant = match &hatch.in_force {
            InForce::Grant(_, Ok(bound)) => bound.tenant.clone(),
            InForce::Grant(_, Err(_)) | InForce::Nothing => None,
        };
        let parameters = if let FrontendMessage::Bind(bind) = message {
            parameters(bind)
        } else {
            executed(message)
                .and_then(|portal| hatch.portals.get(portal))
                .map(|opened| opened.parameters.clone())
                .unwrap_or_default()
        };
        let sent: Vec<&str> = plan
            .statements
            .iter()
            .map(|statement| parse_text(&statement.admitted))
            .collect();
        Some(Intent {
            leave: leave.cloned(),
            tenant,
            statement: self.text_of(message),
            sent: sent.join(";\n"),
            parameters,
            touches: touches(plan),
        })
    }

    /// The client's text that a message is about, where it is known.
    pub(super) fn text_of(&self, message: &FrontendMessage) -> Bytes {
        let statement = |name| self.statements.get(name).map(|known| known.sql.clone());
        let text = match message {
            FrontendMessage::Query(sql) | FrontendMessage::Parse { sql, .. } => {
                Some(Bytes::copy_from_slice(sql))
            }
            FrontendMessage::Bind(bind) => statement(&bind.statement),
            FrontendMessage::Describe(Target::Statement, name) => statement(name),
            FrontendMessage::Execute { portal, .. } => self
                .hatch
                .as_ref()
                .and_then(|hatch| hatch.portals.get(portal))
                .map(|opened| opened.sql.clone()),
            FrontendMessage::Close(..)
            | FrontendMessage::Copy
            | FrontendMessage::Describe(Target::Portal, _)
            | FrontendMessage::Flush
            | FrontendMessage::FunctionCall
            | FrontendMessage::Sync
            | FrontendMessage::Terminate
            | FrontendMessage::TooLong { .. } => None,
        };
        text.unwrap_or_default()
    }

    /// A message of an admin was sent: its answer is wanted at once, and watched.
    pub(super) fn note_sent(&mut self, message: &FrontendMessage) {
        let opened = self.opened_by(message);
        let Some(hatch) = &mut self.hatch else {
            return;
        };
        if runs(message) {
            hatch.since_ready = SinceReady::Messages;
        }
        if let Some((portal, opened)) = opened {
            hatch.portals.insert(portal, opened);
        }
        if let (Some(server), true) = (&mut self.server, is_extended(message)) {
            server.out.flush();
        }
        let Ticket::Valid(number, touches) = hatch.ticket else {
            return;
        };
        hatch.ticket = Ticket::None;
        if let Some(leave) = hatch.leave().cloned() {
            if touches == Touches::Changed {
                let is_it = |known: &Arc<Leave>| known.grant.name == leave.grant.name;
                hatch.changed.retain(|known| !is_it(known));
                hatch.changed.push(Arc::clone(&leave));
            }
            hatch.used = Some(leave);
        }
        let portal = executed(message).map(|portal| Bytes::copy_from_slice(portal));
        let before = portal
            .as_ref()
            .and_then(|portal| hatch.portals.get(portal))
            .map_or(0, |opened| opened.rows);
        let rows_max = hatch.leave().and_then(|leave| leave.grant.max_rows);
        hatch.running = Some(Running {
            number,
            rows: 0,
            rows_max: rows_max.map(|max| max.saturating_sub(before)),
            portal,
            ending: Ending::Tag(String::new()),
            cut: None,
        });
        // What the server knows already is answered without it.
        self.note_answered();
    }

    fn opened_by(&self, message: &FrontendMessage) -> Option<(Bytes, Opened)> {
        let FrontendMessage::Bind(bind) = message else {
            return None;
        };
        let Bind {
            portal, statement, ..
        } = bind;
        let opened = Opened {
            sql: self.statements.get(statement)?.sql.clone(),
            parameters: parameters(bind),
            rows: 0,
        };
        Some((Bytes::copy_from_slice(portal), opened))
    }

    /// The server has refused something of an admin. If no record is about it, as of a Bind, there will be one.
    pub(super) fn note_failed(&mut self, refused: Refused) {
        let Some(hatch) = &mut self.hatch else {
            return;
        };
        hatch.failed = Some(refused.sqlstate.clone().into_owned());
        if hatch.running.is_some() {
            hatch.note_error(&refused.sqlstate);
            return;
        }
        let bound = self.bound.as_ref();
        let opened = bound.and_then(|portal| hatch.portals.remove(portal));
        self.refusals.push(Refused {
            statement: opened.map_or(refused.statement, |opened| opened.sql),
            ..refused
        });
    }

    /// Looks whether what was recorded has been answered.
    pub(super) fn note_answered(&mut self) {
        let is_over = self
            .server
            .as_ref()
            .is_none_or(|server| server.expected.is_empty());
        if let (true, Some(hatch)) = (is_over, &mut self.hatch) {
            hatch.finish();
        }
    }

    /// What stands in the place of the tenant's parameters.
    pub(super) fn identity_for(&self, plan: &Plan) -> Identity {
        let mut identity = self.identity.clone();
        let Some(hatch) = &self.hatch else {
            return identity;
        };
        identity.key = TenantKey::Text(match own_variable(plan) {
            Some(Kind::Show { variable }) if variable == BYPASS => hatch
                .leave()
                .map(|leave| leave.describe(hatch.now))
                .unwrap_or_default(),
            Some(Kind::Show { variable }) => {
                self.variables.own(variable).unwrap_or_default().to_owned()
            }
            Some(_) | None => String::new(),
        });
        identity
    }
}

/// What the statements of a plan do to tables.
fn touches(plan: &Plan) -> Touches {
    let mut verbs = BTreeSet::new();
    let mut copies = false;
    for statement in &plan.statements {
        if let Admitted::Bypassed(bypassed) = &statement.admitted {
            verbs.extend(bypassed.verbs());
            copies |= bypassed.copying().is_some();
        }
    }
    if verbs.iter().any(|verb| *verb != Verb::Select) {
        Touches::Changed
    } else if copies || !verbs.is_empty() {
        Touches::Read
    } else {
        Touches::Nothing
    }
}

fn runs(message: &FrontendMessage) -> bool {
    matches!(
        message,
        FrontendMessage::Bind(_)
            | FrontendMessage::Describe(..)
            | FrontendMessage::Execute { .. }
            | FrontendMessage::Parse { .. }
            | FrontendMessage::Query(_)
    )
}

fn is_extended(message: &FrontendMessage) -> bool {
    runs(message) && !matches!(message, FrontendMessage::Query(_))
        || matches!(message, FrontendMessage::Close(..))
}

/// The portal that a message executes.
fn executed(message: &FrontendMessage) -> Option<&Bytes> {
    if let FrontendMessage::Execute { portal, .. } = message {
        Some(portal)
    } else {
        None
    }
}
