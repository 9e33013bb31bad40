//! Statements that end with another one: EXPLAIN, DECLARE.
//!
//! In: the words of such a statement. Out: what it becomes: the carried statement as it is rewritten by
//! itself, behind the words that stood before it.

use std::collections::BTreeSet;

use super::gram::Carrier;
use super::refusal::Refusal;
use super::remedy::Remedy;
use super::template::{Edit, Reading, Slot, Template};
use super::{Prepared, Source, within};
use crate::sql::Lexemes;

impl Source<'_> {
    /// Rewrites the carried statement, in the one way or the other.
    pub(super) fn carrying(
        &self,
        lexemes: &Lexemes,
        carrier: &Carrier,
        remedies: &BTreeSet<Remedy>,
    ) -> Result<Prepared, Refusal> {
        let (start, end) = lexemes.range();
        let inner = lexemes.from(start + carrier.bytes);
        if inner.range().0 != start + carrier.bytes {
            return self.splice(start..end);
        }
        let inner = self.prepare_with(inner, &within(remedies, carrier.bytes))?;
        Ok(Prepared {
            original: self.message.get(start..end).unwrap_or_default().to_owned(),
            offset: start,
            reading: behind(&inner.reading, lexemes, carrier),
            kind: carrier.kind.clone(),
            template: carrier.before(inner.template),
        })
    }
}

impl Carrier {
    fn before(&self, inner: Template) -> Template {
        let Template {
            text,
            client_parameters,
            tenant_parameters,
            slots,
        } = inner;
        let moved = |slot: Slot| Slot {
            offset: slot.offset + self.sent.len() + 1,
            ..slot
        };
        Template {
            text: format!("{} {text}", self.sent),
            client_parameters,
            tenant_parameters,
            slots: slots.into_iter().map(moved).collect(),
        }
    }
}

/// How the whole was read, by how the carried statement was.
fn behind(inner: &Reading, lexemes: &Lexemes, carrier: &Carrier) -> Reading {
    let start = lexemes.range().0;
    match inner {
        Reading::Parsed {
            tokens: _,
            reprinted,
        } => Reading::Parsed {
            tokens: lexemes
                .iter()
                .map(|lexeme| (lexeme.start - start, lexeme.end - start))
                .collect(),
            reprinted: format!("{} {reprinted}", carrier.written),
        },
        Reading::Spliced { edits } => {
            let first = Edit {
                words: 0..carrier.words,
                text: carrier.sent.clone(),
            };
            let moved = |edit: &Edit| Edit {
                words: edit.words.start + carrier.words..edit.words.end + carrier.words,
                text: edit.text.clone(),
            };
            Reading::Spliced {
                edits: std::iter::once(first)
                    .chain(edits.iter().map(moved))
                    .collect(),
            }
        }
    }
}
