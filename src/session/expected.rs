//! What the server still has to answer, in order.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::admission::{Plan, StatementId};
use super::effect::Effect;
use super::statements::{ClientStatement, Prepared};

/// Whether the client asked, or Tenantry on its own account: then the answer is not passed on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Asker {
    Client,
    Proxy,
}

/// How to take back what was noted before the server confirmed it.
#[derive(Debug)]
pub(super) enum Undo {
    /// The client's statement of this name is what it was before.
    ClientStatement(Bytes, Option<Arc<ClientStatement>>),
    /// Nothing: names change when the reply comes.
    Names,
    /// The server connection still holds this one.
    Closed(StatementId),
    /// The server connection does not hold this one.
    Prepared(StatementId),
}

/// One answer that is due.
#[derive(Debug)]
pub(super) enum Reply {
    /// `2`
    Bind,
    /// `3`
    Close(Asker),
    /// `T` or `n`, after `t` or by itself.
    DescribeRows,
    /// `t`, from which the tenant's types are taken, and then `T` or `n`.
    DescribeStatement { hidden: usize },
    /// `C`, `I` or `s`, after any number of rows.
    Execute(Effect),
    /// `Z` of a Query of our own.
    Housekeeping,
    /// An answer of our own, whose turn has come when it is the first.
    Local(Bytes),
    /// `1`; or our own error in place of the server's.
    Parse {
        asker: Asker,
        /// None for the Parse that is made to fail.
        plan: Option<Arc<Plan>>,
        instead: Option<Bytes>,
    },
    /// `Z` behind statements that a Query needs, which waits until then.
    Prepared,
    /// `C` or `I` for each statement, then `Z`; or our own error in place of the server's.
    Query {
        effects: VecDeque<Effect>,
        instead: Option<Bytes>,
        /// None for the one that is made to fail.
        plan: Option<Arc<Plan>>,
    },
    /// `Z`
    Sync,
}

#[derive(Debug)]
struct Entry {
    reply: Reply,
    undo: Vec<Undo>,
}

/// The queue of replies that a server connection owes.
#[derive(Debug, Default)]
pub(super) struct ExpectedReplies {
    entries: VecDeque<Entry>,
    /// Entries that can be undone, before the last Sync and after it.
    doubtful_before_sync: usize,
    doubtful: usize,
    /// Whether a Flush of ours stands behind all that is due.
    flushed: bool,
}

impl Reply {
    /// What the commands will have changed that are answered with it.
    fn effects(&self) -> impl Iterator<Item = &Effect> {
        let (one, several) = match self {
            Self::Execute(effect) => (Some(effect), None),
            Self::Query { effects, .. } => (None, Some(effects)),
            Self::Bind
            | Self::Close(_)
            | Self::DescribeRows
            | Self::DescribeStatement { .. }
            | Self::Housekeeping
            | Self::Local(_)
            | Self::Parse { .. }
            | Self::Prepared
            | Self::Sync => (None, None),
        };
        one.into_iter().chain(several.into_iter().flatten())
    }
}

impl ExpectedReplies {
    /// A reply that changes nothing if it fails.
    pub(super) fn push(&mut self, reply: Reply) {
        self.push_undoable(reply, Vec::new());
    }

    /// A Query of our own.
    pub(super) fn push_housekeeping(&mut self) {
        self.push(Reply::Housekeeping);
    }

    /// A reply, and what to take back if it is an error or never comes because of one.
    pub(super) fn push_undoable(&mut self, reply: Reply, undo: Vec<Undo>) {
        if !undo.is_empty() {
            self.doubtful += 1;
        }
        if matches!(reply, Reply::Prepared | Reply::Sync | Reply::Query { .. }) {
            self.doubtful_before_sync += self.doubtful;
            self.doubtful = 0;
        }
        self.flushed = false;
        self.entries.push_back(Entry { reply, undo });
    }

    /// Whether the server has been asked to answer what is due, without a Sync.
    pub(super) fn is_flushed(&self) -> bool {
        self.flushed
    }

    /// A Flush was sent.
    pub(super) fn note_flushed(&mut self) {
        self.flushed = true;
    }

    /// Whether names of statements may still turn out not to exist, because of an error in what was
    /// sent before the last Sync.
    pub(super) fn is_doubtful(&self) -> bool {
        self.doubtful_before_sync > 0
    }

    /// Whether nothing is due.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many COPY FROM are among what is due; nothing is sent behind one before it has begun.
    pub(super) fn copies_due(&self) -> usize {
        let effects = self.last().into_iter().flat_map(Reply::effects);
        effects
            .filter(|effect| matches!(effect, Effect::CopyIn(_)))
            .count()
    }

    /// Whether what is due next is a Parse of the client's unnamed statement, which is gone if it fails.
    pub(super) fn replaces_the_unnamed(&self) -> bool {
        let is_of_unnamed =
            |undo: &Undo| matches!(undo, Undo::ClientStatement(name, _) if name.is_empty());
        self.entries.front().is_some_and(|entry| {
            matches!(entry.reply, Reply::Parse { .. }) && entry.undo.iter().any(is_of_unnamed)
        })
    }

