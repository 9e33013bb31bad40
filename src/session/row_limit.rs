//! How many rows one answer to a tenant may have (`result_rows`).
//!
//! In the extended protocol the server itself is asked for one row more than that and no further, and what a
//! client sends behind an Execute waits until it is answered: so the server can be made to fail where the
//! client is told of an error. A Query is cancelled at the first row too many. If it was done before that could
//! happen, nothing of its answer is passed on any more; in a transaction block the server is made to fail.
//!
//! # Not here
//! What a grant allows: [`super::hatch`], which counts by itself.

use super::Session;
use super::effect::Effect;
use super::expected::Reply;
use crate::protocol::backend::TransactionStatus;
use crate::protocol::error_response::{ErrorReport, Severity};
use crate::protocol::frontend::FrontendMessage;

/// The limit, and what came of it.
#[derive(Debug, Default)]
pub(super) struct RowLimit {
    rows_max: Option<u64>,
    /// What the client got of the present answer.
    passed: u64,
    answer: Answer,
}

/// What becomes of the present answer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Answer {
    /// The client gets no more of it.
    Cut,
    /// The same, and the server is to be asked to stop.
    Endless,
    /// The client gets it.
    #[default]
    Passed,
}

impl RowLimit {
    /// Whether one more row goes to the client.
    pub(super) fn pass_row(&mut self, due: Option<&Reply>, tag: u8) -> bool {
        if let Some(rows_max) = self.rows_max {
            if !self.is_cut() && self.passed >= rows_max {
                // It stops by itself at the end of what an Execute asked for, but COPY asks for all.
                let is_endless = tag == b'd' || matches!(due, Some(Reply::Query { .. }));
                self.answer = if is_endless {
                    Answer::Endless
                } else {
                    Answer::Cut
                };
            }
            self.passed += 1;
        }
        !self.is_cut()
    }

    /// Whether the client gets no more of the present answer.
    pub(super) fn is_cut(&self) -> bool {
        self.answer != Answer::Passed
    }

    /// A command has completed: the next one's rows are another answer.
    pub(super) fn completed(&mut self) {
        self.passed = 0;
    }

    /// What the client is told in place of the rest.
    pub(super) fn take_cut(&mut self) -> Option<ErrorReport> {
        self.passed = 0;
        let answer = std::mem::take(&mut self.answer);
        (answer != Answer::Passed).then(|| self.report())
    }

    fn report(&self) -> ErrorReport {
        let rows_max = self.rows_max.unwrap_or_default();
        let message = format!("the result has more than {rows_max} rows, the tenant's limit");
        ErrorReport::error("54000", message)
            .with_hint("Narrow the query, or take its rows in portions: by a cursor, or by Execute with a limit.")
    }

    /// How many rows the server is asked for.
    pub(super) fn asked(&self, effect: &Effect, rows_max: i32) -> i32 {
        // One row is all that `set_config` gives; a portal that is only suspended would not say that it
        // has set something.
        if effect.changes_variables() {
            return 0;
        }
        let one_more = self
            .rows_max
            .map(|rows| i32::try_from(rows.saturating_add(1)).unwrap_or(i32::MAX));
        match one_more {
            Some(most) if rows_max <= 0 || rows_max > most => most,
            Some(_) | None => rows_max,
        }
    }

    /// Whether there is one.
    pub(super) fn is_set(&self) -> bool {
        self.rows_max.is_some()
    }
}

impl Session {
    /// How many rows each answer may have; `None` where there is no limit.
    pub fn set_row_limit(&mut self, rows_max: Option<u64>) {
        self.row_limit.rows_max = rows_max;
    }

    /// Whether a message has to wait for the answer to the statement before it.
    pub(super) fn waits_for_rows(&self) -> bool {
        let last = self
            .server
            .as_ref()
            .and_then(|server| server.expected.last());
        // The rows of COPY FROM are the client's.
        let gives_rows = match last {
            Some(Reply::Execute(effect)) => !matches!(effect, Effect::CopyIn(_)),
            other => matches!(other, Some(Reply::Query { .. })),
        };
        self.row_limit.is_set() && gives_rows
    }

    /// Whether the server is to be asked to stop; it is asked once.
    pub fn take_row_cancel(&mut self) -> bool {
        let wanted = self.wants_row_cancel();
        if wanted {
            self.row_limit.answer = Answer::Cut;
        }
        wanted
    }

    /// Whether it is.
    pub fn wants_row_cancel(&self) -> bool {
        self.row_limit.answer == Answer::Endless
    }

    /// Whether the client gets no more of the present answer.
    pub(super) fn is_cut(&self) -> bool {
        self.row_limit.is_cut() || self.hatch.as_ref().is_some_and(|hatch| hatch.is_cut())
    }

    /// A command has completed: whether the client gets none of that.
    pub(super) fn completes_cut(&mut self, effect: &Effect) -> bool {
        let all_came = self
            .server
            .as_ref()
            .is_some_and(|server| server.expected.is_empty());
        let is_cut = self.row_limit.is_cut();
        self.row_limit.completed();
        let in_block = self.variables.in_block();
        let Some(hatch) = &mut self.hatch else {
            return is_cut;
        };
        // What has ended a transaction can be undone no more. What an Execute has changed otherwise is.
        let is_undone = all_came && hatch.must_end() && !effect.is_of_transaction();
        let is_cut = hatch.is_cut() || is_undone;
        if !is_cut && (!in_block || effect.is_of_transaction()) {
            hatch.note_executed(effect);
        }
        is_cut
    }

    /// What it is told in place of the rest.
    pub(super) fn take_cut(&mut self) -> Option<ErrorReport> {
        match &mut self.hatch {
            Some(hatch) => hatch.take_cut(),
            None => self.row_limit.take_cut(),
        }
    }

    /// An answer to a Query was cut off though the server has done all of it: it is made to fail. Whether it was.
    pub(super) fn end_cut_query(&mut self, status: TransactionStatus) -> bool {
        if !self.is_cut() {
            return false;
        }
        let Some(mut report) = self.take_cut() else {
            return false;
        };
        if self.hatch.is_none() && status == TransactionStatus::Idle {
            report.detail = Some(
                "The server had done all of it already: what the statement changed, if anything, stays.".to_owned(),
            );
        }
        self.answer_failure(&FrontendMessage::Query(bytes::Bytes::new()), &report);
        true
    }

    /// With what the connection ends if the rest of a cut answer never comes.
    pub(super) fn row_cut(&self) -> Option<ErrorReport> {
        self.row_limit.is_cut().then(|| ErrorReport {
            severity: Severity::Fatal,
            ..self.row_limit.report()
        })
    }
}
