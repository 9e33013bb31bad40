//! The gate for tenants with a database of their own: statements pass as they are, but each is read,
//! classified, and kept inside its database.
//!
//! In: the bytes of a Query or Parse message. Out: statements whose effect on the session is known.
//! A tenant that borrows the upstream's role shares that role with others of the cluster, so what
//! reaches beyond the database is refused by name ([`Reach::BorrowedRole`]); one with a role of its
//! own is kept apart by PostgreSQL's own privileges.
//!
//! # Invariants
//! 1. A command that is not listed is refused.
//! 2. A statement's text begins and ends with a token: statements can be joined with semicolons.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use pg_query::protobuf::{
    ClosePortalStmt, CopyStmt, DeclareCursorStmt, DiscardMode, RangeVar, ScanToken, Token,
    TransactionStmt, TransactionStmtKind, VariableSetKind, VariableSetStmt,
};
use pg_query::{Node, NodeEnum, ParserOptions};

use super::setting::{only_setting, value_of};
use super::{VerifiedStatement, called};
use crate::isolate::copying::{CopyIn, Copying};
use crate::isolate::kind::{Kind, SetScope, TransactionCommand};
use crate::isolate::refusal::{Reason, Refusal};

/// How far a tenant's server role reaches.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Reach {
    /// The upstream's role, which other tenants use, too.
    BorrowedRole,
    /// A role that belongs to the tenant.
    OwnRole,
}

/// A longer message is refused.
const STATEMENT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bind counts parameters with 16 bits.
const PARAMETERS_MAX: usize = 65_535;

/// Reads and classifies each statement of a message.
pub fn gate(
    sql: &[u8],
    declared_types: usize,
    reach: Reach,
) -> Result<Vec<(Kind, VerifiedStatement)>, Refusal> {
    if sql.len() > STATEMENT_BYTES_MAX {
        return Err(Reason::TooLarge {
            what: "bytes",
            limit: STATEMENT_BYTES_MAX,
        }
        .into());
    }
    let text = std::str::from_utf8(sql).map_err(|_invalid| Reason::WrongEncoding)?;
    if text.contains('\0') {
        return Err(Reason::WrongEncoding.into());
    }
    // pg_query makes a slice of a null pointer where there is no token at all.
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    // The tree is decoded and dropped by recursion.
    stacker::grow(STACK_BYTES, || gate_text(text, declared_types, reach))
}

/// The stack for reading, in bytes; only what is used of it is ever touched.
const STACK_BYTES: usize = 64 * 1024 * 1024;

fn gate_text(
    text: &str,
    declared_types: usize,
    reach: Reach,
) -> Result<Vec<(Kind, VerifiedStatement)>, Refusal> {
    let tree = pg_query::parse(text, ParserOptions::DEFAULT).map_err(super::reading::syntax)?;
    let tokens = Words::read(text).map_err(super::reading::syntax)?;
    let mut statements = Vec::new();
    for raw in &tree.protobuf.stmts {
        let start = usize::try_from(raw.stmt_location).unwrap_or_default();
        let length = usize::try_from(raw.stmt_len).unwrap_or_default();
        let end = if length == 0 {
            text.len()
        } else {
            start.saturating_add(length)
        };
        let words = tokens.within(start..end);
        let Some(range) = words.range() else { continue };
        let Some(node) = raw.stmt.as_ref().and_then(|node| node.node.as_ref()) else {
            continue;
        };
        let kind =
            classify(node, &words, reach).map_err(|reason| Refusal::at(reason, range.start))?;
        let client_parameters = words.parameters()?.max(declared_types);
        let client_parameters = u16::try_from(client_parameters)
            .map_err(|_too_many| Refusal::from(Reason::ParameterNumber))?;
        let statement = VerifiedStatement {
            patterns: Arc::default(),
            text: text.get(range).unwrap_or_default().to_owned(),
            client_parameters,
            tenant_parameters: Vec::new(),
            slots: Vec::new(),
            scope: None,
            uses: BTreeSet::new(),
            copying: copying(node).map(Box::new),
        };
        statements.push((kind, statement));
    }
    Ok(statements)
}

/// The words of a text: tokens without comments.
struct Words<'a> {
    text: &'a str,
    tokens: Vec<ScanToken>,
}

