//! The order of evaluation: what may run on rows of other tenants.
//!
//! PostgreSQL sorts the conditions of a scan by cost, and pushes those of outer queries into inner ones;
//! the tenant's test may come last. So whatever a condition computes must be *silent*: it cannot fail,
//! warn, act, or be observed, whatever the values are.
//!
//! In: expressions of the client's tree, names resolved by `scope`. Out: the value's type, or what in
//! the expression is not silent.
//!
//! # Invariants
//! 1. Silent is what `silent.tsv` lists by operator and types, and the few forms below; nothing is
//!    silent by default.

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::comparison::{Argument, comparable, number_family, only_column, operator_name, widens};
use super::constants;
use super::containment::CONTAINMENTS;
use super::names::{self, Listed};
use super::proof::{Checked, Proof, path, refuse};
use super::scope::{self, Extent, Found, Output, Rows};
use super::types::{self, OPAQUE, Origin, Size, Typed, Value};
use super::{bare, expression, identity, regular};
use crate::catalog::{Oid, TypeKind, oid};
use crate::isolate::refusal::{Reason, Refusal};

/// What an expression is part of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Clause {
    /// Anything else, which counts where the query is part of a condition.
    Content,
    /// HAVING: aggregates are computed behind the tenant's test.
    Having,
    /// ON, of a join whose right side begins with the table at this place.
    On(Option<usize>),
    /// WHERE
    Where,
}

/// LIKE and ILIKE, and not.
const LIKES: [&str; 4] = ["~~", "~~*", "!~~", "!~~*"];

/// Collations that are always deterministic: the database's own, `C` and `POSIX`.
const PLAIN_COLLATIONS: [Oid; 4] = [0, 100, 950, 951];

