//! Tokens with their byte ranges.

use sqlparser::ast::Ident;
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer};

use super::{ReadError, fold};

/// A token that is neither white space nor a comment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lexeme {
    /// The token.
    pub token: Token,
    /// Its first byte in the message.
    pub start: usize,
    /// The byte after its last.
    pub end: usize,
    span: Span,
}

impl Lexeme {
    pub(super) fn spanned(&self) -> TokenWithSpan {
        TokenWithSpan {
            token: self.token.clone(),
            span: self.span,
        }
    }

    /// Whether it is a literal, a word or a name, in which characters of operators mean nothing.
    pub fn holds_any_character(&self) -> bool {
        matches!(
            self.token,
            Token::Word(_)
                | Token::Number(..)
                | Token::SingleQuotedString(_)
                | Token::DollarQuotedString(_)
                | Token::EscapedStringLiteral(_)
                | Token::UnicodeStringLiteral(_)
                | Token::NationalStringLiteral(_)
                | Token::SingleQuotedByteStringLiteral(_)
                | Token::HexStringLiteral(_)
        )
    }

    /// The folded name, if the token is a word or a quoted identifier.
    pub fn name(&self) -> Option<String> {
        let Token::Word(word) = &self.token else {
            return None;
        };
        let ident = Ident {
            value: word.value.clone(),
            quote_style: word.quote_style,
            span: Span::empty(),
        };
        fold(&ident).ok()
    }
}

/// The tokens of one statement, in order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Lexemes(Vec<Lexeme>);

impl Lexemes {
    /// One after the other.
    pub fn iter(&self) -> std::slice::Iter<'_, Lexeme> {
        self.0.iter()
    }

    /// The token at this index.
    pub fn get(&self, index: usize) -> Option<&Lexeme> {
        self.0.get(index)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that begin at this byte of the message or behind it.
    #[must_use]
    pub fn from(&self, start: usize) -> Self {
        let behind = |lexeme: &&Lexeme| lexeme.start >= start;
        Self(self.0.iter().filter(behind).cloned().collect())
    }

    /// The last one.
    pub fn last(&self) -> Option<&Lexeme> {
        self.0.last()
    }

    /// The byte range from the first token to the last.
    pub fn range(&self) -> (usize, usize) {
        let start = self.0.first().map_or(0, |lexeme| lexeme.start);
        (start, self.0.last().map_or(start, |lexeme| lexeme.end))
    }

    /// The token that begins at a place in the tree.
    pub(super) fn at(&self, location: Location) -> Option<&Lexeme> {
        self.0.iter().find(|lexeme| lexeme.span.start == location)
    }

    /// The byte offset of a place in the tree.
    pub fn position(&self, location: Location) -> Option<usize> {
        self.at(location).map(|lexeme| lexeme.start)
    }
}

