//! What becomes of the client's messages.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::admission::{Admission, Plan};
use super::clearance::Clearance;
use super::copying::{Gate, Taken};
use super::effect::Effect;
use super::expected::{Asker, Reply, Undo};
use super::housekeeping::Housekeeping;
use super::outgoing::{ParseText, text_to_prepare};
use super::preparing::{names_a_statement, needs_server, note_settings, note_use, prepare, probe};
use super::record::Refused;
use super::statements::ClientStatement;
use super::too_long::{Next, more_than};
use super::{Ending, Session};
use crate::catalog::Oid;
use crate::isolate::refusal::{Reason, Refusal};
use crate::protocol::Violation;
use crate::protocol::backend::{TransactionStatus, empty, ready_for_query};
use crate::protocol::error_response::ErrorReport;
use crate::protocol::frontend::{Bind, FrontendMessage, Target};

/// What became of a message.
pub(super) enum Step {
    /// It is done with.
    Done,
    /// It cannot go on until replies have come, or a server connection.
    Wait(FrontendMessage),
}

/// Why a message fails without having reached a server.
pub(super) type Failure = ErrorReport;

/// `ParseComplete`, `CloseComplete`
pub(super) const PARSE_COMPLETE: &[u8] = b"1\0\0\0\x04";
const CLOSE_COMPLETE: &[u8] = b"3\0\0\0\x04";

