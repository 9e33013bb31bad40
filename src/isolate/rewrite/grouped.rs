//! What GROUP BY groups by, where a key says so by the place or the name of a column of the result, or by a
//! name that USING has made one of two columns.

use super::{Rewritten, identifier, implicit_alias, names};
use crate::sql;
use crate::sql::ast::{
    Expr, GroupByExpr, JoinConstraint, JoinOperator, Select, SelectItem, TableFactor,
    TableWithJoins, Value,
};

/// The expressions that such keys stand for, as the client wrote them. What is told wrongly here, since a
/// column of FROM has the name, the verifier refuses.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "other keys stand for themselves"
)]
pub(super) fn grouped_by(select: &Select) -> Rewritten<Vec<Expr>> {
    let GroupByExpr::Expressions(keys, _) = &select.group_by else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for key in keys {
        match key {
            Expr::Value(value) => {
                if let Value::Number(number, false) = &value.value {
                    found.extend(by_place(number, &select.projection));
                }
            }
            Expr::Identifier(name) => {
                let name = identifier(name)?;
                found.extend(by_name(&name, &select.projection)?);
                if let [item] = select.from.as_slice() {
                    found.extend(merged_by_using(&name, item)?);
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

fn by_place(number: &str, projection: &[SelectItem]) -> Option<Expr> {
    let number: usize = number.parse().ok()?;
    let before = projection.get(..number)?;
    let values: Option<Vec<&Expr>> = before.iter().map(value).collect();
    values?.pop().cloned()
}

fn value(item: &SelectItem) -> Option<&Expr> {
    match item {
        SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. } => {
            Some(value)
        }
        SelectItem::ExprWithAliases { .. }
        | SelectItem::QualifiedWildcard(..)
        | SelectItem::Wildcard(_) => None,
    }
}

fn by_name(name: &str, projection: &[SelectItem]) -> Rewritten<Option<Expr>> {
    for item in projection {
        if let SelectItem::ExprWithAlias { expr, alias } = item
            && identifier(alias)? == name
        {
            return Ok(Some(expr.clone()));
        }
    }
    Ok(None)
}

/// The column of the leftmost table, if every join that merges the name keeps that one's rows.
fn merged_by_using(name: &str, from: &TableWithJoins) -> Rewritten<Option<Expr>> {
    let TableFactor::Table {
        name: table, alias, ..
    } = &from.relation
    else {
        return Ok(None);
    };
    let mut merges = Vec::new();
    for join in &from.joins {
        merges.push(merge(&join.join_operator, name)?);
    }
    // In a chain each join merges what the ones before it have merged.
    let last = merges.iter().rposition(|merge| *merge != Merge::Nothing);
    let Some(chain) = last.and_then(|last| merges.get(..=last)) else {
        return Ok(None);
    };
    if chain.iter().any(|merge| *merge != Merge::Left) {
        return Ok(None);
    }
    let alias = match alias {
        Some(alias) => identifier(&alias.name)?,
        None => implicit_alias(table)?,
    };
    Ok(Some(Expr::CompoundIdentifier(vec![
        sql::ident(&alias),
        sql::ident(name),
    ])))
}

/// What a join does with a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Merge {
    /// It becomes the left side's column.
    Left,
    /// It does not merge it.
    Nothing,
    /// It may become something else.
    Other,
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "of no other join it is the left side's column"
)]
fn merge(operator: &JoinOperator, wanted: &str) -> Rewritten<Merge> {
    match operator {
        JoinOperator::Join(JoinConstraint::Using(columns))
        | JoinOperator::Inner(JoinConstraint::Using(columns))
        | JoinOperator::Left(JoinConstraint::Using(columns))
        | JoinOperator::LeftOuter(JoinConstraint::Using(columns)) => {
            for column in columns {
                if names::single(column)? == wanted {
                    return Ok(Merge::Left);
                }
            }
            Ok(Merge::Nothing)
        }
        JoinOperator::Join(JoinConstraint::On(_) | JoinConstraint::None)
        | JoinOperator::Inner(JoinConstraint::On(_) | JoinConstraint::None)
        | JoinOperator::Left(JoinConstraint::On(_))
        | JoinOperator::LeftOuter(JoinConstraint::On(_))
        | JoinOperator::CrossJoin(_) => Ok(Merge::Nothing),
        _ => Ok(Merge::Other),
    }
}