impl<'a> Words<'a> {
    fn read(text: &'a str) -> Result<Self, pg_query::Error> {
        let mut tokens = super::words::tokens(text)?;
        tokens.retain(|token| !matches!(token.token(), Token::SqlComment | Token::CComment));
        Ok(Self { text, tokens })
    }

    fn within(&self, range: Range<usize>) -> Self {
        let first = self
            .tokens
            .partition_point(|token| span(token).start < range.start);
        let behind = self
            .tokens
            .partition_point(|token| span(token).end <= range.end);
        let inside = self.tokens.get(first..behind).unwrap_or_default();
        let mut tokens: Vec<ScanToken> = inside.to_vec();
        while tokens
            .last()
            .is_some_and(|token| token.token() == Token::Ascii59)
        {
            tokens.pop();
        }
        Self {
            text: self.text,
            tokens,
        }
    }

    fn range(&self) -> Option<Range<usize>> {
        Some(span(self.tokens.first()?).start..span(self.tokens.last()?).end)
    }

    /// The highest `$n`.
    fn parameters(&self) -> Result<usize, Refusal> {
        let mut highest = 0;
        for token in self
            .tokens
            .iter()
            .filter(|token| token.token() == Token::Param)
        {
            let range = span(token);
            let start = range.start;
            let number = self.text.get(range).and_then(|text| text.strip_prefix('$'));
            let number: Option<usize> = number.and_then(|number| number.parse().ok());
            let known = number.filter(|number| (1..=PARAMETERS_MAX).contains(number));
            highest =
                highest.max(known.ok_or_else(|| Refusal::at(Reason::ParameterNumber, start))?);
        }
        Ok(highest)
    }

    /// Every identifier, folded. Keywords cannot be the names that are looked for.
    #[expect(clippy::wildcard_enum_match_arm, reason = "other tokens are no names")]
    fn identifiers(&self) -> impl Iterator<Item = Result<String, Reason>> {
        self.tokens.iter().filter_map(|token| {
            let text = self.text.get(span(token)).unwrap_or_default();
            match token.token() {
                Token::Uident => Some(Err(Reason::ConstructNotSupported {
                    construct: "U&\"\" in a name".to_owned(),
                })),
                Token::Ident => Some(Ok(match text.strip_prefix('"') {
                    Some(quoted) => quoted.trim_end_matches('"').replace("\"\"", "\""),
                    None => text.to_ascii_lowercase(),
                })),
                _ => None,
            }
        })
    }

    /// Whether no word is among them that writes, or that makes something which could.
    fn only_read(&self) -> bool {
        !self.tokens.iter().any(|token| {
            matches!(
                token.token(),
                Token::Alter
                    | Token::Create
                    | Token::DeleteP
                    | Token::Insert
                    | Token::Into
                    | Token::Merge
                    | Token::Update
            )
        })
    }

    fn says(&self, names: &[&str]) -> bool {
        self.identifiers()
            .any(|name| name.is_ok_and(|name| is_listed(&name, names)))
    }
}

fn span(token: &ScanToken) -> Range<usize> {
    usize::try_from(token.start).unwrap_or_default()..usize::try_from(token.end).unwrap_or_default()
}

/// Whether a name is in a list, in which a `*` at the end of an entry stands for any ending.
pub(super) fn is_listed(name: &str, list: &[&str]) -> bool {
    list.iter().any(|entry| match entry.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == *entry,
    })
}

/// Names that reach beyond the database with a role that others use, too: other sessions and
/// transactions, the server's files and settings, other servers, and whatever runs SQL from text.
const BEYOND: [&str; 44] = [
    "connectby*",
    "crosstab*",
    "cursor_to_xml*",
    "database_to_xml*",
    "dblink*",
    "lo_export",
    "lo_import",
    "pg_authid",
    "pg_backend_memory_contexts",
    "pg_cancel_backend",
    "pg_create_*",
    "pg_current_logfile",
    "pg_drop_replication_slot",
    "pg_export_snapshot",
    "pg_file_*",
    "pg_hba_file_rules",
    "pg_ident_file_mappings",
    "pg_lock_status",
    "pg_locks",
    "pg_logical_*",
    "pg_log_backend_memory_contexts",
    "pg_ls_*",
    "pg_prepared_xact*",
    "pg_promote",
    "pg_read_*",
    "pg_reload_conf",
    "pg_replication_*",
    "pg_rotate_logfile",
    "pg_shadow",
    "pg_shmem_allocations",
    "pg_stat_*",
    "pg_switch_wal",
    "pg_terminate_backend",
    "pg_user_mapping*",
    "postgres_fdw*",
    "query_to_xml*",
    "schema_to_xml*",
    "table_to_xml*",
    "ts_rewrite",
    "ts_stat",
    "xpath_table",
    "pg_ls_dir",
    "pg_signal_*",
    "pg_wal_*",
];

