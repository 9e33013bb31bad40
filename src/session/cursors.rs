//! The cursors WITH HOLD that a server connection may have. As long as there are any, it stays with its
//! client. What is forgotten here too early the reset of the connection closes.

use std::collections::BTreeSet;

use super::effect::Effect;

/// Cursors by name.
#[derive(Debug, Default)]
pub(super) struct HeldCursors {
    /// Of the present transaction.
    made: BTreeSet<String>,
    /// Of earlier ones.
    kept: BTreeSet<String>,
}

impl HeldCursors {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.made.is_empty() && self.kept.is_empty()
    }

    /// A statement has completed with this command tag.
    pub(super) fn completed(&mut self, effect: &Effect, tag: &[u8]) {
        match effect {
            Effect::Hold(name) => {
                self.made.insert(name.clone());
            }
            Effect::CloseCursor(Some(name)) => {
                self.made.remove(name);
                self.kept.remove(name);
            }
            Effect::Clear | Effect::CloseCursor(None) => {
                self.made.clear();
                self.kept.clear();
            }
            Effect::Chain | Effect::Commit if tag.starts_with(b"COMMIT") => self.committed(),
            Effect::Chain | Effect::Commit | Effect::Rollback => self.rolled_back(),
            Effect::Begin
            | Effect::CopyIn(_)
            | Effect::Custom(_)
            | Effect::Deallocate(_)
            | Effect::None
            | Effect::Pin
            | Effect::Prepare(_)
            | Effect::Release(_)
            | Effect::Reset(_)
            | Effect::ResetAll
            | Effect::RollbackTo(_)
            | Effect::Savepoint(_)
            | Effect::Set(..)
            | Effect::SetAll(_)
            | Effect::SetLocal(..)
            | Effect::Truncate => {}
        }
    }

    /// The transaction was committed.
    pub(super) fn committed(&mut self) {
        self.kept.append(&mut self.made);
    }

    /// The transaction was rolled back, and with it the cursors that it made.
    pub(super) fn rolled_back(&mut self) {
        self.made.clear();
    }
}
