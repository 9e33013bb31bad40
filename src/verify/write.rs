//! INSERT, UPDATE and DELETE, in lockstep.
//!
//! # Invariants
//! 1. A target that belongs to tenants is guarded, or gets the tenant's value as its last column.
//! 2. A table is written only if nothing that the write sets off can reach beyond the tenant.

use std::collections::BTreeSet;

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::from::{Table, direct_test, nothing_else, qualified};
use super::owner::Owner;
use super::proof::{
    Checked, Pair, Proof, both, differs, empty, equal, position, refuse, unsupported,
};
use super::reading;
use super::scope::{Extent, Item, Level, Output, Rows, Sealed, SystemColumns, Tenancy, Test};
use super::silent::Clause;
use super::via::{never_filled, not_checked, through_view};
use super::written::Written;
use crate::catalog::Relation;
use crate::isolate::refusal::{BeyondGrant, Reason};
use crate::isolate::template::SlotType;
use crate::tenant::{Class, Scoped, TenantColumn, Verb, Via};

/// The table that a statement writes.
pub(super) struct Target<'c> {
    pub(super) relation: &'c Relation,
    /// What says whose its rows are, if it belongs to tenants.
    pub(super) scoped: Option<&'c Scoped>,
    /// The tenant's test on it, if it belongs to tenants.
    pub(super) test: Option<Test>,
    /// The view that the statement names in its place.
    pub(super) view: Option<Written<'c>>,
}

/// What is done to a table.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Write<'t> {
    Delete,
    Insert,
    /// An UPDATE that sets these columns.
    Update(BTreeSet<&'t str>),
}

impl Write<'_> {
    /// What a grant calls it.
    fn verb(&self) -> Verb {
        match self {
            Self::Delete => Verb::Delete,
            Self::Insert => Verb::Insert,
            Self::Update(_) => Verb::Update,
        }
    }
}

impl<'c> Target<'c> {
    /// The tenant's test on it, if it belongs to tenants.
    pub(super) fn tests(&self) -> Vec<Test> {
        self.test.iter().cloned().collect()
    }

    /// What a column is sent as.
    fn sent_name<'n>(&'n self, column: &'n str) -> Checked<&'n str> {
        match &self.view {
            Some(view) if !column.is_empty() => view.sent_name(column),
            Some(_) | None => Ok(column),
        }
    }

    /// Refuses DEFAULT for a column of a view: it means the view's own default there, or NULL.
    fn assigns(&self, value: Option<&Node>) -> Checked {
        let is_default = |node: &Node| matches!(node.node, Some(NodeEnum::SetToDefault(_)));
        let defaults = match value.and_then(|value| value.node.as_ref()) {
            Some(NodeEnum::RowExpr(row)) => row.args.iter().any(is_default),
            Some(NodeEnum::SetToDefault(_)) => true,
            Some(_) | None => false,
        };
        if defaults && self.view.is_some() {
            return Err(unsupported(
                "DEFAULT for a column of a view that is changed",
            ));
        }
        Ok(())
    }

    /// What says whose a row is, if that is the row to which this column refers.
    fn refers_by(&self, column: &str) -> Option<(&'c Scoped, &'c Via)> {
        let scoped = self.scoped?;
        let via = scoped.via()?;
        (via.column == column).then_some((scoped, via))
    }

    /// Whether this is the tenant column.
    fn is_owner(&self, column: &str) -> bool {
        let own = self.scoped.and_then(Scoped::tenant_column);
        own == Some(column)
    }
}

impl<'a> Proof<'a> {
    /// Compares two statements about data.
    pub(super) fn data_statement(
        &mut self,
        original: &NodeEnum,
        rewritten: &NodeEnum,
    ) -> Checked<Output> {
        let visible = self.ctes.len();
        let output = reading::deeper(|| match (original, rewritten) {
            (NodeEnum::SelectStmt(o), NodeEnum::SelectStmt(r)) => self.select(o, r, None),
            (NodeEnum::InsertStmt(o), NodeEnum::InsertStmt(r)) => self.insert(o, r),
            (NodeEnum::UpdateStmt(o), NodeEnum::UpdateStmt(r)) => self.update(o, r),
            (NodeEnum::DeleteStmt(o), NodeEnum::DeleteStmt(r)) => self.delete(o, r),
            (NodeEnum::MergeStmt(o), NodeEnum::MergeStmt(r)) => self.merge_statement(o, r),
            _ => {
                super::session::permitted(original)?;
                Err(differs("the kind of statement"))
            }
        })?;
        self.ctes.truncate(visible);
        Ok(output)
    }