impl Session {
    pub(super) fn read_client(&mut self, input: &mut BytesMut) -> Result<(), Violation> {
        while self.ending.is_none() && self.has_room() {
            // No new work for a server connection that is about to be given back.
            if self.is_finished_with_server() {
                return Ok(());
            }
            let message = if let Some(held) = self.held.take() {
                held
            } else {
                if self.gate() == Gate::Closed {
                    return Ok(());
                }
                match self.take_copy_data(input)? {
                    Taken::Some => continue,
                    Taken::Waiting => return Ok(()),
                    Taken::Nothing => {}
                }
                match self.take_message(input)? {
                    Next::Message(message) => message,
                    Next::Passed => continue,
                    Next::Waiting => return Ok(()),
                }
            };
            match self.step(message) {
                Step::Done => self.flush_local(),
                Step::Wait(message) => {
                    self.held = Some(message);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn step(&mut self, message: FrontendMessage) -> Step {
        match &message {
            FrontendMessage::Terminate if self.finishes_first() => return Step::Wait(message),
            FrontendMessage::Terminate => {
                self.ending = Some(Ending::ClientLeft);
                return Step::Done;
            }
            _ if self.must_wait_its_turn(&message) => return Step::Wait(message),
            FrontendMessage::Sync => {
                self.sync();
                return Step::Done;
            }
            FrontendMessage::Copy => return Step::Done,
            _ if self.skipping => return Step::Done,
            FrontendMessage::Bind(_)
            | FrontendMessage::Close(..)
            | FrontendMessage::Describe(..)
            | FrontendMessage::Execute { .. }
            | FrontendMessage::Flush
            | FrontendMessage::FunctionCall
            | FrontendMessage::Parse { .. }
            | FrontendMessage::Query(_)
            | FrontendMessage::TooLong { .. } => {}
        }
        if self.waits_for_clearing(&message) {
            return Step::Wait(message);
        }
        if let Some(step) = self.step_fan(&message) {
            return step;
        }
        if names_a_statement(&message)
            && self
                .server
                .as_ref()
                .is_some_and(|server| server.expected.is_doubtful())
        {
            return Step::Wait(message);
        }
        if self.server.is_none() && needs_server(&message) {
            // What can be refused is refused without a server connection.
            if let Err(failure) = self.foresee(&message) {
                self.fail(&message, &failure);
                return Step::Done;
            }
            if !self.needs_no_server_after_all(&message) {
                return Step::Wait(message);
            }
        }
        match self.make_ready(&message) {
            Ok(Clearance::Given) => {}
            Ok(Clearance::Awaited) => return Step::Wait(message),
            Err(failure) => {
                self.fail(&message, &failure);
                return Step::Done;
            }
        }
        match self.run(&message) {
            Ok(()) => self.note_sent(&message),
            Err(failure) => {
                if let Some(hatch) = &mut self.hatch {
                    // A record is for the message that it was written for.
                    hatch.abandon("refused");
                }
                self.fail(&message, &failure);
            }
        }
        Step::Done
    }

    /// An empty text is answered without a server, and so is a Parse of what a server has parsed
    /// before: who only prepares does not queue for a connection behind those who hold one.
    fn needs_no_server_after_all(&self, message: &FrontendMessage) -> bool {
        match message {
            FrontendMessage::Query(sql) => self
                .admit(sql, &[])
                .is_ok_and(|plan| plan.statements.is_empty()),
            FrontendMessage::Parse {
                sql,
                declared_types,
                ..
            } => self
                .admit(sql, declared_types)
                .is_ok_and(|plan| plan.was_parsed()),
            FrontendMessage::Bind(_)
            | FrontendMessage::Close(..)
            | FrontendMessage::Copy
            | FrontendMessage::Describe(..)
            | FrontendMessage::Execute { .. }
            | FrontendMessage::Flush
            | FrontendMessage::FunctionCall
            | FrontendMessage::Sync
            | FrontendMessage::Terminate
            | FrontendMessage::TooLong { .. } => false,
        }
    }

    /// Whether the message would fail whatever the server says.
    fn foresee(&self, message: &FrontendMessage) -> Result<(), Failure> {
        match message {
            FrontendMessage::Query(sql) => {
                let plan = self.admit(sql, &[])?;
                self.named(&plan).map(|_| ())
            }
            FrontendMessage::Parse {
                statement,
                sql,
                declared_types,
            } => self.admit_parse(statement, sql, declared_types).map(|_| ()),
            FrontendMessage::Bind(bind) => {
                let plan = &self.current_statement(&bind.statement)?.plan;
                check_bind(bind, plan)
            }
            FrontendMessage::Describe(Target::Statement, name) => {
                self.current_statement(name).map(|_| ())
            }
            FrontendMessage::Close(..)
            | FrontendMessage::Copy
            | FrontendMessage::Describe(Target::Portal, _)
            | FrontendMessage::Execute { .. }
            | FrontendMessage::Flush
            | FrontendMessage::FunctionCall
            | FrontendMessage::Sync
            | FrontendMessage::Terminate
            | FrontendMessage::TooLong { .. } => Ok(()),
        }
    }

    fn run(&mut self, message: &FrontendMessage) -> Result<(), Failure> {
        let result = self.run_one(message);
        self.bound = match (&result, message) {
            (Ok(()), FrontendMessage::Bind(bind)) => Some(Bytes::copy_from_slice(&bind.portal)),
            (Ok(()) | Err(_), _) => None,
        };
        result
    }

    fn run_one(&mut self, message: &FrontendMessage) -> Result<(), Failure> {
        match message {
            FrontendMessage::Bind(bind) => self.bind(bind),
            FrontendMessage::Close(Target::Portal, name) => {
                self.close_portal(name);
                Ok(())
            }
            FrontendMessage::Close(Target::Statement, name) => {
                self.close_statement(name);
                Ok(())
            }
            FrontendMessage::Describe(Target::Portal, name) => {
                self.check_described(name)?;
                if let Some(server) = &mut self.server {
                    server.out.describe_portal(name);
                    server.expected.push(Reply::DescribeRows);
                }
                Ok(())
            }
            FrontendMessage::Describe(Target::Statement, name) => self.describe_statement(name),
            FrontendMessage::Execute { portal, rows_max } => self.execute(portal, *rows_max),
            FrontendMessage::Flush => {
                if let Some(server) = &mut self.server {
                    server.out.flush();
                }
                Ok(())
            }
            FrontendMessage::FunctionCall => Err(ErrorReport::error(
                "0A000",
                "function call messages are not supported",
            )
            .with_hint("Use SELECT with the function's name.")),
            FrontendMessage::Parse {
                statement,
                sql,
                declared_types,
            } => self.parse(statement, sql, declared_types),
            FrontendMessage::Query(sql) => self.query(sql),
            FrontendMessage::Copy | FrontendMessage::Sync | FrontendMessage::Terminate => Ok(()),
            FrontendMessage::TooLong { limit, .. } => Err(more_than(*limit)),
        }
    }

    /// Reports an error for a message, in its turn. If a server connection works for the client, it is
    /// made to fail at this place, and our error stands in for its own.
    pub(super) fn fail(&mut self, message: &FrontendMessage, report: &ErrorReport) {
        self.refusals.push(Refused {
            sqlstate: report.sqlstate.into(),
            message: report.message.clone(),
            statement: self.text_of(message),
        });
        self.answer_failure(message, report);
    }

    /// Reports an error in its turn, and makes the server fail at this place.
    pub(super) fn answer_failure(&mut self, message: &FrontendMessage, report: &ErrorReport) {
        let mut error = BytesMut::new();
        report.write(&mut error);
        if let (Some(hatch), Some(_)) = (&mut self.hatch, &self.server) {
            hatch.failed = Some(report.sqlstate.to_owned());
        }
        self.answer_error(message, error.freeze());
    }

    pub(super) fn answer_error(&mut self, message: &FrontendMessage, error: Bytes) {
        let simple = matches!(
            message,
            FrontendMessage::Query(_)
                | FrontendMessage::FunctionCall
                | FrontendMessage::TooLong { simple: true, .. }
        );
        let undo = self.drop_replaced(message);
        match (&mut self.server, simple) {
            (Some(server), true) => {
                server.out.housekeeping(&[Housekeeping::Fail]);
                server.expected.push(Reply::Query {
                    effects: [Effect::None].into(),
                    instead: Some(error),
                    plan: None,
                });
            }
            (Some(server), false) => {
                server.out.failing_parse();
                let failing = Reply::Parse {
                    asker: Asker::Proxy,
                    plan: None,
                    instead: Some(error),
                };
                server.expected.push_undoable(failing, undo);
                self.skipping = true;
            }
            (None, true) => {
                self.to_client.buffer().extend_from_slice(&error);
                ready_for_query(self.to_client.buffer(), TransactionStatus::Idle);
            }
            (None, false) => {
                self.to_client.buffer().extend_from_slice(&error);
                self.skipping = true;
            }
        }
    }

    fn admission(&self) -> Result<&Arc<Admission>, Failure> {
        match &self.hatch {
            Some(hatch) => hatch.admission(),
            None => self.admission.as_ref().ok_or_else(|| self.denial.clone()),
        }
    }

    pub(super) fn admit(&self, sql: &Bytes, declared_types: &[Oid]) -> Result<Arc<Plan>, Failure> {
        match &self.hatch {
            Some(hatch) => hatch.admission_of(sql)?,
            None => self.admission()?,
        }
        .admit(sql, declared_types)
        .map_err(|refusal| match &self.hatch {
            Some(hatch) => hatch.refusal_report(&refusal, sql),
            None => refusal_report(&refusal, sql),
        })
    }

    pub(super) fn admit_parse(
        &self,
        name: &Bytes,
        sql: &Bytes,
        declared_types: &[Oid],
    ) -> Result<Arc<Plan>, Failure> {
        if !name.is_empty() && self.statements.contains_key(name) {
            return Err(ErrorReport::error(
                "42P05",
                format!("prepared statement \"{}\" already exists", shown(name)),
            ));
        }
        let plan = self.admit(sql, declared_types)?;
        if plan.statements.len() > 1 {
            return Err(ErrorReport::error(
                "42601",
                "cannot insert multiple commands into a prepared statement",
            ));
        }
        Ok(plan)
    }

    /// The client's statement, admitted under the present catalog and policy.
    pub(super) fn current_statement(&self, name: &Bytes) -> Result<Arc<ClientStatement>, Failure> {
        let Some(statement) = self.statements.get(name) else {
            return Err(ErrorReport::error(
                "26000",
                if name.is_empty() {
                    "unnamed prepared statement does not exist".to_owned()
                } else {
                    format!("prepared statement \"{}\" does not exist", shown(name))
                },
            ));
        };
        self.as_admitted_now(statement)
    }

    /// The same statement under the present catalog and policy.
    pub(super) fn as_admitted_now(
        &self,
        statement: &Arc<ClientStatement>,
    ) -> Result<Arc<ClientStatement>, Failure> {
        let is_current = match &self.hatch {
            Some(hatch) => hatch.is_current(&statement.plan)?,
            None => statement.plan.admission == self.admission()?.number(),
        };
        if is_current {
            return Ok(Arc::clone(statement));
        }
        Ok(Arc::new(ClientStatement {
            plan: self.admit(&statement.sql, &statement.declared_types)?,
            sql: statement.sql.clone(),
            declared_types: statement.declared_types.clone(),
        }))
    }

    fn sync(&mut self) {
        self.void_at_sync();
        self.skipping = false;
        if let Some(server) = &mut self.server {
            server.out.sync();
            server.expected.push(Reply::Sync);
            return;
        }
        if let Some(hatch) = &mut self.hatch {
            hatch.note_status(TransactionStatus::Idle);
        }
        ready_for_query(self.to_client.buffer(), TransactionStatus::Idle);
    }

    /// A Sync would commit what was done under a grant that has ended since.
    fn void_at_sync(&mut self) {
        let void = self.hatch.as_ref().and_then(|hatch| hatch.void.clone());
        if let (Some(void), false) = (void, self.skipping || self.variables.in_block())
            && self.server.is_some()
        {
            self.answer_failure(&FrontendMessage::Sync, &void);
        }
    }

    fn query(&mut self, sql: &Bytes) -> Result<(), Failure> {
        self.statements.remove(&Bytes::new());
        let plan = self.admit(sql, &[])?;
        let identity = self.identity_for(&plan);
        self.check_streams(&plan, &identity.key)?;
        let named = self.named(&plan)?;
        let mut effects: VecDeque<Effect> = plan.statements.iter().map(Effect::of).collect();
        self.may_keep(&effects)?;
        self.begin_counting(&plan);
        let Some(server) = &mut self.server else {
            // An empty text: no server is asked.
            empty(self.to_client.buffer(), b'I');
            ready_for_query(self.to_client.buffer(), TransactionStatus::Idle);
            return Ok(());
        };
        note_use(server, effects.iter());
        note_settings(server, &plan);
        if effects.is_empty() {
            server.out.housekeeping(&[Housekeeping::Empty]);
            effects.push_back(Effect::None);
        } else {
            server
                .out
                .query(&plan, &named, identity.filling())
                .map_err(|refusal| refusal_report(&refusal, sql))?;
        }
        let renames = effects.iter().any(Effect::changes_names);
        server.expected.push_undoable(
            Reply::Query {
                effects,
                instead: None,
                plan: Some(plan),
            },
            renames.then_some(Undo::Names).into_iter().collect(),
        );
        Ok(())
    }

    fn parse(&mut self, name: &Bytes, sql: &Bytes, declared_types: &[Oid]) -> Result<(), Failure> {
        let plan = self.admit_parse(name, sql, declared_types)?;
        let text = self.text_to_prepare(&plan)?;
        // The slice of a message would keep the whole of it alive.
        let name = Bytes::copy_from_slice(name);
        let statement = Arc::new(ClientStatement {
            sql: Bytes::copy_from_slice(sql),
            declared_types: declared_types.to_vec(),
            plan: Arc::clone(&plan),
        });
        let before = self.statements.insert(name.clone(), statement);
        let undo = Undo::ClientStatement(name, before);
        match &mut self.server {
            Some(server) => {
                probe(server, &plan, &self.variables);
                prepare(server, (&plan, &text), Asker::Client, Some(undo));
            }
            None => self.to_client.buffer().extend_from_slice(PARSE_COMPLETE),
        }
        Ok(())
    }

    pub(super) fn text_to_prepare<'p>(&self, plan: &'p Plan) -> Result<ParseText<'p>, Failure> {
        let identity = self.identity_for(plan);
        text_to_prepare(plan, identity.filling()).map_err(|refusal| refusal_report(&refusal, b""))
    }

    fn bind(&mut self, bind: &Bind) -> Result<(), Failure> {
        let statement = self.current_statement(&bind.statement)?;
        check_bind(bind, &statement.plan)?;
        if self.parse_executing(&statement)? {
            if let Some(server) = &mut self.server {
                server.out.bind_unnamed(bind);
                server.expected.push(Reply::Bind);
            }
            let portal = Bytes::copy_from_slice(&bind.portal);
            self.portals.insert(portal, Arc::clone(&statement.plan));
            return Ok(());
        }
        let identity = self.identity_for(&statement.plan);
        self.check_streams(&statement.plan, &identity.key)?;
        let text = self.text_to_prepare(&statement.plan)?;
        let Some(server) = &mut self.server else {
            return Ok(());
        };
        prepare(server, (&statement.plan, &text), Asker::Proxy, None);
        server
            .out
            .bind(bind, &statement.plan, identity.filling())
            .map_err(|mismatch| ErrorReport::error("22023", mismatch.to_string()))?;
        server.expected.push(Reply::Bind);
        self.portals.insert(
            Bytes::copy_from_slice(&bind.portal),
            Arc::clone(&statement.plan),
        );
        Ok(())
    }

    fn describe_statement(&mut self, name: &Bytes) -> Result<(), Failure> {
        let statement = self.current_statement(name)?;
        if self.parse_executing(&statement)? {
            if let Some(server) = &mut self.server {
                server.out.describe_unnamed();
                let hidden = 0;
                server.expected.push(Reply::DescribeStatement { hidden });
            }
            return Ok(());
        }
        let text = self.text_to_prepare(&statement.plan)?;
        if let Some(server) = &mut self.server {
            prepare(server, (&statement.plan, &text), Asker::Proxy, None);
            server.out.describe_statement(statement.plan.id);
            server.expected.push(Reply::DescribeStatement {
                hidden: statement.plan.tenant_parameters().len(),
            });
        }
        Ok(())
    }

    fn execute(&mut self, portal: &Bytes, rows_max: i32) -> Result<(), Failure> {
        let plan = self.portals.get(portal).cloned();
        let undo = match &plan {
            Some(plan) => self.change_names(plan)?,
            None => Vec::new(),
        };
        let effect = plan
            .as_ref()
            .and_then(|plan| plan.statements.first())
            .map_or(Effect::None, Effect::of);
        self.may_keep([&effect])?;
        if let Some(server) = &mut self.server {
            note_use(server, [&effect]);
            if let Some(plan) = &plan {
                note_settings(server, plan);
            }
            let asked = self.row_limit.asked(&effect, rows_max);
            server.out.execute(portal, asked);
            if self.row_limit.is_set() {
                server.out.flush();
            }
            server.expected.push_undoable(Reply::Execute(effect), undo);
        }
        Ok(())
    }

    fn close_portal(&mut self, name: &Bytes) {
        match &mut self.server {
            Some(server) => {
                server.out.close(Target::Portal, name);
                server.expected.push(Reply::Close(Asker::Client));
            }
            None => self.to_client.buffer().extend_from_slice(CLOSE_COMPLETE),
        }
    }

    /// The statement stays prepared on server connections, for others who send the same text.
    fn close_statement(&mut self, name: &Bytes) {
        let before = self.statements.remove(name);
        match &mut self.server {
            Some(server) => {
                let name = Bytes::copy_from_slice(name);
                let undo = before.map(|before| Undo::ClientStatement(name, Some(before)));
                server.expected.push_undoable(
                    Reply::Local(Bytes::from_static(CLOSE_COMPLETE)),
                    undo.into_iter().collect(),
                );
            }
            None => self.to_client.buffer().extend_from_slice(CLOSE_COMPLETE),
        }
    }

    /// Writes the answers of our own whose turn has come.
    pub(super) fn flush_local(&mut self) {
        let Some(server) = &mut self.server else {
            return;
        };
        while let Some(Reply::Local(_)) = server.expected.front() {
            if let Some(Reply::Local(bytes)) = server.expected.pop() {
                self.to_client.buffer().extend_from_slice(&bytes);
            }
        }
    }
}

/// The client must fill its own parameters, no fewer and no more: what comes after them is the
/// tenant's.
fn check_bind(bind: &Bind, plan: &Plan) -> Result<(), Failure> {
    let required = usize::from(plan.client_parameters());
    if bind.parameters != required {
        return Err(ErrorReport::error(
            "08P01",
            format!(
                "bind message supplies {} parameters, but prepared statement \"{}\" requires {required}",
                bind.parameters,
                shown(&bind.statement),
            ),
        ));
    }
    let formats = bind.parameter_formats.len();
    if formats > 1 && formats != required {
        return Err(ErrorReport::error(
            "08P01",
            format!("bind message has {formats} parameter formats but {required} parameters"),
        ));
    }
    check_patterns(bind, plan)?;
    if required + plan.tenant_parameters().len() > usize::from(u16::MAX) {
        return Err(ErrorReport::error("54000", "too many parameters"));
    }
    Ok(())
}

/// LIKE fails on a wrong pattern only where a row fits it so far, which may be another tenant's row, and a
/// cast to an enum where a row is looked at. So they fail here, with PostgreSQL's own words; the same with
/// what PostgreSQL follows too deep.
fn check_patterns(bind: &Bind, plan: &Plan) -> Result<(), Failure> {
    if plan.patterns().next().is_none() {
        return Ok(());
    }
    let values = bind.each_value();
    for pattern in plan.patterns() {
        let value = usize::from(pattern.number)
            .checked_sub(1)
            .and_then(|index| values.get(index));
        match value {
            Some(Some(value)) => {
                if let Some(refusal) = pattern.fault(value) {
                    if let Reason::AsPostgres { sqlstate, message } = &refusal.reason {
                        return Err(ErrorReport::error(sqlstate, message.clone()));
                    }
                    return Err(refusal_report(&refusal, b""));
                }
            }
            Some(None) => {}
            None => return Err(ErrorReport::error("22023", "a parameter has no value")),
        }
    }
    Ok(())
}

/// What the client is told of a refusal.
pub(super) fn refusal_report(refusal: &Refusal, sql: &[u8]) -> ErrorReport {
    let position = refusal.position.and_then(|at| {
        let before = std::str::from_utf8(sql.get(..at)?).ok()?;
        Some(before.chars().count() + 1)
    });
    ErrorReport {
        hint: refusal.hint(),
        position,
        ..ErrorReport::error(refusal.sqlstate(), refusal.to_string())
    }
}

pub(super) fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}
