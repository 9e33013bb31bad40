//! Queries: WITH, set operations, SELECT, VALUES.

use super::grouped::grouped_by;
use super::level::{Wildcard, conjunction, has_options, wildcard};
use super::name::{CteName, Scope};
use super::{Presence, Rewriter, Rewritten, identifier, names};
use crate::isolate::Kind;
use crate::sql;
use crate::sql::ast::{
    Cte, Distinct, Expr, Fetch, GroupByExpr, LimitClause, LockClause, NamedWindowDefinition,
    NamedWindowExpr, OrderBy, OrderByExpr, OrderByKind, Query, Select, SelectFlavor, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, SetOperator, SetQuantifier, Statement, TableFactor,
    TableWithJoins, Values, With,
};

impl Rewriter<'_> {
    /// Rewrites a query and everything in it.
    pub(super) fn query(&mut self, query: &mut Query, scope: &Scope) -> Rewritten<()> {
        let Query {
            with,
            body,
            order_by,
            limit_clause,
            fetch,
            locks,
            for_clause,
            settings,
            format_clause,
            pipe_operators,
        } = query;
        self.absent(Presence::of(for_clause.as_ref()), "FOR XML and its like")?;
        self.absent(Presence::of(settings.as_ref()), "SETTINGS")?;
        self.absent(Presence::of(format_clause.as_ref()), "FORMAT")?;
        self.absent(Presence::of_all(pipe_operators), "a pipe")?;
        let inner = match with {
            Some(with) => self.with(with, scope)?,
            None => scope.clone(),
        };
        self.set_expression(body, &inner)?;
        if let Some(OrderBy { kind, interpolate }) = order_by {
            self.absent(Presence::of(interpolate.as_ref()), "INTERPOLATE")?;
            match kind {
                OrderByKind::All(_) => return Err(self.construct("ORDER BY ALL")),
                OrderByKind::Expressions(keys) => self.sort_keys(keys, &inner)?,
            }
        }
        self.limit(limit_clause, &inner)?;
        if let Some(Fetch {
            with_ties: _,
            percent,
            quantity,
        }) = fetch
        {
            if *percent {
                return Err(self.construct("FETCH PERCENT"));
            }
            if let Some(quantity) = quantity {
                self.expression(quantity, &inner)?;
            }
        }
        locks.iter().try_for_each(|lock| {
            let LockClause {
                lock_type: _,
                of,
                nonblock: _,
            } = lock;
            of.as_ref().map_or(Ok(()), |of| {
                names::single(of).map(|_| ()).map_err(Into::into)
            })
        })
    }

    /// LIMIT and OFFSET.
    pub(super) fn limit(
        &mut self,
        limit: &mut Option<LimitClause>,
        scope: &Scope,
    ) -> Rewritten<()> {
        match limit {
            None => Ok(()),
            Some(LimitClause::LimitOffset {
                limit,
                offset,
                limit_by,
            }) => {
                self.absent(Presence::of_all(limit_by), "LIMIT BY")?;
                if let Some(limit) = limit {
                    self.expression(limit, scope)?;
                }
                match offset {
                    Some(offset) => self.expression(&mut offset.value, scope),
                    None => Ok(()),
                }
            }
            Some(LimitClause::OffsetCommaLimit { .. }) => Err(self.construct("LIMIT a, b")),
        }
    }

    pub(super) fn sort_keys(&mut self, keys: &mut [OrderByExpr], scope: &Scope) -> Rewritten<()> {
        for OrderByExpr {
            expr,
            options: _,
            with_fill,
        } in keys
        {
            self.absent(Presence::of(with_fill.as_ref()), "WITH FILL")?;
            self.expression(expr, scope)?;
        }
        Ok(())
    }

    /// WITH: each query sees the ones before it; with RECURSIVE, all of them.
    fn with(&mut self, with: &mut With, scope: &Scope) -> Rewritten<Scope> {
        let With {
            with_token: _,
            recursive,
            cte_tables,
        } = with;
        let mut inner = scope.clone();
        if *recursive {
            for cte in cte_tables.iter() {
                let name = identifier(&cte.alias.name)?;
                let columns = self.cte_width(cte, &inner);
                inner = inner.with(CteName {
                    name,
                    width: columns,
                });
            }
        }
        for cte in cte_tables {
            let columns = self.cte_width(cte, &inner);
            let Cte {
                alias,
                query,
                from,
                materialized: _,
                closing_paren_token: _,
            } = cte;
            self.absent(
                Presence::of(from.as_ref()),
                "FROM behind a common table expression",
            )?;
            let name = identifier(&alias.name)?;
            self.query(query, &inner)?;
            if !*recursive {
                inner = inner.with(CteName {
                    name,
                    width: columns,
                });
            }
        }
        Ok(inner)
    }

    fn cte_width(&self, cte: &Cte, scope: &Scope) -> Option<usize> {
        if cte.alias.columns.is_empty() {
            self.width(&cte.query, scope)
        } else {
            // A column alias list may be shorter than the query is wide.
            let width = self.width(&cte.query, scope)?;
            Some(width.max(cte.alias.columns.len()))
        }
    }

    fn set_expression(&mut self, body: &mut SetExpr, scope: &Scope) -> Rewritten<()> {
        match body {
            SetExpr::Select(select) => self.select(select, scope),
            SetExpr::Query(query) => self.query(query, scope),
            SetExpr::SetOperation {
                left,
                op,
                set_quantifier,
                right,
            } => {
                match op {
                    SetOperator::Union | SetOperator::Except | SetOperator::Intersect => {}
                    SetOperator::Minus => return Err(self.construct("MINUS")),
                }
                match set_quantifier {
                    SetQuantifier::None | SetQuantifier::All | SetQuantifier::Distinct => {}
                    SetQuantifier::ByName
                    | SetQuantifier::AllByName
                    | SetQuantifier::DistinctByName => return Err(self.construct("UNION BY NAME")),
                }
                self.set_expression(left, scope)?;
                self.set_expression(right, scope)
            }
            SetExpr::Values(values) => self.values(values, scope),
            SetExpr::Insert(statement)
            | SetExpr::Update(statement)
            | SetExpr::Delete(statement) => self.change(statement, scope).map(|_| ()),
            SetExpr::Merge(_) => Err(self.construct("MERGE")),
            SetExpr::Table(_) => Err(self.construct("TABLE as a query")),
        }
    }

    /// INSERT, UPDATE or DELETE below a WITH.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "nothing else changes data in a query"
    )]
    fn change(&mut self, statement: &mut Statement, scope: &Scope) -> Rewritten<Kind> {
        match statement {
            Statement::Insert(insert) => self.insert(insert, scope).map(|()| Kind::Data),
            Statement::Update(update) => self.update(update, scope).map(|()| Kind::Data),
            Statement::Delete(delete) => self.delete(delete, scope).map(|()| Kind::Data),
            _ => Err(self.construct("this statement below WITH")),
        }
    }

    fn values(&mut self, values: &mut Values, scope: &Scope) -> Rewritten<()> {
        let Values {
            explicit_row,
            value_keyword,
            rows,
        } = values;
        if *explicit_row || *value_keyword {
            return Err(self.construct("this form of VALUES"));
        }
        for row in rows {
            for value in &mut row.content {
                self.expression(value, scope)?;
            }
        }
        Ok(())
    }

    fn select(&mut self, select: &mut Select, scope: &Scope) -> Rewritten<()> {
        self.only_postgres(select)?;
        let wildcards = qualified_wildcards(&select.projection)?;
        let keys = grouped_by(select)?;
        let level = self.from(&mut select.from, &wildcards, scope)?;
        self.expand_wildcards(&mut select.projection, &level)?;
        self.target_list(&mut select.projection, scope)?;
        match &mut select.distinct {
            None | Some(Distinct::Distinct | Distinct::All) => {}
            Some(Distinct::On(keys)) => {
                keys.iter_mut()
                    .try_for_each(|key| self.expression(key, scope))?;
            }
        }
        for condition in [&mut select.selection, &mut select.having]
            .into_iter()
            .flatten()
        {
            self.expression(condition, scope)?;
        }
        self.group_by(&mut select.group_by, scope)?;
        self.group_by_keys((&mut select.group_by, &keys), &level)?;
        for NamedWindowDefinition(name, window) in &mut select.named_window {
            identifier(name)?;
            match window {
                NamedWindowExpr::NamedWindow(name) => {
                    identifier(name)?;
                }
                NamedWindowExpr::WindowSpec(window) => self.window(window, scope)?,
            }
        }
        if let Some(condition) = select.selection.as_mut() {
            self.shield_where(condition, &level.plain)?;
        }
        let selection = select.selection.take();
        select.selection = conjunction(selection, &level.predicates);
        Ok(())
    }

    /// Everything in SELECT that PostgreSQL does not have.
    fn only_postgres(&self, select: &Select) -> Rewritten<()> {
        let Select {
            select_token: _,
            optimizer_hints,
            distinct: _,
            select_modifiers,
            top,
            top_before_distinct: _,
            projection: _,
            exclude,
            into,
            from: _,
            lateral_views,
            prewhere,
            selection: _,
            connect_by,
            group_by: _,
            cluster_by,
            distribute_by,
            sort_by,
            having: _,
            named_window: _,
            qualify,
            window_before_qualify: _,
            value_table_mode,
            flavor,
        } = select;
        let foreign = [
            (Presence::of_all(optimizer_hints), "an optimizer hint"),
            (
                Presence::of(select_modifiers.as_ref()),
                "a modifier of SELECT",
            ),
            (Presence::of(top.as_ref()), "TOP"),
            (Presence::of(exclude.as_ref()), "EXCLUDE"),
            (Presence::of(into.as_ref()), "SELECT INTO"),
            (Presence::of_all(lateral_views), "LATERAL VIEW"),
            (Presence::of(prewhere.as_ref()), "PREWHERE"),
            (Presence::of_all(connect_by), "CONNECT BY"),
            (Presence::of_all(cluster_by), "CLUSTER BY"),
            (Presence::of_all(distribute_by), "DISTRIBUTE BY"),
            (Presence::of_all(sort_by), "SORT BY"),
            (Presence::of(qualify.as_ref()), "QUALIFY"),
            (Presence::of(value_table_mode.as_ref()), "AS STRUCT"),
        ];
        foreign
            .into_iter()
            .try_for_each(|(presence, what)| self.absent(presence, what))?;
        match flavor {
            SelectFlavor::Standard => Ok(()),
            SelectFlavor::FromFirst | SelectFlavor::FromFirstNoSelect => {
                Err(self.construct("FROM before SELECT"))
            }
        }
    }

    /// The target list of SELECT or RETURNING.
    pub(super) fn target_list(
        &mut self,
        projection: &mut [SelectItem],
        scope: &Scope,
    ) -> Rewritten<()> {
        for item in projection {
            match item {
                SelectItem::UnnamedExpr(expression)
                | SelectItem::ExprWithAlias {
                    expr: expression,
                    alias: _,
                } => {
                    self.expression(expression, scope)?;
                }
                SelectItem::QualifiedWildcard(kind, options) => {
                    self.absent(has_options(options), "an option of *")?;
                    match kind {
                        SelectItemQualifiedWildcardKind::ObjectName(name) => {
                            let alias = names::last(name)?;
                            *name = sql::ast::ObjectName::from(vec![sql::ident(&alias)]);
                        }
                        SelectItemQualifiedWildcardKind::Expr(expression) => {
                            self.expression(expression, scope)?;
                        }
                    }
                }
                SelectItem::Wildcard(options) => {
                    self.absent(has_options(options), "an option of *")?;
                }
                SelectItem::ExprWithAliases { .. } => {
                    return Err(self.construct("several aliases for a column"));
                }
            }
        }
        Ok(())
    }

    fn group_by(&mut self, group_by: &mut GroupByExpr, scope: &Scope) -> Rewritten<()> {
        match group_by {
            GroupByExpr::All(_) => Err(self.construct("GROUP BY ALL")),
            GroupByExpr::Expressions(expressions, modifiers) => {
                self.absent(Presence::of_all(modifiers), "a modifier of GROUP BY")?;
                expressions
                    .iter_mut()
                    .try_for_each(|key| self.grouping(key, scope))
            }
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "an ordinary expression")]
    fn grouping(&mut self, key: &mut Expr, scope: &Scope) -> Rewritten<()> {
        match key {
            Expr::GroupingSets(sets) | Expr::Cube(sets) | Expr::Rollup(sets) => sets
                .iter_mut()
                .flatten()
                .try_for_each(|expression| self.grouping(expression, scope)),
            _ => self.expression(key, scope),
        }
    }

    /// How many columns a query has, where that can be told.
    pub(super) fn width(&self, query: &Query, scope: &Scope) -> Option<usize> {
        let mut inner = scope.clone();
        if let Some(with) = &query.with {
            for cte in &with.cte_tables {
                let name = identifier(&cte.alias.name).ok()?;
                let columns = self.cte_width(cte, &inner);
                inner = inner.with(CteName {
                    name,
                    width: columns,
                });
            }
        }
        self.body_width(&query.body, &inner)
    }

    fn body_width(&self, body: &SetExpr, scope: &Scope) -> Option<usize> {
        match body {
            SetExpr::Select(select) => {
                // Once for all of the target list: what stands below may be deep.
                let mut factors = Vec::new();
                for from in &select.from {
                    self.factors(from, scope, &mut factors);
                }
                let items = select.projection.iter().map(|item| match wildcard(item) {
                    Ok(None) if matches!(item, SelectItem::QualifiedWildcard(..)) => None,
                    Ok(None) => Some(1),
                    Ok(Some(Wildcard::All)) => factors.iter().map(|factor| factor.width).sum(),
                    Ok(Some(Wildcard::Of(alias))) => factors
                        .iter()
                        .filter(|factor| factor.may_be(&alias))
                        .map(|factor| factor.width)
                        .sum(),
                    Err(_) => None,
                });
                let width: Option<usize> = items.sum();
                width.map(|width| width.min(COLUMNS_MAX))
            }
            SetExpr::Query(query) => self.width(query, scope),
            SetExpr::SetOperation { left, .. } => self.body_width(left, scope),
            SetExpr::Values(values) => values.rows.first().map(|row| row.content.len()),
            SetExpr::Delete(_)
            | SetExpr::Insert(_)
            | SetExpr::Merge(_)
            | SetExpr::Table(_)
            | SetExpr::Update(_) => None,
        }
    }

    /// The tables of a FROM item with their widths.
    fn factors(&self, from: &TableWithJoins, scope: &Scope, factors: &mut Vec<Factor>) {
        if !from.joins.iter().all(plainly_joined) {
            factors.push(Factor::UNKNOWN);
            return;
        }
        self.factor(&from.relation, scope, factors);
        for join in &from.joins {
            self.factor(&join.relation, scope, factors);
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "unknown, so not told")]
    fn factor(&self, factor: &TableFactor, scope: &Scope, factors: &mut Vec<Factor>) {
        let name = |alias: &Option<sql::ast::TableAlias>| {
            let alias = alias.as_ref()?;
            identifier(&alias.name).ok()
        };
        match factor {
            TableFactor::Table {
                name: relation,
                alias,
                args: None,
                ..
            } => {
                let implicit = || names::relation(relation).ok().map(|(_, name)| name);
                factors.push(Factor {
                    name: name(alias).or_else(implicit),
                    width: self.table_width(relation, scope),
                });
            }
            TableFactor::Derived {
                subquery, alias, ..
            } => factors.push(Factor {
                name: name(alias),
                width: self.width(subquery, scope),
            }),
            TableFactor::NestedJoin {
                table_with_joins,
                alias: None,
            } => self.factors(table_with_joins, scope, factors),
            _ => factors.push(Factor::UNKNOWN),
        }
    }

    fn table_width(&self, name: &sql::ast::ObjectName, scope: &Scope) -> Option<usize> {
        let (schema, relation) = names::relation(name).ok()?;
        if schema.is_none()
            && let Some(cte) = scope.cte(&relation)
        {
            return cte.width;
        }
        let (relation, _) = self.relation(name).ok()?;
        Some(self.classified.visible_columns(relation).len())
    }
}

