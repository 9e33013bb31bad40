//! The independent proof that a rewritten statement stays within one tenant.
//!
//! In: the client's text, the [`Template`] to be sent, the declared parameter types, and the
//! classified catalog. Out: [`VerifiedStatement`], which only this module can make.
//!
//! The client's statement and the rewritten one are parsed by PostgreSQL's own grammar and walked in
//! lockstep. At each point the rewritten tree must be the client's, or differ from it in one of a
//! closed list of ways, each recognised by one function:
//!
//! | difference | recognised by |
//! |---|---|
//! | a name resolved and qualified | `names`, `from`, `expression::column_reference` |
//! | a table in a fence | `from::fence` |
//! | a sampled table in a fence around the sample | `sample::sampled` |
//! | a tenant predicate at the end of a condition | `select::condition` |
//! | `*` of a table that is not fenced, expanded | `targets::star` |
//! | the tenant column at the end of GROUP BY | `clauses::added_grouping` |
//! | the tenant column of an INSERT | `write::insert_columns`, `select::rows`, `targets::targets`, `merge::inserted` |
//! | the tenant column of a conflict target | `write::inference` |
//!
//! # Invariants
//! 1. This module imports neither `sql` nor the rewriting half of `isolate`, and calls none of their
//!    code; it reads with PostgreSQL's own parser.
//! 2. What it does not know it refuses.
//! 3. Every field of every node is compared or refused: nodes are taken apart without `..`.

mod bare;
mod called;
mod clauses;
mod comparison;
mod constants;
mod expression;
mod from;
mod gate;
mod join;
mod merge;
mod names;
mod proof;
mod reading;
mod sample;
mod scope;
mod select;
mod session;
mod silent;
mod syntax;
mod targets;
mod types;
mod variables;
mod with;
mod words;
mod write;
mod xml;

#[cfg(test)]
mod tests;

use crate::catalog::Oid;
use crate::isolate::refusal::{Reason, Refusal};
use crate::isolate::template::{Reading, Slot, Template};
use crate::tenant::{Classified, TenantKey, TenantType};
use proof::Proof;

pub use gate::{Reach, gate};
pub use syntax::syntax_error;

/// Everything that a proof is about.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// One statement, as the client wrote it.
    pub original: &'a str,
    /// How the rewriter read it.
    pub reading: &'a Reading,
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
    let nesting = words::check(claim)?;
    reading::with_stack(nesting, || prove(claim))?;
    let Template {
        text,
        client_parameters,
        tenant_parameters,
        slots,
    } = claim.template;
    Ok(VerifiedStatement {
        text: text.clone(),
        client_parameters: *client_parameters,
        tenant_parameters: tenant_parameters.clone(),
        slots: slots.clone(),
    })
}

fn prove(claim: &Claim<'_>) -> Result<(), Refusal> {
    let original = reading::parse_one(claim.original)?;
    session::permitted(&original)?;
    if let Reading::Parsed { reprinted, .. } = claim.reading {
        let printed = reading::parse_one(reprinted)
            .map_err(|_syntax| Refusal::from(Reason::PrintedDifferently))?;
        if !bare::same(&original, &printed)? {
            return Err(Reason::PrintedDifferently.into());
        }
    }
    let rewritten = reading::parse_one(&claim.template.text).map_err(|refusal| {
        Refusal::from(Reason::Unproved {
            what: format!("PostgreSQL cannot read the rewritten text: {refusal}"),
        })
    })?;
    let mut proof = Proof::new(claim);
    proof.declared_types(claim.declared_types)?;
    proof.statement(&original, &rewritten)?;
    proof.finish()
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
        words::fill(&self.text, &self.slots, key)
    }
}
