//! COPY, in lockstep: a table becomes the query of its rows that are the tenant's; a stream goes to a
//! column list that begins with the tenant column, and the server tests that column of each row.
//!
//! # Invariants
//! 1. What a stream is read as ([`CopyIn`]) is told by the two trees, which agree on it, and by nothing
//!    that the rewriter made.
//! 2. Files and programs are refused, and so is every option that is not known.

use std::collections::BTreeSet;
use std::sync::Arc;

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::copy_options::{Columns, Options, copy_options};
use super::from::{Table, direct_test, nothing_else, qualified};
use super::proof::{
    Checked, Pair, Proof, both, differs, empty, equal, path, position, refuse, unsupported,
};
use super::scope::{Level, Tenancy};
use super::words;
use super::write::Write;
use crate::catalog::{Generated, Relation, RelationKind};
use crate::isolate::copying::{CopyIn, Copying, OwnerColumn};
use crate::isolate::refusal::{Reason, Refusal};
use crate::tenant::{Class, Rows, Scoped, Verb};

impl<'a> Proof<'a> {
    /// Compares two COPY statements, and tells which way the rows go.
    pub(super) fn copy(
        &mut self,
        original: &pg::CopyStmt,
        rewritten: &pg::CopyStmt,
    ) -> Checked<Copying> {
        both!(CopyStmt, original, rewritten, {
            relation, query, attlist, is_from, is_program, filename, options, where_clause
        });
        equal(is_from, "the direction of COPY")?;
        equal(is_program, "PROGRAM")?;
        equal(filename, "the file of COPY")?;
        if *is_program.0 || !filename.0.is_empty() {
            let command = "COPY to or from a file".to_owned();
            return Err(Reason::CommandNotAllowed { command }.into());
        }
        self.takes_no_parameters()?;
        let scope = self.classified().scope();
        if scope.is_some_and(|scope| scope.rows == Rows::All) {
            return Err(unsupported("COPY for tenants with their own databases"));
        }
        let read = copy_options(options)?;
        if *is_from.0 {
            let relation = both_there(relation)?;
            if query.0.is_some() || query.1.is_some() {
                return Err(differs("the target of COPY"));
            }
            return self.copy_in(relation, attlist, where_clause, &read);
        }
        if where_clause.0.is_some() || where_clause.1.is_some() {
            return Err(differs("WHERE in COPY TO"));
        }
        match (relation, query) {
            ((None, None), (Some(original), Some(rewritten))) => {
                empty(attlist, "the columns of COPY")?;
                let (Some(original), Some(rewritten)) = (&original.node, &rewritten.node) else {
                    return Err(differs("the query of COPY"));
                };
                self.data_statement(original, rewritten)?;
            }
            ((Some(original), sent), (None, query)) => {
                self.copy_table(original, (sent.as_ref(), query.as_deref()), attlist, &read)?;
            }
            ((Some(_), _), (Some(_), _)) | ((None, _), (_, _)) => {
                return Err(differs("what COPY reads"));
            }
        }
        Ok(Copying::Out)
    }

    /// A utility statement has none; a number would be one of ours.
    fn takes_no_parameters(&self) -> Checked {
        let text = self.original_text();
        let found = words::parameters(text, &words::scan(text)?)?;
        match found.keys().next() {
            Some(number) => Err(as_postgres(
                "42P02",
                format!("there is no parameter ${number}"),
            )),
            None => Ok(()),
        }
    }

    /// `COPY t (..) TO STDOUT`: of a table with a tenant column, the query of the tenant's rows.
    /// PostgreSQL reads the table alone, without its children.
    fn copy_table(
        &mut self,
        original: &pg::RangeVar,
        (sent, query): (Option<&pg::RangeVar>, Option<&Node>),
        attlist: Pair<'_, Vec<Node>>,
        options: &Options,
    ) -> Checked {
        let Table { relation, class } = self.table(original)?;
        let at = position((&original.location, &original.location));
        self.permitted(relation, Verb::Select, at)?;
        check_kind(relation, &[RelationKind::Table], "from")
            .map_err(|reason| refuse(reason, at))?;
        let listed = names(attlist.0)?;
        let columns = self.copied_columns(relation, &listed)?;
        for column in options.named() {
            self.copied_columns(relation, &[column])?;
            if !columns.contains(&column) {
                let message = format!(
                    "{} \"{column}\" not referenced by COPY",
                    "FORCE_QUOTE column"
                );
                return Err(as_postgres("42P10", message));
            }
        }
        match (class, sent, query) {
            (Class::Scoped(scoped), None, Some(query)) => {
                self.touched = Tenancy::Scoped;
                if !attlist.1.is_empty() {
                    return Err(differs("the columns of COPY"));
                }
                self.copied_rows(query, relation, scoped, &columns)
            }
            (Class::Shared { .. }, Some(sent), None) => {
                qualified(original, sent, relation)?;
                equal((&listed, &names(attlist.1)?), "the columns of COPY")
            }
            (Class::Scoped(_) | Class::Shared { .. } | Class::Refused(_), _, _) => {
                Err(differs("what COPY reads"))
            }
        }
    }