/// Functions that leave something in the session.
const SESSION_FUNCTIONS: [&str; 4] = [
    "pg_advisory_lock*",
    "pg_try_advisory_lock*",
    "set_config",
    "setseed",
];

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the next function refuses what it does not list"
)]
fn classify(node: &NodeEnum, words: &Words<'_>, reach: Reach) -> Result<Kind, Reason> {
    if reach == Reach::BorrowedRole {
        for name in words.identifiers() {
            let name = name?;
            if is_listed(&name, &BEYOND) {
                return Err(Reason::RelationNotAllowed {
                    relation: name,
                    closed: crate::tenant::Closed::Denied,
                });
            }
        }
    }
    if words.says(&["pg_settings"]) && !words.only_read() {
        // A rule of that view sets variables.
        return Err(Reason::RelationNotAllowed {
            relation: "pg_settings".to_owned(),
            closed: crate::tenant::Closed::Denied,
        });
    }
    if reach == Reach::BorrowedRole {
        called::only_known(node)?;
    }
    let kind = match node {
        NodeEnum::TransactionStmt(statement) => transaction(statement)?,
        NodeEnum::VariableSetStmt(statement) => variable(statement)?,
        NodeEnum::VariableShowStmt(statement) => Kind::Show {
            variable: statement.name.clone(),
        },
        NodeEnum::CopyStmt(statement) => copy(statement)?,
        NodeEnum::DiscardStmt(statement) => match DiscardMode::try_from(statement.target) {
            Ok(DiscardMode::DiscardPlans | DiscardMode::DiscardSequences) => Kind::Data,
            Ok(DiscardMode::DiscardTemp) => Kind::Pins,
            Ok(DiscardMode::DiscardAll | DiscardMode::Undefined) | Err(_) => Kind::ClearsSession,
        },
        _ => command(node, reach)?,
    };
    let role = words.says(&["set_config"]) && reach == Reach::BorrowedRole;
    if role && !names_its_variable(words) {
        return Err(Reason::FunctionNotAllowed {
            function: "pg_catalog.set_config".to_owned(),
        });
    }
    // Who makes anything in the temporary schema, by whatever command, leaves the schema itself.
    if kind == Kind::Data && words.says(&["pg_temp"]) {
        return Ok(Kind::Pins);
    }
    if kind == Kind::Data && words.says(&SESSION_FUNCTIONS) {
        return Ok(set_by_function(node).unwrap_or(Kind::Pins));
    }
    Ok(kind)
}

/// The SET that a query is which calls `set_config` with constants, and does nothing else.
fn set_by_function(node: &NodeEnum) -> Option<Kind> {
    let NodeEnum::SelectStmt(select) = node else {
        return None;
    };
    let setting = only_setting(select)?;
    let value = setting.value?;
    let is_open =
        is_usual(&setting.variable, &value) || variable_reason(&setting.variable).is_none();
    is_open.then_some(Kind::Set {
        scope: if setting.is_local {
            SetScope::Local
        } else {
            SetScope::Session
        },
        variable: setting.variable,
        value,
    })
}

/// `set_config('role', ..)` is SET ROLE: the variable must be a literal, and another one.
fn names_its_variable(words: &Words<'_>) -> bool {
    let texts: Vec<(&str, Token)> = words
        .tokens
        .iter()
        .map(|token| {
            (
                words.text.get(span(token)).unwrap_or_default(),
                token.token(),
            )
        })
        .collect();
    texts
        .windows(4)
        .filter(|window| is_set_config(window))
        .count()
        == texts
            .iter()
            .filter(|(text, _)| text.trim_matches('"') == "set_config")
            .count()
}

