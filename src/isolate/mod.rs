//! One client message, one tenant: what may be sent, or why nothing is.
//!
//! In: SQL text, declared parameter types, [`Classified`]. Out: [`Isolated`] statements, or a
//! [`Refusal`].
//!
//! # Invariants
//! 1. A message of several statements is admitted whole or not at all.
//! 2. Nothing here holds a tenant's key: a result serves every tenant of the same catalog. An admin's is
//!    made under the scope of a grant, bears its keys, and serves nobody else.

mod carrier;
pub mod copying;
mod dependent;
mod effort;
mod findings;
mod gram;
mod identity;
pub mod kind;
mod legible;
mod mask;
pub mod refusal;
pub mod remedy;
mod rewrite;
pub mod setting;
pub mod template;
mod via;

use std::collections::BTreeSet;
use std::ops::Range;

use crate::admitted::Admitted;
use crate::catalog::Oid;
use crate::sql::{self, Lexemes, ReadError};
use crate::tenant::{Classified, Closed};
use crate::verify::{Claim, Reach, VerifiedStatement, gate, syntax_error, verify};
pub use findings::{Finding, findings};
use gram::Route;
pub use kind::{Kind, SetScope, SqlPrepare, TransactionCommand};
pub use legible::legible;
use refusal::{Reason, Refusal};
use remedy::{Condition, MaskedColumn, Remedy};
use template::{Reading, Template};

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
    /// How `original` was read.
    pub reading: Reading,
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
    effort::check(sql)?;
    with_room(sql.len(), || prepare_here(sql, declared_types, classified))
}

/// The parser, the printer and the trees' destructors recurse; a long statement may be deep.
fn with_room<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    if bytes > LONG_BYTES {
        stacker::grow(LONG_STACK_BYTES, work)
    } else {
        stacker::maybe_grow(SHORT_STACK_BYTES, LONG_STACK_BYTES, work)
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
    let source = Source {
        message: &message,
        declared_types,
        classified,
    };
    let unsplit = match sql::split(sql) {
        Ok(statements) => {
            let each = statements
                .into_iter()
                .map(|lexemes| source.prepare(lexemes));
            return each.collect();
        }
        Err(error) => unread(error, &message),
    };
    if again(&unsplit.reason) == Again::No {
        return Err(unsplit);
    }
    let statements = gram::statements(&message).map_err(|_unread| unsplit.clone())?;
    let each = statements.into_iter().map(|range| {
        source
            .splice(range)
            .map_err(|second| told(unsplit.clone(), second))
    });
    each.collect()
}

/// Rewrites one statement on PostgreSQL's own tree, whether the other way could or not.
pub fn splice(
    statement: &str,
    declared_types: &[Oid],
    classified: &Classified,
) -> Result<Prepared, Refusal> {
    let source = Source {
        message: statement,
        declared_types,
        classified,
    };
    source.splice(0..statement.len())
}

/// What statements are made from.
struct Source<'a> {
    message: &'a str,
    declared_types: &'a [Oid],
    classified: &'a Classified,
}

