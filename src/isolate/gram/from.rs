//! Tables in FROM: the fence.

use std::ops::Range;

use pg_query::NodeEnum;
use pg_query::protobuf as pg;
use pg_query::protobuf::Token;

use super::name::{as_postgres, refuse_at};
use super::{Rewriter, Rewritten, lost, unsupported};
use crate::catalog::{Column, Relation, RelationName, Resolved};
use crate::isolate::mask::null_of;
use crate::isolate::refusal::Reason;
use crate::isolate::remedy::{Mention, Remedy};
use crate::sql;
use crate::tenant::{Class, Scoped};

/// Where a table's parts stand.
pub(super) struct Place {
    /// ONLY, the name and `*`, whatever there is.
    pub(super) whole: Range<usize>,
    /// The name alone.
    name: Range<usize>,
    /// Behind the alias.
    pub(super) behind: usize,
}

impl<'a> Rewriter<'a> {
    /// `t TABLESAMPLE method (..)`: the sample is taken inside the fence.
    pub(super) fn sampled(&mut self, sample: &pg::RangeTableSample) -> Rewritten<()> {
        let Some(NodeEnum::RangeVar(table)) =
            sample.relation.as_ref().and_then(|r| r.node.as_ref())
        else {
            return Err(lost("a table"));
        };
        self.nodes(&sample.args)?;
        self.optional(sample.repeatable.as_deref())?;
        if self.view(table).is_some() {
            let message = "TABLESAMPLE clause can only be applied to tables and materialized views";
            let reason = as_postgres("42809", message.to_owned());
            return Err(refuse_at(table.location, reason));
        }
        let start = self.place(table)?.behind;
        let mut end = self.words.behind_group(self.words.behind_name(start + 1))?;
        if self.words.is(end, Token::Repeatable) {
            end = self.words.behind_group(end + 1)?;
        }
        self.table(table, Some(start..end))
    }

    /// A name in FROM: a common table expression, a shared table, or one that gets a fence.
    pub(super) fn table(
        &mut self,
        table: &pg::RangeVar,
        sample: Option<Range<usize>>,
    ) -> Rewritten<()> {
        if self.cte(table).is_some() {
            return Ok(());
        }
        if let Some((relation, definition)) = self.view(table) {
            return self.view_in_from(table, relation, definition);
        }
        let (relation, class) = self.relation(table)?;
        let place = self.place(table)?;
        match class {
            Class::Scoped(_) if self.plain.contains(&table.location) => {
                self.edits.replace(place.name, qualified(&relation.name));
                Ok(())
            }
            Class::Scoped(scoped) => {
                let sample = match sample {
                    Some(range) => {
                        let text = self.edits.cut(self.words, range.clone())?;
                        self.edits.replace(range, "");
                        format!(" {text}")
                    }
                    None => String::new(),
                };
                let only = if table.inh { "" } else { "ONLY " };
                let columns = self.shown(relation, scoped, self.mention(table))?;
                let fence = self.fence(relation, scoped, &columns, (only, &sample));
                self.put_derived(table, &place, &fence);
                Ok(())
            }
            Class::Shared { .. } => {
                self.edits.replace(place.name, qualified(&relation.name));
                Ok(())
            }
            Class::Refused(_) => Err(lost("an open table")),
        }
    }

    fn view_in_from(
        &mut self,
        table: &pg::RangeVar,
        relation: &Relation,
        definition: &str,
    ) -> Rewritten<()> {
        let inlined = self.inlined(relation, definition, self.mention(table))?;
        let place = self.place(table)?;
        self.put_derived(table, &place, &inlined);
        Ok(())
    }

    /// Puts a derived table in place of a table. `TABLE name` takes a name only.
    fn put_derived(&mut self, table: &pg::RangeVar, place: &Place, derived: &str) {
        let alias = implicit_alias(table);
        self.edits
            .replace(place.whole.clone(), format!("{derived}{alias}"));
        let before = place.whole.start.checked_sub(1);
        if let Some(command) = before.filter(|before| self.words.is(*before, Token::Table)) {
            self.edits.replace(command..command + 1, "SELECT * FROM");
        }
    }

    /// `(SELECT visible columns FROM schema.table WHERE table.tenant_column = slot)`
    fn fence(
        &mut self,
        relation: &Relation,
        scoped: &Scoped,
        columns: &[String],
        (only, sample): (&str, &str),
    ) -> String {
        let predicate = self.predicate(&relation.name.name, scoped);
        format!(
            "(SELECT {} FROM {only}{}{sample} WHERE {predicate})",
            columns.join(", "),
            qualified(&relation.name)
        )
    }

