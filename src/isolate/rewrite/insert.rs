//! INSERT: the tenant column and its value are added, or, where the client names it, checked.

use super::level::{Level, Plain};
use super::name::Scope;
use super::update::{Target, no_such_column};
use super::{Presence, Rewriter, Rewritten, composed, identifier, names};
use crate::isolate::refusal::Reason;
use crate::sql;
use crate::sql::ast::{
    ConflictTarget, DoUpdate, Insert, ObjectName, OnConflict, OnConflictAction, OnInsert, Query,
    SelectItem, SetExpr, TableObject,
};
use crate::tenant::{Ownership, TenantColumn, Verb};

impl<'a> Rewriter<'a> {
    /// `INSERT INTO target (columns, tenant_column) ..`, with the tenant's value in every row.
    pub(super) fn insert(&mut self, insert: &mut Insert, scope: &Scope) -> Rewritten<()> {
        self.only_postgres_insert(insert)?;
        let TableObject::TableName(name) = &insert.table else {
            return Err(self.construct("this form of INSERT target"));
        };
        let alias = insert.table_alias.as_ref().map(|alias| &alias.alias);
        let (target, new_name) = self.open_target(name, alias, Verb::Insert)?;
        if let Some(OnInsert::OnConflict(OnConflict {
            action: OnConflictAction::DoUpdate(_),
            ..
        })) = &insert.on
        {
            self.open_target(name, alias, Verb::Update)?;
        }
        insert.table = TableObject::TableName(new_name);
        if let Some(source) = &mut insert.source {
            self.query(source, scope)?;
        }
        self.insert_columns(insert, &target, scope)?;
        match (&target, self.classified.tenant_column()) {
            (Target::Scoped(plain), shown) => match (&plain.scoped.ownership, shown) {
                (Ownership::Via(via), _) => self.check_references(insert, plain, via)?,
                (Ownership::Column(column), TenantColumn::Hidden) => {
                    self.add_owner(insert, plain, column)?;
                }
                (Ownership::Column(column), TenantColumn::Visible) => {
                    self.check_owners(insert, plain, column)?;
                }
            },
            (Target::Shared, _) => {}
        }
        match &mut insert.on {
            None => {}
            Some(OnInsert::OnConflict(on)) => self.on_conflict(on, &target, scope)?,
            // DUPLICATE KEY UPDATE, and what the parser may learn later.
            Some(_) => return Err(self.construct("this ON clause")),
        }
        match &mut insert.returning {
            Some(items) => self.returning(items, &target, Level::default(), scope),
            None => Ok(()),
        }
    }

    /// The tenant's column, and the value in each row.
    fn add_owner(&mut self, insert: &mut Insert, plain: &Plain<'a>, column: &str) -> Rewritten<()> {
        let slot = self.slot(plain.scoped.column_type);
        let column = sql::ident(column);
        insert.columns.push(ObjectName::from(vec![column]));
        if let Some(source) = &mut insert.source {
            self.add_value(source, &slot)
        } else {
            let text = format!("VALUES ({slot})");
            insert.source = Some(Box::new(composed(sql::query(&text))?));
            Ok(())
        }
    }

    fn only_postgres_insert(&self, insert: &Insert) -> Rewritten<()> {
        let Insert {
            insert_token: _,
            optimizer_hints,
            or,
            ignore,
            into,
            table: _,
            table_alias: _,
            columns: _,
            overwrite,
            source: _,
            assignments,
            partitioned,
            after_columns,
            has_table_keyword,
            on: _,
            returning: _,
            output,
            replace_into,
            priority,
            insert_alias,
            settings,
            format_clause,
            multi_table_insert_type,
            multi_table_into_clauses,
            multi_table_when_clauses,
            multi_table_else_clause,
        } = insert;
        let flags = *ignore || *overwrite || *has_table_keyword || *replace_into || !*into;
        let foreign = [
            Presence::of_all(optimizer_hints),
            Presence::of(or.as_ref()),
            if flags {
                Presence::Present
            } else {
                Presence::Absent
            },
            Presence::of_all(assignments),
            Presence::of(partitioned.as_ref()),
            Presence::of_all(after_columns),
            Presence::of(output.as_ref()),
            Presence::of(priority.as_ref()),
            Presence::of(insert_alias.as_ref()),
            Presence::of(settings.as_ref()),
            Presence::of(format_clause.as_ref()),
            Presence::of(multi_table_insert_type.as_ref()),
            Presence::of_all(multi_table_into_clauses),
            Presence::of_all(multi_table_when_clauses),
            Presence::of(multi_table_else_clause.as_ref()),
        ];
        foreign
            .into_iter()
            .try_for_each(|presence| self.absent(presence, "this form of INSERT"))
    }

