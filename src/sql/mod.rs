//! Text to tree and back: the only place that knows how statements are read for rewriting.
//!
//! In: the bytes of a Query or Parse message. Out: [`ParsedStatement`]s.
//!
//! # Invariants
//! 1. Literals and identifiers stay as they were written: the tokenizer never unescapes.
//! 2. The tokens of a statement cover its text; comments are dropped before parsing, and no
//!    operator token may hold the start of one.
//! 3. Statements are at most [`STATEMENT_BYTES_MAX`] long; the parser's depth is bounded.
//!
//! # Not here
//! Whether the reading is PostgreSQL's: [`crate::verify`]. What a name refers to:
//! [`crate::catalog`].

mod desugar;
mod name;
mod token;

use sqlparser::ast::{Expr, Query, Statement};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::{Parser, ParserError, ParserOptions};
use sqlparser::tokenizer::TokenWithSpan;

pub use name::{ForeignQuotes, NAME_BYTES_MAX, fold, ident, quote};
/// The tree. Modules that rewrite it name it through here.
pub use sqlparser::ast;
/// Tokens, for looking at words without a tree.
pub use sqlparser::tokenizer::Token;
pub use token::{Lexeme, Lexemes};

/// A longer message is refused.
pub const STATEMENT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A message of more words is refused: reading one takes the thread of other clients for that long.
pub const WORDS_MAX: usize = 60_000;
/// More statements in one message are refused.
pub const STATEMENTS_MAX: usize = 1_000;
/// The parser's own bound on nesting.
const DEPTH_MAX: usize = 600;

/// Why a message cannot be read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ReadError {
    /// An operator token holds `--` or `/*`, which PostgreSQL reads as a comment.
    GluedOperator {
        /// Where, in bytes.
        position: usize,
    },
    /// Bytes that are not UTF-8, or a NUL.
    Encoding,
    /// The tokenizer or the parser stopped here.
    Unread {
        /// The statement's byte range in the message.
        statement: (usize, usize),
        /// Where in the message it stopped, in bytes.
        position: usize,
        /// The token there.
        near: String,
    },
    /// A bound was passed.
    TooLarge {
        /// Of what.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
}

/// One statement of a message.
#[derive(Clone, Debug)]
pub struct ParsedStatement {
    /// The tree.
    pub tree: Statement,
    /// Its tokens.
    pub lexemes: Lexemes,
}

/// Splits a message at its semicolons and parses each statement; empty ones are dropped, as
/// PostgreSQL does.
pub fn parse(sql: &[u8]) -> Result<Vec<ParsedStatement>, ReadError> {
    split(sql)?.into_iter().map(read).collect()
}

/// Splits a message at its semicolons; empty statements are dropped, as PostgreSQL does.
pub fn split(sql: &[u8]) -> Result<Vec<Lexemes>, ReadError> {
    if sql.len() > STATEMENT_BYTES_MAX {
        return Err(ReadError::TooLarge {
            what: "bytes",
            limit: STATEMENT_BYTES_MAX,
        });
    }
    let Ok(text) = std::str::from_utf8(sql) else {
        return Err(ReadError::Encoding);
    };
    if text.contains('\0') {
        return Err(ReadError::Encoding);
    }
    let lexemes = token::lexemes(text)?;
    if lexemes.len() > WORDS_MAX {
        return Err(ReadError::TooLarge {
            what: "words",
            limit: WORDS_MAX,
        });
    }
    let statements = token::split(lexemes);
    if statements.len() > STATEMENTS_MAX {
        return Err(ReadError::TooLarge {
            what: "statements",
            limit: STATEMENTS_MAX,
        });
    }
    Ok(statements)
}

/// Parses one statement.
pub fn read(lexemes: Lexemes) -> Result<ParsedStatement, ReadError> {
    Ok(ParsedStatement {
        tree: parse_one(&lexemes)?,
        lexemes,
    })
}

fn parse_one(lexemes: &Lexemes) -> Result<Statement, ReadError> {
    let mut parser = parser(desugar::desugar(lexemes));
    let parsed = parser.parse_statement();
    let at_end = parser.peek_token_ref().token == Token::EOF;
    match parsed {
        Ok(tree) if at_end => Ok(tree),
        Err(ParserError::RecursionLimitExceeded) => Err(ReadError::TooLarge {
            what: "nesting",
            limit: DEPTH_MAX,
        }),
        Ok(_) | Err(ParserError::ParserError(_) | ParserError::TokenizerError(_)) => {
            let stopped_at = parser.peek_token_ref().span.start;
            let stopped = lexemes.at(stopped_at).or_else(|| lexemes.last());
            Err(ReadError::Unread {
                statement: lexemes.range(),
                position: stopped.map_or(lexemes.range().1, |lexeme| lexeme.start),
                near: stopped.map_or_else(String::new, |lexeme| lexeme.token.to_string()),
            })
        }
    }
}

fn parser(tokens: Vec<TokenWithSpan>) -> Parser<'static> {
    static DIALECT: PostgreSqlDialect = PostgreSqlDialect {};
    Parser::new(&DIALECT)
        .with_options(ParserOptions::new().with_unescape(false))
        .with_recursion_limit(DEPTH_MAX)
        .with_tokens_with_locations(tokens)
}

/// Parses a query that the rewriter composed of quoted names.
pub fn query(text: &str) -> Result<Query, ReadError> {
    let lexemes = token::lexemes(text)?;
    let tokens = lexemes.iter().map(Lexeme::spanned).collect();
    parser(tokens)
        .parse_query()
        .map(|query| *query)
        .map_err(|_unread| composed(text))
}

/// Parses an expression that the rewriter composed of quoted names.
pub fn expression(text: &str) -> Result<Expr, ReadError> {
    let lexemes = token::lexemes(text)?;
    let tokens = lexemes.iter().map(Lexeme::spanned).collect();
    parser(tokens)
        .parse_expr()
        .map_err(|_unread| composed(text))
}

fn composed(text: &str) -> ReadError {
    ReadError::Unread {
        statement: (0, text.len()),
        position: 0,
        near: text.to_owned(),
    }
}

/// The lexemes of a text that was printed.
pub fn lexemes(text: &str) -> Result<Lexemes, ReadError> {
    token::lexemes(text)
}
