//! Shields: conjuncts that are computed on the tenant's own rows only.
//!
//! `CASE WHEN (alias.tenant OPERATOR(pg_catalog.=) slot) IS NOT FALSE THEN conjunct END`, with one such
//! term for each table whose rows the conjunct is computed on. CASE computes its result only where
//! its condition holds. On the side of an outer join that is filled with NULLs the term is NULL, which
//! no row of another tenant can make it.
//!
//! # Invariants
//! 1. A shield stands for its conjunct only where every table of tenants that is visible there has a
//!    term in it, and none of their columns is visible in another way. What has no tenant column may
//!    stand beside them if the conjunct names none of its columns: it is computed without it, or on
//!    rows that are the tenant's own.
//! 2. There is none for a table whose tenant column may be NULL: its term is no test.
//! 3. A volatile function is not shielded.

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::proof::{Checked, Proof, differs};
use super::scope::{Tenancy, Test};
use super::select::conjuncts;
use super::silent::Clause;
use crate::isolate::remedy::{Condition, Remedy};

impl Proof<'_> {
    /// The conjunct in a shield, if this is one; `original` is the client's.
    pub(super) fn shielded<'n>(
        &mut self,
        original: &Node,
        rewritten: &'n Node,
    ) -> Checked<Option<&'n Node>> {
        let Some(NodeEnum::CaseExpr(case)) = &rewritten.node else {
            return Ok(None);
        };
        let [
            Node {
                node: Some(NodeEnum::CaseWhen(when)),
            },
        ] = case.args.as_slice()
        else {
            return Ok(None);
        };
        let terms = conjuncts(when.expr.as_deref());
        if !terms.first().is_some_and(|term| self.is_term(term)) {
            return Ok(None);
        }
        // From here on it is a shield, or nothing: no text of the client's holds a slot.
        let wrong = || differs("a shield");
        let pg::CaseExpr {
            xpr: None,
            casetype: 0,
            casecollid: 0,
            arg: None,
            args: _,
            defresult: None,
            location: _,
        } = &**case
        else {
            return Err(wrong());
        };
        let pg::CaseWhen {
            xpr: None,
            expr: Some(_),
            result: Some(result),
            location: _,
        } = &**when
        else {
            return Err(wrong());
        };
        let wanted = self.shield_tests(original).ok_or_else(wrong)?;
        let mut tests = Vec::new();
        for term in terms {
            tests.push(not_false(term).ok_or_else(wrong)?);
        }
        self.tests(&tests, &wanted)?;
        Ok(Some(result))
    }

    /// What may help against a conjunct that is not silent.
    pub(super) fn shield(
        &self,
        conjunct: usize,
        original: &Node,
        clause: Clause,
    ) -> Option<Remedy> {
        if self.views > 0 {
            // What is said of a shield is said of the client's text.
            return None;
        }
        let tests = self.shield_tests(original)?;
        let condition = match clause {
            Clause::On(right) => Condition::On(right?),
            Clause::Where => Condition::Where(tests.first()?.at?),
            Clause::Content | Clause::Having => return None,
        };
        Some(Remedy::Shield {
            condition,
            conjunct,
        })
    }

    /// The tests that a shield of this conjunct must hold; none where it would not be enough.
    fn shield_tests(&self, conjunct: &Node) -> Option<Vec<Test>> {
        let level = self.levels.last()?;
        if level.lateral == Tenancy::Scoped {
            return None;
        }
        let mut tests = Vec::new();
        for item in &level.items {
            if item.tenancy == Tenancy::Free {
                continue;
            }
            let name = item.name.as_ref()?;
            let mut of = level.direct.iter().filter(|test| test.alias == *name);
            match (of.next(), of.next()) {
                (Some(test), None) if test.not_null => tests.push(test.clone()),
                (None, None) if self.names_others_than(item, conjunct) => {}
                (None | Some(_), _) => return None,
            }
        }
        (!tests.is_empty()).then_some(tests)
    }

    /// Whether this is `(.. operator slot) IS NOT FALSE`.
    fn is_term(&self, term: &Node) -> bool {
        let Some(test) = not_false(term) else {
            return false;
        };
        let Some(NodeEnum::AExpr(operation)) = &test.node else {
            return false;
        };
        let Some(Some(NodeEnum::TypeCast(cast))) = operation.rexpr.as_ref().map(|slot| &slot.node)
        else {
            return false;
        };
        match cast.arg.as_ref().map(|arg| &arg.node) {
            Some(Some(NodeEnum::ParamRef(parameter))) => !self.is_clients(parameter.number),
            Some(_) | None => false,
        }
    }
}

/// What is tested by IS NOT FALSE.
fn not_false(term: &Node) -> Option<&Node> {
    let Some(NodeEnum::BooleanTest(test)) = &term.node else {
        return None;
    };
    let pg::BooleanTest {
        xpr: None,
        arg: Some(arg),
        booltesttype,
        location: _,
    } = &**test
    else {
        return None;
    };
    (*booltesttype == i32::from(pg::BoolTestType::IsNotFalse)).then_some(&**arg)
}