impl Source<'_> {
    /// Rewrites one statement, in the one way or the other.
    fn prepare(&self, lexemes: Lexemes) -> Result<Prepared, Refusal> {
        self.prepare_with(lexemes, &BTreeSet::new())
    }

    fn prepare_with(
        &self,
        lexemes: Lexemes,
        remedies: &BTreeSet<Remedy>,
    ) -> Result<Prepared, Refusal> {
        let (start, end) = lexemes.range();
        let text = self.message.get(start..end).unwrap_or_default();
        let costs = self.classified.policy().costs();
        match gram::route(text, costs)? {
            Route::Carrier(carrier) => return self.carrying(&lexemes, &carrier, remedies),
            Route::Command => return self.splice(start..end),
            Route::Data => {}
        }
        let parameters = self.declared_types.len();
        let prepared = sql::read(lexemes)
            .map_err(|error| unread(error, self.message))
            .and_then(|parsed| {
                rewrite::rewrite(parsed, self.message, parameters, self.classified, remedies)
            });
        prepared.or_else(|first| match again(&first.reason) {
            Again::Surely | Again::Perhaps => self
                .enclose(start..end, remedies)
                .unwrap_or_else(|| self.splice_with(start..end, remedies))
                .map_err(|second| told(first, second)),
            // What PostgreSQL could not read is a syntax error before it is anything else.
            Again::No => Err(syntax_error(text).map_or(first, Refusal::from)),
        })
    }

    /// Rewrites the query that a COPY holds, as if it stood alone; none if it holds none.
    fn enclose(
        &self,
        range: Range<usize>,
        remedies: &BTreeSet<Remedy>,
    ) -> Option<Result<Prepared, Refusal>> {
        let offset = range.start;
        let original = self.message.get(range)?;
        let (words, bytes) = gram::query_of_copy(original)?;
        let begins = bytes.start;
        let inner = original.get(bytes)?;
        let remedies = within(remedies, begins);
        Some(
            self.query(inner, offset + begins, &remedies)
                .and_then(|inner| {
                    let (template, edits) = gram::enclose(original, words, &inner)?;
                    Ok(Prepared {
                        original: original.to_owned(),
                        offset,
                        reading: Reading::Spliced { edits },
                        kind: Kind::Data,
                        template,
                    })
                }),
        )
    }

    fn query(
        &self,
        text: &str,
        offset: usize,
        remedies: &BTreeSet<Remedy>,
    ) -> Result<Template, Refusal> {
        let source = Source {
            message: text,
            ..*self
        };
        let lexemes = sql::split(text.as_bytes()).map(|all| all.into_iter().next());
        let prepared = match lexemes {
            Ok(Some(lexemes)) if remedies.is_empty() => source.prepare(lexemes),
            Ok(Some(lexemes)) => sql::read(lexemes)
                .map_err(|error| unread(error, text))
                .and_then(|parsed| {
                    let parameters = self.declared_types.len();
                    rewrite::rewrite(parsed, text, parameters, self.classified, remedies)
                }),
            Ok(None) | Err(_) => source.splice(0..text.len()),
        };
        prepared
            .map(|prepared| prepared.template)
            .map_err(|mut refusal| {
                refusal.position = refusal.position.map(|at| at + offset);
                refusal
            })
    }

    /// Rewrites one statement on PostgreSQL's own tree.
    fn splice(&self, range: Range<usize>) -> Result<Prepared, Refusal> {
        self.splice_with(range, &BTreeSet::new())
    }

    fn splice_with(
        &self,
        range: Range<usize>,
        remedies: &BTreeSet<Remedy>,
    ) -> Result<Prepared, Refusal> {
        let offset = range.start;
        let original = self.message.get(range).unwrap_or_default().to_owned();
        let parameters = self.declared_types.len();
        let (template, edits, kind) =
            gram::rewrite(&original, parameters, self.classified, remedies).map_err(
                |mut refusal| {
                    refusal.position = refusal.position.map(|at| at + offset);
                    refusal
                },
            )?;
        Ok(Prepared {
            original,
            offset,
            reading: Reading::Spliced { edits },
            kind,
            template,
        })
    }
}

/// The same remedies for a statement that begins behind so many bytes of the text.
fn within(remedies: &BTreeSet<Remedy>, begins: usize) -> BTreeSet<Remedy> {
    let moved = |remedy: &Remedy| {
        Some(match remedy {
            Remedy::Mask(MaskedColumn { table, number }) => Remedy::Mask(MaskedColumn {
                table: table.behind(begins)?,
                number: *number,
            }),
            Remedy::Shield {
                condition,
                conjunct,
            } => Remedy::Shield {
                condition: match condition {
                    Condition::On(at) => Condition::On(at.checked_sub(begins)?),
                    Condition::Where(at) => Condition::Where(at.checked_sub(begins)?),
                },
                conjunct: *conjunct,
            },
        })
    };
    remedies.iter().filter_map(moved).collect()
}

/// What a refusal by the first way says of the second one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Again {
    /// It would end in the same refusal.
    No,
    /// The statement may have been read wrongly; else the first refusal is told.
    Perhaps,
    /// The first way could not read the statement; what the second finds is told.
    Surely,
}

fn again(reason: &Reason) -> Again {
    match reason {
        Reason::ConstructNotSupported { .. }
        | Reason::LexersDisagree
        | Reason::PrintedDifferently
        | Reason::TypeNotAllowed { .. }
        | Reason::RelationNotAllowed {
            closed: Closed::View,
            ..
        }
        | Reason::Unproved { .. } => Again::Surely,
        Reason::AsPostgres { .. }
        | Reason::ColumnDoesNotExist { .. }
        | Reason::FunctionNotAllowed { .. }
        | Reason::RelationDoesNotExist { .. } => Again::Perhaps,
        Reason::CommandNotAllowed { .. }
        | Reason::ConditionNotSilent { .. }
        | Reason::FunctionBeyondGate { .. }
        | Reason::Grant(_)
        | Reason::OperatorNotAllowed { .. }
        | Reason::ParameterNumber
        | Reason::RelationNotAllowed { .. }
        | Reason::Syntax { .. }
        | Reason::SystemRelation { .. }
        | Reason::TooLarge { .. }
        | Reason::VariableNotAllowed { .. }
        | Reason::WriteNotAllowed { .. }
        | Reason::WrongEncoding => Again::No,
    }
}

/// What the client is told when both ways end in a refusal.
fn told(first: Refusal, second: Refusal) -> Refusal {
    let is_fault = matches!(
        second.reason,
        Reason::Unproved { .. } | Reason::LexersDisagree
    );
    let is_syntax = matches!(second.reason, Reason::Syntax { .. });
    if is_syntax || (again(&first.reason) == Again::Surely && !is_fault) {
        return second;
    }
    first
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
            let (verified, Prepared { kind, .. }) = proved(prepared, declared_types, classified)?;
            Ok(Isolated {
                kind,
                admitted: Admitted::from(verified),
            })
        })
        .collect()
}

