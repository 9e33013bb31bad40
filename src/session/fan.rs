//! Statements that are run for each tenant by itself, because some of the tenants have a database of
//! their own: the session keeps them, the proxy runs them elsewhere.
//!
//! In: messages of an admin under a grant that reaches databases. Out: [`FanOut`], and its answer in its
//! place.
//!
//! # Invariants
//! 1. What touches no relation runs on the admin's own server connection, as ever; what does is never sent
//!    there.
//! 2. A statement is kept until its record is on disk.
//!
//! # Not here
//! The connections, and one result made of many: `proxy`.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::{BufMut, Bytes, BytesMut};

use super::client::{Failure, PARSE_COMPLETE, Step, refusal_report};
use super::hatch::{Hatch, InForce, ON_ERROR, Ticket, without_grant};
use super::leave::{Leave, Reach};
use super::portion::Portions;
use super::record::{HatchEvent, Intent, Progress, Touches, parameters};
use super::statements::ClientStatement;
use super::variables::Values;
use super::{Session, Stage};
use crate::bypass::Ending;
use crate::catalog::Oid;
use crate::protocol::backend::{TransactionStatus, message, put_string, ready_for_query};
use crate::protocol::error_response::{ErrorReport, ServerReport};
use crate::protocol::frontend::{Bind, FrontendMessage, Target};
use crate::tenant::TenantId;
use crate::verify::{Collect, collect};

/// `BindComplete`
const BIND_COMPLETE: &[u8] = b"2\0\0\0\x04";

/// The result formats of a Bind: one for all, text.
const ALL_AS_TEXT: &[u8] = b"\0\0";

/// What becomes of the rest when a tenant's database cannot be reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnError {
    /// It goes on, and a notice says so.
    Skip,
    /// The statement fails.
    Stop,
}

/// What is asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ask {
    /// What the result looks like: of a portal with these values, or of a prepared statement, and then
    /// what its parameters are.
    Describe(Option<Bind>),
    /// The result, of these values; with its description where it was not asked for before.
    Run(Option<Bind>),
}

/// An error of one of many servers, or of the whole.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FanError {
    /// The SQLSTATE.
    pub sqlstate: String,
    /// The message.
    pub message: String,
    /// What to do about it, or what was done.
    pub hint: Option<String>,
}

impl From<ErrorReport> for FanError {
    fn from(report: ErrorReport) -> Self {
        Self {
            sqlstate: report.sqlstate.to_owned(),
            message: report.message,
            hint: report.hint,
        }
    }
}

impl From<&ServerReport<'_>> for FanError {
    fn from(report: &ServerReport<'_>) -> Self {
        Self {
            sqlstate: report.text(b'C').unwrap_or("XX000").to_owned(),
            message: report.text(b'M').unwrap_or_default().to_owned(),
            hint: report.text(b'H').map(str::to_owned),
        }
    }
}

impl FanError {
    /// The same, with the tenant named.
    #[must_use]
    pub fn of(self, tenant: &TenantId) -> Self {
        Self {
            message: format!("tenant \"{tenant}\": {}", self.message),
            ..self
        }
    }

    fn frame(&self) -> Bytes {
        let mut frame = BytesMut::new();
        message(&mut frame, b'E', |body| {
            let hint = self.hint.as_ref().map(|hint| (b'H', hint.as_str()));
            let fields = [
                (b'S', "ERROR"),
                (b'V', "ERROR"),
                (b'C', &self.sqlstate),
                (b'M', &self.message),
            ];
            for (code, value) in fields.into_iter().chain(hint) {
                body.put_u8(code);
                put_string(body, value.as_bytes());
            }
            body.put_u8(0);
        });
        frame.freeze()
    }
}

/// A statement that is run for each tenant by itself.
#[derive(Clone, Debug)]
pub struct FanOut {
    /// Under which grant.
    pub leave: Arc<Leave>,
    /// The only tenant, if the admin is bound to one.
    pub tenant: Option<TenantId>,
    /// The text, as the client sent it.
    pub sql: Bytes,
    /// The types that the client declared.
    pub declared_types: Vec<Oid>,
    /// What is asked for.
    pub ask: Ask,
    /// The temporary table that the rows are collected in, on the admin's own server connection.
    pub into: Option<String>,
    /// What the client says of databases that cannot be reached.
    pub on_error: OnError,
    /// Whether a transaction block is open.
    pub status: TransactionStatus,
    /// The session's variables, as far as others may have them.
    pub variables: Values,
    /// How far it has come.
    pub progress: Recorder,
}

/// How far it has come. Clones are of the same record.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Mutex<Progress>>);

