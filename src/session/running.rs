//! What the server works at for an admin: its rows are counted, it is cut off when it must end, and its end is
//! told.
//!
//! # Invariants
//! 1. What is told of a statement is what became of it. One that was complete when its grant ended is told as
//!    complete; one whose transaction was undone afterwards is told as undone.
//!
//! # Not here
//! When a grant ends: [`super::hatch`].

use bytes::Bytes;

use super::effect::Effect;
use super::hatch::{Hatch, InForce, Ticket};
use super::record::HatchEvent;
use crate::bypass::{Ending, GrantEnd};
use crate::protocol::error_response::ErrorReport;

/// What the server works at.
#[derive(Debug)]
pub(super) struct Running {
    /// Of its record.
    pub(super) number: u64,
    pub(super) rows: u64,
    pub(super) rows_max: Option<u64>,
    pub(super) portal: Option<Bytes>,
    pub(super) ending: Ending,
    pub(super) cut: Option<Cut>,
}

/// Why a statement must end.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    /// What the client is told instead of the rest.
    report: ErrorReport,
    told: Told,
}

/// When the client is told that a statement was cut off.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Told {
    /// Whatever the server says: the client does not get all of the answer.
    Always,
    /// Unless it is complete before it ends.
    IfIncomplete,
}

impl Cut {
    /// Of a statement whose grant has ended.
    pub(super) fn at_the_end(report: ErrorReport) -> Self {
        Self {
            report,
            told: Told::IfIncomplete,
        }
    }
}

impl Hatch {
    /// Counts a row on its way to the client; whether it may go there.
    pub(super) fn pass_row(&mut self) -> bool {
        let Some(running) = &mut self.running else {
            return true;
        };
        if running.cut.is_none() && running.rows_max.is_some_and(|max| running.rows >= max) {
            running.cut = Some(too_many(&self.in_force));
            self.cancel = true;
        }
        if let Some(cut) = &mut running.cut {
            cut.told = Told::Always;
            return false;
        }
        running.rows += 1;
        true
    }

    /// Whether the client gets no more of the present answer.
    pub(super) fn is_cut(&self) -> bool {
        self.cut_of_running()
            .is_some_and(|cut| cut.told == Told::Always)
    }

    /// Whether the present statement must end.
    pub(super) fn must_end(&self) -> bool {
        self.cut_of_running().is_some()
    }

    fn cut_of_running(&self) -> Option<&Cut> {
        self.running.as_ref()?.cut.as_ref()
    }

    /// What the server did is undone because it must end: the client is told, whatever the server says.
    pub(super) fn undo(&mut self) {
        let running = self.running.as_mut();
        if let Some(cut) = running.and_then(|running| running.cut.as_mut()) {
            cut.told = Told::Always;
        }
    }

    /// Notes a command tag.
    pub(super) fn note_tag(&mut self, tag: &[u8]) {
        let Some(running) = &mut self.running else {
            return;
        };
        let text = String::from_utf8_lossy(tag.strip_suffix(b"\0").unwrap_or(tag)).into_owned();
        let changed: Option<u64> = text.rsplit(' ').next().and_then(|count| count.parse().ok());
        if let Some(changed) = changed.filter(|_| running.rows == 0) {
            running.rows = changed;
        }
        running.ending = Ending::Tag(text);
    }

    /// A command that has changed more rows than it may is undone; only called while it can be.
    pub(super) fn check_rows(&mut self) {
        if let Some(running) = &mut self.running
            && running.cut.is_none()
            && running.rows_max.is_some_and(|max| running.rows > max)
        {
            running.cut = Some(too_many(&self.in_force));
        }
    }

    /// Notes that the statement has failed.
    pub(super) fn note_error(&mut self, sqlstate: &str) {
        if let Some(running) = &mut self.running {
            running.ending = Ending::Sqlstate(sqlstate.to_owned());
        }
    }

    /// What the client is told in place of the rest of the answer.
    pub(super) fn take_cut(&mut self) -> Option<ErrorReport> {
        let running = self.running.as_mut()?;
        let Cut { report, .. } = running.cut.take()?;
        running.ending = Ending::Sqlstate(report.sqlstate.to_owned());
        Some(report)
    }

