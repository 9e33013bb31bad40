//! A view that is written: its table takes its place, under the view's name as its alias, with the conditions
//! of the definition behind the client's.

use std::collections::BTreeSet;

use pg_query::protobuf as pg;
use pg_query::protobuf::Token;
use pg_query::{Node, NodeEnum};

use super::change::Target;
use super::from::qualified;
use super::name::{as_postgres, parts};
use super::view::DEPTH_MAX;
use super::words::Words;
use super::{Rewriter, Rewritten, known, lost, parse, too_large};
use crate::catalog::Relation;
use crate::isolate::refusal::Refusal;
use crate::isolate::remedy::Remedy;
use crate::sql;
use crate::tenant::{Class, Scoped};

/// What is done about the condition of a definition.
const NO_REMEDIES: &BTreeSet<Remedy> = &BTreeSet::new();

/// A column's name, and what it is in the table; none if it is computed.
type Named = (String, Option<String>);

/// What is known of a view that is written.
pub(super) struct Written<'a> {
    view: &'a Relation,
    table: &'a Relation,
    scoped: Option<&'a Scoped>,
    pub(super) columns: Vec<Named>,
    /// The conditions of the definition, as they are sent.
    pub(super) conditions: Vec<String>,
}

/// What the columns of a relation are sent as, where they are named.
#[derive(Debug)]
pub(super) struct Renames {
    /// What qualifies them in the text.
    name: String,
    /// What qualifies them where they are sent.
    alias: String,
    columns: Vec<Named>,
    /// Whether names that stay as they are get the alias.
    qualifies: bool,
    /// How many queries are around this point.
    depth: usize,
}

impl Renames {
    /// Within a query a name without a qualifier can be that of something else.
    pub(super) fn enter(&mut self) {
        self.depth += 1;
    }

    /// Behind a query.
    pub(super) fn leave(&mut self) {
        self.depth -= 1;
    }

    /// What a reference is sent as, if as something else.
    fn sent(&self, names: &[&str]) -> Option<&String> {
        let column = match names {
            [column] if self.depth == 0 => *column,
            [table, column] | [_, table, column] if *table == self.name => *column,
            _ => return None,
        };
        let found = self.columns.iter().find(|(name, _)| name == column);
        let sent = found.and_then(|(_, sent)| sent.as_ref());
        sent.filter(|sent| self.qualifies || *sent != column)
    }
}

