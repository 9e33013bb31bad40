//! Whose a new row is, under the scope of a grant: the client says it, and the server checks it.
//!
//! A value `v` for the tenant column becomes
//! `CASE WHEN v = ANY (scope) THEN v ELSE concat('..')::type END`: it is one of the scope's keys, or the
//! statement fails with a message that says why. One form serves literals, parameters and columns, in
//! VALUES and in each branch of a SELECT alike. `concat` is stable, so that the planner does not compute
//! what must fail only when it is reached; and `v` may be written twice, since it is nothing that could
//! give two values. NULL would do in place of the failure, but for a trigger that puts a tenant there.

use super::level::Plain;
use super::via::not_checked;
use super::{Rewriter, Rewritten, composed, names};
use crate::isolate::refusal::{BeyondGrant, Reason, Refusal};
use crate::isolate::template::OUT_OF_SCOPE;
use crate::sql;
use crate::sql::ast::{Expr, Ident, Insert, Query, SelectItem, SetExpr, UnaryOperator, Value};
use crate::tenant::{Ownership, Rows, Scope, TenantKey, TenantType};

impl Rewriter<'_> {
    /// Checks the value for the tenant column in every row and branch.
    pub(super) fn check_owners(
        &mut self,
        insert: &mut Insert,
        plain: &Plain<'_>,
        column: &str,
    ) -> Rewritten<()> {
        let is_owner = |name| names::single(name).is_ok_and(|name| name == column);
        let at = insert.columns.iter().position(is_owner);
        match (at, &mut insert.source) {
            (Some(at), Some(source)) => self.check_query(source, at, plain),
            (None, _) | (_, None) => Err(not_named(plain)),
        }
    }

    /// Checks the value at one place of every row and branch.
    pub(super) fn check_query(
        &mut self,
        query: &mut Query,
        at: usize,
        plain: &Plain<'_>,
    ) -> Rewritten<()> {
        self.check_body(&mut query.body, at, plain)
    }

    fn check_body(&mut self, body: &mut SetExpr, at: usize, plain: &Plain<'_>) -> Rewritten<()> {
        match body {
            SetExpr::Values(values) => {
                for row in &mut values.rows {
                    let value = row.content.get_mut(at).ok_or_else(too_few)?;
                    *value = self.checked(value, plain)?;
                }
                Ok(())
            }
            SetExpr::Select(select) => {
                let is_one = |item: &SelectItem| match item {
                    SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. } => true,
                    SelectItem::ExprWithAliases { .. }
                    | SelectItem::QualifiedWildcard(..)
                    | SelectItem::Wildcard(_) => false,
                };
                let mut before = select.projection.iter().take(at);
                if !before.all(is_one) {
                    return Err(not_named(plain));
                }
                let item = select.projection.get_mut(at).ok_or_else(too_few)?;
                *item = self.checked_item(item, plain)?;
                Ok(())
            }
            SetExpr::Query(query) => self.check_query(query, at, plain),
            SetExpr::SetOperation { left, right, .. } => {
                self.check_body(left, at, plain)?;
                self.check_body(right, at, plain)
            }
            SetExpr::Delete(_)
            | SetExpr::Insert(_)
            | SetExpr::Merge(_)
            | SetExpr::Table(_)
            | SetExpr::Update(_) => Err(self.construct("this form of INSERT source")),
        }
    }

    /// The result column keeps its name.
    fn checked_item(&mut self, item: &SelectItem, plain: &Plain<'_>) -> Rewritten<SelectItem> {
        let (value, name) = match item {
            SelectItem::UnnamedExpr(value) => (value, column_name(value)),
            SelectItem::ExprWithAlias { expr, alias } => (expr, Some(alias.clone())),
            SelectItem::ExprWithAliases { .. }
            | SelectItem::QualifiedWildcard(..)
            | SelectItem::Wildcard(_) => return Err(not_named(plain)),
        };
        let expr = self.checked(value, plain)?;
        Ok(match name {
            Some(alias) => SelectItem::ExprWithAlias { expr, alias },
            None => SelectItem::UnnamedExpr(expr),
        })
    }

    fn checked(&mut self, value: &Expr, plain: &Plain<'_>) -> Rewritten<Expr> {
        if let Some(via) = plain.scoped.via() {
            return self.checked_reference(value, (plain, via));
        }
        if !is_single_valued(value) {
            return Err(self.refuse_at(value, not_named(plain).reason));
        }
        let tenant_type = plain.scoped.column_type;
        if let Some(scope) = self.classified.scope()
            && is_foreign(value, tenant_type, scope)
        {
            let written = value.to_string();
            let out = BeyondGrant::TenantOutOfScope { value: written }.into();
            return Err(self.refuse_at(value, out));
        }
        let type_name = tenant_type.name();
        let typed = format!("({value})::pg_catalog.{type_name}");
        // Text can be made of everything; a number cannot.
        let failing = match tenant_type {
            TenantType::Int2 | TenantType::Int4 | TenantType::Int8 | TenantType::Uuid => "",
            TenantType::Text => "::pg_catalog.int4",
        };
        let text = format!(
            "CASE WHEN true THEN {typed} ELSE \
             pg_catalog.concat('{OUT_OF_SCOPE}'){failing}::pg_catalog.{type_name} END"
        );
        let condition = self.is_own(&typed, tenant_type)?;
        let mut checked = composed(sql::expression(&text))?;
        let Expr::Case { conditions, .. } = &mut checked else {
            return Err(Reason::PrintedDifferently.into());
        };
        for when in conditions {
            when.condition = condition.clone();
        }
        Ok(checked)
    }
}

