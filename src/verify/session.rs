//! Statements that are not about data: transactions, SET and SHOW; and which commands there are.
//!
//! They are sent as they are: both trees must be equal.

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::bare;
use super::proof::{Checked, Proof, differs, unsupported};
use super::setting::{argument, only_setting};
use super::variables::{CUSTOM_PREFIX, VARIABLES, Values, Variable};
use crate::isolate::refusal::{Reason, Refusal};
use crate::isolate::setting::Argument;

/// Refuses a command that tenants may not use, before anything else is looked at.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "every command that is not listed is refused"
)]
pub(super) fn permitted(statement: &NodeEnum) -> Checked {
    match statement {
        NodeEnum::SelectStmt(_)
        | NodeEnum::InsertStmt(_)
        | NodeEnum::UpdateStmt(_)
        | NodeEnum::DeleteStmt(_)
        | NodeEnum::MergeStmt(_)
        | NodeEnum::CopyStmt(_)
        | NodeEnum::TransactionStmt(_)
        | NodeEnum::VariableSetStmt(_)
        | NodeEnum::VariableShowStmt(_)
        | NodeEnum::ClosePortalStmt(_)
        | NodeEnum::ConstraintsSetStmt(_)
        | NodeEnum::DeallocateStmt(_)
        | NodeEnum::DeclareCursorStmt(_)
        | NodeEnum::DiscardStmt(_)
        | NodeEnum::ExecuteStmt(_)
        | NodeEnum::ExplainStmt(_)
        | NodeEnum::FetchStmt(_)
        | NodeEnum::LockStmt(_)
        | NodeEnum::PrepareStmt(_)
        | NodeEnum::TruncateStmt(_)
        | NodeEnum::UnlistenStmt(_) => Ok(()),
        other => Err(Reason::CommandNotAllowed {
            command: command(&bare::name_of(other)),
        }
        .into()),
    }
}

/// A refusal of a command by its name.
pub(super) fn not_allowed(command: &str) -> Refusal {
    Reason::CommandNotAllowed {
        command: command.to_owned(),
    }
    .into()
}

/// SQL's word for a kind of statement.
fn command(kind: &str) -> String {
    let known = match kind {
        "CheckPointStmt" => "CHECKPOINT",
        "CreateStmt" => "CREATE TABLE",
        "CreateSeqStmt" => "CREATE SEQUENCE",
        "CreateTrigStmt" => "CREATE TRIGGER",
        "CreatedbStmt" => "CREATE DATABASE",
        "DefineStmt" => "CREATE TYPE",
        "DropdbStmt" => "DROP DATABASE",
        "IndexStmt" => "CREATE INDEX",
        "RefreshMatViewStmt" => "REFRESH MATERIALIZED VIEW",
        "RenameStmt" => "ALTER .. RENAME",
        "RuleStmt" => "CREATE RULE",
        "ViewStmt" => "CREATE VIEW",
        _ => "",
    };
    if !known.is_empty() {
        return known.to_owned();
    }
    let mut words = String::new();
    for c in kind.trim_end_matches("Stmt").chars() {
        if c.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(c.to_ascii_uppercase());
    }
    words
}

impl Proof<'_> {
    /// Proves a whole statement.
    pub(super) fn statement(&mut self, original: &NodeEnum, rewritten: &NodeEnum) -> Checked {
        match (original, rewritten) {
            (NodeEnum::TransactionStmt(transaction), _) => {
                transaction_control(transaction)?;
                identical(original, rewritten)
            }
            (NodeEnum::VariableSetStmt(set), _) => {
                self.variable_set(set)?;
                identical(original, rewritten)
            }
            (NodeEnum::VariableShowStmt(show), _) => {
                let pg::VariableShowStmt { name } = show;
                variable(name)?;
                identical(original, rewritten)
            }
            (NodeEnum::SelectStmt(o), NodeEnum::SelectStmt(r)) => match only_setting(o) {
                Some(setting) => self.sets(&setting, (o, r)),
                None => self.command(original, rewritten),
            },
            (NodeEnum::CopyStmt(o), NodeEnum::CopyStmt(r)) => {
                self.copying = Some(self.copy(o, r)?);
                Ok(())
            }
            _ => self.command(original, rewritten),
        }
    }

    fn variable_set(&self, set: &pg::VariableSetStmt) -> Checked {
        let pg::VariableSetStmt {
            kind,
            name,
            args,
            jumble_args: _,
            is_local: _,
            location: _,
        } = set;
        let forbidden = || Reason::VariableNotAllowed {
            variable: name.clone(),
        };
        match pg::VariableSetKind::try_from(*kind) {
            Ok(pg::VariableSetKind::VarSetMulti)
                if matches!(name.as_str(), "TRANSACTION" | "SESSION CHARACTERISTICS") =>
            {
                transaction_modes(args)
            }
            Ok(pg::VariableSetKind::VarResetAll) => Ok(()),
            Ok(pg::VariableSetKind::VarSetValue) => {
                let allowed = variable(name)?;
                let value = |node| match argument(node)? {
                    Argument::Constant(text) | Argument::Interval { text, fields: _ } => Some(text),
                };
                let values = args
                    .iter()
                    .map(value)
                    .collect::<Option<Vec<String>>>()
                    .ok_or_else(forbidden)?;
                if self.may_be_set(allowed, &values) {
                    Ok(())
                } else {
                    Err(forbidden().into())
                }
            }
            Ok(pg::VariableSetKind::VarSetDefault | pg::VariableSetKind::VarReset) => {
                match variable(name)?.values {
                    Values::None => Err(forbidden().into()),
                    Values::Any | Values::OneOf(_) | Values::SearchPath => Ok(()),
                }
            }
            Ok(
                pg::VariableSetKind::Undefined
                | pg::VariableSetKind::VarSetCurrent
                | pg::VariableSetKind::VarSetMulti,
            )
            | Err(_) => Err(forbidden().into()),
        }
    }

    pub(super) fn may_be_set(&self, variable: Variable, values: &[String]) -> bool {
        match variable.values {
            Values::Any => true,
            Values::None => false,
            Values::OneOf(allowed) => match values {
                [value] => allowed.contains(&value.to_ascii_lowercase().as_str()),
                _ => false,
            },
            // Names are resolved along the catalog's path; another one would be another database.
            Values::SearchPath => values
                .iter()
                .filter(|schema| *schema != "$user")
                .eq(&self.catalog().search_path),
        }
    }
}

