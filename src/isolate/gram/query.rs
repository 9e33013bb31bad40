//! Queries, WITH, and how wide a query is.

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::children::Children;
use super::from::no_into;
use super::written::Renames;
use super::{Cte, Rewriter, Rewritten, lost};

impl Rewriter<'_> {
    /// A query and everything in it.
    pub(super) fn select(&mut self, select: &pg::SelectStmt) -> Rewritten<()> {
        let visible = self.ctes.len();
        no_into(select)?;
        self.renames.iter_mut().for_each(Renames::enter);
        self.with(select.with_clause.as_ref())?;
        for branch in [&select.larg, &select.rarg].into_iter().flatten() {
            stacker::maybe_grow(64 * 1024, 1024 * 1024, || self.select(branch))?;
        }
        Children(&mut |child| self.node(child)).select(select)?;
        self.group_fenced(select)?;
        self.renames.iter_mut().for_each(Renames::leave);
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
                let columns = self.cte_width(cte);
                if let Some(known) = self.ctes.get_mut(first + index) {
                    known.width = columns;
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
                let columns = self.cte_width(cte);
                self.ctes.push(Cte {
                    name: cte.ctename.clone(),
                    width: columns,
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
        // What `*` stands for is measured once: in a deep statement, twice would be twice for each level.
        let mut star: Option<Option<usize>> = None;
        let mut width = 0;
        for target in &select.target_list {
            let Some(NodeEnum::ResTarget(target)) = &target.node else {
                return None;
            };
            width += match stars(target.val.as_deref()?) {
                Star::None => 1,
                Star::All => {
                    let from = &select.from_clause;
                    let measure = || from.iter().map(|item| self.item_width(item)).sum();
                    (*star.get_or_insert_with(measure))?
                }
                Star::Some => self.width_of_row(target)?,
            };
        }
        (width <= TARGETS_MAX).then_some(width)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "unknown, so not told")]
    fn item_width(&self, item: &Node) -> Option<usize> {
        match item.node.as_ref()? {
            NodeEnum::RangeVar(table) => {
                if let Some(cte) = self.cte(table) {
                    return cte.width;
                }
                let relation = match self.view(table) {
                    Some((view, _)) => view,
                    None => self.relation(table).ok()?.0,
                };
                Some(self.columns_of(relation).len())
            }
            NodeEnum::RangeTableSample(sample) => self.item_width(sample.relation.as_deref()?),
            NodeEnum::RangeFunction(function) => self.width_in_from(function),
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

/// `MaxTupleAttributeNumber`: PostgreSQL takes no more.
const TARGETS_MAX: usize = 1664;

/// Whether a target stands for several columns.
enum Star {
    /// It is one column.
    None,
    /// `*`
    All,
    /// `alias.*` or `(row).*`
    Some,
}

fn stars(value: &Node) -> Star {
    let is_star = |node: &Node| matches!(node.node, Some(NodeEnum::AStar(_)));
    match &value.node {
        Some(NodeEnum::ColumnRef(column)) => match column.fields.as_slice() {
            [star] if is_star(star) => Star::All,
            [.., last] if is_star(last) => Star::Some,
            _ => Star::None,
        },
        Some(NodeEnum::AIndirection(indirection))
            if indirection.indirection.last().is_some_and(is_star) =>
        {
            Star::Some
        }
        Some(_) | None => Star::None,
    }
}
