//! Tables of a grouped definition that keep their place, with their predicates in its WHERE.
//!
//! GROUP BY a primary key lets other columns of the table be selected, of the table itself only: behind a fence
//! the server no longer knows that the key is one. In a client's own query they join the grouping.

use pg_query::protobuf as pg;
use pg_query::protobuf::Token;
use pg_query::{Node, NodeEnum};

use super::name::parts;
use super::{Rewriter, Rewritten};
use crate::isolate::dependent::Fenced;
use crate::isolate::remedy::Remedy;
use crate::sql;
use crate::tenant::{Class, Scoped, TenantColumn};

/// A table that keeps its place.
pub(super) struct Plain<'a> {
    /// Where its name stands.
    pub(super) location: i32,
    alias: String,
    scoped: &'a Scoped,
    /// The columns of its primary key.
    key: &'a [String],
    /// Whether a remedy asks for a mask.
    masked: bool,
}

impl<'a> Rewriter<'a> {
    /// The tables of a definition that is grouped by columns, as far as a condition in its WHERE is one on
    /// them. One with a mask takes a fence, unless its whole key is grouped by.
    pub(super) fn grouped_tables(&self, select: &pg::SelectStmt) -> Vec<Plain<'a>> {
        let mut tables = Vec::new();
        let all = self.group_by(select).is_some()
            && select
                .from_clause
                .iter()
                .all(|item| self.plain_tables(item, Filtered::Where, &mut tables));
        if !all {
            return Vec::new();
        }
        let last = |key: &Node| match &key.node {
            Some(NodeEnum::ColumnRef(column)) => {
                parts(&column.fields).ok()?.pop().map(str::to_owned)
            }
            Some(_) | None => None,
        };
        let keys: Vec<String> = select.group_clause.iter().filter_map(last).collect();
        tables.retain(|table| {
            let mut key = table.key.iter();
            !table.masked || (!table.key.is_empty() && key.all(|column| keys.contains(column)))
        });
        tables
    }

    /// Where GROUP BY stands, if all that it groups by is columns.
    fn group_by(&self, select: &pg::SelectStmt) -> Option<usize> {
        let column = |node: &Node| match &node.node {
            Some(NodeEnum::ColumnRef(column)) => Some(column.location),
            Some(_) | None => None,
        };
        let columns: Option<Vec<i32>> = select.group_clause.iter().map(column).collect();
        let first = *columns?.first()?;
        let group = self.words.at(first).ok()?.checked_sub(2)?;
        self.words.is(group, Token::GroupP).then_some(group)
    }

    /// Collects the tables of an item of FROM; false where names are merged, so that none may keep its place.
    fn plain_tables(&self, item: &Node, filtered: Filtered, tables: &mut Vec<Plain<'a>>) -> bool {
        match &item.node {
            Some(NodeEnum::RangeVar(table)) => {
                if filtered == Filtered::Where {
                    tables.extend(self.plain_table(table));
                }
                true
            }
            Some(NodeEnum::JoinExpr(join)) => {
                let merges = join.is_natural || !join.using_clause.is_empty();
                let (left, right) = match pg::JoinType::try_from(join.jointype) {
                    Ok(pg::JoinType::JoinInner) => (filtered, filtered),
                    Ok(pg::JoinType::JoinLeft) => (filtered, Filtered::Nowhere),
                    Ok(pg::JoinType::JoinRight) => (Filtered::Nowhere, filtered),
                    _ => (Filtered::Nowhere, Filtered::Nowhere),
                };
                let sides = [(&join.larg, left), (&join.rarg, right)];
                join.alias.is_none()
                    && !merges
                    && sides.into_iter().all(|(side, filtered)| {
                        side.as_ref()
                            .is_some_and(|side| self.plain_tables(side, filtered, tables))
                    })
            }
            Some(
                NodeEnum::JsonTable(_)
                | NodeEnum::RangeFunction(_)
                | NodeEnum::RangeSubselect(_)
                | NodeEnum::RangeTableFunc(_)
                | NodeEnum::RangeTableSample(_),
            ) => true,
            _ => false,
        }
    }

    fn plain_table(&self, table: &pg::RangeVar) -> Option<Plain<'a>> {
        let alias = match &table.alias {
            Some(alias) if alias.colnames.is_empty() => alias.aliasname.clone(),
            Some(_) => return None,
            None => table.relname.clone(),
        };
        // A name without a schema is that of a common table expression.
        if table.schemaname.is_empty() || self.view(table).is_some() {
            return None;
        }
        match self.relation(table).ok()? {
            (relation, Class::Scoped(scoped)) => {
                let at = self.mention(table);
                let key = relation.primary_key().map(|key| key.columns.as_slice());
                Some(Plain {
                    location: table.location,
                    alias,
                    scoped,
                    key: key.unwrap_or_default(),
                    masked: self.remedies.iter().any(|remedy| match remedy {
                        Remedy::Mask(masked) => Some(masked.table) == at,
                        Remedy::Shield { .. } => false,
                    }),
                })
            }
            (_, Class::Shared { .. } | Class::Refused(_)) => None,
        }
    }

    /// Groups by the columns that the key of a fenced table determines, too.
    pub(super) fn group_fenced(&mut self, select: &pg::SelectStmt) -> Rewritten<()> {
        let is_hidden = self.classified.tenant_column() == TenantColumn::Hidden;
        if self.views.depth > 0 || !is_hidden || self.group_by(select).is_none() {
            return Ok(());
        }
        let mut keys = Vec::new();
        let mut end = None;
        for key in &select.group_clause {
            let Some(NodeEnum::ColumnRef(column)) = &key.node else {
                return Ok(());
            };
            keys.push(parts(&column.fields)?);
            end = Some(self.words.behind_name(self.words.at(column.location)?));
        }
        let mut tables = Vec::new();
        for item in &select.from_clause {
            self.fenced_tables(item, &mut tables);
        }
        let is_only = select.from_clause.len() == 1 && tables.len() == 1;
        let is_only = is_only
            && !matches!(
                select.from_clause.first().map(|item| &item.node),
                Some(Some(NodeEnum::JoinExpr(_)))
            );
        let mut text = String::new();
        for (table, scoped) in &tables {
            let grouped = |name: &str| {
                keys.iter().any(|key| match key.as_slice() {
                    [alias, column] => *alias == table.alias && *column == name,
                    [column] => is_only && *column == name,
                    _ => false,
                })
            };
            let catalog = self.classified.catalog();
            for name in table.dependent(catalog, scoped.tenant_column(), grouped, |name| {
                self.mentions(name)
            }) {
                text.push_str(", ");
                text.push_str(&sql::quote(&table.alias));
                text.push('.');
                text.push_str(&sql::quote(name));
            }
        }
        if let (Some(end), false) = (end, text.is_empty()) {
            self.edits.insert(end, text);
        }
        Ok(())
    }

    /// Whether a name, or a `*` other than that of `count(*)`, stands anywhere in the statement.
    fn mentions(&self, name: &str) -> bool {
        self.words.iter().enumerate().any(|(at, word)| {
            let written = self.words.written(at);
            let is_argument = at > 0 && self.words.is(at - 1, Token::Ascii40);
            (word.kind == Token::Ascii42 && !is_argument)
                || written.eq_ignore_ascii_case(name)
                || written.trim_matches('"') == name
        })
    }

    /// Collects the fenced tables of an item of FROM that can be referred to.
    fn fenced_tables(&self, item: &Node, tables: &mut Vec<(Fenced<'a>, &'a Scoped)>) {
        match &item.node {
            Some(NodeEnum::RangeVar(table)) => tables.extend(self.fenced_table(table)),
            Some(NodeEnum::JoinExpr(join)) if join.alias.is_none() => {
                for side in [&join.larg, &join.rarg].into_iter().flatten() {
                    self.fenced_tables(side, tables);
                }
            }
            _ => {}
        }
    }

    fn fenced_table(&self, table: &pg::RangeVar) -> Option<(Fenced<'a>, &'a Scoped)> {
        if self.cte(table).is_some() || self.view(table).is_some() {
            return None;
        }
        let Ok((relation, Class::Scoped(scoped))) = self.relation(table) else {
            return None;
        };
        let (alias, names) = match &table.alias {
            Some(alias) => {
                let names = parts(&alias.colnames).ok()?;
                let names = names.into_iter().map(str::to_owned).collect();
                (alias.aliasname.clone(), names)
            }
            None => (table.relname.clone(), Vec::new()),
        };
        let catalog = self.classified.catalog();
        let visible = self.classified.visible_columns(relation);
        let fenced = Fenced::new(catalog, relation, &visible, (alias, &names));
        fenced.map(|fenced| (fenced, scoped))
    }

    /// Adds the predicates to the WHERE of the definition, or makes one.
    pub(super) fn filter_grouped(&mut self, select: &pg::SelectStmt, tables: &[Plain<'a>]) {
        let Some(group) = self.group_by(select).filter(|_| !tables.is_empty()) else {
            return;
        };
        let predicates: Vec<String> = tables
            .iter()
            .map(|table| self.predicate(&table.alias, table.scoped))
            .collect();
        // The server prints a condition in parentheses.
        let keyword = match select.where_clause {
            Some(_) => "AND",
            None => "WHERE",
        };
        let text = format!("{keyword} {}", predicates.join(" AND "));
        self.edits.insert(group, text);
    }
}

/// Where a condition on a table may stand.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Filtered {
    /// An outer join may have put NULLs in its place.
    Nowhere,
    /// In WHERE.
    Where,
}
