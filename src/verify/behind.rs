//! What PostgreSQL computes behind a grouping or a window, on the tenant's own rows.
//!
//! In: a condition, or a column of a query's result. Out: whether it can only be computed where
//! aggregates or window functions have been, which is behind the tenant's test.
//!
//! The planner moves a conjunct of HAVING to WHERE if it holds no aggregate, and a condition on a
//! query in FROM into that query. Before that it folds constants and takes boolean expressions apart
//! (PostgreSQL's `eval_const_expressions` and `canonicalize_qual`), so what it moves may be a part of
//! what was written.
//!
//! # Invariants
//! 1. Each part that may become a conjunct of its own is judged by itself.
//! 2. An aggregate counts only where no folding of constants can drop it and leave a column.

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::comparison::operator_name;
use super::expression::reference;
use super::names;
use super::proof::{Proof, path};
use super::scope::{self, Found, Item};
use super::silent::Clause;

/// What is looked for in an expression. What is not known counts as [`Search::Bare`] and
/// [`Search::Of`], and as nothing else.
#[derive(Clone, Copy, Debug)]
enum Search<'s> {
    /// A column that could be computed before a grouping.
    Bare,
    /// What is computed behind it.
    Behind,
    /// Any column of the innermost query.
    Column,
    /// A column of this range entry.
    Of(&'s Item),
}

impl Search<'_> {
    /// Whether what is not known counts.
    fn fears(self) -> bool {
        match self {
            Self::Bare | Self::Of(_) => true,
            Self::Behind | Self::Column => false,
        }
    }
}

impl Proof<'_> {
    /// Whether all of a condition is silent, or computed behind a grouping.
    pub(super) fn stays_behind(&mut self, node: &Node, clause: Clause) -> bool {
        if let Some(NodeEnum::BoolExpr(operation)) = &node.node {
            return operation.args.iter().all(|part| {
                self.stays_behind(part, clause) || self.silent_condition(part, clause).is_ok()
            });
        }
        self.is_behind(node, clause)
    }

    /// Whether an expression is computed behind a grouping, whatever becomes of its constants.
    pub(super) fn is_behind(&self, node: &Node, clause: Clause) -> bool {
        let groups = matches!(clause, Clause::Having | Clause::Content);
        (groups && self.is_firm(node))
            || (self.holds(node, Search::Behind) && !self.holds(node, Search::Bare))
    }

    /// Whether an expression keeps an aggregate of the innermost query, or becomes NULL.
    fn is_firm(&self, node: &Node) -> bool {
        use pg::AExprKind as Kind;
        let Some(kind) = &node.node else {
            return false;
        };
        if let NodeEnum::FuncCall(call) = kind {
            return self.is_own_aggregate(call)
                || (is_strict(call) && call.args.iter().any(|argument| self.is_firm(argument)));
        }
        if let NodeEnum::TypeCast(cast) = kind {
            return cast.arg.as_ref().is_some_and(|arg| self.is_firm(arg));
        }
        let NodeEnum::AExpr(operation) = kind else {
            return false;
        };
        let operator = operator_name(&operation.name);
        if !operator.is_some_and(|operator| self.is_strict_operator(operator)) {
            return false;
        }
        let firm = |side: &Option<Box<Node>>| side.as_ref().is_some_and(|node| self.is_firm(node));
        match Kind::try_from(operation.kind) {
            Ok(Kind::AexprOp | Kind::AexprLike | Kind::AexprIlike | Kind::AexprSimilar) => {
                firm(&operation.lexpr) || firm(&operation.rexpr)
            }
            // Each comparison becomes a conjunct of its own.
            Ok(
                Kind::AexprBetween
                | Kind::AexprBetweenSym
                | Kind::AexprIn
                | Kind::AexprNotBetween
                | Kind::AexprNotBetweenSym
                | Kind::AexprOpAll
                | Kind::AexprOpAny,
            ) => firm(&operation.lexpr),
            Ok(
                Kind::AexprDistinct | Kind::AexprNotDistinct | Kind::AexprNullif | Kind::Undefined,
            )
            | Err(_) => false,
        }
    }

    /// Whether every target is an aggregate, and one of them of the innermost query, which then has one row. It
    /// has no more without FROM.
    pub(super) fn is_aggregated(&self, from: &[Node], targets: &[Node]) -> bool {
        let mut calls = Vec::new();
        for target in targets {
            let Some(NodeEnum::ResTarget(target)) = &target.node else {
                return false;
            };
            match target.val.as_deref().map(|value| &value.node) {
                Some(Some(NodeEnum::FuncCall(call))) if is_aggregate(call) => calls.push(call),
                Some(_) | None => return false,
            }
        }
        !calls.is_empty()
            && (from.is_empty() || calls.into_iter().any(|call| self.is_own_aggregate(call)))
    }

    /// Whether this is an aggregate of the innermost query, or a window function.
    fn is_own_aggregate(&self, call: &pg::FuncCall) -> bool {
        if call.over.is_some() {
            return true;
        }
        if !is_aggregate(call) {
            return false;
        }
        // An aggregate of nothing but outer columns belongs to the outer query.
        let filter = call.agg_filter.as_deref();
        let parts = || call.args.iter().chain(&call.agg_order).chain(filter);
        self.any_holds(parts(), Search::Column) || !self.any_holds(parts(), Search::Bare)
    }

    /// Whether an expression names columns of the innermost query, and none of this range entry's.
    pub(super) fn names_others_than(&self, item: &Item, node: &Node) -> bool {
        self.holds(node, Search::Column) && !self.holds(node, Search::Of(item))
    }

    /// Whether an expression holds what is looked for.
    fn holds(&self, node: &Node, search: Search<'_>) -> bool {
        match &node.node {
            Some(NodeEnum::ColumnRef(column)) => self.is_such_column(column, search),
            Some(NodeEnum::FuncCall(call)) if self.is_own_aggregate(call) => match search {
                Search::Bare => false,
                Search::Behind | Search::Of(_) => true,
                Search::Column => self.any_holds(&call.args, search),
            },
            Some(_) | None => match parts(node) {
                Some(parts) => self.any_holds(parts, search),
                None => search.fears(),
            },
        }
    }

    fn any_holds<'n>(&self, nodes: impl IntoIterator<Item = &'n Node>, search: Search<'_>) -> bool {
        nodes.into_iter().any(|node| self.holds(node, search))
    }

    fn is_such_column(&self, column: &pg::ColumnRef, search: Search<'_>) -> bool {
        let innermost = self.levels.len().saturating_sub(1);
        let levels = self.levels.get(innermost..).unwrap_or_default();
        let found = reference(&column.fields).map(|named| scope::resolve(levels, named));
        match (found, search) {
            (Some(Ok(Found::Column(found))), Search::Behind) => found.behind,
            (Some(Ok(Found::Column(found))), Search::Bare) => !found.behind,
            (Some(Ok(Found::Column(_))), Search::Column) => true,
            (Some(Ok(Found::Column(found))), Search::Of(item)) => {
                item.columns.iter().any(|own| std::ptr::eq(own, found))
            }
            (Some(Ok(Found::Opaque | Found::Row(_)) | Err(_)) | None, search) => search.fears(),
        }
    }
}

