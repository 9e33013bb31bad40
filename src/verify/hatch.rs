//! The statements of an admin that are meant for Tenantry itself: SET, RESET and SHOW of the variables
//! named `tenantry.*`.
//!
//! In: the bytes of a Query or Parse message. Out: its one statement, printed anew; or that there is
//! none of them in it.
//!
//! # Invariants
//! 1. What is sent holds no word of the client's but a checked value.
//! 2. Such a statement stands alone in its message: what comes before it and what comes after it would be
//!    under different grants.

use std::collections::BTreeSet;

use pg_query::protobuf as pg;
use pg_query::{NodeEnum, ParserOptions};

use super::VerifiedStatement;
use super::session::constant;
use crate::isolate::kind::{Kind, SetScope};
use crate::isolate::refusal::{Reason, Refusal};
use crate::isolate::template::{Slot, SlotType};
use crate::tenant::TenantType;

/// The beginning of the names of Tenantry's own variables.
const PREFIX: &str = "tenantry.";

/// The variables that there are.
const VARIABLES: [&str; 3] = ["tenantry.bypass", "tenantry.on_error", "tenantry.tenant"];

/// The stack for reading, in bytes; only what is used of it is ever touched.
const STACK_BYTES: usize = 64 * 1024 * 1024;

/// The message's one statement, if it is one about Tenantry's own variables. What else the message is,
/// or what is wrong with it, is not found out here.
pub fn own_variable(sql: &[u8]) -> Result<Option<(Kind, VerifiedStatement)>, Refusal> {
    let Ok(text) = std::str::from_utf8(sql) else {
        return Ok(None);
    };
    // A name may be quoted and escaped; without this word it would have to be U&"".
    let lower = text.to_ascii_lowercase();
    if text.contains('\0') || !(lower.contains("tenantry") || lower.contains("u&")) {
        return Ok(None);
    }
    stacker::grow(STACK_BYTES, || read(text))
}

fn read(text: &str) -> Result<Option<(Kind, VerifiedStatement)>, Refusal> {
    let Ok(tree) = pg_query::parse(text, ParserOptions::DEFAULT) else {
        return Ok(None);
    };
    let statements: Vec<&NodeEnum> = tree
        .protobuf
        .stmts
        .iter()
        .filter_map(|raw| raw.stmt.as_ref()?.node.as_ref())
        .collect();
    if !statements.iter().any(|statement| is_own(statement)) {
        return Ok(None);
    }
    let [statement] = statements.as_slice() else {
        return Err(unsupported(
            "a variable of Tenantry beside other statements",
        ));
    };
    one(statement).map(Some)
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "other statements name no variable, or are refused elsewhere"
)]
fn is_own(statement: &NodeEnum) -> bool {
    let name = match statement {
        NodeEnum::VariableSetStmt(set) => &set.name,
        NodeEnum::VariableShowStmt(show) => &show.name,
        _ => return false,
    };
    name.to_ascii_lowercase().starts_with(PREFIX)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "only called for these")]
fn one(statement: &NodeEnum) -> Result<(Kind, VerifiedStatement), Refusal> {
    match statement {
        NodeEnum::VariableSetStmt(set) => set_variable(set),
        NodeEnum::VariableShowStmt(show) => {
            let pg::VariableShowStmt { name } = show;
            let variable = known(name)?;
            // The answer is put in where a tenant's key stands elsewhere.
            let text = format!("SELECT $1::pg_catalog.text AS \"{variable}\"");
            let slot = Slot {
                offset: "SELECT ".len(),
                number: 1,
                slot_type: SlotType::One(TenantType::Text),
            };
            Ok((
                Kind::Show {
                    variable: variable.to_owned(),
                },
                statement_of(text, vec![slot]),
            ))
        }
        _ => Err(unsupported("this statement")),
    }
}

