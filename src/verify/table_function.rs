//! Functions in FROM, in lockstep: one, several in ROWS FROM, and the columns that they have.

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::from::strings;
use super::names;
use super::proof::{Checked, Pair, Proof, both, differs, equal, path, unsupported};
use super::scope::{
    Exposed, Extent, Item, Locks, SystemColumns, Tenancy, opaque_column, silent_column,
};
use super::select::rename;
use super::types::{self, Column, Value};
use crate::catalog::oid;

impl Proof<'_> {
    /// A function in FROM. What columns it has is known of some.
    pub(super) fn table_function(
        &mut self,
        original: &pg::RangeFunction,
        rewritten: &pg::RangeFunction,
    ) -> Checked<Exposed> {
        both!(RangeFunction, original, rewritten, {
            lateral, ordinality, is_rowsfrom, functions, alias, coldeflist
        });
        equal(lateral, "LATERAL")?;
        equal(ordinality, "WITH ORDINALITY")?;
        equal(is_rowsfrom, "ROWS FROM")?;
        equal(alias, "the alias of a function")?;
        if functions.0.len() != functions.1.len() {
            return Err(differs("ROWS FROM"));
        }
        let mut called = Vec::new();
        for (original, rewritten) in functions.0.iter().zip(functions.1) {
            called.push(self.function_item(original, rewritten)?);
        }
        let defined = self.column_definitions(coldeflist)?;
        let (alias, names) = match alias.0 {
            Some(alias) => (Some(alias.aliasname.clone()), strings(&alias.colnames)),
            None => (None, Vec::new()),
        };
        let (mut columns, mut extent) = match called.as_slice() {
            [
                Called {
                    name,
                    value: Some(value),
                    ..
                },
            ] => {
                let name = alias.as_deref().unwrap_or(name);
                (vec![silent_column(name, value.clone())], Extent::Complete)
            }
            [
                Called {
                    name,
                    defined: None,
                    ..
                },
            ] if coldeflist.0.is_empty() => function_columns(name, alias.as_deref()),
            [Called { defined: None, .. }] => (defined, Extent::Complete),
            _ => side_by_side(&called),
        };
        if extent == Extent::Open {
            columns = names
                .iter()
                .map(|name| opaque_column(name, FUNCTION_COLUMN))
                .collect();
        } else if *ordinality.0 {
            columns.push(silent_column("ordinality", Value::varying(oid::INT8)));
        }
        if columns.len() < names.len() {
            extent = Extent::Open;
        }
        rename(&mut columns, &names);
        let item = Item {
            name: alias.or_else(|| called.first().map(|called| called.name.clone())),
            relation: None,
            columns,
            extent,
            merged: Vec::new(),
            hidden: None,
            tenancy: Tenancy::Free,
            locks: Locks::Own,
            sent: None,
            system: SystemColumns::Absent,
            key: None,
        };
        Ok(self.level()?.add(item))
    }

    fn function_item(&mut self, original: &Node, rewritten: &Node) -> Checked<Called> {
        let (Some(NodeEnum::List(o)), Some(NodeEnum::List(r))) = (&original.node, &rewritten.node)
        else {
            return Err(differs("a function in FROM"));
        };
        let ([call, definitions], [sent, sent_definitions]) =
            (o.items.as_slice(), r.items.as_slice())
        else {
            return Err(differs("a function in FROM"));
        };
        let defined = match (&definitions.node, &sent_definitions.node) {
            (Some(NodeEnum::List(o)), Some(NodeEnum::List(r))) => {
                Some(self.column_definitions((&o.items, &r.items))?)
            }
            (None, None) => None,
            _ => return Err(differs("a column definition list")),
        };
        let Some(NodeEnum::FuncCall(function)) = &call.node else {
            return Err(unsupported("this expression in FROM"));
        };
        let columns = if defined.is_none() && is_side_by_side(function) {
            self.expression(call, &qualified_unnest(sent)?)?;
            let arrays = function.args.iter();
            let columns = arrays.map(|array| match self.element_of(array) {
                Some(value) => silent_column("unnest", value),
                None => opaque_column("unnest", FUNCTION_COLUMN),
            });
            Some(columns.collect())
        } else {
            self.expression(call, sent)?;
            defined
        };
        // In a sub-select of a condition it is called for rows of every tenant.
        let loud = super::silent::loud("a function in FROM", call);
        self.level()?.loud_content.get_or_insert(loud);
        let value = match &columns {
            None => self.value_of(function),
            Some(_) => None,
        };
        let name = path(&function.funcname).and_then(|names| names.last().copied());
        Ok(Called {
            name: name.unwrap_or_default().to_owned(),
            value,
            defined: columns,
        })
    }

    /// The value of the one column of a call, where its arguments tell.
    fn value_of(&mut self, call: &pg::FuncCall) -> Option<Value> {
        let plain = pg::FuncCall {
            funcname: call.funcname.clone(),
            args: call.args.clone(),
            funcformat: call.funcformat,
            location: call.location,
            ..pg::FuncCall::default()
        };
        let name = match path(&call.funcname)?.as_slice() {
            [name] | ["pg_catalog", name] if *call == plain => *name,
            _ => return None,
        };
        match (name, call.args.as_slice()) {
            ("unnest", [array]) => self.element_of(array),
            ("generate_series", [from, to]) => self.number_of([from, to]),
            ("generate_series", [from, to, step]) => self.number_of([from, to, step]),
            _ => None,
        }
    }

    /// An element of an array.
    fn element_of(&mut self, array: &Node) -> Option<Value> {
        let array = self.silent_value(array).ok()?;
        Some(Value {
            collation: array.collation,
            ..Value::varying(types::element(self.catalog(), array.oid)?)
        })
    }

    /// A number of a series between integers.
    fn number_of<const COUNT: usize>(&mut self, bounds: [&Node; COUNT]) -> Option<Value> {
        let mut wide = false;
        for bound in bounds {
            match self.silent_value(bound).ok()?.oid {
                oid::INT4 => {}
                oid::INT8 => wide = true,
                _ => return None,
            }
        }
        Some(Value::varying(if wide { oid::INT8 } else { oid::INT4 }))
    }

    fn column_definitions(&mut self, pair: Pair<'_, Vec<Node>>) -> Checked<Vec<Column>> {
        let mut columns = Vec::new();
        if pair.0.len() != pair.1.len() {
            return Err(differs("a column definition list"));
        }
        for (original, rewritten) in pair.0.iter().zip(pair.1) {
            let (Some(NodeEnum::ColumnDef(o)), Some(NodeEnum::ColumnDef(r))) =
                (&original.node, &rewritten.node)
            else {
                return Err(differs("a column definition list"));
            };
            let (mut bare_original, mut bare_rewritten) = ((**o).clone(), (**r).clone());
            let type_names = (
                bare_original.type_name.take(),
                bare_rewritten.type_name.take(),
            );
            bare_original.location = 0;
            bare_rewritten.location = 0;
            let plain = pg::ColumnDef {
                colname: o.colname.clone(),
                is_local: o.is_local,
                ..pg::ColumnDef::default()
            };
            equal((&bare_original, &bare_rewritten), "a column definition")?;
            if bare_original != plain {
                return Err(unsupported("a column definition with more than a type"));
            }
            let (Some(original), Some(rewritten)) = type_names else {
                return Err(differs("a column definition"));
            };
            let type_oid = self.type_name(&original, &rewritten)?;
            let value = Value::varying(types::base(self.catalog(), type_oid));
            columns.push(silent_column(&o.colname, value));
        }
        Ok(columns)
    }
}

