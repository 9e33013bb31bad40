//! SET and RESET, and the query that sets a parameter by `set_config`: what the session has to know.
//!
//! Nothing is rewritten but the names of functions.

use pg_query::NodeEnum;
use pg_query::protobuf as pg;

use super::name::parts;
use super::{Rewritten, lost, unsupported};
use crate::isolate::kind::{Kind, SetScope};
use crate::isolate::setting::{Argument, Fields, value};

/// What a SET or RESET does.
pub(super) fn variables(set: &pg::VariableSetStmt) -> Rewritten<Kind> {
    let other_form = || unsupported("this form of SET");
    let variable = set.name.to_ascii_lowercase();
    let scope = if set.is_local {
        SetScope::Local
    } else {
        SetScope::Session
    };
    match pg::VariableSetKind::try_from(set.kind) {
        Ok(pg::VariableSetKind::VarResetAll) => Ok(Kind::ResetAll),
        Ok(pg::VariableSetKind::VarSetValue) => {
            let arguments: Option<Vec<Argument>> = set.args.iter().map(argument).collect();
            let value = arguments.and_then(|arguments| value(&variable, &arguments));
            Ok(Kind::Set {
                scope,
                variable,
                value: value.ok_or_else(other_form)?,
            })
        }
        Ok(pg::VariableSetKind::VarSetDefault) if set.is_local => Ok(Kind::Set {
            scope,
            variable,
            value: String::new(),
        }),
        Ok(pg::VariableSetKind::VarSetDefault | pg::VariableSetKind::VarReset) => {
            Ok(Kind::Reset { variable })
        }
        Ok(pg::VariableSetKind::VarSetMulti) if set.name == "SESSION CHARACTERISTICS" => {
            let values: Option<Vec<(String, String)>> =
                set.args.iter().map(characteristic).collect();
            let values = values.ok_or_else(|| unsupported("this transaction mode"))?;
            Ok(Kind::Characteristics(values))
        }
        Ok(
            pg::VariableSetKind::VarSetMulti
            | pg::VariableSetKind::VarSetCurrent
            | pg::VariableSetKind::Undefined,
        )
        | Err(_) => Err(lost("a statement about data")),
    }
}

fn argument(node: &pg_query::Node) -> Option<Argument> {
    let Some(NodeEnum::TypeCast(cast)) = &node.node else {
        return constant(node).map(Argument::Constant);
    };
    let typmods = &cast.type_name.as_ref()?.typmods;
    let typmods: Option<Vec<i32>> = typmods
        .iter()
        .map(|typmod| constant(typmod)?.parse().ok())
        .collect();
    Some(Argument::Interval {
        text: constant(cast.arg.as_deref()?)?,
        fields: Fields::of(&typmods?).ok()?,
    })
}

fn constant(node: &pg_query::Node) -> Option<String> {
    let Some(NodeEnum::AConst(constant)) = &node.node else {
        return None;
    };
    match constant.val.as_ref()? {
        pg::a_const::Val::Ival(number) => Some(number.ival.to_string()),
        pg::a_const::Val::Fval(number) => Some(number.fval.clone()),
        pg::a_const::Val::Boolval(value) => Some(value.boolval.to_string()),
        pg::a_const::Val::Sval(text) => Some(text.sval.clone()),
        pg::a_const::Val::Bsval(_) => None,
    }
}

/// The default that a mode sets, as PostgreSQL's `ExecSetVariableStmt` does.
fn characteristic(mode: &pg_query::Node) -> Option<(String, String)> {
    let Some(NodeEnum::DefElem(mode)) = &mode.node else {
        return None;
    };
    let Some(NodeEnum::AConst(value)) = mode.arg.as_ref().and_then(|arg| arg.node.as_ref()) else {
        return None;
    };
    let value = match value.val.as_ref()? {
        pg::a_const::Val::Sval(text) => text.sval.clone(),
        pg::a_const::Val::Ival(number) if number.ival == 0 => "off".to_owned(),
        pg::a_const::Val::Ival(_) => "on".to_owned(),
        pg::a_const::Val::Boolval(_) | pg::a_const::Val::Bsval(_) | pg::a_const::Val::Fval(_) => {
            return None;
        }
    };
    Some((format!("default_{}", mode.defname), value))
}

/// The SET that a query is, one of whose columns is a call of `set_config` with constants. Whether it does
/// anything else, the verifier looks.
pub(super) fn set_by_function(select: &pg::SelectStmt) -> Option<Kind> {
    let mut calls = select.target_list.iter().filter_map(|target| {
        let Some(NodeEnum::ResTarget(target)) = &target.node else {
            return None;
        };
        if let NodeEnum::FuncCall(call) = target.val.as_ref()?.node.as_ref()? {
            Some(call.as_ref())
        } else {
            None
        }
    });
    let is_set_config = |call: &&pg::FuncCall| {
        let names = parts(&call.funcname);
        matches!(
            names.as_deref(),
            Ok(["set_config"] | ["pg_catalog", "set_config"])
        )
    };
    let call = calls.find(is_set_config)?;
    let [variable, value, is_local] = call.args.as_slice() else {
        return None;
    };
    let scope = if constant(is_local)? == "true" {
        SetScope::Local
    } else {
        SetScope::Session
    };
    Some(Kind::Set {
        scope,
        variable: constant(variable)?.to_ascii_lowercase(),
        value: match scope {
            // Nobody asks what is set for the transaction only: it may be bound.
            SetScope::Local => constant(value).unwrap_or_default(),
            SetScope::Session => constant(value)?,
        },
    })
}
