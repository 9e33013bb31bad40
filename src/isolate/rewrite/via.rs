//! Which row a row refers to, where that one says whose it is: the client says it, and the server checks it.

use super::level::Plain;
use super::owner::is_default;
use super::update::Target;
use super::{Rewriter, Rewritten, names};
use crate::isolate::refusal::{Reason, Refusal};
use crate::isolate::via::{checked, owner_of_locked, owner_of_reference};
use crate::sql::ast::{AssignmentTarget, Expr, Ident, Insert, ObjectName, SetExpr};
use crate::tenant::{TenantColumn, Via};

impl Rewriter<'_> {
    /// Checks the value for the referring column in every row and branch. A row without one gets none, which
    /// the server refuses.
    pub(super) fn check_references(
        &mut self,
        insert: &mut Insert,
        plain: &Plain<'_>,
        via: &Via,
    ) -> Rewritten<()> {
        let is_referring =
            |name: &ObjectName| names::single(name).is_ok_and(|name| name == via.column);
        let at = if insert.columns.is_empty() {
            let visible = self.classified.visible_columns(plain.relation);
            visible.iter().position(|column| column.name == via.column)
        } else {
            insert.columns.iter().position(is_referring)
        };
        let (Some(at), Some(source)) = (at, &mut insert.source) else {
            return Ok(());
        };
        if let SetExpr::Values(values) = source.body.as_ref()
            && values.rows.iter().all(|row| row.content.len() <= at)
        {
            return Ok(());
        }
        self.check_query(source, at, plain)
    }

    /// Checks the value that SET gives to the referring column.
    pub(super) fn check_assigned(
        &mut self,
        column: &AssignmentTarget,
        value: &mut Expr,
        target: &Target<'_>,
    ) -> Rewritten<()> {
        let Target::Scoped(plain) = target else {
            return Ok(());
        };
        let Some(via) = plain.scoped.via() else {
            return Ok(());
        };
        let is_referring =
            |name: &ObjectName| names::single(name).is_ok_and(|name| name == via.column);
        match column {
            AssignmentTarget::ColumnName(name) if is_referring(name) => {
                *value = self.checked_reference(value, (plain, via))?;
                Ok(())
            }
            AssignmentTarget::Tuple(names) if names.iter().any(is_referring) => {
                Err(not_checked(via))
            }
            AssignmentTarget::ColumnName(_) | AssignmentTarget::Tuple(_) => Ok(()),
        }
    }

    pub(super) fn checked_reference(
        &mut self,
        value: &Expr,
        (plain, via): (&Plain<'_>, &Via),
    ) -> Rewritten<Expr> {
        // What other values there may be the verifier knows.
        if matches!(value, Expr::Identifier(name) if is_default(name)) {
            return Err(self.refuse_at(value, not_checked(via).reason));
        }
        let mut own = |owner: String| {
            let slot = self.slot(plain.scoped.column_type);
            match self.classified.tenant_column() {
                TenantColumn::Hidden => format!("{owner} OPERATOR(pg_catalog.=) {slot}"),
                TenantColumn::Visible => format!("{owner} OPERATOR(pg_catalog.=) ANY ({slot})"),
            }
        };
        let (own, locked) = (own(owner_of_reference(via)), own(owner_of_locked(via)));
        let own = (own.as_str(), locked.as_str());
        let text = checked(&value.to_string(), own, via, &plain.relation.name);
        // The parser does not know FOR KEY SHARE; the printer writes a name as it is.
        Ok(Expr::Identifier(Ident::new(text)))
    }
}

/// A new row, or a changed one, must say in a plain way which row it refers to.
pub(super) fn not_checked(via: &Via) -> Refusal {
    Reason::ConstructNotSupported {
        construct: format!("this way of giving a value to {}", via.column),
    }
    .into()
}