pub(super) fn identical(original: &NodeEnum, rewritten: &NodeEnum) -> Checked {
    if bare::same(original, rewritten)? {
        Ok(())
    } else {
        Err(differs("a statement that is sent as it is"))
    }
}

/// The listed parameter of this name.
pub(super) fn variable(name: &str) -> Checked<Variable> {
    let lower = name.to_ascii_lowercase();
    let custom = Variable {
        name: CUSTOM_PREFIX,
        values: Values::Any,
    };
    VARIABLES
        .iter()
        .copied()
        .find(|variable| variable.name == lower)
        .or_else(|| lower.starts_with(CUSTOM_PREFIX).then_some(custom))
        .ok_or_else(|| {
            Reason::VariableNotAllowed {
                variable: name.to_owned(),
            }
            .into()
        })
}

pub(super) fn constant(node: &Node) -> Option<String> {
    let Some(NodeEnum::AConst(constant)) = &node.node else {
        return None;
    };
    match constant.val.as_ref()? {
        pg::a_const::Val::Ival(pg::Integer { ival }) => Some(ival.to_string()),
        pg::a_const::Val::Fval(pg::Float { fval }) => Some(fval.clone()),
        pg::a_const::Val::Boolval(pg::Boolean { boolval }) => Some(boolval.to_string()),
        pg::a_const::Val::Sval(pg::String { sval }) => Some(sval.clone()),
        pg::a_const::Val::Bsval(_) => None,
    }
}

/// `ISOLATION LEVEL`, `READ ONLY` and `DEFERRABLE`, with constants.
fn transaction_modes(modes: &[Node]) -> Checked {
    for mode in modes {
        let known = match &mode.node {
            Some(NodeEnum::DefElem(mode)) => {
                matches!(
                    mode.defname.as_str(),
                    "transaction_isolation" | "transaction_read_only" | "transaction_deferrable"
                ) && mode.arg.as_deref().and_then(constant).is_some()
            }
            Some(_) | None => false,
        };
        if !known {
            return Err(unsupported("this transaction mode"));
        }
    }
    Ok(())
}

fn transaction_control(transaction: &pg::TransactionStmt) -> Checked {
    let pg::TransactionStmt {
        kind,
        options,
        savepoint_name: _,
        gid,
        chain: _,
        location: _,
    } = transaction;
    let two_phase = || not_allowed("PREPARE TRANSACTION");
    match pg::TransactionStmtKind::try_from(*kind) {
        Ok(
            pg::TransactionStmtKind::TransStmtBegin
            | pg::TransactionStmtKind::TransStmtStart
            | pg::TransactionStmtKind::TransStmtCommit
            | pg::TransactionStmtKind::TransStmtRollback
            | pg::TransactionStmtKind::TransStmtSavepoint
            | pg::TransactionStmtKind::TransStmtRelease
            | pg::TransactionStmtKind::TransStmtRollbackTo,
        ) if gid.is_empty() => transaction_modes(options),
        Ok(
            pg::TransactionStmtKind::TransStmtBegin
            | pg::TransactionStmtKind::TransStmtStart
            | pg::TransactionStmtKind::TransStmtCommit
            | pg::TransactionStmtKind::TransStmtRollback
            | pg::TransactionStmtKind::TransStmtSavepoint
            | pg::TransactionStmtKind::TransStmtRelease
            | pg::TransactionStmtKind::TransStmtRollbackTo
            | pg::TransactionStmtKind::TransStmtPrepare
            | pg::TransactionStmtKind::TransStmtCommitPrepared
            | pg::TransactionStmtKind::TransStmtRollbackPrepared
            | pg::TransactionStmtKind::Undefined,
        )
        | Err(_) => Err(two_phase()),
    }
}