impl<'a> Rewriter<'a> {
    /// Puts the table under a view in its place.
    pub(super) fn view_target(
        &mut self,
        named: &pg::RangeVar,
        view: (&'a Relation, &'a str),
        command: &str,
    ) -> Rewritten<Target<'a>> {
        let alias = match &named.alias {
            Some(alias) => alias.aliasname.clone(),
            None => named.relname.clone(),
        };
        let written = self.through(view, (&alias, command), 0);
        let written = written.map_err(|refusal| Refusal {
            // No place in a definition is one of the client's text.
            position: usize::try_from(named.location).ok(),
            ..refusal
        })?;
        let place = self.place(named)?;
        let table = qualified(&written.table.name);
        let text = match named.alias {
            Some(_) => table,
            None => format!("{table} AS {}", sql::quote(&alias)),
        };
        self.edits.replace(place.whole, text);
        Ok(Target {
            relation: written.table,
            scoped: written.scoped,
            alias,
            behind: place.behind,
            view: Some(written),
        })
    }

    /// Finds the table under a view.
    fn through(
        &mut self,
        (view, definition): (&'a Relation, &str),
        (alias, command): (&str, &str),
        depth: usize,
    ) -> Rewritten<Written<'a>> {
        if depth >= DEPTH_MAX {
            return Err(too_large("views within views", DEPTH_MAX));
        }
        let words = Words::of(definition.trim_end().trim_end_matches(';'))?;
        let stack = super::STACK_BASE + words.nesting()? * super::STACK_PER_LEVEL;
        stacker::maybe_grow(stack, stack, || {
            let tree = parse(definition.trim_end().trim_end_matches(';'))?;
            let NodeEnum::SelectStmt(select) = &tree else {
                return Err(lost("the definition of a view"));
            };
            known(&tree)?;
            let named = one_relation(select).ok_or_else(|| {
                let message = format!("cannot {command} view \"{}\"", view.name.name);
                Refusal::from(as_postgres("55000", message))
            })?;
            let below = match self.view(named) {
                Some(view) => self.through(view, (alias, command), depth + 1)?,
                None => self.table_below(view, named)?,
            };
            let columns = select.target_list.iter().zip(&view.columns);
            let columns = columns
                .map(|(target, column)| (column.name.clone(), shown(target, &below.columns)))
                .collect();
            let mut conditions = below.conditions;
            if let Some(clause) = &select.where_clause {
                let renames = Renames {
                    name: name_of(named),
                    alias: alias.to_owned(),
                    columns: below.columns,
                    qualifies: true,
                    depth: 0,
                };
                conditions.push(self.condition(&words, clause, renames)?);
            }
            Ok(Written {
                view,
                columns,
                conditions,
                ..Written {
                    columns: Vec::new(),
                    conditions: Vec::new(),
                    ..below
                }
            })
        })
    }

    fn table_below(&self, view: &'a Relation, named: &pg::RangeVar) -> Rewritten<Written<'a>> {
        let (table, class) = self.relation(named)?;
        let own = table.columns.iter();
        Ok(Written {
            view,
            table,
            scoped: match class {
                Class::Scoped(scoped) => Some(scoped),
                Class::Refused(_) | Class::Shared { .. } => None,
            },
            columns: own
                .map(|column| (column.name.clone(), Some(column.name.clone())))
                .collect(),
            conditions: Vec::new(),
        })
    }

    /// The condition of a definition, on the table that takes the view's place.
    fn condition(
        &mut self,
        words: &Words<'_>,
        clause: &Node,
        renames: Renames,
    ) -> Rewritten<String> {
        let mut rewriter = self.of_definition(words, self.views);
        rewriter.renames = Some(renames);
        // Nothing tells where its tables are named.
        rewriter.remedies = NO_REMEDIES;
        rewriter.node(clause)?;
        self.tenant_parameters = rewriter.tenant_parameters;
        let start = words.next_of(0, &[Token::Where]) + 1;
        let end = words.next_of(start, &[Token::Order]);
        let mut edits = rewriter.edits;
        let text = edits.cut(words, start..end)?;
        Ok(format!("({text})"))
    }

    /// From here on columns are named as those of the view; these are set, or listed.
    pub(super) fn rename(&mut self, target: &Target<'a>, columns: &[Node]) -> Rewritten<()> {
        let Some(view) = &target.view else {
            return Ok(());
        };
        self.renames = Some(Renames {
            name: target.alias.clone(),
            alias: target.alias.clone(),
            columns: view.columns.clone(),
            qualifies: false,
            depth: 0,
        });
        self.rename_listed(columns)
    }

    /// The columns that SET sets, or those of a column list.
    fn rename_listed(&mut self, columns: &[Node]) -> Rewritten<()> {
        for column in columns {
            let Some(NodeEnum::ResTarget(column)) = &column.node else {
                return Err(lost("a column"));
            };
            let at = self.words.at(column.location)?;
            self.rename_word(at, &column.name);
        }
        Ok(())
    }

    fn rename_word(&mut self, at: usize, name: &str) {
        let sent = self.renames.as_ref().and_then(|it| it.sent(&[name]));
        if let Some(sent) = sent.map(|sent| sql::quote(sent)) {
            self.edits.replace(at..self.words.behind_part(at), sent);
        }
    }

    /// The columns of ON CONFLICT.
    pub(super) fn rename_conflict(&mut self, conflict: &pg::OnConflictClause) -> Rewritten<()> {
        if self.renames.is_none() {
            return Ok(());
        }
        if let Some(infer) = &conflict.infer {
            // ON CONFLICT (..)
            let mut at = self.words.at(conflict.location)? + 3;
            for element in &infer.index_elems {
                let Some(NodeEnum::IndexElem(element)) = &element.node else {
                    return Err(lost("a column"));
                };
                if !element.name.is_empty() {
                    self.rename_word(at, &element.name);
                }
                at = self.words.next_of(at, &[Token::Ascii44]) + 1;
            }
        }
        self.rename_listed(&conflict.target_list)
    }

    /// Renames a reference to a column of the view. Whether it is done with.
    pub(super) fn renamed(&mut self, column: &pg::ColumnRef) -> Rewritten<bool> {
        let Some(renames) = &self.renames else {
            return Ok(false);
        };
        if is_star(column) {
            return Ok(false);
        }
        let names = parts(&column.fields)?;
        // What ON CONFLICT would have inserted has the same columns.
        let (alias, names) = match names.as_slice() {
            ["excluded", column] if renames.name != "excluded" => {
                ("excluded", vec![renames.name.as_str(), column])
            }
            _ => (renames.alias.as_str(), names),
        };
        let Some(sent) = renames.sent(&names) else {
            return Ok(false);
        };
        let text = format!("{}.{}", sql::quote(alias), sql::quote(sent));
        let start = self.words.at(column.location)?;
        self.edits
            .replace(start..self.words.behind_name(start), text);
        Ok(true)
    }

    /// Gives the column of a result the name that it has in the view.
    pub(super) fn label(&mut self, column: &pg::ColumnRef) -> Rewritten<()> {
        let Some(renames) = &self.renames else {
            return Ok(());
        };
        let names = parts(&column.fields)?;
        let is_excluded = matches!(names.as_slice(), ["excluded", _]);
        if let Some(last) = names.last().filter(|_| !is_excluded)
            && renames.sent(&names).is_some()
        {
            let label = format!("AS {}", sql::quote(last));
            let start = self.words.at(column.location)?;
            self.edits.insert(self.words.behind_name(start), label);
        }
        Ok(())
    }

    /// The columns that can be seen of a target, and what they are sent as.
    pub(super) fn visible_names<'t>(&'t self, target: &'t Target<'a>) -> Vec<(&'t str, &'t str)> {
        let Some(view) = &target.view else {
            let visible = self.classified.visible_columns(target.relation);
            let same =
                |column: &&'t crate::catalog::Column| (column.name.as_str(), column.name.as_str());
            return visible.iter().map(same).collect();
        };
        let visible = self.classified.visible_columns(view.view);
        let visible = visible.into_iter().map(|column| {
            let name = column.name.as_str();
            let found = view.columns.iter().find(|(known, _)| known == name);
            let sent = found.and_then(|(_, sent)| sent.as_deref());
            // The name of one that is computed the verifier refuses.
            (name, sent.unwrap_or(name))
        });
        visible.collect()
    }
}

