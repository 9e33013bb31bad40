//! What becomes of the server's messages.

use bytes::{Buf, BytesMut};

use super::effect::Effect;
use super::expected::{Asker, Reply, Undo, undo_prepared};
use super::named::in_failed_block;
use super::reference::not_present;
use super::running::ends_grant;
use super::{Condition, Refused, Session, Stage};
use crate::bypass::{Ending, GrantEnd};
use crate::isolate::template::OUT_OF_SCOPE;
use crate::protocol::Violation;
use crate::protocol::backend::{
    TransactionStatus, command_complete, is_readable, parameter_status, read_parameter_status,
    shorter_parameter_description,
};
use crate::protocol::error_response::{ErrorReport, ServerReport, Visible, visible};
use crate::protocol::frame::{HEADER_BYTES, SERVER_BYTES_MAX, header};
use crate::protocol::frontend::FrontendMessage;

/// What is done with a message's bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Bytes {
    /// The client does not get them.
    Dropped,
    /// The client gets them as they are.
    Passed,
}

impl Session {
    pub(super) fn read_server(&mut self, input: &mut BytesMut) -> Result<(), Violation> {
        // The bytes at the beginning of `input` that the client gets as they are.
        let mut run = 0;
        let result = loop {
            // Invariant: once the conversation has ended nothing of the server reaches the client. A
            // failed preparation of the connection counts on it.
            if self.ending.is_some() || !self.wants_server_bytes() || run >= super::HIGH_WATER_BYTES
            {
                break Ok(());
            }
            let Some(server) = &mut self.server else {
                break Ok(());
            };
            if server.stage == Stage::Finished {
                break Ok(());
            }
            if server.dropping_bytes > 0 || server.passing_bytes > 0 {
                if self.take_unread(input, &mut run) {
                    continue;
                }
                break Ok(());
            }
            let rest = input.get(run..).unwrap_or_default();
            let next = match header(rest) {
                Ok(Some(next)) => next,
                Ok(None) => break Ok(()),
                Err(violation) => break Err(violation),
            };
            if is_passed_unread(next.tag) {
                match self.pass(next.tag) {
                    Ok(Bytes::Passed) => {
                        if let Some(server) = &mut self.server {
                            server.passing_bytes = HEADER_BYTES + next.body_bytes;
                        }
                        continue;
                    }
                    Ok(Bytes::Dropped) => {
                        if let Some(server) = &mut self.server {
                            server.dropping_bytes = HEADER_BYTES + next.body_bytes;
                        }
                        continue;
                    }
                    Err(violation) => break Err(violation),
                }
            }
            if next.body_bytes > SERVER_BYTES_MAX {
                break Err(Violation::Length);
            }
            let whole = HEADER_BYTES + next.body_bytes;
            if rest.len() < whole {
                break Ok(());
            }
            self.pass_run(input, &mut run);
            let message = input.split_to(whole).freeze();
            let body = message.slice(HEADER_BYTES..);
            match self.understand(next.tag, &body) {
                Ok(Bytes::Passed) => self.to_client.push(message),
                Ok(Bytes::Dropped) => {}
                Err(violation) => break Err(violation),
            }
            self.flush_local();
            self.note_answered();
        };
        if run > 0 {
            self.to_client.push(input.split_to(run).freeze());
        }
        if input.is_empty() {
            *input = BytesMut::new();
        }
        result
    }

    /// What was only counted goes to the client before anything else is written to it.
    fn pass_run(&mut self, input: &mut BytesMut, run: &mut usize) {
        if *run > 0 {
            self.to_client.push(input.split_to(*run).freeze());
            *run = 0;
        }
    }

    /// Takes what has come of a message that is not read; whether that was all of it.
    fn take_unread(&mut self, input: &mut BytesMut, run: &mut usize) -> bool {
        if self
            .server
            .as_ref()
            .is_some_and(|server| server.dropping_bytes > 0)
        {
            self.pass_run(input, run);
        }
        let Some(server) = &mut self.server else {
            return true;
        };
        if server.dropping_bytes > 0 {
            let step = server.dropping_bytes.min(input.len());
            input.advance(step);
            server.dropping_bytes -= step;
            return server.dropping_bytes == 0;
        }
        let step = server.passing_bytes.min(input.len() - *run);
        server.passing_bytes -= step;
        *run += step;
        if server.passing_bytes > 0 {
            return false;
        }
        if let Some(Reply::Local(_)) = server.expected.front() {
            // What was described is complete: our own answer follows it.
            self.pass_run(input, run);
            self.flush_local();
            self.note_answered();
        }
        true
    }