impl Recorder {
    /// Notes how far it has come.
    pub fn note(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// As it is now.
    pub(super) fn so_far(&self) -> Progress {
        let progress = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        progress.clone()
    }
}

/// A statement that an admin has prepared.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    sql: Bytes,
    declared_types: Vec<Oid>,
}

/// A portal of one.
#[derive(Clone, Debug)]
pub(super) struct KeptPortal {
    kept: Kept,
    bind: Bind,
    leave: Arc<Leave>,
}

impl Session {
    /// What is to be run for each tenant, once its record is on disk.
    pub fn fan_out(&self) -> Option<&FanOut> {
        let hatch = self.hatch.as_ref()?;
        let is_recorded = match hatch.ticket {
            Ticket::Valid(..) => true,
            Ticket::None | Ticket::Wanted(_) => false,
        };
        hatch.fan.as_deref().filter(|_| is_recorded)
    }

    /// It has been run: this tag, or this error. The rows were written before.
    pub fn fanned_out(&mut self, result: Result<String, FanError>) {
        let (Some(hatch), Some(held)) = (&mut self.hatch, self.held.take()) else {
            return;
        };
        let progress = hatch.fan.take().map(|fan| fan.progress.so_far());
        hatch.ticket = Ticket::None;
        let filling = hatch.filling.take();
        let (result, portions) = match (result, filling) {
            (Ok(tag), Some(mut portions)) => match portions.complete(&tag) {
                Ok(()) => (Ok(tag), Some(portions)),
                Err(report) => (Err(report.into()), None),
            },
            (result, _) => (result, None),
        };
        let ending = match &result {
            Ok(tag) => Ending::Tag(tag.clone()),
            Err(error) => Ending::Sqlstate(error.sqlstate.clone()),
        };
        hatch.events.push(HatchEvent::Outcome {
            rows: progress.as_ref().map_or(0, |progress| progress.rows),
            ending,
            progress,
        });
        let status = hatch.status;
        if let (Some(server), FrontendMessage::Query(_)) = (&mut self.server, &held)
            && result.is_ok()
            && status == TransactionStatus::Idle
            && server.stage == Stage::Working
            && server.expected.is_empty()
        {
            // It was there for rows to be collected, and nothing of them has stayed.
            server.stage = Stage::Finished;
        }
        if let (Some(portions), FrontendMessage::Execute { portal, rows_max }) = (portions, &held) {
            hatch
                .portions
                .insert(Bytes::copy_from_slice(portal), portions);
            self.give_portion(portal, *rows_max);
            return;
        }
        match result {
            Ok(tag) => {
                let out = self.to_client.buffer();
                if !matches!(held, FrontendMessage::Describe(..)) {
                    message(out, b'C', |body| put_string(body, tag.as_bytes()));
                }
                if matches!(held, FrontendMessage::Query(_)) {
                    ready_for_query(out, status);
                }
            }
            Err(error) => self.answer_error(&held, error.frame()),
        }
    }

    /// Whether something is or will be run for each tenant.
    pub(super) fn is_fanning_out(&self) -> bool {
        self.hatch.as_ref().is_some_and(|hatch| hatch.fan.is_some())
    }

    /// Takes a message that concerns statements that are run for each tenant. Nothing if it does not.
    pub(super) fn step_fan(&mut self, message: &FrontendMessage) -> Option<Step> {
        if self.is_fanning_out() {
            return Some(Step::Wait(message.clone()));
        }
        self.hatch.as_ref()?;
        match self.fan(message) {
            Ok(step) => step,
            Err(failure) => {
                self.fail(message, &failure);
                Some(Step::Done)
            }
        }
    }