fn is_set_config(window: &[(&str, Token)]) -> bool {
    let [(name, _), (open, _), (variable, Token::Sconst), (",", _)] = window else {
        return false;
    };
    let variable = variable.trim_matches('\'').to_ascii_lowercase();
    *name == "set_config" && *open == "(" && variable_reason(&variable).is_none()
}

/// Commands that only act within the database. Everything else is refused.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "what is not listed is refused"
)]
fn command(node: &NodeEnum, reach: Reach) -> Result<Kind, Reason> {
    let kind = match node {
        NodeEnum::SelectStmt(statement) => match &statement.into_clause {
            Some(into) => lasting(into.rel.as_ref()),
            None => Kind::Data,
        },
        NodeEnum::InsertStmt(_)
        | NodeEnum::UpdateStmt(_)
        | NodeEnum::DeleteStmt(_)
        | NodeEnum::MergeStmt(_)
        | NodeEnum::ExplainStmt(_)
        | NodeEnum::TruncateStmt(_)
        | NodeEnum::UnlistenStmt(_)
        | NodeEnum::LockStmt(_)
        | NodeEnum::NotifyStmt(_)
        | NodeEnum::ConstraintsSetStmt(_)
        | NodeEnum::AlterTableStmt(_)
        | NodeEnum::AlterDomainStmt(_)
        | NodeEnum::AlterEnumStmt(_)
        | NodeEnum::AlterSeqStmt(_)
        | NodeEnum::AlterObjectSchemaStmt(_)
        | NodeEnum::CommentStmt(_)
        | NodeEnum::CompositeTypeStmt(_)
        | NodeEnum::CreateDomainStmt(_)
        | NodeEnum::CreateEnumStmt(_)
        | NodeEnum::CreateRangeStmt(_)
        | NodeEnum::CreateSchemaStmt(_)
        | NodeEnum::CreateStatsStmt(_)
        | NodeEnum::DropStmt(_)
        | NodeEnum::IndexStmt(_)
        | NodeEnum::RefreshMatViewStmt(_)
        | NodeEnum::ReindexStmt(_)
        | NodeEnum::RenameStmt(_)
        | NodeEnum::RuleStmt(_)
        | NodeEnum::VacuumStmt(_) => Kind::Data,
        NodeEnum::CreateStmt(statement) => lasting(statement.relation.as_ref()),
        NodeEnum::CreateSeqStmt(statement) => lasting(statement.sequence.as_ref()),
        NodeEnum::ViewStmt(statement) => lasting(statement.view.as_ref()),
        NodeEnum::CreateTableAsStmt(statement) => {
            lasting(statement.into.as_ref().and_then(|into| into.rel.as_ref()))
        }
        NodeEnum::ClosePortalStmt(statement) => closed(statement),
        NodeEnum::DeclareCursorStmt(statement) => declared(statement),
        NodeEnum::FetchStmt(_) => Kind::Fetch,
        NodeEnum::DeallocateStmt(statement) => {
            Kind::Deallocate((!statement.isall).then(|| statement.name.clone()))
        }
        NodeEnum::PrepareStmt(_) | NodeEnum::ExecuteStmt(_) | NodeEnum::ListenStmt(_) => Kind::Pins,
        // These run code that the gate does not see.
        NodeEnum::CallStmt(_)
        | NodeEnum::CreateFunctionStmt(_)
        | NodeEnum::CreateTrigStmt(_)
        | NodeEnum::DoStmt(_)
            if reach == Reach::OwnRole =>
        {
            Kind::Pins
        }
        NodeEnum::GrantStmt(_) | NodeEnum::CreateExtensionStmt(_) if reach == Reach::OwnRole => {
            Kind::Data
        }
        _ => {
            return Err(Reason::CommandNotAllowed {
                command: "this command".to_owned(),
            });
        }
    };
    Ok(kind)
}

/// `CURSOR_OPT_HOLD` of parsenodes.h.
const CURSOR_OPT_HOLD: i32 = 0x0020;

fn declared(statement: &DeclareCursorStmt) -> Kind {
    if statement.options & CURSOR_OPT_HOLD == 0 {
        Kind::Cursor
    } else {
        Kind::Hold(statement.portalname.clone())
    }
}

