//! A view in FROM: its definition takes its place.
//!
//! What is sent for it is
//! `(SELECT columns FROM (definition) AS view (all columns)) AS alias`, where the definition is the
//! catalog's, rewritten and proved like a query of the client's, and the columns are all but the tenant column.
//!
//! # Invariants
//! 1. The definition is the catalog's, parsed here; of the client's statement nothing can be seen from
//!    within it: no range entry, no common table expression.
//! 2. A table is confined within a definition as anywhere else. Its tenant column can be seen there, since
//!    definitions are the administrator's: each row has the tenant's own key in it.

use std::rc::Rc;

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::from::{alias_of, nothing_else};
use super::proof::{Checked, Proof, differs, refuse};
use super::reading;
use super::scope::{Exposed, Extent, Item, Output, SystemColumns, Tenancy};
use super::select::rename;
use super::types::{self, Column, Value};
use crate::catalog::{Relation, Resolved};
use crate::isolate::refusal::{Reason, Refusal};
use crate::isolate::remedy::Mention;

/// Views within views beyond this depth are refused.
const DEPTH_MAX: usize = 32;

impl<'a> Proof<'a> {
    /// The view that a name means, with its definition, if one takes its place.
    pub(super) fn view(&self, named: &pg::RangeVar) -> Option<(&'a Relation, &'a str)> {
        let schema = Some(named.schemaname.as_str()).filter(|schema| !schema.is_empty());
        let Resolved::Relation(relation) = self.catalog().resolve(schema, &named.relname) else {
            return None;
        };
        let definition = self.classified().definition(relation)?;
        named
            .catalogname
            .is_empty()
            .then_some((relation, definition))
    }

    /// Compares a view with what is sent for it.
    pub(super) fn view_reference(
        &mut self,
        original: &pg::RangeVar,
        rewritten: &NodeEnum,
        (relation, definition): (&'a Relation, &'a str),
    ) -> Checked<Exposed> {
        let NodeEnum::RangeSubselect(sent) = rewritten else {
            return Err(differs("a view"));
        };
        let query = self.inlined(original, sent, relation)?;
        if self.views >= DEPTH_MAX {
            let what = "views within views";
            let limit = DEPTH_MAX;
            return Err(Reason::TooLarge { what, limit }.into());
        }
        // Its sub-selects are told apart by where they are in memory.
        let written = Rc::new(reading::parse_one(
            definition.trim_end().trim_end_matches(';'),
        )?);
        self.definitions.push(Rc::clone(&written));
        let mention = self.mention(original);
        let within = std::mem::replace(&mut self.within, mention);
        let output = self
            .definition(&written, query)
            .map_err(|refusal| Refusal {
                // No place in it is one of the client's text.
                position: None,
                ..refusal
            })?;
        self.within = within;
        let (item, loud) = self.view_item(original, relation, output)?;
        let level = self.level()?;
        if let Some(loud) = loud {
            level.loud_content.get_or_insert(loud);
        }
        Ok(level.add(item))
    }

    /// Where a relation is named.
    pub(super) fn mention(&self, named: &pg::RangeVar) -> Option<Mention> {
        let at = usize::try_from(named.location).ok()?;
        Some(match self.within {
            Some(view) => view.within(at),
            None => Mention::new(at),
        })
    }

    /// Compares a definition in a namespace of its own.
    fn definition(&mut self, written: &NodeEnum, sent: &pg::SelectStmt) -> Checked<Output> {
        let NodeEnum::SelectStmt(written) = written else {
            return Err(differs("the definition of a view"));
        };
        let levels = std::mem::take(&mut self.levels);
        let ctes = std::mem::take(&mut self.ctes);
        let lateral = std::mem::replace(&mut self.lateral, Tenancy::Free);
        let recursive = self.recursive.take();
        self.views += 1;
        let output = reading::deeper(|| self.select(written, sent, None))?;
        self.views -= 1;
        self.recursive = recursive;
        self.lateral = lateral;
        self.ctes = ctes;
        self.levels = levels;
        Ok(output)
    }

