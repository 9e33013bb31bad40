//! Which statements a server connection holds: they are prepared there before they are used, and again
//! when what their constants were read under has changed.

use std::sync::Arc;

use bytes::Bytes;

use super::Attached;
use super::admission::{Constants, Plan};
use super::client::PARSE_COMPLETE;
use super::expected::{Asker, Reply, Undo};
use super::outgoing::ParseText;
use crate::isolate::Kind;
use crate::protocol::frontend::Target;

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
