//! One client message, one tenant: what may be sent, or why nothing is.
//!
//! In: SQL text, declared parameter types, [`Classified`]. Out: [`Isolated`] statements, or a
//! [`Refusal`].
//!
//! # Invariants
//! 1. A message of several statements is admitted whole or not at all.
//! 2. Nothing here holds a tenant's key: a result serves every tenant of the same catalog.

pub mod refusal;
pub mod template;

use crate::admitted::Admitted;
use crate::catalog::Oid;
use crate::tenant::Classified;
use crate::verify::{Claim, verify};
use refusal::Refusal;
use template::Template;

/// What a transaction control statement does.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum TransactionCommand {
    /// `BEGIN`, `START TRANSACTION`
    Begin,
    /// `COMMIT`, `END`
    Commit,
    /// `RELEASE SAVEPOINT`
    Release,
    /// `ROLLBACK`, `ABORT`
    Rollback,
    /// `ROLLBACK TO SAVEPOINT`
    RollbackTo,
    /// `SAVEPOINT`
    Savepoint,
}

/// Whether a SET lasts for the session or the transaction.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum SetScope {
    /// `SET LOCAL`
    Local,
    /// `SET`, `SET SESSION`
    Session,
}

/// What the session layer has to know of a statement, beyond sending it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    /// A query or a change of data: nothing.
    Data,
    /// `RESET name`, `SET name TO DEFAULT`
    Reset {
        /// The parameter's name, in lower case.
        variable: String,
    },
    /// `SET name TO value`, of a parameter that clients may change.
    Set {
        /// For how long.
        scope: SetScope,
        /// The parameter's name, in lower case.
        variable: String,
        /// The value, as `SHOW` would take it.
        value: String,
    },
    /// `SET TRANSACTION`: it ends with the transaction.
    SetTransaction,
    /// `SHOW name`, of a parameter that clients may read.
    Show {
        /// The parameter's name, in lower case.
        variable: String,
    },
    /// Transaction control.
    Transaction(TransactionCommand),
}

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
    let _ = (sql, declared_types, classified);
    Err(refusal::Reason::Unproved {
        what: "nothing is rewritten yet".to_owned(),
    }
    .into())
}

/// Isolates each statement of a Query or Parse message. An empty message gives no statement.
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
            let verified = verify(&claim).map_err(|mut refusal| {
                refusal.position = refusal.position.map(|at| at + prepared.offset);
                refusal
            })?;
            Ok(Isolated {
                kind: prepared.kind,
                admitted: Admitted::Isolated(verified),
            })
        })
        .collect()
}
