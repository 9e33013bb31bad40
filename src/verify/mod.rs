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
//! | a view replaced by its definition | `view::view_reference` |
//! | a view that is written replaced by its table, under its name | `written::sent_for` |
//! | a column of such a view, as the table's | `written::written_column`, `written::sent_name`, `written::expanded` |
//! | the conditions of such a view's definition, behind the client's | `written::condition_on_view` |
//! | a sampled table in a fence around the sample | `sample::sampled` |
//! | a tenant predicate at the end of a condition | `select::condition`, `select::tested` |
//! | a tenant predicate at the beginning of a condition of WHEN NOT MATCHED BY SOURCE | `merge::behind_tests` |
//! | a conjunct of a condition in a shield | `shield::shielded` |
//! | a column of a fence in a mask | `mask::shown` |
//! | `*` of a table that is not fenced, expanded | `targets::star` |
//! | the tenant column, or one that a fence's key determines, at the end of GROUP BY | `clauses::added_grouping` |
//! | the tenant column of an INSERT | `write::insert_columns`, `select::rows`, `targets::targets`, `merge::inserted` |
//! | the tenant column of a conflict target | `conflict::inference` |
//! | the value for the tenant column under a scope, checked | `owner::checked_owner` |
//! | the owner of the row referred to, where a table has no tenant column, in its tenant predicate | `via::is_owner` |
//! | a value for the column that refers to that row, checked | `via::checked_reference` |
//! | the sequence of `nextval` and `currval`, qualified | `sequence::sequence_call` |
//! | `set_config` and `current_setting`, qualified | `setting::sets`, `setting::current_setting` |
//! | a function called on a row in column notation, as a call | `row::column_notation` |
//! | `*` of a table's row type, expanded | `row_type::expanded_row_type` |
//! | rows of a table's row type in FROM, as their columns | `row_type::rows_in_from` |
//! | a call that asks what the session is called, as a sub-select of the name | `identity::named` |
//! | COPY of a table, as COPY of the query of its rows | `copy::copied_rows` |
//! | the tenant column in front of the columns of COPY FROM | `copy::copy_in` |
//! | COSTS OFF at the end of EXPLAIN's options | `command::explain` |
//! | TRUNCATE as DELETE | `command::truncate` |
//! | the name of EXECUTE | `execute::execute` |
//! | nothing in place of PREPARE and DEALLOCATE | `execute::does_nothing` |
//!
//! # Invariants
//! 1. This module imports neither `sql` nor the rewriting half of `isolate`, and calls none of their
//!    code; it reads with PostgreSQL's own parser.
//! 2. What it does not know it refuses.
//! 3. Every field of every node is compared or refused: nodes are taken apart without `..`.

mod bare;
mod behind;
mod called;
mod clauses;
mod collect;
mod command;
mod comparison;
mod conflict;
mod constants;
mod containment;
mod copy;
mod copy_options;
mod execute;
mod expression;
mod extension;
mod from;
mod gate;
mod grouped;
mod hatch;
mod identity;
mod indexed;
mod join;
mod mask;
mod merge;
mod names;
mod owner;
mod pattern;
mod privilege;
mod proof;
mod reading;
mod regular;
mod row;
mod row_type;
mod sample;
mod scope;
mod select;
mod sequence;
mod session;
mod setting;
mod shield;
mod silent;
mod syntax;
mod table_function;
mod targets;
mod types;
mod variables;
mod via;
mod view;
mod with;
mod words;
mod write;
mod written;
mod xml;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use pg_query::NodeEnum;

use crate::catalog::{Oid, RelationName};
use crate::isolate::copying::Copying;
use crate::isolate::refusal::{Reason, Refusal};
use crate::isolate::template::{Filling, Reading, Slot, SlotType, SlotValue, Template};
use crate::tenant::{Classified, Rows, Scope, Verb};
use proof::Proof;

pub use collect::{Collect, TEMPORARY, collect};
pub use gate::{Reach, gate};
pub use hatch::own_variable;
pub use pattern::Pattern;
pub use reading::{is_known, same_deparsed, same_tree};
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
    tenant_parameters: Vec<SlotType>,
    /// The client's parameters that are patterns of LIKE: who binds them looks at them first.
    patterns: Arc<BTreeSet<Pattern>>,
    slots: Vec<Slot>,
    /// What it was proved to be confined to, if it is an admin's.
    scope: Option<Arc<Scope>>,
    /// What is done to which table, if it is an admin's.
    uses: BTreeSet<(RelationName, Verb)>,
    /// Which way rows go, if it is a COPY.
    copying: Option<Box<Copying>>,
}