    /// Recognises `SELECT columns FROM ONLY schema.table WHERE table.tenant OPERATOR(pg_catalog.=) slot`.
    fn copied_rows(
        &mut self,
        query: &Node,
        relation: &Relation,
        scoped: &Scoped,
        columns: &[&str],
    ) -> Checked {
        let wrong = || differs("the query in place of a table");
        let Some(NodeEnum::SelectStmt(select)) = &query.node else {
            return Err(wrong());
        };
        let mut rest = (**select).clone();
        let targets = std::mem::take(&mut rest.target_list);
        let from = std::mem::take(&mut rest.from_clause);
        let condition = rest.where_clause.take();
        if rest != nothing_else() {
            return Err(wrong());
        }
        let sent: Option<Vec<&str>> = targets.iter().map(plain_target).collect();
        if sent.as_deref() != Some(columns) {
            return Err(differs("the columns of COPY"));
        }
        let [
            Node {
                node: Some(NodeEnum::RangeVar(sent)),
            },
        ] = from.as_slice()
        else {
            return Err(wrong());
        };
        let alone = pg::RangeVar {
            schemaname: relation.name.schema.clone(),
            relname: relation.name.name.clone(),
            relpersistence: "p".to_owned(),
            location: sent.location,
            ..pg::RangeVar::default()
        };
        equal((&alone, sent), "the table of COPY alone")?;
        let test = direct_test(relation.name.name.clone(), relation, scoped, -1);
        match condition.as_deref() {
            Some(condition) => self.test(condition, &test),
            None => Err(wrong()),
        }
    }

    /// `COPY t (..) FROM STDIN`: the tenant column comes first.
    fn copy_in(
        &mut self,
        (original, rewritten): Pair<'_, pg::RangeVar>,
        attlist: Pair<'_, Vec<Node>>,
        condition: Pair<'_, Option<Box<Node>>>,
        options: &Options,
    ) -> Checked<Copying> {
        let at = position((&original.location, &original.location));
        let kinds = [RelationKind::Table, RelationKind::PartitionedTable];
        check_kind(self.table(original)?.relation, &kinds, "to")
            .map_err(|reason| refuse(reason, at))?;
        if self.classified().scope().is_some() {
            return Err(unsupported("COPY FROM under a grant"));
        }
        let (relation, class) = self.writable(original, Write::Insert)?;
        qualified(original, rewritten, relation)?;
        let listed = names(attlist.0)?;
        let columns = self.copied_columns(relation, &listed)?;
        for column in options.named() {
            self.copied_columns(relation, &[column])?;
        }
        let mut item = self.item(original, relation, Tenancy::Free);
        let sent = names(attlist.1)?;
        let owner = match class {
            Class::Scoped(scoped) => {
                if columns.is_empty() {
                    return Err(unsupported("COPY FROM of a table without other columns"));
                }
                item.hidden = self.hidden(scoped);
                let own = scoped.tenant_column().ok_or_else(|| {
                    unsupported("COPY FROM for a table that reaches its tenant through another one")
                })?;
                let kept = sent.split_first().filter(|(first, _)| **first == own);
                if kept.map(|(_, kept)| kept) != Some(columns.as_slice()) {
                    return Err(differs("the columns of COPY"));
                }
                Some(OwnerColumn {
                    name: own.to_owned(),
                    column_type: scoped.column_type,
                    columns: columns.len(),
                    format: options.format()?,
                })
            }
            Class::Shared { .. } => {
                equal((&listed, &sent), "the columns of COPY")?;
                None
            }
            Class::Refused(_) => return Err(differs("what COPY writes")),
        };
        // Only the client's own rows are looked at.
        let mut level = Level::new(Tenancy::Free);
        level.add(item);
        self.levels.push(level);
        match class {
            Class::Scoped(scoped) => {
                let test = direct_test(relation.name.name.clone(), relation, scoped, -1);
                self.tested(condition, &test)?;
            }
            Class::Shared { .. } | Class::Refused(_) => {
                self.optional(condition, "WHERE in COPY FROM")?;
            }
        }
        self.levels.pop();
        Ok(Copying::In(Arc::new(CopyIn {
            relation: relation.name.name.clone(),
            owner,
        })))
    }