    /// Whether a message that is not read is due, and whether the client gets it.
    fn pass(&mut self, tag: u8) -> Result<Bytes, Violation> {
        let Some(server) = &mut self.server else {
            return Err(Violation::ServerTag(tag));
        };
        match (tag, server.expected.front()) {
            (_, Some(Reply::Housekeeping)) => Ok(Bytes::Dropped),
            (b'D' | b'H' | b'c' | b'd' | b'T', Some(Reply::Query { .. }))
            | (b'D' | b'H' | b'c' | b'd', Some(Reply::Execute(_))) => {
                let passes = match (&mut self.hatch, tag) {
                    (Some(hatch), b'D' | b'd') => hatch.pass_row(),
                    (Some(hatch), _) => !hatch.is_cut(),
                    (None, b'D' | b'd') => self.row_limit.pass_row(server.expected.next(), tag),
                    (None, _) => !self.row_limit.is_cut(),
                };
                Ok(if passes {
                    Bytes::Passed
                } else {
                    Bytes::Dropped
                })
            }
            (b'T' | b'n', Some(Reply::DescribeRows)) => {
                server.expected.pop();
                Ok(Bytes::Passed)
            }
            _ => Err(Violation::ServerTag(tag)),
        }
    }

    /// A message that has to be read.
    fn understand(&mut self, tag: u8, body: &[u8]) -> Result<Bytes, Violation> {
        match tag {
            b'1' | b'2' | b'3' => self.on_acknowledgement(tag),
            b'C' | b'I' | b's' => self.on_completion(tag, body),
            b'E' => self.on_error(body),
            b'N' => self.on_notice(body),
            b'S' => self.on_parameter_status(body),
            b'Z' => self.on_ready(body),
            b't' => self.on_parameter_description(body),
            b'G' => {
                self.on_copy_in(body)?;
                Ok(Bytes::Dropped)
            }
            b'A' => Ok(if self.hears() {
                Bytes::Passed
            } else {
                Bytes::Dropped
            }),
            _ => Err(Violation::ServerTag(tag)),
        }
    }

    fn on_acknowledgement(&mut self, tag: u8) -> Result<Bytes, Violation> {
        let due = self
            .server
            .as_mut()
            .and_then(|server| server.expected.pop());
        let asker = match (tag, due) {
            (
                b'1',
                Some(Reply::Parse {
                    asker,
                    plan: Some(plan),
                    instead: None,
                }),
            ) => {
                plan.note_parsed();
                asker
            }
            // It has only asked whether the block has failed.
            (
                b'1',
                Some(Reply::Parse {
                    asker: Asker::Proxy,
                    plan: None,
                    instead: None,
                }),
            ) => Asker::Proxy,
            (b'2', Some(Reply::Bind)) => Asker::Client,
            (b'3', Some(Reply::Close(asker))) => asker,
            _ => return Err(Violation::ServerTag(tag)),
        };
        Ok(match asker {
            Asker::Client => Bytes::Passed,
            Asker::Proxy => Bytes::Dropped,
        })
    }

    fn on_completion(&mut self, tag: u8, body: &[u8]) -> Result<Bytes, Violation> {
        let Some(server) = &mut self.server else {
            return Err(Violation::ServerTag(tag));
        };
        let of_execute = matches!(server.expected.front(), Some(Reply::Execute(_)));
        let effect = match server.expected.front() {
            Some(Reply::Housekeeping) => return Ok(Bytes::Dropped),
            Some(Reply::Query { effects, .. }) if tag != b's' => {
                effects.pop_front().ok_or(Violation::ServerTag(tag))?
            }
            Some(Reply::Execute(_)) => match server.expected.pop() {
                Some(Reply::Execute(effect)) if tag == b'C' => effect,
                _ => Effect::None,
            },
            _ => return Err(Violation::ServerTag(tag)),
        };
        if matches!(effect, Effect::CopyIn(_)) {
            server.copying = None;
        }
        let execute = server.expected.is_empty();
        let is_counting = self.is_counting();
        if !is_counting && self.keep_tag(body) {
            return Ok(Bytes::Dropped);
        }
        if let (Some(hatch), Effect::Rollback) = (&mut self.hatch, &effect) {
            // What was done under a grant that has ended since is undone.
            hatch.void = None;
            hatch.changed.clear();
        }
        if let Some(hatch) = &mut self.hatch {
            hatch.note_tag(if tag == b'C' { body } else { b"" });
            if execute || is_counting || self.variables.in_block() {
                hatch.check_rows();
            }
        }
        self.note_left(&effect, body);
        if !of_execute {
            self.note_names(&effect);
        } else if let Some(server) = &mut self.server {
            server.note_cleared();
        }
        self.variables.completed(&effect, body);
        self.note_grant(ends_grant(&effect));
        let is_cut = self.completes_cut(&effect);
        if is_cut && execute {
            self.end_cut_execute();
        }
        if let (b'C', false, Some(tag)) = (tag, is_cut, effect.tag()) {
            command_complete(self.to_client.buffer(), tag);
            return Ok(Bytes::Dropped);
        }
        // A Query is still to be followed by ReadyForQuery, in the place of which the error comes.
        Ok(if is_cut || self.keep_tag(body) {
            Bytes::Dropped
        } else {
            Bytes::Passed
        })
    }