/// Proves a rewritten statement, or refuses it.
pub fn verify(claim: &Claim<'_>) -> Result<VerifiedStatement, Refusal> {
    let nesting = words::check(claim)?;
    let Proved {
        uses,
        copying,
        patterns,
    } = reading::with_stack(nesting, || prove(claim))?;
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
        patterns: Arc::new(patterns),
        slots: slots.clone(),
        scope: claim.classified.scope().cloned(),
        uses,
        copying: copying.map(Box::new),
    })
}

/// What is known of a statement once it is proved.
struct Proved {
    uses: BTreeSet<(RelationName, Verb)>,
    copying: Option<Copying>,
    patterns: BTreeSet<Pattern>,
}

fn prove(claim: &Claim<'_>) -> Result<Proved, Refusal> {
    let original = reading::parse_one(claim.original)?;
    session::permitted(&original)?;
    if let Reading::Parsed { reprinted, .. } = claim.reading {
        // The same text has the same tree, which is walked nevertheless: it must be known throughout.
        let printed = if reprinted == claim.original {
            None
        } else {
            let printed = reading::parse_one(reprinted);
            Some(printed.map_err(|_syntax| Refusal::from(Reason::PrintedDifferently))?)
        };
        if !bare::same(&original, printed.as_ref().unwrap_or(&original))? {
            return Err(Reason::PrintedDifferently.into());
        }
    }
    let rewritten = reading::parse_one(&claim.template.text).map_err(|refusal| {
        Refusal::from(Reason::Unproved {
            what: format!("PostgreSQL cannot read the rewritten text: {refusal}"),
        })
    })?;
    let mut proof = Proof::new(claim);
    proof.binds = matches!(
        original,
        NodeEnum::SelectStmt(_)
            | NodeEnum::InsertStmt(_)
            | NodeEnum::UpdateStmt(_)
            | NodeEnum::DeleteStmt(_)
            | NodeEnum::MergeStmt(_)
    );
    proof.declared_types(claim.declared_types)?;
    proof.statement(&original, &rewritten)?;
    proof.finish()?;
    Ok(Proved {
        uses: proof.done,
        copying: proof.copying,
        patterns: proof.patterns,
    })
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

    /// The client's parameters that are patterns of LIKE, to be looked at before they are bound.
    pub fn patterns(&self) -> &BTreeSet<Pattern> {
        &self.patterns
    }

    /// The types of the tenant's parameters, which follow the client's; none where the text takes no
    /// parameters, and the tenant is written into it.
    pub fn tenant_parameters(&self) -> &[SlotType] {
        match self.copying {
            Some(_) => &[],
            None => &self.tenant_parameters,
        }
    }

    /// Which way rows go, if it is a COPY: its text takes no parameters.
    pub fn copying(&self) -> Option<&Copying> {
        self.copying.as_deref()
    }

    /// The text for a Query message, or of a COPY, in which the tenant is a quoted literal. The result was
    /// scanned again: it has the template's tokens, with one literal in place of each parameter.
    pub fn with_tenant<'f>(&self, filling: impl Into<Filling<'f>>) -> Result<String, Refusal> {
        match &self.scope {
            None if self.slots.is_empty() => Ok(self.text.clone()),
            None => words::fill(&self.text, &self.slots, filling.into()),
            Some(_) => Err(proof::differs("a tenant for the statement of an admin")),
        }
    }

    /// The same text with the keys of the scope that it was proved under.
    pub fn with_scope(&self) -> Result<String, Refusal> {
        match self.scope.as_ref().map(|scope| &scope.rows) {
            Some(Rows::AsTenant(key)) => {
                words::fill(&self.text, &self.slots, SlotValue::One(key).into())
            }
            Some(Rows::Of(keys)) => {
                words::fill(&self.text, &self.slots, SlotValue::Any(keys).into())
            }
            Some(Rows::All) if self.slots.is_empty() => Ok(self.text.clone()),
            Some(Rows::All) | None => Err(proof::differs("a scope")),
        }
    }

    /// What it was proved to be confined to, if it is an admin's.
    pub fn scope(&self) -> Option<&Arc<Scope>> {
        self.scope.as_ref()
    }

    /// What an admin's statement does to which table; nothing is noted for a tenant's.
    pub fn uses(&self) -> &BTreeSet<(RelationName, Verb)> {
        &self.uses
    }
}
