//! WITH, in lockstep.

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::proof::{
    Checked, Pair, Proof, VisibleCte, anywhere, both, differs, empty, equal, path, unchanged,
    unsupported,
};
use super::scope::{Extent, Output, opaque_column, silent_column};
use super::select::renamed;
use super::types::{self, Column, Value};
use crate::catalog::oid;
use crate::isolate::refusal::Reason;

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
        let mut added = search_columns(search_clause)?;
        added.extend(self.cycle_columns(cycle_clause)?);
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
            // Rows are compared with one another as records, which not all types can be.
            let loud = (!added.is_empty()).then(|| {
                let what = "SEARCH or CYCLE".to_owned();
                Reason::not_silent(what).into()
            });
            let mut columns = known.columns.clone();
            columns.extend(added);
            return Ok(Output {
                columns,
                loud: output.loud.clone().or(loud),
                ..output
            });
        }
        if !added.is_empty() {
            return Err(unsupported("SEARCH or CYCLE of this query"));
        }
        let materialized = i32::from(pg::CteMaterialize::Always);
        if *ctematerialized.0 == materialized {
            return Ok(settled(output, &names));
        }
        Ok(renamed(output, &names))
    }

    /// Compares CYCLE. The two columns that it adds are computed from rows that were found.
    fn cycle_columns(
        &mut self,
        pair: Pair<'_, Option<Box<pg::CteCycleClause>>>,
    ) -> Checked<Vec<Column>> {
        let (original, rewritten) = match pair {
            (Some(original), Some(rewritten)) => (original, rewritten),
            (None, None) => return Ok(Vec::new()),
            (Some(_), None) | (None, Some(_)) => return Err(differs("CYCLE")),
        };
        both!(CteCycleClause, original, rewritten, {
            cycle_col_list, cycle_mark_column, cycle_mark_value, cycle_mark_default,
            cycle_path_column, location, cycle_mark_type, cycle_mark_typmod,
            cycle_mark_collation, cycle_mark_neop
        });
        anywhere(location);
        unchanged(cycle_col_list, "CYCLE")?;
        equal(cycle_mark_column, "CYCLE")?;
        self.optional(cycle_mark_value, "CYCLE")?;
        self.optional(cycle_mark_default, "CYCLE")?;
        equal(cycle_path_column, "CYCLE")?;
        for analysed in [cycle_mark_type, cycle_mark_collation, cycle_mark_neop] {
            equal(analysed, "an analysed query")?;
        }
        equal(cycle_mark_typmod, "an analysed query")?;
        let marks = [cycle_mark_value.0, cycle_mark_default.0];
        let mark = if marks.into_iter().all(|mark| is_truth(mark.as_deref())) {
            silent_column(cycle_mark_column.0, Value::varying(oid::BOOL))
        } else {
            opaque_column(cycle_mark_column.0, "a column of CYCLE")
        };
        let path = opaque_column(cycle_path_column.0, "a column of CYCLE");
        Ok(vec![mark, path])
    }
}

/// Whether this is TRUE or FALSE, which CYCLE marks with where it says nothing else.
fn is_truth(mark: Option<&Node>) -> bool {
    let mut mark = mark.and_then(|mark| mark.node.as_ref());
    if let Some(NodeEnum::TypeCast(cast)) = mark {
        let name = cast.type_name.as_ref().map(|name| name.names.as_slice());
        if path(name.unwrap_or_default()).as_deref() != Some(&["pg_catalog", "bool"]) {
            return false;
        }
        mark = cast.arg.as_ref().and_then(|arg| arg.node.as_ref());
    }
    matches!(
        mark,
        Some(NodeEnum::AConst(pg::AConst {
            val: Some(pg::a_const::Val::Boolval(_)),
            ..
        }))
    )
}

/// Compares SEARCH. The column that it adds is computed from rows that were found.
fn search_columns(pair: Pair<'_, Option<pg::CteSearchClause>>) -> Checked<Vec<Column>> {
    let (original, rewritten) = match pair {
        (Some(original), Some(rewritten)) => (original, rewritten),
        (None, None) => return Ok(Vec::new()),
        (Some(_), None) | (None, Some(_)) => return Err(differs("SEARCH")),
    };
    both!(CteSearchClause, original, rewritten, {
        search_col_list, search_breadth_first, search_seq_column, location
    });
    anywhere(location);
    unchanged(search_col_list, "SEARCH")?;
    equal(search_breadth_first, "SEARCH")?;
    equal(search_seq_column, "SEARCH")?;
    let column = opaque_column(search_seq_column.0, "a column of SEARCH");
    Ok(vec![column])
}

impl VisibleCte {
    fn of(cte: &pg::CommonTableExpr) -> Self {
        let has_more = cte.search_clause.is_some() || cte.cycle_clause.is_some();
        Self {
            name: cte.ctename.clone(),
            names: names_of(&cte.aliascolnames),
            // The recursive part sees the columns that SEARCH and CYCLE add, but not in `*`.
            inside: if has_more {
                Extent::Open
            } else {
                Extent::Complete
            },
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