    /// Recognises what stands around a definition, and gives what is sent for the definition.
    fn inlined<'n>(
        &self,
        original: &pg::RangeVar,
        sent: &'n pg::RangeSubselect,
        relation: &Relation,
    ) -> Checked<&'n pg::SelectStmt> {
        let alias = pg::Alias {
            aliasname: relation.name.name.clone(),
            colnames: Vec::new(),
        };
        let around = query_of(sent, original.alias.as_ref().unwrap_or(&alias))?;
        let mut rest = around.clone();
        let targets = std::mem::take(&mut rest.target_list);
        rest.from_clause.clear();
        let visible = self.columns_of(relation);
        let all = targets.len() == visible.len()
            && targets
                .iter()
                .zip(&visible)
                .all(|(target, column)| shows(target, &column.name));
        if rest != nothing_else() || !all {
            return Err(differs("the columns of a view"));
        }
        let [
            Node {
                node: Some(NodeEnum::RangeSubselect(inner)),
            },
        ] = around.from_clause.as_slice()
        else {
            return Err(differs("the definition of a view"));
        };
        let name = |column: &crate::catalog::Column| Node {
            node: Some(NodeEnum::String(pg::String {
                sval: column.name.clone(),
            })),
        };
        let named = pg::Alias {
            aliasname: relation.name.name.clone(),
            colnames: relation.columns.iter().map(name).collect(),
        };
        query_of(inner, &named)
    }

    /// The range entry of a view, and what in it is not silent.
    fn view_item(
        &self,
        original: &pg::RangeVar,
        relation: &Relation,
        output: Output,
    ) -> Checked<(Item, Option<Refusal>)> {
        let loud = output.any_loud();
        let complete = output.extent == Extent::Complete;
        if !complete || output.columns.len() != relation.columns.len() {
            return Err(differs("the columns of a view"));
        }
        let (name, listed) = alias_of(original);
        let visible = self.columns_of(relation);
        let mut columns: Vec<Column> = relation
            .columns
            .iter()
            .zip(output.columns)
            .filter(|(column, _)| visible.iter().any(|visible| visible.name == column.name))
            .map(|(column, computed)| Column {
                name: column.name.clone(),
                value: computed.value.map(|value| self.typed(column, value)),
                behind: computed.behind,
            })
            .collect();
        rename(&mut columns, &listed);
        let item = Item {
            name: Some(name),
            relation: original.alias.is_none().then(|| relation.name.clone()),
            columns,
            extent: Extent::Complete,
            merged: Vec::new(),
            hidden: None,
            tenancy: output.tenancy,
            locks: output.locks,
            sent: None,
            system: SystemColumns::Absent,
            key: None,
        };
        Ok((item, loud))
    }

    /// The catalog knows the type of each column.
    fn typed(&self, column: &crate::catalog::Column, value: Value) -> Value {
        if value.oid != types::OPAQUE {
            return value;
        }
        Value {
            collation: column.collation,
            typmod: column.typmod,
            ..Value::varying(types::base(self.catalog(), column.type_oid))
        }
    }

    /// The columns of a relation that can be seen here.
    pub(super) fn columns_of(&self, relation: &'a Relation) -> Vec<&'a crate::catalog::Column> {
        if self.views > 0 {
            relation.columns.iter().collect()
        } else {
            self.classified().visible_columns(relation)
        }
    }
}

/// A sample is of a table.
pub(super) fn no_sample(at: Option<usize>) -> Refusal {
    let message = "TABLESAMPLE clause can only be applied to tables and materialized views";
    let reason = Reason::AsPostgres {
        sqlstate: "42809",
        message: message.to_owned(),
    };
    refuse(reason, at)
}

/// The query of a derived table with this alias.
fn query_of<'n>(
    derived: &'n pg::RangeSubselect,
    wanted: &pg::Alias,
) -> Checked<&'n pg::SelectStmt> {
    let pg::RangeSubselect {
        lateral: false,
        subquery: Some(subquery),
        alias: Some(alias),
    } = derived
    else {
        return Err(differs("a view"));
    };
    match &subquery.node {
        Some(NodeEnum::SelectStmt(query)) if alias == wanted => Ok(query),
        Some(_) | None => Err(differs("a view's alias")),
    }
}

/// Whether a target is this column, and nothing else.
fn shows(target: &Node, column: &str) -> bool {
    let Some(NodeEnum::ResTarget(target)) = &target.node else {
        return false;
    };
    let pg::ResTarget {
        name,
        indirection,
        val,
        location: _,
    } = &**target;
    let sent = val.as_deref().and_then(super::proof::column_path);
    name.is_empty() && indirection.is_empty() && sent.as_deref() == Some(&[column])
}
