//! Which statements a server connection holds: they are prepared there before they are used, and again
//! when what their constants were read under has changed.

use std::sync::Arc;

use bytes::Bytes;

use super::admission::{Constants, Plan};
use super::client::PARSE_COMPLETE;
use super::copying::Gate;
use super::effect::Effect;
use super::expected::{Asker, Reply, Undo};
use super::outgoing::ParseText;
use super::{Attached, Clearing, Condition, Housekeeping, Session, Stage, Variables};
use crate::isolate::Kind;
use crate::protocol::frontend::{FrontendMessage, Target};

/// Has a Parse fail in a block that has failed, as it does on PostgreSQL, though the server holds the
/// statement already. Where it is known that nothing has failed nothing is sent.
pub(super) fn probe(server: &mut Attached, plan: &Plan, variables: &Variables) {
    let ends_a_block = plan
        .statements
        .iter()
        .any(|statement| matches!(statement.kind, Kind::Transaction(_)));
    let may_fail =
        !server.expected.is_empty() && (variables.in_block() || server.expected.begins_a_block());
    if !ends_a_block && (variables.has_failed() || may_fail) {
        server.out.parse_unnamed(&Housekeeping::Probe.text());
        server.expected.push(Reply::Parse {
            asker: Asker::Proxy,
            plan: None,
            instead: None,
        });
    }
}

impl Attached {
    /// Something was answered: what waits for a RESET goes on, unless one is still due.
    pub(super) fn note_cleared(&mut self) {
        if !self.expected.clears() {
            self.clearing = Clearing::No;
        }
    }
}

impl Session {
    /// Parse of the unnamed statement takes the present one away, whatever becomes of it. Gives how to take
    /// that back, if the server does not come to it.
    pub(super) fn drop_replaced(&mut self, message: &FrontendMessage) -> Vec<Undo> {
        let unnamed = Bytes::new();
        let replaces =
            matches!(message, FrontendMessage::Parse { statement, .. } if statement.is_empty());
        if !replaces {
            return Vec::new();
        }
        let before = self.statements.remove(&unnamed);
        vec![Undo::ClientStatement(unnamed, before)]
    }

    /// Whether a client that leaves has sent something that is to be done first, as PostgreSQL does.
    pub(super) fn finishes_first(&self) -> bool {
        self.hatch.is_none()
            && self.gate() != Gate::Rows
            && self
                .server
                .as_ref()
                .is_some_and(|server| server.expected.owes_ready())
    }
}

/// Makes sure that the server connection holds the statement. `undo` is the client's part of a Parse.
pub(super) fn prepare(
    server: &mut Attached,
    (plan, text): (&Arc<Plan>, &ParseText<'_>),
    asker: Asker,
    undo: Option<Undo>,
) {
    let mut undo: Vec<Undo> = undo.into_iter().collect();
    let is_prepared = server.state.prepared.touch(plan.id);
    let is_current = match plan.constants {
        Constants::Fixed => true,
        Constants::OfTheMoment => !server.fresh.insert(plan.id),
    };
    if is_prepared && is_current {
        if asker == Asker::Client {
            server
                .expected
                .push_undoable(Reply::Local(Bytes::from_static(PARSE_COMPLETE)), undo);
        }
        return;
    }
    if is_prepared {
        // Its constants were read for another session, or before a SET.
        server
            .out
            .close(Target::Statement, plan.id.name().as_bytes());
        server.state.prepared.remove(plan.id);
        server
            .expected
            .push_undoable(Reply::Close(Asker::Proxy), vec![Undo::Closed(plan.id)]);
    }
    server.out.parse(plan, text);
    undo.push(Undo::Prepared(plan.id));
    server.expected.push_undoable(
        Reply::Parse {
            asker,
            plan: Some(Arc::clone(plan)),
            instead: None,
        },
        undo,
    );
    if let Some(oldest) = server.state.prepared.insert(plan.id) {
        server
            .out
            .close(Target::Statement, oldest.name().as_bytes());
        server
            .expected
            .push_undoable(Reply::Close(Asker::Proxy), vec![Undo::Closed(oldest)]);
    }
}

/// Takes note of what statements will leave on a server connection when they have run.
pub(super) fn note_use<'a>(server: &mut Attached, effects: impl IntoIterator<Item = &'a Effect>) {
    for effect in effects {
        if *effect == Effect::Pin {
            server.stage = Stage::Pinned;
            server.condition = Condition::Broken;
        }
        if effect.clears() {
            server.clearing = Clearing::Sent;
        }
        let leaves_more = matches!(effect, Effect::Hold(_));
        if leaves_more && server.condition == Condition::Clean {
            server.condition = Condition::Used;
        }
        if effect.changes_variables() && server.condition == Condition::Clean {
            server.condition = Condition::Used;
        }
    }
}

/// Whether a message is about a prepared statement, or may be.
pub(super) fn names_a_statement(message: &FrontendMessage) -> bool {
    matches!(
        message,
        FrontendMessage::Bind(_)
            | FrontendMessage::Parse { .. }
            | FrontendMessage::Query(_)
            | FrontendMessage::Describe(Target::Statement, _)
            | FrontendMessage::Close(Target::Statement, _)
    )
}

/// Whether a message is for a server.
pub(super) fn needs_server(message: &FrontendMessage) -> bool {
    match message {
        FrontendMessage::Bind(_)
        | FrontendMessage::Describe(..)
        | FrontendMessage::Execute { .. }
        | FrontendMessage::Parse { .. }
        | FrontendMessage::Query(_) => true,
        FrontendMessage::Close(..)
        | FrontendMessage::Copy
        | FrontendMessage::Flush
        | FrontendMessage::FunctionCall
        | FrontendMessage::Sync
        | FrontendMessage::Terminate
        | FrontendMessage::TooLong { .. } => false,
    }
}

/// What was prepared under other settings has to be prepared again.
pub(super) fn note_settings(server: &mut Attached, plan: &Plan) {
    let keeps = |kind: &Kind| match kind {
        Kind::CloseCursor(_)
        | Kind::Cursor
        | Kind::Data
        | Kind::Deallocate(_)
        | Kind::Execute { .. }
        | Kind::Fetch
        | Kind::Hold(_)
        | Kind::Prepare(_)
        | Kind::Show { .. }
        | Kind::Truncate => true,
        Kind::Characteristics(_)
        | Kind::ClearsSession
        | Kind::Pins
        | Kind::Reset { .. }
        | Kind::ResetAll
        | Kind::Set { .. }
        | Kind::SetTransaction
        | Kind::Transaction(_) => false,
    };
    if !plan
        .statements
        .iter()
        .all(|statement| keeps(&statement.kind))
    {
        server.fresh.clear();
    }
}
