//! Writes to a view that PostgreSQL would make to its table: what is sent is the write to the table.
//!
//! A view of one relation each of whose rows is a row of that relation
//! (`view_query_is_auto_updatable` of rewriteHandler.c). The table is sent under the view's name as its
//! alias, a column of the view as the table's that it is, and behind the client's condition those of the
//! definition. Views on such views are followed.
//!
//! # Invariants
//! 1. The definition is the catalog's, parsed here. A view with an aggregate, a window, a set-returning
//!    function or a sub-select in it is not written.
//! 2. Of the table nothing can be named but the columns that the view shows, and not the tenant column.
//! 3. A view with a rule, a trigger or CHECK OPTION is not written.

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::expression::reference;
use super::from::{Table, alias_of};
use super::names::listed;
use super::proof::{
    Checked, Pair, Proof, anywhere, both, column_path, differs, equal, path, unsupported,
};
use super::reading;
use super::scope::{self, Item, Level, Reference, Sent, Tenancy, Test};
use super::select::conjuncts;
use super::silent::Clause;
use super::types::Column;
use super::write::Write;
use crate::catalog::Relation;
use crate::isolate::refusal::{Reason, Refusal};
use crate::tenant::{Class, WriteHazard};

/// Views on views beyond this depth are refused.
const DEPTH_MAX: usize = 32;

/// A column's name, and what it is in the table; none if it is computed.
type Named = (String, Option<String>);

/// A view that is written.
pub(super) struct Written<'c> {
    /// The view.
    pub(super) view: &'c Relation,
    /// The table under it.
    pub(super) table: Table<'c>,
    /// Those that the client sees, once it is known what they are.
    columns: Vec<Named>,
    conditions: Vec<Condition>,
    /// `update`, as PostgreSQL's messages have it.
    command: &'static str,
}

/// The condition of a definition.
struct Condition {
    /// What the definition calls the relation that it reads.
    alias: String,
    /// The columns of that relation.
    columns: Vec<Named>,
    clause: Option<Box<Node>>,
}