    fn update(&mut self, original: &pg::UpdateStmt, rewritten: &pg::UpdateStmt) -> Checked<Output> {
        both!(UpdateStmt, original, rewritten, {
            relation, target_list, where_clause, from_clause, returning_clause, with_clause
        });
        self.with(with_clause)?;
        self.levels.push(Level::new(Tenancy::Free));
        let target = self.target_table(relation, Write::Update(assigned(target_list.1)))?;
        self.guarded(&target)?;
        self.range_entries(from_clause)?;
        self.assignments(target_list, &target)?;
        self.row_condition(where_clause, &target)?;
        self.returning(returning_clause)
    }

    /// The condition of an UPDATE or DELETE, with the tenant's predicates; or WHERE CURRENT OF.
    fn row_condition(&mut self, pair: Pair<'_, Option<Box<Node>>>, target: &Target<'a>) -> Checked {
        let tests = std::mem::take(&mut self.level()?.tests);
        if self.current_of(pair)? {
            // The cursor answers for the target only.
            let of_target = tests.len() == target.tests().len();
            if target.view.is_some() {
                return Err(super::written::on_cursor());
            }
            return of_target
                .then_some(())
                .ok_or_else(|| differs("a table without a fence beside WHERE CURRENT OF"));
        }
        match &target.view {
            None => self.condition(pair, &tests, Clause::Where),
            Some(view) => self.condition_on_view(pair, &tests, view),
        }
    }

    pub(super) fn delete(
        &mut self,
        original: &pg::DeleteStmt,
        rewritten: &pg::DeleteStmt,
    ) -> Checked<Output> {
        both!(DeleteStmt, original, rewritten, {
            relation, using_clause, where_clause, returning_clause, with_clause
        });
        self.with(with_clause)?;
        self.levels.push(Level::new(Tenancy::Free));
        let target = self.target_table(relation, Write::Delete)?;
        self.guarded(&target)?;
        self.range_entries(using_clause)?;
        self.row_condition(where_clause, &target)?;
        self.returning(returning_clause)
    }

    fn insert(&mut self, original: &pg::InsertStmt, rewritten: &pg::InsertStmt) -> Checked<Output> {
        both!(InsertStmt, original, rewritten, {
            relation, cols, select_stmt, on_conflict_clause, returning_clause, with_clause,
            r#override
        });
        equal(r#override, "OVERRIDING")?;
        self.with(with_clause)?;
        let width = self.source(select_stmt, relation, cols.0)?;
        self.levels.push(Level::new(Tenancy::Free));
        let target = self.target_table(relation, Write::Insert)?;
        self.insert_columns(cols, &target, width)?;
        match on_conflict_clause {
            (Some(original), Some(rewritten)) => self.conflict(original, rewritten, &target)?,
            (None, None) => {}
            (Some(_), None) | (None, Some(_)) => return Err(differs("ON CONFLICT")),
        }
        self.returning(returning_clause)
    }

    /// Resolves the target, whose name becomes the full one, and makes it the first range entry.
    pub(super) fn target_table(
        &mut self,
        pair: Pair<'_, Option<pg::RangeVar>>,
        write: Write<'_>,
    ) -> Checked<Target<'a>> {
        let (Some(original), Some(rewritten)) = pair else {
            return Err(differs("the target of a write"));
        };
        let at = position((&original.location, &original.location));
        let view = self.written(original, &write)?;
        let (relation, class) = match &view {
            None => self.writable(original, write)?,
            Some(view) => self.may_write(&view.table, write, at)?,
        };
        let mut item = match &view {
            None => {
                qualified(original, rewritten, relation)?;
                let tenancy = match class {
                    Class::Scoped(_) => Tenancy::Scoped,
                    Class::Refused(_) | Class::Shared { .. } => Tenancy::Free,
                };
                Item {
                    system: SystemColumns::of_table(tenancy),
                    ..self.item(original, relation, Tenancy::Free)
                }
            }
            Some(view) => {
                view.sent_for(original, rewritten)?;
                self.written_item(original, view)
            }
        };
        let mut target = Target {
            relation,
            scoped: None,
            test: None,
            view,
        };
        if let Class::Scoped(scoped) = class {
            self.touched = Tenancy::Scoped;
            item.hidden = self.hidden(scoped);
            item.tenancy = Tenancy::Scoped;
            let alias = item.name.clone().unwrap_or_default();
            target.scoped = Some(scoped);
            target.test = Some(direct_test(alias, relation, scoped, original.location));
        }
        let may_read = self.classified().permits(Verb::Select);
        let level = self.level()?;
        if !may_read {
            level.sealed = Some(Sealed {
                alias: item.name.clone().unwrap_or_default(),
                relation: relation.name.clone(),
            });
        }
        let exposed = level.add(item);
        level.star.append(exposed);
        Ok(target)
    }

