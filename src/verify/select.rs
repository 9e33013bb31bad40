//! Queries, in lockstep: levels, set operations, VALUES, WITH, and the clauses of a level.

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::clauses::Keys;
use super::grouped::Grouped;
use super::owner::{Owner, not_named};
use super::proof::{Checked, Pair, Proof, absent, both, column_path, differs, empty, equal};
use super::reading;
use super::scope::{Extent, Item, Level, Locks, Output, Rows, SystemColumns, Tenancy, Test};
use super::silent::Clause;
use super::types::{self, Column};
use super::via::referring_alias;
use super::with::settled;
use crate::isolate::template::SlotType;

impl Proof<'_> {
    /// Compares two queries. With `owner`, they are the source of an INSERT, and say whose its rows are.
    pub(super) fn select(
        &mut self,
        original: &pg::SelectStmt,
        rewritten: &pg::SelectStmt,
        owner: Option<Owner<'_>>,
    ) -> Checked<Output> {
        let visible = self.ctes.len();
        let recursive = self.recursive.take();
        self.with((&original.with_clause, &rewritten.with_clause))?;
        let is_set_operation = original.op != i32::from(pg::SetOperation::SetopNone);
        let output = reading::deeper(|| {
            if is_set_operation {
                self.recursive = recursive;
                self.set_operation(original, rewritten, owner)
            } else if original.values_lists.is_empty() {
                self.plain(original, rewritten, owner)
            } else {
                self.values(original, rewritten, owner)
            }
        })?;
        self.ctes.truncate(visible);
        Ok(output)
    }

    fn plain(
        &mut self,
        original: &pg::SelectStmt,
        rewritten: &pg::SelectStmt,
        owner: Option<Owner<'_>>,
    ) -> Checked<Output> {
        both!(SelectStmt, original, rewritten, {
            distinct_clause, into_clause, target_list, from_clause, where_clause, group_clause,
            group_distinct, having_clause, window_clause, values_lists, sort_clause, limit_offset,
            limit_count, limit_option, locking_clause, with_clause, op, all, larg, rarg
        });
        equal((&with_clause.0.is_some(), &with_clause.1.is_some()), "WITH")?;
        absent(into_clause, "SELECT INTO")?;
        empty(values_lists, "VALUES")?;
        equal(op, "a set operation")?;
        equal(all, "ALL")?;
        absent(larg, "a set operation")?;
        absent(rarg, "a set operation")?;
        self.levels.push(Level::new(self.lateral));
        self.range_entries(from_clause)?;
        let tests = std::mem::take(&mut self.level()?.tests);
        self.condition(where_clause, &tests, Clause::Where)?;
        let (columns, extent) = self.targets(target_list, owner)?;
        self.level()?.outputs.clone_from(&columns);
        let query = Grouped {
            targets: target_list.0,
            from: from_clause.0,
        };
        self.grouping(group_clause, query)?;
        equal(group_distinct, "GROUP BY DISTINCT")?;
        self.condition(having_clause, &[], Clause::Having)?;
        self.windows(window_clause)?;
        self.distinct(distinct_clause)?;
        self.sort(sort_clause, Keys::Outputs)?;
        equal(limit_option, "LIMIT")?;
        self.limit(limit_offset)?;
        self.limit(limit_count)?;
        self.locking(locking_clause)?;
        let is_cut = *limit_option.0 != i32::from(pg::LimitOption::WithTies);
        let rows = if (is_cut && is_one(limit_count.0.as_deref()))
            || (group_clause.0.is_empty() && self.is_aggregated(from_clause.0, target_list.0))
        {
            Rows::AtMostOne
        } else {
            Rows::Any
        };
        self.settle(columns, extent, rows)
    }

    fn set_operation(
        &mut self,
        original: &pg::SelectStmt,
        rewritten: &pg::SelectStmt,
        owner: Option<Owner<'_>>,
    ) -> Checked<Output> {
        both!(SelectStmt, original, rewritten, {
            distinct_clause, into_clause, target_list, from_clause, where_clause, group_clause,
            group_distinct, having_clause, window_clause, values_lists, sort_clause, limit_offset,
            limit_count, limit_option, locking_clause, with_clause, op, all, larg, rarg
        });
        equal((&with_clause.0.is_some(), &with_clause.1.is_some()), "WITH")?;
        absent(into_clause, "SELECT INTO")?;
        for list in [
            distinct_clause,
            target_list,
            from_clause,
            group_clause,
            window_clause,
            values_lists,
        ] {
            empty(list, "a clause of a set operation")?;
        }
        absent(where_clause, "a clause of a set operation")?;
        absent(having_clause, "a clause of a set operation")?;
        equal(group_distinct, "GROUP BY DISTINCT")?;
        empty(locking_clause, "FOR UPDATE of a set operation")?;
        equal(op, "a set operation")?;
        equal(all, "ALL")?;
        let recursive = self.recursive.take();
        let left = self.branch(larg, owner)?;
        if let Some(cte) = recursive.and_then(|index| self.ctes.get_mut(index)) {
            let names = cte.names.clone();
            let mut output = settled(left.clone(), &names);
            if cte.inside == Extent::Open {
                output.extent = Extent::Open;
            }
            cte.output = Some(output);
        }
        let right = self.branch(rarg, owner)?;
        let output = united(&left, &right);
        let mut level = Level::new(Tenancy::Free);
        level.items.push(Item {
            name: None,
            relation: None,
            columns: output.columns.clone(),
            extent: output.extent,
            merged: Vec::new(),
            hidden: None,
            tenancy: output.tenancy,
            locks: output.locks,
            sent: None,
            system: SystemColumns::Absent,
            key: None,
        });
        level.outputs.clone_from(&output.columns);
        self.levels.push(level);
        self.sort(sort_clause, Keys::Inputs)?;
        let is_plain_union = *all.0 && *op.0 == i32::from(pg::SetOperation::SetopUnion);
        if !is_plain_union || !sort_clause.0.is_empty() {
            self.compared_wholly()?;
        }
        let compared = self.levels.pop().and_then(|level| level.loud_content);
        equal(limit_option, "LIMIT")?;
        self.levels.push(Level::new(Tenancy::Free));
        self.limit(limit_offset)?;
        self.limit(limit_count)?;
        let limits = self.levels.pop().and_then(|level| level.loud_content);
        Ok(Output {
            loud: output.loud.or(compared).or(limits),
            ..output
        })
    }

    fn branch(
        &mut self,
        pair: Pair<'_, Option<Box<pg::SelectStmt>>>,
        owner: Option<Owner<'_>>,
    ) -> Checked<Output> {
        match pair {
            (Some(original), Some(rewritten)) => self.select(original, rewritten, owner),
            (None, _) | (_, None) => Err(differs("a branch of a set operation")),
        }
    }

    fn values(
        &mut self,
        original: &pg::SelectStmt,
        rewritten: &pg::SelectStmt,
        owner: Option<Owner<'_>>,
    ) -> Checked<Output> {
        both!(SelectStmt, original, rewritten, {
            distinct_clause, into_clause, target_list, from_clause, where_clause, group_clause,
            group_distinct, having_clause, window_clause, values_lists, sort_clause, limit_offset,
            limit_count, limit_option, locking_clause, with_clause, op, all, larg, rarg
        });
        equal((&with_clause.0.is_some(), &with_clause.1.is_some()), "WITH")?;
        absent(into_clause, "SELECT INTO")?;
        for list in [
            distinct_clause,
            target_list,
            from_clause,
            group_clause,
            window_clause,
            locking_clause,
        ] {
            empty(list, "a clause of VALUES")?;
        }
        absent(where_clause, "a clause of VALUES")?;
        absent(having_clause, "a clause of VALUES")?;
        equal(group_distinct, "GROUP BY DISTINCT")?;
        equal(op, "a set operation")?;
        equal(all, "ALL")?;
        absent(larg, "a set operation")?;
        absent(rarg, "a set operation")?;
        self.levels.push(Level::new(self.lateral));
        let columns = self.rows(values_lists, owner)?;
        self.level()?.items.push(Item {
            name: None,
            relation: None,
            columns: columns.clone(),
            extent: Extent::Complete,
            merged: Vec::new(),
            hidden: None,
            tenancy: Tenancy::Free,
            locks: Locks::Own,
            sent: None,
            system: SystemColumns::Absent,
            key: None,
        });
        self.level()?.outputs.clone_from(&columns);
        self.sort(sort_clause, Keys::Inputs)?;
        if !sort_clause.0.is_empty() {
            self.compared_wholly()?;
        }
        equal(limit_option, "LIMIT")?;
        self.limit(limit_offset)?;
        self.limit(limit_count)?;
        let rows = if values_lists.0.len() == 1 {
            Rows::AtMostOne
        } else {
            Rows::Any
        };
        self.settle(columns, Extent::Complete, rows)
    }

    /// Compares the rows of VALUES.
    fn rows(
        &mut self,
        rows: Pair<'_, Vec<Node>>,
        owner: Option<Owner<'_>>,
    ) -> Checked<Vec<Column>> {
        let wrong = || differs("the rows of VALUES");
        if rows.0.len() != rows.1.len() {
            return Err(wrong());
        }
        let mut columns: Vec<Column> = Vec::new();
        for (index, (original, rewritten)) in rows.0.iter().zip(rows.1).enumerate() {
            let (Some(NodeEnum::List(original)), Some(NodeEnum::List(rewritten))) =
                (&original.node, &rewritten.node)
            else {
                return Err(wrong());
            };
            let pg::List { items: original } = original;
            let pg::List { items: rewritten } = rewritten;
            let kept = match (owner.and_then(Owner::added), rewritten.split_last()) {
                (Some(column_type), Some((value, kept))) => {
                    self.slot(value, SlotType::One(column_type))?;
                    kept
                }
                (Some(_), None) => return Err(wrong()),
                (None, _) => rewritten.as_slice(),
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
                    Some(scoped) => self.checked_owner_of_row(original, rewritten, scoped)?,
                    None => self.expression(original, rewritten)?,
                }
            }
            self.row_of_values(index, original, &mut columns);
        }
        Ok(columns)
    }

    /// The columns of VALUES have the types of the first row, if all rows say the same.
    fn row_of_values(&mut self, index: usize, row: &[Node], columns: &mut Vec<Column>) {
        for (at, node) in row.iter().enumerate() {
            let value = self.result(node);
            match columns.get_mut(at) {
                Some(column) if index > 0 => {
                    column.value = types::united(&column.value, &value);
                }
                Some(_) | None => columns.push(Column {
                    name: format!("column{}", at + 1),
                    value,
                    behind: false,
                }),
            }
        }
    }

    /// Compares a condition. The rewritten one may end with the given tenant tests.
    pub(super) fn condition(
        &mut self,
        pair: Pair<'_, Option<Box<Node>>>,
        tests: &[Test],
        clause: Clause,
    ) -> Checked {
        let rewritten = conjuncts(pair.1.as_deref());
        self.conjoined((pair.0, &rewritten), tests, clause)
    }

    /// Compares a condition with the conjuncts that are sent for it.
    pub(super) fn conjoined(
        &mut self,
        pair: (&Option<Box<Node>>, &[&Node]),
        tests: &[Test],
        clause: Clause,
    ) -> Checked {
        self.judging += 1;
        let joined = std::mem::replace(&mut self.joined, Tenancy::Free);
        let original = conjuncts(pair.0.as_deref());
        let kept = pair
            .1
            .len()
            .checked_sub(tests.len())
            .filter(|kept| *kept == original.len())
            .ok_or_else(|| differs("a condition with tenant predicates"))?;
        let (kept, added) = pair.1.split_at(kept);
        for (index, (original, rewritten)) in original.iter().zip(kept).enumerate() {
            self.conjunct(index, (original, rewritten), clause)?;
        }
        self.tests(added, tests)?;
        if pair.0.is_some() {
            let scoped_below = self.joined;
            self.level()?.note(scoped_below, Locks::Own);
        }
        self.joined = joined;
        self.judging -= 1;
        Ok(())
    }

    /// Compares a condition on rows that are the client's own. The rewritten one ends with a tenant test.
    pub(super) fn tested(
        &mut self,
        (original, rewritten): Pair<'_, Option<Box<Node>>>,
        test: &Test,
    ) -> Checked {
        let original = conjuncts(original.as_deref());
        let rewritten = conjuncts(rewritten.as_deref());
        let (added, kept) = rewritten
            .split_last()
            .filter(|(_, kept)| kept.len() == original.len())
            .ok_or_else(|| differs("a condition with a tenant predicate"))?;
        for (original, rewritten) in original.iter().zip(kept) {
            self.expression(original, rewritten)?;
        }
        self.test(added, test)
    }

    /// Compares two conjuncts of a condition, and judges the client's; the rewritten one may stand in a
    /// shield.
    pub(super) fn conjunct(
        &mut self,
        index: usize,
        pair: Pair<'_, Node>,
        clause: Clause,
    ) -> Checked {
        let (original, rewritten) = pair;
        let around = self.volatile.take();
        let shielded = self.shielded(original, rewritten)?;
        self.expression(original, shielded.unwrap_or(rewritten))?;
        let volatile = self.volatile.clone();
        self.volatile = around.or(self.volatile.take());
        let relied = self.relied.clone();
        let verdict = self.silent_condition(original, clause);
        if clause == Clause::Having
            && let Err(refusal) = self.silent_condition(original, Clause::Content)
        {
            // Behind the tenant's test; but a sub-select is computed when the rows around it ask.
            self.level()?.loud_content.get_or_insert(refusal);
        }
        let Err(mut refusal) = verdict else {
            return Ok(());
        };
        if volatile.is_none() && self.stays_behind(original, clause) {
            if clause != Clause::Having {
                self.level()?.loud_content.get_or_insert(refusal);
            }
            return Ok(());
        }
        match (shielded, volatile) {
            (Some(_), None) => {
                self.relied = relied;
                // When it is computed is up to the rows around it.
                self.level()?.loud_content.get_or_insert(refusal);
            }
            (Some(_), Some(volatile)) => return Err(volatile),
            (None, None) => {
                if let Some(shield) = self.shield(index, original, clause) {
                    refusal.remedied_only_by(shield);
                }
                self.level()?.loud(refusal);
            }
            (None, Some(_)) => self.level()?.loud(refusal),
        }
        Ok(())
    }

    /// Recognises each tenant test exactly once, in any order.
    pub(super) fn tests(&mut self, added: &[&Node], tests: &[Test]) -> Checked {
        let mut waiting: Vec<&Test> = tests.iter().collect();
        for node in added {
            let alias = test_alias(node).ok_or_else(|| differs("a tenant's predicate"))?;
            let index = waiting
                .iter()
                .position(|test| test.alias == alias)
                .ok_or_else(|| differs("a tenant's predicate"))?;
            let test = waiting.swap_remove(index);
            self.test(node, test)?;
        }
        if waiting.is_empty() {
            Ok(())
        } else {
            Err(differs("a tenant's predicate for each table"))
        }
    }

    /// Ends a query level.
    pub(super) fn settle(
        &mut self,
        columns: Vec<Column>,
        extent: Extent,
        rows: Rows,
    ) -> Checked<Output> {
        let level = self
            .levels
            .pop()
            .ok_or_else(|| differs("a clause outside of a query"))?;
        if !level.tests.is_empty() {
            return Err(differs("a tenant's predicate for each table"));
        }
        let loud = match (level.tenancy, level.loud_condition) {
            (Tenancy::Scoped, Some(refusal)) => return Err(refusal),
            (Tenancy::Scoped, None) => level.loud_content,
            (Tenancy::Free, condition) => level.loud_content.or(condition),
        };
        Ok(Output {
            columns,
            extent,
            tenancy: level.tenancy,
            locks: level.locks,
            rows,
            loud,
        })
    }
}

