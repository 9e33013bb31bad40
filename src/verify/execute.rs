//! EXECUTE, and what stands in for PREPARE and DEALLOCATE.
//!
//! A prepared statement is proved by itself when it is prepared. EXECUTE only brings its arguments, to which
//! the tenant's values are added here, behind the last one.

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::proof::{Checked, Proof, both, differs, unsupported};
use super::scope::{Extent, Level, Rows, Tenancy};
use super::{Pattern, VerifiedStatement, bare, reading, words};
use crate::isolate::kind::{EXECUTED, NOTHING};
use crate::isolate::refusal::Refusal;
use crate::isolate::template::{Filling, SlotType};

impl Proof<'_> {
    pub(super) fn execute(
        &mut self,
        original: &pg::ExecuteStmt,
        rewritten: &pg::ExecuteStmt,
    ) -> Checked {
        both!(ExecuteStmt, original, rewritten, { name, params });
        if self.classified().scope().is_some() {
            return Err(unsupported("EXECUTE in SQL under a grant"));
        }
        if name.1 != EXECUTED {
            return Err(differs("the name of EXECUTE"));
        }
        self.levels.push(Level::new(Tenancy::Free));
        self.executes += 1;
        self.expressions(params, "the arguments of EXECUTE")?;
        self.executes -= 1;
        self.settle(Vec::new(), Extent::Complete, Rows::AtMostOne)
            .map(|_output| ())
    }
}

/// What is sent in place of PREPARE and DEALLOCATE has no effect.
pub(super) fn does_nothing(sent: &pg::UnlistenStmt) -> Checked {
    let pg::UnlistenStmt { conditionname } = sent;
    if NOTHING.strip_prefix("UNLISTEN ") == Some(conditionname.as_str()) {
        Ok(())
    } else {
        Err(differs("nothing in place of PREPARE or DEALLOCATE"))
    }
}

/// The EXECUTE that a statement is, or that it explains.
fn executed(statement: &NodeEnum) -> Option<&pg::ExecuteStmt> {
    let query = if let NodeEnum::ExplainStmt(explain) = statement {
        explain.query.as_ref()?.node.as_ref()?
    } else {
        statement
    };
    if let NodeEnum::ExecuteStmt(execute) = query {
        Some(execute)
    } else {
        None
    }
}

/// The options of EXPLAIN; none of any other statement.
fn options(statement: &NodeEnum) -> &[Node] {
    if let NodeEnum::ExplainStmt(explain) = statement {
        &explain.options
    } else {
        &[]
    }
}

impl VerifiedStatement {
    /// Looks at the arguments that are patterns of LIKE, as is done in Bind. Only a literal can be looked
    /// at.
    pub fn can_execute<'p>(
        &self,
        patterns: impl Iterator<Item = &'p Pattern>,
    ) -> Result<(), Refusal> {
        let mut patterns = patterns.peekable();
        if patterns.peek().is_none() {
            return Ok(());
        }
        let nesting = words::nesting(&words::scan(&self.text)?)?;
        reading::with_stack(nesting, || {
            let proved = reading::parse_one(&self.text)?;
            let execute = executed(&proved).ok_or_else(|| differs("an EXECUTE"))?;
            patterns.try_for_each(|pattern| {
                let index = usize::from(pattern.number).checked_sub(1);
                let argument = index.and_then(|index| execute.params.get(index));
                pattern.is_given(argument.ok_or_else(|| differs("an EXECUTE"))?)
            })
        })
    }

    /// The text of an EXECUTE, with the name by which the server knows the statement, and the tenant's
    /// values for that statement's places behind the client's arguments.
    pub fn executing(
        &self,
        statement: &str,
        slots: &[SlotType],
        filling: Filling<'_>,
    ) -> Result<String, Refusal> {
        let wrong = || differs("an EXECUTE");
        let named = format!("EXECUTE {EXECUTED}");
        let (before, rest) = self.text.split_once(&named).ok_or_else(wrong)?;
        let rest = rest.trim();
        let mut arguments = Vec::new();
        if !rest.is_empty() {
            let inner = rest.strip_prefix('(').and_then(|it| it.strip_suffix(')'));
            arguments.push(inner.ok_or_else(wrong)?.to_owned());
        }
        for slot in slots {
            let value = words::literal(*slot, filling)?;
            arguments.push(format!("{value}::pg_catalog.{}", slot.name()));
        }
        let text = if arguments.is_empty() {
            format!("{before}EXECUTE {statement}")
        } else {
            format!("{before}EXECUTE {statement} ({})", arguments.join(", "))
        };
        self.executes(&text, statement, slots.len())?;
        Ok(text)
    }

    /// Reads the text again: it must have the client's arguments, as they were proved, and so many more.
    fn executes(&self, text: &str, statement: &str, added: usize) -> Result<(), Refusal> {
        let nesting = words::nesting(&words::scan(text)?)?;
        reading::with_stack(nesting, || {
            let pair = (reading::parse_one(&self.text)?, reading::parse_one(text)?);
            let (Some(proved), Some(sent)) = (executed(&pair.0), executed(&pair.1)) else {
                return Err(differs("an EXECUTE"));
            };
            if !bare::same_list(options(&pair.0), options(&pair.1))? {
                return Err(differs("the options of EXPLAIN"));
            }
            let count = sent.params.len().checked_sub(added);
            let kept = count.and_then(|count| sent.params.get(..count));
            let kept = kept.ok_or_else(|| differs("an EXECUTE"))?;
            if sent.name == statement && bare::same_list(&proved.params, kept)? {
                Ok(())
            } else {
                Err(differs("an EXECUTE"))
            }
        })
    }
}