/// The relation that a definition reads, if each of its rows can be one of that relation's; the rest the
/// verifier refuses.
fn one_relation(select: &pg::SelectStmt) -> Option<&pg::RangeVar> {
    let [
        Node {
            node: Some(NodeEnum::RangeVar(named)),
        },
    ] = select.from_clause.as_slice()
    else {
        return None;
    };
    let is_simple = select.distinct_clause.is_empty()
        && select.group_clause.is_empty()
        && select.window_clause.is_empty()
        && select.having_clause.is_none()
        && select.limit_count.is_none()
        && select.limit_offset.is_none()
        && select.with_clause.is_none();
    is_simple.then_some(named)
}

fn name_of(named: &pg::RangeVar) -> String {
    let alias = named.alias.as_ref().map(|alias| alias.aliasname.clone());
    alias.unwrap_or_else(|| named.relname.clone())
}

/// What a target of a definition is in the table.
fn shown(target: &Node, below: &[Named]) -> Option<String> {
    let Some(NodeEnum::ResTarget(target)) = &target.node else {
        return None;
    };
    let Some(NodeEnum::ColumnRef(column)) = &target.val.as_ref()?.node else {
        return None;
    };
    if is_star(column) {
        return None;
    }
    let names = parts(&column.fields).ok()?;
    let last = names.last()?;
    let found = below.iter().find(|(name, _)| name == last);
    found.and_then(|(_, sent)| sent.clone())
}

fn is_star(column: &pg::ColumnRef) -> bool {
    let last = column.fields.last().and_then(|last| last.node.as_ref());
    matches!(last, Some(NodeEnum::AStar(_)))
}