fn closed(statement: &ClosePortalStmt) -> Kind {
    let name = Some(statement.portalname.clone());
    Kind::CloseCursor(name.filter(|name| !name.is_empty()))
}

/// A relation that is made: a temporary one stays in the session.
fn lasting(relation: Option<&RangeVar>) -> Kind {
    match relation {
        Some(relation) if relation.relpersistence == "p" && relation.schemaname != "pg_temp" => {
            Kind::Data
        }
        Some(_) | None => Kind::Pins,
    }
}

fn transaction(statement: &TransactionStmt) -> Result<Kind, Reason> {
    let command = match statement.kind() {
        TransactionStmtKind::TransStmtBegin | TransactionStmtKind::TransStmtStart => {
            TransactionCommand::Begin
        }
        TransactionStmtKind::TransStmtCommit if statement.chain => {
            TransactionCommand::CommitAndChain
        }
        TransactionStmtKind::TransStmtCommit => TransactionCommand::Commit,
        TransactionStmtKind::TransStmtRollback if statement.chain => {
            TransactionCommand::RollbackAndChain
        }
        TransactionStmtKind::TransStmtRollback => TransactionCommand::Rollback,
        TransactionStmtKind::TransStmtSavepoint => TransactionCommand::Savepoint,
        TransactionStmtKind::TransStmtRelease => TransactionCommand::Release,
        TransactionStmtKind::TransStmtRollbackTo => TransactionCommand::RollbackTo,
        TransactionStmtKind::TransStmtPrepare
        | TransactionStmtKind::TransStmtCommitPrepared
        | TransactionStmtKind::TransStmtRollbackPrepared
        | TransactionStmtKind::Undefined => {
            return Err(Reason::CommandNotAllowed {
                command: "PREPARE TRANSACTION".to_owned(),
            });
        }
    };
    Ok(Kind::Transaction(command))
}

/// Variables that would change how text is read, or whose session it is.
fn variable_reason(name: &str) -> Option<Reason> {
    const CLOSED: [&str; 7] = [
        "backslash_quote",
        "client_encoding",
        "role",
        "session_authorization",
        "session_replication_role",
        "standard_conforming_strings",
        "transform_null_equals",
    ];
    (CLOSED.contains(&name) || name.starts_with("tenantry.")).then(|| Reason::VariableNotAllowed {
        variable: name.to_owned(),
    })
}

fn other_form() -> Reason {
    Reason::ConstructNotSupported {
        construct: "this form of SET".to_owned(),
    }
}

/// The default that a transaction mode sets, and its value.
fn characteristic(mode: &Node) -> Option<(String, String)> {
    let Some(NodeEnum::DefElem(mode)) = &mode.node else {
        return None;
    };
    let value = super::session::constant(mode.arg.as_deref()?)?;
    let value = match value.as_str() {
        "0" => "off".to_owned(),
        "1" => "on".to_owned(),
        _ => value,
    };
    Some((format!("default_{}", mode.defname), value))
}

fn variable(statement: &VariableSetStmt) -> Result<Kind, Reason> {
    let name = statement.name.to_ascii_lowercase();
    if let Some(reason) = variable_reason(&name).filter(|_| !changes_nothing(&name, statement)) {
        return Err(reason);
    }
    let scope = if statement.is_local {
        SetScope::Local
    } else {
        SetScope::Session
    };
    match statement.kind() {
        VariableSetKind::VarSetValue => Ok(Kind::Set {
            scope,
            variable: name,
            value: value_of(statement).ok_or_else(other_form)?,
        }),
        // It lasts as long as the transaction, which only the server knows of.
        VariableSetKind::VarSetDefault if statement.is_local => Ok(Kind::Set {
            scope,
            variable: name,
            value: String::new(),
        }),
        VariableSetKind::VarSetDefault | VariableSetKind::VarReset => {
            Ok(Kind::Reset { variable: name })
        }
        VariableSetKind::VarResetAll => Ok(Kind::ResetAll),
        VariableSetKind::VarSetMulti if name == "transaction" => Ok(Kind::SetTransaction),
        VariableSetKind::VarSetMulti if name == "session characteristics" => {
            let values: Option<_> = statement.args.iter().map(characteristic).collect();
            values.map(Kind::Characteristics).ok_or_else(other_form)
        }
        VariableSetKind::VarSetMulti
        | VariableSetKind::VarSetCurrent
        | VariableSetKind::Undefined => Err(other_form()),
    }
}

