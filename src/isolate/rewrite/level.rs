//! One query level: its FROM list, and which of its tables may keep their place.
//!
//! A table in *predicate form* stays in FROM, and `alias.tenant_column = slot` is added to the
//! level's WHERE, or to the ON of the LEFT JOIN whose right side it is. All others get a fence.

use super::fence::{is_cte, replace_table};
use super::name::Scope;
use super::{Presence, Rewriter, Rewritten, composed, identifier, implicit_alias, qualified};
use crate::catalog::{Relation, SYSTEM_COLUMNS};
use crate::isolate::dependent::Fenced;
use crate::sql;
use crate::sql::ast::{
    BinaryOperator, Expr, GroupByExpr, Join, JoinConstraint, JoinOperator, ObjectName, SelectItem,
    SelectItemQualifiedWildcardKind, TableFactor, TableWithJoins, WildcardAdditionalOptions,
};
use crate::tenant::{Class, Scoped, TenantColumn, Verb};

/// A table in predicate form.
#[derive(Clone, Debug)]
pub(super) struct Plain<'a> {
    pub(super) alias: String,
    pub(super) relation: &'a Relation,
    pub(super) scoped: &'a Scoped,
    /// Where its name stands in the client's text.
    pub(super) at: Option<usize>,
}

/// What the rewriting of a FROM list leaves for the rest of the level.
#[derive(Default)]
pub(super) struct Level<'a> {
    /// The tables in predicate form.
    pub(super) plain: Vec<Plain<'a>>,
    /// The predicates for the level's WHERE.
    pub(super) predicates: Vec<Expr>,
    /// Each range entry in order: its alias, if it has one.
    pub(super) aliases: Vec<Option<String>>,
    /// The tables in fences whose rows a primary key tells apart, each with its tenant column.
    pub(super) fenced: Vec<(Fenced<'a>, &'a Scoped)>,
}

/// Where the predicate of a plain table would go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    /// Into the ON of the LEFT JOIN that it is the right side of.
    On,
    /// Nowhere: the table needs a fence.
    Fence,
    /// Into the level's WHERE.
    Where,
}

