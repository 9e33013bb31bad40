//! Expressions, in lockstep.
//!
//! # Invariants
//! 1. A kind of expression that is not listed is refused by name.
//! 2. The rewritten expression is the client's, but for names that are resolved and queries inside it.

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::clauses::Keys;
use super::names::collation;
use super::privilege::asks_for_itself;
use super::proof::{
    Checked, Pair, Proof, absent, anywhere, both, differs, empty, equal, path, position, refuse,
    unchanged, unsupported,
};
use super::scope::{self, Found, Output, Reference, Tenancy};
use super::sequence::{is_serial_sequence, of_a_sequence};
use super::setting::{current_setting, is_current_setting};
use super::silent::location;
use super::types::Column;
use super::{bare, identity, reading};
use crate::catalog::oid;
use crate::isolate::refusal::Reason;

impl Proof<'_> {
    /// Compares two expressions.
    pub(super) fn expression(&mut self, original: &Node, rewritten: &Node) -> Checked {
        let asked = original.node.as_ref().and_then(identity::asked);
        if let Some(asked) = asked {
            return self.named(asked, rewritten, location(original));
        }
        let (original, rewritten) = match (&original.node, &rewritten.node) {
            (Some(original), Some(rewritten)) => (original, rewritten),
            (None, None) => return Ok(()),
            (Some(_), None) | (None, Some(_)) => return Err(differs("an expression")),
        };
        match (original, rewritten) {
            (NodeEnum::ColumnRef(o), NodeEnum::ColumnRef(r)) => self.column_reference(o, r),
            (NodeEnum::ColumnRef(o), NodeEnum::FuncCall(r)) => self.column_notation(o, r),
            (NodeEnum::ParamRef(o), NodeEnum::ParamRef(r)) => {
                both!(ParamRef, o, r, { number, location });
                anywhere(location);
                equal(number, "a parameter")?;
                if self.is_clients(*number.0) {
                    Ok(())
                } else {
                    Err(differs("a parameter that is not the client's"))
                }
            }
            (NodeEnum::AConst(o), NodeEnum::AConst(r)) => {
                both!(AConst, o, r, { isnull, location, val });
                anywhere(location);
                equal(isnull, "a constant")?;
                equal(val, "a constant")
            }
            (NodeEnum::AExpr(o), NodeEnum::AExpr(r)) => self.operation(o, r),
            (NodeEnum::BoolExpr(o), NodeEnum::BoolExpr(r)) => {
                both!(BoolExpr, o, r, { xpr, boolop, args, location });
                anywhere(location);
                absent(xpr, "an analysed expression")?;
                equal(boolop, "AND, OR or NOT")?;
                self.expressions(args, "the arguments of AND, OR or NOT")
            }
            (NodeEnum::FuncCall(o), NodeEnum::FuncCall(r)) => self.function_call(o, r),
            (NodeEnum::TypeCast(o), NodeEnum::TypeCast(r)) => self.cast(o, r),
            (NodeEnum::SubLink(o), NodeEnum::SubLink(r)) => self.sub_link(o, r),
            (NodeEnum::List(o), NodeEnum::List(r)) => {
                both!(List, o, r, { items });
                self.expressions(items, "a list")
            }
            (NodeEnum::SetToDefault(_), NodeEnum::SetToDefault(_)) => Ok(()),
            _ => self.simple_expression(original, rewritten),
        }
    }

    /// Expressions that only hold others.
    fn simple_expression(&mut self, original: &NodeEnum, rewritten: &NodeEnum) -> Checked {
        match (original, rewritten) {
            (NodeEnum::CollateClause(o), NodeEnum::CollateClause(r)) => {
                both!(CollateClause, o, r, { arg, collname, location });
                anywhere(location);
                collation(collname)?;
                self.optional(arg, "the argument of COLLATE")
            }
            (NodeEnum::NamedArgExpr(o), NodeEnum::NamedArgExpr(r)) => {
                both!(NamedArgExpr, o, r, { xpr, arg, name, argnumber, location });
                anywhere(location);
                absent(xpr, "an analysed expression")?;
                equal(name, "an argument's name")?;
                equal(argnumber, "an argument's number")?;
                self.optional(arg, "a named argument")
            }
            (NodeEnum::AArrayExpr(o), NodeEnum::AArrayExpr(r)) => {
                both!(AArrayExpr, o, r, { elements, list_start, list_end, location });
                anywhere(list_start);
                anywhere(list_end);
                anywhere(location);
                self.expressions(elements, "the elements of an array")
            }
            (NodeEnum::AIndirection(o), NodeEnum::AIndirection(r)) => {
                if self.field_of_row((o, r))? {
                    return Ok(());
                }
                both!(AIndirection, o, r, { arg, indirection });
                self.optional(arg, "what is selected from")?;
                self.indirection(arg.0.as_deref(), indirection)
            }
            (NodeEnum::NullTest(o), NodeEnum::NullTest(r)) => {
                both!(NullTest, o, r, { xpr, arg, nulltesttype, argisrow, location });
                anywhere(location);
                absent(xpr, "an analysed expression")?;
                equal(nulltesttype, "IS NULL")?;
                equal(argisrow, "IS NULL")?;
                self.optional(arg, "the argument of IS NULL")
            }
            (NodeEnum::BooleanTest(o), NodeEnum::BooleanTest(r)) => {
                both!(BooleanTest, o, r, { xpr, arg, booltesttype, location });
                anywhere(location);
                absent(xpr, "an analysed expression")?;
                equal(booltesttype, "IS TRUE")?;
                self.optional(arg, "the argument of IS TRUE")
            }
            (NodeEnum::RowExpr(o), NodeEnum::RowExpr(r)) => {
                both!(RowExpr, o, r, { xpr, args, row_typeid, row_format, colnames, location });
                anywhere(location);
                absent(xpr, "an analysed expression")?;
                equal(row_typeid, "a row's type")?;
                equal(row_format, "a row's form")?;
                empty(colnames, "a row's column names")?;
                self.expressions(args, "the columns of a row")
            }
            _ => self.choice(original, rewritten),
        }
    }

    /// Expressions that choose, and the few that are left.
    fn choice(&mut self, original: &NodeEnum, rewritten: &NodeEnum) -> Checked {
        match (original, rewritten) {
            (NodeEnum::CaseExpr(o), NodeEnum::CaseExpr(r)) => {
                both!(CaseExpr, o, r, {
                    xpr, casetype, casecollid, arg, args, defresult, location
                });
                anywhere(location);
                absent(xpr, "an analysed expression")?;
                equal(casetype, "CASE")?;
                equal(casecollid, "CASE")?;
                self.optional(arg, "the argument of CASE")?;
                self.expressions(args, "the branches of CASE")?;
                self.optional(defresult, "ELSE")
            }
            (NodeEnum::CaseWhen(o), NodeEnum::CaseWhen(r)) => {
                both!(CaseWhen, o, r, { xpr, expr, result, location });
                anywhere(location);
                absent(xpr, "an analysed expression")?;
                self.optional(expr, "WHEN")?;
                self.optional(result, "THEN")
            }
            (NodeEnum::CoalesceExpr(o), NodeEnum::CoalesceExpr(r)) => {
                both!(CoalesceExpr, o, r, { xpr, coalescetype, coalescecollid, args, location });
                anywhere(location);
                absent(xpr, "an analysed expression")?;
                equal(coalescetype, "COALESCE")?;
                equal(coalescecollid, "COALESCE")?;
                self.expressions(args, "the arguments of COALESCE")
            }
            (NodeEnum::MinMaxExpr(o), NodeEnum::MinMaxExpr(r)) => {
                both!(MinMaxExpr, o, r, {
                    xpr, minmaxtype, minmaxcollid, inputcollid, op, args, location
                });
                anywhere(location);
                absent(xpr, "an analysed expression")?;
                equal(minmaxtype, "GREATEST or LEAST")?;
                equal(minmaxcollid, "GREATEST or LEAST")?;
                equal(inputcollid, "GREATEST or LEAST")?;
                equal(op, "GREATEST or LEAST")?;
                self.expressions(args, "the arguments of GREATEST or LEAST")
            }
            (NodeEnum::GroupingFunc(o), NodeEnum::GroupingFunc(r)) => {
                both!(GroupingFunc, o, r, { xpr, args, refs, agglevelsup, location });
                anywhere(location);
                absent(xpr, "an analysed expression")?;
                empty(refs, "an analysed expression")?;
                equal(agglevelsup, "GROUPING")?;
                self.expressions(args, "the arguments of GROUPING")
            }
            (NodeEnum::SqlvalueFunction(o), NodeEnum::SqlvalueFunction(r)) => {
                both!(SqlValueFunction, o, r, { xpr, op, r#type, typmod, location });
                absent(xpr, "an analysed expression")?;
                equal(op, "a value function")?;
                equal(r#type, "a value function")?;
                equal(typmod, "a value function")?;
                value_function(*op.0, position(location))
            }
            (NodeEnum::XmlExpr(o), NodeEnum::XmlExpr(r)) => self.xml(o, r),
            (NodeEnum::XmlSerialize(o), NodeEnum::XmlSerialize(r)) => self.xml_text(o, r),
            _ if std::mem::discriminant(original) == std::mem::discriminant(rewritten) => {
                Err(unsupported(&bare::construct(&bare::name_of(original))))
            }
            _ => Err(differs("an expression")),
        }
    }

    fn operation(&mut self, original: &pg::AExpr, rewritten: &pg::AExpr) -> Checked {
        both!(AExpr, original, rewritten, {
            kind, name, lexpr, rexpr, rexpr_list_start, rexpr_list_end, location
        });
        anywhere(rexpr_list_start);
        anywhere(rexpr_list_end);
        equal(kind, "the kind of an operator")?;
        self.operator(name, position(location))?;
        self.optional(lexpr, "a left operand")?;
        self.optional(rexpr, "a right operand")
    }

    fn cast(&mut self, original: &pg::TypeCast, rewritten: &pg::TypeCast) -> Checked {
        if self.names_table((original, rewritten))? {
            return Ok(());
        }
        both!(TypeCast, original, rewritten, { arg, type_name, location });
        anywhere(location);
        match type_name {
            (Some(original), Some(rewritten)) => self.type_name(original, rewritten)?,
            (None, _) | (_, None) => return Err(differs("a cast")),
        };
        self.optional(arg, "the argument of a cast")
    }

    fn function_call(&mut self, original: &pg::FuncCall, rewritten: &pg::FuncCall) -> Checked {
        if let Some(function) = of_a_sequence(&original.funcname) {
            return self.sequence_call(function, (original, rewritten));
        }
        if is_current_setting(&original.funcname) {
            return current_setting((original, rewritten));
        }
        if is_serial_sequence(&original.funcname) {
            return self.serial_sequence((original, rewritten)).map(|_table| ());
        }
        both!(FuncCall, original, rewritten, {
            funcname, args, agg_order, agg_filter, over, agg_within_group, agg_star, agg_distinct,
            func_variadic, funcformat, location
        });
        let listed = self.function(funcname, position(location))?;
        if let Some(listed) = listed {
            asks_for_itself(listed, original)?;
        }
        if let Some(listed) = listed.filter(|listed| listed.is("volatile")) {
            let what = format!("volatile function {}", listed.name);
            let volatile = refuse(Reason::not_silent(what), position(location));
            self.volatile.get_or_insert(volatile);
        }
        equal(agg_within_group, "WITHIN GROUP")?;
        equal(agg_star, "the arguments of a function")?;
        equal(agg_distinct, "DISTINCT in a function")?;
        equal(func_variadic, "VARIADIC")?;
        equal(funcformat, "the form of a function call")?;
        if listed.is_none() && self.is_row_call(original) {
            unchanged(args, "the arguments of a function")?;
        } else {
            if listed.is_none() {
                self.takes_no_row(original)?;
            }
            self.expressions(args, "the arguments of a function")?;
        }
        if listed.is_some_and(|listed| listed.name == "age") {
            self.note_age(original);
        }
        self.sort(agg_order, Keys::Inputs)?;
        self.optional(agg_filter, "FILTER")?;
        match over {
            (Some(original), Some(rewritten)) => self.window(original, rewritten),
            (None, None) => Ok(()),
            (Some(_), None) | (None, Some(_)) => Err(differs("OVER")),
        }
    }

    /// Takes note of `age` of what may be a transaction: it would count everybody's.
    fn note_age(&mut self, call: &pg::FuncCall) {
        let [argument] = call.args.as_slice() else {
            return;
        };
        let is_moment = self.silent_value(argument).is_ok_and(|value| {
            let moments = [oid::DATE, oid::TIMESTAMP, oid::TIMESTAMPTZ, oid::UNKNOWN];
            moments.contains(&value.oid)
        });
        if !is_moment {
            let function = "pg_catalog.age of a transaction".to_owned();
            let reason = Reason::FunctionNotAllowed { function };
            let at = usize::try_from(call.location).ok();
            self.age.get_or_insert(refuse(reason, at));
        }
    }

    /// Compares what selects fields and elements. A field can be a function that is called on the
    /// row, or a type that it is converted to; so it must be a column of a range entry's row, or have
    /// a name that no function and no type has.
    pub(super) fn indirection(
        &mut self,
        original: Option<&Node>,
        steps: Pair<'_, Vec<Node>>,
    ) -> Checked {
        if steps.0.len() != steps.1.len() {
            return Err(differs("what is selected"));
        }
        for (index, (step, rewritten)) in steps.0.iter().zip(steps.1).enumerate() {
            match (&step.node, &rewritten.node) {
                (Some(NodeEnum::AIndices(o)), Some(NodeEnum::AIndices(r))) => {
                    both!(AIndices, o, r, { is_slice, lidx, uidx });
                    equal(is_slice, "a slice")?;
                    self.optional(lidx, "a subscript")?;
                    self.optional(uidx, "a subscript")?;
                }
                (Some(NodeEnum::AStar(_)), Some(NodeEnum::AStar(_))) => {}
                (Some(NodeEnum::String(o)), Some(NodeEnum::String(r))) => {
                    equal((&o.sval, &r.sval), "a field")?;
                    let is_column = index == 0 && self.is_column_of_row(original, &o.sval);
                    if !is_column && self.may_be_called(&o.sval) {
                        return Err(unsupported("a field of this expression"));
                    }
                }
                _ => return Err(differs("what is selected")),
            }
        }
        Ok(())
    }

    fn may_be_called(&self, field: &str) -> bool {
        let catalog = self.catalog();
        catalog.system_functions.contains(field)
            || catalog.functions_named(field).next().is_some()
            || catalog.types.iter().any(|known| known.name == field)
    }

    fn is_column_of_row(&self, row: Option<&Node>, field: &str) -> bool {
        let Some(reference) = row.and_then(|row| match &row.node {
            Some(NodeEnum::ColumnRef(column)) => reference(&column.fields),
            Some(_) | None => None,
        }) else {
            return false;
        };
        match scope::resolve(&self.levels, reference) {
            Ok(Found::Row(item)) => item.columns.iter().any(|column| column.name == field),
            Ok(Found::Column(_) | Found::Opaque) | Err(_) => false,
        }
    }

    /// Compares column references. A reference that names the table in full is sent without the
    /// schema, since the range entry in its place has the table's name only.
    pub(super) fn column_reference(
        &mut self,
        original: &pg::ColumnRef,
        rewritten: &pg::ColumnRef,
    ) -> Checked {
        both!(ColumnRef, original, rewritten, { fields, location });
        let at = position(location);
        let Some(named) = reference(fields.0) else {
            return Err(unsupported("a column reference of four names"));
        };
        let found = scope::resolve(&self.levels, named);
        let is_xid = matches!(&found, Ok(Found::Column(Column { value: Ok(value), .. }))
            if value.oid == oid::XID);
        match found {
            Ok(Found::Row(item)) if item.hidden.is_some() || item.sent.is_some() => {
                let alias = item.name.clone().unwrap_or_default();
                return Err(unsupported(&format!("the row {alias} as a value")));
            }
            Ok(Found::Column(column)) => {
                if let Some(written) = scope::written(&self.levels, column) {
                    return self.written_column(fields.1, named, written);
                }
            }
            Ok(Found::Opaque) if scope::sees_written(&self.levels) => {
                return Err(unsupported(
                    "a function's column next to a view that is written",
                ));
            }
            Ok(Found::Opaque | Found::Row(_)) => {}
            Err(reason) => return Err(refuse(reason, at)),
        }
        self.xids += usize::from(is_xid);
        sent_as(fields, named)
    }

    pub(super) fn sub_link(&mut self, original: &pg::SubLink, rewritten: &pg::SubLink) -> Checked {
        both!(SubLink, original, rewritten, {
            xpr, sub_link_type, sub_link_id, testexpr, oper_name, subselect, location
        });
        let at = position(location);
        absent(xpr, "an analysed expression")?;
        equal(sub_link_type, "the kind of a sub-select")?;
        equal(sub_link_id, "a sub-select")?;
        self.optional(testexpr, "what is compared with a sub-select")?;
        if oper_name.0.is_empty() {
            unchanged(oper_name, "an operator's name")?;
        } else {
            self.operator(oper_name, at)?;
        }
        let (Some(original_select), Some(rewritten_select)) = subselect else {
            return Err(differs("a sub-select"));
        };
        let output = self.sub_select(original_select, rewritten_select)?;
        match pg::SubLinkType::try_from(*sub_link_type.0) {
            Ok(
                pg::SubLinkType::ExistsSublink
                | pg::SubLinkType::AnySublink
                | pg::SubLinkType::AllSublink,
            ) => {
                if output.tenancy == Tenancy::Scoped {
                    self.joined = Tenancy::Scoped;
                }
            }
            Ok(pg::SubLinkType::ExprSublink | pg::SubLinkType::ArraySublink) => {}
            Ok(
                pg::SubLinkType::Undefined
                | pg::SubLinkType::RowcompareSublink
                | pg::SubLinkType::MultiexprSublink
                | pg::SubLinkType::CteSublink,
            )
            | Err(_) => return Err(unsupported("this kind of sub-select")),
        }
        self.sublinks.insert(std::ptr::from_ref(original), output);
        Ok(())
    }

    /// Compares two queries that stand inside an expression.
    fn sub_select(&mut self, original: &Node, rewritten: &Node) -> Checked<Output> {
        let (Some(NodeEnum::SelectStmt(o)), Some(NodeEnum::SelectStmt(r))) =
            (&original.node, &rewritten.node)
        else {
            return Err(differs("a sub-select"));
        };
        let lateral = std::mem::replace(&mut self.lateral, Tenancy::Free);
        let joined = self.joined;
        let output = reading::deeper(|| self.select(o, r, None));
        self.joined = joined;
        self.lateral = lateral;
        output
    }
}

/// Takes a column reference apart.
pub(super) fn reference(fields: &[Node]) -> Option<Reference<'_>> {
    let is_star = matches!(
        fields.last().and_then(|field| field.node.as_ref()),
        Some(NodeEnum::AStar(_))
    );
    let named = if is_star {
        fields.split_last()?.1
    } else {
        fields
    };
    let parts = path(named)?;
    let (column, qualifiers) = if is_star {
        (None, parts.as_slice())
    } else {
        let (column, qualifiers) = parts.split_last()?;
        (Some(*column), qualifiers)
    };
    let (schema, table) = match qualifiers {
        [] => (None, None),
        [table] => (None, Some(*table)),
        [schema, table] => (Some(*schema), Some(*table)),
        _ => return None,
    };
    Some(Reference {
        schema,
        table,
        column,
    })
}

/// Compares a reference with what is sent for it.
pub(super) fn sent_as(fields: Pair<'_, Vec<Node>>, named: Reference<'_>) -> Checked {
    let wanted = Reference {
        schema: None,
        ..named
    };
    if reference(fields.1) == Some(wanted) {
        Ok(())
    } else {
        Err(differs("a column reference"))
    }
}

/// The clock and the search path may be asked.
fn value_function(op: i32, at: Option<usize>) -> Checked {
    use pg::SqlValueFunctionOp as Op;
    match Op::try_from(op) {
        Ok(
            Op::SvfopCurrentDate
            | Op::SvfopCurrentTime
            | Op::SvfopCurrentTimeN
            | Op::SvfopCurrentTimestamp
            | Op::SvfopCurrentTimestampN
            | Op::SvfopLocaltime
            | Op::SvfopLocaltimeN
            | Op::SvfopLocaltimestamp
            | Op::SvfopLocaltimestampN
            // As the function of this name.
            | Op::SvfopCurrentSchema,
        ) => Ok(()),
        // `identity` knows the others.
        Ok(
            Op::SvfopCurrentRole
            | Op::SvfopCurrentUser
            | Op::SvfopUser
            | Op::SvfopSessionUser
            | Op::SvfopCurrentCatalog
            | Op::SqlvalueFunctionOpUndefined,
        )
        | Err(_) => {
            let function = "this value function".to_owned();
            Err(refuse(Reason::FunctionNotAllowed { function }, at))
        }
    }
}