/// Whether a variable gets the value that it has from the beginning of the connection on.
fn changes_nothing(name: &str, statement: &VariableSetStmt) -> bool {
    let is_usual = |value: String| is_usual(name, &value);
    match statement.kind() {
        VariableSetKind::VarSetDefault | VariableSetKind::VarReset => USUAL.contains(&name),
        VariableSetKind::VarSetValue => value_of(statement).is_some_and(is_usual),
        VariableSetKind::VarResetAll
        | VariableSetKind::VarSetCurrent
        | VariableSetKind::VarSetMulti
        | VariableSetKind::Undefined => false,
    }
}

/// Variables whose value each server connection begins with, whatever the role's and the database's settings.
const USUAL: [&str; 4] = [
    "backslash_quote",
    "client_encoding",
    "standard_conforming_strings",
    "transform_null_equals",
];

/// Whether this is that value.
fn is_usual(name: &str, value: &str) -> bool {
    let value: String = value
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|letter| letter.to_ascii_lowercase())
        .collect();
    match name {
        "backslash_quote" => value == "safeencoding",
        "client_encoding" => matches!(value.as_str(), "utf8" | "unicode"),
        "standard_conforming_strings" => matches!(value.as_str(), "on" | "true" | "yes" | "1"),
        "transform_null_equals" => matches!(value.as_str(), "off" | "false" | "no" | "0"),
        _ => false,
    }
}

/// Which way rows go, if the statement is a COPY; a stream goes through as it is.
fn copying(node: &NodeEnum) -> Option<Copying> {
    let NodeEnum::CopyStmt(statement) = node else {
        return None;
    };
    let relation = statement.relation.as_ref().filter(|_| statement.is_from);
    Some(match relation {
        Some(relation) => Copying::In(Arc::new(CopyIn {
            relation: relation.relname.clone(),
            owner: None,
        })),
        None => Copying::Out,
    })
}