const FUNCTION_COLUMN: &str = "a function's column";

/// Whether this is `unnest(array, array, ..)`, which PostgreSQL takes for one call of `pg_catalog.unnest` for
/// each array, side by side, if the name stands alone (`transformRangeFunction`).
fn is_side_by_side(call: &pg::FuncCall) -> bool {
    path(&call.funcname).is_some_and(|names| names == ["unnest"])
        && call.args.len() > 1
        && call.agg_order.is_empty()
        && call.agg_filter.is_none()
        && call.over.is_none()
        && !call.agg_within_group
        && !call.agg_star
        && !call.agg_distinct
        && !call.func_variadic
}

/// The call as it would be sent of one array: with its schema.
fn qualified_unnest(sent: &Node) -> Checked<Node> {
    let Some(NodeEnum::FuncCall(call)) = &sent.node else {
        return Err(differs("a function in FROM"));
    };
    if !is_side_by_side(call) {
        return Err(differs("a function's name"));
    }
    let name = |name: &str| Node {
        node: Some(NodeEnum::String(pg::String {
            sval: name.to_owned(),
        })),
    };
    Ok(Node {
        node: Some(NodeEnum::FuncCall(Box::new(pg::FuncCall {
            funcname: vec![name("pg_catalog"), name("unnest")],
            ..(**call).clone()
        }))),
    })
}

/// A function in FROM.
struct Called {
    /// Its name.
    name: String,
    /// The value of its one column, where that is known.
    value: Option<Value>,
    /// Its columns, where ROWS FROM or its form says what they are.
    defined: Option<Vec<Column>>,
}

/// The columns of several functions in ROWS FROM.
fn side_by_side(called: &[Called]) -> (Vec<Column>, Extent) {
    let mut columns = Vec::new();
    for function in called {
        match &function.defined {
            Some(defined) => columns.extend(defined.iter().cloned()),
            None if function.value.is_some() => {
                let value = function.value.clone();
                columns.extend(value.map(|value| silent_column(&function.name, value)));
            }
            None => match function_columns(&function.name, None) {
                (known, Extent::Complete) => columns.extend(known),
                (_, Extent::Open) => return (Vec::new(), Extent::Open),
            },
        }
    }
    (columns, Extent::Complete)
}

/// What is known of the columns of one function in FROM.
fn function_columns(name: &str, alias: Option<&str>) -> (Vec<Column>, Extent) {
    let Some(listed) = names::listed(name) else {
        return (Vec::new(), Extent::Open);
    };
    let column = |name: &str| {
        if listed.is("srf") {
            silent_column(name, Value::varying(types::OPAQUE))
        } else {
            opaque_column(name, FUNCTION_COLUMN)
        }
    };
    if let Some(names) = listed.columns() {
        return (names.into_iter().map(column).collect(), Extent::Complete);
    }
    if listed.is("scalar") {
        return (vec![column(alias.unwrap_or(name))], Extent::Complete);
    }
    (Vec::new(), Extent::Open)
}
