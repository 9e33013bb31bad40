//! Values of a table's row type, which has the tenant column in it: a NULL, or what
//! `json_populate_record` makes of one. They are no rows of anybody's; but the application must not see
//! the column, so it gets nothing but the columns that it knows, one by one.

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::from::{nothing_else, strings};
use super::proof::{
    Checked, Pair, Proof, anywhere, both, column_path, differs, equal, path, position, refuse,
};
use super::scope::{Exposed, Tenancy, opaque_column};
use super::silent::{location, loud};
use super::targets::Walk;
use crate::catalog::{Relation, Type, TypeKind};
use crate::isolate::refusal::Reason;
use crate::tenant::Class;

/// Functions of `pg_catalog` that give a row of the type of their first argument.
const OF_ONE: [&str; 2] = ["json_populate_record", "jsonb_populate_record"];

/// Functions that give several.
const OF_SEVERAL: [&str; 2] = ["json_populate_recordset", "jsonb_populate_recordset"];

/// Why a column of such a row is not known.
const WHAT: &str = "a field of a row type";

impl<'a> Proof<'a> {
    /// The table whose row type an expression has, if it is one of these.
    pub(super) fn row_typed(&self, original: &Node) -> Option<&'a Relation> {
        self.null_row(original)
            .or_else(|| self.populated(original, &OF_ONE))
    }

    /// `NULL::table`
    fn null_row(&self, original: &Node) -> Option<&'a Relation> {
        let Some(NodeEnum::TypeCast(cast)) = &original.node else {
            return None;
        };
        let is_null = |arg: &Node| match &arg.node {
            Some(NodeEnum::AConst(constant)) => constant.isnull,
            Some(_) | None => false,
        };
        cast.arg.as_deref().filter(|arg| is_null(arg))?;
        let name = cast.type_name.as_ref()?;
        let plain = name.typmods.is_empty() && name.array_bounds.is_empty() && !name.setof;
        let parts = path(&name.names).filter(|_| plain)?;
        let found = match parts.as_slice() {
            [name] => self.catalog().resolve_type(None, name)?,
            [schema, name] => self.catalog().resolve_type(Some(schema), name)?,
            _ => return None,
        };
        self.table_of_type(found)
    }

    /// The table that a type is the row of, if tenants may make such values.
    fn table_of_type(&self, found: &Type) -> Option<&'a Relation> {
        if found.kind != TypeKind::Composite || !self.classified().trusts_type(found) {
            return None;
        }
        let relation = self.catalog().relation(&found.schema, &found.name)?;
        let is_open = match self.classified().class(relation) {
            Class::Scoped(_) | Class::Shared { .. } => true,
            Class::Refused(_) => false,
        };
        let is_made = |oid| {
            let column_type = self.catalog().type_by_oid(oid);
            column_type.is_some_and(|column_type| self.is_allowed(column_type, 0))
        };
        let columns = &relation.columns;
        (is_open && columns.iter().all(|column| is_made(column.type_oid))).then_some(relation)
    }

    /// `json_populate_record(NULL::table, ..)`
    fn populated(&self, original: &Node, functions: &[&str]) -> Option<&'a Relation> {
        let Some(NodeEnum::FuncCall(call)) = &original.node else {
            return None;
        };
        let is_one = match path(&call.funcname)?.as_slice() {
            [name] | ["pg_catalog", name] => functions.contains(name),
            _ => false,
        };
        let plain = pg::FuncCall {
            funcname: call.funcname.clone(),
            args: call.args.clone(),
            funcformat: pg::CoercionForm::CoerceExplicitCall.into(),
            location: call.location,
            ..pg::FuncCall::default()
        };
        match call.args.as_slice() {
            [row, _] if is_one && **call == plain => self.null_row(row),
            _ => None,
        }
    }

    /// Compares two such expressions.
    fn same_row(&mut self, (original, rewritten): Pair<'_, Node>, row: &Relation) -> Checked {
        match (&original.node, &rewritten.node) {
            (Some(NodeEnum::TypeCast(o)), Some(NodeEnum::TypeCast(r))) => {
                both!(TypeCast, o, r, { arg, type_name, location });
                anywhere(location);
                let (Some(original), Some(sent)) = type_name else {
                    return Err(differs("a cast"));
                };
                let plain = pg::TypeName {
                    names: sent.names.clone(),
                    location: sent.location,
                    ..original.clone()
                };
                let name = [row.name.schema.as_str(), row.name.name.as_str()];
                if *sent != plain || path(&sent.names).as_deref() != Some(&name) {
                    return Err(differs("a type's name"));
                }
                self.optional(arg, "the argument of a cast")
            }
            (Some(NodeEnum::FuncCall(o)), Some(NodeEnum::FuncCall(r))) => {
                both!(FuncCall, o, r, {
                    funcname, args, agg_order, agg_filter, over, agg_within_group, agg_star,
                    agg_distinct, func_variadic, funcformat, location
                });
                let at = position(location);
                self.function(funcname, at)?;
                let what = "the form of a function call";
                equal(agg_order, what)?;
                equal(agg_filter, what)?;
                equal(over, what)?;
                equal(agg_within_group, what)?;
                equal(agg_star, what)?;
                equal(agg_distinct, what)?;
                equal(func_variadic, what)?;
                equal(funcformat, what)?;
                let ([null, json], [sent_null, sent_json]) = (args.0.as_slice(), args.1.as_slice())
                else {
                    return Err(differs("the arguments of a function"));
                };
                self.same_row((null, sent_null), row)?;
                self.expression(json, sent_json)
            }
            _ => Err(differs("a row")),
        }
    }

    /// Compares `(row).column`, if this is such a row. A column that the application does not know does
    /// not exist.
    pub(super) fn field_of_row(
        &mut self,
        (original, rewritten): Pair<'_, pg::AIndirection>,
    ) -> Checked<bool> {
        let Some(row) = original.arg.as_deref().and_then(|arg| self.row_typed(arg)) else {
            return Ok(false);
        };
        let [
            Node {
                node: Some(NodeEnum::String(pg::String { sval: field })),
            },
        ] = original.indirection.as_slice()
        else {
            return Ok(false);
        };
        if !self
            .columns_of(row)
            .iter()
            .any(|column| column.name == *field)
        {
            let message = format!(
                "column \"{field}\" not found in data type {}",
                row.name.name
            );
            let sqlstate = "42703";
            let at = original.arg.as_deref().and_then(location);
            return Err(refuse(Reason::AsPostgres { sqlstate, message }, at));
        }
        equal((&original.indirection, &rewritten.indirection), "a field")?;
        match (&original.arg, &rewritten.arg) {
            (Some(original), Some(rewritten)) => self.same_row((original, rewritten), row)?,
            (_, _) => return Err(differs("a row")),
        }
        Ok(true)
    }

    /// Compares a target `(row).*`, if this is such a row, with its columns one by one.
    pub(super) fn expanded_row_type(
        &mut self,
        original: &pg::ResTarget,
        walk: &mut Walk<'_>,
    ) -> Checked<bool> {
        let Some(NodeEnum::AIndirection(selection)) =
            original.val.as_ref().and_then(|value| value.node.as_ref())
        else {
            return Ok(false);
        };
        let is_star = matches!(
            selection.indirection.as_slice(),
            [Node {
                node: Some(NodeEnum::AStar(_))
            }]
        );
        let value = selection.arg.as_deref().filter(|_| is_star);
        let Some((value, row)) = value.and_then(|value| Some((value, self.row_typed(value)?)))
        else {
            return Ok(false);
        };
        if !original.name.is_empty() || !original.indirection.is_empty() {
            return Err(differs("a target of this form"));
        }
        for column in self.columns_of(row) {
            let sent = walk.next_value()?;
            let Some(NodeEnum::AIndirection(sent)) = &sent.node else {
                return Err(differs("a target list"));
            };
            let pg::AIndirection { arg, indirection } = &**sent;
            if path(indirection).as_deref() != Some(&[column.name.as_str()]) {
                return Err(differs("a target list"));
            }
            let sent = arg.as_deref().ok_or_else(|| differs("a row"))?;
            self.same_row((value, sent), row)?;
            walk.columns.push(opaque_column(&column.name, WHAT));
        }
        Ok(true)
    }

    /// Compares such a function in FROM with `LATERAL (SELECT columns FROM function)`, if it is one.
    pub(super) fn rows_in_from(
        &mut self,
        original: &pg::RangeFunction,
        rewritten: &pg::RangeSubselect,
    ) -> Checked<Exposed> {
        let wrong = || differs("FROM");
        let (call, row) = self.called_in_from(original).ok_or_else(wrong)?;
        let pg::RangeSubselect {
            lateral: true,
            subquery: Some(query),
            alias: Some(alias),
        } = rewritten
        else {
            return Err(wrong());
        };
        let (name, names) = alias_of(original, call).ok_or_else(wrong)?;
        if alias.aliasname != name || strings(&alias.colnames) != names {
            return Err(differs("the alias of a function"));
        }
        let Some(NodeEnum::SelectStmt(select)) = &query.node else {
            return Err(wrong());
        };
        let (targets, from) = (&select.target_list, &select.from_clause);
        let plain = pg::SelectStmt {
            target_list: targets.clone(),
            from_clause: from.clone(),
            ..nothing_else()
        };
        let columns = self.columns_of(row);
        if **select != plain || targets.len() != columns.len() {
            return Err(wrong());
        }
        for (target, column) in targets.iter().zip(&columns) {
            if target_column(target) != Some(column.name.clone()) {
                return Err(differs("a fence's columns"));
            }
        }
        let [
            Node {
                node: Some(NodeEnum::RangeFunction(sent)),
            },
        ] = from.as_slice()
        else {
            return Err(wrong());
        };
        let sent_call = only_call(sent).filter(|_| sent.alias.is_none() && !sent.lateral);
        self.same_row((call, sent_call.ok_or_else(wrong)?), row)?;
        if names.len() > columns.len() {
            return Err(differs("the alias of a function"));
        }
        let range = pg::RangeVar {
            alias: Some(alias.clone()),
            location: -1,
            ..pg::RangeVar::default()
        };
        let item = self.item(&range, row, Tenancy::Free);
        // In a sub-select of a condition it is called for rows of every tenant.
        let loud = loud("a function in FROM", call);
        let level = self.level()?;
        level.loud_content.get_or_insert(loud);
        Ok(level.add(item))
    }

    /// The call, and the table whose rows it gives.
    fn called_in_from<'n>(
        &self,
        original: &'n pg::RangeFunction,
    ) -> Option<(&'n Node, &'a Relation)> {
        let call = only_call(original)?;
        let row = self
            .populated(call, &OF_ONE)
            .or_else(|| self.populated(call, &OF_SEVERAL))?;
        Some((call, row))
    }
}

