//! A change by a single Query outside a transaction block, under a grant that limits rows: it is counted
//! before it is committed, in a transaction that Tenantry opens and ends around it.

use bytes::BytesMut;

use super::admission::Plan;
use super::effect::Effect;
use super::expected::Reply;
use super::{Housekeeping, Session};
use crate::admitted::Admitted;
use crate::protocol::backend::{TransactionStatus, message};
use crate::tenant::Verb;

/// How far such a change is.
#[derive(Debug)]
pub(super) enum Counting {
    /// The statement runs; its command tag waits here until it is committed.
    Statement(BytesMut),
    /// The transaction ends; the client gets this instead of the answer to that.
    End(BytesMut),
}

/// Whether a plan of an admin changes rows.
pub(super) fn changes_rows(plan: &Plan) -> bool {
    plan.statements
        .iter()
        .any(|statement| match &statement.admitted {
            Admitted::Bypassed(bypassed) => {
                bypassed.verbs().iter().any(|verb| *verb != Verb::Select)
            }
            Admitted::Isolated(_) => false,
        })
}

impl Session {
    /// Opens a transaction where what a plan changes must be counted before it is committed.
    pub(super) fn begin_counting(&mut self, plan: &Plan) {
        let is_write = changes_rows(plan);
        let (Some(hatch), Some(server)) = (&mut self.hatch, &mut self.server) else {
            return;
        };
        let is_limited = hatch
            .leave()
            .is_some_and(|leave| leave.grant.max_rows.is_some());
        if is_write && is_limited && hatch.status == TransactionStatus::Idle {
            server.out.housekeeping(&[Housekeeping::Begin]);
            server.expected.push_housekeeping();
            hatch.counting = Some(Counting::Statement(BytesMut::new()));
        }
    }

    /// Whether what the server has just done can still be undone by an error.
    pub(super) fn is_counting(&self) -> bool {
        self.hatch
            .as_ref()
            .is_some_and(|hatch| matches!(hatch.counting, Some(Counting::Statement(_))))
    }

    /// Takes the command tag of the statement, or puts it in the place of COMMIT's. Whether it did.
    pub(super) fn keep_tag(&mut self, body: &[u8]) -> bool {
        let Some(hatch) = &mut self.hatch else {
            return false;
        };
        match &mut hatch.counting {
            None => false,
            Some(Counting::Statement(tag)) => {
                message(tag, b'C', |out| out.extend_from_slice(body));
                true
            }
            Some(Counting::End(tag)) => {
                self.to_client.buffer().extend_from_slice(tag);
                tag.clear();
                true
            }
        }
    }

    /// The statement is over, and the transaction around it is ended. Whether there was one.
    pub(super) fn end_counting(&mut self, status: TransactionStatus) -> bool {
        let (Some(hatch), Some(server)) = (&mut self.hatch, &mut self.server) else {
            return false;
        };
        match hatch.counting.take() {
            None | Some(Counting::End(_)) => return false,
            Some(Counting::Statement(tag)) => {
                let holds = status == TransactionStatus::InTransaction && !hatch.must_end();
                let (end, tag) = if holds {
                    (Housekeeping::Commit, tag)
                } else {
                    hatch.undo();
                    (Housekeeping::Rollback, BytesMut::new())
                };
                server.out.housekeeping(&[end]);
                hatch.counting = Some(Counting::End(tag));
            }
        }
        server.expected.push(Reply::Query {
            effects: [Effect::None].into(),
            instead: None,
            plan: None,
        });
        true
    }
}