    /// Takes note of what a statement leaves on the server connection, or takes away.
    fn note_left(&mut self, effect: &Effect, tag: &[u8]) {
        let forgets = *effect == Effect::Deallocate(None) && self.prepares_on_the_server();
        let stage = self.first_stage();
        let Some(server) = &mut self.server else {
            return;
        };
        server.held.completed(effect, tag);
        // An admin's connection is brought into line before each of its messages.
        server.was_reset |= self.hatch.is_none()
            && matches!(effect, Effect::Clear | Effect::Reset(_) | Effect::ResetAll);
        if *effect == Effect::Clear || forgets {
            // What was prepared is gone, with the rest or by itself.
            server.state.prepared = super::statements::Prepared::default();
            server.fresh.clear();
        }
        if *effect == Effect::Clear {
            server.stage = stage;
            self.statements.clear();
        }
    }

    /// An answer that was cut off ends with an error: the server is made to fail as well.
    fn end_cut_execute(&mut self) {
        let Some(report) = self.take_cut() else {
            return;
        };
        let execute = FrontendMessage::Execute {
            portal: bytes::Bytes::new(),
            rows_max: 0,
        };
        self.answer_failure(&execute, &report);
        if let Some(server) = &mut self.server {
            server.out.flush();
        }
    }

    fn on_parameter_description(&mut self, body: &[u8]) -> Result<Bytes, Violation> {
        let due = self
            .server
            .as_mut()
            .and_then(|server| server.expected.front());
        let Some(due @ Reply::DescribeStatement { .. }) = due else {
            return Err(Violation::ServerTag(b't'));
        };
        let Reply::DescribeStatement { hidden } = std::mem::replace(due, Reply::DescribeRows)
        else {
            return Err(Violation::ServerTag(b't'));
        };
        self.to_client
            .push(shorter_parameter_description(body, hidden)?);
        Ok(Bytes::Dropped)
    }

    fn on_parameter_status(&mut self, body: &[u8]) -> Result<Bytes, Violation> {
        let (name, value) = read_parameter_status(body)?;
        if !is_readable(&name, &value) {
            // What was admitted would not be what the server reads.
            return Err(Violation::ServerTag(b'S'));
        }
        let Some(server) = &mut self.server else {
            return Err(Violation::ServerTag(b'S'));
        };
        server.state.parameters.insert(name.clone(), value.clone());
        if matches!(server.expected.front(), Some(Reply::Housekeeping))
            || name == "session_authorization"
            || name == "is_superuser"
        {
            return Ok(Bytes::Dropped);
        }
        let own = self.variables.current().get(&name.to_ascii_lowercase());
        if let (true, Some(own)) = (server.was_reset, own) {
            // What the client said itself when it came is what RESET gives it, before long.
            if self.reported.get(&name) != Some(own) {
                parameter_status(self.to_client.buffer(), &name, own);
                self.reported.insert(name, own.clone());
            }
            return Ok(Bytes::Dropped);
        }
        self.reported.insert(name, value);
        Ok(Bytes::Passed)
    }

    fn on_notice(&mut self, body: &[u8]) -> Result<Bytes, Violation> {
        let report = ServerReport::read(body)?;
        let housekeeping = self
            .server
            .as_mut()
            .is_some_and(|server| matches!(server.expected.front(), Some(Reply::Housekeeping)));
        if !housekeeping {
            let visible = self.visible(&report);
            report.write(b'N', &visible, self.to_client.buffer());
        }
        Ok(Bytes::Dropped)
    }

