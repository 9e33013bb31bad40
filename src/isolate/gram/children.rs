//! What stands inside a node.
//!
//! # Invariants
//! 1. A kind of node that is not listed is refused: nothing stays unread.

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::Rewritten;
use crate::isolate::refusal::Reason;

/// Calls a visitor on what stands directly inside a node that has no names of its own to rewrite.
pub(super) struct Children<'v>(pub(super) &'v mut dyn FnMut(&Node) -> Rewritten<()>);

impl Children<'_> {
    fn list(&mut self, nodes: &[Node]) -> Rewritten<()> {
        nodes.iter().try_for_each(|node| (self.0)(node))
    }

    fn boxed(&mut self, node: Option<&Node>) -> Rewritten<()> {
        node.map_or(Ok(()), |node| (self.0)(node))
    }

    /// Visits what stands inside a query, WITH aside.
    pub(super) fn select(&mut self, select: &pg::SelectStmt) -> Rewritten<()> {
        self.list(&select.values_lists)?;
        // DISTINCT without ON is a list of one empty node.
        self.list(&select.distinct_clause)?;
        self.list(&select.target_list)?;
        self.list(&select.from_clause)?;
        self.boxed(select.where_clause.as_deref())?;
        self.list(&select.group_clause)?;
        self.boxed(select.having_clause.as_deref())?;
        self.list(&select.window_clause)?;
        self.list(&select.sort_clause)?;
        self.boxed(select.limit_offset.as_deref())?;
        // FOR UPDATE OF names range entries.
        self.boxed(select.limit_count.as_deref())
    }

    /// Visits what stands inside an INSERT, WITH and its source aside.
    pub(super) fn insert(&mut self, insert: &pg::InsertStmt) -> Rewritten<()> {
        self.list(&insert.cols)?;
        if let Some(conflict) = &insert.on_conflict_clause {
            if let Some(infer) = &conflict.infer {
                self.list(&infer.index_elems)?;
                self.boxed(infer.where_clause.as_deref())?;
            }
            self.list(&conflict.target_list)?;
            self.boxed(conflict.where_clause.as_deref())?;
        }
        self.returning(insert.returning_clause.as_ref())
    }

    /// Visits what stands inside an UPDATE, WITH aside.
    pub(super) fn update(&mut self, update: &pg::UpdateStmt) -> Rewritten<()> {
        self.list(&update.target_list)?;
        self.list(&update.from_clause)?;
        self.boxed(update.where_clause.as_deref())?;
        self.returning(update.returning_clause.as_ref())
    }

    /// Visits what stands inside a DELETE, WITH aside.
    pub(super) fn delete(&mut self, delete: &pg::DeleteStmt) -> Rewritten<()> {
        self.list(&delete.using_clause)?;
        self.boxed(delete.where_clause.as_deref())?;
        self.returning(delete.returning_clause.as_ref())
    }

    /// Visits what stands inside a MERGE, WITH aside.
    pub(super) fn merge(&mut self, merge: &pg::MergeStmt) -> Rewritten<()> {
        self.boxed(merge.source_relation.as_deref())?;
        self.boxed(merge.join_condition.as_deref())?;
        self.list(&merge.merge_when_clauses)?;
        self.returning(merge.returning_clause.as_ref())
    }

    fn returning(&mut self, returning: Option<&pg::ReturningClause>) -> Rewritten<()> {
        returning.map_or(Ok(()), |returning| self.list(&returning.exprs))
    }

    /// Visits what stands inside.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the next function looks at the rest, and the last one refuses it"
    )]
    pub(super) fn of(&mut self, node: &NodeEnum) -> Rewritten<()> {
        match node {
            NodeEnum::AConst(_)
            | NodeEnum::AStar(_)
            | NodeEnum::Boolean(_)
            | NodeEnum::Float(_)
            | NodeEnum::Integer(_)
            | NodeEnum::MergeSupportFunc(_)
            | NodeEnum::ParamRef(_)
            | NodeEnum::SetToDefault(_)
            | NodeEnum::SqlvalueFunction(_)
            | NodeEnum::String(_) => Ok(()),
            NodeEnum::AArrayExpr(array) => self.list(&array.elements),
            NodeEnum::AExpr(operation) => {
                self.boxed(operation.lexpr.as_deref())?;
                self.boxed(operation.rexpr.as_deref())
            }
            NodeEnum::AIndices(indices) => {
                self.boxed(indices.lidx.as_deref())?;
                self.boxed(indices.uidx.as_deref())
            }
            NodeEnum::AIndirection(indirection) => {
                self.boxed(indirection.arg.as_deref())?;
                self.list(&indirection.indirection)
            }
            NodeEnum::BoolExpr(operation) => self.list(&operation.args),
            NodeEnum::BooleanTest(test) => self.boxed(test.arg.as_deref()),
            NodeEnum::CaseExpr(case) => {
                self.boxed(case.arg.as_deref())?;
                self.list(&case.args)?;
                self.boxed(case.defresult.as_deref())
            }
            NodeEnum::CaseWhen(when) => {
                self.boxed(when.expr.as_deref())?;
                self.boxed(when.result.as_deref())
            }
            NodeEnum::CoalesceExpr(coalesce) => self.list(&coalesce.args),
            NodeEnum::CollateClause(collate) => self.boxed(collate.arg.as_deref()),
            NodeEnum::FuncCall(call) => {
                self.list(&call.args)?;
                self.list(&call.agg_order)?;
                self.boxed(call.agg_filter.as_deref())?;
                call.over
                    .as_deref()
                    .map_or(Ok(()), |over| self.window(over))
            }
            NodeEnum::GroupingFunc(grouping) => self.list(&grouping.args),
            NodeEnum::MinMaxExpr(extreme) => self.list(&extreme.args),
            NodeEnum::NamedArgExpr(argument) => self.boxed(argument.arg.as_deref()),
            NodeEnum::NullTest(test) => self.boxed(test.arg.as_deref()),
            NodeEnum::RowExpr(row) => self.list(&row.args),
            NodeEnum::SubLink(link) => {
                self.boxed(link.testexpr.as_deref())?;
                self.boxed(link.subselect.as_deref())
            }
            NodeEnum::TypeCast(cast) => self.boxed(cast.arg.as_deref()),
            other => self.clause(other),
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "every kind that is not listed is refused"
    )]
    fn clause(&mut self, node: &NodeEnum) -> Rewritten<()> {
        match node {
            NodeEnum::CurrentOfExpr(_) => Ok(()),
            NodeEnum::GroupingSet(set) => self.list(&set.content),
            NodeEnum::IndexElem(element) => self.boxed(element.expr.as_deref()),
            NodeEnum::JoinExpr(join) => {
                self.boxed(join.larg.as_deref())?;
                self.boxed(join.rarg.as_deref())?;
                self.boxed(join.quals.as_deref())
            }
            NodeEnum::List(inner) => self.list(&inner.items),
            NodeEnum::MergeWhenClause(clause) => {
                self.boxed(clause.condition.as_deref())?;
                self.list(&clause.target_list)?;
                self.list(&clause.values)
            }
            NodeEnum::MultiAssignRef(assignment) => {
                // Each column of `(a, b) = ..` has the same source.
                if assignment.colno == 1 {
                    self.boxed(assignment.source.as_deref())
                } else {
                    Ok(())
                }
            }
            NodeEnum::RangeFunction(function) => {
                self.list(&function.functions)?;
                self.list(&function.coldeflist)
            }
            NodeEnum::RangeSubselect(derived) => self.boxed(derived.subquery.as_deref()),
            NodeEnum::ResTarget(target) => {
                self.list(&target.indirection)?;
                self.boxed(target.val.as_deref())
            }
            NodeEnum::SortBy(sort) => self.boxed(sort.node.as_deref()),
            NodeEnum::WindowDef(window) => self.window(window),
            NodeEnum::XmlExpr(xml) => {
                self.list(&xml.named_args)?;
                self.list(&xml.args)
            }
            NodeEnum::XmlSerialize(xml) => self.boxed(xml.expr.as_deref()),
            other => Err(Reason::ConstructNotSupported {
                construct: construct(other),
            }
            .into()),
        }
    }

    fn window(&mut self, window: &pg::WindowDef) -> Rewritten<()> {
        self.list(&window.partition_clause)?;
        self.list(&window.order_clause)?;
        self.boxed(window.start_offset.as_deref())?;
        self.boxed(window.end_offset.as_deref())
    }
}

/// SQL's word for a kind of node that is not supported.
fn construct(node: &NodeEnum) -> String {
    let text = format!("{node:?}");
    let kind: String = text
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .collect();
    match kind.as_str() {
        "JsonTable" => "JSON_TABLE".to_owned(),
        "RangeTableFunc" => "XMLTABLE".to_owned(),
        other if other.starts_with("Json") => "SQL/JSON".to_owned(),
        other => format!("the construct {other}"),
    }
}
