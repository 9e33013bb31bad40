//! Regular expressions that cannot fail, whatever they are matched with.
//!
//! PostgreSQL compiles a literal one while it plans, or with the first row. Groups, classes, counts and
//! most escapes are left out: what remains is always well-formed, and matched without going back.

use pg_query::Node;

use super::comparison::Argument;
use super::proof::Proof;
use super::silent::{Clause, location};
use super::types::{self, Typed};

/// The operators that match a text with a regular expression.
pub(super) const MATCHES: [&str; 4] = ["!~", "!~*", "~", "~*"];

/// Longer ones have too many states.
const BYTES_MAX: usize = 64;

impl Proof<'_> {
    /// A text that is matched with a regular expression.
    pub(super) fn silent_match(
        &mut self,
        operator: &str,
        (text, pattern): (&Node, &Node),
        node: &Node,
        clause: Clause,
    ) -> Typed {
        let (left, right) = (self.silent(text, clause)?, self.silent(pattern, clause)?);
        let is_plain = types::is_text(left.oid)
            && super::silent::is_plain(&left)
            && self.catalog().operators_named(operator).next().is_none();
        let arguments = [
            Argument {
                value: left.clone(),
                node: None,
            },
            Argument {
                value: right.clone(),
                node: Some(pattern),
            },
        ];
        let what = format!("operator {operator}");
        let found = self.listed_silent(&what, operator, &arguments, location(node));
        if is_plain && found.is_ok() {
            found
        } else {
            self.operate(operator, left, right, node)
        }
    }
}

/// Whether a regular expression is made of plain characters, `.`, `^`, `$`, `|` and single quantifiers.
pub(super) fn is_simple(pattern: &str) -> bool {
    let mut quantifiable = false;
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        quantifiable = match character {
            '*' | '+' | '?' if quantifiable => false,
            '^' | '$' | '|' => false,
            '.' | ' ' | '_' | '-' | '@' | ',' | ':' | '/' | '%' | '&' | '#' | '\'' | '"' => true,
            '\\' => match characters.next() {
                Some(
                    '.' | '*' | '+' | '?' | '^' | '$' | '|' | '(' | ')' | '[' | ']' | '{' | '}',
                ) => true,
                Some(_) | None => return false,
            },
            _ if character.is_ascii_alphanumeric() => true,
            _ => return false,
        };
    }
    pattern.len() <= BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::is_simple;

    #[test]
    fn only_what_is_always_well_formed_is_simple() {
        for pattern in ["", "abc", "^a.*b$", "x|y+z?", r"a\.b", "a|", "^", "A b-c@d"] {
            assert!(is_simple(pattern), "{pattern}");
        }
        for pattern in [
            "(",
            "a(b)",
            "[a]",
            "a{2}",
            "*a",
            "a**",
            "a*?",
            "^*",
            "|*",
            r"\d",
            r"\1",
            "\\",
            "***=a",
            "(?i)a",
            "é",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ] {
            assert!(!is_simple(pattern), "{pattern}");
        }
    }
}
