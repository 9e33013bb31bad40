//! Edits of a text, word by word.
//!
//! In: a text's words, and edits of some. Out: the text with the edits, without comments.
//!
//! # Invariants
//! 1. Every word of the text is either kept as it is written, or covered by exactly one edit.

use std::ops::Range;

use super::words::Words;
use super::{Rewritten, lost};
use crate::isolate::template::Edit;

/// The edits of a text, in any order; of two insertions at one place the first comes first.
#[derive(Debug, Default)]
pub(super) struct Edits(Vec<Edit>);

impl Edits {
    /// Puts a text before a word.
    pub(super) fn insert(&mut self, index: usize, text: impl Into<String>) {
        self.replace(index..index, text);
    }

    /// Puts a text in place of words.
    pub(super) fn replace(&mut self, words: Range<usize>, text: impl Into<String>) {
        self.0.push(Edit {
            words,
            text: text.into(),
        });
    }

    /// Puts a text in place of words that may have been replaced before.
    pub(super) fn replace_again(&mut self, words: Range<usize>, text: impl Into<String>) {
        self.0.retain(|edit| edit.words != words);
        self.replace(words, text);
    }

    /// The text of some words with their edits, which are then done with.
    pub(super) fn cut(&mut self, words: &Words<'_>, range: Range<usize>) -> Rewritten<String> {
        let within = |edit: &Edit| range.start <= edit.words.start && edit.words.end <= range.end;
        let (inner, outer) = std::mem::take(&mut self.0).into_iter().partition(within);
        self.0 = outer;
        splice(words, &in_order(inner)?, range)
    }

    /// All edits in the order of the text.
    pub(super) fn finish(self) -> Rewritten<Vec<Edit>> {
        in_order(self.0)
    }
}

fn in_order(mut edits: Vec<Edit>) -> Rewritten<Vec<Edit>> {
    // Stable: of two insertions at one place the first comes first.
    edits.sort_by_key(|edit| (edit.words.start, edit.words.end));
    let apart = edits.windows(2).all(|pair| match pair {
        [one, next] => one.words.end <= next.words.start,
        _ => false,
    });
    if apart {
        Ok(edits)
    } else {
        Err(lost("an edit"))
    }
}

/// The words of a range, each as it is written or as an edit has it.
pub(super) fn splice(words: &Words<'_>, edits: &[Edit], range: Range<usize>) -> Rewritten<String> {
    let mut text = String::new();
    let mut at = range.start;
    for edit in edits {
        for index in at..edit.words.start {
            push(&mut text, words.written(index), words.gap(index));
        }
        push(&mut text, &edit.text, words.gap(edit.words.start));
        at = edit.words.end;
    }
    if at > range.end {
        return Err(lost("an edit"));
    }
    for index in at..range.end {
        push(&mut text, words.written(index), words.gap(index));
    }
    Ok(text)
}

/// Whether something stood between two words.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Gap {
    None,
    Some,
}

/// Parts that touched may touch again, where they cannot run into one another.
fn push(text: &mut String, part: &str, gap: Gap) {
    let apart = ['(', ')', '[', ']', ',', '.', ':'];
    let may_touch = text.ends_with(['(', '[', '.', ':']) || part.starts_with(apart);
    if !(text.is_empty() || part.is_empty() || (gap == Gap::None && may_touch)) {
        text.push(' ');
    }
    text.push_str(part);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spliced(text: &str, edits: &[(Range<usize>, &str)]) -> String {
        let words = Words::of(text).unwrap();
        let mut all = Edits::default();
        for (range, text) in edits {
            all.replace(range.clone(), *text);
        }
        let edits = all.finish().unwrap();
        splice(&words, &edits, 0..words.len()).unwrap()
    }

    #[test]
    fn words_keep_apart_and_comments_vanish() {
        let text = "SELECT a.b,count(*)-1-- c\n,'x'\n'y'/*z*/FROM\"t\"WHERE a<>/*'*/ b";
        let expected = "SELECT a.b, count(*) - 1 , 'x'\n'y' FROM \"t\" WHERE a <> b";
        assert_eq!(spliced(text, &[]), expected);
    }

    #[test]
    fn edits_are_put_in_order() {
        assert_eq!(
            spliced("a b c", &[(2..2, "y"), (0..1, "x"), (2..2, "z")]),
            "x b y z c"
        );
        let words = Words::of("a b c").unwrap();
        let mut edits = Edits::default();
        edits.replace(0..2, "x");
        edits.replace(1..3, "y");
        assert!(edits.finish().is_err());
        let mut edits = Edits::default();
        edits.replace(1..2, "x");
        assert_eq!(edits.cut(&words, 1..3).unwrap(), "x c");
        assert_eq!(edits.finish().unwrap(), []);
    }
}
