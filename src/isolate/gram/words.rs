//! The words of a text, as PostgreSQL's own lexer finds them.
//!
//! In: a text. Out: its words with their byte ranges, comments left out; where statements, names,
//! parentheses and clauses end.
//!
//! # Invariants
//! 1. Two string literals with a line's end between them are one word, as they are one literal.

use std::ops::Range;

use pg_query::protobuf::Token;

use super::Rewritten;
use super::edits::Gap;
use crate::isolate::refusal::{Reason, Refusal};

/// Deeper statements are refused. The tree of a statement is at most a few times as deep.
pub(super) const NESTING_MAX: usize = 600;

/// A word.
#[derive(Clone, Debug)]
pub(super) struct Word {
    pub(super) kind: Token,
    pub(super) bytes: Range<usize>,
}

/// The words of a text.
#[derive(Debug)]
pub(super) struct Words<'t> {
    text: &'t str,
    all: Vec<Word>,
}

impl<'t> Words<'t> {
    /// Reads a text.
    pub(super) fn of(text: &'t str) -> Rewritten<Self> {
        let is_space = |byte: u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c);
        // The library must not be asked about a text without any word.
        if text.bytes().all(is_space) {
            return Ok(Self {
                text,
                all: Vec::new(),
            });
        }
        let mut all = Vec::new();
        for token in pg_query::scan_tokens(text).map_err(super::syntax)? {
            let kind = token.token();
            if matches!(kind, Token::SqlComment | Token::CComment) {
                continue;
            }
            let offset = |at: i32| usize::try_from(at).map_err(|_error| Reason::LexersDisagree);
            all.push(Word {
                kind,
                bytes: offset(token.start)?..offset(token.end)?,
            });
        }
        Ok(Self { text, all })
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, Word> {
        self.all.iter()
    }

    /// The kind of a word; none behind the end.
    pub(super) fn kind(&self, index: usize) -> Option<Token> {
        self.all.get(index).map(|word| word.kind)
    }

    pub(super) fn is(&self, index: usize, kind: Token) -> bool {
        self.kind(index) == Some(kind)
    }

