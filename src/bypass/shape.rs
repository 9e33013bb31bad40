//! A statement without its literals, to be written down where the literals are a tenant's data.

use super::record::Shape;
use crate::sql::{Lexeme, Token, lexemes};

/// A longer statement is not looked at: refusing it must stay cheap.
const STATEMENT_BYTES_MAX: usize = 64 * 1024;
/// A longer shape is no use to anybody.
const SHAPE_BYTES_MAX: usize = 2 * 1024;
/// PostgreSQL cuts longer names; a longer one is more likely a value.
const NAME_BYTES_MAX: usize = 63;

/// The words of a statement, with `?` in place of each literal, and of each quoted name that does not
/// look like one: somebody may have put a value into double quotes.
pub fn shape(statement: &[u8]) -> Shape {
    readable(statement).map_or(
        Shape::Unreadable {
            bytes: statement.len(),
        },
        |shape| Shape::Readable { shape },
    )
}

fn readable(statement: &[u8]) -> Option<String> {
    if statement.len() > STATEMENT_BYTES_MAX {
        return None;
    }
    let text = std::str::from_utf8(statement).ok()?;
    let lexemes = lexemes(text).ok()?;
    let mut words: Vec<&str> = Vec::with_capacity(lexemes.len());
    for lexeme in &lexemes {
        let word = word(lexeme, text.get(lexeme.start..lexeme.end)?);
        // A list of literals says no more than one of them, however long it is.
        if word == "?" && words.ends_with(&["?", ","]) {
            words.pop();
        } else {
            words.push(word);
        }
    }
    let shape = words.join(" ");
    (shape.len() <= SHAPE_BYTES_MAX).then_some(shape)
}

/// What is not known to be free of values counts as one.
fn word<'a>(lexeme: &Lexeme, text: &'a str) -> &'a str {
    const SIGNS: &str = "+-*/<>=~!@#%^&|`?:.,;()[]{}";
    let is_name = |name: &str| {
        let mut characters = name.chars();
        let begins = characters
            .next()
            .is_some_and(|c| c.is_alphabetic() || c == '_');
        let goes_on = characters.all(|c| c.is_alphanumeric() || matches!(c, '_' | '$'));
        begins && goes_on && name.len() <= NAME_BYTES_MAX
    };
    let is_word = matches!(lexeme.token, Token::Word(_));
    let bare = text
        .strip_prefix('"')
        .and_then(|quoted| quoted.strip_suffix('"'))
        .unwrap_or(text);
    let is_parameter = text
        .strip_prefix('$')
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|it| it.is_ascii_digit()));
    let is_sign = !text.is_empty() && text.chars().all(|c| SIGNS.contains(c));
    if (is_word && is_name(bare)) || is_parameter || is_sign {
        text
    } else {
        "?"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readable_as(statement: &str, expected: &str) {
        let shape = shape(statement.as_bytes());
        let expected = Shape::Readable {
            shape: expected.to_owned(),
        };
        assert_eq!(shape, expected, "{statement}");
    }

    #[test]
    fn literals_are_replaced() {
        for literal in [
            "'secret'",
            "E'sec\\'ret'",
            "$$secret$$",
            "$tag$secret$tag$",
            "N'secret'",
            "U&'secret'",
            "B'1'",
            "X'ff'",
            "42",
            "4.2e1",
            "'a'\n'secret'",
            "\"a secret\"",
            "\"secret's\"",
        ] {
            readable_as(
                &format!("SELECT f({literal}) FROM \"Order\" -- secret\n WHERE a = $1"),
                "SELECT f ( ? ) FROM \"Order\" WHERE a = $1",
            );
        }
    }

    #[test]
    fn a_list_of_literals_is_one() {
        readable_as("a IN (1, 'x' ,3)", "a IN ( ? )");
        readable_as(
            "VALUES (1, a, 2), (3, b, 4)",
            "VALUES ( ? , a , ? ) , ( ? , b , ? )",
        );
    }

    #[test]
    fn what_cannot_be_read_is_only_measured() {
        let long = format!("SELECT {}", "a, ".repeat(2000));
        let longer = "x".repeat(STATEMENT_BYTES_MAX + 1);
        for statement in [
            b"SELECT 'secret".as_slice(),
            b"\xff",
            long.as_bytes(),
            longer.as_bytes(),
        ] {
            assert_eq!(
                shape(statement),
                Shape::Unreadable {
                    bytes: statement.len()
                }
            );
        }
    }
}
