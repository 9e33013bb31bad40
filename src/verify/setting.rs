//! Parameters by their functions: `current_setting`, and `SELECT set_config(..)`, which is a SET.
//!
//! The session has to know what a SELECT sets, and the rewriter tells it. It can where it has PostgreSQL's
//! own reading; so nothing else is let through here.

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::proof::{
    Checked, Pair, Proof, differs, is_plain_type, path, position, refuse, unsupported,
};
use super::session::{constant, identical, variable};
use super::variables::Values;
use crate::isolate::refusal::Reason;
use crate::isolate::setting::{Argument, Fields, value};
use crate::isolate::template::Reading;

/// What `set_config` is told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Setting {
    /// The parameter's name, in lower case.
    pub(super) variable: String,
    /// None where it is bound, for the transaction only.
    pub(super) value: Option<String>,
    pub(super) is_local: bool,
}

/// What a query sets that does nothing else: each of its columns is a call of `set_config` or
/// `current_setting`, and exactly one is a call of `set_config`, with constants; what lasts for the transaction
/// may have its value from a parameter, since no other connection will have to be given it.
pub(super) fn only_setting(select: &pg::SelectStmt) -> Option<Setting> {
    let plain = pg::SelectStmt {
        target_list: select.target_list.clone(),
        limit_option: select.limit_option,
        op: select.op,
        ..pg::SelectStmt::default()
    };
    if *select != plain {
        return None;
    }
    let mut found = None;
    for target in &select.target_list {
        let Some(NodeEnum::ResTarget(target)) = &target.node else {
            return None;
        };
        let Some(Some(NodeEnum::FuncCall(call))) = target.val.as_ref().map(|val| &val.node) else {
            return None;
        };
        if !target.indirection.is_empty() || !is_plain(call) {
            return None;
        }
        if is_call_of(&call.funcname, "current_setting") {
            continue;
        }
        if !is_call_of(&call.funcname, "set_config") || found.is_some() {
            return None;
        }
        found = Some(setting(&call.args)?);
    }
    found
}

fn setting(arguments: &[Node]) -> Option<Setting> {
    let [variable, value, is_local] = arguments else {
        return None;
    };
    let is_local = boolean(is_local)?;
    Some(Setting {
        variable: string(variable)?.to_ascii_lowercase(),
        value: match string(value) {
            Some(value) => Some(value.to_owned()),
            None if is_local && is_bound(value) => None,
            None => return None,
        },
        is_local,
    })
}

/// Whether this is a parameter, or one that is cast to `text`.
fn is_bound(node: &Node) -> bool {
    let is_parameter = |node: &Node| matches!(&node.node, Some(NodeEnum::ParamRef(_)));
    match &node.node {
        Some(NodeEnum::TypeCast(cast)) => {
            let is_text = cast.type_name.as_ref().is_some_and(|name| {
                is_plain_type(name, "text") || path(&name.names).as_deref() == Some(&["text"])
            });
            is_text && cast.arg.as_deref().is_some_and(is_parameter)
        }
        Some(_) | None => is_parameter(node),
    }
}

/// Whether a call has a name and arguments, and nothing else.
fn is_plain(call: &pg::FuncCall) -> bool {
    *call
        == pg::FuncCall {
            funcname: call.funcname.clone(),
            args: call.args.clone(),
            funcformat: call.funcformat,
            location: call.location,
            ..pg::FuncCall::default()
        }
}

/// Whether this is the system's function of that name: `pg_catalog` is searched first.
fn is_call_of(names: &[Node], function: &str) -> bool {
    match path(names).as_deref() {
        Some([name] | ["pg_catalog", name]) => *name == function,
        Some(_) | None => false,
    }
}

/// Whether a call is one of `current_setting`.
pub(super) fn is_current_setting(names: &[Node]) -> bool {
    is_call_of(names, "current_setting")
}

fn string(node: &Node) -> Option<&str> {
    if let NodeEnum::AConst(pg::AConst {
        val: Some(pg::a_const::Val::Sval(text)),
        isnull: false,
        location: _,
    }) = node.node.as_ref()?
    {
        Some(&text.sval)
    } else {
        None
    }
}

fn boolean(node: &Node) -> Option<bool> {
    if let NodeEnum::AConst(pg::AConst {
        val: Some(pg::a_const::Val::Boolval(value)),
        isnull: false,
        location: _,
    }) = node.node.as_ref()?
    {
        Some(value.boolval)
    } else {
        None
    }
}

/// The value that SET gives a parameter, as SHOW would take it.
pub(super) fn value_of(set: &pg::VariableSetStmt) -> Option<String> {
    let arguments: Option<Vec<Argument>> = set.args.iter().map(argument).collect();
    value(&set.name.to_ascii_lowercase(), &arguments?)
}

