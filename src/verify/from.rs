//! FROM, in lockstep: tables in fences and without, derived tables, functions, joins.

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::bare;
use super::mask::Shown;
use super::proof::{
    Checked, Pair, Proof, anywhere, both, differs, equal, path, position, refuse, unsupported,
};
use super::scope::{
    Exposed, Extent, Item, Locks, Output, SystemColumns, Tenancy, Test, silent_column,
};
use super::select::rename;
use super::types::{self, Column, Columns, Origin, Size, Value};
use crate::catalog::{self, Relation, RelationKind, Resolved, oid};
use crate::isolate::refusal::Reason;
use crate::isolate::remedy::MaskedColumn;
use crate::tenant::{Class, Scoped, TenantColumn, Verb};

/// Where a range entry stands, which decides whether a table may go without a fence.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Side {
    /// Where a condition in WHERE is a condition on the table.
    Inner,
    /// Where an outer join may have put NULLs in its place, or a join alias hides it.
    Fenced,
    /// The right side of a LEFT JOIN, whose ON is a condition on the table.
    On,
}

/// A name of a relation, resolved.
#[derive(Clone, Copy)]
pub(super) struct Table<'c> {
    /// The relation.
    pub(super) relation: &'c Relation,
    /// What it is to tenants.
    pub(super) class: &'c Class,
}

impl<'a> Proof<'a> {
    /// Compares FROM.
    pub(super) fn range_entries(&mut self, pair: Pair<'_, Vec<Node>>) -> Checked {
        if pair.0.len() != pair.1.len() {
            return Err(differs("FROM"));
        }
        for (original, rewritten) in pair.0.iter().zip(pair.1) {
            let exposed = self.range_entry(original, rewritten, Side::Inner)?;
            self.level()?.star.append(exposed);
        }
        self.direct_tables()
    }

    /// Tables without a fence: their tests bind to them only if nothing else at their level has their
    /// names. A name of an outer level is hidden by them (PostgreSQL's `refnameNamespaceItem`).
    pub(super) fn direct_tables(&self) -> Checked {
        let Some(level) = self.levels.last() else {
            return Ok(());
        };
        if level.merges && !level.direct.is_empty() {
            return Err(differs("a predicate next to USING or NATURAL"));
        }
        for test in &level.direct {
            let same = |alias: &&String| **alias == test.alias;
            if level.aliases.iter().filter(same).count() != 1 {
                return Err(differs("a predicate on an alias that is not unique"));
            }
        }
        Ok(())
    }

    pub(super) fn range_entry(
        &mut self,
        original: &Node,
        rewritten: &Node,
        side: Side,
    ) -> Checked<Exposed> {
        let (Some(original), Some(rewritten)) = (&original.node, &rewritten.node) else {
            return Err(differs("FROM"));
        };
        match (original, rewritten) {
            (NodeEnum::RangeVar(table), _) => self.range_variable(table, rewritten, side),
            (NodeEnum::RangeTableSample(sample), _) => self.sampled(sample, rewritten),
            (NodeEnum::RangeSubselect(o), NodeEnum::RangeSubselect(r)) => self.derived(o, r),
            (NodeEnum::RangeFunction(o), NodeEnum::RangeFunction(r)) => self.table_function(o, r),
            (NodeEnum::RangeFunction(o), NodeEnum::RangeSubselect(r)) => self.rows_in_from(o, r),
            (NodeEnum::JoinExpr(o), NodeEnum::JoinExpr(r)) => self.join(o, r, side),
            _ if std::mem::discriminant(original) == std::mem::discriminant(rewritten) => {
                Err(unsupported(&bare::construct(&bare::name_of(original))))
            }
            _ => Err(differs("FROM")),
        }
    }