fn set_variable(set: &pg::VariableSetStmt) -> Result<(Kind, VerifiedStatement), Refusal> {
    let pg::VariableSetStmt {
        kind,
        name,
        args,
        jumble_args: _,
        is_local,
        location: _,
    } = set;
    let variable = known(name)?;
    match pg::VariableSetKind::try_from(*kind) {
        Ok(pg::VariableSetKind::VarSetValue) => {
            let [value] = args.as_slice() else {
                return Err(invalid(variable, ".."));
            };
            let value = constant(value).ok_or_else(|| invalid(variable, ".."))?;
            if !value.chars().all(is_plain) {
                return Err(invalid(variable, &value));
            }
            let (scope, word) = if *is_local {
                (SetScope::Local, "LOCAL")
            } else {
                (SetScope::Session, "SESSION")
            };
            let text = format!("SET {word} {variable} TO '{value}'");
            Ok((
                Kind::Set {
                    scope,
                    variable: variable.to_owned(),
                    value,
                },
                statement_of(text, Vec::new()),
            ))
        }
        Ok(pg::VariableSetKind::VarSetDefault) if *is_local => {
            Err(unsupported("SET LOCAL TO DEFAULT"))
        }
        Ok(pg::VariableSetKind::VarSetDefault | pg::VariableSetKind::VarReset) => Ok((
            Kind::Reset {
                variable: variable.to_owned(),
            },
            statement_of(format!("RESET {variable}"), Vec::new()),
        )),
        Ok(
            pg::VariableSetKind::Undefined
            | pg::VariableSetKind::VarSetCurrent
            | pg::VariableSetKind::VarSetMulti
            | pg::VariableSetKind::VarResetAll,
        )
        | Err(_) => Err(unsupported("this form of SET")),
    }
}

/// What the names of grants and tenants are made of.
fn is_plain(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.')
}

fn known(name: &str) -> Result<&'static str, Refusal> {
    let lower = name.to_ascii_lowercase();
    VARIABLES
        .into_iter()
        .find(|variable| *variable == lower)
        .ok_or_else(|| {
            Reason::VariableNotAllowed {
                variable: name.to_owned(),
            }
            .into()
        })
}

fn statement_of(text: String, slots: Vec<Slot>) -> VerifiedStatement {
    VerifiedStatement {
        patterns: std::sync::Arc::default(),
        text,
        client_parameters: 0,
        tenant_parameters: slots.iter().map(|slot| slot.slot_type).collect(),
        slots,
        scope: None,
        uses: BTreeSet::new(),
        copying: None,
    }
}

fn unsupported(construct: &str) -> Refusal {
    Reason::ConstructNotSupported {
        construct: construct.to_owned(),
    }
    .into()
}

fn invalid(variable: &str, value: &str) -> Refusal {
    Reason::AsPostgres {
        sqlstate: "22023",
        message: format!("invalid value for parameter \"{variable}\": \"{value}\""),
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text that is sent, `-` if it is no such statement, or the code of the refusal.
    fn sent(sql: &str) -> String {
        match own_variable(sql.as_bytes()) {
            Ok(Some((_, statement))) => statement.text().to_owned(),
            Ok(None) => "-".to_owned(),
            Err(refusal) => refusal.code().to_owned(),
        }
    }

    #[test]
    fn own_variables_are_recognised_however_they_are_written() {
        for (sql, expected) in [
            (
                "SET tenantry.bypass = 'inc-123'",
                "SET SESSION tenantry.bypass TO 'inc-123'",
            ),
            (
                "set /* x */ local \"tenantry\".\"bypass\" to inc_1 -- y",
                "SET LOCAL tenantry.bypass TO 'inc_1'",
            ),
            (
                "SET U&\"\\0074enantry\".bypass = E'inc\\x2d1'",
                "SET SESSION tenantry.bypass TO 'inc-1'",
            ),
            (
                "SET TENANTRY.Bypass = ''",
                "SET SESSION tenantry.bypass TO ''",
            ),
            ("RESET tenantry.bypass;", "RESET tenantry.bypass"),
            ("SET tenantry.bypass TO DEFAULT", "RESET tenantry.bypass"),
            (
                "SHOW tenantry.bypass",
                "SELECT $1::pg_catalog.text AS \"tenantry.bypass\"",
            ),
            ("SET LOCAL tenantry.bypass TO DEFAULT", "TN1004"),
            ("SET tenantry.bypass = 'a', 'b'", "TN2006"),
            ("SET tenantry.bypass = 'a''; SELECT'", "TN2006"),
            ("SET tenantry.bypass = 'a\\'", "TN2006"),
            ("SET tenantry.other = 'a'", "TN4002"),
            ("SET tenantry.bypass FROM CURRENT", "TN1004"),
            ("SET tenantry.bypass = 'a'; SELECT 1", "TN1004"),
            ("SELECT 1; SET LOCAL tenantry.bypass = 'a'", "TN1004"),
            ("SELECT 'tenantry.bypass'", "-"),
            ("SELECT set_config('tenantry.bypass', 'a', false)", "-"),
            ("SET timezone = 'UTC'", "-"),
            ("SET tenantry.bypass = ", "-"),
        ] {
            assert_eq!(sent(sql), expected, "{sql}");
        }
    }
}