impl<'a> Rewriter<'a> {
    /// Rewrites a FROM list.
    pub(super) fn from(
        &mut self,
        from: &mut [TableWithJoins],
        wildcards: &[String],
        scope: &Scope,
    ) -> Rewritten<Level<'a>> {
        let mut level = Level::default();
        let merges_columns = from.iter().any(has_using_or_natural);
        let place = if merges_columns {
            Place::Fence
        } else {
            Place::Where
        };
        for item in from.iter_mut() {
            self.joins(item, place, wildcards, (&mut level, scope))?;
        }
        Ok(level)
    }

    fn joins(
        &mut self,
        from: &mut TableWithJoins,
        place: Place,
        wildcards: &[String],
        (level, scope): (&mut Level<'a>, &Scope),
    ) -> Rewritten<()> {
        let TableWithJoins { relation, joins } = from;
        // A later RIGHT or FULL join makes everything before it nullable.
        let nullable_from = joins
            .iter()
            .rposition(|join| keeps_right(&join.join_operator))
            .map_or(0, |at| at + 1);
        let base = if nullable_from == 0 {
            place
        } else {
            Place::Fence
        };
        let first = level.plain.len();
        self.item(relation, base, wildcards, (level, scope))?;
        for (at, join) in joins.iter_mut().enumerate() {
            let own = match (place, side(&join.join_operator)) {
                (Place::Fence | Place::On, _) | (_, Side::Both) => Place::Fence,
                _ if at + 1 < nullable_from => Place::Fence,
                (Place::Where, Side::Left) => Place::On,
                (Place::Where, Side::Neither) => Place::Where,
            };
            let known = level.predicates.len();
            let right = self.leftmost(&join.relation);
            self.item(&mut join.relation, own, wildcards, (level, scope))?;
            self.join_condition(join, scope)?;
            let joined = level.plain.get(first..).unwrap_or_default();
            self.shield_on(join, right, joined)?;
            if own == Place::On {
                let predicates = level.predicates.split_off(known);
                add_to_on(join, &predicates)?;
            }
        }
        Ok(())
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "only tables have a plain form"
    )]
    fn item(
        &mut self,
        factor: &mut TableFactor,
        place: Place,
        wildcards: &[String],
        (level, scope): (&mut Level<'a>, &Scope),
    ) -> Rewritten<()> {
        if let TableFactor::NestedJoin {
            table_with_joins,
            alias: None,
        } = factor
        {
            // Only a table directly on the right side of a LEFT JOIN has its predicate in its ON.
            let inner = if place == Place::On {
                Place::Fence
            } else {
                place
            };
            return self.joins(table_with_joins, inner, wildcards, (level, scope));
        }
        level.aliases.push(alias_of(factor)?);
        if place != Place::Fence
            && let Some(plain) = self.plain_form(factor, wildcards, scope)?
        {
            let alias = match factor {
                TableFactor::Table { alias, .. } => alias.clone(),
                _ => None,
            };
            replace_table(factor, qualified(&plain.relation.name), alias);
            let predicate = self.predicate(&plain.alias, plain.scoped)?;
            self.rows.insert(plain.alias.clone(), plain.relation);
            level.predicates.push(predicate);
            level.plain.push(plain);
            return Ok(());
        }
        level.fenced.extend(self.fenced_table(factor, scope)?);
        self.table_factor(factor, scope)
    }

    /// The table, if it will stand in a fence.
    fn fenced_table(
        &self,
        factor: &TableFactor,
        scope: &Scope,
    ) -> Rewritten<Option<(Fenced<'a>, &'a Scoped)>> {
        if !matches!(factor, TableFactor::Table { args: None, .. }) {
            return Ok(None);
        }
        let Some((name, alias)) = self.plain_table(factor)? else {
            return Ok(None);
        };
        if is_cte(name, scope)? {
            return Ok(None);
        }
        let (relation, class) = self.relation(name)?;
        let Class::Scoped(scoped) = class else {
            return Ok(None);
        };
        let (alias, names) = match alias {
            Some(alias) => {
                let names = alias.columns.iter().map(|column| identifier(&column.name));
                (
                    identifier(&alias.name)?,
                    names.collect::<Rewritten<Vec<_>>>()?,
                )
            }
            None => (implicit_alias(name)?, Vec::new()),
        };
        let visible = self.classified.visible_columns(relation);
        let fenced = Fenced::new(
            self.classified.catalog(),
            relation,
            &visible,
            (alias, &names),
        );
        Ok(fenced.map(|fenced| (fenced, scoped)))
    }

    /// The table, if it may keep its place: nothing in the statement may tell it from a fence.
    fn plain_form(
        &mut self,
        factor: &TableFactor,
        wildcards: &[String],
        scope: &Scope,
    ) -> Rewritten<Option<Plain<'a>>> {
        let Some((name, alias)) = self.plain_table(factor)? else {
            return Ok(None);
        };
        if is_cte(name, scope)? {
            return Ok(None);
        }
        let (relation, class) = self.relation(name)?;
        let Class::Scoped(scoped) = class else {
            return Ok(None);
        };
        self.permitted(name, relation, Verb::Select)?;
        let (alias, has_columns) = match alias {
            Some(alias) => (identifier(&alias.name)?, !alias.columns.is_empty()),
            None => (implicit_alias(name)?, false),
        };
        let qualified_uses = self.words.qualified_by(&alias);
        let stars = qualified_uses.iter().filter(|used| *used == "*").count();
        let expanded = wildcards
            .iter()
            .filter(|wildcard| **wildcard == alias)
            .count();
        let on_row = |used: &String| self.row_function(used, relation).is_some();
        let is_visible = |used: &String| {
            (relation.column(used).is_some() && scoped.tenant_column() != Some(used))
                || SYSTEM_COLUMNS.contains(&used.as_str())
                || on_row(used)
        };
        let shows_nothing_else = match self.classified.tenant_column() {
            TenantColumn::Visible => true,
            TenantColumn::Hidden => {
                !scoped
                    .tenant_column()
                    .is_some_and(|column| self.words.mentions(column))
                    && stars == expanded
                    && qualified_uses
                        .iter()
                        .filter(|used| *used != "*")
                        .all(is_visible)
            }
        };
        let has_columns = has_columns || self.is_masked(self.place(name));
        let plain = !has_columns && self.words.only_qualifies(&alias, on_row) && shows_nothing_else;
        Ok(plain.then_some(Plain {
            alias,
            relation,
            scoped,
            at: self.place(name),
        }))
    }

    /// Expands `*` and `alias.*` where they would show a plain table's tenant column.
    pub(super) fn expand_wildcards(
        &self,
        projection: &mut Vec<SelectItem>,
        level: &Level<'a>,
    ) -> Rewritten<()> {
        let hides = |plain: &Plain<'_>| plain.scoped.via().is_none();
        let hides_any = level.plain.iter().any(hides);
        if !hides_any || self.classified.tenant_column() == TenantColumn::Visible {
            return Ok(());
        }
        let mut expanded = Vec::with_capacity(projection.len());
        for item in projection.drain(..) {
            match wildcard(&item)? {
                Some(Wildcard::All) => {
                    for alias in &level.aliases {
                        let Some(alias) = alias else {
                            return Err(self.construct("* over a FROM item without a name"));
                        };
                        self.expand(alias, level, &mut expanded);
                    }
                }
                Some(Wildcard::Of(alias))
                    if level
                        .plain
                        .iter()
                        .any(|plain| plain.alias == alias && hides(plain)) =>
                {
                    self.expand(&alias, level, &mut expanded);
                }
                Some(Wildcard::Of(_)) | None => expanded.push(item),
            }
        }
        *projection = expanded;
        Ok(())
    }

    fn expand(&self, alias: &str, level: &Level<'a>, expanded: &mut Vec<SelectItem>) {
        let hidden = |plain: &&Plain<'_>| plain.alias == alias && plain.scoped.via().is_none();
        let Some(plain) = level.plain.iter().find(hidden) else {
            let name = ObjectName::from(vec![sql::ident(alias)]);
            let kind = SelectItemQualifiedWildcardKind::ObjectName(name);
            expanded.push(SelectItem::QualifiedWildcard(
                kind,
                WildcardAdditionalOptions::default(),
            ));
            return;
        };
        for column in self.classified.visible_columns(plain.relation) {
            expanded.push(SelectItem::UnnamedExpr(Expr::CompoundIdentifier(vec![
                sql::ident(alias),
                sql::ident(&column.name),
            ])));
        }
    }

    /// GROUP BY a primary key lets other columns of the table be selected. The server's key has the
    /// tenant column in it, so that one joins the grouping; it is constant within each group. So do the
    /// columns of a fence, which has no key.
    /// Who sees it groups by it, or not.
    pub(super) fn group_by_keys(
        &self,
        (group_by, keys): (&mut GroupByExpr, &[Expr]),
        level: &Level<'a>,
    ) -> Rewritten<()> {
        if self.classified.tenant_column() == TenantColumn::Visible {
            return Ok(());
        }
        let GroupByExpr::Expressions(expressions, modifiers) = group_by else {
            return Ok(());
        };
        let has_sets = expressions.iter().any(|expression| {
            matches!(
                expression,
                Expr::GroupingSets(_) | Expr::Cube(_) | Expr::Rollup(_)
            )
        });
        if has_sets || !modifiers.is_empty() {
            return Ok(());
        }
        for plain in &level.plain {
            let (Some(key), Some(tenant)) =
                (plain.relation.primary_key(), plain.scoped.tenant_column())
            else {
                continue;
            };
            let own: Vec<&String> = key
                .columns
                .iter()
                .filter(|column| *column != tenant)
                .collect();
            let grouped = |column: &String| {
                let mut expressions = expressions.iter().chain(keys);
                expressions.any(|expression| is_column(expression, &plain.alias, level, column))
            };
            if key.columns.len() > own.len() && own.iter().all(|column| grouped(column)) {
                let text = format!("{}.{}", sql::quote(&plain.alias), sql::quote(tenant));
                expressions.push(composed(sql::expression(&text))?);
            }
        }
        let dependent = level.fenced.iter().flat_map(|(fenced, scoped)| {
            let alias = fenced.alias.as_str();
            let qualified = self.words.qualified_by(alias);
            let grouped = |name: &str| {
                let mut expressions = expressions.iter().chain(keys);
                expressions.any(|expression| is_column(expression, alias, level, name))
            };
            let used =
                |name: &str| self.words.mentions(name) || qualified.iter().any(|used| used == "*");
            let catalog = self.classified.catalog();
            let names = fenced.dependent(catalog, scoped.tenant_column(), grouped, used);
            let quoted = names
                .into_iter()
                .map(|name| format!("{}.{}", sql::quote(alias), sql::quote(name)));
            quoted.collect::<Vec<_>>()
        });
        for text in dependent.collect::<Vec<_>>() {
            expressions.push(composed(sql::expression(&text))?);
        }
        Ok(())
    }

    /// The ON of a join, and the kinds of join that PostgreSQL has.
    #[expect(clippy::wildcard_enum_match_arm, reason = "no PostgreSQL: refused")]
    pub(super) fn join_condition(&mut self, join: &mut Join, scope: &Scope) -> Rewritten<()> {
        if join.global {
            return Err(self.construct("GLOBAL JOIN"));
        }
        let constraint = match &mut join.join_operator {
            JoinOperator::Join(constraint)
            | JoinOperator::Inner(constraint)
            | JoinOperator::Left(constraint)
            | JoinOperator::LeftOuter(constraint)
            | JoinOperator::Right(constraint)
            | JoinOperator::RightOuter(constraint)
            | JoinOperator::FullOuter(constraint) => {
                if matches!(constraint, JoinConstraint::None) {
                    return Err(self.construct("a join without a condition"));
                }
                constraint
            }
            JoinOperator::CrossJoin(constraint) => {
                if !matches!(constraint, JoinConstraint::None) {
                    return Err(self.construct("CROSS JOIN with a condition"));
                }
                constraint
            }
            _ => return Err(self.construct("this kind of join")),
        };
        match constraint {
            JoinConstraint::On(condition) => self.expression(condition, scope),
            JoinConstraint::Using(columns) => columns.iter().try_for_each(|column| {
                super::names::single(column).map(|_| ()).map_err(Into::into)
            }),
            JoinConstraint::Natural | JoinConstraint::None => Ok(()),
        }
    }
}

