//! Expressions that an index holds: what was computed for every row when it was written cannot fail now.
//!
//! In: an expression of the client's that is not listed as silent. Out: its value, if a valid index of
//! the table holds this very expression. So `lower(email) = $1` is silent where it can use an index.
//!
//! # Invariants
//! 1. What is held is immutable, calls nothing outside `pg_catalog`, and was computed for all rows
//!    (`Relation::indexed`).
//! 2. The client's expression calls the same functions and operators with the same types: equal names
//!    and equal columns; a literal whose type is not told is a text where every such call takes one.
//! 3. What is called warns of nothing: a closed list. A warning is given each time.
//! 4. All that is called is strict. So nothing fails on the NULLs that an outer join puts in place of a row.

use std::collections::BTreeSet;

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::comparison::operator_name;
use super::expression::reference;
use super::names;
use super::proof::{Proof, path};
use super::reading::parse_one;
use super::scope::{self, Found};
use super::types::{self, Columns, Value};
use crate::catalog::{self, Oid, Relation, oid};
use crate::isolate::remedy::{MaskedColumn, Mention};

/// Functions that warn of nothing, with whatever they succeed. Text search and XML do warn.
const FUNCTIONS: [&str; 28] = [
    "abs",
    "btrim",
    "ceil",
    "ceiling",
    "char_length",
    "date_part",
    "date_trunc",
    "extract",
    "floor",
    "initcap",
    "left",
    "length",
    "lower",
    "ltrim",
    "md5",
    "regexp_replace",
    "replace",
    "reverse",
    "right",
    "round",
    "rtrim",
    "split_part",
    "substr",
    "substring",
    "timezone",
    "translate",
    "trunc",
    "upper",
];

/// Operators that warn of nothing either.
const OPERATORS: [&str; 9] = ["#>", "#>>", "%", "*", "+", "-", "->", "->>", "/"];

/// Types that values are converted to without a warning.
const TYPES: [Oid; 13] = [
    oid::BOOL,
    oid::DATE,
    oid::FLOAT4,
    oid::FLOAT8,
    oid::INT2,
    oid::INT4,
    oid::INT8,
    oid::JSONB,
    oid::NUMERIC,
    oid::TEXT,
    oid::TIMESTAMP,
    oid::TIMESTAMPTZ,
    oid::UUID,
];

/// Operators whose right side is a text if its type is not told.
const OF_TEXT: [&str; 2] = ["->", "->>"];

/// A column of a table that stands without a fence.
struct Own<'c> {
    column: &'c catalog::Column,
    table: &'c Relation,
    known: MaskedColumn,
}

