//! Reading with PostgreSQL's own parser, on a stack that is large enough.
//!
//! In: a text. Out: the tree of its one statement.

use pg_query::NodeEnum;

use crate::isolate::refusal::{Reason, Refusal};

/// What one level of nesting takes, over decoding, walking and dropping the tree, at most.
const STACK_PER_LEVEL: usize = 96 * 1024;

/// What is taken whatever the statement.
const STACK_BASE: usize = 512 * 1024;

/// Runs `work` with stack enough for a statement of this nesting.
pub(super) fn with_stack<T>(nesting: usize, work: impl FnOnce() -> T) -> T {
    let needed = STACK_BASE + nesting * STACK_PER_LEVEL;
    stacker::maybe_grow(needed, needed, work)
}

/// Runs `work` one query deeper, on a stack of its own where this one runs short.
pub(super) fn deeper<T>(work: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(256 * 1024, 4 * 1024 * 1024, work)
}

/// The tree of a text that holds exactly one statement.
pub(super) fn parse_one(text: &str) -> Result<NodeEnum, Refusal> {
    let tree = pg_query::parse(text, 0).map_err(syntax)?.protobuf;
    let mut statements = tree.stmts.into_iter();
    let (Some(statement), None) = (statements.next(), statements.next()) else {
        return Err(Reason::Unproved {
            what: "a text of one statement".to_owned(),
        }
        .into());
    };
    statement
        .stmt
        .and_then(|node| node.node)
        .ok_or_else(|| Reason::PrintedDifferently.into())
}

/// PostgreSQL's own message, without the library's prefix.
pub(super) fn syntax(error: pg_query::Error) -> Refusal {
    match error {
        pg_query::Error::Parse(message) | pg_query::Error::Scan(message) => {
            super::syntax::unread(message).into()
        }
        pg_query::Error::Conversion(_) => Reason::WrongEncoding.into(),
        other @ (pg_query::Error::Decode(_)
        | pg_query::Error::InvalidJson(_)
        | pg_query::Error::InvalidPointer
        | pg_query::Error::IsUtility(_)
        | pg_query::Error::Split(_)) => Reason::Unproved {
            what: other.to_string(),
        }
        .into(),
    }
}