    /// The column list: checked where there is one, else made of the first visible columns, as many
    /// as the source is wide.
    fn insert_columns(
        &mut self,
        insert: &mut Insert,
        target: &Target<'a>,
        scope: &Scope,
    ) -> Rewritten<()> {
        let Target::Scoped(plain) = target else {
            return Ok(());
        };
        if !insert.columns.is_empty() {
            for name in &insert.columns {
                let column = names::single(name).map_err(|reason| self.refuse_at(name, reason))?;
                let visible = self.classified.visible_columns(plain.relation);
                if !visible.iter().any(|known| known.name == column) {
                    let reason = no_such_column(&column, &plain.relation.name.name);
                    return Err(self.refuse_at(name, reason));
                }
            }
            return Ok(());
        }
        let (TenantColumn::Hidden, Some(source), None) = (
            self.classified.tenant_column(),
            &insert.source,
            plain.scoped.via(),
        ) else {
            return Ok(());
        };
        let Some(width) = self.width(source, scope) else {
            return Err(
                self.construct("INSERT without a column list from a query of unknown width")
            );
        };
        let visible = self.classified.visible_columns(plain.relation);
        if width > visible.len() {
            let message = "INSERT has more expressions than target columns".to_owned();
            return Err(Reason::AsPostgres {
                sqlstate: "42601",
                message,
            }
            .into());
        }
        insert.columns = visible
            .into_iter()
            .take(width)
            .map(|column| ObjectName::from(vec![sql::ident(&column.name)]))
            .collect();
        Ok(())
    }

    /// Adds the tenant's value as the last column of every row and branch.
    fn add_value(&self, query: &mut Query, slot: &str) -> Rewritten<()> {
        self.add_to_body(&mut query.body, slot)
    }

    fn add_to_body(&self, body: &mut SetExpr, slot: &str) -> Rewritten<()> {
        match body {
            SetExpr::Values(values) => {
                for row in &mut values.rows {
                    row.content.push(composed(sql::expression(slot))?);
                }
                Ok(())
            }
            SetExpr::Select(select) => {
                let value = composed(sql::expression(slot))?;
                select.projection.push(SelectItem::UnnamedExpr(value));
                Ok(())
            }
            SetExpr::Query(query) => self.add_value(query, slot),
            SetExpr::SetOperation { left, right, .. } => {
                self.add_to_body(left, slot)?;
                self.add_to_body(right, slot)
            }
            SetExpr::Delete(_)
            | SetExpr::Insert(_)
            | SetExpr::Merge(_)
            | SetExpr::Table(_)
            | SetExpr::Update(_) => Err(self.construct("this form of INSERT source")),
        }
    }

    /// The tenant column joins the inference target, and DO UPDATE is guarded.
    fn on_conflict(
        &mut self,
        on: &mut OnConflict,
        target: &Target<'a>,
        scope: &Scope,
    ) -> Rewritten<()> {
        let OnConflict {
            conflict_target,
            action,
        } = on;
        match conflict_target {
            None | Some(ConflictTarget::OnConstraint(_)) => {}
            Some(ConflictTarget::Columns(columns)) => {
                for column in columns.iter() {
                    identifier(column)?;
                }
                if let (Target::Scoped(plain), TenantColumn::Hidden) =
                    (target, self.classified.tenant_column())
                {
                    columns.extend(plain.scoped.tenant_column().map(sql::ident));
                }
            }
        }
        match action {
            OnConflictAction::DoNothing => Ok(()),
            OnConflictAction::DoUpdate(DoUpdate {
                assignments,
                selection,
            }) => {
                self.assignments(assignments, target, scope)?;
                if let Some(condition) = selection.as_mut() {
                    self.expression(condition, scope)?;
                }
                if let Target::Scoped(plain) = target {
                    let guard = [self.predicate(&plain.alias, plain.scoped)?];
                    *selection = super::level::conjunction(selection.take(), &guard);
                }
                Ok(())
            }
        }
    }
}
