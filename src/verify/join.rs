//! Joins in FROM, in lockstep.

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::from::{Side, strings};
use super::proof::{Checked, Proof, both, differs, equal, unchanged, unsupported};
use super::scope::{Exposed, Extent, Item, Level, Locks, SystemColumns, Tenancy, opaque_column};
use super::select::rename;
use super::silent::Clause;
use super::types::Column;
use crate::isolate::refusal::Reason;

impl Proof<'_> {
    /// Compares two joins.
    pub(super) fn join(
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
        equal(join_using_alias, "an alias of USING")?;
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
        let (left_side, right_side) = sides(kind, side, alias.0.as_ref())?;
        let right_side = match (right_side, has_condition, &right_original.node) {
            (Side::On, true, Some(NodeEnum::RangeVar(_))) => Side::On,
            (Side::On, _, _) => Side::Fenced,
            (Side::Inner | Side::Fenced, _, _) => right_side,
        };
        let start = self.level()?.items.len();
        let left = self.range_entry(left_original, left_rewritten, left_side)?;
        let mark = self.level()?.tests.len();
        let right = self.range_entry(right_original, right_rewritten, right_side)?;
        let level = self.level()?;
        let tests = if right_side == Side::On {
            level.tests.split_off(mark)
        } else {
            Vec::new()
        };
        let unseen: Vec<Item> = level.items.drain(..start).collect();
        let at = leftmost(right_original);
        self.condition(quals, &tests, Clause::On(at))?;
        let level = self.level()?;
        let seen = std::mem::replace(&mut level.items, unseen);
        level.items.extend(seen);
        let exposed = if *is_natural.0 || !using_clause.0.is_empty() {
            let named = (!*is_natural.0).then(|| strings(using_clause.0));
            let exposed = self.merge(start, named, (left, right), kind)?;
            if let Some(alias) = join_using_alias.0 {
                self.using_alias(alias, &exposed, using_clause.0.len())?;
            }
            exposed
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

    /// `JOIN .. USING (..) AS alias`: the alias shows the merged columns, which come first.
    fn using_alias(&mut self, alias: &pg::Alias, exposed: &Exposed, merged: usize) -> Checked {
        let pg::Alias {
            aliasname,
            colnames,
        } = alias;
        if !colnames.is_empty() {
            return Err(unsupported("column names in an alias of USING"));
        }
        let columns: Vec<Column> = exposed.columns.iter().take(merged).cloned().collect();
        let names = columns.iter().map(|column| column.name.clone()).collect();
        self.level()?.add(Item {
            name: Some(aliasname.clone()),
            relation: None,
            columns,
            extent: Extent::Complete,
            merged: names,
            hidden: None,
            tenancy: Tenancy::Free,
            locks: Locks::Own,
            sent: None,
            system: SystemColumns::Absent,
            key: None,
        });
        Ok(())
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
            sent: None,
            system: SystemColumns::Absent,
            key: None,
        };
        Ok(level.add(item))
    }

    /// USING and NATURAL: columns of one name become one, compared by `=`.
    fn merge(
        &mut self,
        start: usize,
        using: Option<Vec<String>>,
        sides: (Exposed, Exposed),
        kind: pg::JoinType,
    ) -> Checked<Exposed> {
        let (mut left, mut right) = sides;
        let open = left.extent == Extent::Open || right.extent == Extent::Open;
        let is_natural = using.is_none();
        let names = using.unwrap_or_else(|| {
            let common = left.columns.iter().map(|column| column.name.clone());
            common.filter(|name| right.column(name).is_some()).collect()
        });
        let mut merged = Exposed::none();
        for name in &names {
            for (side, which) in [(&left, "left"), (&right, "right")] {
                if side.column(name).is_none() && side.extent == Extent::Complete {
                    return Err(missing(name, which).into());
                }
            }
            let (column, verdict) = match (left.column(name), right.column(name)) {
                (Some(left), Some(right)) => self.merged_column(left, right, kind),
                _ => (
                    opaque_column(name, "a merged column"),
                    opaque_column(name, USING).value.map(|_| ()),
                ),
            };
            merged.columns.push(column);
            if let Err(refusal) = verdict {
                self.level()?.loud(refusal);
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
            sent: None,
            system: SystemColumns::Absent,
            key: None,
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
                    Ok(other.clone())
                } else {
                    Ok(one.clone())
                }
            }
            _ => opaque_column(&left.name, "a merged column of two types").value,
        };
        let name = left.name.clone();
        let column = Column {
            name,
            value,
            behind: false,
        };
        (column, verdict)
    }
}

/// Where the first table of a join's side stands.
fn leftmost(side: &Node) -> Option<usize> {
    match &side.node {
        Some(NodeEnum::RangeVar(table)) => usize::try_from(table.location).ok(),
        Some(NodeEnum::JoinExpr(join)) => leftmost(join.larg.as_deref()?),
        Some(_) | None => None,
    }
}

/// As PostgreSQL says it.
fn missing(column: &str, side: &str) -> Reason {
    Reason::AsPostgres {
        sqlstate: "42703",
        message: format!(
            "column \"{column}\" specified in USING clause does not exist in {side} table"
        ),
    }
}

const USING: &str = "USING";

/// On which sides of a join a table may go without a fence.
fn sides(kind: pg::JoinType, side: Side, alias: Option<&pg::Alias>) -> Checked<(Side, Side)> {
    let inherited = match side {
        Side::Inner if alias.is_none() => Side::Inner,
        Side::Inner | Side::Fenced | Side::On => Side::Fenced,
    };
    let on = if alias.is_some() {
        Side::Fenced
    } else {
        Side::On
    };
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