    /// Whether what is due next was sent as the client wrote it.
    pub(super) fn is_verbatim(&self) -> bool {
        match self.next() {
            Some(Reply::Parse { plan, .. } | Reply::Query { plan, .. }) => {
                plan.as_ref().is_some_and(|plan| plan.is_verbatim)
            }
            Some(
                Reply::Bind
                | Reply::Close(_)
                | Reply::DescribeRows
                | Reply::DescribeStatement { .. }
                | Reply::Execute(_)
                | Reply::Housekeeping
                | Reply::Local(_)
                | Reply::Prepared
                | Reply::Sync,
            )
            | None => false,
        }
    }

    /// Whether `ReadyForQuery` will come without anything else being sent.
    pub(super) fn owes_ready(&self) -> bool {
        let is_owed = |entry: &Entry| matches!(entry.reply, Reply::Query { .. } | Reply::Sync);
        self.entries.iter().any(is_owed)
    }

    /// Whether a block may begin in what is due.
    pub(super) fn begins_a_block(&self) -> bool {
        self.holds(|effect| matches!(effect, Effect::Begin | Effect::Chain))
    }

    /// Whether what is due takes something away that the session had on the connection.
    pub(super) fn clears(&self) -> bool {
        self.holds(Effect::clears)
    }

    fn holds(&self, is_meant: impl Fn(&Effect) -> bool) -> bool {
        let mut effects = self.entries.iter().flat_map(|entry| entry.reply.effects());
        effects.any(is_meant)
    }

    /// What is due last.
    pub(super) fn last(&self) -> Option<&Reply> {
        self.entries.back().map(|entry| &entry.reply)
    }

    /// What is due next, to be looked at.
    pub(super) fn next(&self) -> Option<&Reply> {
        self.entries.front().map(|entry| &entry.reply)
    }

    /// What is due next.
    pub(super) fn front(&mut self) -> Option<&mut Reply> {
        self.entries.front_mut().map(|entry| &mut entry.reply)
    }

    /// The reply has come.
    pub(super) fn pop(&mut self) -> Option<Reply> {
        self.take_front().map(|entry| entry.reply)
    }

    fn take_front(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        if !entry.undo.is_empty() {
            if self.doubtful_before_sync > 0 {
                self.doubtful_before_sync -= 1;
            } else {
                self.doubtful = self.doubtful.saturating_sub(1);
            }
        }
        Some(entry)
    }

    /// After an error: drops all that will not be answered, up to the next Sync. Gives what is to be
    /// taken back, in the order in which to do so, and whether a Sync was found.
    pub(super) fn skip_to_sync(&mut self) -> (Vec<Undo>, bool) {
        let mut undo = Vec::new();
        while let Some(entry) = self.entries.front() {
            if matches!(entry.reply, Reply::Prepared | Reply::Sync) {
                undo.reverse();
                return (undo, true);
            }
            if let Some(entry) = self.take_front() {
                undo.extend(entry.undo);
            }
        }
        undo.reverse();
        (undo, false)
    }
}

/// Takes back what concerns the server connection; gives back what concerns the client.
pub(super) fn undo_prepared(undo: Undo, prepared: &mut Prepared) -> Option<Undo> {
    match undo {
        Undo::Closed(id) => {
            prepared.restore(id);
            None
        }
        Undo::Prepared(id) => {
            prepared.remove(id);
            None
        }
        client @ (Undo::ClientStatement(..) | Undo::Names) => Some(client),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse() -> (Reply, Vec<Undo>) {
        let reply = Reply::Parse {
            asker: Asker::Client,
            plan: None,
            instead: None,
        };
        (reply, vec![Undo::ClientStatement(Bytes::new(), None)])
    }

    #[test]
    fn an_error_drops_what_comes_before_the_sync() {
        let mut expected = ExpectedReplies::default();
        let (reply, undo) = parse();
        expected.push_undoable(reply, undo);
        expected.push(Reply::Bind);
        expected.push(Reply::Sync);
        expected.push(Reply::Bind);
        assert!(expected.is_doubtful());
        let (undo, found) = expected.skip_to_sync();
        assert_eq!((undo.len(), found), (1, true));
        assert!(!expected.is_doubtful());
        assert!(matches!(expected.pop(), Some(Reply::Sync)));
        assert!(matches!(expected.pop(), Some(Reply::Bind)));
        assert!(expected.is_empty());
    }

    #[test]
    fn names_of_the_same_segment_are_not_doubtful() {
        let mut expected = ExpectedReplies::default();
        let (reply, undo) = parse();
        expected.push_undoable(reply, undo);
        expected.push(Reply::Bind);
        assert!(!expected.is_doubtful());
        expected.push(Reply::Sync);
        assert!(expected.is_doubtful());
        let (reply, undo) = parse();
        expected.push_undoable(reply, undo);
        expected.pop();
        assert!(!expected.is_doubtful());
        let (undo, found) = expected.skip_to_sync();
        assert_eq!((undo.len(), found), (0, true));
    }
}
