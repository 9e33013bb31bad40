//! Statements that are not about data, and those that carry one that is.
//!
//! EXPLAIN and DECLARE end with the statement that they carry. TRUNCATE becomes DELETE. The rest is sent
//! as it was written, but for the names of tables and savepoints.

use pg_query::NodeEnum;
use pg_query::protobuf as pg;
use pg_query::protobuf::Token;

use super::from::qualified;
use super::name::{as_postgres, refuse_at};
use super::setting::{set_by_function, variables};
use super::words::Words;
use super::{Carrier, Rewriter, Rewritten, Route, edits, known, lost, unsupported};
use crate::catalog::RelationName;
use crate::isolate::kind::{Kind, TransactionCommand};
use crate::isolate::refusal::{Reason, Refusal};
use crate::sql;
use crate::tenant::{Class, Costs, Scoped};

/// The first words of commands that are read on PostgreSQL's own tree only.
const COMMANDS: [&str; 25] = [
    "abort",
    "begin",
    "close",
    "commit",
    "deallocate",
    "discard",
    "end",
    "execute",
    "fetch",
    "lock",
    "move",
    "prepare",
    "release",
    "reset all",
    "reset time",
    "reset transaction",
    "rollback",
    "savepoint",
    "set constraints",
    "set schema",
    "set xml",
    "show",
    "start",
    "truncate",
    "unlisten",
];

/// The same with more than two words.
const CHARACTERISTICS: [&str; 3] = ["set", "session", "characteristics"];

/// How a statement is to be read. `costs` says whether EXPLAIN may show estimates.
pub(super) fn route(statement: &str, costs: Costs) -> Rewritten<Route> {
    let beginning: Vec<String> = statement
        .split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
        .take(3)
        .map(str::to_ascii_lowercase)
        .collect();
    let first = beginning.first().map_or("", String::as_str);
    let two = beginning.get(..2).unwrap_or_default().join(" ");
    if COMMANDS.contains(&first) || COMMANDS.contains(&two.as_str()) || beginning == CHARACTERISTICS
    {
        return Ok(Route::Command);
    }
    if !matches!(first, "declare" | "explain") {
        return Ok(Route::Data);
    }
    let words = Words::of(statement)?;
    Ok(carried_by(&words, costs)?.unwrap_or(Route::Data))
}

fn carried_by(words: &Words<'_>, costs: Costs) -> Rewritten<Option<Route>> {
    let (end, sent, kind) = if words.is(0, Token::Explain) {
        let (end, sent) = explained(words, costs)?;
        (end, sent, Kind::Data)
    } else if words.is(0, Token::Declare) {
        // FOR is reserved: nothing before it can be called so.
        let found = (1..words.len()).find(|at| words.is(*at, Token::For));
        let Some(end) = found.map(|at| at + 1) else {
            return Ok(None);
        };
        let Some(kind) = declared(words, end) else {
            return Ok(Some(Route::Command));
        };
        (end, edits::splice(words, &[], 0..end)?, kind)
    } else {
        return Ok(None);
    };
    let Some(inner) = words.iter().nth(end) else {
        return Ok(None);
    };
    if inner.kind == Token::Execute {
        return Ok(Some(Route::Command));
    }
    Ok(Some(Route::Carrier(Carrier {
        words: end,
        bytes: inner.bytes.start,
        written: edits::splice(words, &[], 0..end)?,
        sent,
        kind,
    })))
}

/// What `DECLARE name .. CURSOR .. FOR` is; none where only the tree can tell the name.
fn declared(words: &Words<'_>, end: usize) -> Option<Kind> {
    let hold = end.checked_sub(2)?;
    if !(words.is(hold, Token::Hold) && words.is(hold - 1, Token::With)) {
        return Some(Kind::Cursor);
    }
    let written = words.written(1);
    let is_plain = !words.is(1, Token::Uident) && written.len() <= sql::NAME_BYTES_MAX;
    is_plain.then(|| {
        Kind::Hold(match written.strip_prefix('"') {
            Some(quoted) => quoted.trim_end_matches('"').replace("\"\"", "\""),
            None => written.to_ascii_lowercase(),
        })
    })
}