    /// A name in FROM: a common table expression, or a relation.
    pub(super) fn range_variable(
        &mut self,
        original: &pg::RangeVar,
        rewritten: &NodeEnum,
        side: Side,
    ) -> Checked<Exposed> {
        if original.catalogname.is_empty() && original.schemaname.is_empty() {
            let wanted = |cte: &&super::proof::VisibleCte| cte.name == original.relname;
            if let Some(cte) = self.ctes.iter().rev().find(wanted) {
                let output = cte.output.clone();
                let output =
                    output.ok_or_else(|| unsupported("a forward reference within WITH"))?;
                return self.cte_reference(original, rewritten, output);
            }
        }
        if let Some(view) = self.view(original) {
            return self.view_reference(original, rewritten, view);
        }
        let table = self.table(original)?;
        let at = position((&original.location, &original.location));
        self.permitted(table.relation, Verb::Select, at)?;
        match (table.class, rewritten) {
            (Class::Scoped(scoped), NodeEnum::RangeSubselect(fence)) => {
                self.touched = Tenancy::Scoped;
                let test = fence_test(table.relation, scoped);
                let shown = self.fence(original, fence, table.relation, &test)?;
                let mut item = self.item(original, table.relation, Tenancy::Scoped);
                for (column, shown) in item.columns.iter_mut().zip(shown) {
                    if let (Ok(value), Shown::Masked) = (&mut column.value, shown) {
                        value.origin = Origin::Masked;
                    }
                }
                item.key = self.key_of_fence(original, table.relation, scoped, &item);
                Ok(self.level()?.add(item))
            }
            (Class::Scoped(scoped), NodeEnum::RangeVar(sent)) => {
                self.touched = Tenancy::Scoped;
                self.direct(original, sent, &table, scoped, side)
            }
            (Class::Shared { writable }, NodeEnum::RangeVar(sent)) => {
                qualified(original, sent, table.relation)?;
                let mut item = self.item(original, table.relation, Tenancy::Free);
                item.system = SystemColumns::of_table(Tenancy::Free);
                if !writable {
                    item.locks = Locks::Shared;
                }
                Ok(self.level()?.add(item))
            }
            (Class::Scoped(_) | Class::Shared { .. } | Class::Refused(_), _) => {
                Err(differs("a relation"))
            }
        }
    }