/// Which sides of a join can be null-extended, as seen from its right item.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Side {
    Both,
    Left,
    Neither,
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "FULL, and what is refused anyway: a fence"
)]
fn side(operator: &JoinOperator) -> Side {
    match operator {
        JoinOperator::Join(_)
        | JoinOperator::Inner(_)
        | JoinOperator::CrossJoin(_)
        | JoinOperator::Right(_)
        | JoinOperator::RightOuter(_) => Side::Neither,
        JoinOperator::Left(_) | JoinOperator::LeftOuter(_) => Side::Left,
        _ => Side::Both,
    }
}

/// Whether a join null-extends what stands on its left.
fn keeps_right(operator: &JoinOperator) -> bool {
    matches!(
        operator,
        JoinOperator::Right(_) | JoinOperator::RightOuter(_) | JoinOperator::FullOuter(_)
    )
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "no join in it at this level"
)]
fn has_using_or_natural(from: &TableWithJoins) -> bool {
    let nested = |factor: &TableFactor| match factor {
        TableFactor::NestedJoin {
            table_with_joins,
            alias: _,
        } => has_using_or_natural(table_with_joins),
        _ => false,
    };
    nested(&from.relation)
        || from.joins.iter().any(|join| {
            nested(&join.relation)
                || match &join.join_operator {
                    JoinOperator::Join(constraint)
                    | JoinOperator::Inner(constraint)
                    | JoinOperator::Left(constraint)
                    | JoinOperator::LeftOuter(constraint)
                    | JoinOperator::Right(constraint)
                    | JoinOperator::RightOuter(constraint)
                    | JoinOperator::FullOuter(constraint)
                    | JoinOperator::CrossJoin(constraint) => matches!(
                        constraint,
                        JoinConstraint::Using(_) | JoinConstraint::Natural
                    ),
                    _ => true,
                }
        })
}

