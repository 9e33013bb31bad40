//! Syntax errors, in PostgreSQL's own words.

use super::words::NESTING_MAX;
use super::{reading, words};
use crate::isolate::refusal::Reason;

/// The reason, if PostgreSQL's parser cannot read this statement, or must not be asked since it is
/// nested too deeply.
pub fn syntax_error(text: &str) -> Option<Reason> {
    let nesting = match words::scan(text).and_then(|tokens| words::nesting(&tokens)) {
        Ok(nesting) => nesting,
        Err(refusal) => return Some(refusal.reason),
    };
    // The tree is dropped where it is made.
    reading::with_stack(nesting, || {
        match pg_query::parse(text, pg_query::ParserOptions::DEFAULT) {
            Ok(_) | Err(pg_query::Error::Decode(_)) => None,
            Err(pg_query::Error::Parse(message)) => Some(unread(message)),
            Err(other) => Some(Reason::Syntax {
                message: other.to_string(),
            }),
        }
    })
}

/// What PostgreSQL's message about a text means: a syntax error, but for one.
pub(super) fn unread(message: String) -> Reason {
    // check_stack_depth(): ERRCODE_STATEMENT_TOO_COMPLEX.
    if message == "stack depth limit exceeded" {
        return Reason::TooLarge {
            what: "nesting",
            limit: NESTING_MAX,
        };
    }
    Reason::Syntax { message }
}