/// `EXPLAIN options`, which always ends with COSTS OFF: estimates count the rows of all tenants.
fn explained(words: &Words<'_>, costs: Costs) -> Rewritten<(usize, String)> {
    let is_query = |at: usize| match words.kind(at) {
        Some(Token::Select | Token::With | Token::Table | Token::Ascii40) => true,
        Some(Token::Values) => words.is(at + 1, Token::Ascii40),
        Some(_) | None => false,
    };
    if words.is(1, Token::Ascii40) && !is_query(2) {
        let end = words.behind_group(1)?;
        let text = if costs == Costs::Shown {
            edits::splice(words, &[], 0..end)?
        } else {
            format!("{}, COSTS OFF)", edits::splice(words, &[], 0..end - 1)?)
        };
        return Ok((end, text));
    }
    let mut end = 1;
    let mut options = Vec::new();
    if matches!(words.kind(end), Some(Token::Analyze | Token::Analyse)) {
        options.push("ANALYZE");
        end += 1;
    }
    if words.is(end, Token::Verbose) {
        options.push("VERBOSE");
        end += 1;
    }
    if costs == Costs::Shown {
        return Ok((end, edits::splice(words, &[], 0..end)?));
    }
    options.push("COSTS OFF");
    Ok((end, format!("EXPLAIN ({})", options.join(", "))))
}

