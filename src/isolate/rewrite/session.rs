//! Session variables: nothing in SET and RESET is rewritten, but the session has to know what they do.

use super::{Rewritten, names};
use crate::isolate::refusal::Reason;
use crate::isolate::{Kind, SetScope};
use crate::sql::ast::{
    ContextModifier, Expr, ObjectName, Reset, ResetStatement, Set, Statement, UnaryOperator, Value,
};

/// SET and RESET. Which variables may be named, the verifier knows.
#[expect(clippy::wildcard_enum_match_arm, reason = "only called for the above")]
pub(super) fn variable(statement: &Statement) -> Rewritten<Kind> {
    match statement {
        Statement::Set(set) => set_variable(set),
        Statement::Reset(ResetStatement {
            reset: Reset::ConfigurationParameter(name),
        }) => Ok(Kind::Reset {
            variable: variable_name(name)?,
        }),
        Statement::Reset(ResetStatement { reset: Reset::ALL }) => Err(construct("RESET ALL")),
        Statement::Reset(ResetStatement {
            reset: Reset::SessionAuthorization,
        }) => Err(not_allowed("session_authorization")),
        _ => Err(construct("this form of SET")),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "no PostgreSQL: refused")]
fn set_variable(set: &Set) -> Rewritten<Kind> {
    match set {
        Set::SingleAssignment {
            scope,
            hivevar: false,
            variable,
            values,
        } => {
            let scope = match scope {
                None | Some(ContextModifier::Session) => SetScope::Session,
                Some(ContextModifier::Local) => SetScope::Local,
                Some(ContextModifier::Global) => return Err(construct("SET GLOBAL")),
            };
            let variable = variable_name(variable)?;
            if let [Expr::Identifier(word)] = values.as_slice()
                && word.quote_style.is_none()
                && word.value.eq_ignore_ascii_case("default")
            {
                return match scope {
                    SetScope::Session => Ok(Kind::Reset { variable }),
                    SetScope::Local => Err(construct("SET LOCAL TO DEFAULT")),
                };
            }
            let values: Rewritten<Vec<String>> = values.iter().map(value_text).collect();
            Ok(Kind::Set {
                scope,
                variable,
                value: values?.join(", "),
            })
        }
        Set::SetTimeZone { local, value } => {
            let scope = if *local {
                SetScope::Local
            } else {
                SetScope::Session
            };
            if let Expr::Identifier(word) = value
                && (word.value.eq_ignore_ascii_case("default")
                    || word.value.eq_ignore_ascii_case("local"))
            {
                return Ok(Kind::Reset {
                    variable: "timezone".to_owned(),
                });
            }
            Ok(Kind::Set {
                scope,
                variable: "timezone".to_owned(),
                value: value_text(value)?,
            })
        }
        Set::SetTransaction {
            modes: _,
            snapshot: None,
            session: false,
        } => Ok(Kind::SetTransaction),
        Set::SetTransaction { .. } => Err(Reason::CommandNotAllowed {
            command: "SET TRANSACTION SNAPSHOT".to_owned(),
        }
        .into()),
        Set::SetNames {
            charset_name,
            collation_name: None,
        } => Ok(Kind::Set {
            scope: SetScope::Session,
            variable: "client_encoding".to_owned(),
            value: charset_name.value.clone(),
        }),
        Set::SetRole { .. } => Err(not_allowed("role")),
        Set::SetSessionAuthorization(_) => Err(not_allowed("session_authorization")),
        _ => Err(construct("this form of SET")),
    }
}

/// `app.tenant` and `work_mem` alike, in lower case.
fn variable_name(name: &ObjectName) -> Rewritten<String> {
    let (prefix, name) = names::relation(name)?;
    let name = prefix.map_or(name.clone(), |prefix| format!("{prefix}.{name}"));
    Ok(name.to_ascii_lowercase())
}

/// A value as SHOW would take it: a word, a number or a string.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "no value of a variable: refused"
)]
fn value_text(value: &Expr) -> Rewritten<String> {
    match value {
        Expr::Identifier(word) => Ok(word.value.clone()),
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => value_text(expr).map(|text| format!("-{text}")),
        Expr::Value(value) => match &value.value {
            Value::Number(number, false) => Ok(number.clone()),
            // The text is as written: a doubled quote stands for one.
            Value::SingleQuotedString(text) => Ok(text.replace("''", "'")),
            Value::Boolean(value) => Ok(value.to_string()),
            _ => Err(construct("this value in SET")),
        },
        _ => Err(construct("this value in SET")),
    }
}

fn construct(construct: &str) -> crate::isolate::refusal::Refusal {
    Reason::ConstructNotSupported {
        construct: construct.to_owned(),
    }
    .into()
}

fn not_allowed(variable: &str) -> crate::isolate::refusal::Refusal {
    Reason::VariableNotAllowed {
        variable: variable.to_owned(),
    }
    .into()
}