/// The call that a function in FROM is, if it is nothing else.
fn only_call(function: &pg::RangeFunction) -> Option<&Node> {
    let pg::RangeFunction {
        lateral: _,
        ordinality: false,
        is_rowsfrom: false,
        functions,
        alias: _,
        coldeflist,
    } = function
    else {
        return None;
    };
    let [
        Node {
            node: Some(NodeEnum::List(pg::List { items })),
        },
    ] = functions.as_slice()
    else {
        return None;
    };
    match items.as_slice() {
        [call, Node { node: None }] if coldeflist.is_empty() => Some(call),
        [call] if coldeflist.is_empty() => Some(call),
        _ => None,
    }
}

/// The name of the range entry, and the column names that it lists.
fn alias_of(function: &pg::RangeFunction, call: &Node) -> Option<(String, Vec<String>)> {
    match (&function.alias, &call.node) {
        (Some(alias), _) => Some((alias.aliasname.clone(), strings(&alias.colnames))),
        (None, Some(NodeEnum::FuncCall(call))) => {
            let names = path(&call.funcname)?;
            Some(((*names.last()?).to_owned(), Vec::new()))
        }
        (None, _) => None,
    }
}

/// The column that a target is, if it is nothing else.
fn target_column(target: &Node) -> Option<String> {
    let Some(NodeEnum::ResTarget(target)) = &target.node else {
        return None;
    };
    let pg::ResTarget {
        name,
        indirection,
        val,
        location: _,
    } = &**target;
    let plain = name.is_empty() && indirection.is_empty();
    let path = column_path(val.as_deref().filter(|_| plain)?)?;
    match path.as_slice() {
        [column] => Some((*column).to_owned()),
        _ => None,
    }
}