    fn fan(&mut self, message: &FrontendMessage) -> Result<Option<Step>, Failure> {
        match message {
            FrontendMessage::Query(sql) => {
                self.forget(&Bytes::new());
                if !self.is_for_each(sql, &[])? {
                    return Ok(None);
                }
                let kept = Kept {
                    sql: Bytes::copy_from_slice(sql),
                    declared_types: Vec::new(),
                };
                self.keep(message, &kept, &Ask::Run(None))
            }
            FrontendMessage::Parse {
                statement,
                sql,
                declared_types,
            } => self.fan_parse((statement, sql), declared_types),
            FrontendMessage::Bind(bind) => {
                self.rehome(&bind.statement)?;
                Ok(self.fan_bind(bind))
            }
            FrontendMessage::Describe(Target::Statement, name) => {
                self.rehome(name)?;
                match self.kept(name) {
                    Some(kept) => self.keep(message, &kept, &Ask::Describe(None)),
                    None => Ok(None),
                }
            }
            FrontendMessage::Describe(Target::Portal, name) => match self.kept_portal(name)? {
                Some(KeptPortal { kept, bind, .. }) => {
                    self.keep(message, &kept, &Ask::Describe(Some(bind)))
                }
                None => Ok(None),
            },
            FrontendMessage::Execute { portal, rows_max } => match self.kept_portal(portal)? {
                Some(_) if self.give_portion(portal, *rows_max) => Ok(Some(Step::Done)),
                Some(found) => {
                    if let Some(hatch) = &mut self.hatch {
                        hatch.filling = (*rows_max > 0).then(Portions::default);
                    }
                    self.keep(message, &found.kept, &Ask::Run(Some(found.bind)))
                }
                None => Ok(None),
            },
            FrontendMessage::Close(Target::Statement, name) => {
                self.forget(name);
                Ok(None)
            }
            FrontendMessage::Close(Target::Portal, name) => {
                if let Some(hatch) = &mut self.hatch {
                    hatch.kept_portals.remove(name);
                    hatch.portions.remove(name);
                }
                Ok(None)
            }
            FrontendMessage::Copy
            | FrontendMessage::Flush
            | FrontendMessage::FunctionCall
            | FrontendMessage::Sync
            | FrontendMessage::Terminate
            | FrontendMessage::TooLong { .. } => Ok(None),
        }
    }

    fn fan_parse(
        &mut self,
        (name, sql): (&Bytes, &Bytes),
        declared_types: &[Oid],
    ) -> Result<Option<Step>, Failure> {
        if name.is_empty() {
            self.forget(name);
        }
        if !self.is_for_each(sql, declared_types)? {
            return Ok(None);
        }
        let is_known = self.kept(name).is_some() || self.statements.contains_key(name);
        if !name.is_empty() && is_known {
            let name = String::from_utf8_lossy(name);
            let message = format!("prepared statement \"{name}\" already exists");
            return Err(ErrorReport::error("42P05", message));
        }
        self.statements.remove(name);
        if let Some(hatch) = &mut self.hatch {
            let kept = Kept {
                sql: Bytes::copy_from_slice(sql),
                declared_types: declared_types.to_vec(),
            };
            hatch.kept.insert(Bytes::copy_from_slice(name), kept);
        }
        self.to_client.buffer().extend_from_slice(PARSE_COMPLETE);
        Ok(Some(Step::Done))
    }

    fn fan_bind(&mut self, bind: &Bind) -> Option<Step> {
        let kept = self.kept(&bind.statement);
        let hatch = self.hatch.as_mut()?;
        hatch.kept_portals.remove(&bind.portal);
        hatch.portions.remove(&bind.portal);
        let (Some(kept), Some(leave)) = (kept, hatch.leave().cloned()) else {
            return None;
        };
        let name = Bytes::copy_from_slice(&bind.portal);
        self.portals.remove(&name);
        let portal = KeptPortal {
            kept,
            bind: bind.clone(),
            leave,
        };
        hatch.kept_portals.insert(name, portal);
        self.to_client.buffer().extend_from_slice(BIND_COMPLETE);
        Some(Step::Done)
    }

    /// A statement that was prepared under another grant is one of the other kind, maybe.
    fn rehome(&mut self, name: &Bytes) -> Result<(), Failure> {
        if let Some(kept) = self.kept(name) {
            if !self.is_for_each(&kept.sql, &kept.declared_types)? {
                let plan = self.admit(&kept.sql, &kept.declared_types)?;
                self.forget(name);
                let statement = ClientStatement {
                    sql: kept.sql,
                    declared_types: kept.declared_types,
                    plan,
                };
                let name = Bytes::copy_from_slice(name);
                self.statements.insert(name, Arc::new(statement));
            }
        } else if let Some(statement) = self.statements.get(name).cloned()
            && self.is_for_each(&statement.sql, &statement.declared_types)?
        {
            self.statements.remove(name);
            let kept = Kept {
                sql: statement.sql.clone(),
                declared_types: statement.declared_types.clone(),
            };
            if let Some(hatch) = &mut self.hatch {
                hatch.kept.insert(Bytes::copy_from_slice(name), kept);
            }
        }
        Ok(())
    }

    fn kept(&self, name: &Bytes) -> Option<Kept> {
        self.hatch.as_ref()?.kept.get(name).cloned()
    }

    /// A portal runs only under the grant that it was opened under.
    fn kept_portal(&self, name: &Bytes) -> Result<Option<KeptPortal>, Failure> {
        let Some(hatch) = &self.hatch else {
            return Ok(None);
        };
        let Some(portal) = hatch.kept_portals.get(name) else {
            return Ok(None);
        };
        let same = hatch
            .leave()
            .is_some_and(|leave| Arc::ptr_eq(leave, &portal.leave));
        if same {
            Ok(Some(portal.clone()))
        } else {
            Err(ErrorReport::error(
                "42501",
                "this portal was opened under another grant [TN6007]",
            ))
        }
    }

