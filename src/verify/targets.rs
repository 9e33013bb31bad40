//! Target lists, in lockstep, and what their columns are called.

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::expression::{reference, sent_as};
use super::identity;
use super::owner::{Owner, not_named};
use super::proof::{
    Checked, Pair, Proof, anywhere, both, column_path, differs, empty, equal, path, position,
    refuse, unsupported,
};
use super::scope::{self, Extent, Found, Item, Reference};
use super::silent::Clause;
use super::types::{Column, Typed, Value};
use crate::catalog::oid;
use crate::isolate::refusal::Reason;
use crate::isolate::template::SlotType;
use crate::tenant::Scoped;

/// `MaxTupleAttributeNumber`
const COLUMNS_MAX: usize = 1_664;

/// A target list as it is walked.
pub(super) struct Walk<'p> {
    rewritten: std::slice::Iter<'p, Node>,
    /// The columns of the result so far.
    pub(super) columns: Vec<Column>,
    extent: Extent,
}

impl<'p> Walk<'p> {
    /// The value of the next target that is sent, which has no name.
    pub(super) fn next_value(&mut self) -> Checked<&'p Node> {
        plain_target(self.rewritten.next())
    }
}

impl Proof<'_> {
    /// Compares two target lists. With `owner`, they say whose the rows of an INSERT are.
    pub(super) fn targets(
        &mut self,
        pair: Pair<'_, Vec<Node>>,
        owner: Option<Owner<'_>>,
    ) -> Checked<(Vec<Column>, Extent)> {
        let mut walk = Walk {
            rewritten: pair.1.iter(),
            columns: Vec::new(),
            extent: Extent::Complete,
        };
        if let Some(Owner::Checked { at, scoped }) = owner
            && !pair
                .0
                .get(..=at)
                .is_some_and(|items| items.iter().all(is_one_column))
        {
            return Err(not_named(scoped));
        }
        for (at, original) in pair.0.iter().enumerate() {
            let Some(NodeEnum::ResTarget(original)) = &original.node else {
                return Err(differs("a target list"));
            };
            if let Some(star) = star_of(original) {
                self.star(star, &mut walk)?;
            } else if !self.expanded_row_type(original, &mut walk)? {
                let scoped = owner.and_then(|owner| owner.checked_at(at));
                self.target(original, scoped, &mut walk)?;
            }
            // Queries in FROM could double their columns at each level.
            if walk.columns.len() > COLUMNS_MAX {
                let reason = Reason::AsPostgres {
                    sqlstate: "54011",
                    message: format!("target lists can have at most {COLUMNS_MAX} entries"),
                };
                return Err(reason.into());
            }
        }
        if let Some(column_type) = owner.and_then(Owner::added) {
            let value = plain_target(walk.rewritten.next())?;
            self.slot(value, SlotType::One(column_type))?;
        }
        if walk.rewritten.next().is_some() {
            return Err(differs("a target list"));
        }
        Ok((walk.columns, walk.extent))
    }

    fn target(
        &mut self,
        original: &pg::ResTarget,
        owner: Option<&Scoped>,
        walk: &mut Walk<'_>,
    ) -> Checked {
        let Some(Some(NodeEnum::ResTarget(rewritten))) =
            walk.rewritten.next().map(|rewritten| &rewritten.node)
        else {
            return Err(differs("a target list"));
        };
        both!(ResTarget, original, rewritten, { name, indirection, val, location });
        anywhere(location);
        empty(indirection, "a target of this form")?;
        let (Some(value), Some(sent)) = val else {
            return Err(differs("a target list"));
        };
        match owner {
            None => {
                self.expression(value, sent)?;
                output_name(name, (value, sent))?;
            }
            Some(scoped) => {
                kept_name(name, value)?;
                self.checked_owner(value, sent, scoped)?;
            }
        }
        if let Some(row) = expanded_row(value) {
            match reference(&row.fields).map(|row| scope::resolve(&self.levels, row)) {
                Some(Ok(Found::Row(item))) => {
                    walk.columns.extend(item.columns.iter().cloned());
                    if item.extent == Extent::Open {
                        walk.extent = Extent::Open;
                    }
                }
                Some(_) | None => {
                    self.content(value);
                    walk.extent = Extent::Open;
                }
            }
            return Ok(());
        }
        if is_expanded(value) {
            self.content(value);
            walk.extent = Extent::Open;
            return Ok(());
        }
        let computed = self.result(value);
        let name = if name.0.is_empty() {
            column_name(value)
        } else {
            Some(name.0.clone())
        };
        if name.is_none() {
            walk.extent = Extent::Open;
        }
        walk.columns.push(Column {
            name: name.unwrap_or_else(|| "?column?".to_owned()),
            value: computed,
            behind: self.is_behind(value, Clause::Content),
        });
        Ok(())
    }

    /// What a column of a query's result holds: an untyped literal becomes text.
    pub(super) fn result(&mut self, node: &Node) -> Typed {
        let value = self.silent_value(node)?;
        if value.oid == oid::UNKNOWN {
            self.use_as(value.untyped, oid::TEXT);
            return Ok(Value {
                oid: oid::TEXT,
                untyped: None,
                ..value
            });
        }
        Ok(value)
    }

    /// Compares `*` or `alias.*` with what is sent for it: itself, or the columns that it stands for,
    /// where a table without a fence would show its tenant column.
    fn star(&mut self, star: &pg::ColumnRef, walk: &mut Walk<'_>) -> Checked {
        let pg::ColumnRef { fields, location } = star;
        let at = position((location, location));
        let named = reference(fields).ok_or_else(|| unsupported("* of four names"))?;
        let Some(table) = named.table else {
            return self.whole_star(fields, walk);
        };
        let item = scope::range_entry(&self.levels, named.schema, table)
            .map_err(|reason| refuse(reason, at))?;
        if item.hidden.is_some() || item.sent.is_some() {
            expanded(item, walk)?;
        } else {
            let sent = plain_target(walk.rewritten.next())?;
            sent_star(fields, sent, named)?;
        }
        walk.columns.extend(item.columns.iter().cloned());
        if item.extent == Extent::Open {
            walk.extent = Extent::Open;
        }
        Ok(())
    }

    fn whole_star(&mut self, fields: &Vec<Node>, walk: &mut Walk<'_>) -> Checked {
        let level = self.level()?;
        level.readable()?;
        let is_expanded = |item: &Item| item.hidden.is_some() || item.sent.is_some();
        if level.items.iter().any(is_expanded) {
            for item in &level.items {
                if is_expanded(item) {
                    expanded(item, walk)?;
                } else {
                    let alias = item.name.as_deref();
                    let table = alias.ok_or_else(|| differs("* of a table without a name"))?;
                    let named = Reference {
                        schema: None,
                        table: Some(table),
                        column: None,
                    };
                    sent_star(fields, plain_target(walk.rewritten.next())?, named)?;
                }
            }
        } else {
            let named = Reference {
                schema: None,
                table: None,
                column: None,
            };
            sent_star(fields, plain_target(walk.rewritten.next())?, named)?;
        }
        walk.columns.extend(level.star.columns.iter().cloned());
        if level.star.extent == Extent::Open {
            walk.extent = Extent::Open;
        }
        Ok(())
    }
}

