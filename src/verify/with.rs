//! WITH, in lockstep.

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::proof::{
    Checked, Pair, Proof, VisibleCte, absent, anywhere, both, differs, empty, equal, path,
    unchanged,
};
use super::scope::Output;
use super::select::renamed;
use super::types::{self, Value};

impl Proof<'_> {
    /// Compares WITH, and makes its queries visible.
    pub(super) fn with(&mut self, pair: Pair<'_, Option<pg::WithClause>>) -> Checked {
        let (original, rewritten) = match pair {
            (Some(original), Some(rewritten)) => (original, rewritten),
            (None, None) => return Ok(()),
            (Some(_), None) | (None, Some(_)) => return Err(differs("WITH")),
        };
        both!(WithClause, original, rewritten, { ctes, recursive, location });
        anywhere(location);
        equal(recursive, "RECURSIVE")?;
        if ctes.0.len() != ctes.1.len() {
            return Err(differs("WITH"));
        }
        let first = self.ctes.len();
        let mut pairs = Vec::new();
        for (original, rewritten) in ctes.0.iter().zip(ctes.1) {
            let (Some(NodeEnum::CommonTableExpr(o)), Some(NodeEnum::CommonTableExpr(r))) =
                (&original.node, &rewritten.node)
            else {
                return Err(differs("WITH"));
            };
            if *recursive.0 {
                // Each can be seen by all; what it gives is known once it was walked.
                self.ctes.push(VisibleCte::of(o));
            }
            pairs.push((o, r));
        }
        for (index, (original, rewritten)) in pairs.into_iter().enumerate() {
            let index = first + index;
            let output = self.common_table(original, rewritten, recursive.0.then_some(index))?;
            if !*recursive.0 {
                self.ctes.push(VisibleCte::of(original));
            }
            if let Some(cte) = self.ctes.get_mut(index) {
                cte.output = Some(output);
            }
        }
        Ok(())
    }

    fn common_table(
        &mut self,
        original: &pg::CommonTableExpr,
        rewritten: &pg::CommonTableExpr,
        recursive: Option<usize>,
    ) -> Checked<Output> {
        both!(CommonTableExpr, original, rewritten, {
            ctename, aliascolnames, ctematerialized, ctequery, search_clause, cycle_clause,
            location, cterecursive, cterefcount, ctecolnames, ctecoltypes, ctecoltypmods,
            ctecolcollations
        });
        anywhere(location);
        equal(ctename, "a common table expression's name")?;
        unchanged(aliascolnames, "a common table expression's columns")?;
        equal(ctematerialized, "MATERIALIZED")?;
        absent(search_clause, "SEARCH")?;
        absent(cycle_clause, "CYCLE")?;
        equal(cterecursive, "an analysed query")?;
        equal(cterefcount, "an analysed query")?;
        for list in [ctecolnames, ctecoltypes, ctecoltypmods, ctecolcollations] {
            empty(list, "an analysed query")?;
        }
        let (Some(original_query), Some(rewritten_query)) = ctequery else {
            return Err(differs("a common table expression"));
        };
        let (Some(o), Some(r)) = (&original_query.node, &rewritten_query.node) else {
            return Err(differs("a common table expression"));
        };
        self.recursive = recursive;
        let output = self.data_statement(o, r)?;
        self.recursive = None;
        let names = names_of(aliascolnames.0);
        let known = recursive
            .and_then(|index| self.ctes.get(index))
            .and_then(|cte| cte.output.as_ref());
        if let Some(known) = known {
            // Conditions are not pushed into a recursive query.
            return Ok(Output {
                columns: known.columns.clone(),
                ..output
            });
        }
        let materialized = i32::from(pg::CteMaterialize::Always);
        if *ctematerialized.0 == materialized {
            return Ok(settled(output, &names));
        }
        Ok(renamed(output, &names))
    }
}

impl VisibleCte {
    fn of(cte: &pg::CommonTableExpr) -> Self {
        Self {
            name: cte.ctename.clone(),
            names: names_of(&cte.aliascolnames),
            output: None,
        }
    }
}

fn names_of(nodes: &[Node]) -> Vec<String> {
    path(nodes)
        .unwrap_or_default()
        .into_iter()
        .map(str::to_owned)
        .collect()
}

/// What a query gives whose columns are computed before any condition around it: PostgreSQL pushes
/// no condition into it.
pub(super) fn settled(output: Output, names: &[String]) -> Output {
    let mut output = renamed(output, names);
    let loud = output.any_loud();
    for column in &mut output.columns {
        let value = column.value.clone();
        column.value = Ok(value.unwrap_or_else(|_| Value::varying(types::OPAQUE)));
    }
    Output { loud, ..output }
}
