//! How long PostgreSQL's lexer may take over a text.
//!
//! It reads a run of operator characters to its end, and again from each comment that begins in it and each
//! sign: the square of its length. PostgreSQL's own server does the same, but only its client waits for it.
//!
//! # Invariants
//! 1. What is not counted here is read in a time that grows as the text does.

use super::refusal::{Reason, Refusal};
use crate::sql;

/// The characters of operators, as the lexer has them (`op_chars` of scan.l).
const OPERATOR_CHARACTERS: &[u8] = b"~!@#^&|`?+-*/%<>=";

/// More steps are not taken: about a tenth of a second.
const STEPS_MAX: usize = 16 * 1024 * 1024;

/// Refuses a text that would take too long.
pub(super) fn check(sql: &[u8]) -> Result<(), Refusal> {
    if steps(sql) <= STEPS_MAX {
        return Ok(());
    }
    // In a string it is no operator.
    let too_large = || {
        Refusal::from(Reason::TooLarge {
            what: "steps over operators and comments",
            limit: STEPS_MAX,
        })
    };
    let text = std::str::from_utf8(sql).map_err(|_invalid| Reason::WrongEncoding)?;
    let lexemes = sql::lexemes(text).map_err(|_unread| too_large())?;
    let mut bytes = sql.to_vec();
    for lexeme in &lexemes {
        let place = bytes.get_mut(lexeme.start..lexeme.end);
        if let Some(place) = place.filter(|_| lexeme.holds_any_character()) {
            place.fill(b'x');
        }
    }
    if steps(&bytes) <= STEPS_MAX {
        Ok(())
    } else {
        Err(too_large())
    }
}

/// How many characters are read in runs of operator characters, at most.
fn steps(sql: &[u8]) -> usize {
    let runs = sql.split(|byte| !OPERATOR_CHARACTERS.contains(byte));
    runs.filter(|run| run.len() > 2)
        .map(|run| run.len().saturating_mul(beginnings(run)))
        .fold(0, usize::saturating_add)
}

/// How often the lexer begins anew in a run: at each `/*`, and at each sign that is not in a comment until the
/// end of the line.
fn beginnings(run: &[u8]) -> usize {
    let mut beginnings = 1;
    let mut in_line_comment = false;
    for (at, byte) in run.iter().enumerate() {
        let pair = (*byte, run.get(at + 1).copied().unwrap_or_default());
        match pair {
            (b'-', b'-') => in_line_comment = true,
            // What seems to be one may stand in a comment that ends here.
            (b'*', b'/') => in_line_comment = false,
            (b'/', b'*') => beginnings += 1,
            (b'+' | b'-', _) if !in_line_comment => beginnings += 1,
            _ => {}
        }
    }
    beginnings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beginning(text: &str) -> String {
        text.chars().take(20).collect()
    }

    #[test]
    fn what_is_read_again_and_again_is_refused() {
        for text in [
            format!("SELECT 1 {}x", "/*".repeat(58_000)),
            format!("SELECT 1 {}{}", "/*".repeat(20_000), "*/".repeat(20_000)),
            format!("SELECT {}1", "+-".repeat(20_000)),
            format!("SELECT {}1", "+".repeat(100_000)),
            format!("SELECT 1{}", "+/**/".repeat(20_000)),
            format!("SELECT 1 /*--*/{}1", "+-".repeat(20_000)),
            format!("SELECT '{}' {}1", "x".repeat(9), "+".repeat(100_000)),
            format!("SELECT '{}", "+".repeat(100_000)),
        ] {
            let refusal = check(text.as_bytes()).unwrap_err();
            let is_too_large = matches!(refusal.reason, Reason::TooLarge { .. });
            assert!(is_too_large, "{}", beginning(&text));
        }
    }

    #[test]
    fn what_is_read_once_is_let_through() {
        for text in [
            format!("SELECT 1 /{}/", "*".repeat(1_000_000)),
            format!("SELECT 1 {}", "-".repeat(1_000_000)),
            format!("SELECT 1 {}{}", "/* ".repeat(50_000), " */".repeat(50_000)),
            format!("SELECT '{}'", "+".repeat(1_000_000)),
            format!("SELECT $${}$$", "+-".repeat(500_000)),
            format!("SELECT E'{}\\''", "/*".repeat(500_000)),
            format!("SELECT '{}'", "+-----+-----+\n".repeat(100_000)),
            format!("/* {} */ SELECT 1", "+-----+=====+\n".repeat(100_000)),
        ] {
            assert_eq!(check(text.as_bytes()), Ok(()), "{}", beginning(&text));
        }
    }
}