/// Recognises the visible columns of a table, in order, each with its alias.
fn expanded(item: &Item, walk: &mut Walk<'_>) -> Checked {
    let wrong = || differs("the columns that * stands for");
    let alias = item.name.as_deref().ok_or_else(wrong)?;
    if let Some(sent) = &item.sent {
        return super::written::expanded(item, sent, &mut walk.rewritten);
    }
    for column in &item.columns {
        let sent = plain_target(walk.rewritten.next())?;
        if column_path(sent).as_deref() != Some(&[alias, &column.name]) {
            return Err(wrong());
        }
    }
    Ok(())
}

fn sent_star(fields: &Vec<Node>, sent: &Node, named: Reference<'_>) -> Checked {
    match &sent.node {
        Some(NodeEnum::ColumnRef(pg::ColumnRef {
            fields: sent,
            location: _,
        })) => sent_as((fields, sent), named),
        Some(_) | None => Err(differs("*")),
    }
}

/// Compares the name of an output column, which is written out where what is sent has another.
fn output_name(name: Pair<'_, String>, (value, sent): Pair<'_, Node>) -> Checked {
    let known = column_name(value);
    if name.0.is_empty() && known.as_ref() == Some(name.1) {
        return Ok(());
    }
    equal(name, "the name of an output column")?;
    if name.0.is_empty() && known != column_name(sent) {
        let what = "a result column without a name, of a renamed column of a view that is written";
        return Err(unsupported(what));
    }
    Ok(())
}

/// Compares the name of an output column, which may be written out.
fn kept_name(name: Pair<'_, String>, value: &Node) -> Checked {
    let known = column_path(value).and_then(|path| path.last().copied().map(str::to_owned));
    if name.0.is_empty() && known.as_ref() == Some(name.1) {
        return Ok(());
    }
    equal(name, "the name of an output column")
}

/// The value of a target without a name.
fn plain_target(target: Option<&Node>) -> Checked<&Node> {
    let wrong = || differs("a target list");
    let Some(Some(NodeEnum::ResTarget(target))) = target.map(|target| &target.node) else {
        return Err(wrong());
    };
    let pg::ResTarget {
        name,
        indirection,
        val,
        location: _,
    } = &**target;
    match val {
        Some(value) if name.is_empty() && indirection.is_empty() => Ok(value),
        Some(_) | None => Err(wrong()),
    }
}

