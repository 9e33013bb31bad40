//! Every node of a tree by its number, to look at and to replace.

use pg_query::protobuf::{ParseResult, SelectStmt, WithClause};
use pg_query::{Node, NodeEnum};

/// How many nodes a tree has.
pub fn count(tree: &ParseResult) -> usize {
    let mut tree = tree.clone();
    let mut seen = 0;
    walk(&mut tree, &mut |_| {
        seen += 1;
        true
    });
    seen
}

/// The node of this number.
pub fn at(tree: &ParseResult, index: usize) -> NodeEnum {
    let mut tree = tree.clone();
    let mut seen = 0;
    let mut found = None;
    walk(&mut tree, &mut |node| {
        if seen == index {
            found = Some(node.clone());
        }
        seen += 1;
        found.is_none()
    });
    found.expect("a node of this number")
}

/// The tree with another node in this place.
pub fn with(tree: &ParseResult, index: usize, node: NodeEnum) -> ParseResult {
    let mut tree = tree.clone();
    let mut seen = 0;
    let mut node = Some(node);
    walk(&mut tree, &mut |found| {
        if seen == index
            && let Some(node) = node.take()
        {
            *found = node;
            // What is inside the new node keeps its own nodes out of the count.
            seen += 1;
            return false;
        }
        seen += 1;
        true
    });
    tree
}

type Visit<'v> = &'v mut dyn FnMut(&mut NodeEnum) -> bool;

/// Visits every node from the outside in, until one visit returns false.
fn walk(tree: &mut ParseResult, visit: Visit<'_>) -> bool {
    tree.stmts.iter_mut().all(|statement| {
        statement
            .stmt
            .as_deref_mut()
            .is_none_or(|stmt| one(stmt, visit))
    })
}

fn one(node: &mut Node, visit: Visit<'_>) -> bool {
    let Some(kind) = &mut node.node else {
        return true;
    };
    visit(kind) && inside(kind, visit)
}

fn list(nodes: &mut [Node], visit: Visit<'_>) -> bool {
    nodes.iter_mut().all(|node| one(node, visit))
}

fn boxed(node: &mut Option<Box<Node>>, visit: Visit<'_>) -> bool {
    node.as_deref_mut().is_none_or(|node| one(node, visit))
}

fn branch(select: &mut Option<Box<SelectStmt>>, visit: Visit<'_>) -> bool {
    let Some(taken) = select.take() else {
        return true;
    };
    let mut node = Node {
        node: Some(NodeEnum::SelectStmt(taken)),
    };
    let go_on = one(&mut node, visit);
    if let Some(NodeEnum::SelectStmt(taken)) = node.node {
        *select = Some(taken);
    }
    go_on
}

fn with_clause(with: &mut Option<WithClause>, visit: Visit<'_>) -> bool {
    with.as_mut().is_none_or(|with| list(&mut with.ctes, visit))
}

fn inside(kind: &mut NodeEnum, visit: Visit<'_>) -> bool {
    match kind {
        NodeEnum::SelectStmt(select) => {
            with_clause(&mut select.with_clause, visit)
                && list(&mut select.distinct_clause, visit)
                && list(&mut select.target_list, visit)
                && list(&mut select.from_clause, visit)
                && boxed(&mut select.where_clause, visit)
                && list(&mut select.group_clause, visit)
                && boxed(&mut select.having_clause, visit)
                && list(&mut select.window_clause, visit)
                && list(&mut select.values_lists, visit)
                && branch(&mut select.larg, visit)
                && branch(&mut select.rarg, visit)
                && list(&mut select.sort_clause, visit)
                && boxed(&mut select.limit_offset, visit)
                && boxed(&mut select.limit_count, visit)
                && list(&mut select.locking_clause, visit)
        }
        NodeEnum::InsertStmt(insert) => {
            with_clause(&mut insert.with_clause, visit)
                && list(&mut insert.cols, visit)
                && boxed(&mut insert.select_stmt, visit)
                && insert.on_conflict_clause.as_mut().is_none_or(|conflict| {
                    conflict.infer.as_mut().is_none_or(|infer| {
                        list(&mut infer.index_elems, visit) && boxed(&mut infer.where_clause, visit)
                    }) && list(&mut conflict.target_list, visit)
                        && boxed(&mut conflict.where_clause, visit)
                })
                && insert
                    .returning_clause
                    .as_mut()
                    .is_none_or(|returning| list(&mut returning.exprs, visit))
        }
        NodeEnum::UpdateStmt(update) => {
            with_clause(&mut update.with_clause, visit)
                && list(&mut update.target_list, visit)
                && list(&mut update.from_clause, visit)
                && boxed(&mut update.where_clause, visit)
                && update
                    .returning_clause
                    .as_mut()
                    .is_none_or(|returning| list(&mut returning.exprs, visit))
        }
        NodeEnum::DeleteStmt(delete) => {
            with_clause(&mut delete.with_clause, visit)
                && list(&mut delete.using_clause, visit)
                && boxed(&mut delete.where_clause, visit)
                && delete
                    .returning_clause
                    .as_mut()
                    .is_none_or(|returning| list(&mut returning.exprs, visit))
        }
        NodeEnum::DeclareCursorStmt(declare) => boxed(&mut declare.query, visit),
        NodeEnum::ExecuteStmt(execute) => list(&mut execute.params, visit),
        NodeEnum::ExplainStmt(explain) => boxed(&mut explain.query, visit),
        NodeEnum::LockStmt(lock) => list(&mut lock.relations, visit),
        NodeEnum::MergeStmt(merge) => {
            with_clause(&mut merge.with_clause, visit)
                && boxed(&mut merge.source_relation, visit)
                && boxed(&mut merge.join_condition, visit)
                && list(&mut merge.merge_when_clauses, visit)
        }
        NodeEnum::CopyStmt(copy) => {
            boxed(&mut copy.query, visit) && boxed(&mut copy.where_clause, visit)
        }
        NodeEnum::MergeWhenClause(clause) => {
            boxed(&mut clause.condition, visit)
                && list(&mut clause.target_list, visit)
                && list(&mut clause.values, visit)
        }
        other => inside_expression(other, visit),
    }
}