    /// The target of a write, if tenants may write it.
    pub(super) fn writable(
        &mut self,
        named: &pg::RangeVar,
        write: Write<'_>,
    ) -> Checked<(&'a Relation, &'a Class)> {
        let at = position((&named.location, &named.location));
        let table = self.table(named)?;
        self.may_write(&table, write, at)
    }

    /// Refuses a write to a table that tenants may not write so.
    fn may_write(
        &mut self,
        table: &Table<'a>,
        write: Write<'_>,
        at: Option<usize>,
    ) -> Checked<(&'a Relation, &'a Class)> {
        let verb = write.verb();
        let Table { relation, class } = *table;
        self.permitted(relation, verb, at)?;
        if let Class::Shared { writable: false } = class {
            let reason = Reason::AsPostgres {
                sqlstate: "42501",
                message: format!("permission denied for table {}", relation.name.name),
            };
            return Err(refuse(reason, at));
        }
        let hazards = match write {
            Write::Insert | Write::Delete => self.classified().write_hazards(relation, verb),
            Write::Update(columns) => self.classified().update_hazards(relation, &columns),
        };
        if let Some(hazard) = hazards.into_iter().next() {
            let relation = relation.name.to_string();
            return Err(refuse(Reason::WriteNotAllowed { relation, hazard }, at));
        }
        Ok((relation, class))
    }

    /// The target's test is one of those that the WHERE clause must hold.
    fn guarded(&mut self, target: &Target<'_>) -> Checked {
        let tests = target.tests();
        let level = self.level()?;
        level.direct.extend(tests.iter().cloned());
        level.tests.extend(tests);
        Ok(())
    }

    pub(super) fn returning(
        &mut self,
        pair: Pair<'_, Option<pg::ReturningClause>>,
    ) -> Checked<Output> {
        let (columns, extent) = match pair {
            (Some(original), Some(rewritten)) => {
                both!(ReturningClause, original, rewritten, { options, exprs });
                empty(options, "RETURNING WITH")?;
                self.targets(exprs, None)?
            }
            (None, None) => (Vec::new(), Extent::Complete),
            (Some(_), None) | (None, Some(_)) => return Err(differs("RETURNING")),
        };
        let mut output = self.settle(columns, extent, Rows::Any)?;
        output.loud.get_or_insert(unsupported("a write"));
        Ok(output)
    }

    /// Compares SET.
    pub(super) fn assignments(
        &mut self,
        pair: Pair<'_, Vec<Node>>,
        target: &Target<'_>,
    ) -> Checked {
        if pair.0.len() != pair.1.len() {
            return Err(differs("SET"));
        }
        let mut walked = None;
        for (original, rewritten) in pair.0.iter().zip(pair.1) {
            let (Some(NodeEnum::ResTarget(o)), Some(NodeEnum::ResTarget(r))) =
                (&original.node, &rewritten.node)
            else {
                return Err(differs("SET"));
            };
            both!(ResTarget, o, r, { name, indirection, val, location });
            self.assigned_column(name, target, position(location))?;
            self.subscripts(indirection)?;
            let (Some(value), Some(sent)) = val else {
                return Err(differs("SET"));
            };
            match (&value.node, &sent.node) {
                (Some(NodeEnum::MultiAssignRef(o)), Some(NodeEnum::MultiAssignRef(r))) => {
                    if let Some((_, via)) = target.refers_by(name.1) {
                        return Err(not_checked(via));
                    }
                    both!(MultiAssignRef, o, r, { source, colno, ncolumns });
                    target.assigns(source.0.as_deref())?;
                    equal(colno, "SET")?;
                    equal(ncolumns, "SET")?;
                    // The tree repeats the source for each column; it is one in the text.
                    if walked != Some(source) {
                        self.multiple_source(source)?;
                        walked = Some(source);
                    }
                }
                _ => self.assigned_value(value, sent, target, name.1)?,
            }
        }
        Ok(())
    }

    fn assigned_value(
        &mut self,
        value: &Node,
        sent: &Node,
        target: &Target<'_>,
        column: &str,
    ) -> Checked {
        target.assigns(Some(value))?;
        if let Some(by) = target.refers_by(column) {
            if self.classified().tenant_column() == TenantColumn::Visible {
                // It could make the row another tenant's.
                let column = column.to_owned();
                return Err(BeyondGrant::TenantColumnAssigned { column }.into());
            }
            return self.checked_reference(value, sent, by);
        }
        self.expression(value, sent)?;
        if let (Some(NodeEnum::ParamRef(parameter)), Some(column)) =
            (&value.node, target.relation.column(column))
        {
            let untyped = self.parameter(*parameter)?.untyped;
            let type_oid = super::types::base(self.catalog(), column.type_oid);
            self.use_as(untyped, type_oid);
        }
        Ok(())
    }