    /// Resolves a relation's name, and refuses what tenants may not name.
    pub(super) fn table(&self, named: &pg::RangeVar) -> Checked<Table<'a>> {
        let at = position((&named.location, &named.location));
        if !named.catalogname.is_empty() {
            return Err(unsupported("a relation's name with a database"));
        }
        let schema = Some(named.schemaname.as_str()).filter(|schema| !schema.is_empty());
        let relation = match self.catalog().resolve(schema, &named.relname) {
            Resolved::Relation(relation) => relation,
            Resolved::System(relation) => {
                let relation = relation.to_owned();
                return Err(refuse(Reason::SystemRelation { relation }, at));
            }
            Resolved::Nothing => {
                let relation = match schema {
                    Some(schema) => format!("{schema}.{}", named.relname),
                    None => named.relname.clone(),
                };
                return Err(refuse(Reason::RelationDoesNotExist { relation }, at));
            }
        };
        match self.classified().class(relation) {
            Class::Refused(closed) => {
                let reason = Reason::RelationNotAllowed {
                    relation: relation.name.to_string(),
                    closed: *closed,
                };
                Err(refuse(reason, at))
            }
            class @ (Class::Scoped(_) | Class::Shared { .. }) => Ok(Table { relation, class }),
        }
    }

    fn cte_reference(
        &mut self,
        original: &pg::RangeVar,
        rewritten: &NodeEnum,
        output: Output,
    ) -> Checked<Exposed> {
        let NodeEnum::RangeVar(rewritten) = rewritten else {
            return Err(differs("a reference to a common table expression"));
        };
        both!(RangeVar, original, rewritten, {
            catalogname, schemaname, relname, inh, relpersistence, alias, location
        });
        anywhere(location);
        let what = "a reference to a common table expression";
        equal(catalogname, what)?;
        equal(schemaname, what)?;
        equal(relname, what)?;
        equal(inh, what)?;
        equal(relpersistence, what)?;
        equal(alias, what)?;
        let (name, names) = alias_of(original);
        let item = from_output(output, Some(name), &names);
        self.add_derived(item)
    }

    fn add_derived(
        &mut self,
        item: (Item, Option<crate::isolate::refusal::Refusal>),
    ) -> Checked<Exposed> {
        let (item, loud) = item;
        let level = self.level()?;
        if let Some(loud) = loud {
            level.loud_content.get_or_insert(loud);
        }
        Ok(level.add(item))
    }

    /// Recognises a fence around a table:
    /// `(SELECT columns FROM schema.table WHERE table.tenant OPERATOR(pg_catalog.=) slot) AS alias`.
    fn fence(
        &mut self,
        original: &pg::RangeVar,
        fence: &pg::RangeSubselect,
        relation: &'a Relation,
        test: &Test,
    ) -> Checked<Vec<Shown>> {
        let wrong = || differs("a fence");
        let pg::RangeSubselect {
            lateral: false,
            subquery: Some(subquery),
            alias: Some(alias),
        } = fence
        else {
            return Err(wrong());
        };
        let expected = pg::Alias {
            aliasname: relation.name.name.clone(),
            colnames: Vec::new(),
        };
        if alias != original.alias.as_ref().unwrap_or(&expected) {
            return Err(differs("a fence's alias"));
        }
        let Some(NodeEnum::SelectStmt(select)) = &subquery.node else {
            return Err(wrong());
        };
        let mut rest = (**select).clone();
        let targets = std::mem::take(&mut rest.target_list);
        let from = std::mem::take(&mut rest.from_clause);
        let condition = rest.where_clause.take();
        if rest != nothing_else() {
            return Err(differs("a fence with another clause"));
        }
        let visible = self.columns_of(relation);
        if targets.len() != visible.len() {
            return Err(differs("a fence's columns"));
        }
        let mut shown = Vec::new();
        for (target, column) in targets.iter().zip(&visible) {
            shown.push(self.shown(target, column, test)?);
        }
        let unnamed = pg::RangeVar {
            alias: None,
            ..original.clone()
        };
        match from.as_slice() {
            [
                Node {
                    node: Some(NodeEnum::RangeVar(sent)),
                },
            ] => qualified(&unnamed, sent, relation)?,
            _ => return Err(wrong()),
        }
        // Compared with the tree in place, since its positions count.
        match condition.as_deref() {
            Some(condition) => self.test(condition, test)?,
            None => return Err(wrong()),
        }
        Ok(shown)
    }

    /// A table without a fence, whose test stands in a condition.
    fn direct(
        &mut self,
        original: &pg::RangeVar,
        rewritten: &pg::RangeVar,
        table: &Table<'a>,
        scoped: &Scoped,
        side: Side,
    ) -> Checked<Exposed> {
        qualified(original, rewritten, table.relation)?;
        let (alias, names) = alias_of(original);
        if side == Side::Fenced || !names.is_empty() {
            return Err(differs("a table that must stand in a fence"));
        }
        let test = direct_test(alias, table.relation, scoped, original.location);
        let mut item = self.item(original, table.relation, Tenancy::Scoped);
        item.hidden = self.hidden(scoped);
        item.system = SystemColumns::of_table(Tenancy::Scoped);
        let level = self.level()?;
        level.direct.push(test.clone());
        level.tests.push(test);
        Ok(level.add(item))
    }

    /// The tenant column of a table that stands without a fence, if it is not to be seen.
    pub(super) fn hidden(&self, scoped: &Scoped) -> Option<String> {
        if self.views > 0 {
            return None;
        }
        match self.classified().tenant_column() {
            TenantColumn::Hidden => scoped.tenant_column().map(str::to_owned),
            TenantColumn::Visible => None,
        }
    }

    /// The range entry of a relation.
    pub(super) fn item(
        &self,
        named: &pg::RangeVar,
        relation: &'a Relation,
        tenancy: Tenancy,
    ) -> Item {
        let (name, listed) = alias_of(named);
        let visible = self.columns_of(relation);
        let mut columns: Vec<Column> = visible
            .into_iter()
            .map(|column| {
                let type_oid = types::base(self.catalog(), column.type_oid);
                let is_short = type_oid == oid::NAME || column.typmod != -1;
                let value = Value {
                    collation: column.collation,
                    typmod: column.typmod,
                    size: if is_short {
                        Size::Bounded
                    } else {
                        Size::Unbounded
                    },
                    columns: self.maskable(named, column, tenancy),
                    ..Value::varying(type_oid)
                };
                silent_column(&column.name, value)
            })
            .collect();
        rename(&mut columns, &listed);
        Item {
            name: Some(name),
            relation: named.alias.is_none().then(|| relation.name.clone()),
            columns,
            extent: Extent::Complete,
            merged: Vec::new(),
            hidden: None,
            tenancy,
            locks: Locks::Own,
            sent: None,
            system: SystemColumns::Unknown,
            key: None,
        }
    }

    /// The columns that tell the rows of a fence apart, by the names that it shows: those of the primary key,
    /// of which one tenant's rows share the tenant column. Children have rows of their own, and definitions
    /// show what they like.
    fn key_of_fence(
        &self,
        named: &pg::RangeVar,
        relation: &'a Relation,
        scoped: &Scoped,
        item: &Item,
    ) -> Option<Vec<String>> {
        let is_hidden = self.classified().tenant_column() == TenantColumn::Hidden;
        let mut children = self.catalog().children(&relation.name);
        let is_whole = relation.kind == RelationKind::PartitionedTable
            || !named.inh
            || children.next().is_none();
        let key = relation.primary_key().filter(|key| {
            !key.partial_or_expression && !key.exclusion && is_hidden && is_whole && self.views == 0
        })?;
        let visible = self.columns_of(relation);
        let own = key
            .columns
            .iter()
            .filter(|name| scoped.tenant_column() != Some(name.as_str()));
        let shown = own.map(|name| {
            let at = visible.iter().position(|column| column.name == *name)?;
            item.columns.get(at).map(|column| column.name.clone())
        });
        let key: Vec<String> = shown.collect::<Option<_>>()?;
        (!key.is_empty()).then_some(key)
    }

    /// A column that a mask could hide.
    fn maskable(
        &self,
        named: &pg::RangeVar,
        column: &catalog::Column,
        tenancy: Tenancy,
    ) -> Columns {
        let is_known = types::base(self.catalog(), column.type_oid) != types::OPAQUE;
        let table = self
            .mention(named)
            .filter(|_| is_known && tenancy == Tenancy::Scoped);
        let masked = table.map(|table| MaskedColumn {
            table,
            number: column.number,
        });
        Columns::new(masked.into_iter().collect())
    }

    fn derived(
        &mut self,
        original: &pg::RangeSubselect,
        rewritten: &pg::RangeSubselect,
    ) -> Checked<Exposed> {
        both!(RangeSubselect, original, rewritten, { lateral, subquery, alias });
        equal(lateral, "LATERAL")?;
        equal(alias, "the alias of a derived table")?;
        let (Some(original_query), Some(rewritten_query)) = subquery else {
            return Err(differs("a derived table"));
        };
        let (Some(NodeEnum::SelectStmt(o)), Some(NodeEnum::SelectStmt(r))) =
            (&original_query.node, &rewritten_query.node)
        else {
            return Err(differs("a derived table"));
        };
        let around = self.lateral;
        let level = self.level()?;
        // Only a LATERAL query sees what stands to its left.
        let mut unseen = Vec::new();
        if *lateral.0 {
            if level.tenancy == Tenancy::Scoped {
                self.lateral = Tenancy::Scoped;
            }
        } else {
            unseen = std::mem::take(&mut level.items);
        }
        let output = self.select(o, r, None)?;
        self.lateral = around;
        if !*lateral.0 {
            self.level()?.items = unseen;
        }
        let (name, names) = match alias.0 {
            Some(pg::Alias {
                aliasname,
                colnames,
            }) => (Some(aliasname.clone()), strings(colnames)),
            None => (None, Vec::new()),
        };
        self.add_derived(from_output(output, name, &names))
    }
}