/// What a query gives under other column names.
pub(super) fn renamed(mut output: Output, names: &[String]) -> Output {
    rename(&mut output.columns, names);
    output
}

/// Renames the first columns.
pub(super) fn rename(columns: &mut [Column], names: &[String]) {
    for (column, name) in columns.iter_mut().zip(names) {
        column.name.clone_from(name);
    }
}

fn united(left: &Output, right: &Output) -> Output {
    let columns = left
        .columns
        .iter()
        .zip(&right.columns)
        .map(|(left, right)| Column {
            name: left.name.clone(),
            value: types::united(&left.value, &right.value),
            behind: left.behind && right.behind,
        })
        .collect();
    let either = |scoped: bool| {
        if scoped {
            Tenancy::Scoped
        } else {
            Tenancy::Free
        }
    };
    Output {
        columns,
        extent: if left.extent == Extent::Open || right.extent == Extent::Open {
            Extent::Open
        } else {
            Extent::Complete
        },
        tenancy: either(left.tenancy == Tenancy::Scoped || right.tenancy == Tenancy::Scoped),
        locks: Locks::Own,
        rows: Rows::Any,
        loud: left.any_loud().or_else(|| right.any_loud()),
    }
}

/// The conjuncts of a condition, as the parser flattens them.
pub(super) fn conjuncts(condition: Option<&Node>) -> Vec<&Node> {
    let Some(condition) = condition else {
        return Vec::new();
    };
    match &condition.node {
        Some(NodeEnum::BoolExpr(operation))
            if operation.boolop == i32::from(pg::BoolExprType::AndExpr) =>
        {
            operation.args.iter().collect()
        }
        Some(_) | None => vec![condition],
    }
}

/// The range entry that a tenant test names.
fn test_alias(node: &Node) -> Option<&str> {
    let Some(NodeEnum::AExpr(operation)) = &node.node else {
        return None;
    };
    let value = operation.lexpr.as_deref()?;
    match column_path(value).as_deref() {
        Some([alias, _]) => Some(alias),
        Some(_) => None,
        None => referring_alias(value),
    }
}

fn is_one(limit: Option<&Node>) -> bool {
    let Some(Some(NodeEnum::AConst(constant))) = limit.map(|limit| &limit.node) else {
        return false;
    };
    constant.val == Some(pg::a_const::Val::Ival(pg::Integer { ival: 1 }))
}