/// `(condition) AND predicate` for the ON of a LEFT JOIN.
fn add_to_on(join: &mut Join, predicates: &[Expr]) -> Rewritten<()> {
    let (JoinOperator::Left(JoinConstraint::On(condition))
    | JoinOperator::LeftOuter(JoinConstraint::On(condition))) = &mut join.join_operator
    else {
        return if predicates.is_empty() {
            Ok(())
        } else {
            Err(crate::isolate::refusal::Reason::Unproved {
                what: "a join's ON".to_owned(),
            }
            .into())
        };
    };
    *condition = conjunction(Some(condition.clone()), predicates).unwrap_or(condition.clone());
    Ok(())
}

/// The client's condition, in parentheses, and the predicates behind it.
pub(super) fn conjunction(condition: Option<Expr>, predicates: &[Expr]) -> Option<Expr> {
    let mut all = match condition {
        Some(condition) if predicates.is_empty() => return Some(condition),
        Some(condition) => Some(Expr::Nested(Box::new(condition))),
        None => None,
    };
    for predicate in predicates.iter().cloned() {
        all = Some(match all {
            Some(left) => Expr::BinaryOp {
                left: Box::new(left),
                op: BinaryOperator::And,
                right: Box::new(predicate),
            },
            None => predicate,
        });
    }
    all
}