    /// The columns that are copied, as `CopyGetAttnums()` finds them: those that are listed, or all that
    /// are not generated.
    fn copied_columns<'n>(
        &self,
        relation: &'n Relation,
        listed: &[&'n str],
    ) -> Checked<Vec<&'n str>>
    where
        'a: 'n,
    {
        let visible: Vec<(&str, Generated)> = self
            .classified()
            .visible_columns(relation)
            .into_iter()
            .map(|column| (column.name.as_str(), column.generated))
            .collect();
        let is_made = |generated: Generated| generated == Generated::Expression;
        if listed.is_empty() {
            let stored = relation.columns.iter().filter(|column| {
                let shown = (column.name.as_str(), column.generated);
                visible.contains(&shown) && !is_made(column.generated)
            });
            return Ok(stored.map(|column| column.name.as_str()).collect());
        }
        let mut seen = BTreeSet::new();
        for name in listed {
            let Some((_, generated)) = visible.iter().find(|(column, _)| column == name) else {
                let relation = &relation.name.name;
                let message =
                    format!("column \"{name}\" of relation \"{relation}\" does not exist");
                return Err(as_postgres("42703", message));
            };
            if is_made(*generated) {
                let message = format!("column \"{name}\" is a generated column");
                return Err(as_postgres("42P10", message));
            }
            if !seen.insert(*name) {
                let message = format!("column \"{name}\" specified more than once");
                return Err(as_postgres("42701", message));
            }
        }
        Ok(listed.to_vec())
    }
}

impl Options {
    /// The columns that options name.
    fn named(&self) -> impl Iterator<Item = &str> {
        let named = self.columns.iter().flat_map(|columns| match columns {
            Columns::All => [].as_slice(),
            Columns::Named(names) => names.as_slice(),
        });
        named.map(String::as_str)
    }
}

/// As PostgreSQL says it of what is no table.
fn check_kind(relation: &Relation, kinds: &[RelationKind], way: &str) -> Result<(), Reason> {
    let word = match relation.kind {
        kind if kinds.contains(&kind) => return Ok(()),
        RelationKind::CompositeType => "composite type",
        RelationKind::ForeignTable => "foreign table",
        RelationKind::Index => "index",
        RelationKind::MaterializedView => "materialized view",
        RelationKind::PartitionedTable => "partitioned table",
        RelationKind::Sequence => "sequence",
        RelationKind::Table => "table",
        RelationKind::View => "view",
    };
    Err(Reason::AsPostgres {
        sqlstate: "42809",
        message: format!("cannot copy {way} {word} \"{}\"", relation.name.name),
    })
}

fn both_there(pair: Pair<'_, Option<pg::RangeVar>>) -> Checked<Pair<'_, pg::RangeVar>> {
    match pair {
        (Some(original), Some(rewritten)) => Ok((original, rewritten)),
        (None, _) | (_, None) => Err(differs("the target of COPY")),
    }
}

fn names(list: &[Node]) -> Checked<Vec<&str>> {
    path(list).ok_or_else(|| differs("the columns of COPY"))
}

/// The column that a target shows, if it is nothing else.
fn plain_target(target: &Node) -> Option<&str> {
    let Some(NodeEnum::ResTarget(target)) = &target.node else {
        return None;
    };
    let pg::ResTarget {
        name,
        indirection,
        val: Some(value),
        location: _,
    } = &**target
    else {
        return None;
    };
    let column = super::proof::column_path(value)?;
    match column.as_slice() {
        [column] if name.is_empty() && indirection.is_empty() => Some(*column),
        _ => None,
    }
}

pub(super) fn as_postgres(sqlstate: &'static str, message: String) -> Refusal {
    Reason::AsPostgres { sqlstate, message }.into()
}