/// One argument of SET: a constant, or the interval of SET TIME ZONE.
pub(super) fn argument(node: &Node) -> Option<Argument> {
    let Some(NodeEnum::TypeCast(cast)) = &node.node else {
        return constant(node).map(Argument::Constant);
    };
    let type_name = cast.type_name.as_ref()?;
    let typmods: Option<Vec<i32>> = type_name.typmods.iter().map(integer).collect();
    let is_interval = path(&type_name.names).as_deref() == Some(&["pg_catalog", "interval"]);
    let fields = Fields::of(&typmods.filter(|_| is_interval)?).ok()?;
    let text = string(cast.arg.as_deref()?)?.to_owned();
    Some(Argument::Interval { text, fields })
}

fn integer(node: &Node) -> Option<i32> {
    constant(node)?.parse().ok()
}

/// The schemas of a search path that is given as one text; none if it is not plain.
fn schemas(path: &str) -> Option<Vec<String>> {
    let schema = |part: &str| {
        let part = part.trim();
        let quoted = part
            .strip_prefix('"')
            .and_then(|part| part.strip_suffix('"'));
        let name = quoted.map_or_else(|| part.to_ascii_lowercase(), str::to_owned);
        (!name.is_empty() && !name.contains('"')).then_some(name)
    };
    path.split(',').map(schema).collect()
}

impl Proof<'_> {
    /// Compares a query that only sets a parameter with what is sent for it: its functions have their schema.
    pub(super) fn sets(
        &self,
        setting: &Setting,
        (original, rewritten): Pair<'_, pg::SelectStmt>,
    ) -> Checked {
        if !matches!(self.reading(), Reading::Spliced { .. }) {
            return Err(unsupported("set_config in this reading"));
        }
        let parameter = variable(&setting.variable)?;
        let is_open = match (&setting.value, parameter.values) {
            (None, values) => values == Values::Any,
            (Some(value), Values::SearchPath) => {
                schemas(value).is_some_and(|values| self.may_be_set(parameter, &values))
            }
            (Some(value), Values::Any | Values::None | Values::OneOf(_)) => {
                self.may_be_set(parameter, std::slice::from_ref(value))
            }
        };
        if !is_open {
            return Err(Reason::VariableNotAllowed {
                variable: setting.variable.clone(),
            }
            .into());
        }
        let mut wanted = original.clone();
        for target in &mut wanted.target_list {
            let Some(NodeEnum::ResTarget(target)) = &mut target.node else {
                return Err(differs("a query that sets a parameter"));
            };
            let call = target.val.as_mut().and_then(|val| val.node.as_mut());
            let Some(NodeEnum::FuncCall(call)) = call else {
                return Err(differs("a query that sets a parameter"));
            };
            if is_current_setting(&call.funcname) {
                shown_parameter(&call.args)?;
            }
            qualify(&mut call.funcname);
            for argument in &mut call.args {
                if let Some(NodeEnum::TypeCast(cast)) = &mut argument.node
                    && let Some(name) = &mut cast.type_name
                {
                    qualify(&mut name.names);
                }
            }
        }
        let wanted = NodeEnum::SelectStmt(Box::new(wanted));
        identical(&wanted, &NodeEnum::SelectStmt(Box::new(rewritten.clone())))
    }
}

/// Compares two calls of `current_setting`, of a parameter that the text names and clients may see.
pub(super) fn current_setting((original, rewritten): Pair<'_, pg::FuncCall>) -> Checked {
    let at = position((&original.location, &rewritten.location));
    if !is_plain(original) {
        return Err(unsupported("this form of current_setting"));
    }
    shown_parameter(&original.args).map_err(|refusal| refuse(refusal.reason, at))?;
    let mut wanted = original.clone();
    qualify(&mut wanted.funcname);
    identical(
        &NodeEnum::FuncCall(Box::new(wanted)),
        &NodeEnum::FuncCall(Box::new(rewritten.clone())),
    )
}

/// The parameter must be one that clients may see.
fn shown_parameter(arguments: &[Node]) -> Checked {
    let name = match arguments {
        [name] => string(name),
        [name, missing_ok] => string(name).filter(|_| boolean(missing_ok).is_some()),
        _ => None,
    };
    let name = name.ok_or_else(|| {
        unsupported("current_setting of a parameter that is not named in the text")
    })?;
    variable(name).map(|_known| ())
}

fn qualify(name: &mut Vec<Node>) {
    if let [_name] = name.as_slice() {
        let schema = pg::String {
            sval: "pg_catalog".to_owned(),
        };
        let schema = Node {
            node: Some(NodeEnum::String(schema)),
        };
        name.insert(0, schema);
    }
}