    /// The columns of a fence, masked where a remedy says so.
    fn shown(
        &mut self,
        relation: &Relation,
        scoped: &Scoped,
        at: Option<Mention>,
    ) -> Rewritten<Vec<String>> {
        let mut shown = Vec::new();
        let columns: Vec<Column> = self.columns_of(relation).into_iter().cloned().collect();
        for column in &columns {
            let name = sql::quote(&column.name);
            let is_masked = self.remedies.iter().any(|remedy| match remedy {
                Remedy::Mask(masked) => Some(masked.table) == at && masked.number == column.number,
                Remedy::Shield { .. } => false,
            });
            if is_masked {
                let test = self.predicate(&relation.name.name, scoped);
                let null =
                    null_of(self.classified.catalog(), column).ok_or_else(|| lost("a type"))?;
                shown.push(format!(
                    "CASE WHEN {test} THEN {name} ELSE {null} END AS {name}"
                ));
            } else {
                shown.push(name);
            }
        }
        Ok(shown)
    }

    /// The common table expression that a name means, if it means one.
    pub(super) fn cte(&self, table: &pg::RangeVar) -> Option<&super::Cte> {
        if !table.catalogname.is_empty() || !table.schemaname.is_empty() {
            return None;
        }
        let mut visible = self.ctes.iter().rev();
        visible.find(|cte| cte.name == table.relname)
    }

    pub(super) fn place(&self, table: &pg::RangeVar) -> Rewritten<Place> {
        let start = self.words.at(table.location)?;
        let name = start..self.words.behind_name(start);
        let before = |count: usize, kind: Token| {
            let index = start.checked_sub(count);
            index.filter(|index| self.words.is(*index, kind))
        };
        let mut whole = name.clone();
        if let Some(only) = before(1, Token::Only) {
            whole.start = only;
        } else if let (Some(only), Some(_)) = (before(2, Token::Only), before(1, Token::Ascii40)) {
            whole = only..name.end + 1;
        } else if self.words.is(name.end, Token::Ascii42) {
            whole.end += 1;
        }
        let mut behind = whole.end;
        if let Some(alias) = &table.alias {
            if self.words.is(behind, Token::As) {
                behind += 1;
            }
            behind = self.words.behind_part(behind);
            if !alias.colnames.is_empty() {
                behind = self.words.behind_group(behind)?;
            }
        }
        Ok(Place {
            whole,
            name,
            behind,
        })
    }

    /// Puts the full name in place of a target's, and tells where its alias ends.
    pub(super) fn name_target(
        &mut self,
        table: &pg::RangeVar,
        name: &RelationName,
    ) -> Rewritten<usize> {
        let place = self.place(table)?;
        self.edits.replace(place.name, qualified(name));
        Ok(place.behind)
    }

    /// The relation that a name stands for, where it must be one that tenants may use.
    pub(super) fn relation(&self, table: &pg::RangeVar) -> Rewritten<(&'a Relation, &'a Class)> {
        let at = table.location;
        if !table.catalogname.is_empty() {
            return Err(refuse_at(at, other_database(table)));
        }
        let schema = Some(table.schemaname.as_str()).filter(|schema| !schema.is_empty());
        let resolved = self.classified.catalog().resolve(schema, &table.relname);
        let relation = match resolved {
            Resolved::Relation(relation) => relation,
            Resolved::System(relation) => {
                let relation = relation.to_owned();
                return Err(refuse_at(at, Reason::SystemRelation { relation }));
            }
            Resolved::Nothing => {
                let name = &table.relname;
                let relation = schema.map_or(name.clone(), |schema| format!("{schema}.{name}"));
                return Err(refuse_at(at, Reason::RelationDoesNotExist { relation }));
            }
        };
        match self.classified.class(relation) {
            Class::Refused(closed) => {
                let reason = Reason::RelationNotAllowed {
                    relation: relation.name.to_string(),
                    closed: *closed,
                };
                Err(refuse_at(at, reason))
            }
            class @ (Class::Scoped(_) | Class::Shared { .. }) => Ok((relation, class)),
        }
    }
}

/// As PostgreSQL says it of any database but its own.
fn other_database(table: &pg::RangeVar) -> Reason {
    let message = format!(
        "cross-database references are not implemented: \"{}.{}.{}\"",
        table.catalogname, table.schemaname, table.relname
    );
    as_postgres("0A000", message)
}

/// What a derived table in place of a table is called.
fn implicit_alias(table: &pg::RangeVar) -> String {
    match table.alias {
        Some(_) => String::new(),
        None => format!(" AS {}", sql::quote(&table.relname)),
    }
}

/// A relation's full name.
pub(super) fn qualified(name: &RelationName) -> String {
    format!("{}.{}", sql::quote(&name.schema), sql::quote(&name.name))
}

/// SELECT INTO makes a table.
pub(super) fn no_into(select: &pg::SelectStmt) -> Rewritten<()> {
    match select.into_clause {
        Some(_) => Err(unsupported("SELECT INTO")),
        None => Ok(()),
    }
}