    /// The source of `SET (a, b) = ..`.
    fn multiple_source(&mut self, pair: Pair<'_, Option<Box<Node>>>) -> Checked {
        let (Some(original), Some(rewritten)) = pair else {
            return Err(differs("SET"));
        };
        match (&original.node, &rewritten.node) {
            (Some(NodeEnum::SubLink(o)), Some(NodeEnum::SubLink(r))) => self.sub_link(o, r),
            _ => self.expression(original, rewritten),
        }
    }

    /// `SET a[1] = ..`; fields of composite columns are not supported.
    fn subscripts(&mut self, pair: Pair<'_, Vec<Node>>) -> Checked {
        let plain = |node: &Node| matches!(&node.node, Some(NodeEnum::AIndices(_)));
        if !pair.0.iter().all(plain) {
            return Err(unsupported("a field as the target of an assignment"));
        }
        self.indirection(None, pair)
    }

    /// Compares the source of an INSERT, and returns its width: none if it is not known, 0 for
    /// DEFAULT VALUES.
    fn source(
        &mut self,
        pair: Pair<'_, Option<Box<Node>>>,
        relation: Pair<'_, Option<pg::RangeVar>>,
        columns: &[Node],
    ) -> Checked<Option<usize>> {
        let Some(named) = relation.0 else {
            return Err(differs("the target of a write"));
        };
        let (relation, class) = match self.written(named, &Write::Insert)? {
            None => self.writable(named, Write::Insert)?,
            Some(view) => {
                let found = self.may_write(&view.table, Write::Insert, None)?;
                through_view(found.1)?;
                found
            }
        };
        let owner = match class {
            Class::Scoped(scoped) if scoped.via().is_none() || pair.0.is_some() => {
                self.owner_of_rows(columns, relation, scoped)?
            }
            Class::Scoped(_) | Class::Shared { .. } | Class::Refused(_) => None,
        };
        match pair {
            (Some(original), Some(rewritten)) => {
                let (Some(NodeEnum::SelectStmt(o)), Some(NodeEnum::SelectStmt(r))) =
                    (&original.node, &rewritten.node)
                else {
                    return Err(differs("the source of an INSERT"));
                };
                let output = self.select(o, r, owner)?;
                let known = output.extent == Extent::Complete;
                Ok(known.then_some(output.columns.len()))
            }
            (None, Some(rewritten)) => {
                let added = owner.and_then(Owner::added);
                let column_type = added.ok_or_else(|| differs("DEFAULT VALUES"))?;
                let value = only_value(rewritten).ok_or_else(|| differs("DEFAULT VALUES"))?;
                self.slot(value, SlotType::One(column_type))?;
                Ok(Some(0))
            }
            (None, None) if owner.is_none() => {
                if let Class::Scoped(scoped) = class
                    && let Some(via) = scoped.via()
                {
                    never_filled(relation, via)?;
                }
                Ok(Some(0))
            }
            (None | Some(_), None) => Err(differs("the source of an INSERT")),
        }
    }

    /// Compares the column list of an INSERT, which ends with the tenant column.
    pub(super) fn insert_columns(
        &mut self,
        pair: Pair<'_, Vec<Node>>,
        target: &Target<'_>,
        width: Option<usize>,
    ) -> Checked {
        let (original, rewritten) = pair;
        let wrong = || differs("the columns of an INSERT");
        let own = target.scoped.and_then(Scoped::tenant_column);
        let kept = match (own, self.classified().tenant_column()) {
            (Some(own), TenantColumn::Hidden) => {
                let (last, kept) = rewritten.split_last().ok_or_else(wrong)?;
                if plain_column(last).map(String::as_str) != Some(own) {
                    return Err(wrong());
                }
                kept
            }
            (None, _) if target.view.is_some() => rewritten.as_slice(),
            (None | Some(_), _) => return self.listed_columns(original, rewritten, target),
        };
        if !original.is_empty() {
            return self.listed_columns(original, kept, target);
        }
        let Some(width) = width else {
            return Err(unsupported(
                "INSERT without a column list from a query whose columns are not all known",
            ));
        };
        let visible = match &target.view {
            None => self.classified().visible_columns(target.relation),
            Some(view) => self.classified().visible_columns(view.view),
        };
        let Some((used, _)) = visible.split_at_checked(width) else {
            let reason = Reason::AsPostgres {
                sqlstate: "42601",
                message: "INSERT has more expressions than target columns".to_owned(),
            };
            return Err(reason.into());
        };
        let mut names = Vec::new();
        for column in used {
            names.push(Some(target.sent_name(&column.name)?));
        }
        let kept = kept.iter();
        if kept
            .map(|node| plain_column(node).map(String::as_str))
            .eq(names)
        {
            Ok(())
        } else {
            Err(wrong())
        }
    }

