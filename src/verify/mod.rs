//! The independent proof that a rewritten statement stays within one tenant.
//!
//! In: the client's text, the [`Template`] to be sent, the declared parameter types, and the
//! classified catalog. Out: [`VerifiedStatement`], which only this module can make.
//!
//! # Invariants
//! 1. This module imports neither `sql` nor the rewriting half of `isolate`, and calls none of their
//!    code; it reads with PostgreSQL's own parser.
//! 2. What it does not know it refuses.

mod gate;
mod syntax;

use crate::catalog::Oid;
use crate::isolate::refusal::Refusal;
use crate::isolate::template::{Slot, Template};
use crate::tenant::{Classified, TenantKey, TenantType};

pub use gate::{Reach, gate};
pub use syntax::syntax_error;

/// Everything that a proof is about.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// One statement, as the client wrote it.
    pub original: &'a str,
    /// The byte range of each token of `original` that the rewriter's tokenizer saw, comments and
    /// white space left out.
    pub tokens: &'a [(usize, usize)],
    /// The text that the rewriter's parser prints for `original` before any rewriting.
    pub reprinted: &'a str,
    /// The text to be sent.
    pub template: &'a Template,
    /// The types that the client's Parse declared; 0 where it left one open.
    pub declared_types: &'a [Oid],
    /// The catalog and the policy.
    pub classified: &'a Classified,
}

/// A statement that was proved.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct VerifiedStatement {
    text: String,
    client_parameters: u16,
    tenant_parameters: Vec<TenantType>,
    slots: Vec<Slot>,
}

/// Proves a rewritten statement, or refuses it.
pub fn verify(claim: &Claim<'_>) -> Result<VerifiedStatement, Refusal> {
    let _ = claim;
    Err(crate::isolate::refusal::Reason::Unproved {
        what: "nothing is proved yet".to_owned(),
    }
    .into())
}

impl VerifiedStatement {
    /// The text for a Parse message, in which the tenant is a parameter.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How many parameters the client has.
    pub fn client_parameters(&self) -> u16 {
        self.client_parameters
    }

    /// The types of the tenant's parameters, which follow the client's.
    pub fn tenant_parameters(&self) -> &[TenantType] {
        &self.tenant_parameters
    }

    /// The text for a Query message, in which the tenant is a quoted literal. The result was
    /// scanned again: it has the template's tokens, with one literal in place of each parameter.
    pub fn with_tenant(&self, key: &TenantKey) -> Result<String, Refusal> {
        let _ = (key, &self.slots);
        Err(crate::isolate::refusal::Reason::Unproved {
            what: "nothing is proved yet".to_owned(),
        }
        .into())
    }
}