impl<'a> IntoIterator for &'a Lexemes {
    type Item = &'a Lexeme;
    type IntoIter = std::slice::Iter<'a, Lexeme>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Reads all tokens of a text.
pub(super) fn lexemes(text: &str) -> Result<Lexemes, ReadError> {
    static DIALECT: PostgreSqlDialect = PostgreSqlDialect {};
    let tokens = Tokenizer::new(&DIALECT, text)
        .with_unescape(false)
        .tokenize_with_location()
        .map_err(|error| {
            let position = Cursor::new(text).byte_at(error.location);
            ReadError::Unread {
                statement: (0, text.len()),
                position,
                near: text
                    .get(position..)
                    .unwrap_or_default()
                    .chars()
                    .take(20)
                    .collect(),
            }
        })?;
    let mut cursor = Cursor::new(text);
    let mut lexemes = Vec::with_capacity(tokens.len() / 2);
    for TokenWithSpan { token, span } in tokens {
        if matches!(token, Token::Whitespace(_) | Token::EOF) {
            continue;
        }
        let start = cursor.byte_at(span.start);
        let end = cursor.byte_at(span.end);
        let lexeme = Lexeme {
            token,
            start,
            end,
            span,
        };
        if holds_comment(&lexeme, text.get(start..end).unwrap_or_default()) {
            return Err(ReadError::GluedOperator { position: start });
        }
        let is_continued = lexemes
            .last_mut()
            .is_some_and(|before| continue_with(before, &lexeme, text));
        if !is_continued {
            lexemes.push(lexeme);
        }
    }
    Ok(Lexemes(lexemes))
}

/// Two string literals with white space between them, a line's end in it, are one literal
/// (`quotecontinue` in scan.l; with a comment between them it takes more, which is left alone).
fn continue_with(before: &mut Lexeme, lexeme: &Lexeme, text: &str) -> bool {
    let (Token::SingleQuotedString(first), Token::SingleQuotedString(second)) =
        (&mut before.token, &lexeme.token)
    else {
        return false;
    };
    let between = text.get(before.end..lexeme.start).unwrap_or_default();
    let is_space = |c: char| matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0c');
    if !between.chars().all(is_space) || !between.contains(['\n', '\r']) {
        return false;
    }
    first.push_str(second);
    before.end = lexeme.end;
    before.span = before.span.union(&lexeme.span);
    true
}

/// PostgreSQL ends an operator before `--` and `/*`; the tokenizer here does not always.
fn holds_comment(lexeme: &Lexeme, text: &str) -> bool {
    !lexeme.holds_any_character() && (text.contains("--") || text.contains("/*"))
}

/// Splits at semicolons outside parentheses.
pub(super) fn split(lexemes: Lexemes) -> Vec<Lexemes> {
    let mut statements = Vec::new();
    let mut current = Vec::new();
    let mut depth = 0_usize;
    for lexeme in lexemes.0 {
        if lexeme.token == Token::SemiColon && depth == 0 {
            statements.push(Lexemes(std::mem::take(&mut current)));
            continue;
        }
        if lexeme.token == Token::LParen {
            depth += 1;
        } else if lexeme.token == Token::RParen {
            depth = depth.saturating_sub(1);
        }
        current.push(lexeme);
    }
    statements.push(Lexemes(current));
    statements.retain(|statement| !statement.is_empty());
    statements
}

/// Turns the tokenizer's lines and columns, which count characters, into bytes; moves forward only.
struct Cursor<'a> {
    text: &'a str,
    location: Location,
    byte: usize,
}

impl<'a> Cursor<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            location: Location { line: 1, column: 1 },
            byte: 0,
        }
    }

    fn byte_at(&mut self, target: Location) -> usize {
        let rest = self.text.get(self.byte..).unwrap_or_default();
        for character in rest.chars() {
            if self.location >= target {
                break;
            }
            self.byte += character.len_utf8();
            if character == '\n' {
                self.location = Location {
                    line: self.location.line + 1,
                    column: 1,
                };
            } else {
                self.location.column += 1;
            }
        }
        self.byte
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_ranges_survive_wide_characters_and_lines() {
        let text = "SELECT 'ä\né', \"ü\" -- x\n FROM t";
        let found: Vec<&str> = lexemes(text)
            .unwrap()
            .iter()
            .map(|l| text.get(l.start..l.end).unwrap())
            .collect();
        assert_eq!(found, ["SELECT", "'ä\né'", ",", "\"ü\"", "FROM", "t"]);
    }

    #[test]
    fn an_operator_never_holds_a_comment() {
        for text in ["a <>/*'*/ b --'", "a ||/*x*/ b", "a <>--b"] {
            assert!(
                matches!(lexemes(text), Err(ReadError::GluedOperator { .. })),
                "{text}"
            );
        }
        assert!(lexemes("a = '--' || '/*' || $$--$$").is_ok());
    }

    #[test]
    fn statements_end_at_semicolons_outside_parentheses() {
        let parts = split(lexemes(";SELECT 1;; SELECT (2;3) ;").unwrap());
        assert_eq!(parts.len(), 2);
    }
}