impl<'a> Proof<'a> {
    /// The view that a write names, if it names one.
    pub(super) fn written(
        &self,
        named: &pg::RangeVar,
        write: &Write<'_>,
    ) -> Checked<Option<Written<'a>>> {
        let Some(view) = self.view(named) else {
            return Ok(None);
        };
        if self.classified().scope().is_some() {
            return Err(unsupported("a write to a view under a grant"));
        }
        if !named.inh {
            return Err(unsupported("ONLY with a view that is written"));
        }
        let mut written = self.through(view, write, 0).map_err(|refusal| Refusal {
            // No place in a definition is one of the client's text.
            position: usize::try_from(named.location).ok(),
            ..refusal
        })?;
        let visible = self.classified().visible_columns(written.view);
        let is_visible = |name: &String| visible.iter().any(|column| column.name == *name);
        written.columns.retain(|(name, _)| is_visible(name));
        keeps_tenant_column(&written)?;
        Ok(Some(written))
    }

    /// Finds the table under a view.
    fn through(
        &self,
        (view, definition): (&'a Relation, &str),
        write: &Write<'_>,
        depth: usize,
    ) -> Checked<Written<'a>> {
        let command = write.command();
        if depth >= DEPTH_MAX {
            let what = "views within views";
            let limit = DEPTH_MAX;
            return Err(Reason::TooLarge { what, limit }.into());
        }
        writes_nothing_else(view, write)?;
        let parsed = reading::parse_one(definition.trim_end().trim_end_matches(';'))?;
        let closed = || not_updatable(command, view);
        let NodeEnum::SelectStmt(select) = &parsed else {
            return Err(differs("the definition of a view"));
        };
        let (targets, named, clause) = simple(select).ok_or_else(closed)?;
        let (alias, listed) = alias_of(named);
        if !named.inh || !listed.is_empty() {
            return Err(unsupported("a write to a view that reads its table so"));
        }
        let mut below = if let Some(view) = self.view(named) {
            self.through(view, write, depth + 1)?
        } else {
            let table = self.table(named)?;
            let own = table.relation.columns.iter().map(|column| &column.name);
            Written {
                view,
                table,
                columns: own.map(|it| (it.clone(), Some(it.clone()))).collect(),
                conditions: Vec::new(),
                command,
            }
        };
        if targets.len() != view.columns.len() {
            return Err(differs("the columns of a view"));
        }
        let mut columns = Vec::new();
        for (target, column) in targets.iter().zip(&view.columns) {
            let shown = shown(target, &alias, &below.columns)?;
            columns.push((column.name.clone(), shown));
        }
        if let Some(clause) = clause {
            if !row_by_row(clause) {
                return Err(unsupported("a write to a view with such a condition"));
            }
            below.conditions.push(Condition {
                alias,
                columns: below.columns,
                clause: Some(Box::new(clause.clone())),
            });
        }
        Ok(Written {
            view,
            columns,
            ..below
        })
    }

    /// The range entry of a view that is written.
    pub(super) fn written_item(&self, named: &pg::RangeVar, written: &Written<'a>) -> Item {
        let item = self.item(named, written.table.relation, Tenancy::Free);
        let alias = item.name.clone().unwrap_or_default();
        Item {
            relation: named.alias.is_none().then(|| written.view.name.clone()),
            ..sent_item(item, &written.columns, alias)
        }
    }

    /// Compares a reference to a column of a view that is written with what is sent for it: the table's
    /// column, with its alias unless both have one name.
    pub(super) fn written_column(
        &self,
        rewritten: &[Node],
        named: Reference<'_>,
        (item, sent, at): (&Item, &Sent, usize),
    ) -> Checked {
        let Some(Some(column)) = sent.columns.get(at) else {
            return Err(computed(named.column.unwrap_or_default()));
        };
        let is_own_alias = item.name.as_ref() == Some(&sent.alias);
        let found = reference(rewritten);
        let bare = Reference {
            schema: None,
            table: None,
            column: Some(column),
        };
        if found == Some(bare) && named == bare && is_own_alias {
            return Ok(());
        }
        let full = Reference {
            table: Some(&sent.alias),
            ..bare
        };
        // Within a definition nothing has another name; else a sub-select could have it, too.
        let means_table = self.views > 0
            || scope::range_entry(&self.levels, None, &sent.alias)
                .is_ok_and(|meant| std::ptr::eq(meant, item));
        if found == Some(full) && means_table {
            return Ok(());
        }
        if found == Some(named) && named.table.is_none() {
            let what =
                "in a sub-select, a renamed column of a view that is written, without its name,";
            return Err(unsupported(what));
        }
        Err(differs("a column of a view"))
    }

    /// Compares the condition of a write to a view: the client's, those of the definition, the tests.
    pub(super) fn condition_on_view(
        &mut self,
        pair: Pair<'_, Option<Box<Node>>>,
        tests: &[Test],
        written: &Written<'a>,
    ) -> Checked {
        let wrong = || differs("the condition of a view");
        let all = conjuncts(pair.1.as_deref());
        let own = conjuncts(pair.0.as_deref()).len();
        let end = all.len().checked_sub(tests.len()).ok_or_else(wrong)?;
        let (rest, added) = all.split_at(end);
        let (clients, sent) = rest.split_at_checked(own).ok_or_else(wrong)?;
        let clients: Vec<&Node> = clients.iter().chain(added).copied().collect();
        self.conjoined((pair.0, &clients), tests, Clause::Where)?;
        let target = self.level()?.items.first();
        let alias = target.and_then(|target| target.name.clone());
        let alias = alias.ok_or_else(wrong)?;
        let mut sent = flat(sent.to_vec()).into_iter();
        for condition in &written.conditions {
            for (index, original) in flat(conjuncts(condition.clause.as_deref()))
                .into_iter()
                .enumerate()
            {
                let sent = sent.next().ok_or_else(wrong)?;
                self.own_conjunct(index, (original, sent), (condition, written, &alias))
                    .map_err(|refusal| Refusal {
                        position: None,
                        ..refusal
                    })?;
            }
        }
        match sent.next() {
            None => Ok(()),
            Some(_) => Err(wrong()),
        }
    }

    /// Compares a conjunct of a definition, in a namespace of its own.
    fn own_conjunct(
        &mut self,
        index: usize,
        pair: Pair<'_, Node>,
        (condition, written, alias): (&Condition, &Written<'a>, &str),
    ) -> Checked {
        let named = pg::RangeVar {
            relname: condition.alias.clone(),
            location: -1,
            ..pg::RangeVar::default()
        };
        let tenancy = match written.table.class {
            Class::Scoped(_) => Tenancy::Scoped,
            Class::Refused(_) | Class::Shared { .. } => Tenancy::Free,
        };
        let levels = std::mem::take(&mut self.levels);
        let ctes = std::mem::take(&mut self.ctes);
        self.views += 1;
        self.judging += 1;
        let item = self.item(&named, written.table.relation, Tenancy::Free);
        let mut level = Level::new(tenancy);
        level.items.push(Item {
            relation: None,
            ..sent_item(item, &condition.columns, alias.to_owned())
        });
        self.levels.push(level);
        self.conjunct(index, pair, Clause::Where)?;
        let level = self.levels.pop();
        self.judging -= 1;
        self.views -= 1;
        self.ctes = ctes;
        self.levels = levels;
        let loud = level.and_then(|level| level.loud_condition);
        match loud.filter(|_| tenancy == Tenancy::Scoped) {
            None => Ok(()),
            Some(Refusal {
                reason: Reason::ConditionNotSilent { what, remedies: _ },
                position: _,
            }) => Err(Reason::not_silent(what).into()),
            Some(refusal) => Err(refusal),
        }
    }
}

