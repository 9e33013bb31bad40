//! Queries, WITH, and how wide a query is.

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::children::Children;
use super::from::no_into;
use super::{Cte, Rewriter, Rewritten, lost};

impl Rewriter<'_> {
    /// A query and everything in it.
    pub(super) fn select(&mut self, select: &pg::SelectStmt) -> Rewritten<()> {
        let visible = self.ctes.len();
        no_into(select)?;
        self.with(select.with_clause.as_ref())?;
        for branch in [&select.larg, &select.rarg].into_iter().flatten() {
            stacker::maybe_grow(64 * 1024, 1024 * 1024, || self.select(branch))?;
        }
        Children(&mut |child| self.node(child)).select(select)?;
        self.ctes.truncate(visible);
        Ok(())
    }

    /// WITH: each query sees the ones before it; with RECURSIVE, all of them.
    pub(super) fn with(&mut self, with: Option<&pg::WithClause>) -> Rewritten<()> {
        let Some(with) = with else { return Ok(()) };
        let mut all = Vec::new();
        for cte in &with.ctes {
            let Some(NodeEnum::CommonTableExpr(cte)) = &cte.node else {
                return Err(lost("a common table expression"));
            };
            all.push(&**cte);
        }
        let first = self.ctes.len();
        if with.recursive {
            for cte in &all {
                self.ctes.push(Cte {
                    name: cte.ctename.clone(),
                    width: None,
                });
            }
            for (index, cte) in all.iter().enumerate() {
                let width = self.cte_width(cte);
                if let Some(known) = self.ctes.get_mut(first + index) {
                    known.width = width;
                }
            }
        }
        for cte in all {
            let query = cte.ctequery.as_deref().ok_or_else(|| lost("a query"))?;
            self.node(query)?;
            if let Some(cycle) = &cte.cycle_clause {
                self.optional(cycle.cycle_mark_value.as_deref())?;
                self.optional(cycle.cycle_mark_default.as_deref())?;
            }
            if !with.recursive {
                let width = self.cte_width(cte);
                self.ctes.push(Cte {
                    name: cte.ctename.clone(),
                    width,
                });
            }
        }
        Ok(())
    }

    fn cte_width(&self, cte: &pg::CommonTableExpr) -> Option<usize> {
        if cte.search_clause.is_some() || cte.cycle_clause.is_some() {
            return None;
        }
        match &cte.ctequery.as_ref()?.node {
            Some(NodeEnum::SelectStmt(select)) => self.width(select),
            Some(_) | None => None,
        }
    }

    /// How many columns a query has, where that can be told.
    pub(super) fn width(&self, select: &pg::SelectStmt) -> Option<usize> {
        if let Some(left) = &select.larg {
            return self.width(left);
        }
        if let Some(row) = select.values_lists.first() {
            let Some(NodeEnum::List(row)) = &row.node else {
                return None;
            };
            return Some(row.items.len());
        }
        if select.with_clause.is_some() {
            // Its names hide others.
            return None;
        }
        let mut width = 0;
        for target in &select.target_list {
            let Some(NodeEnum::ResTarget(target)) = &target.node else {
                return None;
            };
            width += self.target_width(target.val.as_deref()?, &select.from_clause)?;
        }
        Some(width)
    }

    fn target_width(&self, value: &Node, from: &[Node]) -> Option<usize> {
        match value.node.as_ref()? {
            NodeEnum::ColumnRef(column) => {
                let is_star = |node: &Node| matches!(node.node, Some(NodeEnum::AStar(_)));
                match column.fields.as_slice() {
                    [star] if is_star(star) => from.iter().map(|item| self.item_width(item)).sum(),
                    [.., last] if is_star(last) => None,
                    _ => Some(1),
                }
            }
            NodeEnum::AIndirection(indirection) => {
                let is_star = |node: &Node| matches!(node.node, Some(NodeEnum::AStar(_)));
                (!indirection.indirection.last().is_some_and(is_star)).then_some(1)
            }
            _ => Some(1),
        }
    }

    fn item_width(&self, item: &Node) -> Option<usize> {
        match item.node.as_ref()? {
            NodeEnum::RangeVar(table) => match self.cte(table) {
                Some(cte) => cte.width,
                None => {
                    let (relation, _) = self.relation(table).ok()?;
                    Some(self.classified.visible_columns(relation).len())
                }
            },
            NodeEnum::RangeTableSample(sample) => self.item_width(sample.relation.as_deref()?),
            NodeEnum::RangeSubselect(derived) => match &derived.subquery.as_ref()?.node {
                Some(NodeEnum::SelectStmt(select)) => self.width(select),
                Some(_) | None => None,
            },
            NodeEnum::JoinExpr(join) if !join.is_natural && join.using_clause.is_empty() => {
                let left = self.item_width(join.larg.as_deref()?)?;
                Some(left + self.item_width(join.rarg.as_deref()?)?)
            }
            _ => None,
        }
    }
}
