//! Reading with PostgreSQL's own parser, on a stack that is large enough.
//!
//! In: a text. Out: the tree of its one statement.

use pg_query::{Node, NodeEnum};

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

/// Whether two texts of one statement have the same tree, positions aside. One with a node that is not known is
/// refused.
pub fn same_tree(one: &str, other: &str) -> Result<bool, Refusal> {
    let first = parse_one(one)?;
    let second = parse_one(other).map_err(|_syntax| Refusal::from(Reason::PrintedDifferently))?;
    super::bare::same(&first, &second)
}

/// Whether PostgreSQL's own printer writes two texts alike. It knows every statement, and is not asked what may be
/// sent.
pub fn same_deparsed(one: &str, other: &str) -> Result<bool, Refusal> {
    let printed = |text| {
        let tree = pg_query::parse(text, 0).map_err(syntax)?;
        pg_query::deparse(&tree.protobuf, pg_query::DeparseOptions::default()).map_err(syntax)
    };
    Ok(printed(one)? == printed(other)?)
}

/// Whether each node of a statement is one that the verifier knows.
pub fn is_known(text: &str) -> Result<(), Refusal> {
    let mut tree = parse_one(text)?;
    // Where a cursor stands is compared by the one rule for it, and is no expression.
    let cursor = |condition: &mut Option<Box<Node>>| {
        let inner = condition.as_ref().and_then(|node| node.node.as_ref());
        if matches!(inner, Some(NodeEnum::CurrentOfExpr(_))) {
            *condition = None;
        }
    };
    if let NodeEnum::DeleteStmt(delete) = &mut tree {
        cursor(&mut delete.where_clause);
    }
    if let NodeEnum::UpdateStmt(update) = &mut tree {
        cursor(&mut update.where_clause);
    }
    super::bare::same(&tree, &tree).map(drop)
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