fn is_aggregate(call: &pg::FuncCall) -> bool {
    listed(call).is_some_and(|listed| listed.is("aggregate")) && call.over.is_none()
}

/// Whether a call of no aggregate gives NULL if one of its arguments is NULL.
fn is_strict(call: &pg::FuncCall) -> bool {
    let is_strict = |listed: &names::Listed| {
        ["aggregate", "on-null", "srf", "window"]
            .into_iter()
            .all(|flag| !listed.is(flag))
    };
    !call.func_variadic && listed(call).is_some_and(is_strict)
}

fn listed(call: &pg::FuncCall) -> Option<&'static names::Listed> {
    match path(&call.funcname).as_deref() {
        Some([name] | ["pg_catalog", name]) => names::listed(name),
        Some(_) | None => None,
    }
}

/// The parts of an expression that are computed with it; none if they are not known.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "an expression that is not known"
)]
fn parts(node: &Node) -> Option<Vec<&Node>> {
    fn some<'n>(parts: impl IntoIterator<Item = &'n Option<Box<Node>>>) -> Vec<&'n Node> {
        parts.into_iter().filter_map(Option::as_deref).collect()
    }
    Some(match node.node.as_ref()? {
        NodeEnum::AConst(_) | NodeEnum::ParamRef(_) | NodeEnum::SqlvalueFunction(_) => Vec::new(),
        NodeEnum::AArrayExpr(array) => array.elements.iter().collect(),
        NodeEnum::AExpr(operation) => some([&operation.lexpr, &operation.rexpr]),
        NodeEnum::BoolExpr(operation) => operation.args.iter().collect(),
        NodeEnum::BooleanTest(test) => some([&test.arg]),
        NodeEnum::CaseExpr(case) => {
            let mut parts = some([&case.arg, &case.defresult]);
            parts.extend(&case.args);
            parts
        }
        NodeEnum::CaseWhen(when) => some([&when.expr, &when.result]),
        NodeEnum::CoalesceExpr(choice) => choice.args.iter().collect(),
        NodeEnum::CollateClause(collate) => some([&collate.arg]),
        NodeEnum::FuncCall(call) => {
            let filter = call.agg_filter.as_deref();
            call.args
                .iter()
                .chain(&call.agg_order)
                .chain(filter)
                .collect()
        }
        NodeEnum::List(list) => list.items.iter().collect(),
        NodeEnum::MinMaxExpr(choice) => choice.args.iter().collect(),
        NodeEnum::NullTest(test) => some([&test.arg]),
        NodeEnum::RowExpr(row) => row.args.iter().collect(),
        NodeEnum::SortBy(by) => some([&by.node]),
        NodeEnum::TypeCast(cast) => some([&cast.arg]),
        _ => return None,
    })
}
