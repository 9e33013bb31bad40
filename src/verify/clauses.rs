//! GROUP BY, ORDER BY, LIMIT and the other clauses at the end of a query, in lockstep.

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::constants;
use super::expression::reference;
use super::grouped::Grouped;
use super::proof::{
    Checked, Pair, Proof, anywhere, both, column_path, differs, equal, path, position, unchanged,
    unsupported,
};
use super::scope::{self, Found, Item, Locks, Reference, opaque_column};
use super::types::{Column, Typed};
use crate::catalog::oid;
use crate::isolate::refusal::BeyondGrant;
use crate::tenant::{TenantColumn, Verb};

/// What a sort key's name may mean.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Keys {
    /// Columns of FROM only.
    Inputs,
    /// The query's own result, too.
    Outputs,
}

impl Proof<'_> {
    /// Compares GROUP BY, which may end with tenant columns, and with columns that a key determines.
    pub(super) fn grouping(&mut self, pair: Pair<'_, Vec<Node>>, query: Grouped<'_>) -> Checked {
        let (original, rewritten) = pair;
        let Some((kept, added)) = rewritten.split_at_checked(original.len()) else {
            return Err(differs("GROUP BY"));
        };
        for (original, rewritten) in original.iter().zip(kept) {
            self.grouping_element(original, rewritten)?;
        }
        let mut seen = Vec::new();
        let keys = match added {
            [] => Vec::new(),
            [_, ..] => self.grouped_by(original, query),
        };
        for node in added {
            let column = self.added_grouping(&keys, node)?;
            if seen.contains(&column) {
                return Err(differs("GROUP BY"));
            }
            seen.push(column);
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

    /// Recognises a column at the end of GROUP BY that changes no group: the tenant column of a table, or
    /// any column of one in a fence, if the rest of the table's primary key is grouped by.
    fn added_grouping(&self, original: &[Node], added: &Node) -> Checked<(String, String)> {
        let wrong = || differs("a tenant column in GROUP BY");
        // A definition groups by it, or not.
        if self.views > 0 || self.classified().tenant_column() == TenantColumn::Visible {
            // There it would tell groups apart.
            return Err(wrong());
        }
        let level = self.levels.last().ok_or_else(wrong)?;
        let names = column_path(added).ok_or_else(wrong)?;
        let [alias, column] = names.as_slice() else {
            return Err(wrong());
        };
        let mut called = level
            .items
            .iter()
            .filter(|item| item.name.as_deref() == Some(alias));
        let (Some(item), None) = (called.next(), called.next()) else {
            return Err(wrong());
        };
        let direct = level
            .direct
            .iter()
            .find(|test| test.alias == *alias && test.tenant_column() == Some(column));
        let is_shown = |name: &str| item.columns.iter().filter(|c| c.name == name).count() == 1;
        let key = match (direct, &item.key) {
            (Some(test), None) => test.key.as_ref(),
            (None, Some(key)) if is_shown(column) => Some(key),
            (None | Some(_), _) => None,
        };
        let is_set = |node: &Node| matches!(&node.node, Some(NodeEnum::GroupingSet(_)));
        let key = key.ok_or_else(wrong)?;
        let grouped = |name: &String| {
            let wanted = item.columns.iter().find(|column| column.name == *name);
            original.iter().any(|node| self.is_column(node, wanted))
        };
        if original.iter().any(is_set) || !key.iter().all(grouped) || original.is_empty() {
            return Err(wrong());
        }
        Ok(((*alias).to_owned(), (*column).to_owned()))
    }

    fn is_column(&self, node: &Node, wanted: Option<&Column>) -> bool {
        let Some(NodeEnum::ColumnRef(column)) = &node.node else {
            return false;
        };
        let Some(reference) = reference(&column.fields) else {
            return false;
        };
        match (scope::resolve(&self.levels, reference), wanted) {
            (Ok(Found::Column(found)), Some(wanted)) => std::ptr::eq(found, wanted),
            _ => false,
        }
    }

    /// Compares DISTINCT.
    pub(super) fn distinct(&mut self, pair: Pair<'_, Vec<Node>>) -> Checked {
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
            equal(sortby_dir, "ASC or DESC")?;
            equal(sortby_nulls, "NULLS FIRST or LAST")?;
            unchanged(use_op, "ORDER BY .. USING")?;
            // Any other operator could be one that is not the system's.
            let is_plain = matches!(
                path(use_op.0).as_deref(),
                Some([] | ["<" | ">"] | ["pg_catalog", "<" | ">"])
            );
            if !is_plain {
                return Err(unsupported("ORDER BY .. USING with this operator"));
            }
            if !use_op.0.is_empty() {
                self.operator(use_op, position(location))?;
            }
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
            // DISTINCT of whole rows.
            return self.compared_wholly();
        }
        if let (Keys::Outputs, Some([name])) = (keys, column_path(original).as_deref()) {
            let level = self.level()?;
            let outputs = level.outputs.iter().filter(|output| output.name == *name);
            let named: Vec<Typed> = outputs.map(|output| output.value.clone()).collect();
            let is_hidden = |item: &Item| item.hidden.as_deref() == Some(name);
            if !named.is_empty() && !level.items.iter().any(is_hidden) {
                // GROUP BY means a column of FROM that has the name, if there is one.
                for value in named.into_iter().chain(self.input(name)) {
                    self.compared(value)?;
                }
                return match column_path(rewritten).as_deref() {
                    Some([sent]) if sent == name => Ok(()),
                    Some(_) | None => Err(differs("the name of an output column")),
                };
            }
        }
        self.expression(original, rewritten)?;
        let numbered = match keys {
            Keys::Outputs => constants::whole_number(original),
            Keys::Inputs => None,
        };
        let Some(number) = numbered else {
            let key = self.silent_value(original);
            return self.compared(key);
        };
        let at = usize::try_from(number)
            .ok()
            .and_then(|at| at.checked_sub(1));
        let output = at.and_then(|at| self.levels.last()?.outputs.get(at));
        match output.map(|output| output.value.clone()) {
            Some(output) => self.compared(output),
            // PostgreSQL knows no such column.
            None => Ok(()),
        }
    }

    /// The column of FROM that has this name.
    fn input(&self, name: &str) -> Option<Typed> {
        let innermost = self.levels.len().saturating_sub(1);
        let named = Reference {
            schema: None,
            table: None,
            column: Some(name),
        };
        match scope::resolve(self.levels.get(innermost..)?, named) {
            Ok(Found::Column(found)) => Some(found.value.clone()),
            Ok(Found::Opaque) => Some(opaque_column(name, "a function's column").value),
            Ok(Found::Row(_)) | Err(_) => None,
        }
    }

    /// Takes note that the rows of the result are compared with one another, all columns of them.
    pub(super) fn compared_wholly(&mut self) -> Checked {
        let outputs = self.level()?.outputs.clone();
        outputs
            .into_iter()
            .try_for_each(|output| self.compared(output.value))
    }

    /// Takes note that the rows of the query are compared with one another by this value. What is not silent,
    /// or cannot be compared silently, is content of the query.
    fn compared(&mut self, value: Typed) -> Checked {
        if let Err(refusal) = value.and_then(|value| self.ordered(value)) {
            self.level()?.loud_content.get_or_insert(refusal);
        }
        Ok(())
    }

    /// Compares WINDOW.
    pub(super) fn windows(&mut self, pair: Pair<'_, Vec<Node>>) -> Checked {
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
        // PostgreSQL computes these of a window that nothing uses, too.
        if partition_clause.0.len() != partition_clause.1.len() {
            return Err(differs("PARTITION BY"));
        }
        for (original, rewritten) in partition_clause.0.iter().zip(partition_clause.1) {
            self.key(original, rewritten, Keys::Inputs)?;
        }
        self.sort(order_clause, Keys::Inputs)?;
        equal(frame_options, "a window's frame")?;
        for offset in [start_offset, end_offset] {
            self.optional(offset, "a window's frame")?;
            if let Some(original) = offset.0 {
                self.count(original, "a frame's offset that may be negative")?;
            }
        }
        Ok(())
    }

    /// Compares LIMIT or OFFSET.
    pub(super) fn limit(&mut self, pair: Pair<'_, Option<Box<Node>>>) -> Checked {
        self.optional(pair, "LIMIT or OFFSET")?;
        if let Some(original) = pair.0 {
            self.count(original, "a LIMIT or OFFSET that may be negative")?;
            if let Some(NodeEnum::ParamRef(parameter)) = &original.node {
                let untyped = self.parameter(*parameter)?.untyped;
                self.use_as(untyped, oid::INT8);
            }
        }
        Ok(())
    }

    /// Takes note of a number of rows.
    fn count(&mut self, original: &Node, what: &str) -> Checked {
        self.content(original);
        if !constants::is_count(original) {
            // A negative number is an error, and when it comes is up to the rows around it.
            let loud = super::silent::loud(what, original);
            self.level()?.loud_content.get_or_insert(loud);
        }
        Ok(())
    }

    /// Compares FOR UPDATE and its kin.
    pub(super) fn locking(&mut self, pair: Pair<'_, Vec<Node>>) -> Checked {
        unchanged(pair, "FOR UPDATE")?;
        if !pair.0.is_empty() && !self.classified().permits(Verb::Update) {
            // As PostgreSQL's privileges have it.
            return Err(BeyondGrant::Verb {
                relation: "rows that are locked".to_owned(),
                verb: Verb::Update,
            }
            .into());
        }
        let level = self.level()?;
        for node in pair.0 {
            let Some(NodeEnum::LockingClause(clause)) = &node.node else {
                return Err(differs("FOR UPDATE"));
            };
            let pg::LockingClause {
                locked_rels,
                strength: _,
                wait_policy: _,
            } = clause;
            let loud = super::silent::loud("FOR UPDATE or its kin", node);
            level.loud_content.get_or_insert(loud);
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
}