    fn forget(&mut self, name: &Bytes) {
        if let Some(hatch) = &mut self.hatch {
            hatch.kept.remove(name);
        }
    }

    /// Whether a text collects rows, or touches relations under a grant that reaches databases. What is wrong
    /// with it otherwise, the usual way tells.
    fn is_for_each(&self, sql: &Bytes, declared_types: &[Oid]) -> Result<bool, Failure> {
        let Some(hatch) = &self.hatch else {
            return Ok(false);
        };
        if hatch.leave().is_some() && collected(sql)?.is_some() {
            return Ok(true);
        }
        let is_at_hand = || {
            hatch
                .collected()
                .is_some_and(|admission| admission.admit(sql, declared_types).is_ok())
        };
        Ok(hatch.fans_out() && hatch.needs_relations(sql, declared_types) && !is_at_hand())
    }

    /// Keeps a statement for the proxy; its record comes first.
    fn keep(
        &mut self,
        message: &FrontendMessage,
        kept: &Kept,
        ask: &Ask,
    ) -> Result<Option<Step>, Failure> {
        let variables = self.shared_variables();
        let on_error = match self.variables.own(ON_ERROR) {
            Some("skip") => OnError::Skip,
            Some(_) | None => OnError::Stop,
        };
        let Some(hatch) = &mut self.hatch else {
            return Ok(None);
        };
        if let Some(void) = hatch.void.clone() {
            return Err(void);
        }
        if hatch.status == TransactionStatus::Failed {
            return Err(ErrorReport::error(
                "25P02",
                "current transaction is aborted, commands ignored until end of transaction block",
            ));
        }
        let InForce::Grant(leave, bound) = &hatch.in_force else {
            return Err(without_grant());
        };
        let tenant = bound.as_ref().map_err(Clone::clone)?.tenant.clone();
        let collect = collected(&kept.sql)?;
        let mut ask = ask.clone();
        if let Some(collect) = &collect {
            hatch.may_collect(&collect.table)?;
            if let Ask::Run(bind) = &mut ask {
                // The table is made on this session's own connection.
                if self.server.is_none() {
                    return Ok(Some(Step::Wait(message.clone())));
                }
                if let Some(bind) = bind {
                    bind.result_formats = Bytes::from_static(ALL_AS_TEXT);
                }
            }
        }
        let parameters = match &ask {
            Ask::Describe(Some(bind)) | Ask::Run(Some(bind)) => parameters(bind),
            Ask::Describe(None) | Ask::Run(None) => Vec::new(),
        };
        let sql = match &collect {
            Some(collect) => Bytes::copy_from_slice(collect.query.as_bytes()),
            None => kept.sql.clone(),
        };
        let sent = String::from_utf8_lossy(&sql).into_owned();
        hatch.fan = Some(Box::new(FanOut {
            leave: Arc::clone(leave),
            tenant: tenant.clone(),
            sql,
            declared_types: kept.declared_types.clone(),
            on_error,
            status: hatch.transaction(),
            variables,
            ask,
            into: collect.map(|collect| collect.table),
            progress: Recorder::default(),
        }));
        hatch.ticket = Ticket::Wanted(Box::new(Intent {
            leave: Some(Arc::clone(leave)),
            tenant,
            statement: kept.sql.clone(),
            sent,
            parameters,
            touches: Touches::Read,
        }));
        Ok(Some(Step::Wait(message.clone())))
    }

    /// The variables that a connection to a tenant's database is to have.
    fn shared_variables(&self) -> Values {
        let mut values = self.server_variables().current().clone();
        values.retain(|name, _| !name.contains('.'));
        values
    }

    /// Rows, descriptions and notices of a result that is made of many.
    pub fn pass_fanned(&mut self, frames: &mut BytesMut) {
        if let Some(hatch) = &mut self.hatch
            && let Some(filling) = &mut hatch.filling
        {
            let rest = filling.take(frames);
            self.to_client.push(rest.freeze());
            return;
        }
        self.to_client.push(frames.split().freeze());
    }
}

/// The query whose rows a text collects, if it does.
fn collected(sql: &Bytes) -> Result<Option<Collect>, Failure> {
    collect(sql).map_err(|refusal| refusal_report(&refusal, sql))
}

impl Hatch {
    /// Whether the grant in force reaches databases of tenants.
    pub(super) fn fans_out(&self) -> bool {
        match &self.in_force {
            InForce::Grant(_, Ok(bound)) => bound.reach == Reach::Databases,
            InForce::Grant(_, Err(_)) | InForce::Nothing => false,
        }
    }
}
