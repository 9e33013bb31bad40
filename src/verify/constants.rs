//! Constants that cannot fail, and what aggregates give.

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::proof::path;
use super::silent::{Clause, loud};
use super::types::{Columns, OPAQUE, Origin, Typed, Value};
use crate::catalog::{Oid, oid};

/// More terms of date arithmetic are not followed.
const TERMS_MAX: usize = 4;

/// Days that may be added to a date.
const DAYS_MAX: i32 = 99_999;

/// Units of an interval, and how many digits their number may have: so that now, give or take four
/// such terms, stays within what a timestamp can hold.
const UNITS: [(&str, usize); 9] = [
    ("microsecond", 9),
    ("millisecond", 9),
    ("second", 9),
    ("minute", 7),
    ("hour", 6),
    ("day", 5),
    ("week", 4),
    ("month", 4),
    ("year", 3),
];

/// What `date_trunc` may truncate to.
const TRUNCATIONS: [&str; 8] = [
    "second", "minute", "hour", "day", "week", "month", "quarter", "year",
];

/// The value of a literal.
pub(super) fn value(constant: &pg::AConst, node: &Node) -> Typed {
    use pg::a_const::Val;
    let type_oid = match &constant.val {
        None | Some(Val::Sval(_)) => oid::UNKNOWN,
        Some(Val::Ival(_)) => oid::INT4,
        Some(Val::Boolval(_)) => oid::BOOL,
        Some(Val::Fval(pg::Float { fval })) => {
            if fval.parse::<i64>().is_ok() {
                oid::INT8
            } else {
                oid::NUMERIC
            }
        }
        Some(Val::Bsval(_)) => return Err(loud("a bit string", node)),
    };
    Ok(Value::literal(type_oid))
}

/// The text of a string literal, cast to text or not at all.
pub(super) fn literal(node: &Node) -> Option<&str> {
    let Some(NodeEnum::AConst(pg::AConst {
        val: Some(pg::a_const::Val::Sval(pg::String { sval })),
        ..
    })) = &node.node
    else {
        return None;
    };
    Some(sval)
}

/// Whether a type is a moment of time that the clock's value always converts to.
pub(super) fn is_moment(type_oid: Oid) -> bool {
    matches!(type_oid, oid::DATE | oid::TIMESTAMP | oid::TIMESTAMPTZ)
}

/// Whether a numeric literal may be converted to this type while planning.
pub(super) fn is_number(type_oid: Oid) -> bool {
    matches!(
        type_oid,
        oid::INT2 | oid::INT4 | oid::INT8 | oid::NUMERIC | oid::FLOAT4 | oid::FLOAT8
    )
}

/// The type of an expression that asks the clock, if it cannot fail: `now()`, `CURRENT_DATE` and the
/// like, plus or minus bounded literals, cast or truncated.
pub(super) fn clock(node: &Node) -> Option<Oid> {
    clock_terms(node, TERMS_MAX)
}

fn clock_terms(node: &Node, terms: usize) -> Option<Oid> {
    let terms = terms.checked_sub(1)?;
    match &node.node {
        Some(NodeEnum::SqlvalueFunction(function)) => clock_value(function.op),
        Some(NodeEnum::FuncCall(call)) => clock_call(call, terms),
        Some(NodeEnum::TypeCast(cast)) => {
            clock_terms(cast.arg.as_deref()?, terms)?;
            let name = cast.type_name.as_ref()?;
            if !name.typmods.is_empty() || !name.array_bounds.is_empty() {
                return None;
            }
            match path(&name.names)?.as_slice() {
                ["date"] | ["pg_catalog", "date"] => Some(oid::DATE),
                ["timestamp"] | ["pg_catalog", "timestamp"] => Some(oid::TIMESTAMP),
                ["timestamptz"] | ["pg_catalog", "timestamptz"] => Some(oid::TIMESTAMPTZ),
                _ => None,
            }
        }
        Some(NodeEnum::AExpr(operation)) => {
            let sign = path(&operation.name)?;
            let is_sum = operation.kind == i32::from(pg::AExprKind::AexprOp)
                && matches!(sign.as_slice(), ["+" | "-"]);
            let moment = clock_terms(operation.lexpr.as_deref()?, terms)?;
            let right = operation.rexpr.as_deref()?;
            match moment {
                oid::DATE if is_sum && is_days(right) => Some(oid::DATE),
                oid::DATE if is_sum && is_interval(right) => Some(oid::TIMESTAMP),
                oid::TIMESTAMP | oid::TIMESTAMPTZ if is_sum && is_interval(right) => Some(moment),
                _ => None,
            }
        }
        Some(_) | None => None,
    }
}

fn clock_value(op: i32) -> Option<Oid> {
    use pg::SqlValueFunctionOp as Op;
    match Op::try_from(op) {
        Ok(Op::SvfopCurrentDate) => Some(oid::DATE),
        Ok(Op::SvfopCurrentTimestamp | Op::SvfopCurrentTimestampN) => Some(oid::TIMESTAMPTZ),
        Ok(Op::SvfopLocaltimestamp | Op::SvfopLocaltimestampN) => Some(oid::TIMESTAMP),
        Ok(Op::SvfopLocaltime | Op::SvfopLocaltimeN) => Some(oid::TIME),
        Ok(
            Op::SqlvalueFunctionOpUndefined
            | Op::SvfopCurrentTime
            | Op::SvfopCurrentTimeN
            | Op::SvfopCurrentRole
            | Op::SvfopCurrentUser
            | Op::SvfopUser
            | Op::SvfopSessionUser
            | Op::SvfopCurrentCatalog
            | Op::SvfopCurrentSchema,
        )
        | Err(_) => None,
    }
}

