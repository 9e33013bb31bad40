//! UPDATE and DELETE: the target keeps its place and is guarded.

use super::fence::replace_table;
use super::level::{Level, Plain, conjunction};
use super::name::Scope;
use super::query::qualified_wildcards;
use super::{Presence, Rewriter, Rewritten, identifier, implicit_alias, names, qualified};
use crate::isolate::refusal::{BeyondGrant, Reason, Refusal};
use crate::sql;
use crate::sql::ast::{
    Assignment, AssignmentTarget, Delete, Expr, FromTable, ObjectName, SelectItem, TableWithJoins,
    Update, UpdateTableFromKind,
};
use crate::tenant::{Class, TenantColumn, Verb};

/// The table that a statement changes.
pub(super) enum Target<'a> {
    /// One with tenants' rows: guarded.
    Scoped(Plain<'a>),
    /// One common to all, which the policy lets tenants write.
    Shared,
}

impl<'a> Rewriter<'a> {
    /// `UPDATE target SET .. FROM .. WHERE (condition) AND guard RETURNING ..`
    pub(super) fn update(&mut self, update: &mut Update, scope: &Scope) -> Rewritten<()> {
        let Update {
            update_token: _,
            optimizer_hints,
            table,
            assignments,
            from,
            selection,
            returning,
            output,
            or,
            order_by,
            limit,
        } = update;
        self.absent(Presence::of_all(optimizer_hints), "an optimizer hint")?;
        self.absent(Presence::of(output.as_ref()), "OUTPUT")?;
        self.absent(Presence::of(or.as_ref()), "UPDATE OR")?;
        self.absent(Presence::of_all(order_by), "ORDER BY in UPDATE")?;
        self.absent(Presence::of(limit.as_ref()), "LIMIT in UPDATE")?;
        let target = self.target(table, Verb::Update)?;
        self.assignments(assignments, &target, scope)?;
        let sources = match from {
            None => &mut Vec::new(),
            Some(UpdateTableFromKind::AfterSet(sources)) => sources,
            Some(UpdateTableFromKind::BeforeSet(_)) => {
                return Err(self.construct("FROM before SET"));
            }
        };
        self.changed(&target, sources, selection, returning.as_mut(), scope)
    }

    /// `DELETE FROM target USING .. WHERE (condition) AND guard RETURNING ..`
    pub(super) fn delete(&mut self, delete: &mut Delete, scope: &Scope) -> Rewritten<()> {
        let Delete {
            delete_token: _,
            optimizer_hints,
            tables,
            from,
            using,
            selection,
            returning,
            output,
            order_by,
            limit,
        } = delete;
        self.absent(Presence::of_all(optimizer_hints), "an optimizer hint")?;
        self.absent(Presence::of_all(tables), "DELETE of several tables")?;
        self.absent(Presence::of(output.as_ref()), "OUTPUT")?;
        self.absent(Presence::of_all(order_by), "ORDER BY in DELETE")?;
        self.absent(Presence::of(limit.as_ref()), "LIMIT in DELETE")?;
        let FromTable::WithFromKeyword(from) = from else {
            return Err(self.construct("DELETE without FROM"));
        };
        let [table] = from.as_mut_slice() else {
            return Err(self.construct("DELETE of several tables"));
        };
        let target = self.target(table, Verb::Delete)?;
        let none = &mut Vec::new();
        let sources = using.as_mut().unwrap_or(none);
        self.changed(&target, sources, selection, returning.as_mut(), scope)
    }

    /// What UPDATE and DELETE have in common.
    fn changed(
        &mut self,
        target: &Target<'a>,
        sources: &mut [TableWithJoins],
        selection: &mut Option<Expr>,
        returning: Option<&mut Vec<SelectItem>>,
        scope: &Scope,
    ) -> Rewritten<()> {
        let wildcards = match &returning {
            Some(items) => qualified_wildcards(items)?,
            None => Vec::new(),
        };
        let level = self.from(sources, &wildcards, scope)?;
        if let Some(condition) = selection.as_mut() {
            self.expression(condition, scope)?;
        }
        if let Some(items) = returning {
            self.returning(items, target, level.clone_for_returning(), scope)?;
        }
        let mut predicates = level.predicates;
        let mut plain = level.plain;
        if let Target::Scoped(target) = target {
            predicates.push(self.predicate(&target.alias, target.scoped)?);
            plain.push(target.clone());
        }
        if let Some(condition) = selection.as_mut() {
            self.shield_where(condition, &plain)?;
        }
        *selection = conjunction(selection.take(), &predicates);
        Ok(())
    }

    /// RETURNING: `*` is the target's columns, and those of the other tables.
    pub(super) fn returning(
        &mut self,
        items: &mut Vec<SelectItem>,
        target: &Target<'a>,
        mut level: Level<'a>,
        scope: &Scope,
    ) -> Rewritten<()> {
        if let Target::Scoped(target) = target {
            level.aliases.insert(0, Some(target.alias.clone()));
            level.plain.push(target.clone());
            self.expand_wildcards(items, &level)?;
        }
        self.target_list(items, scope)
    }

