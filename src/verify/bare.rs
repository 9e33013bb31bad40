//! Trees without positions.
//!
//! In: trees. Out: whether they are equal, positions aside.
//!
//! # Invariants
//! 1. Equality itself is the derived one, over every field; what is done here only sets positions to
//!    zero. A position that is forgotten makes two trees differ, never agree.
//! 2. A kind of node that is not listed is refused by name.

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use crate::isolate::refusal::{Reason, Refusal};

type Checked = Result<(), Refusal>;

/// Whether two trees are equal, positions aside.
pub(super) fn same(one: &NodeEnum, other: &NodeEnum) -> Result<bool, Refusal> {
    let (mut one, mut other) = (one.clone(), other.clone());
    kind(&mut one)?;
    // The other one may hold what is not listed only if the two differ.
    Ok(kind(&mut other).is_ok() && one == other)
}

/// Whether two lists are equal, positions aside.
pub(super) fn same_list(one: &[Node], other: &[Node]) -> Result<bool, Refusal> {
    let (mut one, mut other) = (one.to_vec(), other.to_vec());
    list(&mut one)?;
    Ok(list(&mut other).is_ok() && one == other)
}

/// The name of a node's kind, for refusals.
pub(super) fn name_of(node: &NodeEnum) -> String {
    let text = format!("{node:?}");
    text.chars()
        .take_while(char::is_ascii_alphanumeric)
        .collect()
}

fn list(nodes: &mut [Node]) -> Checked {
    nodes.iter_mut().try_for_each(node)
}

fn boxed(inner: &mut Option<Box<Node>>) -> Checked {
    inner.as_deref_mut().map_or(Ok(()), node)
}

fn node(node: &mut Node) -> Checked {
    node.node.as_mut().map_or(Ok(()), kind)
}

fn kind(node: &mut NodeEnum) -> Checked {
    stacker::maybe_grow(64 * 1024, 1024 * 1024, || statement(node))
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the next function looks at the rest, and the last one refuses it"
)]
fn statement(node: &mut NodeEnum) -> Checked {
    match node {
        NodeEnum::SelectStmt(select) => select_statement(select),
        NodeEnum::InsertStmt(insert) => {
            range_variable(insert.relation.as_mut());
            list(&mut insert.cols)?;
            boxed(&mut insert.select_stmt)?;
            if let Some(conflict) = &mut insert.on_conflict_clause {
                on_conflict(conflict)?;
            }
            returning(insert.returning_clause.as_mut())?;
            with(insert.with_clause.as_mut())
        }
        NodeEnum::UpdateStmt(update) => {
            range_variable(update.relation.as_mut());
            list(&mut update.target_list)?;
            boxed(&mut update.where_clause)?;
            list(&mut update.from_clause)?;
            returning(update.returning_clause.as_mut())?;
            with(update.with_clause.as_mut())
        }
        NodeEnum::DeleteStmt(delete) => {
            range_variable(delete.relation.as_mut());
            list(&mut delete.using_clause)?;
            boxed(&mut delete.where_clause)?;
            returning(delete.returning_clause.as_mut())?;
            with(delete.with_clause.as_mut())
        }
        NodeEnum::CopyStmt(copy) => {
            range_variable(copy.relation.as_mut());
            boxed(&mut copy.query)?;
            list(&mut copy.attlist)?;
            list(&mut copy.options)?;
            boxed(&mut copy.where_clause)
        }
        NodeEnum::TransactionStmt(transaction) => {
            transaction.location = 0;
            list(&mut transaction.options)
        }
        NodeEnum::VariableSetStmt(set) => {
            set.location = 0;
            list(&mut set.args)
        }
        NodeEnum::VariableShowStmt(_)
        | NodeEnum::ClosePortalStmt(_)
        | NodeEnum::DiscardStmt(_)
        | NodeEnum::FetchStmt(_) => Ok(()),
        NodeEnum::ConstraintsSetStmt(set) => list(&mut set.constraints),
        NodeEnum::DeclareCursorStmt(declare) => boxed(&mut declare.query),
        NodeEnum::ExplainStmt(explain) => {
            list(&mut explain.options)?;
            boxed(&mut explain.query)
        }
        other => clause(other),
    }
}

