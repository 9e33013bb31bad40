//! MERGE, in lockstep.
//!
//! # Invariants
//! 1. ON is guarded: only rows of the tenant can match, so what runs for a match runs on its own rows.
//! 2. A row of the target that nothing matches is another tenant's as well: WHEN NOT MATCHED BY SOURCE
//!    is guarded, and its condition is silent. The tenant's test stands first in it: PostgreSQL computes the
//!    parts of an action's condition as they are written, and would compute the others on rows of all tenants.
//! 3. What is inserted gets the tenant's value.

use std::collections::BTreeSet;

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::from::Side;
use super::owner::{Owner, not_named};
use super::proof::{Checked, Pair, Proof, absent, both, differs, empty, equal, unsupported};
use super::scope::{Item, Level, Output, Tenancy};
use super::select::conjuncts;
use super::silent::Clause;
use super::write::{Target, Write, assigned};
use crate::isolate::template::SlotType;
use crate::tenant::{TenantColumn, Verb};

/// What MERGE joins.
struct Joined {
    /// The target's range entry.
    target: Item,
    /// The source's.
    source: Vec<Item>,
}

impl<'a> Proof<'a> {
    /// Compares two MERGE statements.
    pub(super) fn merge_statement(
        &mut self,
        original: &pg::MergeStmt,
        rewritten: &pg::MergeStmt,
    ) -> Checked<Output> {
        both!(MergeStmt, original, rewritten, {
            relation, source_relation, join_condition, merge_when_clauses, returning_clause,
            with_clause
        });
        absent(returning_clause, "MERGE .. RETURNING")?;
        let named = relation.0.as_ref();
        if named.is_some_and(|named| self.view(named).is_some()) {
            return Err(unsupported("MERGE into a view"));
        }
        self.with(with_clause)?;
        self.levels.push(Level::new(Tenancy::Free));
        self.permitted_under_a_grant()?;
        let writes = writes(merge_when_clauses.0);
        for write in &writes {
            let named = relation.0.as_ref();
            self.writable(
                named.ok_or_else(|| differs("the target of a write"))?,
                write.clone(),
            )?;
        }
        let first = writes.into_iter().next();
        let nothing = Write::Update(BTreeSet::new());
        let target = self.target_table(relation, first.unwrap_or(nothing))?;
        // The source does not see the target.
        let target_items = std::mem::take(&mut self.level()?.items);
        let (Some(source), Some(sent)) = source_relation else {
            return Err(differs("USING"));
        };
        self.range_entry(source, sent, Side::Fenced)?;
        let source = std::mem::replace(&mut self.level()?.items, target_items);
        let target_item = self.level()?.items.first().cloned();
        let joined = Joined {
            target: target_item.ok_or_else(|| differs("the target of a write"))?,
            source,
        };
        let tests = target.tests();
        self.level()?.direct.extend(tests.iter().cloned());
        self.direct_tables()?;
        self.see(&joined, Sees::Both)?;
        self.condition(join_condition, &tests, Clause::On(None))?;
        if merge_when_clauses.0.len() != merge_when_clauses.1.len() {
            return Err(differs("WHEN"));
        }
        for (original, rewritten) in merge_when_clauses.0.iter().zip(merge_when_clauses.1) {
            match (&original.node, &rewritten.node) {
                (Some(NodeEnum::MergeWhenClause(o)), Some(NodeEnum::MergeWhenClause(r))) => {
                    self.when(o, r, &target, &joined)?;
                }
                _ => return Err(differs("WHEN")),
            }
        }
        self.returning((&None, &None))
    }

    /// Under a grant that shows the tenant column a new row says itself whose it is; and one that lets
    /// nothing be read lets nothing be compared.
    fn permitted_under_a_grant(&self) -> Checked {
        let is_hidden = self.classified().tenant_column() == TenantColumn::Hidden;
        if is_hidden && self.classified().permits(Verb::Select) {
            Ok(())
        } else {
            Err(unsupported("MERGE under a grant"))
        }
    }