impl Written<'_> {
    /// Compares the name of the view with that of its table, which has the view's as its alias.
    pub(super) fn sent_for(&self, original: &pg::RangeVar, rewritten: &pg::RangeVar) -> Checked {
        both!(RangeVar, original, rewritten, {
            catalogname, schemaname, relname, inh, relpersistence, alias, location
        });
        anywhere(location);
        let what = "the table of a view";
        let name = &self.table.relation.name;
        equal(catalogname, what)?;
        equal((&name.schema, schemaname.1), what)?;
        equal((&name.name, relname.1), what)?;
        equal(inh, "ONLY")?;
        equal(relpersistence, what)?;
        let unnamed = pg::Alias {
            aliasname: relname.0.clone(),
            colnames: Vec::new(),
        };
        let wanted = alias.0.as_ref().unwrap_or(&unnamed);
        match alias.1 {
            Some(sent) if sent == wanted => Ok(()),
            Some(_) | None => Err(differs("the alias of a view")),
        }
    }

    /// What a column in SET or in a column list is sent as.
    pub(super) fn sent_name(&self, column: &str) -> Checked<&str> {
        match self.columns.iter().find(|(name, _)| name == column) {
            Some((_, Some(sent))) => Ok(sent),
            Some((_, None)) => Err(Reason::AsPostgres {
                sqlstate: "0A000",
                message: format!(
                    "cannot {} column \"{column}\" of view \"{}\"",
                    self.command, self.view.name.name
                ),
            }
            .into()),
            None => Err(Reason::AsPostgres {
                sqlstate: "42703",
                message: format!(
                    "column \"{column}\" of relation \"{}\" does not exist",
                    self.view.name.name
                ),
            }
            .into()),
        }
    }
}

impl Write<'_> {
    /// As PostgreSQL's messages have it.
    fn command(&self) -> &'static str {
        match self {
            Self::Delete => "delete from",
            Self::Insert => "insert into",
            Self::Update(_) => "update",
        }
    }
}

/// Under another name the tenant column would not be known for what it is.
fn keeps_tenant_column(written: &Written<'_>) -> Checked {
    let Class::Scoped(scoped) = written.table.class else {
        return Ok(());
    };
    let mut shown = written.columns.iter();
    if shown.any(|(_, sent)| sent.is_some() && sent.as_deref() == scoped.tenant_column()) {
        let what = "a write to a view that shows the tenant column under another name";
        return Err(unsupported(what));
    }
    Ok(())
}