fn select_statement(select: &mut pg::SelectStmt) -> Checked {
    list(&mut select.distinct_clause)?;
    if let Some(into) = &mut select.into_clause {
        range_variable(into.rel.as_mut());
    }
    list(&mut select.target_list)?;
    list(&mut select.from_clause)?;
    boxed(&mut select.where_clause)?;
    list(&mut select.group_clause)?;
    boxed(&mut select.having_clause)?;
    list(&mut select.window_clause)?;
    list(&mut select.values_lists)?;
    list(&mut select.sort_clause)?;
    boxed(&mut select.limit_offset)?;
    boxed(&mut select.limit_count)?;
    list(&mut select.locking_clause)?;
    with(select.with_clause.as_mut())?;
    let deeper = |branch: &mut Option<Box<pg::SelectStmt>>| match branch {
        Some(branch) => stacker::maybe_grow(64 * 1024, 1024 * 1024, || select_statement(branch)),
        None => Ok(()),
    };
    deeper(&mut select.larg)?;
    deeper(&mut select.rarg)
}

fn on_conflict(conflict: &mut pg::OnConflictClause) -> Checked {
    conflict.location = 0;
    if let Some(infer) = &mut conflict.infer {
        infer.location = 0;
        list(&mut infer.index_elems)?;
        boxed(&mut infer.where_clause)?;
    }
    list(&mut conflict.target_list)?;
    boxed(&mut conflict.where_clause)
}

fn returning(clause: Option<&mut pg::ReturningClause>) -> Checked {
    clause.map_or(Ok(()), |clause| {
        list(&mut clause.options)?;
        list(&mut clause.exprs)
    })
}

fn with(clause: Option<&mut pg::WithClause>) -> Checked {
    clause.map_or(Ok(()), |clause| {
        clause.location = 0;
        list(&mut clause.ctes)
    })
}

fn range_variable(relation: Option<&mut pg::RangeVar>) {
    if let Some(relation) = relation {
        relation.location = 0;
    }
}

/// What stands in FROM, in lists and at the end of a query.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the next function looks at the rest, and the last one refuses it"
)]
fn clause(node: &mut NodeEnum) -> Checked {
    match node {
        NodeEnum::RangeVar(relation) => {
            relation.location = 0;
            Ok(())
        }
        NodeEnum::RangeSubselect(derived) => boxed(&mut derived.subquery),
        NodeEnum::RangeFunction(function) => {
            list(&mut function.functions)?;
            list(&mut function.coldeflist)
        }
        NodeEnum::ColumnDef(column) => {
            column.location = 0;
            column.type_name.as_mut().map_or(Ok(()), type_name)
        }
        NodeEnum::JoinExpr(join) => {
            boxed(&mut join.larg)?;
            boxed(&mut join.rarg)?;
            boxed(&mut join.quals)
        }
        NodeEnum::CommonTableExpr(cte) => {
            cte.location = 0;
            boxed(&mut cte.ctequery)
        }
        NodeEnum::ResTarget(target) => {
            target.location = 0;
            list(&mut target.indirection)?;
            boxed(&mut target.val)
        }
        NodeEnum::SortBy(sort) => {
            sort.location = 0;
            boxed(&mut sort.node)
        }
        NodeEnum::WindowDef(window) => window_definition(window),
        NodeEnum::GroupingSet(set) => {
            set.location = 0;
            list(&mut set.content)
        }
        NodeEnum::LockingClause(locking) => list(&mut locking.locked_rels),
        NodeEnum::IndexElem(element) => boxed(&mut element.expr),
        NodeEnum::DefElem(element) => {
            element.location = 0;
            element.arg_location = 0;
            boxed(&mut element.arg)
        }
        NodeEnum::List(inner) => list(&mut inner.items),
        NodeEnum::String(_)
        | NodeEnum::Integer(_)
        | NodeEnum::Float(_)
        | NodeEnum::Boolean(_)
        | NodeEnum::AStar(_) => Ok(()),
        other => expression(other),
    }
}

fn window_definition(window: &mut pg::WindowDef) -> Checked {
    window.location = 0;
    list(&mut window.partition_clause)?;
    list(&mut window.order_clause)?;
    boxed(&mut window.start_offset)?;
    boxed(&mut window.end_offset)
}

