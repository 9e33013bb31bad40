//! A view in FROM: its definition, rewritten like a query, takes its place.

use pg_query::protobuf as pg;

use super::edits::{self, Edits};
use super::words::Words;
use super::{Rewriter, Rewritten, known, lost, parse, too_large};
use crate::catalog::{Relation, Resolved};
use crate::isolate::refusal::Refusal;
use crate::isolate::remedy::Mention;
use crate::sql;

/// The definitions in a statement together, in bytes.
const DEFINITIONS_MAX: usize = 256 * 1024;

/// Views within views beyond this depth are refused.
pub(super) const DEPTH_MAX: usize = 32;

/// What was put in place of views so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Views {
    /// How many definitions are around this point.
    pub(super) depth: usize,
    /// How long all of them were.
    bytes: usize,
}

impl<'a> Rewriter<'a> {
    /// The view that a name means, with its definition, if one takes its place.
    pub(super) fn view(&self, table: &pg::RangeVar) -> Option<(&'a Relation, &'a str)> {
        let schema = Some(table.schemaname.as_str()).filter(|schema| !schema.is_empty());
        let Resolved::Relation(relation) =
            self.classified.catalog().resolve(schema, &table.relname)
        else {
            return None;
        };
        let definition = self.classified.definition(relation)?;
        table
            .catalogname
            .is_empty()
            .then_some((relation, definition))
    }

    /// `(SELECT visible columns FROM (definition) AS view (all columns))`
    pub(super) fn inlined(
        &mut self,
        relation: &Relation,
        definition: &str,
        at: Option<Mention>,
    ) -> Rewritten<String> {
        let query = self.definition(definition, at).map_err(|refusal| Refusal {
            // No place in it is one of the client's text.
            position: None,
            ..refusal
        })?;
        let list = |columns: Vec<&crate::catalog::Column>| {
            let names: Vec<String> = columns.iter().map(|c| sql::quote(&c.name)).collect();
            names.join(", ")
        };
        Ok(format!(
            "(SELECT {} FROM ({query}) AS {} ({}))",
            list(self.columns_of(relation)),
            sql::quote(&relation.name.name),
            list(relation.columns.iter().collect()),
        ))
    }

    /// Where a relation is named.
    pub(super) fn mention(&self, named: &pg::RangeVar) -> Option<Mention> {
        let at = usize::try_from(named.location).ok()?;
        Some(match self.within {
            Some(view) => view.within(at),
            None => Mention::new(at),
        })
    }

    /// A definition, in which nothing of the statement around it can be seen.
    fn definition(&mut self, definition: &str, at: Option<Mention>) -> Rewritten<String> {
        let definition = definition.trim_end().trim_end_matches(';');
        let mut views = self.views;
        views.depth += 1;
        views.bytes += definition.len();
        if views.depth > DEPTH_MAX {
            return Err(too_large("views within views", DEPTH_MAX));
        }
        if views.bytes > DEFINITIONS_MAX {
            return Err(too_large("the definitions of views", DEFINITIONS_MAX));
        }
        let words = Words::of(definition)?;
        let stack = super::STACK_BASE + words.nesting()? * super::STACK_PER_LEVEL;
        stacker::maybe_grow(stack, stack, || {
            let tree = parse(definition)?;
            let pg_query::NodeEnum::SelectStmt(select) = &tree else {
                return Err(lost("the definition of a view"));
            };
            known(&tree)?;
            let mut rewriter = self.of_definition(&words, views);
            rewriter.within = at;
            let grouped = rewriter.grouped_tables(select);
            rewriter.plain = grouped.iter().map(|table| table.location).collect();
            rewriter.statement(&tree)?;
            rewriter.filter_grouped(select, &grouped);
            self.tenant_parameters = rewriter.tenant_parameters;
            self.views.bytes = rewriter.views.bytes;
            let edits = rewriter.edits.finish()?;
            edits::splice(&words, &edits, 0..words.len())
        })
    }

    /// Rewrites a definition, with the tenant's parameters that are known so far.
    pub(super) fn of_definition<'d>(&mut self, words: &'d Words<'d>, views: Views) -> Rewriter<'d>
    where
        'a: 'd,
    {
        Rewriter {
            classified: self.classified,
            words,
            edits: Edits::default(),
            client_parameters: self.client_parameters,
            tenant_parameters: std::mem::take(&mut self.tenant_parameters),
            ctes: Vec::new(),
            on_cursor: false,
            views,
            plain: Vec::new(),
            renames: None,
            remedies: self.remedies,
            within: None,
        }
    }

    /// The columns of a relation that can be seen here: definitions are the administrator's.
    pub(super) fn columns_of<'r>(
        &'r self,
        relation: &'r Relation,
    ) -> Vec<&'r crate::catalog::Column> {
        if self.views.depth > 0 {
            relation.columns.iter().collect()
        } else {
            self.classified.visible_columns(relation)
        }
    }
}