fn not_named(plain: &Plain<'_>) -> Refusal {
    match &plain.scoped.ownership {
        Ownership::Column(column) => BeyondGrant::TenantNotNamed {
            column: column.clone(),
        }
        .into(),
        Ownership::Via(via) => not_checked(via),
    }
}

fn too_few() -> Refusal {
    Reason::AsPostgres {
        sqlstate: "42601",
        message: "INSERT has more target columns than expressions".to_owned(),
    }
    .into()
}

/// Whether an expression gives the same value each time that a row is computed: a literal, a parameter
/// or a column, possibly cast.
#[expect(clippy::wildcard_enum_match_arm, reason = "anything else is refused")]
fn is_single_valued(value: &Expr) -> bool {
    match value {
        Expr::Value(_) | Expr::TypedString(_) | Expr::CompoundIdentifier(_) => true,
        Expr::Identifier(name) => !is_default(name),
        Expr::Cast { expr, .. } | Expr::Nested(expr) => is_single_valued(expr),
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => matches!(expr.as_ref(), Expr::Value(_)),
        _ => false,
    }
}

pub(super) fn is_default(name: &Ident) -> bool {
    name.quote_style.is_none() && name.value.eq_ignore_ascii_case("default")
}

/// Whether a literal is clearly none of the scope's keys. The server decides on all others.
#[expect(clippy::wildcard_enum_match_arm, reason = "no literal")]
fn is_foreign(value: &Expr, tenant_type: TenantType, scope: &Scope) -> bool {
    let (Rows::Of(keys), Expr::Value(value)) = (&scope.rows, value) else {
        return false;
    };
    let text = match &value.value {
        Value::Number(number, false) => number.clone(),
        Value::SingleQuotedString(text) => text.replace("''", "'"),
        _ => return false,
    };
    let key = match tenant_type {
        TenantType::Int2 | TenantType::Int4 | TenantType::Int8 => match text.parse() {
            Ok(number) => TenantKey::Integer(number),
            Err(_) => return false,
        },
        TenantType::Text => TenantKey::Text(text),
        TenantType::Uuid => return false,
    };
    !keys.contains(&key)
}

/// The name that a column has as a result.
#[expect(clippy::wildcard_enum_match_arm, reason = "no column")]
fn column_name(value: &Expr) -> Option<Ident> {
    match value {
        Expr::Identifier(name) => Some(name.clone()),
        Expr::CompoundIdentifier(names) => names.last().cloned(),
        _ => None,
    }
}