    /// What the client may see of a report, in the words of its own stream if one is read.
    fn visible(&self, report: &ServerReport<'_>) -> Visible {
        let mut visible = visible(report, self.own_values.as_deref().map(Vec::as_slice));
        let server = self.server.as_ref();
        let is_verbatim = server.is_some_and(|server| server.expected.is_verbatim());
        if self.own_values.is_none() && is_verbatim {
            visible.codes.push(b'P');
        }
        let copying = server.and_then(|server| server.copying.as_ref());
        let Some(stream) = copying.map(|copying| &copying.stream) else {
            return visible;
        };
        Visible {
            message: report
                .text(b'M')
                .and_then(|message| stream.message(message)),
            context: report
                .text(b'W')
                .and_then(|context| stream.context(context)),
            ..visible
        }
    }

    /// The server has refused something; of an admin's it is on record.
    fn note_server_error(&mut self, report: &ServerReport<'_>) {
        if self.hatch.is_none() {
            return;
        }
        let sqlstate = if is_of_another_tenant(report) {
            OUT_OF_SCOPE_SQLSTATE
        } else {
            not_present(report).map_or_else(
                || report.text(b'C').unwrap_or_default(),
                |missing| missing.sqlstate,
            )
        };
        self.note_failed(Refused {
            sqlstate: sqlstate.to_owned().into(),
            message: report.text(b'M').unwrap_or_default().to_owned(),
            statement: bytes::Bytes::new(),
        });
    }

    fn on_error(&mut self, body: &[u8]) -> Result<Bytes, Violation> {
        let report = ServerReport::read(body)?;
        let visible = self.visible(&report);
        let Some(server) = &mut self.server else {
            return Err(Violation::ServerTag(b'E'));
        };
        server.copying = None;
        // An error that stands in for one of ours says nothing of its own.
        let is_ours = match server.expected.front() {
            Some(Reply::Parse { instead, .. } | Reply::Query { instead, .. }) => instead.is_some(),
            Some(reply) => matches!(reply, Reply::Housekeeping),
            None => false,
        };
        if !is_ours {
            self.note_server_error(&report);
        }
        let Some(server) = &mut self.server else {
            return Err(Violation::ServerTag(b'E'));
        };
        if report.is_fatal() {
            server.condition = Condition::Broken;
            report.write(b'E', &visible, self.to_client.buffer());
            self.ending = Some(super::Ending::Fatal);
            return Ok(Bytes::Dropped);
        }
        server.note_cleared();
        if !self.variables.in_block() {
            server.held.rolled_back();
        }
        if is_stale(&report) {
            server.condition = Condition::Broken;
        }
        let instead = match server.expected.front() {
            None => return Err(Violation::ServerTag(b'E')),
            Some(Reply::Housekeeping) => {
                server.condition = Condition::Broken;
                let message = report
                    .text(b'M')
                    .unwrap_or("a session variable cannot be set");
                self.end(&ErrorReport::fatal("22023", message));
                return Ok(Bytes::Dropped);
            }
            Some(Reply::Parse { instead, .. }) => instead.take(),
            Some(Reply::Query {
                effects, instead, ..
            }) => {
                effects.clear();
                let instead = instead.take();
                self.write_error(&report, &visible, instead);
                self.variables.failed();
                self.note_grant(GrantEnd::TransactionEnd);
                return Ok(Bytes::Dropped);
            }
            Some(
                Reply::Bind
                | Reply::Close(_)
                | Reply::DescribeRows
                | Reply::DescribeStatement { .. }
                | Reply::Execute(_)
                | Reply::Local(_)
                | Reply::Prepared
                | Reply::Sync,
            ) => None,
        };
        self.write_error(&report, &visible, instead);
        self.variables.failed();
        self.note_grant(GrantEnd::TransactionEnd);
        self.skip();
        Ok(Bytes::Dropped)
    }

    fn write_error(
        &mut self,
        report: &ServerReport<'_>,
        visible: &Visible,
        instead: Option<bytes::Bytes>,
    ) {
        let cut = self.take_cut();
        match (instead, cut) {
            (Some(error), _) if self.is_ignored(&error) => {
                in_failed_block().write(self.to_client.buffer());
            }
            (Some(error), _) => self.to_client.push(error),
            (None, Some(cut)) => cut.write(self.to_client.buffer()),
            (None, None) if self.hatch.is_some() && is_of_another_tenant(report) => {
                ErrorReport::error(OUT_OF_SCOPE_SQLSTATE, OUT_OF_SCOPE)
                    .write(self.to_client.buffer());
            }
            (None, None) => match not_present(report) {
                Some(missing) => missing.write(self.to_client.buffer()),
                None => report.write(b'E', visible, self.to_client.buffer()),
            },
        }
    }