/// Proves a statement that was rewritten; what is proved may be rewritten otherwise.
pub fn proved(
    prepared: Prepared,
    declared_types: &[Oid],
    classified: &Classified,
) -> Result<(VerifiedStatement, Prepared), Refusal> {
    let original = prepared.original.clone();
    let offset = prepared.offset;
    let source = Source {
        message: &original,
        declared_types,
        classified,
    };
    source.prove(prepared).map_err(|mut refusal| {
        refusal.position = refusal.position.map(|at| at + offset);
        refusal
    })
}

/// More attempts are not made: each makes one query level silent, or more.
const REMEDIES_MAX: usize = 16;

impl Source<'_> {
    /// Proves a statement; one that was read wrongly is read again.
    fn prove(&self, prepared: Prepared) -> Result<(VerifiedStatement, Prepared), Refusal> {
        let is_first = matches!(prepared.reading, Reading::Parsed { .. });
        let has_second = matches!(prepared.kind, Kind::Cursor | Kind::Data | Kind::Hold(_));
        let first = match self.remedy(prepared) {
            Ok(proved) => return Ok(proved),
            Err(refusal) => refusal,
        };
        let is_first = is_first || gram::query_of_copy(self.message).is_some();
        if !is_first || !has_second || again(&first.reason) == Again::No {
            return Err(first);
        }
        let second = self.splice(0..self.message.len());
        let second = second.and_then(|prepared| self.remedy(prepared));
        second.map_err(|second| told(first, second))
    }

    /// Proves a statement; while its conditions are not silent, tries what the verifier names.
    fn remedy(&self, mut prepared: Prepared) -> Result<(VerifiedStatement, Prepared), Refusal> {
        let mut refusal = match self.claim(&prepared) {
            Ok(verified) => return Ok((verified, prepared)),
            Err(refusal) => refusal,
        };
        let mut told = refusal.clone();
        let mut remedies = BTreeSet::new();
        for _ in 0..REMEDIES_MAX {
            let known = remedies.len();
            remedies.extend(refusal.remedies().iter().cloned());
            if remedies.len() == known {
                break;
            }
            prepared = self.rewrite_again(&prepared, &remedies)?;
            refusal = match self.claim(&prepared) {
                Ok(verified) => return Ok((verified, prepared)),
                Err(refusal) => refusal,
            };
            if matches!(refusal.reason, Reason::ConditionNotSilent { .. }) {
                told.clone_from(&refusal);
            }
        }
        Err(told)
    }

    fn rewrite_again(
        &self,
        prepared: &Prepared,
        remedies: &BTreeSet<Remedy>,
    ) -> Result<Prepared, Refusal> {
        if let Some(enclosed) = self.enclose(0..self.message.len(), remedies) {
            return enclosed;
        }
        if matches!(prepared.reading, Reading::Spliced { .. }) {
            return self.splice_with(0..self.message.len(), remedies);
        }
        with_room(self.message.len(), || {
            let statements = sql::split(self.message.as_bytes());
            let mut statements = statements.map_err(|error| unread(error, self.message))?;
            let lexemes = statements.pop().ok_or(Reason::PrintedDifferently)?;
            self.prepare_with(lexemes, remedies)
        })
    }

    fn claim(&self, prepared: &Prepared) -> Result<VerifiedStatement, Refusal> {
        let claim = Claim {
            original: &prepared.original,
            reading: &prepared.reading,
            template: &prepared.template,
            declared_types: self.declared_types,
            classified: self.classified,
        };
        verify(&claim).map_err(|refusal| as_written(refusal, &prepared.original))
    }
}

/// The tenant column's name in a refusal is the client's own word, not ours.
fn as_written(mut refusal: Refusal, original: &str) -> Refusal {
    let (Reason::ColumnDoesNotExist { column }, Some(position)) =
        (&mut refusal.reason, refusal.position)
    else {
        return refusal;
    };
    let rest = original.get(position..).unwrap_or_default();
    // A name in escapes is not ours to spell out.
    let is_escaped = rest.starts_with("U&\"") || rest.starts_with("u&\"");
    let length = if is_escaped {
        rest.split_inclusive('"').take(2).map(str::len).sum()
    } else {
        column.len()
    };
    if let Some(written) = rest.get(..length)
        && (is_escaped || written.eq_ignore_ascii_case(column))
    {
        written.clone_into(column);
    }
    refusal
}

/// Lets each statement of a Query or Parse message through to a tenant's own database, unrewritten, if
/// it stays within that database.
pub fn pass(sql: &[u8], declared_types: &[Oid], reach: Reach) -> Result<Vec<Isolated>, Refusal> {
    effort::check(sql)?;
    let statements = gate(sql, declared_types.len(), reach)?;
    Ok(statements
        .into_iter()
        .map(|(kind, statement)| Isolated {
            kind,
            admitted: Admitted::Isolated(statement),
        })
        .collect())
}
