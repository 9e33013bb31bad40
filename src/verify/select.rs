//! Queries, in lockstep: levels, set operations, VALUES, WITH, and the clauses of a level.

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::names;
use super::proof::{
    Checked, Pair, Proof, VisibleCte, absent, anywhere, both, column_path, differs, empty, equal,
    path, unchanged, unsupported,
};
use super::reading;
use super::scope::{self, Extent, Found, Item, Level, Locks, Output, Rows, Tenancy, Test};
use super::silent::Clause;
use super::types::{self, Column, Value};
use crate::catalog::oid;
use crate::tenant::TenantType;

/// What a sort key's name may mean.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Keys {
    /// Columns of FROM only.
    Inputs,
    /// The query's own result, too.
    Outputs,
}

impl Proof<'_> {
    /// Compares two queries. With `added`, the rewritten one has the tenant's value as a last column.
    pub(super) fn select(
        &mut self,
        original: &pg::SelectStmt,
        rewritten: &pg::SelectStmt,
        added: Option<TenantType>,
    ) -> Checked<Output> {
        let visible = self.ctes.len();
        let recursive = self.recursive.take();
        self.with((&original.with_clause, &rewritten.with_clause))?;
        let is_set_operation = original.op != i32::from(pg::SetOperation::SetopNone);
        let output = reading::deeper(|| {
            if is_set_operation {
                self.recursive = recursive;
                self.set_operation(original, rewritten, added)
            } else if original.values_lists.is_empty() {
                self.plain(original, rewritten, added)
            } else {
                self.values(original, rewritten, added)
            }
        })?;
        self.ctes.truncate(visible);
        Ok(output)
    }

    fn plain(
        &mut self,
        original: &pg::SelectStmt,
        rewritten: &pg::SelectStmt,
        added: Option<TenantType>,
    ) -> Checked<Output> {
        both!(SelectStmt, original, rewritten, {
            distinct_clause, into_clause, target_list, from_clause, where_clause, group_clause,
            group_distinct, having_clause, window_clause, values_lists, sort_clause, limit_offset,
            limit_count, limit_option, locking_clause, with_clause, op, all, larg, rarg
        });
        let _compared_before = with_clause;
        absent(into_clause, "SELECT INTO")?;
        empty(values_lists, "VALUES")?;
        equal(op, "a set operation")?;
        equal(all, "ALL")?;
        absent(larg, "a set operation")?;
        absent(rarg, "a set operation")?;
        self.levels.push(Level::new(self.lateral));
        self.from_clause(from_clause)?;
        let tests = std::mem::take(&mut self.level()?.tests);
        self.condition(where_clause, &tests, Clause::Where)?;
        let (columns, extent) = self.targets(target_list, added)?;
        self.level()?.outputs = columns.iter().map(|column| column.name.clone()).collect();
        self.grouping(group_clause)?;
        equal(group_distinct, "GROUP BY DISTINCT")?;
        self.condition(having_clause, &[], Clause::Having)?;
        self.windows(window_clause)?;
        self.distinct(distinct_clause)?;
        self.sort(sort_clause, Keys::Outputs)?;
        equal(limit_option, "LIMIT")?;
        self.limit(limit_offset)?;
        self.limit(limit_count)?;
        self.locking(locking_clause)?;
        let rows = if is_one(limit_count.0.as_deref())
            || (group_clause.0.is_empty() && is_aggregated(target_list.0))
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
        added: Option<TenantType>,
    ) -> Checked<Output> {
        both!(SelectStmt, original, rewritten, {
            distinct_clause, into_clause, target_list, from_clause, where_clause, group_clause,
            group_distinct, having_clause, window_clause, values_lists, sort_clause, limit_offset,
            limit_count, limit_option, locking_clause, with_clause, op, all, larg, rarg
        });
        let _compared_before = with_clause;
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
        let left = self.branch(larg, added)?;
        if let Some(cte) = recursive.and_then(|index| self.ctes.get_mut(index)) {
            let names = cte.names.clone();
            cte.output = Some(settled(left.clone(), &names));
        }
        let right = self.branch(rarg, added)?;
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
        });
        self.levels.push(level);
        self.sort(sort_clause, Keys::Inputs)?;
        self.levels.pop();
        equal(limit_option, "LIMIT")?;
        self.levels.push(Level::new(Tenancy::Free));
        self.limit(limit_offset)?;
        self.limit(limit_count)?;
        let limits = self.levels.pop().and_then(|level| level.loud_content);
        Ok(Output {
            loud: output.loud.or(limits),
            ..output
        })
    }

    fn branch(
        &mut self,
        pair: Pair<'_, Option<Box<pg::SelectStmt>>>,
        added: Option<TenantType>,
    ) -> Checked<Output> {
        match pair {
            (Some(original), Some(rewritten)) => self.select(original, rewritten, added),
            (None, _) | (_, None) => Err(differs("a branch of a set operation")),
        }
    }

    fn values(
        &mut self,
        original: &pg::SelectStmt,
        rewritten: &pg::SelectStmt,
        added: Option<TenantType>,
    ) -> Checked<Output> {
        both!(SelectStmt, original, rewritten, {
            distinct_clause, into_clause, target_list, from_clause, where_clause, group_clause,
            group_distinct, having_clause, window_clause, values_lists, sort_clause, limit_offset,
            limit_count, limit_option, locking_clause, with_clause, op, all, larg, rarg
        });
        let _compared_before = with_clause;
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
        let columns = self.rows(values_lists, added)?;
        self.level()?.items.push(Item {
            name: None,
            relation: None,
            columns: columns.clone(),
            extent: Extent::Complete,
            merged: Vec::new(),
            hidden: None,
            tenancy: Tenancy::Free,
            locks: Locks::Own,
        });
        self.sort(sort_clause, Keys::Inputs)?;
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
        added: Option<TenantType>,
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
            let kept = match (added, rewritten.split_last()) {
                (Some(column_type), Some((value, kept))) => {
                    self.slot(value, column_type)?;
                    kept
                }
                (Some(_), None) => return Err(wrong()),
                (None, _) => rewritten.as_slice(),
            };
            if original.len() != kept.len() {
                return Err(wrong());
            }
            for (original, rewritten) in original.iter().zip(kept) {
                self.expression(original, rewritten)?;
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
                }),
            }
        }
    }

    /// Compares WITH, and makes its queries visible.
    pub(super) fn with(&mut self, pair: Pair<'_, Option<pg::WithClause>>) -> Checked {
        let (original, rewritten) = match pair {
            (Some(original), Some(rewritten)) => (original, rewritten),
            (None, None) => return Ok(()),
            (Some(_), None) | (None, Some(_)) => return Err(differs("WITH")),
        };
        both!(WithClause, original, rewritten, { ctes, recursive, location });
        anywhere(location);
        equal(recursive, "RECURSIVE")?;
        if ctes.0.len() != ctes.1.len() {
            return Err(differs("WITH"));
        }
        let first = self.ctes.len();
        let mut pairs = Vec::new();
        for (original, rewritten) in ctes.0.iter().zip(ctes.1) {
            let (Some(NodeEnum::CommonTableExpr(o)), Some(NodeEnum::CommonTableExpr(r))) =
                (&original.node, &rewritten.node)
            else {
                return Err(differs("WITH"));
            };
            if *recursive.0 {
                // Each can be seen by all; what it gives is known once it was walked.
                self.ctes.push(VisibleCte::of(o));
            }
            pairs.push((o, r));
        }
        for (index, (original, rewritten)) in pairs.into_iter().enumerate() {
            let index = first + index;
            let output = self.common_table(original, rewritten, recursive.0.then_some(index))?;
            if !*recursive.0 {
                self.ctes.push(VisibleCte::of(original));
            }
            if let Some(cte) = self.ctes.get_mut(index) {
                cte.output = Some(output);
            }
        }
        Ok(())
    }

    fn common_table(
        &mut self,
        original: &pg::CommonTableExpr,
        rewritten: &pg::CommonTableExpr,
        recursive: Option<usize>,
    ) -> Checked<Output> {
        both!(CommonTableExpr, original, rewritten, {
            ctename, aliascolnames, ctematerialized, ctequery, search_clause, cycle_clause,
            location, cterecursive, cterefcount, ctecolnames, ctecoltypes, ctecoltypmods,
            ctecolcollations
        });
        anywhere(location);
        equal(ctename, "a common table expression's name")?;
        unchanged(aliascolnames, "a common table expression's columns")?;
        equal(ctematerialized, "MATERIALIZED")?;
        absent(search_clause, "SEARCH")?;
        absent(cycle_clause, "CYCLE")?;
        equal(cterecursive, "an analysed query")?;
        equal(cterefcount, "an analysed query")?;
        for list in [ctecolnames, ctecoltypes, ctecoltypmods, ctecolcollations] {
            empty(list, "an analysed query")?;
        }
        let (Some(original_query), Some(rewritten_query)) = ctequery else {
            return Err(differs("a common table expression"));
        };
        let (Some(o), Some(r)) = (&original_query.node, &rewritten_query.node) else {
            return Err(differs("a common table expression"));
        };
        self.recursive = recursive;
        let output = self.data_statement(o, r)?;
        self.recursive = None;
        let names = names_of(aliascolnames.0);
        let known = recursive
            .and_then(|index| self.ctes.get(index))
            .and_then(|cte| cte.output.as_ref());
        if let Some(known) = known {
            // Conditions are not pushed into a recursive query.
            return Ok(Output {
                columns: known.columns.clone(),
                ..output
            });
        }
        let materialized = i32::from(pg::CteMaterialize::Always);
        if *ctematerialized.0 == materialized {
            return Ok(settled(output, &names));
        }
        Ok(renamed(output, &names))
    }

    /// Compares a condition. The rewritten one may end with the given tenant tests.
    pub(super) fn condition(
        &mut self,
        pair: Pair<'_, Option<Box<Node>>>,
        tests: &[Test],
        clause: Clause,
    ) -> Checked {
        self.judging += 1;
        let joined = std::mem::replace(&mut self.joined, Tenancy::Free);
        if tests.is_empty() {
            self.optional(pair, "a condition")?;
        } else {
            let original = conjuncts(pair.0.as_deref());
            let rewritten = conjuncts(pair.1.as_deref());
            let kept = rewritten
                .len()
                .checked_sub(tests.len())
                .filter(|kept| *kept == original.len())
                .ok_or_else(|| differs("a condition with tenant predicates"))?;
            let (kept, added) = rewritten.split_at(kept);
            for (original, rewritten) in original.iter().zip(kept) {
                self.expression(original, rewritten)?;
            }
            self.tests(added, tests)?;
        }
        if let Some(original) = pair.0 {
            let verdict = self.silent_condition(original, clause);
            let scoped_below = self.joined;
            let level = self.level()?;
            level.note(scoped_below, Locks::Own);
            if let Err(refusal) = verdict {
                level.loud_condition.get_or_insert(refusal);
            }
        }
        self.joined = joined;
        self.judging -= 1;
        Ok(())
    }

    /// Recognises each tenant test exactly once, in any order.
    fn tests(&mut self, added: &[&Node], tests: &[Test]) -> Checked {
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

    /// Compares GROUP BY, which may end with tenant columns.
    fn grouping(&mut self, pair: Pair<'_, Vec<Node>>) -> Checked {
        let (original, rewritten) = pair;
        let Some((kept, added)) = rewritten.split_at_checked(original.len()) else {
            return Err(differs("GROUP BY"));
        };
        for (original, rewritten) in original.iter().zip(kept) {
            self.grouping_element(original, rewritten)?;
        }
        let mut seen = Vec::new();
        for node in added {
            let alias = self.added_grouping(original, node)?;
            if seen.contains(&alias) {
                return Err(differs("GROUP BY"));
            }
            seen.push(alias);
        }
        Ok(())
    }

    fn grouping_element(&mut self, original: &Node, rewritten: &Node) -> Checked {
        let (Some(NodeEnum::GroupingSet(o)), Some(NodeEnum::GroupingSet(r))) =
            (&original.node, &rewritten.node)
        else {
            return self.key(original, rewritten, Keys::Outputs);
        };
        both!(GroupingSet, o, r, { kind, content, location });
        anywhere(location);
        equal(kind, "the kind of a grouping set")?;
        if content.0.len() != content.1.len() {
            return Err(differs("a grouping set"));
        }
        for (original, rewritten) in content.0.iter().zip(content.1) {
            self.grouping_element(original, rewritten)?;
        }
        Ok(())
    }

    /// Recognises a tenant column at the end of GROUP BY: it changes no group if the rest of the
    /// table's primary key is grouped by.
    fn added_grouping(&self, original: &[Node], added: &Node) -> Checked<String> {
        let wrong = || differs("a tenant column in GROUP BY");
        let level = self.levels.last().ok_or_else(wrong)?;
        let names = column_path(added).ok_or_else(wrong)?;
        let [alias, column] = names.as_slice() else {
            return Err(wrong());
        };
        let test = level
            .direct
            .iter()
            .find(|test| test.alias == *alias && test.column == *column)
            .ok_or_else(wrong)?;
        let item = level
            .items
            .iter()
            .find(|item| item.name.as_deref() == Some(alias))
            .ok_or_else(wrong)?;
        let is_set = |node: &Node| matches!(&node.node, Some(NodeEnum::GroupingSet(_)));
        let key = test.key.as_ref().ok_or_else(wrong)?;
        let grouped = |name: &String| {
            let wanted = item.columns.iter().find(|column| column.name == *name);
            original.iter().any(|node| self.is_column(node, wanted))
        };
        if original.iter().any(is_set) || !key.iter().all(grouped) || original.is_empty() {
            return Err(wrong());
        }
        Ok((*alias).to_owned())
    }

    fn is_column(&self, node: &Node, wanted: Option<&Column>) -> bool {
        let Some(NodeEnum::ColumnRef(column)) = &node.node else {
            return false;
        };
        let Some(reference) = super::expression::reference(&column.fields) else {
            return false;
        };
        match (scope::resolve(&self.levels, reference), wanted) {
            (Ok(Found::Column(found)), Some(wanted)) => std::ptr::eq(found, wanted),
            _ => false,
        }
    }

    fn distinct(&mut self, pair: Pair<'_, Vec<Node>>) -> Checked {
        if pair.0.len() != pair.1.len() {
            return Err(differs("DISTINCT"));
        }
        for (original, rewritten) in pair.0.iter().zip(pair.1) {
            self.key(original, rewritten, Keys::Outputs)?;
        }
        Ok(())
    }

    /// Compares sort keys.
    pub(super) fn sort(&mut self, pair: Pair<'_, Vec<Node>>, keys: Keys) -> Checked {
        if pair.0.len() != pair.1.len() {
            return Err(differs("ORDER BY"));
        }
        for (original, rewritten) in pair.0.iter().zip(pair.1) {
            let (Some(NodeEnum::SortBy(o)), Some(NodeEnum::SortBy(r))) =
                (&original.node, &rewritten.node)
            else {
                return Err(differs("ORDER BY"));
            };
            both!(SortBy, o, r, { node, sortby_dir, sortby_nulls, use_op, location });
            anywhere(location);
            equal(sortby_dir, "ASC or DESC")?;
            equal(sortby_nulls, "NULLS FIRST or LAST")?;
            empty(use_op, "ORDER BY .. USING")?;
            match node {
                (Some(original), Some(rewritten)) => self.key(original, rewritten, keys)?,
                (None, _) | (_, None) => return Err(differs("ORDER BY")),
            }
        }
        Ok(())
    }

    /// Compares an element of ORDER BY, GROUP BY or DISTINCT ON, which may name an output column.
    fn key(&mut self, original: &Node, rewritten: &Node, keys: Keys) -> Checked {
        if original.node.is_none() && rewritten.node.is_none() {
            return Ok(());
        }
        if let (Keys::Outputs, Some([name])) = (keys, column_path(original).as_deref()) {
            let level = self.level()?;
            let is_output = level.outputs.iter().any(|output| output == name);
            let is_hidden = |item: &Item| item.hidden.as_deref() == Some(name);
            if is_output && !level.items.iter().any(is_hidden) {
                return match column_path(rewritten).as_deref() {
                    Some([sent]) if sent == name => Ok(()),
                    Some(_) | None => Err(differs("the name of an output column")),
                };
            }
        }
        self.expression(original, rewritten)?;
        self.content(original);
        Ok(())
    }

    fn windows(&mut self, pair: Pair<'_, Vec<Node>>) -> Checked {
        if pair.0.len() != pair.1.len() {
            return Err(differs("WINDOW"));
        }
        for (original, rewritten) in pair.0.iter().zip(pair.1) {
            match (&original.node, &rewritten.node) {
                (Some(NodeEnum::WindowDef(o)), Some(NodeEnum::WindowDef(r))) => {
                    self.window(o, r)?;
                }
                _ => return Err(differs("WINDOW")),
            }
        }
        Ok(())
    }

    /// Compares a window.
    pub(super) fn window(
        &mut self,
        original: &pg::WindowDef,
        rewritten: &pg::WindowDef,
    ) -> Checked {
        both!(WindowDef, original, rewritten, {
            name, refname, partition_clause, order_clause, frame_options, start_offset, end_offset,
            location
        });
        anywhere(location);
        equal(name, "a window's name")?;
        equal(refname, "a window's name")?;
        self.expressions(partition_clause, "PARTITION BY")?;
        self.sort(order_clause, Keys::Inputs)?;
        equal(frame_options, "a window's frame")?;
        self.optional(start_offset, "a window's frame")?;
        self.optional(end_offset, "a window's frame")
    }

    fn limit(&mut self, pair: Pair<'_, Option<Box<Node>>>) -> Checked {
        self.optional(pair, "LIMIT or OFFSET")?;
        if let Some(original) = pair.0 {
            self.content(original);
            if let Some(NodeEnum::ParamRef(parameter)) = &original.node {
                let untyped = self.parameter(parameter)?.untyped;
                self.use_as(untyped, oid::INT8);
            }
        }
        Ok(())
    }

    /// Compares FOR UPDATE and its kin.
    fn locking(&mut self, pair: Pair<'_, Vec<Node>>) -> Checked {
        unchanged(pair, "FOR UPDATE")?;
        let level = self.level()?;
        for clause in pair.0 {
            let Some(NodeEnum::LockingClause(clause)) = &clause.node else {
                return Err(differs("FOR UPDATE"));
            };
            let pg::LockingClause {
                locked_rels,
                strength: _,
                wait_policy: _,
            } = clause;
            let named = |item: &Item| {
                locked_rels.iter().any(|locked| match &locked.node {
                    Some(NodeEnum::RangeVar(locked)) => {
                        item.name.as_deref() == Some(&locked.relname)
                    }
                    Some(_) | None => true,
                })
            };
            let shared = |item: &Item| item.locks == Locks::Shared;
            let locks_shared = if locked_rels.is_empty() {
                level.locks == Locks::Shared
            } else {
                level.items.iter().any(|item| shared(item) && named(item))
            };
            if locks_shared {
                return Err(unsupported("FOR UPDATE of a table that tenants share"));
            }
        }
        Ok(())
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

impl VisibleCte {
    fn of(cte: &pg::CommonTableExpr) -> Self {
        Self {
            name: cte.ctename.clone(),
            names: names_of(&cte.aliascolnames),
            output: None,
        }
    }
}

fn names_of(nodes: &[Node]) -> Vec<String> {
    path(nodes)
        .unwrap_or_default()
        .into_iter()
        .map(str::to_owned)
        .collect()
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

/// What a query gives whose columns are computed before any condition around it: PostgreSQL pushes
/// no condition into it.
fn settled(output: Output, names: &[String]) -> Output {
    let mut output = renamed(output, names);
    let loud = output.any_loud();
    for column in &mut output.columns {
        let value = column.value.clone();
        column.value = Ok(value.unwrap_or_else(|_| Value::varying(types::OPAQUE)));
    }
    Output { loud, ..output }
}

fn united(left: &Output, right: &Output) -> Output {
    let columns = left
        .columns
        .iter()
        .zip(&right.columns)
        .map(|(left, right)| Column {
            name: left.name.clone(),
            value: types::united(&left.value, &right.value),
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
fn conjuncts(condition: Option<&Node>) -> Vec<&Node> {
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
    let names = column_path(operation.lexpr.as_deref()?)?;
    match names.as_slice() {
        [alias, _] => Some(alias),
        _ => None,
    }
}

fn is_one(limit: Option<&Node>) -> bool {
    let Some(Some(NodeEnum::AConst(constant))) = limit.map(|limit| &limit.node) else {
        return false;
    };
    constant.val == Some(pg::a_const::Val::Ival(pg::Integer { ival: 1 }))
}

/// Whether every target is an aggregate.
fn is_aggregated(targets: &[Node]) -> bool {
    !targets.is_empty()
        && targets.iter().all(|target| {
            let Some(NodeEnum::ResTarget(target)) = &target.node else {
                return false;
            };
            let Some(Some(NodeEnum::FuncCall(call))) = target.val.as_deref().map(|val| &val.node)
            else {
                return false;
            };
            let name = path(&call.funcname).and_then(|names| names.last().copied());
            let is_aggregate = name
                .and_then(names::listed)
                .is_some_and(|listed| listed.is("aggregate"));
            is_aggregate && call.over.is_none()
        })
}