    /// A word as it is written.
    pub(super) fn written(&self, index: usize) -> &'t str {
        let bytes = self.all.get(index).map(|word| word.bytes.clone());
        bytes
            .and_then(|bytes| self.text.get(bytes))
            .unwrap_or_default()
    }

    /// The text from a word to the end of the last one.
    pub(super) fn text_from(&self, index: usize) -> &'t str {
        let start = self.all.get(index).map(|word| word.bytes.start);
        let end = self.all.last().map(|word| word.bytes.end);
        let bytes = start.zip(end).map(|(start, end)| start..end);
        bytes
            .and_then(|bytes| self.text.get(bytes))
            .unwrap_or_default()
    }

    /// What stands between a word and the one before it.
    pub(super) fn gap(&self, index: usize) -> Gap {
        let before = index.checked_sub(1).and_then(|before| self.all.get(before));
        match (before, self.all.get(index)) {
            (Some(before), Some(word)) if before.bytes.end == word.bytes.start => Gap::None,
            (None | Some(_), _) => Gap::Some,
        }
    }

    /// The word that begins at a byte, as the positions of the tree tell it.
    pub(super) fn at(&self, location: i32) -> Rewritten<usize> {
        let byte = usize::try_from(location).map_err(|_error| super::lost("a position"))?;
        self.all
            .binary_search_by_key(&byte, |word| word.bytes.start)
            .map_err(|_index| super::lost("a position"))
    }

    /// The byte ranges of the statements, empty ones left out.
    #[expect(clippy::wildcard_enum_match_arm, reason = "a word within a statement")]
    pub(super) fn statements(&self) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        let mut current: Option<Range<usize>> = None;
        let mut depth = 0_usize;
        for word in &self.all {
            match word.kind {
                Token::Ascii59 if depth == 0 => {
                    found.extend(current.take());
                    continue;
                }
                Token::Ascii40 => depth += 1,
                Token::Ascii41 => depth = depth.saturating_sub(1),
                _ => {}
            }
            let start = current.map_or(word.bytes.start, |range| range.start);
            current = Some(start..word.bytes.end);
        }
        found.extend(current);
        found
    }

    /// Behind a dotted name that begins here.
    pub(super) fn behind_name(&self, index: usize) -> usize {
        let mut behind = self.behind_part(index);
        while self.is(behind, Token::Ascii46) {
            behind = self.behind_part(behind + 1);
        }
        behind
    }

    /// Behind a name without dots: `U&"x" UESCAPE '!'` is three words.
    pub(super) fn behind_part(&self, index: usize) -> usize {
        if self.is(index + 1, Token::Uescape) {
            index + 3
        } else {
            index + 1
        }
    }

    /// Behind the parenthesis that closes the one here.
    pub(super) fn behind_group(&self, index: usize) -> Rewritten<usize> {
        let mut depth = 0_usize;
        for at in index..self.len() {
            match self.kind(at) {
                Some(Token::Ascii40) => depth += 1,
                Some(Token::Ascii41) => depth = depth.saturating_sub(1),
                Some(_) | None => {}
            }
            if depth == 0 {
                return Ok(at + 1);
            }
        }
        Err(super::lost("a parenthesis"))
    }

    /// The next word of one of these kinds, from here on, that is not within parentheses, brackets or
    /// CASE, and no name; or the end of what is around: a closing parenthesis or the text's end.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "not a word that is looked for"
    )]
    pub(super) fn next_of(&self, from: usize, kinds: &[Token]) -> usize {
        let mut depth = 0_usize;
        for at in from..self.len() {
            let Some(kind) = self.kind(at) else { break };
            let is_name = self.is_name(at);
            match kind {
                Token::Ascii41 | Token::Ascii93 | Token::EndP if depth > 0 && !is_name => {
                    depth -= 1;
                }
                Token::Ascii41 => return at,
                Token::Ascii40 | Token::Ascii91 => depth += 1,
                Token::Case if !is_name => depth += 1,
                _ if depth == 0 && !is_name && kinds.contains(&kind) => return at,
                _ => {}
            }
        }
        self.len()
    }

    /// Whether a keyword is a name here: behind a dot, or as a label behind AS.
    fn is_name(&self, index: usize) -> bool {
        let before = index.checked_sub(1).and_then(|before| self.kind(before));
        matches!(before, Some(Token::Ascii46 | Token::As))
            && !self.is(index, Token::Ascii40)
            && !self.is(index, Token::Ascii41)
    }

    /// A bound on how deeply the text's tree nests, found without recursion; an error if it is beyond
    /// what can be read safely.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "every other word counts as one that nests"
    )]
    pub(super) fn nesting(&self) -> Rewritten<usize> {
        // Of each open group: the words that may nest into one another since the last separator, and
        // the joins and set operations, which nest over separators.
        let mut open = vec![(0_usize, 0_usize)];
        let (mut depth, mut deepest) = (0_usize, 0);
        for word in &self.all {
            if matches!(word.kind, Token::Ascii41 | Token::Ascii93 | Token::EndP) && open.len() > 1
            {
                let (chained, joined) = open.pop().unwrap_or_default();
                depth -= chained + joined + 1;
                continue;
            }
            let Some((chained, joined)) = open.last_mut() else {
                continue;
            };
            match word.kind {
                Token::Ascii40 | Token::Ascii91 | Token::Case => {
                    open.push((0, 0));
                    depth += 1;
                }
                Token::Ascii44
                | Token::And
                | Token::Or
                | Token::When
                | Token::Then
                | Token::Else => depth -= std::mem::take(chained),
                Token::Join | Token::Union | Token::Intersect | Token::Except => {
                    depth -= std::mem::take(chained);
                    *joined += 1;
                    depth += 1;
                }
                Token::Ident | Token::Iconst | Token::Sconst | Token::Param | Token::Ascii46 => {}
                _ => {
                    *chained += 1;
                    depth += 1;
                }
            }
            deepest = deepest.max(depth);
        }
        if deepest > NESTING_MAX {
            let limit = NESTING_MAX;
            return Err(Refusal::from(Reason::TooLarge {
                what: "nesting",
                limit,
            }));
        }
        Ok(deepest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clauses_and_statements_end_where_they_should() {
        let text = "UPDATE t SET a = (SELECT 1 WHERE true), b = t.where -- WHERE\n WHERE CASE WHEN x \
                    THEN y END RETURNING 1 AS where; SELECT (2; 3);;";
        let words = Words::of(text).unwrap();
        let at = words.next_of(3, &[Token::Where]);
        assert_eq!(words.written(at + 1), "CASE");
        assert_eq!(
            words.next_of(at + 1, &[Token::Where, Token::When]),
            words.len()
        );
        assert_eq!(words.statements().len(), 2);
        assert_eq!(Words::of("'a' \n 'b' /* c */").unwrap().len(), 1);
        assert!(Words::of(" \n").unwrap().statements().is_empty());
    }

    #[test]
    fn names_may_have_escapes() {
        let words = Words::of("U&\"d!0061t\" UESCAPE '!' . b x").unwrap();
        assert_eq!(words.written(words.behind_name(0)), "x");
    }

    #[test]
    fn what_nests_too_deeply_is_not_read() {
        let deep = |text: String| Words::of(&text).unwrap().nesting().is_err();
        assert!(deep("SELECT ".to_owned() + &"(".repeat(700)));
        assert!(deep("SELECT ".to_owned() + &"NOT ".repeat(700)));
        assert!(deep(
            "SELECT 1, 2".to_owned() + &" UNION SELECT 1, 2".repeat(700)
        ));
        assert!(!deep("SELECT 1".to_owned() + &", 1 + 1".repeat(700)));
    }
}
