//! TABLESAMPLE, in lockstep: a tenant's table is sampled inside its fence.
//!
//! # Invariants
//! 1. The method is one that looks at no row's content, and its arguments are constants.

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::from::Side;
use super::proof::{
    Checked, Proof, anywhere, both, differs, path, position, unchanged, unsupported,
};
use super::scope::Exposed;
use super::view::no_sample;
use crate::isolate::refusal::Reason;

impl Proof<'_> {
    /// Compares a sample of a table with what is sent for it: a sample of a shared table, or a fence
    /// that reads from the sample.
    #[expect(clippy::wildcard_enum_match_arm, reason = "anything else is refused")]
    pub(super) fn sampled(
        &mut self,
        original: &pg::RangeTableSample,
        rewritten: &NodeEnum,
    ) -> Checked<Exposed> {
        let wrong = || differs("TABLESAMPLE");
        let (sent, rest) = match rewritten {
            NodeEnum::RangeTableSample(sent) => {
                let table = sent.relation.as_ref().and_then(|table| table.node.clone());
                (sent.clone(), table.ok_or_else(wrong)?)
            }
            NodeEnum::RangeSubselect(fence) => unsampled(fence).ok_or_else(wrong)?,
            _ => return Err(wrong()),
        };
        self.sample(original, &sent)?;
        // Its arguments are looked at when rows are asked for.
        self.level()?.loud_content.get_or_insert_with(|| {
            let what = "TABLESAMPLE".to_owned();
            Reason::not_silent(what).into()
        });
        match original.relation.as_ref().map(|table| &table.node) {
            Some(Some(NodeEnum::RangeVar(table))) if self.view(table).is_some() => {
                Err(no_sample(position((&table.location, &table.location))))
            }
            Some(Some(NodeEnum::RangeVar(table))) => {
                self.range_variable(table, &rest, Side::Fenced)
            }
            Some(_) | None => Err(wrong()),
        }
    }

    fn sample(
        &mut self,
        original: &pg::RangeTableSample,
        rewritten: &pg::RangeTableSample,
    ) -> Checked {
        both!(RangeTableSample, original, rewritten, {
            relation, method, args, repeatable, location
        });
        anywhere(location);
        if relation.0.is_none() || relation.1.is_none() {
            return Err(differs("TABLESAMPLE"));
        }
        unchanged(method, "the method of TABLESAMPLE")?;
        // Others may give rows until they have enough, which tells how many are not the tenant's.
        let is_known = matches!(
            path(method.0).as_deref(),
            Some(["bernoulli" | "system"] | ["pg_catalog", "bernoulli" | "system"])
        );
        if !is_known {
            return Err(unsupported("this method of TABLESAMPLE"));
        }
        constants(args.0)?;
        self.expressions(args, "the arguments of TABLESAMPLE")?;
        if let Some(seed) = repeatable.0 {
            constants(std::slice::from_ref(&**seed))?;
        }
        self.optional(repeatable, "REPEATABLE")
    }
}

/// The sample within a fence, and the fence without it.
fn unsampled(fence: &pg::RangeSubselect) -> Option<(Box<pg::RangeTableSample>, NodeEnum)> {
    let mut fence = fence.clone();
    let Some(NodeEnum::SelectStmt(select)) = &mut fence.subquery.as_mut()?.node else {
        return None;
    };
    let [Node { node: from }] = select.from_clause.as_mut_slice() else {
        return None;
    };
    let Some(NodeEnum::RangeTableSample(sample)) = from.take() else {
        return None;
    };
    from.clone_from(&sample.relation.as_ref()?.node);
    Some((sample, NodeEnum::RangeSubselect(Box::new(fence))))
}

/// Refuses arguments that could depend on a row.
fn constants(original: &[Node]) -> Checked {
    let is_constant =
        |node: &Node| matches!(node.node, Some(NodeEnum::AConst(_) | NodeEnum::ParamRef(_)));
    if original.iter().all(is_constant) {
        Ok(())
    } else {
        Err(unsupported(
            "an argument of TABLESAMPLE that is no constant",
        ))
    }
}
