//! Tables in FROM: the fence, and everything else that can stand there.

use super::name::Scope;
use super::{
    Presence, Rewriter, Rewritten, composed, identifier, implicit_alias, names, qualified,
};
use crate::catalog::Relation;
use crate::isolate::refusal::Reason;
use crate::sql;
use crate::sql::ast::{
    FunctionArg, FunctionArgExpr, ObjectName, SetExpr, TableAlias, TableFactor, TableFunctionArgs,
    TableWithJoins,
};
use crate::tenant::{Class, Scoped, Verb};

impl Rewriter<'_> {
    /// Rewrites one item of FROM into a form that needs nothing of its surroundings.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "what is not named above is no PostgreSQL and is refused"
    )]
    pub(super) fn table_factor(
        &mut self,
        factor: &mut TableFactor,
        scope: &Scope,
    ) -> Rewritten<()> {
        match factor {
            TableFactor::Table { args: Some(_), .. } | TableFactor::Function { .. } => {
                self.table_function(factor, scope)
            }
            TableFactor::Table { .. } => self.table(factor, scope),
            TableFactor::Derived {
                lateral: _,
                subquery,
                alias,
                sample,
            } => {
                self.absent(Presence::of(sample.as_ref()), "TABLESAMPLE")?;
                self.alias(alias)?;
                self.query(subquery, scope)
            }
            TableFactor::NestedJoin {
                table_with_joins,
                alias,
            } => {
                self.alias(alias)?;
                self.fenced_joins(table_with_joins, scope)
            }
            TableFactor::UNNEST { .. } => self.unnest(factor, scope),
            TableFactor::JsonTable { .. } => Err(self.construct("JSON_TABLE")),
            TableFactor::XmlTable { .. } => Err(self.construct("XMLTABLE")),
            _ => Err(self.construct("this form of FROM item")),
        }
    }

    /// A join tree in which every scoped table gets a fence.
    pub(super) fn fenced_joins(
        &mut self,
        from: &mut TableWithJoins,
        scope: &Scope,
    ) -> Rewritten<()> {
        let TableWithJoins { relation, joins } = from;
        self.table_factor(relation, scope)?;
        for join in joins {
            self.table_factor(&mut join.relation, scope)?;
            self.join_condition(join, scope)?;
        }
        Ok(())
    }

    /// A column alias list may carry types, of a function's columns.
    fn alias(&mut self, alias: &mut Option<TableAlias>) -> Rewritten<()> {
        let Some(TableAlias {
            explicit: _,
            name,
            columns,
            at,
        }) = alias
        else {
            return Ok(());
        };
        self.absent(Presence::of(at.as_ref()), "AT in an alias")?;
        identifier(name)?;
        for column in columns {
            identifier(&column.name)?;
            if let Some(data_type) = &mut column.data_type {
                self.data_type(data_type)?;
            }
        }
        Ok(())
    }

    /// A plain table name: a common table expression, a shared table, or one that needs a fence.
    fn table(&mut self, factor: &mut TableFactor, scope: &Scope) -> Rewritten<()> {
        let Some((name, alias)) = self.plain_table(factor)? else {
            return Err(self.construct("this form of table"));
        };
        if is_cte(name, scope)? {
            return self.alias(&mut alias.clone());
        }
        let (relation, class) = self.relation(name)?;
        self.permitted(name, relation, Verb::Select)?;
        match class {
            Class::Refused(_) => Err(Reason::Unproved {
                what: "a closed table".to_owned(),
            }
            .into()),
            Class::Shared { .. } => {
                let mut alias = alias.clone();
                self.alias(&mut alias)?;
                replace_table(factor, qualified(&relation.name), alias);
                Ok(())
            }
            Class::Scoped(scoped) => {
                let mut written = alias.clone();
                self.alias(&mut written)?;
                let place = self.place(name);
                let alias = match written {
                    Some(alias) => alias,
                    None => TableAlias {
                        explicit: true,
                        name: sql::ident(&implicit_alias(name)?),
                        columns: Vec::new(),
                        at: None,
                    },
                };
                *factor = self.fence(relation, scoped, alias, place)?;
                Ok(())
            }
        }
    }

    /// The name and alias of a table that stands plainly in FROM; nothing if it has more to it.
    pub(super) fn plain_table<'f>(
        &self,
        factor: &'f TableFactor,
    ) -> Rewritten<Option<(&'f ObjectName, &'f Option<TableAlias>)>> {
        let TableFactor::Table {
            name,
            alias,
            args,
            with_hints,
            version,
            with_ordinality,
            partitions,
            json_path,
            sample,
            index_hints,
        } = factor
        else {
            return Ok(None);
        };
        if args.is_some() {
            return Ok(None);
        }
        self.absent(Presence::of(sample.as_ref()), "TABLESAMPLE")?;
        self.absent(Presence::of_all(with_hints), "a table hint")?;
        self.absent(Presence::of(version.as_ref()), "a table version")?;
        self.absent(Presence::of_all(partitions), "a partition list")?;
        self.absent(Presence::of(json_path.as_ref()), "a path in FROM")?;
        self.absent(Presence::of_all(index_hints), "an index hint")?;
        if *with_ordinality {
            return Err(self.construct("WITH ORDINALITY behind a table"));
        }
        Ok(Some((name, alias)))
    }

    /// `(SELECT visible columns FROM schema.table WHERE table.tenant_column = slot) AS alias`
    fn fence(
        &mut self,
        relation: &Relation,
        scoped: &Scoped,
        alias: TableAlias,
        place: Option<usize>,
    ) -> Rewritten<TableFactor> {
        let columns: Vec<String> = self
            .classified
            .visible_columns(relation)
            .into_iter()
            .map(|column| sql::quote(&column.name))
            .collect();
        let predicate = self.predicate(&relation.name.name, scoped)?;
        let text = format!(
            "SELECT {} FROM {}",
            columns.join(", "),
            qualified(&relation.name)
        );
        let mut subquery = Box::new(composed(sql::query(&text))?);
        let SetExpr::Select(select) = subquery.body.as_mut() else {
            return Err(Reason::PrintedDifferently.into());
        };
        select.selection = Some(predicate);
        self.mask(select, relation, scoped, place)?;
        Ok(TableFactor::Derived {
            lateral: false,
            subquery,
            alias: Some(alias),
            sample: None,
        })
    }

    /// `f(..)` and `LATERAL f(..)` in FROM.
    #[expect(clippy::wildcard_enum_match_arm, reason = "anything else is refused")]
    fn table_function(&mut self, factor: &mut TableFactor, scope: &Scope) -> Rewritten<()> {
        let (name, alias, arguments) = match factor {
            TableFactor::Table {
                name,
                alias,
                args: Some(args),
                ..
            } => {
                let TableFunctionArgs { args, settings } = args;
                if settings.is_some() {
                    return Err(self.construct("SETTINGS in FROM"));
                }
                (name, alias, args)
            }
            TableFactor::Function {
                lateral: _,
                name,
                args,
                with_ordinality: _,
                alias,
            } => (name, alias, args),
            _ => return Err(self.construct("this form of FROM item")),
        };
        self.function_name(name)?;
        self.alias(alias)?;
        for argument in arguments {
            self.function_argument(argument, scope)?;
        }
        Ok(())
    }

    /// `UNNEST(..)` has a form of its own in the tree; as a plain call its name can be qualified. That of
    /// several arrays, side by side, cannot: only the bare name means it (PostgreSQL's
    /// `transformRangeFunction`).
    fn unnest(&mut self, factor: &mut TableFactor, scope: &Scope) -> Rewritten<()> {
        let TableFactor::UNNEST {
            alias,
            array_exprs,
            with_offset,
            with_offset_alias,
            with_ordinality,
        } = factor
        else {
            return Err(self.construct("this form of FROM item"));
        };
        if *with_offset || with_offset_alias.is_some() {
            return Err(self.construct("WITH OFFSET"));
        }
        self.alias(alias)?;
        for array in array_exprs.iter_mut() {
            self.expression(array, scope)?;
        }
        let args: Vec<FunctionArg> = array_exprs
            .drain(..)
            .map(|array| FunctionArg::Unnamed(FunctionArgExpr::Expr(array)))
            .collect();
        let schema = (args.len() < 2).then(|| sql::ident("pg_catalog"));
        let name = schema.into_iter().chain([sql::ident("unnest")]);
        *factor = TableFactor::Table {
            name: ObjectName::from(name.collect::<Vec<_>>()),
            alias: alias.take(),
            args: Some(TableFunctionArgs {
                args,
                settings: None,
            }),
            with_hints: Vec::new(),
            version: None,
            with_ordinality: *with_ordinality,
            partitions: Vec::new(),
            json_path: None,
            sample: None,
            index_hints: Vec::new(),
        };
        Ok(())
    }
}

/// Whether an unqualified name is a common table expression in scope.
pub(super) fn is_cte(name: &ObjectName, scope: &Scope) -> Rewritten<bool> {
    let (schema, relation) = names::relation(name)?;
    Ok(schema.is_none() && scope.cte(&relation).is_some())
}

/// Puts a qualified name in place of a table's.
pub(super) fn replace_table(factor: &mut TableFactor, new: ObjectName, alias: Option<TableAlias>) {
    *factor = TableFactor::Table {
        name: new,
        alias,
        args: None,
        with_hints: Vec::new(),
        version: None,
        with_ordinality: false,
        partitions: Vec::new(),
        json_path: None,
        sample: None,
        index_hints: Vec::new(),
    };
}