fn clock_call(call: &pg::FuncCall, terms: usize) -> Option<Oid> {
    let names = path(&call.funcname)?;
    let name = match names.as_slice() {
        [name] | ["pg_catalog", name] => *name,
        _ => return None,
    };
    match (name, call.args.as_slice()) {
        ("now" | "statement_timestamp" | "transaction_timestamp", []) => Some(oid::TIMESTAMPTZ),
        ("date_trunc", [unit, moment]) if TRUNCATIONS.contains(&literal(unit)?) => {
            match clock_terms(moment, terms)? {
                oid::TIMESTAMP => Some(oid::TIMESTAMP),
                oid::TIMESTAMPTZ | oid::DATE => Some(oid::TIMESTAMPTZ),
                _ => None,
            }
        }
        _ => None,
    }
}

fn is_days(node: &Node) -> bool {
    matches!(
        &node.node,
        Some(NodeEnum::AConst(pg::AConst {
            val: Some(pg::a_const::Val::Ival(pg::Integer { ival })),
            ..
        })) if (-DAYS_MAX..=DAYS_MAX).contains(ival)
    )
}

/// `interval '7 days'`, with bounded numbers.
fn is_interval(node: &Node) -> bool {
    let Some(NodeEnum::TypeCast(cast)) = &node.node else {
        return false;
    };
    let Some(name) = &cast.type_name else {
        return false;
    };
    let is_type = matches!(
        path(&name.names).as_deref(),
        Some(["pg_catalog", "interval"] | ["interval"])
    );
    let plain = name.typmods.is_empty() && name.array_bounds.is_empty();
    let text = cast.arg.as_deref().and_then(literal);
    is_type && plain && text.is_some_and(is_bounded_interval)
}

fn is_bounded_interval(text: &str) -> bool {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let pairs = words.chunks(2);
    !words.is_empty()
        && words.len() <= 2 * TERMS_MAX
        && pairs.into_iter().all(|pair| match pair {
            [number, unit] => {
                let unit = unit.to_ascii_lowercase();
                let digits = number.trim_start_matches(['-', '+']);
                let signs = number.len() - digits.len();
                let singular = unit.strip_suffix('s').unwrap_or(&unit);
                UNITS.iter().any(|(name, most)| {
                    *name == singular
                        && signs <= 1
                        && (1..=*most).contains(&digits.len())
                        && digits.bytes().all(|b| b.is_ascii_digit())
                })
            }
            _ => false,
        })
}

/// What an aggregate gives. In HAVING it is computed behind the tenant's test; elsewhere in a condition
/// it must not fail, whatever rows a correlation picks.
pub(super) fn aggregate(name: &str, argument: Option<Value>, clause: Clause) -> Option<Value> {
    let type_oid = argument.as_ref().map_or(OPAQUE, |argument| argument.oid);
    let bounded = argument
        .as_ref()
        .is_some_and(|argument| argument.typmod != -1);
    let result = match (name, type_oid) {
        ("count", _) | ("sum", oid::INT2 | oid::INT4) => oid::INT8,
        ("max" | "min", _) => {
            let value = argument.unwrap_or(Value::varying(OPAQUE));
            return (value.oid != oid::UNKNOWN).then_some(Value {
                origin: Origin::Varying,
                untyped: None,
                columns: Columns::default(),
                ..value
            });
        }
        ("bool_and" | "bool_or" | "every", oid::BOOL) => oid::BOOL,
        ("sum", oid::INT8) | ("avg", oid::INT2 | oid::INT4 | oid::INT8) => oid::NUMERIC,
        ("avg" | "sum", oid::NUMERIC) if bounded || clause == Clause::Having => oid::NUMERIC,
        ("sum", oid::FLOAT4) if clause == Clause::Having => oid::FLOAT4,
        ("avg", oid::FLOAT4 | oid::FLOAT8) | ("sum", oid::FLOAT8) if clause == Clause::Having => {
            oid::FLOAT8
        }
        _ if clause == Clause::Having => OPAQUE,
        _ => return None,
    };
    Some(Value::varying(result))
}

/// The whole number that this literal is.
pub(super) fn whole_number(node: &Node) -> Option<i32> {
    match &node.node {
        Some(NodeEnum::AConst(pg::AConst {
            val: Some(pg::a_const::Val::Ival(pg::Integer { ival })),
            ..
        })) => Some(*ival),
        Some(_) | None => None,
    }
}

/// The range that a function of this name makes of its bounds; none of any other function.
pub(super) fn range_of(function: &str) -> Oid {
    match function {
        "int4range" => oid::INT4RANGE,
        "numrange" => oid::NUMRANGE,
        "tsrange" => oid::TSRANGE,
        "tstzrange" => oid::TSTZRANGE,
        "daterange" => oid::DATERANGE,
        "int8range" => oid::INT8RANGE,
        _ => OPAQUE,
    }
}

/// Whether this is a number that is not negative, or NULL.
pub(super) fn is_count(node: &Node) -> bool {
    use pg::a_const::Val;
    match &node.node {
        Some(NodeEnum::AConst(constant)) => {
            constant.isnull
                || matches!(&constant.val, Some(Val::Ival(pg::Integer { ival })) if *ival >= 0)
        }
        Some(_) | None => false,
    }
}