/// Compares a relation's name with its full one.
pub(super) fn qualified(
    original: &pg::RangeVar,
    rewritten: &pg::RangeVar,
    relation: &Relation,
) -> Checked {
    both!(RangeVar, original, rewritten, {
        catalogname, schemaname, relname, inh, relpersistence, alias, location
    });
    anywhere(location);
    let what = "a relation's name";
    equal(catalogname, what)?;
    equal((&relation.name.schema, schemaname.1), what)?;
    equal((&relation.name.name, relname.1), what)?;
    equal(relname, what)?;
    equal(inh, "ONLY")?;
    equal(relpersistence, what)?;
    equal(alias, "a relation's alias")
}

/// The name of a range entry, and the column names that it lists.
pub(super) fn alias_of(named: &pg::RangeVar) -> (String, Vec<String>) {
    match &named.alias {
        Some(pg::Alias {
            aliasname,
            colnames,
        }) => (aliasname.clone(), strings(colnames)),
        None => (named.relname.clone(), Vec::new()),
    }
}

/// Names as text.
pub(super) fn strings(names: &[Node]) -> Vec<String> {
    let names = path(names).unwrap_or_default();
    names.into_iter().map(str::to_owned).collect()
}

/// The range entry of a query, and what in the query is not silent.
fn from_output(
    output: Output,
    name: Option<String>,
    names: &[String],
) -> (Item, Option<crate::isolate::refusal::Refusal>) {
    let loud = output.any_loud();
    let mut columns = output.columns;
    rename(&mut columns, names);
    let item = Item {
        name,
        relation: None,
        columns,
        extent: output.extent,
        merged: Vec::new(),
        hidden: None,
        tenancy: output.tenancy,
        locks: output.locks,
        sent: None,
        system: SystemColumns::Absent,
        key: None,
    };
    (item, loud)
}

fn fence_test(relation: &Relation, scoped: &Scoped) -> Test {
    direct_test(relation.name.name.clone(), relation, scoped, -1)
}

/// The test of a table's tenant column, under the name that the table has.
pub(super) fn direct_test(
    alias: String,
    relation: &Relation,
    scoped: &Scoped,
    location: i32,
) -> Test {
    let key = relation.primary_key().zip(scoped.tenant_column());
    let key = key
        .filter(|(key, own)| {
            key.columns.iter().any(|column| column == own) && !key.partial_or_expression
        })
        .map(|(key, own)| {
            let others = key.columns.iter().filter(|column| *column != own);
            others.cloned().collect()
        });
    Test {
        alias,
        relation: relation.name.clone(),
        ownership: scoped.ownership.clone(),
        column_type: scoped.column_type,
        key,
        not_null: scoped.not_null,
        at: usize::try_from(location).ok(),
    }
}

/// A query without any clause.
pub(super) fn nothing_else() -> pg::SelectStmt {
    pg::SelectStmt {
        limit_option: pg::LimitOption::Default.into(),
        op: pg::SetOperation::SetopNone.into(),
        ..pg::SelectStmt::default()
    }
}