/// `*` or `alias.*` as a target.
fn star_of(target: &pg::ResTarget) -> Option<&pg::ColumnRef> {
    let Some(NodeEnum::ColumnRef(column)) = &target.val.as_ref()?.node else {
        return None;
    };
    let last = column.fields.last()?;
    matches!(&last.node, Some(NodeEnum::AStar(_))).then_some(column)
}

/// Whether a target is one column of the result.
fn is_one_column(target: &Node) -> bool {
    let Some(NodeEnum::ResTarget(target)) = &target.node else {
        return false;
    };
    star_of(target).is_none()
        && target
            .val
            .as_deref()
            .is_some_and(|value| !is_expanded(value))
}

/// Whether a target is `(..).*`.
fn is_expanded(value: &Node) -> bool {
    let Some(NodeEnum::AIndirection(indirection)) = &value.node else {
        return false;
    };
    let last = indirection.indirection.last();
    last.is_some_and(|last| matches!(&last.node, Some(NodeEnum::AStar(_))))
}

/// The reference `row` of a target `(row).*`.
fn expanded_row(value: &Node) -> Option<&pg::ColumnRef> {
    let Some(NodeEnum::AIndirection(indirection)) = &value.node else {
        return None;
    };
    match &indirection.arg.as_ref()?.node {
        Some(NodeEnum::ColumnRef(row)) if is_expanded(value) => Some(row),
        Some(_) | None => None,
    }
}

/// The name that PostgreSQL gives to a result column, as `FigureColname` finds it; none where that is
/// not told here.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a name that is not known makes the result's columns not all known"
)]
fn column_name(value: &Node) -> Option<String> {
    let value = value.node.as_ref()?;
    if let Some(asked) = identity::asked(value) {
        return Some(asked.name.to_owned());
    }
    match value {
        NodeEnum::ColumnRef(column) => Some((*path(&column.fields)?.last()?).to_owned()),
        NodeEnum::FuncCall(call) => Some((*path(&call.funcname)?.last()?).to_owned()),
        NodeEnum::CollateClause(collate) => column_name(collate.arg.as_ref()?),
        NodeEnum::TypeCast(cast) => match column_name(cast.arg.as_ref()?) {
            Some(name) if name != "?column?" => Some(name),
            Some(_) => Some((*path(&cast.type_name.as_ref()?.names)?.last()?).to_owned()),
            None => None,
        },
        NodeEnum::AConst(_) | NodeEnum::ParamRef(_) | NodeEnum::BoolExpr(_) => {
            Some("?column?".to_owned())
        }
        NodeEnum::NullTest(_) | NodeEnum::BooleanTest(_) => Some("?column?".to_owned()),
        NodeEnum::AExpr(operation) => {
            if operation.kind == i32::from(pg::AExprKind::AexprNullif) {
                Some("nullif".to_owned())
            } else {
                Some("?column?".to_owned())
            }
        }
        NodeEnum::CoalesceExpr(_) => Some("coalesce".to_owned()),
        NodeEnum::AArrayExpr(_) => Some("array".to_owned()),
        NodeEnum::RowExpr(_) => Some("row".to_owned()),
        NodeEnum::GroupingFunc(_) => Some("grouping".to_owned()),
        NodeEnum::SubLink(link) => column_of_query(link),
        _ => None,
    }
}

/// What a sub-select is called: as its only column, if that has a name.
fn column_of_query(link: &pg::SubLink) -> Option<String> {
    match pg::SubLinkType::try_from(link.sub_link_type) {
        Ok(pg::SubLinkType::ExistsSublink) => Some("exists".to_owned()),
        Ok(pg::SubLinkType::ArraySublink) => Some("array".to_owned()),
        Ok(pg::SubLinkType::ExprSublink) => {
            let NodeEnum::SelectStmt(select) = link.subselect.as_ref()?.node.as_ref()? else {
                return None;
            };
            let NodeEnum::ResTarget(target) = select.target_list.first()?.node.as_ref()? else {
                return None;
            };
            let name = if target.name.is_empty() {
                column_name(target.val.as_ref()?)?
            } else {
                target.name.clone()
            };
            (name != "?column?").then_some(name)
        }
        Ok(
            pg::SubLinkType::Undefined
            | pg::SubLinkType::AllSublink
            | pg::SubLinkType::AnySublink
            | pg::SubLinkType::RowcompareSublink
            | pg::SubLinkType::MultiexprSublink
            | pg::SubLinkType::CteSublink,
        )
        | Err(_) => None,
    }
}
