//! FROM, in lockstep: tables in fences and without, derived tables, functions, joins.

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::bare;
use super::names;
use super::proof::{
    Checked, Pair, Proof, absent, anywhere, both, column_path, differs, equal, path, position,
    refuse, unchanged, unsupported,
};
use super::scope::{
    Exposed, Extent, Item, Level, Locks, Output, Tenancy, Test, opaque_column, silent_column,
};
use super::select::rename;
use super::silent::Clause;
use super::types::{self, Column, Value};
use crate::catalog::{Relation, Resolved};
use crate::isolate::refusal::Reason;
use crate::tenant::{Class, Scoped};

/// Where a range entry stands, which decides whether a table may go without a fence.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Side {
    /// Where a condition in WHERE is a condition on the table.
    Inner,
    /// Where an outer join may have put NULLs in its place, or a join alias hides it.
    Fenced,
    /// The right side of a LEFT JOIN, whose ON is a condition on the table.
    On,
}

/// A name of a relation, resolved.
pub(super) struct Table<'c> {
    /// The relation.
    pub(super) relation: &'c Relation,
    /// What it is to tenants.
    pub(super) class: &'c Class,
}

impl<'a> Proof<'a> {
    /// Compares FROM.
    pub(super) fn from_clause(&mut self, pair: Pair<'_, Vec<Node>>) -> Checked {
        if pair.0.len() != pair.1.len() {
            return Err(differs("FROM"));
        }
        for (original, rewritten) in pair.0.iter().zip(pair.1) {
            let exposed = self.from_item(original, rewritten, Side::Inner)?;
            self.level()?.star.append(exposed);
        }
        self.direct_tables()
    }

    /// Tables without a fence: their tests bind to them only if nothing else has their names.
    fn direct_tables(&self) -> Checked {
        let Some((level, around)) = self.levels.split_last() else {
            return Ok(());
        };
        if level.merges && !level.direct.is_empty() {
            return Err(differs("a predicate next to USING or NATURAL"));
        }
        for test in &level.direct {
            let same = |alias: &&String| **alias == test.alias;
            let here = level.aliases.iter().filter(same).count();
            let around = around
                .iter()
                .flat_map(|level| &level.aliases)
                .any(|a| same(&a));
            if here != 1 || around {
                return Err(differs("a predicate on an alias that is not unique"));
            }
        }
        Ok(())
    }

    fn from_item(&mut self, original: &Node, rewritten: &Node, side: Side) -> Checked<Exposed> {
        let (Some(original), Some(rewritten)) = (&original.node, &rewritten.node) else {
            return Err(differs("FROM"));
        };
        match (original, rewritten) {
            (NodeEnum::RangeVar(table), _) => self.range_variable(table, rewritten, side),
            (NodeEnum::RangeSubselect(o), NodeEnum::RangeSubselect(r)) => self.derived(o, r),
            (NodeEnum::RangeFunction(o), NodeEnum::RangeFunction(r)) => self.table_function(o, r),
            (NodeEnum::JoinExpr(o), NodeEnum::JoinExpr(r)) => self.join(o, r, side),
            _ if std::mem::discriminant(original) == std::mem::discriminant(rewritten) => {
                Err(unsupported(&bare::construct(&bare::name_of(original))))
            }
            _ => Err(differs("FROM")),
        }
    }

