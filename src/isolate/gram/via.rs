//! Which row a row refers to, where that one says whose it is: the client says it, and the server checks it.

use std::ops::Range;

use pg_query::protobuf as pg;
use pg_query::protobuf::Token;
use pg_query::{Node, NodeEnum};

use super::change::Target;
use super::{Rewriter, Rewritten, lost, unsupported};
use crate::isolate::via::{checked, owner_of_locked, owner_of_reference};
use crate::tenant::Via;

impl Rewriter<'_> {
    /// Checks the value for the referring column in every row of VALUES, which stands here or behind OVERRIDING.
    pub(super) fn check_references(
        &mut self,
        columns: &[Node],
        behind: usize,
        (target, via): (&Target<'_>, &Via),
    ) -> Rewritten<()> {
        let listed = columns.iter().map(|column| match &column.node {
            Some(NodeEnum::ResTarget(column)) => Some(column.name.as_str()),
            Some(_) | None => None,
        });
        let is_referring = |name: &str| sent_name(target, name) == Some(via.column.as_str());
        let place = if columns.is_empty() {
            let visible = self.visible_names(target);
            visible.iter().position(|(name, _)| is_referring(name))
        } else {
            listed.flatten().position(is_referring)
        };
        let Some(place) = place else {
            return Ok(());
        };
        let mut at = behind;
        if self.words.is(at, Token::Overriding) {
            at += 3;
        }
        if !self.words.is(at, Token::Values) {
            return Err(unsupported(&format!(
                "this way of giving a value to {}",
                via.column
            )));
        }
        loop {
            let end = self.words.behind_group(at + 1)?;
            let mut start = at + 2;
            for _ in 0..place {
                start = self.words.next_of(start, &[Token::Ascii44]) + 1;
            }
            // A row without one gets none, which the server refuses.
            if start < end {
                let until = self.words.next_of(start, &[Token::Ascii44]);
                self.check_words(start..until, (target, via))?;
            }
            if !self.words.is(end, Token::Ascii44) {
                return Ok(());
            }
            at = end;
        }
    }

    /// Checks the value that SET gives to the referring column.
    pub(super) fn check_assigned(
        &mut self,
        targets: &[Node],
        target: &Target<'_>,
    ) -> Rewritten<()> {
        let Some(via) = target.scoped.and_then(|scoped| scoped.via()) else {
            return Ok(());
        };
        for node in targets {
            let Some(NodeEnum::ResTarget(assigned)) = &node.node else {
                return Err(lost("SET"));
            };
            if sent_name(target, &assigned.name) != Some(via.column.as_str()) {
                continue;
            }
            let start = self.value_of(assigned, via)?;
            let end = self.behind_value(start);
            self.check_words(start..end, (target, via))?;
        }
        Ok(())
    }

    /// Where the value stands in `column = value`.
    fn value_of(&self, assigned: &pg::ResTarget, via: &Via) -> Rewritten<usize> {
        let behind = self.words.behind_part(self.words.at(assigned.location)?);
        if self.words.is(behind, Token::Ascii61) {
            Ok(behind + 1)
        } else {
            Err(unsupported(&format!(
                "this way of giving a value to {}",
                via.column
            )))
        }
    }

    fn behind_value(&self, start: usize) -> usize {
        const ENDS: [Token; 5] = [
            Token::Ascii44,
            Token::From,
            Token::Returning,
            Token::When,
            Token::Where,
        ];
        let mut end = self.words.next_of(start, &ENDS);
        // a IS DISTINCT FROM b
        while self.words.is(end, Token::From) && self.words.is(end - 1, Token::Distinct) {
            end = self.words.next_of(end + 1, &ENDS);
        }
        end
    }

    fn check_words(
        &mut self,
        words: Range<usize>,
        (target, via): (&Target<'_>, &Via),
    ) -> Rewritten<()> {
        let value = self.edits.cut(self.words, words.clone())?;
        let scoped = target.scoped.ok_or_else(|| lost("whose a row is"))?;
        let own = self.is_own(&owner_of_reference(via), scoped);
        let locked = self.is_own(&owner_of_locked(via), scoped);
        let text = checked(&value, (&own, &locked), via, &target.relation.name);
        self.edits.replace(words, text);
        Ok(())
    }
}

/// What a column of the target is called in its table.
fn sent_name<'n>(target: &'n Target<'_>, name: &'n str) -> Option<&'n str> {
    match &target.view {
        None => Some(name),
        Some(view) => {
            let found = view.columns.iter().find(|(known, _)| known == name);
            found.and_then(|(_, sent)| sent.as_deref())
        }
    }
}
