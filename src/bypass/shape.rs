//! A statement without its literals, to be written down where the literals are a tenant's data.

use super::record::Shape;
use crate::sql::{Lexeme, Lexemes, Token, lexemes};

/// A longer statement is not looked at: refusing it must stay cheap.
const STATEMENT_BYTES_MAX: usize = 64 * 1024;
/// A longer shape is no use to anybody.
const SHAPE_BYTES_MAX: usize = 2 * 1024;
/// `syntax_error`
const SYNTAX_ERROR: &str = "42601";
/// PostgreSQL cuts longer names; a longer one is more likely a value.
const NAME_BYTES_MAX: usize = 63;

/// The words of a statement, with `?` in place of each literal, and of each quoted name that does not
/// look like one: somebody may have put a value into double quotes.
///
/// Where the quotes themselves are wrong, what was meant as a literal looks like words. So nothing is told
/// but the length of a statement that was refused as a syntax error, nor of one in which a literal ends in a
/// backslash or stands against a word.
pub fn shape(statement: &[u8], sqlstate: &str) -> Shape {
    let readable = if sqlstate == SYNTAX_ERROR {
        None
    } else {
        readable(statement)
    };
    readable.map_or(
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
    if has_doubtful_quotes(text, &lexemes) {
        return None;
    }
    let mut words: Vec<&str> = Vec::with_capacity(lexemes.len());
    let mut is_value = false;
    for lexeme in &lexemes {
        let source = text.get(lexeme.start..lexeme.end)?;
        let word = if is_value && source != ";" {
            "?"
        } else {
            word(lexeme, source)
        };
        // The value of a variable need not be quoted.
        let is_set = words
            .first()
            .is_some_and(|first| first.eq_ignore_ascii_case("set"));
        is_value |= is_set && (source == "=" || source.eq_ignore_ascii_case("to"));
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

/// Whether somebody who escapes quotes in another way than PostgreSQL may have written this.
fn has_doubtful_quotes(text: &str, lexemes: &Lexemes) -> bool {
    let source = |lexeme: &Lexeme| text.get(lexeme.start..lexeme.end).unwrap_or_default();
    let is_literal = |lexeme: &Lexeme| {
        let source = source(lexeme);
        let is_dollar_quoted = source.starts_with('$') && source.ends_with('$');
        let is_number = source.starts_with(|c: char| c.is_ascii_digit());
        source.ends_with('\'') || is_dollar_quoted || is_number
    };
    let ends_in_backslash = |lexeme: &Lexeme| source(lexeme).ends_with("\\'");
    let pairs = lexemes.iter().zip(lexemes.iter().skip(1));
    let stand_together = pairs
        .filter(|(one, next)| one.end == next.start)
        .any(|(one, next)| is_literal(one) && begins_a_word(source(next)));
    stand_together || lexemes.iter().any(ends_in_backslash)
}

fn begins_a_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '"' | '\'' | '$'))
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
        let shape = shape(statement.as_bytes(), "0A000");
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
    fn the_value_of_a_variable_is_replaced() {
        for sql in ["SET app.x = secret", "SET app.x = \"secret\", secret"] {
            readable_as(
                sql,
                if sql.contains(',') {
                    "SET app . x = ? ? ?"
                } else {
                    "SET app . x = ?"
                },
            );
        }
        readable_as("set local app.x to secret", "set local app . x to ?");
    }

    #[test]
    fn a_syntax_error_is_only_measured() {
        let statement = b"SELECT 'O' Secret ', '";
        let bytes = statement.len();
        assert_eq!(shape(statement, "42601"), Shape::Unreadable { bytes });
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
            br"SELECT f('a\' OR secretb ', 'x')",
            br"SELECT 'a' WHERE x = 'b\' AND secret = ' '",
            b"SELECT 'O'Secret', 'Mc'Secret'",
            b"SELECT 1e5555secret15",
            b"SELECT 12secret",
        ] {
            assert_eq!(
                shape(statement, "0A000"),
                Shape::Unreadable {
                    bytes: statement.len()
                }
            );
        }
    }
}