    /// The table after UPDATE, DELETE FROM or INSERT INTO; writes that could reach beyond the tenant
    /// are refused.
    pub(super) fn target(
        &mut self,
        table: &mut TableWithJoins,
        verb: Verb,
    ) -> Rewritten<Target<'a>> {
        if !table.joins.is_empty() {
            return Err(self.construct("a join as the target"));
        }
        let Some((name, alias)) = self.plain_table(&table.relation)? else {
            return Err(self.construct("this form of target"));
        };
        let (name, alias) = (name.clone(), alias.clone());
        if let Some(alias) = &alias
            && !alias.columns.is_empty()
        {
            return Err(self.construct("a column alias list on the target"));
        }
        let (target, new_name) =
            self.open_target(&name, alias.as_ref().map(|alias| &alias.name), verb)?;
        replace_table(&mut table.relation, new_name, alias);
        Ok(target)
    }

    /// The target by its name, if tenants may write it.
    pub(super) fn open_target(
        &mut self,
        name: &ObjectName,
        alias: Option<&sql::ast::Ident>,
        verb: Verb,
    ) -> Rewritten<(Target<'a>, ObjectName)> {
        let (relation, class) = self.relation(name)?;
        self.permitted(name, relation, verb)?;
        let new_name = qualified(&relation.name);
        let scoped = match class {
            Class::Scoped(scoped) => scoped,
            Class::Shared { writable: true } => return Ok((Target::Shared, new_name)),
            Class::Shared { writable: false } | Class::Refused(_) => {
                // As aclcheck_error() puts it: for tenants the table is read-only.
                let message = format!("permission denied for table {}", relation.name.name);
                return Err(self.refuse_at(
                    name,
                    Reason::AsPostgres {
                        sqlstate: "42501",
                        message,
                    },
                ));
            }
        };
        let alias = match alias {
            Some(alias) => identifier(alias)?,
            None => implicit_alias(name)?,
        };
        if let Some(column) = scoped.tenant_column() {
            self.tenant_column_unused(column)?;
        }
        Ok((
            Target::Scoped(Plain {
                alias,
                relation,
                scoped,
                at: self.place(name),
            }),
            new_name,
        ))
    }

    /// In a statement that changes a table, the table's own tenant column is in reach of every
    /// expression: a statement that says its name is refused, unless it is an alias.
    fn tenant_column_unused(&self, column: &str) -> Rewritten<()> {
        if self.classified.tenant_column() == TenantColumn::Visible || !self.words.refers_to(column)
        {
            return Ok(());
        }
        let place = self
            .lexemes
            .iter()
            .find(|lexeme| lexeme.name().as_deref() == Some(column));
        let reason = Reason::ColumnDoesNotExist {
            column: column.to_owned(),
        };
        Err(Refusal {
            reason,
            position: place.map(|lexeme| lexeme.start),
        })
    }

    /// SET: targets are columns of the table, values are expressions.
    pub(super) fn assignments(
        &mut self,
        assignments: &mut [Assignment],
        target: &Target<'a>,
        scope: &Scope,
    ) -> Rewritten<()> {
        for Assignment {
            target: column,
            value,
        } in assignments
        {
            match column {
                AssignmentTarget::ColumnName(name) => self.assigned(name, target)?,
                AssignmentTarget::Tuple(names) => {
                    names
                        .iter()
                        .try_for_each(|name| self.assigned(name, target))?;
                }
            }
            self.expression(value, scope)?;
            self.check_assigned(column, value, target)?;
        }
        Ok(())
    }

    fn assigned(&self, name: &ObjectName, target: &Target<'a>) -> Rewritten<()> {
        let column = names::single(name).map_err(|reason| self.refuse_at(name, reason))?;
        let Target::Scoped(Plain {
            relation, scoped, ..
        }) = target
        else {
            return Ok(());
        };
        let is_owner = scoped.tenant_column() == Some(column.as_str());
        if is_owner && self.classified.tenant_column() == TenantColumn::Visible {
            return Err(self.refuse_at(name, BeyondGrant::TenantColumnAssigned { column }.into()));
        }
        if is_owner || relation.column(&column).is_none() {
            return Err(self.refuse_at(name, no_such_column(&column, &relation.name.name)));
        }
        Ok(())
    }
}

impl<'a> Level<'a> {
    fn clone_for_returning(&self) -> Level<'a> {
        Level {
            plain: self.plain.clone(),
            predicates: Vec::new(),
            aliases: self.aliases.clone(),
            fenced: Vec::new(),
        }
    }
}

/// `column "x" of relation "y" does not exist`, as PostgreSQL says of assignment targets.
pub(super) fn no_such_column(column: &str, relation: &str) -> Reason {
    Reason::AsPostgres {
        sqlstate: "42703",
        message: format!("column \"{column}\" of relation \"{relation}\" does not exist"),
    }
}
