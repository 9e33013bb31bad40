//! ON CONFLICT, in lockstep.
//!
//! # Invariants
//! 1. A conflict is one with a row of the tenant's: the tenant column is part of what is compared.
//! 2. DO UPDATE is guarded.

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::proof::{Checked, Proof, anywhere, both, differs, empty, equal, unchanged, unsupported};
use super::scope::{Extent, Item, Locks, Sent, SystemColumns, Tenancy};
use super::silent::Clause;
use super::write::{Target, assigned};
use crate::isolate::refusal::Reason;
use crate::tenant::{Scoped, TenantColumn, Verb};

impl Proof<'_> {
    pub(super) fn conflict(
        &mut self,
        original: &pg::OnConflictClause,
        rewritten: &pg::OnConflictClause,
        target: &Target<'_>,
    ) -> Checked {
        both!(OnConflictClause, original, rewritten, {
            action, infer, target_list, where_clause, location
        });
        anywhere(location);
        equal(action, "ON CONFLICT")?;
        match infer {
            (Some(original), Some(rewritten)) => {
                // As PostgreSQL's privileges have it: whether a row is there is read.
                self.level()?.readable()?;
                self.inference(original, rewritten, target)?;
            }
            (None, None) => {}
            (Some(_), None) | (None, Some(_)) => return Err(differs("ON CONFLICT")),
        }
        let updates = *action.0 == i32::from(pg::OnConflictAction::OnconflictUpdate);
        if updates {
            self.permitted(target.relation, Verb::Update, None)?;
            let columns = assigned(target_list.1);
            let hazards = self.classified().update_hazards(target.relation, &columns);
            if let Some(hazard) = hazards.into_iter().next() {
                let relation = target.relation.name.to_string();
                return Err(Reason::WriteNotAllowed { relation, hazard }.into());
            }
        }
        let excluded = self.excluded(target)?;
        self.assignments(target_list, target)?;
        let tests = if updates { target.tests() } else { Vec::new() };
        self.condition(where_clause, &tests, Clause::Where)?;
        let level = self.level()?;
        level.items.truncate(excluded);
        Ok(())
    }

    /// Makes `excluded` visible. Returns how many range entries were so before.
    fn excluded(&mut self, target: &Target<'_>) -> Checked<usize> {
        let hidden = match self.classified().tenant_column() {
            TenantColumn::Hidden => target
                .scoped
                .and_then(Scoped::tenant_column)
                .map(str::to_owned),
            TenantColumn::Visible => None,
        };
        let level = self.level()?;
        let before = level.items.len();
        let columns = level.items.first().map(|item| item.columns.clone());
        let sent = level.items.first().and_then(|item| item.sent.clone());
        let sent = sent.map(|sent| Sent {
            alias: "excluded".to_owned(),
            ..sent
        });
        level.items.push(Item {
            name: Some("excluded".to_owned()),
            relation: None,
            columns: columns.unwrap_or_default(),
            extent: Extent::Complete,
            merged: Vec::new(),
            hidden,
            tenancy: Tenancy::Free,
            locks: Locks::Own,
            sent,
            system: SystemColumns::Unknown,
            key: None,
        });
        // An unqualified name is a column of the target only.
        if let Some(item) = level.items.last_mut() {
            item.merged = item
                .columns
                .iter()
                .map(|column| column.name.clone())
                .collect();
        }
        Ok(before)
    }

    /// Compares the target of ON CONFLICT, whose columns end with the tenant column.
    fn inference(
        &mut self,
        original: &pg::InferClause,
        rewritten: &pg::InferClause,
        target: &Target<'_>,
    ) -> Checked {
        both!(InferClause, original, rewritten, { index_elems, where_clause, conname, location });
        anywhere(location);
        equal(conname, "a constraint's name")?;
        self.optional(where_clause, "the condition of a conflict target")?;
        if !conname.0.is_empty() {
            named_key(conname.0, target)?;
        }
        let (elements, sent) = index_elems;
        let added = match self.classified().tenant_column() {
            TenantColumn::Hidden => target.scoped.and_then(Scoped::tenant_column),
            TenantColumn::Visible => None,
        };
        let kept = match (added, sent.split_last()) {
            (Some(column), Some((last, kept))) if !elements.is_empty() => {
                let wanted = pg::IndexElem {
                    name: column.to_owned(),
                    ordering: pg::SortByDir::SortbyDefault.into(),
                    nulls_ordering: pg::SortByNulls::SortbyNullsDefault.into(),
                    ..pg::IndexElem::default()
                };
                match &last.node {
                    Some(NodeEnum::IndexElem(last)) if **last == wanted => kept,
                    Some(_) | None => return Err(differs("the columns of ON CONFLICT")),
                }
            }
            _ => sent.as_slice(),
        };
        if elements.len() != kept.len() {
            return Err(differs("the columns of ON CONFLICT"));
        }
        for (original, rewritten) in elements.iter().zip(kept) {
            self.index_element(original, rewritten, target)?;
        }
        Ok(())
    }

    fn index_element(&mut self, original: &Node, rewritten: &Node, target: &Target<'_>) -> Checked {
        let (Some(NodeEnum::IndexElem(o)), Some(NodeEnum::IndexElem(r))) =
            (&original.node, &rewritten.node)
        else {
            return Err(differs("the columns of ON CONFLICT"));
        };
        both!(IndexElem, o, r, {
            name, expr, indexcolname, collation, opclass, opclassopts, ordering, nulls_ordering
        });
        self.listed_column(name, target, None)?;
        equal(indexcolname, "the columns of ON CONFLICT")?;
        equal(ordering, "the columns of ON CONFLICT")?;
        equal(nulls_ordering, "the columns of ON CONFLICT")?;
        // They only choose among the table's own keys.
        unchanged(collation, "a collation in ON CONFLICT")?;
        unchanged(opclass, "an operator class in ON CONFLICT")?;
        empty(opclassopts, "an operator class in ON CONFLICT")?;
        self.optional(expr, "an expression in ON CONFLICT")
    }
}

/// A named key must hold the tenant column: else it conflicts with other tenants' rows.
fn named_key(name: &str, target: &Target<'_>) -> Checked {
    if target.view.is_some() {
        return Err(unsupported("ON CONFLICT ON CONSTRAINT of a view"));
    }
    let Some(scoped) = target.scoped else {
        return Ok(());
    };
    let decides = |column: &String| column == scoped.deciding_column();
    let holds =
        |key: &crate::catalog::UniqueKey| key.name == name && key.columns.iter().any(decides);
    if target.relation.keys.iter().any(holds) {
        Ok(())
    } else {
        Err(unsupported("ON CONFLICT ON CONSTRAINT of this constraint"))
    }
}
