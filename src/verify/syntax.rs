//! Syntax errors, in PostgreSQL's own words.

use crate::isolate::refusal::Reason;

/// The reason, if PostgreSQL's parser cannot read this statement.
pub fn syntax_error(text: &str) -> Option<Reason> {
    match pg_query::parse(text, pg_query::ParserOptions::DEFAULT) {
        Ok(_) | Err(pg_query::Error::Decode(_)) => None,
        Err(pg_query::Error::Parse(message)) => Some(Reason::Syntax { message }),
        Err(other) => Some(Reason::Syntax {
            message: other.to_string(),
        }),
    }
}