impl Proof<'_> {
    /// Whether a condition is silent.
    pub(super) fn silent_condition(&mut self, node: &Node, clause: Clause) -> Checked {
        let value = self.silent(node, clause)?;
        match value.oid {
            oid::BOOL => Ok(()),
            // What PostgreSQL takes for a condition is boolean.
            OPAQUE if value.origin == Origin::Masked => Ok(()),
            oid::UNKNOWN => {
                self.use_as(value.untyped, oid::BOOL);
                Ok(())
            }
            _ => Err(loud("a condition that is not boolean", node)),
        }
    }

    /// The value of an expression, if it is silent.
    pub(super) fn silent_value(&mut self, node: &Node) -> Typed {
        self.silent(node, Clause::Content)
    }

    /// Takes note of an expression that is computed where the query is.
    pub(super) fn content(&mut self, node: &Node) {
        if let Err(refusal) = self.silent(node, Clause::Content)
            && let Ok(level) = self.level()
        {
            level.loud_content.get_or_insert(refusal);
        }
    }

    pub(super) fn silent(&mut self, node: &Node, clause: Clause) -> Typed {
        let value = self.silent_as_listed(node, clause);
        value.or_else(|refusal| self.indexed(node).ok_or(refusal))
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "what is not listed is not silent"
    )]
    fn silent_as_listed(&mut self, node: &Node, clause: Clause) -> Typed {
        let Some(kind) = &node.node else {
            return Err(loud("an empty expression", node));
        };
        if identity::asked(kind).is_some() {
            return Ok(Value::constant(oid::NAME));
        }
        match kind {
            NodeEnum::ColumnRef(column) => self.silent_column(column, node),
            NodeEnum::ParamRef(parameter) => self.parameter(*parameter),
            NodeEnum::AConst(constant) => constants::value(constant, node),
            NodeEnum::TypeCast(cast) => self.silent_cast(cast, node, clause),
            NodeEnum::AExpr(operation) => self.silent_operation(operation, node, clause),
            NodeEnum::BoolExpr(operation) => {
                for argument in &operation.args {
                    self.silent_condition(argument, clause)?;
                }
                Ok(truth(&operation.args))
            }
            NodeEnum::NullTest(test) => {
                let argument = self.operand(test.arg.as_deref(), node, clause)?;
                self.use_as(argument.untyped, OPAQUE);
                Ok(Value::varying(oid::BOOL))
            }
            NodeEnum::BooleanTest(test) => match &test.arg {
                Some(argument) => {
                    self.silent_condition(argument, clause)?;
                    Ok(Value::varying(oid::BOOL))
                }
                None => Err(loud("IS TRUE", node)),
            },
            NodeEnum::SqlvalueFunction(_) => constants::clock(node)
                .map(Value::constant)
                .ok_or_else(|| loud("this value function", node)),
            NodeEnum::FuncCall(call) => self.silent_call(call, node, clause),
            NodeEnum::SubLink(link) => self.silent_sub_link(link, node, clause),
            NodeEnum::CoalesceExpr(coalesce) => self.one_type(&coalesce.args, node, clause),
            NodeEnum::CaseExpr(case) => self.silent_case(case, node, clause),
            NodeEnum::MinMaxExpr(choice) => {
                let value = self.one_type(&choice.args, node, clause)?;
                self.comparison("<", &value, &value, location(node))?;
                Ok(value)
            }
            NodeEnum::AIndirection(selection) => self.silent_element(selection, node, clause),
            NodeEnum::AArrayExpr(array) => {
                let element = self.one_type(&array.elements, node, clause)?;
                let found = types::array_of(self.catalog(), element.oid);
                found
                    .map(|found| Value {
                        oid: found.oid,
                        ..element
                    })
                    .ok_or_else(|| loud("an array", node))
            }
            other => Err(loud(&bare::construct(&bare::name_of(other)), node)),
        }
    }

    fn operand(&mut self, operand: Option<&Node>, around: &Node, clause: Clause) -> Typed {
        match operand {
            Some(operand) => self.silent(operand, clause),
            None => Err(loud("an operator with one operand", around)),
        }
    }

    fn silent_column(&mut self, column: &pg::ColumnRef, node: &Node) -> Typed {
        let named = expression::reference(&column.fields);
        let Some(named) = named else {
            return Err(loud("a column reference of four names", node));
        };
        match scope::resolve(&self.levels, named) {
            Ok(Found::Column(found)) => found.value.clone(),
            Ok(Found::Opaque) => Err(loud("a column whose type is not known", node)),
            Ok(Found::Row(_)) => Err(loud("a whole row", node)),
            Err(reason) => Err(refuse(reason, location(node))),
        }
    }

    /// Values that must be of one type, so that nothing is converted.
    fn one_type(&mut self, nodes: &[Node], around: &Node, clause: Clause) -> Typed {
        let mut values = Vec::new();
        for node in nodes {
            values.push(self.silent(node, clause)?);
        }
        let is_known = |value: &&Value| value.oid != oid::UNKNOWN;
        let known = values
            .iter()
            .filter(is_known)
            .find(|value| !value.origin.is_constant())
            .or_else(|| values.iter().find(is_known));
        let type_oid = known.map_or(oid::TEXT, |value| value.oid);
        let collation = known.map_or(0, |value| value.collation);
        for value in &values {
            // A constant is converted while the statement is planned.
            let fits = value.oid == type_oid && value.collation == collation
                || value.origin.is_constant() && widens(value.oid, type_oid);
            if value.oid == oid::UNKNOWN {
                self.use_as(value.untyped, type_oid);
            } else if !fits || type_oid == OPAQUE {
                return Err(loud("a choice between values of two types", around));
            }
        }
        let constant = values.iter().all(|value| value.origin.is_constant());
        let sizes = values.iter().map(|value| value.size);
        let columns = types::all_columns(&values);
        Ok(Value {
            collation,
            size: sizes.fold(Size::Bounded, Size::or),
            columns,
            ..if constant {
                Value::constant(type_oid)
            } else {
                Value::varying(type_oid)
            }
        })
    }

    /// An element of an array, a part of a jsonb value: NULL where there is none.
    fn silent_element(
        &mut self,
        selection: &pg::AIndirection,
        node: &Node,
        clause: Clause,
    ) -> Typed {
        let refused = || loud("this selection", node);
        let value = self.operand(selection.arg.as_deref(), node, clause)?;
        let [step] = selection.indirection.as_slice() else {
            return Err(refused());
        };
        let Some(NodeEnum::AIndices(indices)) = &step.node else {
            return Err(refused());
        };
        let (false, None, Some(index)) = (indices.is_slice, &indices.lidx, &indices.uidx) else {
            return Err(refused());
        };
        let is_text = constants::literal(index).is_some();
        let is_number = constants::is_count(index);
        let element = if value.oid == oid::JSONB && (is_text || is_number) {
            Some(oid::JSONB)
        } else {
            types::element(self.catalog(), value.oid).filter(|_| is_number)
        };
        Ok(Value {
            collation: value.collation,
            origin: value.origin,
            columns: value.columns,
            ..Value::varying(element.ok_or_else(refused)?)
        })
    }

    fn silent_case(&mut self, case: &pg::CaseExpr, node: &Node, clause: Clause) -> Typed {
        let mut results = Vec::new();
        for when in &case.args {
            let Some(NodeEnum::CaseWhen(when)) = &when.node else {
                return Err(loud("CASE", node));
            };
            let (Some(condition), Some(result)) = (&when.expr, &when.result) else {
                return Err(loud("CASE", node));
            };
            match &case.arg {
                Some(argument) => {
                    let left = self.silent(argument, clause)?;
                    let right = self.silent(condition, clause)?;
                    self.operate("=", left, right, node)?;
                }
                None => self.silent_condition(condition, clause)?,
            }
            results.push((**result).clone());
        }
        results.extend(case.defresult.as_deref().cloned());
        self.one_type(&results, node, clause)
    }

    fn silent_cast(&mut self, cast: &pg::TypeCast, node: &Node, clause: Clause) -> Typed {
        let wrong = || loud("this cast", node);
        let (Some(argument), Some(name)) = (&cast.arg, &cast.type_name) else {
            return Err(wrong());
        };
        let wanted = self.cast_type(name).ok_or_else(wrong)?;
        if constants::clock(argument).is_some() && constants::is_moment(wanted) {
            return Ok(Value::constant(wanted));
        }
        let has_modifier = !name.typmods.is_empty();
        if !has_modifier && let Some(label) = self.bound_label(argument, wanted) {
            return Ok(label);
        }
        let value = self.silent(argument, clause)?;
        let is_literal = matches!(&argument.node, Some(NodeEnum::AConst(_)));
        if is_literal && (value.oid == oid::UNKNOWN || constants::is_number(wanted)) {
            // Converted while the statement is parsed or planned, whatever the rows.
            return Ok(Value::literal(wanted));
        }
        if value.untyped.is_some() && !has_modifier {
            self.use_as(value.untyped, wanted);
            return Ok(Value::constant(wanted));
        }
        if !has_modifier && widens(value.oid, wanted) {
            return Ok(Value {
                oid: wanted,
                untyped: None,
                ..value
            });
        }
        let is_system = self.is_system_type(value.oid) && self.is_system_type(wanted);
        let called = self.listed_cast(value.clone(), wanted, name, node);
        if is_system {
            self.strictly(called, &[value], wanted)
        } else {
            called
        }
    }

    /// A cast that is listed.
    fn listed_cast(&self, value: Value, wanted: Oid, name: &pg::TypeName, node: &Node) -> Typed {
        let wrong = || loud("this cast", node);
        if !name.typmods.is_empty() {
            return Err(wrong());
        }
        let type_name = self
            .catalog()
            .type_by_oid(wanted)
            .filter(|found| found.schema == "pg_catalog")
            .map(|found| found.name.as_str())
            .ok_or_else(wrong)?;
        let argument = Argument { value, node: None };
        let what = format!("a cast to {type_name}");
        let name = format!("::{type_name}");
        self.listed_silent(&what, &name, &[argument], location(node))
    }

    /// The type of a cast; none for a domain, whose constraints would run.
    pub(super) fn cast_type(&self, name: &pg::TypeName) -> Option<Oid> {
        let parts = path(&name.names)?;
        let found = match parts.as_slice() {
            [name] => self.catalog().resolve_type(None, name)?,
            [schema, name] => self.catalog().resolve_type(Some(schema), name)?,
            _ => return None,
        };
        if matches!(found.kind, TypeKind::Domain(_)) {
            return None;
        }
        if name.array_bounds.is_empty() {
            Some(found.oid)
        } else {
            types::array_of(self.catalog(), found.oid).map(|array| array.oid)
        }
    }

    fn silent_operation(&mut self, operation: &pg::AExpr, node: &Node, clause: Clause) -> Typed {
        use pg::AExprKind as Kind;
        let (Some(left), Some(right)) = (&operation.lexpr, &operation.rexpr) else {
            return Err(loud("an operator with one operand", node));
        };
        let operator = operator_name(&operation.name).ok_or_else(|| loud("an operator", node))?;
        match Kind::try_from(operation.kind) {
            // What a view's definition makes of LIKE.
            Ok(Kind::AexprOp) if LIKES.contains(&operator) => {
                self.silent_like(operation, node, clause)
            }
            Ok(Kind::AexprOp) if CONTAINMENTS.contains(&operator) => {
                self.silent_containment(operator, (left, right), node, clause)
            }
            Ok(Kind::AexprOp) if regular::MATCHES.contains(&operator) => {
                self.silent_match(operator, (left, right), node, clause)
            }
            Ok(Kind::AexprOp) => match constants::clock(node) {
                Some(moment) => Ok(Value::constant(moment)),
                None => self.compare(operator, (left, right), node, clause),
            },
            Ok(Kind::AexprDistinct | Kind::AexprNotDistinct) => {
                // Neither is NULL where an operand is.
                let compared = self.compare("=", (left, right), node, clause)?;
                Ok(Value {
                    origin: Origin::Varying,
                    ..compared
                })
            }
            Ok(Kind::AexprNullif) => {
                let value = self.silent(left, clause)?;
                let compared = self.compare("=", (left, right), node, clause)?;
                Ok(Value {
                    origin: match (value.origin, compared.origin) {
                        (Origin::Masked, _) => Origin::Masked,
                        (one, other) if one.is_constant() && other.is_constant() => {
                            Origin::Constant
                        }
                        _ => Origin::Varying,
                    },
                    columns: types::all_columns([&value, &compared]),
                    ..value
                })
            }
            Ok(Kind::AexprIn) => self.silent_in(operator, (left, right), node, clause),
            Ok(
                Kind::AexprBetween
                | Kind::AexprNotBetween
                | Kind::AexprBetweenSym
                | Kind::AexprNotBetweenSym,
            ) => {
                let Some(NodeEnum::List(bounds)) = &right.node else {
                    return Err(loud("BETWEEN", node));
                };
                for bound in &bounds.items {
                    self.compare(">=", (left, bound), node, clause)?;
                    self.compare("<=", (left, bound), node, clause)?;
                }
                Ok(Value::varying(oid::BOOL))
            }
            Ok(Kind::AexprOpAny | Kind::AexprOpAll) => {
                self.silent_any(operator, (left, right), node, clause)
            }
            Ok(Kind::AexprLike | Kind::AexprIlike) => self.silent_like(operation, node, clause),
            Ok(Kind::AexprSimilar | Kind::Undefined) | Err(_) => {
                Err(loud(&format!("operator {operator}"), node))
            }
        }
    }

    /// Two operands, or two rows compared column by column.
    fn compare(
        &mut self,
        operator: &str,
        operands: (&Node, &Node),
        node: &Node,
        clause: Clause,
    ) -> Typed {
        let (left, right) = operands;
        if let (Some(NodeEnum::RowExpr(left)), Some(NodeEnum::RowExpr(right))) =
            (&left.node, &right.node)
        {
            if left.args.len() != right.args.len() {
                return Err(loud("a comparison of rows", node));
            }
            for (left, right) in left.args.iter().zip(&right.args) {
                self.compare(operator, (left, right), node, clause)?;
                // Rows are ordered by the first columns that differ.
                self.compare("=", (left, right), node, clause)?;
            }
            return Ok(Value::varying(oid::BOOL));
        }
        let left = self.silent(left, clause)?;
        let right = self.silent(right, clause)?;
        self.operate(operator, left, right, node)
    }

    fn silent_in(
        &mut self,
        operator: &str,
        operands: (&Node, &Node),
        node: &Node,
        clause: Clause,
    ) -> Typed {
        let (left, right) = operands;
        let Some(NodeEnum::List(elements)) = &right.node else {
            return Err(loud("IN", node));
        };
        let is_row = matches!(&left.node, Some(NodeEnum::RowExpr(_)));
        let mut families = Vec::new();
        for element in &elements.items {
            self.compare(operator, (left, element), node, clause)?;
            if !is_row {
                let value = self.silent(element, clause)?;
                if value.oid != oid::UNKNOWN {
                    families.push(number_family(value.oid));
                }
            }
        }
        families.dedup();
        if families.len() > 1 {
            return Err(loud("IN with values of several types", node));
        }
        Ok(Value::varying(oid::BOOL))
    }

    /// `x = ANY (array)`: each element is compared.
    fn silent_any(
        &mut self,
        operator: &str,
        operands: (&Node, &Node),
        node: &Node,
        clause: Clause,
    ) -> Typed {
        let left = self.silent(operands.0, clause)?;
        let right = self.silent(operands.1, clause)?;
        if right.oid == oid::UNKNOWN {
            let array = types::array_of(self.catalog(), comparable(left.oid));
            let Some(array) = array.map(|array| array.oid) else {
                return Err(loud("ANY of an array whose type is not known", node));
            };
            self.use_as(right.untyped, array);
            let element = Value::constant(left.oid);
            return self.operate(operator, left, element, node);
        }
        let Some(element) = types::element(self.catalog(), right.oid) else {
            return Err(loud("ANY of something that is no array", node));
        };
        let right = Value {
            oid: element,
            untyped: None,
            ..right
        };
        self.operate(operator, left, right, node)
    }

    /// A function that is listed with these arguments.
    fn silent_function(
        &mut self,
        listed: &Listed,
        call: &pg::FuncCall,
        node: &Node,
        clause: Clause,
    ) -> Typed {
        let name = listed.name;
        let plain = call.agg_order.is_empty()
            && call.agg_filter.is_none()
            && call.over.is_none()
            && !call.agg_within_group
            && !call.agg_star
            && !call.agg_distinct
            && !call.func_variadic;
        if !plain {
            return Err(loud(&format!("function {name}"), node));
        }
        let mut arguments = Vec::new();
        for argument in &call.args {
            let mut value = self.silent(argument, clause)?;
            if value.oid == oid::UNKNOWN {
                // Of the functions of one name that is taken whose argument is a text.
                self.use_as(value.untyped, oid::TEXT);
                value.oid = oid::TEXT;
                value.untyped = None;
            }
            arguments.push(Argument {
                value,
                node: Some(argument),
            });
        }
        let is_plain = |value: &Value| !types::is_text(value.oid) || is_plain(value);
        let called = if arguments.iter().all(|argument| is_plain(&argument.value)) {
            let what = format!("function {name}");
            self.listed_silent(&what, &format!("{name}()"), &arguments, location(node))
        } else {
            Err(loud(&format!("function {name} under this collation"), node))
        };
        let is_literal = |argument: &Node| matches!(&argument.node, Some(NodeEnum::AConst(_)));
        let is_immutable = !listed.is("stable") && !listed.is("volatile") && !listed.is("srf");
        if called.is_err() && is_immutable && call.args.iter().all(is_literal) {
            // Computed while the statement is planned, whatever the rows.
            return Ok(Value::literal(constants::range_of(listed.name)));
        }
        if listed.is("on-null") || listed.is("volatile") || listed.is("srf") {
            return called;
        }
        let values: Vec<Value> = arguments.into_iter().map(|one| one.value).collect();
        self.strictly(called, &values, OPAQUE)
    }

    fn silent_call(&mut self, call: &pg::FuncCall, node: &Node, clause: Clause) -> Typed {
        let names = path(&call.funcname).unwrap_or_default();
        let refused = || loud(&format!("function {}", names.join(".")), node);
        let listed = match names.as_slice() {
            [name] | ["pg_catalog", name] => names::listed(name).ok_or_else(refused)?,
            _ => return Err(refused()),
        };
        if let Some(moment) = constants::clock(node) {
            return Ok(Value::constant(moment));
        }
        if !listed.is("aggregate") && !listed.is("window") {
            return self.silent_function(listed, call, node, clause);
        }
        let in_place = matches!(clause, Clause::Having | Clause::Content);
        if !listed.is("aggregate") || call.over.is_some() || !in_place {
            return Err(refused());
        }
        let argument = match call.args.as_slice() {
            [argument] => Some(self.silent(argument, clause)),
            [] => None,
            _ => return Err(refused()),
        };
        if clause == Clause::Content {
            if !call.agg_order.is_empty() {
                return Err(refused());
            }
            if let Some(filter) = &call.agg_filter {
                self.silent_condition(filter, clause)?;
            }
            if let Some(Err(refusal)) = argument {
                return Err(refusal);
            }
        }
        let argument = argument.and_then(Result::ok);
        let compares = call.agg_distinct || matches!(listed.name, "max" | "min");
        if let (Clause::Content, true, Some(argument)) = (clause, compares, &argument) {
            self.ordered(argument.clone())?;
        }
        constants::aggregate(listed.name, argument, clause).ok_or_else(refused)
    }

    fn silent_sub_link(&mut self, link: &pg::SubLink, node: &Node, clause: Clause) -> Typed {
        let output = self
            .sublinks
            .get(&std::ptr::from_ref(link))
            .cloned()
            .ok_or_else(|| loud("a sub-select", node))?;
        if let Some(refusal) = output.any_loud() {
            return Err(refusal);
        }
        match pg::SubLinkType::try_from(link.sub_link_type) {
            Ok(pg::SubLinkType::ExistsSublink) => Ok(Value::varying(oid::BOOL)),
            Ok(pg::SubLinkType::AnySublink | pg::SubLinkType::AllSublink) => {
                self.compared_with(link, &output, node, clause)
            }
            Ok(pg::SubLinkType::ExprSublink) if output.rows == Rows::AtMostOne => {
                only_column(&output, node)
            }
            Ok(pg::SubLinkType::ExprSublink) => {
                Err(loud("a sub-select that may give several rows", node))
            }
            Ok(pg::SubLinkType::ArraySublink) => {
                let element = only_column(&output, node)?;
                let array = types::array_of(self.catalog(), element.oid);
                array
                    .map(|array| Value {
                        oid: array.oid,
                        ..element
                    })
                    .ok_or_else(|| loud("an array", node))
            }
            Ok(
                pg::SubLinkType::Undefined
                | pg::SubLinkType::RowcompareSublink
                | pg::SubLinkType::MultiexprSublink
                | pg::SubLinkType::CteSublink,
            )
            | Err(_) => Err(loud("a sub-select", node)),
        }
    }

    /// `x IN (SELECT ..)`, `(x, y) = ANY (SELECT ..)`.
    fn compared_with(
        &mut self,
        link: &pg::SubLink,
        output: &Output,
        node: &Node,
        clause: Clause,
    ) -> Typed {
        let operator = if link.oper_name.is_empty() {
            Some("=")
        } else {
            operator_name(&link.oper_name)
        };
        let (Some(operator), Some(tested)) = (operator, &link.testexpr) else {
            return Err(loud("a comparison with a sub-select", node));
        };
        let tested: Vec<&Node> = match &tested.node {
            Some(NodeEnum::RowExpr(row)) => row.args.iter().collect(),
            Some(_) | None => vec![tested],
        };
        if output.extent == Extent::Open || tested.len() != output.columns.len() {
            return Err(loud("a comparison with a sub-select", node));
        }
        for (tested, column) in tested.into_iter().zip(&output.columns) {
            let left = self.silent(tested, clause)?;
            let right = column.value.clone()?;
            self.operate(operator, left, right, node)?;
        }
        Ok(Value::varying(oid::BOOL))
    }
}