/// A wildcard in a target list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Wildcard {
    All,
    Of(String),
}

/// The wildcard that an item of the target list is, if it is one over a FROM item.
pub(super) fn wildcard(item: &SelectItem) -> Rewritten<Option<Wildcard>> {
    match item {
        SelectItem::Wildcard(_) => Ok(Some(Wildcard::All)),
        SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
            Ok(Some(Wildcard::Of(super::names::last(name)?)))
        }
        SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::Expr(_), _)
        | SelectItem::ExprWithAlias { .. }
        | SelectItem::ExprWithAliases { .. }
        | SelectItem::UnnamedExpr(_) => Ok(None),
    }
}

/// The name that an item of FROM is referred to by.
#[expect(clippy::wildcard_enum_match_arm, reason = "refused later")]
fn alias_of(factor: &TableFactor) -> Rewritten<Option<String>> {
    let (alias, name) = match factor {
        TableFactor::Table { alias, name, .. } | TableFactor::Function { alias, name, .. } => {
            (alias, Some(name))
        }
        TableFactor::Derived { alias, .. } | TableFactor::NestedJoin { alias, .. } => (alias, None),
        TableFactor::UNNEST { alias, .. } => match alias {
            Some(_) => (alias, None),
            None => return Ok(Some("unnest".to_owned())),
        },
        _ => return Ok(None),
    };
    match (alias, name) {
        (Some(alias), _) => identifier(&alias.name).map(Some),
        (None, Some(name)) => implicit_alias(name).map(Some),
        (None, None) => Ok(None),
    }
}

/// Whether a grouping expression is this column of this table: qualified, or bare where the level
/// has no other range entry.
#[expect(clippy::wildcard_enum_match_arm, reason = "no plain column")]
fn is_column(expression: &Expr, table: &str, level: &Level<'_>, column: &str) -> bool {
    match expression {
        Expr::CompoundIdentifier(parts) => match parts.as_slice() {
            [alias, name] => {
                sql::fold(alias).as_deref() == Ok(table) && sql::fold(name).as_deref() == Ok(column)
            }
            [] | [_] | [_, _, _, ..] => false,
        },
        Expr::Identifier(name) => {
            level.aliases.len() == 1 && sql::fold(name).as_deref() == Ok(column)
        }
        Expr::Nested(inner) => is_column(inner, table, level, column),
        _ => false,
    }
}

/// A presence test for wildcards' options, which are no PostgreSQL.
pub(super) fn has_options(options: &WildcardAdditionalOptions) -> Presence {
    let WildcardAdditionalOptions {
        wildcard_token: _,
        opt_ilike,
        opt_exclude,
        opt_except,
        opt_replace,
        opt_rename,
        opt_alias,
    } = options;
    let none = opt_ilike.is_none()
        && opt_exclude.is_none()
        && opt_except.is_none()
        && opt_replace.is_none()
        && opt_rename.is_none()
        && opt_alias.is_none();
    if none {
        Presence::Absent
    } else {
        Presence::Present
    }
}