/// WHERE CURRENT OF, as PostgreSQL has it.
pub(super) fn on_cursor() -> Refusal {
    Reason::AsPostgres {
        sqlstate: "0A000",
        message: "WHERE CURRENT OF on a view is not implemented".to_owned(),
    }
    .into()
}

/// Recognises the columns of a view that `*` stands for, under the names that the view gives them.
pub(super) fn expanded(
    item: &Item,
    sent: &Sent,
    rewritten: &mut std::slice::Iter<'_, Node>,
) -> Checked {
    let wrong = || differs("the columns that * stands for");
    for (column, name) in item.columns.iter().zip(&sent.columns) {
        let name = name.as_ref().ok_or_else(|| computed(&column.name))?;
        let Some(Some(NodeEnum::ResTarget(target))) = rewritten.next().map(|node| &node.node)
        else {
            return Err(wrong());
        };
        let pg::ResTarget {
            name: label,
            indirection,
            val: Some(value),
            location: _,
        } = &**target
        else {
            return Err(wrong());
        };
        let is_labelled = if label.is_empty() {
            *name == column.name
        } else {
            *label == column.name
        };
        let is_column = column_path(value).as_deref() == Some(&[&*sent.alias, &**name]);
        if !indirection.is_empty() || !is_labelled || !is_column {
            return Err(wrong());
        }
    }
    Ok(())
}

/// A range entry with these columns of the table's.
fn sent_item(item: Item, columns: &[Named], alias: String) -> Item {
    let typed = |(name, sent): &Named| {
        let known = item
            .columns
            .iter()
            .find(|column| sent.as_ref() == Some(&column.name));
        Column {
            name: name.clone(),
            value: known.map_or_else(|| Err(computed(name)), |known| known.value.clone()),
            behind: false,
        }
    };
    let typed = columns.iter().map(typed).collect();
    Item {
        columns: typed,
        sent: Some(Sent {
            alias,
            columns: columns.iter().map(|(_, sent)| sent.clone()).collect(),
        }),
        ..item
    }
}

fn computed(column: &str) -> Refusal {
    unsupported(&format!(
        "the computed column {column} of a view that is written"
    ))
}

fn not_updatable(command: &str, view: &Relation) -> Refusal {
    Reason::AsPostgres {
        sqlstate: "55000",
        message: format!("cannot {command} view \"{}\"", view.name.name),
    }
    .into()
}

/// Refuses a view at which a write sets off more than the write to its table.
fn writes_nothing_else(view: &Relation, write: &Write<'_>) -> Checked {
    let hazard = |hazard| Reason::WriteNotAllowed {
        relation: view.name.to_string(),
        hazard,
    };
    let relation = view.name.clone();
    if view.has_rules {
        return Err(hazard(WriteHazard::Rule { relation }).into());
    }
    if !view.triggers.is_empty() {
        return Err(unsupported("a write to a view with triggers"));
    }
    let options = view.view.iter().flat_map(|view| &view.options);
    if options
        .into_iter()
        .any(|option| option.starts_with("check_option"))
    {
        return Err(unsupported("a write to a view WITH CHECK OPTION"));
    }
    let has_defaults = view.columns.iter().any(|column| column.default.is_some());
    if has_defaults && *write == Write::Insert {
        return Err(unsupported("an INSERT into a view with defaults"));
    }
    Ok(())
}

/// The target list, the relation and the condition of a definition, if each of its rows is one row of one
/// relation.
fn simple(select: &pg::SelectStmt) -> Option<(&[Node], &pg::RangeVar, Option<&Node>)> {
    let pg::SelectStmt {
        distinct_clause,
        into_clause: None,
        target_list,
        from_clause,
        where_clause,
        group_clause,
        group_distinct: false,
        having_clause: None,
        window_clause,
        values_lists,
        // The order of its rows does not say which there are.
        sort_clause: _,
        limit_offset: None,
        limit_count: None,
        limit_option: _,
        locking_clause,
        with_clause: None,
        op,
        all: false,
        larg: None,
        rarg: None,
    } = select
    else {
        return None;
    };
    let none = [
        distinct_clause,
        group_clause,
        window_clause,
        values_lists,
        locking_clause,
    ];
    let is_set_operation = *op != i32::from(pg::SetOperation::SetopNone);
    if is_set_operation || !none.iter().all(|clause| clause.is_empty()) {
        return None;
    }
    match from_clause.as_slice() {
        [
            Node {
                node: Some(NodeEnum::RangeVar(named)),
            },
        ] => Some((target_list, named, where_clause.as_deref())),
        _ => None,
    }
}

