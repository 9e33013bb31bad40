//! The escape hatch: grants, and the statements of an admin under the scope of one.
//!
//! In: a [`Grant`], which gives a [`Scope`]; a statement that was proved under that scope. Out:
//! [`BypassedStatement`].
//!
//! # Invariants
//! 1. A [`BypassedStatement`] is made from a proof alone, and bears the very scope of that proof: it cannot
//!    be sent for other tenants, or under another grant. The trials of `tests/mutants` hold it.
//!
//! # Not here
//! What a scope does to a statement: [`crate::tenant::Classified::under`]. Who takes a grant, when it
//! ends, how many rows it gives: the session and the proxy.

mod grant;
mod record;
mod shape;
mod timestamp;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::catalog::RelationName;
use crate::isolate::copying::Copying;
use crate::isolate::refusal::Refusal;
use crate::isolate::template::{SlotType, SlotValue};
use crate::tenant::{Rows, Scope, Verb};
use crate::verify::{Pattern, VerifiedStatement};
pub use grant::{Grant, Sight, Validity};
pub use record::{
    AdminSession, AllNames, AuditRecord, Ending, GrantEnd, Names, NoHash, ParameterFormat,
    RecordedGrant, RecordedScope, SentParameter, SentText, Sha256Hash, Shape,
};
pub use shape::shape;
pub use timestamp::{NoTimestamp, Timestamp};

/// A statement that was proved to stay within the scope of a grant.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct BypassedStatement {
    verified: VerifiedStatement,
    scope: Arc<Scope>,
}

impl BypassedStatement {
    /// The statement, if it was proved under a scope; else it is given back.
    pub fn new(verified: VerifiedStatement) -> Result<Self, Box<VerifiedStatement>> {
        match verified.scope().map(Arc::clone) {
            Some(scope) => Ok(Self { verified, scope }),
            None => Err(Box::new(verified)),
        }
    }

    /// What it is confined to.
    pub fn scope(&self) -> &Arc<Scope> {
        &self.scope
    }

    /// The text for a Parse message, in which the scope's keys are parameters.
    pub fn text(&self) -> &str {
        self.verified.text()
    }

    /// How many parameters the client has.
    pub fn client_parameters(&self) -> u16 {
        self.verified.client_parameters()
    }

    /// The client's parameters that are patterns of LIKE, to be looked at before they are bound.
    pub fn patterns(&self) -> &BTreeSet<Pattern> {
        self.verified.patterns()
    }

    /// The types of the parameters for the scope's keys, which follow the client's.
    pub fn tenant_parameters(&self) -> &[SlotType] {
        self.verified.tenant_parameters()
    }

    /// What those parameters are bound to; none if there are none.
    pub fn value(&self) -> Option<SlotValue<'_>> {
        match &self.scope.rows {
            Rows::All => None,
            Rows::AsTenant(key) => Some(SlotValue::One(key)),
            Rows::Of(keys) => Some(SlotValue::Any(keys)),
        }
    }

    /// The text for a Query message, in which the scope's keys are quoted literals.
    pub fn with_scope(&self) -> Result<String, Refusal> {
        self.verified.with_scope()
    }

    /// Which way rows go, if it is a COPY: its text takes no parameters.
    pub fn copying(&self) -> Option<&Copying> {
        self.verified.copying()
    }

    /// The tables that it reads or writes.
    pub fn tables(&self) -> impl Iterator<Item = &RelationName> {
        self.verified.uses().iter().map(|(table, _)| table)
    }

    /// What it does to them.
    pub fn verbs(&self) -> BTreeSet<Verb> {
        self.verified.uses().iter().map(|(_, verb)| *verb).collect()
    }
}