    /// With what the connection ends if the server does not.
    pub(super) fn last_word(&self) -> Option<&ErrorReport> {
        let cut = self.cut_of_running().map(|cut| &cut.report);
        cut.or(self.ending_series.as_ref())
    }

    /// All that was due has come.
    pub(super) fn finish(&mut self) {
        self.ending_series = None;
        if let Some(running) = self.running.take() {
            if let Some(portal) = &running.portal
                && let Some(opened) = self.portals.get_mut(portal)
            {
                opened.rows += running.rows;
            }
            self.events.push(HatchEvent::Outcome {
                rows: running.rows,
                ending: running.ending,
                progress: None,
            });
        }
    }

    /// A command is complete. Outside a block the next Sync commits what an Execute has changed, unless a block
    /// is begun before it: then the end of that does.
    pub(super) fn note_executed(&mut self, effect: &Effect) {
        let Some(running) = &self.running else {
            return;
        };
        let Ending::Tag(tag) = &running.ending else {
            return;
        };
        if !effect.is_of_transaction() {
            if changes_rows(tag) {
                self.unsettled.push(running.number);
            }
        } else if tag == "ROLLBACK" {
            // So ends a COMMIT of a block that has failed, too.
            self.undone(Ending::Tag(tag.clone()));
        } else if tag == "COMMIT" {
            self.unsettled.clear();
        }
    }

    /// The messages since the last Sync have failed, or nobody knows: what they are said to have changed is undone.
    pub(super) fn undone(&mut self, ending: Ending) {
        let statements = std::mem::take(&mut self.unsettled);
        if !statements.is_empty() {
            self.events.push(HatchEvent::Undone { statements, ending });
        }
    }

    /// What was recorded has not been sent, or nobody knows what became of it.
    pub(super) fn abandon(&mut self, why: &str) {
        if matches!(self.ticket, Ticket::Valid(..)) {
            let progress = self.fan.as_ref().map(|fan| fan.progress.so_far());
            let is_sent = progress.as_ref().is_some_and(|it| !it.sent_for.is_empty());
            let ending = if is_sent {
                Ending::Lost(why.to_owned())
            } else {
                Ending::NotSent(why.to_owned())
            };
            self.events.push(HatchEvent::Outcome {
                rows: progress.as_ref().map_or(0, |progress| progress.rows),
                ending,
                progress,
            });
        }
        self.ticket = Ticket::None;
        if let Some(running) = &mut self.running {
            running.ending = Ending::Lost(why.to_owned());
        }
        self.finish();
    }
}

fn changes_rows(tag: &str) -> bool {
    let command = tag.split(' ').next().unwrap_or_default();
    matches!(command, "COPY" | "DELETE" | "INSERT" | "MERGE" | "UPDATE")
}

/// What is said of more rows than the grant allows, however many of them came in portions before.
fn too_many(in_force: &InForce) -> Cut {
    let rows_max = match in_force {
        InForce::Grant(leave, _) => leave.grant.max_rows.unwrap_or_default(),
        InForce::Nothing => 0,
    };
    let report = ErrorReport::error(
        "54000",
        format!("the grant allows {rows_max} rows at most [TN6008]"),
    );
    Cut {
        report: report.with_hint("Narrow the query with WHERE or LIMIT."),
        told: Told::Always,
    }
}

/// How a grant ended that a statement has ended.
pub(super) fn ends_grant(effect: &Effect) -> GrantEnd {
    match effect {
        Effect::Clear
        | Effect::Reset(_)
        | Effect::ResetAll
        | Effect::Set(..)
        | Effect::SetAll(_)
        | Effect::SetLocal(..) => GrantEnd::Reset,
        Effect::Begin
        | Effect::Chain
        | Effect::CloseCursor(_)
        | Effect::Commit
        | Effect::CopyIn(_)
        | Effect::Custom(_)
        | Effect::Deallocate(_)
        | Effect::Hold(_)
        | Effect::None
        | Effect::Pin
        | Effect::Prepare(_)
        | Effect::Release(_)
        | Effect::Rollback
        | Effect::RollbackTo(_)
        | Effect::Savepoint(_)
        | Effect::Truncate => GrantEnd::TransactionEnd,
    }
}