impl Proof<'_> {
    /// The value of an expression that an index holds.
    pub(super) fn indexed(&self, node: &Node) -> Option<Value> {
        let first = self.own_column(first_column(node)?)?;
        let held = first.table.indexed.iter().find(|held| {
            expression_of(&held.expression)
                .is_some_and(|expression| self.is_held(&expression, node, first.known.table))
        })?;
        let mut columns = BTreeSet::new();
        self.columns_in(node, &mut columns);
        Some(Value {
            collation: held.collation,
            columns: Columns::new(columns),
            ..Value::varying(types::base(self.catalog(), held.type_oid))
        })
    }

    /// Whether an index's expression is the client's, over the table at this place.
    fn is_held(&self, held: &Node, written: &Node, table: Mention) -> bool {
        match (&held.node, &written.node) {
            (Some(NodeEnum::ColumnRef(held)), Some(NodeEnum::ColumnRef(written))) => {
                self.is_same_column(held, written, table).is_some()
            }
            (Some(NodeEnum::AConst(held)), Some(NodeEnum::AConst(written))) => {
                !held.isnull && held.val == written.val
            }
            (Some(NodeEnum::TypeCast(held)), Some(NodeEnum::TypeCast(written))) => {
                self.is_held_cast(held, written, table)
            }
            // A varchar is a text to a function.
            (Some(NodeEnum::TypeCast(held)), Some(NodeEnum::ColumnRef(written))) => {
                match held.arg.as_ref().map(|argument| &argument.node) {
                    Some(Some(NodeEnum::ColumnRef(column))) => {
                        let column = self.is_same_column(column, written, table);
                        is_text(held) && column == Some(oid::VARCHAR)
                    }
                    Some(_) | None => false,
                }
            }
            (Some(NodeEnum::FuncCall(held)), Some(NodeEnum::FuncCall(written))) => {
                self.is_held_call(held, written, table)
            }
            (Some(NodeEnum::AExpr(held)), Some(NodeEnum::AExpr(written))) => {
                self.is_held_operation(held, written, table)
            }
            _ => false,
        }
    }

    /// The same, of an operand; a literal whose type is not told counts as a text.
    fn is_held_text(&self, held: &Node, written: &Node, table: Mention) -> bool {
        let text = match &held.node {
            Some(NodeEnum::TypeCast(cast)) if is_text(cast) => cast.arg.as_deref(),
            Some(_) | None => None,
        };
        let is_same = matches!(
            (text.map(|text| &text.node), &written.node),
            (Some(Some(NodeEnum::AConst(held))), Some(NodeEnum::AConst(written)))
                if held.val == written.val && matches!(held.val, Some(pg::a_const::Val::Sval(_)))
        );
        is_same || self.is_held(held, written, table)
    }

    fn is_held_cast(&self, held: &pg::TypeCast, written: &pg::TypeCast, table: Mention) -> bool {
        let (Some(one), Some(other)) = (&held.arg, &written.arg) else {
            return false;
        };
        let (Some(to), Some(wanted)) = (&held.type_name, &written.type_name) else {
            return false;
        };
        let target = self.cast_type(to);
        to.typmods.is_empty()
            && wanted.typmods.is_empty()
            && target.is_some_and(|target| TYPES.contains(&target))
            && target == self.cast_type(wanted)
            && self.is_held(one, other, table)
    }

    fn is_held_call(&self, held: &pg::FuncCall, written: &pg::FuncCall, table: Mention) -> bool {
        let (Some(name), Some(wanted)) = (system_name(held), system_name(written)) else {
            return false;
        };
        let strict = names::listed(name).is_some_and(|listed| {
            ["aggregate", "on-null", "srf", "volatile", "window"]
                .into_iter()
                .all(|flag| !listed.is(flag))
        });
        name == wanted
            && FUNCTIONS.contains(&name)
            && strict
            && is_plain(held)
            && is_plain(written)
            && held.funcformat == written.funcformat
            && held.args.len() == written.args.len()
            && held
                .args
                .iter()
                .zip(&written.args)
                .all(|(held, written)| self.is_held_text(held, written, table))
    }

    fn is_held_operation(&self, held: &pg::AExpr, written: &pg::AExpr, table: Mention) -> bool {
        let plain = i32::from(pg::AExprKind::AexprOp);
        let (Some(name), Some(wanted)) = (operator_name(&held.name), operator_name(&written.name))
        else {
            return false;
        };
        let (Some(left), Some(right), Some(first), Some(second)) =
            (&held.lexpr, &held.rexpr, &written.lexpr, &written.rexpr)
        else {
            return false;
        };
        let second_is_held = if OF_TEXT.contains(&name) {
            self.is_held_text(right, second, table)
        } else {
            self.is_held(right, second, table)
        };
        held.kind == plain
            && written.kind == plain
            && name == wanted
            && OPERATORS.contains(&name)
            && self.is_strict_operator(name)
            && second_is_held
            && self.is_held(left, first, table)
    }

    /// The type of the client's column, if it is the one that the index names.
    fn is_same_column(
        &self,
        held: &pg::ColumnRef,
        written: &pg::ColumnRef,
        table: Mention,
    ) -> Option<Oid> {
        let own = self.own_column(written)?;
        let is_same = path(&held.fields).as_deref() == Some(&[own.column.name.as_str()])
            && own.known.table == table;
        is_same.then_some(own.column.type_oid)
    }

    /// What a reference means, if it is a column of a table without a fence.
    fn own_column(&self, written: &pg::ColumnRef) -> Option<Own<'_>> {
        let named = reference(&written.fields)?;
        let Ok(Found::Column(found)) = scope::resolve(&self.levels, named) else {
            return None;
        };
        let is_it = |known: &types::Column| std::ptr::eq(known, found);
        let (level, item) = self.levels.iter().find_map(|level| {
            let mut items = level.items.iter();
            let item = items.find(|item| item.columns.iter().any(is_it))?;
            Some((level, item))
        })?;
        if item.hidden.is_none() || item.sent.is_some() {
            return None;
        }
        let value = found.value.as_ref().ok()?;
        let mut known = value.columns.iter();
        let (Some(known), None) = (known.next().copied(), known.next()) else {
            return None;
        };
        let mut tests = level.direct.iter();
        let test = tests.find(|test| {
            test.at.map(Mention::new) == Some(known.table)
                && Some(&test.alias) == item.name.as_ref()
        })?;
        let relation = &test.relation;
        let table = self.catalog().relation(&relation.schema, &relation.name)?;
        let column = table
            .columns
            .iter()
            .find(|column| column.number == known.number)?;
        Some(Own {
            column,
            table,
            known,
        })
    }

    fn columns_in(&self, node: &Node, columns: &mut BTreeSet<MaskedColumn>) {
        match &node.node {
            Some(NodeEnum::ColumnRef(column)) => {
                columns.extend(self.own_column(column).map(|own| own.known));
            }
            Some(_) | None => {
                for below in below(node) {
                    self.columns_in(below, columns);
                }
            }
        }
    }
}