/// No query can have more columns (`MaxTupleAttributeNumber`); where a text would have more, the
/// server says so.
const COLUMNS_MAX: usize = 1_665;

/// A table in FROM.
struct Factor {
    name: Option<String>,
    width: Option<usize>,
}

impl Factor {
    const UNKNOWN: Self = Self {
        name: None,
        width: None,
    };

    /// Whether `alias.*` can mean it.
    fn may_be(&self, alias: &str) -> bool {
        match &self.name {
            Some(name) => name == alias,
            None => self.width.is_none(),
        }
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "refused elsewhere")]
fn plainly_joined(join: &sql::ast::Join) -> bool {
    use sql::ast::JoinConstraint::{Natural, Using};
    use sql::ast::JoinOperator as Operator;
    match &join.join_operator {
        Operator::Join(constraint)
        | Operator::Inner(constraint)
        | Operator::Left(constraint)
        | Operator::LeftOuter(constraint)
        | Operator::Right(constraint)
        | Operator::RightOuter(constraint)
        | Operator::FullOuter(constraint)
        | Operator::CrossJoin(constraint) => !matches!(constraint, Using(_) | Natural),
        _ => false,
    }
}

/// The aliases of the target list's `alias.*`.
pub(super) fn qualified_wildcards(projection: &[SelectItem]) -> Rewritten<Vec<String>> {
    let mut aliases = Vec::new();
    for item in projection {
        if let Some(Wildcard::Of(alias)) = wildcard(item)? {
            aliases.push(alias);
        }
    }
    Ok(aliases)
}