impl Rewriter<'_> {
    /// A whole statement, and what the session has to know of it.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a command that is not listed is refused"
    )]
    pub(super) fn command(&mut self, statement: &NodeEnum) -> Rewritten<Kind> {
        match statement {
            NodeEnum::SelectStmt(_)
            | NodeEnum::InsertStmt(_)
            | NodeEnum::UpdateStmt(_)
            | NodeEnum::DeleteStmt(_)
            | NodeEnum::MergeStmt(_)
            | NodeEnum::CopyStmt(_) => {
                known(statement)?;
                self.statement(statement)?;
                let sets = match statement {
                    NodeEnum::SelectStmt(select) => set_by_function(select),
                    _ => None,
                };
                Ok(match sets {
                    Some(set) => set,
                    None if self.on_cursor => Kind::Cursor,
                    None => Kind::Data,
                })
            }
            NodeEnum::ExplainStmt(explain) => {
                let costs = self.classified.policy().costs();
                let (end, sent) = explained(self.words, costs)?;
                self.edits.replace(0..end, sent);
                let query = explain.query.as_deref();
                if let Some(Some(NodeEnum::ExecuteStmt(execute))) = query.map(|query| &query.node) {
                    return self.execute(execute, end);
                }
                self.carried(query)?;
                Ok(Kind::Data)
            }
            NodeEnum::DeclareCursorStmt(declare) => {
                self.carried(declare.query.as_deref())?;
                Ok(if declare.options & CURSOR_OPT_HOLD == 0 {
                    Kind::Cursor
                } else {
                    Kind::Hold(declare.portalname.clone())
                })
            }
            NodeEnum::FetchStmt(_) => Ok(Kind::Fetch),
            NodeEnum::PrepareStmt(prepare) => self.prepare(prepare),
            NodeEnum::ExecuteStmt(execute) => self.execute(execute, 0),
            NodeEnum::DeallocateStmt(deallocate) => Ok(self.deallocate(deallocate)),
            NodeEnum::ClosePortalStmt(close) => {
                let name = Some(close.portalname.clone());
                Ok(Kind::CloseCursor(name.filter(|name| !name.is_empty())))
            }
            NodeEnum::ConstraintsSetStmt(_) | NodeEnum::UnlistenStmt(_) => Ok(Kind::Data),
            NodeEnum::DiscardStmt(discard) => Ok(
                if discard.target == i32::from(pg::DiscardMode::DiscardAll) {
                    Kind::ClearsSession
                } else {
                    Kind::Data
                },
            ),
            NodeEnum::LockStmt(lock) => self.lock(lock),
            NodeEnum::TransactionStmt(transaction) => self.transaction(transaction),
            NodeEnum::TruncateStmt(truncate) => self.truncate(truncate),
            NodeEnum::VariableSetStmt(set) => variables(set),
            NodeEnum::VariableShowStmt(show) => Ok(Kind::Show {
                variable: show.name.to_ascii_lowercase(),
            }),
            _ => Err(lost("a statement about data")),
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "what cannot be carried is refused"
    )]
    fn carried(&mut self, carried: Option<&pg_query::Node>) -> Rewritten<()> {
        let carried = carried.and_then(|node| node.node.as_ref());
        match carried.ok_or_else(|| lost("a statement"))? {
            NodeEnum::DeclareCursorStmt(declare) => self.carried(declare.query.as_deref()),
            NodeEnum::CreateTableAsStmt(_) => Err(not_allowed("CREATE TABLE AS")),
            NodeEnum::RefreshMatViewStmt(_) => Err(not_allowed("REFRESH MATERIALIZED VIEW")),
            NodeEnum::ExecuteStmt(_) => Err(unsupported("EXECUTE here")),
            other => self.command(other).map(|_kind| ()),
        }
    }

    fn lock(&mut self, lock: &pg::LockStmt) -> Rewritten<Kind> {
        if lock.mode != ACCESS_SHARE_LOCK {
            return Err(not_allowed("LOCK TABLE in a mode other than ACCESS SHARE"));
        }
        for node in &lock.relations {
            let Some(NodeEnum::RangeVar(table)) = &node.node else {
                return Err(lost("a table"));
            };
            let (relation, _) = self.relation(table)?;
            self.name_target(table, &relation.name)?;
        }
        Ok(Kind::Data)
    }

    fn transaction(&mut self, transaction: &pg::TransactionStmt) -> Rewritten<Kind> {
        use pg::TransactionStmtKind as Is;
        if !transaction.savepoint_name.is_empty() {
            // The name is read again from the text, in its plain spelling.
            let mut end = self.words.len();
            while end > 0 && self.words.is(end - 1, Token::Ascii59) {
                end -= 1;
            }
            let name = sql::quote(&transaction.savepoint_name);
            let start = (0..end).find(|at| self.words.behind_part(*at) == end);
            let start = start.ok_or_else(|| lost("a savepoint's name"))?;
            self.edits.replace(start..end, name);
        }
        let command = match (Is::try_from(transaction.kind), transaction.chain) {
            (Ok(Is::TransStmtBegin | Is::TransStmtStart), _) => TransactionCommand::Begin,
            (Ok(Is::TransStmtCommit), false) => TransactionCommand::Commit,
            (Ok(Is::TransStmtCommit), true) => TransactionCommand::CommitAndChain,
            (Ok(Is::TransStmtRollback), false) => TransactionCommand::Rollback,
            (Ok(Is::TransStmtRollback), true) => TransactionCommand::RollbackAndChain,
            (Ok(Is::TransStmtSavepoint), _) => TransactionCommand::Savepoint,
            (Ok(Is::TransStmtRelease), _) => TransactionCommand::Release,
            (Ok(Is::TransStmtRollbackTo), _) => TransactionCommand::RollbackTo,
            (
                Ok(
                    Is::TransStmtPrepare
                    | Is::TransStmtCommitPrepared
                    | Is::TransStmtRollbackPrepared
                    | Is::Undefined,
                )
                | Err(_),
                _,
            ) => return Err(not_allowed("PREPARE TRANSACTION")),
        };
        Ok(Kind::Transaction(command))
    }

    /// `WITH truncated_1 AS (DELETE FROM first WHERE guard), .. DELETE FROM last WHERE guard`: one
    /// statement, so that foreign keys between the tables are looked at when all are empty.
    fn truncate(&mut self, truncate: &pg::TruncateStmt) -> Rewritten<Kind> {
        let mut deletes: Vec<(&RelationName, String)> = Vec::new();
        for node in &truncate.relations {
            let Some(NodeEnum::RangeVar(table)) = &node.node else {
                return Err(lost("a table"));
            };
            let (relation, class) = self.relation(table)?;
            let Class::Scoped(scoped) = class else {
                let message = format!("permission denied for table {}", table.relname);
                return Err(refuse_at(table.location, as_postgres("42501", message)));
            };
            let only = if table.inh { "" } else { "ONLY " };
            let text = self.emptied(&relation.name, scoped, only);
            match deletes.iter().find(|(name, _)| **name == relation.name) {
                None => deletes.push((&relation.name, text)),
                Some((_, other)) if *other == text => {}
                Some(_) => return Err(unsupported("TRUNCATE of a table with ONLY and without")),
            }
        }
        let (_, last) = deletes.pop().ok_or_else(|| lost("a table"))?;
        let others: Vec<String> = deletes
            .iter()
            .enumerate()
            .map(|(index, (_, delete))| format!("truncated_{} AS ({delete})", index + 1))
            .collect();
        let text = if others.is_empty() {
            last
        } else {
            format!("WITH {} {last}", others.join(", "))
        };
        self.edits.replace(0..self.words.len(), text);
        Ok(Kind::Truncate)
    }

    fn emptied(&mut self, name: &RelationName, scoped: &Scoped, only: &str) -> String {
        let guard = self.predicate(&name.name, scoped);
        format!("DELETE FROM {only}{} WHERE {guard}", qualified(name))
    }
}

/// `CURSOR_OPT_HOLD` of parsenodes.h.
const CURSOR_OPT_HOLD: i32 = 0x0020;

/// `AccessShareLock` of lockdefs.h.
const ACCESS_SHARE_LOCK: i32 = 1;

fn not_allowed(command: &str) -> Refusal {
    Reason::CommandNotAllowed {
        command: command.to_owned(),
    }
    .into()
}
