//! What is done about conditions that are not silent: shields and masks.

use super::level::Plain;
use super::{Rewriter, Rewritten, composed};
use crate::catalog::Relation;
use crate::isolate::mask::null_of;
use crate::isolate::refusal::Reason;
use crate::isolate::remedy::{Condition, Mention, Remedy};
use crate::sql;
use crate::sql::ast::{
    BinaryOperator, CaseWhen, Expr, Join, JoinConstraint, JoinOperator, ObjectName, Select,
    SelectItem, Spanned, TableFactor, helpers::attached_token::AttachedToken,
};
use crate::tenant::Scoped;

impl Rewriter<'_> {
    /// Where a name stands in the client's text.
    pub(super) fn place(&self, name: &ObjectName) -> Option<usize> {
        let (start, _) = self.lexemes.range();
        let position = self.lexemes.position(name.span().start)?;
        position.checked_sub(start)
    }

    /// Where the first table of a join's side stands.
    #[expect(clippy::wildcard_enum_match_arm, reason = "no table comes first")]
    pub(super) fn leftmost(&self, factor: &TableFactor) -> Option<usize> {
        match factor {
            TableFactor::Table {
                name, args: None, ..
            } => self.place(name),
            TableFactor::NestedJoin {
                table_with_joins, ..
            } => self.leftmost(&table_with_joins.relation),
            _ => None,
        }
    }

    /// Whether columns of a table are to be masked, which takes a fence.
    pub(super) fn is_masked(&self, table: Option<usize>) -> bool {
        self.masks(table).next().is_some()
    }

    fn masks(&self, table: Option<usize>) -> impl Iterator<Item = i16> {
        self.remedies.iter().filter_map(move |remedy| match remedy {
            Remedy::Mask(masked) if Some(masked.table) == table.map(Mention::new) => {
                Some(masked.number)
            }
            Remedy::Mask(_) | Remedy::Shield { .. } => None,
        })
    }

    /// `CASE WHEN table.tenant_column = slot THEN column ELSE NULL::type END AS column` in place of each
    /// masked column of a fence.
    pub(super) fn mask(
        &mut self,
        select: &mut Select,
        relation: &Relation,
        scoped: &Scoped,
        table: Option<usize>,
    ) -> Rewritten<()> {
        let masked: Vec<i16> = self.masks(table).collect();
        let columns = self.classified.visible_columns(relation);
        for (item, column) in select.projection.iter_mut().zip(columns) {
            if !masked.contains(&column.number) {
                continue;
            }
            let SelectItem::UnnamedExpr(shown) = item else {
                return Err(Reason::PrintedDifferently.into());
            };
            let condition = self.predicate(&relation.name.name, scoped)?;
            let null = null_of(self.classified.catalog(), column);
            let null = null.ok_or(Reason::PrintedDifferently)?;
            *item = SelectItem::ExprWithAlias {
                expr: Expr::Case {
                    case_token: AttachedToken::empty(),
                    end_token: AttachedToken::empty(),
                    operand: None,
                    conditions: vec![CaseWhen {
                        condition,
                        result: shown.clone(),
                    }],
                    else_result: Some(Box::new(composed(sql::expression(&null))?)),
                },
                alias: sql::ident(&column.name),
            };
        }
        Ok(())
    }

    /// Puts conjuncts of WHERE in shields.
    pub(super) fn shield_where(
        &mut self,
        condition: &mut Expr,
        plain: &[Plain<'_>],
    ) -> Rewritten<()> {
        let here = |remedied: Condition| match remedied {
            Condition::Where(at) => plain.iter().any(|table| table.at == Some(at)),
            Condition::On(_) => false,
        };
        let conjuncts = self.shields(here);
        self.shield_all(condition, plain, &conjuncts)
    }

    /// Puts conjuncts of ON in shields.
    #[expect(clippy::wildcard_enum_match_arm, reason = "a join without ON")]
    pub(super) fn shield_on(
        &mut self,
        join: &mut Join,
        right: Option<usize>,
        joined: &[Plain<'_>],
    ) -> Rewritten<()> {
        let here = |remedied: Condition| match remedied {
            Condition::On(at) => right == Some(at),
            Condition::Where(_) => false,
        };
        let conjuncts = self.shields(here);
        match &mut join.join_operator {
            JoinOperator::Join(JoinConstraint::On(condition))
            | JoinOperator::Inner(JoinConstraint::On(condition))
            | JoinOperator::Left(JoinConstraint::On(condition))
            | JoinOperator::LeftOuter(JoinConstraint::On(condition))
            | JoinOperator::Right(JoinConstraint::On(condition))
            | JoinOperator::RightOuter(JoinConstraint::On(condition))
            | JoinOperator::FullOuter(JoinConstraint::On(condition)) => {
                self.shield_all(condition, joined, &conjuncts)
            }
            _ => Ok(()),
        }
    }

    /// The conjuncts of a condition that need a shield.
    fn shields(&self, here: impl Fn(Condition) -> bool) -> Vec<usize> {
        let shields = self.remedies.iter().map(|remedy| match remedy {
            Remedy::Shield {
                condition,
                conjunct,
            } => here(*condition).then_some(*conjunct),
            Remedy::Mask(_) => None,
        });
        shields.flatten().collect()
    }

    fn shield_all(
        &mut self,
        condition: &mut Expr,
        tables: &[Plain<'_>],
        conjuncts: &[usize],
    ) -> Rewritten<()> {
        if conjuncts.is_empty() || tables.is_empty() {
            return Ok(());
        }
        for (index, conjunct) in in_conjunction(condition).into_iter().enumerate() {
            if conjuncts.contains(&index) {
                self.shield(conjunct, tables)?;
            }
        }
        Ok(())
    }

    /// `CASE WHEN (alias.tenant_column = slot) IS NOT FALSE THEN (conjunct) END`, with a term for each
    /// table.
    fn shield(&mut self, conjunct: &mut Expr, tables: &[Plain<'_>]) -> Rewritten<()> {
        let mut all: Option<Expr> = None;
        for table in tables {
            let own = self.predicate(&table.alias, table.scoped)?;
            let term = Expr::IsNotFalse(Box::new(Expr::Nested(Box::new(own))));
            all = Some(match all {
                Some(left) => Expr::BinaryOp {
                    left: Box::new(left),
                    op: BinaryOperator::And,
                    right: Box::new(term),
                },
                None => term,
            });
        }
        let Some(condition) = all else { return Ok(()) };
        let result = std::mem::replace(conjunct, Expr::Wildcard(AttachedToken::empty()));
        *conjunct = Expr::Case {
            case_token: AttachedToken::empty(),
            end_token: AttachedToken::empty(),
            operand: None,
            conditions: vec![CaseWhen { condition, result }],
            else_result: None,
        };
        Ok(())
    }
}

/// The conjuncts of a condition, from the left, as PostgreSQL's parser flattens them.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "anything else is one conjunct"
)]
fn in_conjunction(condition: &mut Expr) -> Vec<&mut Expr> {
    if !is_conjunction(condition) {
        return vec![condition];
    }
    match condition {
        Expr::BinaryOp { left, right, .. } => {
            let mut all = in_conjunction(left);
            all.push(right);
            all
        }
        Expr::Nested(inner) => in_conjunction(inner),
        _ => Vec::new(),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "anything else is none")]
fn is_conjunction(expression: &Expr) -> bool {
    match expression {
        Expr::BinaryOp {
            op: BinaryOperator::And,
            ..
        } => true,
        Expr::Nested(inner) => is_conjunction(inner),
        _ => false,
    }
}
