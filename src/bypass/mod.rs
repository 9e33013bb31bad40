//! The escape hatch: statements of an admin, under the scope of a grant.
//!
//! In: a grant and a statement rewritten under its scope. Out: [`BypassedStatement`].
//!
//! # Invariants
//! 1. No [`BypassedStatement`] exists without a grant; grants are not read yet, so none exists.

mod record;
mod shape;
mod timestamp;

use std::convert::Infallible;

pub use record::{
    AdminSession, AllNames, AuditRecord, Ending, GrantEnd, Names, NoHash, ParameterFormat,
    RecordedGrant, RecordedScope, SentParameter, SentText, Sha256Hash, Shape,
};
pub use shape::shape;
pub use timestamp::{NoTimestamp, Timestamp};

/// A statement that a grant allows. It cannot be made yet.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct BypassedStatement {
    never: Infallible,
}

impl BypassedStatement {
    /// The text to be sent.
    pub fn text(&self) -> &str {
        match self.never {}
    }
}