fn copy(statement: &CopyStmt) -> Result<Kind, Reason> {
    if statement.is_program || !statement.filename.is_empty() {
        return Err(Reason::CommandNotAllowed {
            command: "COPY with a file".to_owned(),
        });
    }
    Ok(Kind::Data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(sql: &str, reach: Reach) -> Result<Vec<Kind>, &'static str> {
        match gate(sql.as_bytes(), 0, reach) {
            Ok(statements) => Ok(statements.into_iter().map(|(kind, _)| kind).collect()),
            Err(refusal) => Err(refusal.code()),
        }
    }

    #[test]
    fn a_borrowed_role_does_not_reach_beyond_the_database() {
        let refused = [
            "SELECT query FROM pg_stat_activity",
            "SELECT * FROM \"pg_stat_activity\"",
            "SELECT * FROM U&\"pg\\005fstat_activity\"",
            "SELECT pg_catalog.pg_stat_get_activity(NULL)",
            "CREATE VIEW v AS SELECT * FROM pg_stat_activity",
            "SELECT query_to_xml('select 1', true, true, '')",
            "SELECT pg_terminate_backend(1)",
            "SELECT set_config('role', 'other', false)",
            "SELECT pg_database_size('other')",
            "SELECT * FROM pg_get_replication_slots()",
            "SELECT pg_current_snapshot(), pg_catalog.txid_current_snapshot()",
            "SELECT * FROM pg_control_checkpoint()",
            "CREATE VIEW v AS SELECT pg_current_wal_lsn()",
            "SELECT set_config(name, 'other', false) FROM t",
            "DO $$ BEGIN END $$",
            "SELECT * FROM exec_sql('SELECT query FROM pg_stat_activity')",
            "SELECT CASE WHEN true THEN app.exec_sql('') END FROM t WINDOW w AS (ORDER BY 1)",
            "INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET b = exec_sql('')",
            "ALTER TABLE t ALTER a SET DEFAULT exec_sql('')",
            "UPDATE pg_settings SET setting = 'off' WHERE name = 'standard_conforming_strings'",
            "CREATE VIEW v AS SELECT * FROM pg_settings",
            "WITH w AS (UPDATE pg_settings SET setting = 'off') SELECT 1",
            "ALTER ROLE app PASSWORD 'x'",
            "ALTER SYSTEM SET work_mem = 1",
            "SET ROLE other",
            "SET SESSION AUTHORIZATION other",
            "COPY t TO PROGRAM 'cat'",
            "COPY t TO '/tmp/x'",
            "LOAD 'x'",
            "CREATE DATABASE x",
            "CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p",
            "PREPARE TRANSACTION 'x'",
        ];
        for sql in refused {
            assert!(kinds(sql, Reach::BorrowedRole).is_err(), "{sql}");
        }
    }

    #[test]
    fn the_session_is_told_what_a_statement_leaves() {
        let set = |variable: &str, value: &str| Kind::Set {
            scope: SetScope::Session,
            variable: variable.to_owned(),
            value: value.to_owned(),
        };
        let cases = [
            ("SELECT 1; /* x */ -- y", vec![Kind::Data]),
            (
                "BEGIN; COMMIT",
                vec![
                    Kind::Transaction(TransactionCommand::Begin),
                    Kind::Transaction(TransactionCommand::Commit),
                ],
            ),
            (
                "SET search_path = app, \"$user\"",
                vec![set("search_path", "app, \"$user\"")],
            ),
            ("SET TIME ZONE -7", vec![set("timezone", "-7")]),
            ("SET TIME ZONE +5.5", vec![set("timezone", "5.5")]),
            ("SET TimeZone TO \"UTC\"", vec![set("timezone", "UTC")]),
            ("SET TimeZone = E'\\x55TC'", vec![set("timezone", "UTC")]),
            ("SET TimeZone = $$UTC$$", vec![set("timezone", "UTC")]),
            (
                "SET TIME ZONE INTERVAL '-1:30' HOUR TO MINUTE",
                vec![set("timezone", "INTERVAL '-1:30:00'")],
            ),
            (
                "SET XML OPTION DOCUMENT",
                vec![set("xmloption", "DOCUMENT")],
            ),
            (
                "SET TIME ZONE LOCAL",
                vec![Kind::Reset {
                    variable: "timezone".to_owned(),
                }],
            ),
            (
                "SELECT set_config('TimeZone', 'UTC', false)",
                vec![set("timezone", "UTC")],
            ),
            (
                "SELECT set_config('TimeZone', lower('UTC'), false)",
                vec![Kind::Pins],
            ),
            ("SELECT pg_advisory_lock(1)", vec![Kind::Pins]),
            ("CREATE TEMP TABLE t (a int)", vec![Kind::Pins]),
            ("CREATE TABLE t (a int)", vec![Kind::Data]),
            ("SELECT 1 INTO TEMP t", vec![Kind::Pins]),
            ("SELECT setting FROM pg_settings", vec![Kind::Data]),
            (
                "SELECT lower(a), pg_catalog.now(), gen_salt('bf'), coalesce(a, b) FROM t",
                vec![Kind::Data],
            ),
            ("DISCARD ALL", vec![Kind::ClearsSession]),
            ("INSERT INTO t VALUES ($1)", vec![Kind::Data]),
            (";;", vec![]),
        ];
        for (sql, expected) in cases {
            assert_eq!(kinds(sql, Reach::BorrowedRole), Ok(expected), "{sql}");
        }
    }

    #[test]
    fn a_role_of_its_own_is_kept_apart_by_the_server() {
        assert_eq!(
            kinds("SELECT * FROM pg_stat_activity", Reach::OwnRole),
            Ok(vec![Kind::Data])
        );
        assert_eq!(kinds("SELEC 1", Reach::OwnRole), Err("TN1002"));
        assert_eq!(
            kinds("SET standard_conforming_strings = off", Reach::OwnRole),
            Err("TN4002")
        );
    }

    #[test]
    fn a_statements_text_begins_and_ends_with_a_token() {
        let statements = gate(
            b"/* a */ SELECT $2 -- b\n ; SELECT 1 /* c */",
            0,
            Reach::OwnRole,
        )
        .unwrap();
        let texts: Vec<&str> = statements
            .iter()
            .map(|(_, statement)| statement.text())
            .collect();
        assert_eq!(texts, ["SELECT $2", "SELECT 1"]);
        assert_eq!(statements[0].1.client_parameters(), 2);
    }
}