    fn listed_columns(
        &mut self,
        original: &[Node],
        rewritten: &[Node],
        target: &Target<'_>,
    ) -> Checked {
        if original.len() != rewritten.len() {
            return Err(differs("the columns of an INSERT"));
        }
        for (original, rewritten) in original.iter().zip(rewritten) {
            let (Some(NodeEnum::ResTarget(o)), Some(NodeEnum::ResTarget(r))) =
                (&original.node, &rewritten.node)
            else {
                return Err(differs("the columns of an INSERT"));
            };
            both!(ResTarget, o, r, { name, indirection, val, location });
            self.listed_column(name, target, position(location))?;
            self.subscripts(indirection)?;
            equal(val, "the columns of an INSERT")?;
        }
        Ok(())
    }

    /// The target of an assignment.
    fn assigned_column(
        &self,
        name: Pair<'_, String>,
        target: &Target<'_>,
        at: Option<usize>,
    ) -> Checked {
        let is_owner = target.is_owner(name.0);
        if is_owner && self.classified().tenant_column() == TenantColumn::Visible {
            let column = name.0.clone();
            return Err(refuse(
                BeyondGrant::TenantColumnAssigned { column }.into(),
                at,
            ));
        }
        self.listed_column(name, target, at)
    }

    /// A column in the list of an INSERT or of ON CONFLICT.
    pub(super) fn listed_column(
        &self,
        name: Pair<'_, String>,
        target: &Target<'_>,
        at: Option<usize>,
    ) -> Checked {
        if target.is_owner(name.0) && self.classified().tenant_column() == TenantColumn::Hidden {
            let column = name.0.clone();
            return Err(refuse(Reason::ColumnDoesNotExist { column }, at));
        }
        let wanted = target.sent_name(name.0).map_err(|mut refusal| {
            refusal.position = at;
            refusal
        })?;
        equal((&wanted, &name.1.as_str()), "the name of a column")
    }
}

/// The columns that SET sets.
pub(super) fn assigned(targets: &[Node]) -> BTreeSet<&str> {
    targets
        .iter()
        .filter_map(|target| match &target.node {
            Some(NodeEnum::ResTarget(target)) => Some(target.name.as_str()),
            Some(_) | None => None,
        })
        .collect()
}

/// The name in a column list, if nothing else is there.
fn plain_column(node: &Node) -> Option<&String> {
    let Some(NodeEnum::ResTarget(target)) = &node.node else {
        return None;
    };
    let pg::ResTarget {
        name,
        indirection,
        val: None,
        location: _,
    } = &**target
    else {
        return None;
    };
    indirection.is_empty().then_some(name)
}

/// The value of `VALUES (value)`.
fn only_value(node: &Node) -> Option<&Node> {
    let Some(NodeEnum::SelectStmt(select)) = &node.node else {
        return None;
    };
    let mut rest = (**select).clone();
    rest.values_lists.clear();
    let [row] = select.values_lists.as_slice() else {
        return None;
    };
    let Some(NodeEnum::List(row)) = &row.node else {
        return None;
    };
    match row.items.as_slice() {
        [value] if rest == nothing_else() => Some(value),
        _ => None,
    }
}

/// Where the column list of an INSERT names the tenant column: exactly once.
pub(super) fn named_owner<'c>(
    columns: &[Node],
    scoped: &'c Scoped,
    own: &str,
) -> Checked<Owner<'c>> {
    let is_owner = |node: &Node| match &node.node {
        Some(NodeEnum::ResTarget(target)) => target.name == own,
        Some(_) | None => true,
    };
    let mut named = columns
        .iter()
        .enumerate()
        .filter(|(_, node)| is_owner(node));
    match (named.next(), named.next()) {
        (Some((at, node)), None) if plain_column(node).is_some() => {
            Ok(Owner::Checked { at, scoped })
        }
        (None | Some(_), _) => {
            let column = own.to_owned();
            Err(BeyondGrant::TenantNotNamed { column }.into())
        }
    }
}