    fn when(
        &mut self,
        original: &pg::MergeWhenClause,
        rewritten: &pg::MergeWhenClause,
        target: &Target<'a>,
        joined: &Joined,
    ) -> Checked {
        both!(MergeWhenClause, original, rewritten, {
            match_kind, command_type, r#override, condition, target_list, values
        });
        equal(match_kind, "MATCHED")?;
        equal(command_type, "the action of WHEN")?;
        equal(r#override, "OVERRIDING")?;
        match pg::MergeMatchKind::try_from(*match_kind.0) {
            Ok(pg::MergeMatchKind::MergeWhenMatched) => {
                self.see(joined, Sees::Both)?;
                self.optional(condition, "the condition of WHEN MATCHED")?;
            }
            Ok(pg::MergeMatchKind::MergeWhenNotMatchedByTarget) => {
                self.see(joined, Sees::Source)?;
                self.optional(condition, "the condition of WHEN NOT MATCHED")?;
            }
            Ok(pg::MergeMatchKind::MergeWhenNotMatchedBySource) => {
                self.see(joined, Sees::Target)?;
                self.behind_tests(condition, target)?;
            }
            Ok(pg::MergeMatchKind::Undefined) | Err(_) => return Err(unsupported("this WHEN")),
        }
        match pg::CmdType::try_from(*command_type.0) {
            Ok(pg::CmdType::CmdUpdate) => {
                empty(values, "the values of an UPDATE")?;
                self.assignments(target_list, target)
            }
            Ok(pg::CmdType::CmdDelete | pg::CmdType::CmdNothing) => {
                empty(target_list, "the columns of a DELETE")?;
                empty(values, "the values of a DELETE")
            }
            Ok(pg::CmdType::CmdInsert) => {
                self.insert_columns(target_list, target, Some(values.0.len()))?;
                self.inserted(target_list.0, values, target)
            }
            Ok(
                pg::CmdType::Undefined
                | pg::CmdType::CmdUnknown
                | pg::CmdType::CmdSelect
                | pg::CmdType::CmdMerge
                | pg::CmdType::CmdUtility,
            )
            | Err(_) => Err(unsupported("this action of WHEN")),
        }
    }

    /// Compares a condition. The rewritten one begins with the target's tenant tests.
    fn behind_tests(
        &mut self,
        condition: Pair<'_, Option<Box<Node>>>,
        target: &Target<'_>,
    ) -> Checked {
        let tests = target.tests();
        let sent = conjuncts(condition.1.as_deref());
        let (first, kept) = sent
            .split_at_checked(tests.len())
            .ok_or_else(|| differs("a condition with tenant predicates"))?;
        let kept = match kept {
            [only] => conjuncts(Some(only)),
            kept => kept.to_vec(),
        };
        let sent: Vec<&Node> = kept.into_iter().chain(first.iter().copied()).collect();
        self.conjoined((condition.0, &sent), &tests, Clause::Where)
    }

    /// Compares the values of an INSERT, which end with the tenant's.
    fn inserted(
        &mut self,
        columns: &[Node],
        pair: Pair<'_, Vec<Node>>,
        target: &Target<'a>,
    ) -> Checked {
        let (original, rewritten) = pair;
        let wrong = || differs("the values of an INSERT");
        let owner = match target.scoped {
            Some(scoped) => self.owner_of_rows(columns, target.relation, scoped)?,
            None => None,
        };
        let kept = match owner {
            Some(Owner::Added(column_type)) => {
                let (slot, kept) = rewritten.split_last().ok_or_else(wrong)?;
                self.slot(slot, SlotType::One(column_type))?;
                kept
            }
            Some(Owner::Checked { .. }) | None => rewritten.as_slice(),
        };
        if original.len() != kept.len() {
            return Err(wrong());
        }
        if let Some(Owner::Checked { at, scoped }) = owner
            && at >= original.len()
        {
            return Err(not_named(scoped));
        }
        for (at, (original, rewritten)) in original.iter().zip(kept).enumerate() {
            match owner.and_then(|owner| owner.checked_at(at)) {
                Some(scoped) => self.checked_owner(original, rewritten, scoped)?,
                None => self.expression(original, rewritten)?,
            }
        }
        Ok(())
    }

    /// Makes range entries visible.
    fn see(&mut self, joined: &Joined, sees: Sees) -> Checked {
        let target = std::iter::once(joined.target.clone());
        let source = joined.source.iter().cloned();
        self.level()?.items = match sees {
            Sees::Both => target.chain(source).collect(),
            Sees::Source => source.collect(),
            Sees::Target => target.collect(),
        };
        Ok(())
    }
}

/// What MERGE may do to its target.
fn writes(clauses: &[Node]) -> BTreeSet<Write<'_>> {
    let mut writes = BTreeSet::new();
    for clause in clauses {
        let Some(NodeEnum::MergeWhenClause(clause)) = &clause.node else {
            continue;
        };
        match pg::CmdType::try_from(clause.command_type) {
            Ok(pg::CmdType::CmdUpdate) => {
                writes.insert(Write::Update(assigned(&clause.target_list)))
            }
            Ok(pg::CmdType::CmdDelete) => writes.insert(Write::Delete),
            Ok(pg::CmdType::CmdInsert) => writes.insert(Write::Insert),
            // Any other kind of action is nothing, or refused where the clauses are compared.
            Ok(
                pg::CmdType::Undefined
                | pg::CmdType::CmdUnknown
                | pg::CmdType::CmdSelect
                | pg::CmdType::CmdMerge
                | pg::CmdType::CmdUtility
                | pg::CmdType::CmdNothing,
            )
            | Err(_) => false,
        };
    }
    writes
}

/// What an expression of MERGE sees.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Sees {
    Both,
    Source,
    Target,
}
