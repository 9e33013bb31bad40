//! The escape hatch: statements of an admin, under the scope of a grant.
//!
//! In: a grant and a statement rewritten under its scope. Out: [`BypassedStatement`].
//!
//! # Invariants
//! 1. No [`BypassedStatement`] exists without a grant; grants are not read yet, so none exists.

use std::convert::Infallible;

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