    /// A name in FROM: a common table expression, or a relation.
    fn range_variable(
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
        let table = self.table(original)?;
        match (table.class, rewritten) {
            (Class::Scoped(scoped), NodeEnum::RangeSubselect(fence)) => {
                self.touched = Tenancy::Scoped;
                let test = fence_test(table.relation, scoped);
                self.fence(original, fence, table.relation, &test)?;
                let item = self.item(original, table.relation, Tenancy::Scoped);
                Ok(self.level()?.add(item))
            }
            (Class::Scoped(scoped), NodeEnum::RangeVar(sent)) => {
                self.touched = Tenancy::Scoped;
                self.direct(original, sent, &table, scoped, side)
            }
            (Class::Shared { writable }, NodeEnum::RangeVar(sent)) => {
                qualified(original, sent, table.relation)?;
                let mut item = self.item(original, table.relation, Tenancy::Free);
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
        relation: &Relation,
        test: &Test,
    ) -> Checked {
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
        let visible = self.classified().visible_columns(relation);
        let shows = |target: &Node, column: &str| match &target.node {
            Some(NodeEnum::ResTarget(target)) => {
                let pg::ResTarget {
                    name,
                    indirection,
                    val,
                    location: _,
                } = &**target;
                let sent = val.as_deref().and_then(column_path);
                name.is_empty() && indirection.is_empty() && sent.as_deref() == Some(&[column])
            }
            Some(_) | None => false,
        };
        let all = targets.len() == visible.len()
            && targets
                .iter()
                .zip(&visible)
                .all(|(target, column)| shows(target, &column.name));
        if !all {
            return Err(differs("a fence's columns"));
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
            Some(condition) => self.test(condition, test),
            None => Err(wrong()),
        }
    }

    /// A table without a fence, whose test stands in a condition.
    fn direct(
        &mut self,
        original: &pg::RangeVar,
        rewritten: &pg::RangeVar,
        table: &Table<'_>,
        scoped: &Scoped,
        side: Side,
    ) -> Checked<Exposed> {
        qualified(original, rewritten, table.relation)?;
        let (alias, names) = alias_of(original);
        if side == Side::Fenced || !names.is_empty() {
            return Err(differs("a table that must stand in a fence"));
        }
        let test = direct_test(alias, table.relation, scoped);
        let mut item = self.item(original, table.relation, Tenancy::Scoped);
        item.hidden = Some(scoped.column.clone());
        let level = self.level()?;
        level.direct.push(test.clone());
        level.tests.push(test);
        Ok(level.add(item))
    }

    /// The range entry of a relation.
    pub(super) fn item(&self, named: &pg::RangeVar, relation: &Relation, tenancy: Tenancy) -> Item {
        let (name, names) = alias_of(named);
        let visible = self.classified().visible_columns(relation);
        let mut columns: Vec<Column> = visible
            .into_iter()
            .map(|column| {
                let value = Value {
                    collation: column.collation,
                    typmod: column.typmod,
                    ..Value::varying(types::base(self.catalog(), column.type_oid))
                };
                silent_column(&column.name, value)
            })
            .collect();
        rename(&mut columns, &names);
        Item {
            name: Some(name),
            relation: named.alias.is_none().then(|| relation.name.clone()),
            columns,
            extent: Extent::Complete,
            merged: Vec::new(),
            hidden: None,
            tenancy,
            locks: Locks::Own,
        }
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

    /// A function in FROM. What columns it has is known of some.
    fn table_function(
        &mut self,
        original: &pg::RangeFunction,
        rewritten: &pg::RangeFunction,
    ) -> Checked<Exposed> {
        both!(RangeFunction, original, rewritten, {
            lateral, ordinality, is_rowsfrom, functions, alias, coldeflist
        });
        equal(lateral, "LATERAL")?;
        equal(ordinality, "WITH ORDINALITY")?;
        equal(is_rowsfrom, "ROWS FROM")?;
        equal(alias, "the alias of a function")?;
        if functions.0.len() != functions.1.len() {
            return Err(differs("ROWS FROM"));
        }
        let mut called = Vec::new();
        for (original, rewritten) in functions.0.iter().zip(functions.1) {
            called.push(self.function_item(original, rewritten)?);
        }
        let defined = self.column_definitions(coldeflist)?;
        let (alias, names) = match alias.0 {
            Some(alias) => (Some(alias.aliasname.clone()), strings(&alias.colnames)),
            None => (None, Vec::new()),
        };
        let (mut columns, mut extent) = match called.as_slice() {
            [name] if coldeflist.0.is_empty() => function_columns(name, alias.as_deref()),
            [_] => (defined, Extent::Complete),
            _ => (Vec::new(), Extent::Open),
        };
        if extent == Extent::Open {
            columns = names
                .iter()
                .map(|name| opaque_column(name, FUNCTION_COLUMN))
                .collect();
        } else if *ordinality.0 {
            columns.push(opaque_column("ordinality", FUNCTION_COLUMN));
        }
        if columns.len() < names.len() {
            extent = Extent::Open;
        }
        rename(&mut columns, &names);
        let item = Item {
            name: alias.or_else(|| called.first().cloned()),
            relation: None,
            columns,
            extent,
            merged: Vec::new(),
            hidden: None,
            tenancy: Tenancy::Free,
            locks: Locks::Own,
        };
        Ok(self.level()?.add(item))
    }

    fn function_item(&mut self, original: &Node, rewritten: &Node) -> Checked<String> {
        let (Some(NodeEnum::List(o)), Some(NodeEnum::List(r))) = (&original.node, &rewritten.node)
        else {
            return Err(differs("a function in FROM"));
        };
        let ([call, definitions], [sent, sent_definitions]) =
            (o.items.as_slice(), r.items.as_slice())
        else {
            return Err(differs("a function in FROM"));
        };
        if definitions.node.is_some() || sent_definitions.node.is_some() {
            return Err(unsupported("a column definition list within ROWS FROM"));
        }
        let Some(NodeEnum::FuncCall(function)) = &call.node else {
            return Err(unsupported("this expression in FROM"));
        };
        self.expression(call, sent)?;
        let name = path(&function.funcname).and_then(|names| names.last().copied());
        Ok(name.unwrap_or_default().to_owned())
    }

    fn column_definitions(&mut self, pair: Pair<'_, Vec<Node>>) -> Checked<Vec<Column>> {
        let mut columns = Vec::new();
        if pair.0.len() != pair.1.len() {
            return Err(differs("a column definition list"));
        }
        for (original, rewritten) in pair.0.iter().zip(pair.1) {
            let (Some(NodeEnum::ColumnDef(o)), Some(NodeEnum::ColumnDef(r))) =
                (&original.node, &rewritten.node)
            else {
                return Err(differs("a column definition list"));
            };
            let (mut bare_original, mut bare_rewritten) = ((**o).clone(), (**r).clone());
            let types = (
                bare_original.type_name.take(),
                bare_rewritten.type_name.take(),
            );
            bare_original.location = 0;
            bare_rewritten.location = 0;
            let plain = pg::ColumnDef {
                colname: o.colname.clone(),
                is_local: o.is_local,
                ..pg::ColumnDef::default()
            };
            equal((&bare_original, &bare_rewritten), "a column definition")?;
            if bare_original != plain {
                return Err(unsupported("a column definition with more than a type"));
            }
            let (Some(original), Some(rewritten)) = types else {
                return Err(differs("a column definition"));
            };
            let type_oid = self.type_name(&original, &rewritten)?;
            let value = Value::varying(types::base(self.catalog(), type_oid));
            columns.push(silent_column(&o.colname, value));
        }
        Ok(columns)
    }

    fn join(
        &mut self,
        original: &pg::JoinExpr,
        rewritten: &pg::JoinExpr,
        side: Side,
    ) -> Checked<Exposed> {
        both!(JoinExpr, original, rewritten, {
            jointype, is_natural, larg, rarg, using_clause, join_using_alias, quals, alias, rtindex
        });
        equal(jointype, "the kind of a join")?;
        equal(is_natural, "NATURAL")?;
        unchanged(using_clause, "USING")?;
        absent(join_using_alias, "an alias of USING")?;
        equal(alias, "a join's alias")?;
        equal(rtindex, "an analysed query")?;
        let (Some(left_original), Some(left_rewritten)) = larg else {
            return Err(differs("a join"));
        };
        let (Some(right_original), Some(right_rewritten)) = rarg else {
            return Err(differs("a join"));
        };
        let kind = pg::JoinType::try_from(*jointype.0).unwrap_or(pg::JoinType::Undefined);
        let has_condition = quals.0.is_some();
        let (left_side, right_side) = sides(kind, side, alias.0.is_some())?;
        let right_side = match (right_side, has_condition, &right_original.node) {
            (Side::On, true, Some(NodeEnum::RangeVar(_))) => Side::On,
            (Side::On, _, _) => Side::Fenced,
            (Side::Inner | Side::Fenced, _, _) => right_side,
        };
        let start = self.level()?.items.len();
        let left = self.from_item(left_original, left_rewritten, left_side)?;
        let mark = self.level()?.tests.len();
        let right = self.from_item(right_original, right_rewritten, right_side)?;
        let level = self.level()?;
        let tests = if right_side == Side::On {
            level.tests.split_off(mark)
        } else {
            Vec::new()
        };
        let unseen: Vec<Item> = level.items.drain(..start).collect();
        self.condition(quals, &tests, Clause::On)?;
        let level = self.level()?;
        let seen = std::mem::replace(&mut level.items, unseen);
        level.items.extend(seen);
        let exposed = if *is_natural.0 || !using_clause.0.is_empty() {
            let named = (!*is_natural.0).then(|| strings(using_clause.0));
            self.merge(start, named, (left, right), kind)?
        } else {
            let mut exposed = left;
            exposed.append(right);
            exposed
        };
        match alias.0 {
            Some(alias) => self.join_alias(start, alias, exposed),
            None => Ok(exposed),
        }
    }

    /// An alias of a join hides what is joined.
    fn join_alias(
        &mut self,
        start: usize,
        alias: &pg::Alias,
        exposed: Exposed,
    ) -> Checked<Exposed> {
        let level = self.level()?;
        level.items.truncate(start);
        let mut columns = exposed.columns;
        rename(&mut columns, &strings(&alias.colnames));
        let item = Item {
            name: Some(alias.aliasname.clone()),
            relation: None,
            columns,
            extent: exposed.extent,
            merged: Vec::new(),
            hidden: None,
            tenancy: level.tenancy,
            locks: level.locks,
        };
        Ok(level.add(item))
    }

    /// USING and NATURAL: columns of one name become one, compared by `=`.
    fn merge(
        &mut self,
        start: usize,
        named: Option<Vec<String>>,
        sides: (Exposed, Exposed),
        kind: pg::JoinType,
    ) -> Checked<Exposed> {
        let (mut left, mut right) = sides;
        let open = left.extent == Extent::Open || right.extent == Extent::Open;
        let is_natural = named.is_none();
        let names = named.unwrap_or_else(|| {
            let names = left.columns.iter().map(|column| column.name.clone());
            names.filter(|name| right.column(name).is_some()).collect()
        });
        let mut merged = Exposed::none();
        for name in &names {
            let (column, verdict) = match (left.column(name), right.column(name)) {
                (Some(left), Some(right)) => self.merged_column(left, right, kind),
                _ => (
                    opaque_column(name, "a merged column"),
                    opaque_column(name, USING).value.map(|_| ()),
                ),
            };
            merged.columns.push(column);
            if let Err(refusal) = verdict {
                self.level()?.loud_condition.get_or_insert(refusal);
            }
        }
        if open && is_natural {
            // Which columns are merged is not known.
            let refusal = unsupported("NATURAL JOIN with a function");
            return Err(refusal);
        }
        let level: &mut Level = self.level()?;
        level.merges = true;
        for item in level.items.iter_mut().skip(start) {
            item.merged.extend(names.iter().cloned());
        }
        level.items.push(Item {
            name: None,
            relation: None,
            columns: merged.columns.clone(),
            extent: Extent::Complete,
            merged: Vec::new(),
            hidden: None,
            tenancy: Tenancy::Free,
            locks: Locks::Own,
        });
        for side in [&mut left, &mut right] {
            side.columns.retain(|column| !names.contains(&column.name));
        }
        merged.append(left);
        merged.append(right);
        Ok(merged)
    }

    fn merged_column(
        &self,
        left: &Column,
        right: &Column,
        kind: pg::JoinType,
    ) -> (Column, Checked) {
        let verdict = match (&left.value, &right.value) {
            (Ok(one), Ok(other)) => self.comparison("=", one, other, None).map(|_| ()),
            (Err(refusal), _) | (_, Err(refusal)) => Err(refusal.clone()),
        };
        let value = match (&left.value, &right.value) {
            (Ok(one), Ok(other)) if one.oid == other.oid && one.collation == other.collation => {
                if kind == pg::JoinType::JoinRight {
                    Ok(*other)
                } else {
                    Ok(*one)
                }
            }
            _ => opaque_column(&left.name, "a merged column of two types").value,
        };
        let name = left.name.clone();
        (Column { name, value }, verdict)
    }
}

const FUNCTION_COLUMN: &str = "a function's column";
const USING: &str = "USING";

/// On which sides of a join a table may go without a fence.
fn sides(kind: pg::JoinType, side: Side, has_alias: bool) -> Checked<(Side, Side)> {
    let inherited = match side {
        Side::Inner if !has_alias => Side::Inner,
        Side::Inner | Side::Fenced | Side::On => Side::Fenced,
    };
    let on = if has_alias { Side::Fenced } else { Side::On };
    match kind {
        pg::JoinType::JoinInner => Ok((inherited, inherited)),
        pg::JoinType::JoinLeft => Ok((inherited, on)),
        pg::JoinType::JoinRight => Ok((Side::Fenced, inherited)),
        pg::JoinType::JoinFull => Ok((Side::Fenced, Side::Fenced)),
        pg::JoinType::Undefined
        | pg::JoinType::JoinSemi
        | pg::JoinType::JoinAnti
        | pg::JoinType::JoinRightSemi
        | pg::JoinType::JoinRightAnti
        | pg::JoinType::JoinUniqueOuter
        | pg::JoinType::JoinUniqueInner => Err(unsupported("this kind of join")),
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
fn alias_of(named: &pg::RangeVar) -> (String, Vec<String>) {
    match &named.alias {
        Some(pg::Alias {
            aliasname,
            colnames,
        }) => (aliasname.clone(), strings(colnames)),
        None => (named.relname.clone(), Vec::new()),
    }
}

fn strings(names: &[Node]) -> Vec<String> {
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
    };
    (item, loud)
}

/// What is known of the columns of one function in FROM.
fn function_columns(name: &str, alias: Option<&str>) -> (Vec<Column>, Extent) {
    let Some(listed) = names::listed(name) else {
        return (Vec::new(), Extent::Open);
    };
    let column = |name: &str| {
        if listed.is("srf") {
            silent_column(name, Value::varying(types::OPAQUE))
        } else {
            opaque_column(name, FUNCTION_COLUMN)
        }
    };
    if let Some(names) = listed.columns() {
        return (names.into_iter().map(column).collect(), Extent::Complete);
    }
    if listed.is("scalar") {
        return (vec![column(alias.unwrap_or(name))], Extent::Complete);
    }
    (Vec::new(), Extent::Open)
}

fn fence_test(relation: &Relation, scoped: &Scoped) -> Test {
    direct_test(relation.name.name.clone(), relation, scoped)
}

/// The test of a table's tenant column, under the name that the table has.
pub(super) fn direct_test(alias: String, relation: &Relation, scoped: &Scoped) -> Test {
    let key = relation
        .primary_key()
        .filter(|key| key.columns.contains(&scoped.column) && !key.partial_or_expression)
        .map(|key| {
            let others = key
                .columns
                .iter()
                .filter(|column| **column != scoped.column);
            others.cloned().collect()
        });
    Test {
        alias,
        column: scoped.column.clone(),
        column_type: scoped.column_type,
        key,
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