/// What a target of a definition is in the table.
fn shown(target: &Node, alias: &str, below: &[Named]) -> Checked<Option<String>> {
    let wrong = || differs("the definition of a view");
    let Some(NodeEnum::ResTarget(target)) = &target.node else {
        return Err(wrong());
    };
    let value = target.val.as_deref().ok_or_else(wrong)?;
    if let Some(NodeEnum::ColumnRef(column)) = &value.node {
        let found = reference(&column.fields).and_then(|named| {
            let is_own = named.schema.is_none() && named.table.is_none_or(|it| it == alias);
            let mut known = below.iter();
            known.find(|(name, _)| is_own && Some(name.as_str()) == named.column)
        });
        return Ok(found.and_then(|(_, sent)| sent.clone()));
    }
    if row_by_row(value) {
        Ok(None)
    } else {
        Err(unsupported("a write to a view that computes such a column"))
    }
}

/// Whether an expression gives one value for each row, from that row alone: without aggregates, windows,
/// functions that return sets, and sub-selects. What is not known does not.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "what is not known is not written through"
)]
fn row_by_row(node: &Node) -> bool {
    let one = |node: &Option<Box<Node>>| node.as_deref().is_none_or(row_by_row);
    let all = |nodes: &[Node]| nodes.iter().all(row_by_row);
    let Some(kind) = &node.node else { return true };
    match kind {
        NodeEnum::AConst(_)
        | NodeEnum::ColumnRef(_)
        | NodeEnum::Integer(_)
        | NodeEnum::SqlvalueFunction(_) => true,
        NodeEnum::AArrayExpr(array) => all(&array.elements),
        NodeEnum::AExpr(operation) => one(&operation.lexpr) && one(&operation.rexpr),
        NodeEnum::BoolExpr(operation) => all(&operation.args),
        NodeEnum::BooleanTest(test) => one(&test.arg),
        NodeEnum::CaseExpr(case) => one(&case.arg) && all(&case.args) && one(&case.defresult),
        NodeEnum::CaseWhen(when) => one(&when.expr) && one(&when.result),
        NodeEnum::CoalesceExpr(coalesce) => all(&coalesce.args),
        NodeEnum::CollateClause(collate) => one(&collate.arg),
        NodeEnum::FuncCall(call) => is_plain_call(call) && all(&call.args),
        NodeEnum::List(list) => all(&list.items),
        NodeEnum::MinMaxExpr(expression) => all(&expression.args),
        NodeEnum::NullTest(test) => one(&test.arg),
        NodeEnum::TypeCast(cast) => one(&cast.arg),
        _ => false,
    }
}

/// Whether this calls a function of the system's that gives one value.
fn is_plain_call(call: &pg::FuncCall) -> bool {
    let name = match path(&call.funcname).as_deref() {
        Some([name] | ["pg_catalog", name]) => listed(name),
        Some(_) | None => None,
    };
    let is_aggregate = call.agg_star
        || call.agg_distinct
        || call.agg_within_group
        || !call.agg_order.is_empty()
        || call.agg_filter.is_some()
        || call.over.is_some();
    let many = ["aggregate", "window", "srf"];
    !is_aggregate && name.is_some_and(|name| !many.iter().any(|flag| name.is(flag)))
}

/// The conjuncts of conjuncts.
fn flat(nodes: Vec<&Node>) -> Vec<&Node> {
    let mut found = Vec::new();
    for node in nodes {
        match conjuncts(Some(node)).as_slice() {
            [_] => found.push(node),
            several => found.extend(flat(several.to_vec())),
        }
    }
    found
}