/// The expression that an index's text is.
fn expression_of(text: &str) -> Option<Node> {
    let NodeEnum::SelectStmt(select) = parse_one(&format!("SELECT {text}")).ok()? else {
        return None;
    };
    let [
        Node {
            node: Some(NodeEnum::ResTarget(target)),
        },
    ] = select.target_list.as_slice()
    else {
        return None;
    };
    target.val.as_deref().cloned()
}

/// The parts of what an index may hold here; none of anything else.
fn below(node: &Node) -> Vec<&Node> {
    match &node.node {
        Some(NodeEnum::AExpr(operation)) => [&operation.lexpr, &operation.rexpr]
            .into_iter()
            .filter_map(Option::as_deref)
            .collect(),
        Some(NodeEnum::FuncCall(call)) => call.args.iter().collect(),
        Some(NodeEnum::TypeCast(cast)) => cast.arg.as_deref().into_iter().collect(),
        Some(_) | None => Vec::new(),
    }
}

fn first_column(node: &Node) -> Option<&pg::ColumnRef> {
    below(node).into_iter().find_map(|below| match &below.node {
        Some(NodeEnum::ColumnRef(column)) => Some(column),
        Some(_) | None => first_column(below),
    })
}

/// The name of a function of the system, if it is written as one.
fn system_name(call: &pg::FuncCall) -> Option<&str> {
    match path(&call.funcname)?.as_slice() {
        [name] | ["pg_catalog", name] => Some(*name),
        _ => None,
    }
}

/// Whether a call has arguments and nothing else.
fn is_plain(call: &pg::FuncCall) -> bool {
    call.agg_order.is_empty()
        && call.agg_filter.is_none()
        && call.over.is_none()
        && !call.agg_within_group
        && !call.agg_star
        && !call.agg_distinct
        && !call.func_variadic
}

fn is_text(cast: &pg::TypeCast) -> bool {
    cast.type_name.as_ref().is_some_and(|name| {
        matches!(
            path(&name.names).as_deref(),
            Some(["text"] | ["pg_catalog", "text"])
        ) && name.array_bounds.is_empty()
            && name.typmods.is_empty()
    })
}
