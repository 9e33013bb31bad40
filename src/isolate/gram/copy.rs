//! COPY: a table becomes the query of the tenant's rows; a stream goes to a column list that begins with
//! the tenant column, and to rows of the tenant alone.

use std::ops::Range;

use pg_query::protobuf as pg;
use pg_query::protobuf::Token;

use super::edits::{self, Edits};
use super::from::qualified;
use super::name::parts;
use super::words::Words;
use super::{Rewriter, Rewritten, lost, slots, unsupported};
use crate::catalog::{Column, Generated, Relation};
use crate::isolate::refusal::Reason;
use crate::isolate::template::{Edit, Template};
use crate::sql;
use crate::tenant::{Class, Scoped};

/// The words and the bytes of the query in `COPY (query) TO ..`.
pub(super) fn query_of_copy(statement: &str) -> Option<(Range<usize>, Range<usize>)> {
    let words = Words::of(statement).ok()?;
    if !(words.is(0, Token::Copy) && words.is(1, Token::Ascii40)) {
        return None;
    }
    let inner = 2..words.behind_group(1).ok()?.checked_sub(1)?;
    let mut all = words.iter().skip(2).take(inner.len());
    let first = all.next()?.bytes.clone();
    let last = all.next_back().map_or(first.end, |last| last.bytes.end);
    Some((inner, first.start..last))
}

/// A statement with a text in place of some of its words.
pub(super) fn enclose(
    statement: &str,
    place: Range<usize>,
    inner: &Template,
) -> Rewritten<(Template, Vec<Edit>)> {
    let words = Words::of(statement)?;
    let mut edits = Edits::default();
    edits.replace(place, inner.text.clone());
    let edits = edits.finish()?;
    let text = edits::splice(&words, &edits, 0..words.len())?;
    let template = Template {
        slots: slots(&text, inner.client_parameters, &inner.tenant_parameters)?,
        text,
        client_parameters: inner.client_parameters,
        tenant_parameters: inner.tenant_parameters.clone(),
    };
    Ok((template, edits))
}

impl Rewriter<'_> {
    pub(super) fn copy(&mut self, copy: &pg::CopyStmt) -> Rewritten<()> {
        if copy.is_program || !copy.filename.is_empty() {
            let command = "COPY to or from a file".to_owned();
            return Err(Reason::CommandNotAllowed { command }.into());
        }
        if let Some(query) = &copy.query {
            return self.node(query);
        }
        let table = copy.relation.as_ref().ok_or_else(|| lost("a table"))?;
        let (relation, class) = self.relation(table)?;
        let start = self.words.at(table.location)?;
        let name = start..self.words.behind_name(start);
        let scoped = match class {
            Class::Scoped(scoped) => scoped,
            Class::Shared { .. } | Class::Refused(_) => {
                self.edits.replace(name, qualified(&relation.name));
                return self.optional(copy.where_clause.as_deref());
            }
        };
        let mut behind = name.end;
        if !copy.attlist.is_empty() {
            behind = self.words.behind_group(behind)?;
        }
        let listed = parts(&copy.attlist)?;
        let columns = self.copied(relation, &listed);
        if !copy.is_from {
            return self.copy_out(relation, scoped, (start, behind), &columns);
        }
        let owner = scoped.tenant_column().ok_or_else(|| {
            unsupported("COPY FROM for a table that reaches its tenant through another one")
        })?;
        let owner = sql::quote(owner);
        let list = [vec![owner], columns].concat().join(", ");
        let target = format!("{} ({list})", qualified(&relation.name));
        self.edits.replace(start..behind, target);
        self.optional(copy.where_clause.as_deref())?;
        // The server looks at each row itself: whatever a stream is read as, no row is another tenant's.
        let predicate = self.predicate(&relation.name.name, scoped);
        let end = self.words.len();
        if copy.where_clause.is_some() {
            let condition = self.words.next_of(behind, &[Token::Where]) + 1;
            self.edits.insert(condition, "(");
            self.edits.insert(end, format!(") AND {predicate}"));
        } else {
            self.edits.insert(end, format!("WHERE {predicate}"));
        }
        Ok(())
    }

    fn copied(&self, relation: &Relation, listed: &[&str]) -> Vec<String> {
        if !listed.is_empty() {
            return listed.iter().map(|column| sql::quote(column)).collect();
        }
        let stored = |column: &&Column| column.generated != Generated::Expression;
        let visible = self.classified.visible_columns(relation).into_iter();
        let names = visible
            .filter(stored)
            .map(|column| sql::quote(&column.name));
        names.collect()
    }

    /// `t (columns) TO STDOUT` becomes `(SELECT columns FROM ONLY schema.t WHERE ..) TO STDOUT`, behind
    /// which there is no place for the old spellings BINARY and DELIMITERS.
    fn copy_out(
        &mut self,
        relation: &Relation,
        scoped: &Scoped,
        (start, behind): (usize, usize),
        columns: &[String],
    ) -> Rewritten<()> {
        let mut old = Vec::new();
        if start > 1 {
            // COPY BINARY t
            self.edits.replace(1..start, "");
            old.push(("BINARY".to_owned(), "FORMAT binary".to_owned()));
        }
        let predicate = self.predicate(&relation.name.name, scoped);
        let table = qualified(&relation.name);
        let query = format!(
            "(SELECT {} FROM ONLY {table} WHERE {predicate})",
            columns.join(", ")
        );
        self.edits.replace(start..behind, query);
        // TO STDOUT
        let mut options = behind + 2;
        let mut end = options;
        if self.words.is(end, Token::Using) {
            end += 1;
        }
        if self.words.is(end, Token::Delimiters) {
            let value = self.words.written(end + 1);
            old.push((format!("DELIMITER {value}"), format!("DELIMITER {value}")));
            self.edits.replace(options..end + 2, "");
            options = end + 2;
        }
        if old.is_empty() {
            return Ok(());
        }
        if self.words.is(options, Token::With) {
            options += 1;
        }
        let (words, in_list): (Vec<String>, Vec<String>) = old.into_iter().unzip();
        if !self.words.is(options, Token::Ascii40) {
            self.edits.insert(options, words.join(" "));
        } else if self.words.is(options + 1, Token::Ascii41) {
            return Err(unsupported("COPY with no options in parentheses"));
        } else {
            self.edits
                .insert(options + 1, format!("{},", in_list.join(", ")));
        }
        Ok(())
    }
}