fn inside_expression(kind: &mut NodeEnum, visit: Visit<'_>) -> bool {
    match kind {
        NodeEnum::CommonTableExpr(cte) => boxed(&mut cte.ctequery, visit),
        NodeEnum::RangeSubselect(derived) => boxed(&mut derived.subquery, visit),
        NodeEnum::RangeFunction(function) => list(&mut function.functions, visit),
        NodeEnum::JoinExpr(join) => {
            boxed(&mut join.larg, visit)
                && boxed(&mut join.rarg, visit)
                && boxed(&mut join.quals, visit)
        }
        NodeEnum::ResTarget(target) => {
            list(&mut target.indirection, visit) && boxed(&mut target.val, visit)
        }
        NodeEnum::AIndices(indices) => {
            boxed(&mut indices.lidx, visit) && boxed(&mut indices.uidx, visit)
        }
        NodeEnum::IndexElem(element) => boxed(&mut element.expr, visit),
        NodeEnum::RangeTableSample(sample) => {
            boxed(&mut sample.relation, visit)
                && list(&mut sample.args, visit)
                && boxed(&mut sample.repeatable, visit)
        }
        NodeEnum::XmlExpr(xml) => list(&mut xml.named_args, visit) && list(&mut xml.args, visit),
        NodeEnum::XmlSerialize(xml) => boxed(&mut xml.expr, visit),
        NodeEnum::SortBy(sort) => boxed(&mut sort.node, visit),
        NodeEnum::GroupingSet(set) => list(&mut set.content, visit),
        NodeEnum::WindowDef(window) => {
            list(&mut window.partition_clause, visit) && list(&mut window.order_clause, visit)
        }
        NodeEnum::List(inner) => list(&mut inner.items, visit),
        NodeEnum::AExpr(operation) => {
            boxed(&mut operation.lexpr, visit) && boxed(&mut operation.rexpr, visit)
        }
        NodeEnum::BoolExpr(operation) => list(&mut operation.args, visit),
        NodeEnum::TypeCast(cast) => boxed(&mut cast.arg, visit),
        NodeEnum::FuncCall(call) => {
            list(&mut call.args, visit)
                && list(&mut call.agg_order, visit)
                && boxed(&mut call.agg_filter, visit)
        }
        NodeEnum::NullTest(test) => boxed(&mut test.arg, visit),
        NodeEnum::BooleanTest(test) => boxed(&mut test.arg, visit),
        NodeEnum::AArrayExpr(array) => list(&mut array.elements, visit),
        NodeEnum::AIndirection(indirection) => boxed(&mut indirection.arg, visit),
        NodeEnum::SubLink(link) => {
            boxed(&mut link.testexpr, visit) && boxed(&mut link.subselect, visit)
        }
        NodeEnum::CaseExpr(case) => {
            boxed(&mut case.arg, visit)
                && list(&mut case.args, visit)
                && boxed(&mut case.defresult, visit)
        }
        NodeEnum::CaseWhen(when) => boxed(&mut when.expr, visit) && boxed(&mut when.result, visit),
        NodeEnum::CoalesceExpr(coalesce) => list(&mut coalesce.args, visit),
        NodeEnum::MinMaxExpr(extreme) => list(&mut extreme.args, visit),
        NodeEnum::RowExpr(row) => list(&mut row.args, visit),
        NodeEnum::CollateClause(collate) => boxed(&mut collate.arg, visit),
        _ => true,
    }
}