fn type_name(name: &mut pg::TypeName) -> Checked {
    name.location = 0;
    list(&mut name.typmods)?;
    list(&mut name.array_bounds)
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the next function looks at the rest, and the last one refuses it"
)]
fn expression(node: &mut NodeEnum) -> Checked {
    match node {
        NodeEnum::ColumnRef(column) => column.location = 0,
        NodeEnum::ParamRef(parameter) => parameter.location = 0,
        NodeEnum::AConst(constant) => constant.location = 0,
        NodeEnum::SqlvalueFunction(function) => function.location = 0,
        NodeEnum::SetToDefault(default) => default.location = 0,
        NodeEnum::AExpr(operation) => {
            operation.location = 0;
            operation.rexpr_list_start = 0;
            operation.rexpr_list_end = 0;
            boxed(&mut operation.lexpr)?;
            boxed(&mut operation.rexpr)?;
        }
        NodeEnum::BoolExpr(operation) => {
            operation.location = 0;
            list(&mut operation.args)?;
        }
        NodeEnum::TypeCast(cast) => {
            cast.location = 0;
            boxed(&mut cast.arg)?;
            cast.type_name.as_mut().map_or(Ok(()), type_name)?;
        }
        NodeEnum::TypeName(name) => type_name(name)?,
        NodeEnum::CollateClause(collate) => {
            collate.location = 0;
            boxed(&mut collate.arg)?;
        }
        NodeEnum::FuncCall(call) => {
            call.location = 0;
            list(&mut call.args)?;
            list(&mut call.agg_order)?;
            boxed(&mut call.agg_filter)?;
            call.over.as_deref_mut().map_or(Ok(()), window_definition)?;
        }
        NodeEnum::NamedArgExpr(argument) => {
            argument.location = 0;
            boxed(&mut argument.arg)?;
        }
        NodeEnum::NullTest(test) => {
            test.location = 0;
            boxed(&mut test.arg)?;
        }
        NodeEnum::BooleanTest(test) => {
            test.location = 0;
            boxed(&mut test.arg)?;
        }
        other => compound(other)?,
    }
    Ok(())
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "every kind that is not listed is refused"
)]
fn compound(node: &mut NodeEnum) -> Checked {
    match node {
        NodeEnum::AArrayExpr(array) => {
            array.location = 0;
            array.list_start = 0;
            array.list_end = 0;
            list(&mut array.elements)
        }
        NodeEnum::AIndirection(indirection) => {
            boxed(&mut indirection.arg)?;
            list(&mut indirection.indirection)
        }
        NodeEnum::AIndices(indices) => {
            boxed(&mut indices.lidx)?;
            boxed(&mut indices.uidx)
        }
        NodeEnum::SubLink(link) => {
            link.location = 0;
            boxed(&mut link.testexpr)?;
            boxed(&mut link.subselect)
        }
        NodeEnum::CaseExpr(case) => {
            case.location = 0;
            boxed(&mut case.arg)?;
            list(&mut case.args)?;
            boxed(&mut case.defresult)
        }
        NodeEnum::CaseWhen(when) => {
            when.location = 0;
            boxed(&mut when.expr)?;
            boxed(&mut when.result)
        }
        NodeEnum::CoalesceExpr(coalesce) => {
            coalesce.location = 0;
            list(&mut coalesce.args)
        }
        NodeEnum::MinMaxExpr(extreme) => {
            extreme.location = 0;
            list(&mut extreme.args)
        }
        NodeEnum::RowExpr(row) => {
            row.location = 0;
            list(&mut row.args)
        }
        NodeEnum::GroupingFunc(grouping) => {
            grouping.location = 0;
            list(&mut grouping.args)
        }
        NodeEnum::MultiAssignRef(assignment) => boxed(&mut assignment.source),
        other => Err(Reason::ConstructNotSupported {
            construct: construct(&name_of(other)),
        }
        .into()),
    }
}

/// SQL's word for a kind of node that is not supported.
pub(super) fn construct(kind: &str) -> String {
    match kind {
        "RangeTableSample" => "TABLESAMPLE".to_owned(),
        "RangeTableFunc" => "XMLTABLE".to_owned(),
        "JsonTable" => "JSON_TABLE".to_owned(),
        "IntoClause" => "SELECT INTO".to_owned(),
        "XmlExpr" | "XmlSerialize" => "an XML expression".to_owned(),
        "MergeSupportFunc" => "merge_action()".to_owned(),
        other => format!("the construct {other}"),
    }
}
