//! Whether a statement can be read at all, before anything is known of a database.
//!
//! In: a text. Out: nothing, or a [`Refusal`] of what was not understood.
//!
//! # Not here
//! What the statement may do, and whose rows it touches: [`super::isolate()`].

use super::refusal::{Reason, Refusal};
use super::{effort, gram, told, unread, with_room};
use crate::sql::{self, Lexemes};
use crate::verify::{is_known, same_deparsed, same_tree, syntax_error};

/// Reads each statement of a message on the paths that could rewrite it. One of them must understand it: either
/// what was parsed is printed and PostgreSQL finds the same tree in it, or each node of PostgreSQL's own tree is
/// known.
pub fn legible(sql: &[u8]) -> Result<(), Refusal> {
    effort::check(sql)?;
    with_room(sql.len(), || {
        let message = String::from_utf8_lossy(sql);
        match sql::split(sql) {
            Ok(statements) => statements
                .into_iter()
                .try_for_each(|lexemes| statement(lexemes, &message)),
            Err(error) => {
                let unsplit = unread(error, &message);
                let ranges = gram::statements(&message).map_err(|_unread| unsplit.clone())?;
                ranges.into_iter().try_for_each(|range| {
                    let text = message.get(range).unwrap_or_default();
                    is_known(text).map_err(|second| told(unsplit.clone(), second))
                })
            }
        }
    })
}

fn statement(lexemes: Lexemes, message: &str) -> Result<(), Refusal> {
    let (start, end) = lexemes.range();
    let text = message.get(start..end).unwrap_or_default();
    if let Some(reason) = syntax_error(text) {
        return Err(Refusal::at(reason, start));
    }
    let first = match printed(lexemes, message, text) {
        Ok(()) => return Ok(()),
        Err(refusal) => refusal,
    };
    is_known(text).map_err(|second| told(first, second))
}

fn printed(lexemes: Lexemes, message: &str, text: &str) -> Result<(), Refusal> {
    let parsed = sql::read(lexemes).map_err(|error| unread(error, message))?;
    let printed = parsed.tree.to_string();
    let is_same = match same_tree(text, &printed) {
        Ok(is_same) => is_same,
        // What changes a schema is no statement that the verifier knows; PostgreSQL's printer does.
        Err(_not_known) => same_deparsed(text, &printed)?,
    };
    if is_same {
        Ok(())
    } else {
        Err(Reason::PrintedDifferently.into())
    }
}