/// Whether a text's collation is known to be deterministic.
pub(super) fn is_plain(value: &Value) -> bool {
    PLAIN_COLLATIONS.contains(&value.collation)
}

/// AND, OR and NOT of nothing but constants is constant; nobody asks.
fn truth(_arguments: &[Node]) -> Value {
    Value::varying(oid::BOOL)
}

/// Where an expression stands in the client's text.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a refusal without a position is still a refusal"
)]
pub(super) fn location(node: &Node) -> Option<usize> {
    let at = match node.node.as_ref()? {
        NodeEnum::ColumnRef(node) => node.location,
        NodeEnum::ParamRef(node) => node.location,
        NodeEnum::AConst(node) => node.location,
        NodeEnum::TypeCast(node) => node.location,
        NodeEnum::AExpr(node) => node.location,
        NodeEnum::BoolExpr(node) => node.location,
        NodeEnum::NullTest(node) => node.location,
        NodeEnum::BooleanTest(node) => node.location,
        NodeEnum::FuncCall(node) => node.location,
        NodeEnum::SubLink(node) => node.location,
        NodeEnum::CoalesceExpr(node) => node.location,
        NodeEnum::CaseExpr(node) => node.location,
        NodeEnum::MinMaxExpr(node) => node.location,
        NodeEnum::CollateClause(node) => node.location,
        NodeEnum::SqlvalueFunction(node) => node.location,
        NodeEnum::AArrayExpr(node) => node.location,
        NodeEnum::RowExpr(node) => node.location,
        _ => return None,
    };
    usize::try_from(at).ok()
}

/// Something that is not silent.
pub(super) fn loud(what: &str, node: &Node) -> Refusal {
    let what = what.to_owned();
    refuse(Reason::not_silent(what), location(node))
}
