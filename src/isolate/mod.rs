//! One client message, one tenant: what may be sent, or why nothing is.
//!
//! In: SQL text, declared parameter types, [`Classified`]. Out: [`Isolated`] statements, or a
//! [`Refusal`].
//!
//! # Invariants
//! 1. A message of several statements is admitted whole or not at all.
//! 2. Nothing here holds a tenant's key: a result serves every tenant of the same catalog. An admin's is
//!    made under the scope of a grant, bears its keys, and serves nobody else.

pub mod kind;
pub mod refusal;
mod rewrite;
pub mod template;

use crate::admitted::Admitted;
use crate::catalog::Oid;
use crate::sql::{self, ReadError};
use crate::tenant::Classified;
use crate::verify::{Claim, Reach, gate, syntax_error, verify};
pub use kind::{Kind, SetScope, TransactionCommand};
use refusal::{Reason, Refusal};
use template::Template;

/// One statement of a message.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Isolated {
    /// What the session layer has to know.
    pub kind: Kind,
    /// What is sent.
    pub admitted: Admitted,
}

/// One statement, rewritten but not yet proved. Tests, fuzzing and benches look in here.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The statement as the client wrote it.
    pub original: String,
    /// Where `original` begins in the client's message, in bytes.
    pub offset: usize,
    /// The byte range of each token of `original`, comments and white space left out.
    pub tokens: Vec<(usize, usize)>,
    /// What the parser prints for `original` before any rewriting.
    pub reprinted: String,
    /// What the session layer has to know.
    pub kind: Kind,
    /// The text to be sent.
    pub template: Template,
}

/// Parses and rewrites each statement of a Query or Parse message.
pub fn prepare(
    sql: &[u8],
    declared_types: &[Oid],
    classified: &Classified,
) -> Result<Vec<Prepared>, Refusal> {
    // The parser, the printer and the trees' destructors recurse; a long statement may be deep.
    if sql.len() > LONG_BYTES {
        stacker::grow(LONG_STACK_BYTES, || {
            prepare_here(sql, declared_types, classified)
        })
    } else {
        stacker::maybe_grow(SHORT_STACK_BYTES, LONG_STACK_BYTES, || {
            prepare_here(sql, declared_types, classified)
        })
    }
}

/// A statement of up to this many bytes is content with an ordinary stack.
const LONG_BYTES: usize = 2_000;
/// The stack for any other, in bytes; only what is used of it is ever touched.
const LONG_STACK_BYTES: usize = 256 * 1024 * 1024;
/// What an ordinary stack must have left, in bytes.
const SHORT_STACK_BYTES: usize = 1024 * 1024;

fn prepare_here(
    sql: &[u8],
    declared_types: &[Oid],
    classified: &Classified,
) -> Result<Vec<Prepared>, Refusal> {
    let message = String::from_utf8_lossy(sql);
    sql::parse(sql)
        .map_err(|error| unread(error, &message))?
        .into_iter()
        .map(|parsed| {
            let (start, end) = parsed.lexemes.range();
            rewrite::rewrite(parsed, &message, declared_types.len(), classified).map_err(
                |refusal| {
                    // What PostgreSQL could not read is a syntax error before it is anything else.
                    let text = message.get(start..end).unwrap_or_default();
                    syntax_error(text).map_or(refusal, Refusal::from)
                },
            )
        })
        .collect()
}

/// A statement that cannot be read is a syntax error if PostgreSQL cannot read it either; else the
/// place where the reading stopped is named.
fn unread(error: ReadError, message: &str) -> Refusal {
    match error {
        ReadError::Encoding => Reason::WrongEncoding.into(),
        ReadError::GluedOperator { position } => Refusal::at(Reason::LexersDisagree, position),
        ReadError::TooLarge { what, limit } => Reason::TooLarge { what, limit }.into(),
        ReadError::Unread {
            statement,
            position,
            near,
        } => {
            let (start, end) = statement;
            let text = message.get(start..end).unwrap_or_default();
            match syntax_error(text) {
                Some(reason) => Refusal::at(reason, position),
                None if is_utility(text) => Refusal::at(
                    Reason::CommandNotAllowed {
                        command: first_words(text),
                    },
                    start,
                ),
                None => Refusal::at(
                    Reason::ConstructNotSupported {
                        construct: format!("the syntax at \"{near}\""),
                    },
                    position,
                ),
            }
        }
    }
}

/// The commands that read or change data, or a session's state; the rest is the administrator's.
const DATA_COMMANDS: [&str; 21] = [
    "(", "abort", "begin", "close", "commit", "copy", "declare", "delete", "end", "execute",
    "explain", "fetch", "insert", "merge", "move", "rollback", "select", "table", "update",
    "values", "with",
];

fn is_utility(text: &str) -> bool {
    let first = first_words(text).to_ascii_lowercase();
    !DATA_COMMANDS
        .iter()
        .any(|command| first == *command || first.starts_with('('))
}

fn first_words(text: &str) -> String {
    let word = text.split(|c: char| c.is_whitespace() || c == ';').next();
    word.unwrap_or_default().to_ascii_uppercase()
}

/// Isolates each statement of a Query or Parse message: for a tenant, or, where the relations are
/// [`Classified::under`] the scope of a grant, for an admin. An empty message gives no statement.
pub fn isolate(
    sql: &[u8],
    declared_types: &[Oid],
    classified: &Classified,
) -> Result<Vec<Isolated>, Refusal> {
    prepare(sql, declared_types, classified)?
        .into_iter()
        .map(|prepared| {
            let claim = Claim {
                original: &prepared.original,
                tokens: &prepared.tokens,
                reprinted: &prepared.reprinted,
                template: &prepared.template,
                declared_types,
                classified,
            };
            let verified = verify(&claim).map_err(|refusal| {
                let mut refusal = as_written(refusal, &prepared.original);
                refusal.position = refusal.position.map(|at| at + prepared.offset);
                refusal
            })?;
            Ok(Isolated {
                kind: prepared.kind,
                admitted: Admitted::from(verified),
            })
        })
        .collect()
}

/// The tenant column's name in a refusal is the client's own word, not ours.
fn as_written(mut refusal: Refusal, original: &str) -> Refusal {
    if let (Reason::ColumnDoesNotExist { column }, Some(position)) =
        (&mut refusal.reason, refusal.position)
        && let Some(written) = original
            .get(position..)
            .and_then(|rest| rest.get(..column.len()))
        && written.eq_ignore_ascii_case(column)
    {
        written.clone_into(column);
    }
    refusal
}

/// Lets each statement of a Query or Parse message through to a tenant's own database, unrewritten, if
/// it stays within that database.
pub fn pass(sql: &[u8], declared_types: &[Oid], reach: Reach) -> Result<Vec<Isolated>, Refusal> {
    let statements = gate(sql, declared_types.len(), reach)?;
    Ok(statements
        .into_iter()
        .map(|(kind, statement)| Isolated {
            kind,
            admitted: Admitted::Isolated(statement),
        })
        .collect())
}
