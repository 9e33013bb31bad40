//! HAVING: what of it PostgreSQL computes on groups, behind the tenant's test.
//!
//! A conjunct without an aggregate of the query's own may be moved to WHERE; one with it stays.

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::expression::reference;
use super::names;
use super::proof::{Proof, path};
use super::scope::{self, Found};

impl Proof<'_> {
    /// Whether a conjunct of HAVING holds an aggregate of the innermost query.
    pub(super) fn is_grouped(&self, node: &Node) -> bool {
        if let Some(NodeEnum::FuncCall(call)) = &node.node
            && is_aggregate(call)
        {
            // An aggregate of nothing but outer columns belongs to the outer query.
            return call.agg_star
                || call
                    .args
                    .iter()
                    .any(|argument| self.is_own_column(argument));
        }
        parts(node).into_iter().any(|part| self.is_grouped(part))
    }

    /// Whether an expression holds a column of the innermost query.
    fn is_own_column(&self, node: &Node) -> bool {
        if let Some(NodeEnum::ColumnRef(column)) = &node.node {
            let innermost = self.levels.len().saturating_sub(1);
            let levels = self.levels.get(innermost..).unwrap_or_default();
            let found = reference(&column.fields).map(|named| scope::resolve(levels, named));
            return matches!(found, Some(Ok(Found::Column(_))));
        }
        parts(node).into_iter().any(|part| self.is_own_column(part))
    }
}

fn is_aggregate(call: &pg::FuncCall) -> bool {
    let name = match path(&call.funcname).as_deref() {
        Some([name] | ["pg_catalog", name]) => names::listed(name),
        Some(_) | None => None,
    };
    name.is_some_and(|listed| listed.is("aggregate")) && call.over.is_none()
}

/// The parts of an expression that are computed with it, sub-selects left out.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "an aggregate that is not found is no aggregate"
)]
fn parts(node: &Node) -> Vec<&Node> {
    let Some(kind) = &node.node else {
        return Vec::new();
    };
    match kind {
        NodeEnum::AExpr(operation) => [&operation.lexpr, &operation.rexpr]
            .into_iter()
            .flatten()
            .map(|part| &**part)
            .collect(),
        NodeEnum::BoolExpr(operation) => operation.args.iter().collect(),
        NodeEnum::FuncCall(call) => call.args.iter().collect(),
        NodeEnum::List(list) => list.items.iter().collect(),
        NodeEnum::CoalesceExpr(choice) => choice.args.iter().collect(),
        NodeEnum::MinMaxExpr(choice) => choice.args.iter().collect(),
        NodeEnum::TypeCast(cast) => cast.arg.as_deref().into_iter().collect(),
        NodeEnum::NullTest(test) => test.arg.as_deref().into_iter().collect(),
        NodeEnum::BooleanTest(test) => test.arg.as_deref().into_iter().collect(),
        _ => Vec::new(),
    }
}