    /// Whether PostgreSQL would not have come as far as to this error of ours: in a block that has failed it
    /// only reads a statement, and looks for what is bound.
    fn is_ignored(&self, error: &[u8]) -> bool {
        if self.hatch.is_some() || !self.variables.has_failed() {
            return false;
        }
        let body = error.get(HEADER_BYTES..).unwrap_or_default();
        let sqlstate = ServerReport::read(body).ok();
        let sqlstate = sqlstate.as_ref().and_then(|report| report.text(b'C'));
        !matches!(sqlstate, Some("08P01" | "26000" | "42601" | "54000") | None)
    }

    /// After an error in the extended protocol nothing is answered before the next Sync.
    fn skip(&mut self) {
        let Some(server) = &mut self.server else {
            return;
        };
        let unnamed_goes = server.expected.replaces_the_unnamed();
        let (undo, sync_was_sent) = server.expected.skip_to_sync();
        for undo in undo {
            match undo_prepared(undo, &mut server.state.prepared) {
                Some(Undo::ClientStatement(name, Some(before))) => {
                    self.statements.insert(name, before);
                }
                Some(Undo::ClientStatement(name, None)) => {
                    self.statements.remove(&name);
                }
                Some(Undo::Closed(_) | Undo::Names | Undo::Prepared(_)) | None => {}
            }
        }
        if unnamed_goes {
            self.statements.remove(&bytes::Bytes::new());
        }
        if let Some(server) = &mut self.server
            && let Some(reply @ Reply::Prepared) = server.expected.front()
        {
            // What waits for this has failed with it.
            *reply = Reply::Sync;
            self.held = None;
        }
        if !sync_was_sent {
            self.skipping = true;
        }
    }

    fn on_ready(&mut self, body: &[u8]) -> Result<Bytes, Violation> {
        let status = TransactionStatus::read(body)?;
        let Some(server) = &mut self.server else {
            return Err(Violation::ServerTag(b'Z'));
        };
        let due = server.expected.pop();
        let bytes = match due {
            Some(Reply::Housekeeping) if status == TransactionStatus::Idle => {
                self.report_parameters();
                return Ok(Bytes::Dropped);
            }
            // A transaction was made read-only.
            Some(Reply::Housekeeping)
                if self.hatch.is_some() && status == TransactionStatus::InTransaction =>
            {
                return Ok(Bytes::Dropped);
            }
            Some(Reply::Prepared) => return Ok(Bytes::Dropped),
            Some(Reply::Query { effects, .. }) if effects.is_empty() => Bytes::Passed,
            Some(Reply::Sync) => Bytes::Passed,
            _ => return Err(Violation::ServerTag(b'Z')),
        };
        let undone = self.variables.has_failed();
        if self.end_counting(status) {
            return Ok(Bytes::Dropped);
        }
        self.variables.ready(status);
        self.note_grant(GrantEnd::TransactionEnd);
        if let Some(hatch) = &mut self.hatch {
            let failed = hatch.failed.take();
            if let (Some(sqlstate), TransactionStatus::Idle) = (failed, status) {
                hatch.undone(Ending::Sqlstate(sqlstate));
            }
            hatch.note_status(status);
        }
        if self.end_cut_query(status) {
            return Ok(Bytes::Dropped);
        }
        let Some(server) = &mut self.server else {
            return Err(Violation::ServerTag(b'Z'));
        };
        server.note_cleared();
        if status == TransactionStatus::Idle {
            if undone {
                server.held.rolled_back();
            }
            server.held.committed();
            self.portals.clear();
            if server.expected.is_empty()
                && server.held.is_empty()
                && server.stage == Stage::Working
            {
                server.stage = Stage::Finished;
            }
            self.align_again();
        }
        Ok(bytes)
    }
}

/// Messages of which the header is enough: rows, their description, COPY data.
fn is_passed_unread(tag: u8) -> bool {
    matches!(tag, b'D' | b'T' | b'n' | b'H' | b'c' | b'd')
}

/// What an admin is told of a new row outside of the grant: insufficient privilege, as where it is seen before
/// anything is sent.
const OUT_OF_SCOPE_SQLSTATE: &str = "42501";

/// Whether the server refused a new row for its tenant: it cannot make a value of the text that stands in
/// place of the tenant's.
fn is_of_another_tenant(report: &ServerReport<'_>) -> bool {
    report.text(b'C') == Some("22P02")
        && report
            .text(b'M')
            .is_some_and(|message| message.contains(OUT_OF_SCOPE))
}

/// Whether a prepared statement on this connection is not what it was.
fn is_stale(report: &ServerReport<'_>) -> bool {
    match report.text(b'C') {
        Some("26000" | "42P05") => true,
        Some("0A000") => report.text(b'R') == Some("RevalidateCachedQuery"),
        _ => false,
    }
}
