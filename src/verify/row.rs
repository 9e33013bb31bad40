//! Whole rows of a table that stands without a fence. They hold the tenant column, so nobody gets them
//! but a function that the policy trusts with rows of this very table: `f(c)`, or `c.f`.
//!
//! And `tableoid::regclass`: which partition a row is in.

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::bare;
use super::expression::{reference, sent_as};
use super::proof::{Checked, Pair, Proof, column_path, differs, is_plain_type, path, unsupported};
use super::scope::{self, Extent, Item, Reference};
use super::types;
use crate::catalog::{Oid, RelationKind, RelationName, SYSTEM_COLUMNS, Type};
use crate::tenant::Class;

/// Types within types: more than this are not followed.
const TYPES_MAX: usize = 16;

impl Proof<'_> {
    /// Whether the one argument of a call is a whole row, and the function is trusted with it.
    pub(super) fn is_row_call(&self, original: &pg::FuncCall) -> bool {
        let [argument] = original.args.as_slice() else {
            return false;
        };
        let (Some(column), Some(names)) = (column_path(argument), path(&original.funcname)) else {
            return false;
        };
        let [alias] = column.as_slice() else {
            return false;
        };
        let is_column = self
            .levels
            .iter()
            .flat_map(|level| &level.items)
            .any(|item| {
                item.extent == Extent::Open
                    || item.columns.iter().any(|column| column.name == *alias)
            });
        let (schema, function) = match names.as_slice() {
            [function] => (None, *function),
            [schema, function] => (Some(*schema), *function),
            _ => return false,
        };
        !is_column
            && self
                .row_of(alias)
                .is_some_and(|(_, row)| self.takes_row(schema, function, row).is_some())
    }

    /// Refuses a call of a function that is trusted with rows of a table: a row that the client makes up could
    /// name any tenant.
    pub(super) fn takes_no_row(&self, call: &pg::FuncCall) -> Checked {
        let names = path(&call.funcname).unwrap_or_default();
        let Some(function) = names.last() else {
            return Err(differs("a function's name"));
        };
        let mut arguments = self
            .catalog()
            .functions_named(function)
            .flat_map(|found| &found.arguments);
        if arguments.any(|argument| self.is_row_of_tenants(argument)) {
            let function = names.join(".");
            let what = format!("function {function} on anything but the row of a table in FROM");
            return Err(unsupported(&what));
        }
        Ok(())
    }

    /// Whether a type, as `format_type` prints it, is that of rows that are not common to all, or of arrays of
    /// them.
    fn is_row_of_tenants(&self, type_name: &str) -> bool {
        let plain = type_name.replace('"', "");
        let element = plain.trim_end_matches("[]");
        let is_named = |found: &Type| {
            let name = format!("{}.{}", found.schema, found.name);
            name.replace('"', "") == element
        };
        let mut types = self.catalog().types.iter();
        types.any(|found| is_named(found) && self.holds_rows_of_tenants(found.oid, 0))
    }

    /// The same of a type, which may be a domain, an array or a composite type that holds such rows.
    fn holds_rows_of_tenants(&self, type_oid: Oid, depth: usize) -> bool {
        let catalog = self.catalog();
        if depth > TYPES_MAX {
            return true;
        }
        let type_oid = types::base(catalog, type_oid);
        if let Some(element) = types::element(catalog, type_oid) {
            return self.holds_rows_of_tenants(element, depth + 1);
        }
        let mut relations = catalog.relations.iter();
        let Some(relation) = relations.find(|it| it.row_type == type_oid && type_oid != 0) else {
            return false;
        };
        if relation.kind == RelationKind::CompositeType {
            let mut columns = relation.columns.iter();
            return columns.any(|column| self.holds_rows_of_tenants(column.type_oid, depth + 1));
        }
        !matches!(self.classified().class(relation), Class::Shared { .. })
    }

    /// Compares `c.f` with `schema.f(c)`, which PostgreSQL takes it for where `f` is no column.
    pub(super) fn column_notation(
        &mut self,
        original: &pg::ColumnRef,
        rewritten: &pg::FuncCall,
    ) -> Checked {
        let wrong = || differs("a column reference");
        let Some(Reference {
            schema: None,
            table: Some(alias),
            column: Some(function),
        }) = reference(&original.fields)
        else {
            return Err(wrong());
        };
        let (item, row) = self.row_of(alias).ok_or_else(wrong)?;
        let is_column = item.extent == Extent::Open
            || item.hidden.as_deref() == Some(function)
            || item.columns.iter().any(|column| column.name == function)
            || SYSTEM_COLUMNS.contains(&function);
        if is_column {
            return Err(wrong());
        }
        let schema = self.takes_row(None, function, row).ok_or_else(wrong)?;
        let names = |parts: &[&str]| parts.iter().map(|part| name(part)).collect();
        let column = pg::ColumnRef {
            fields: names(&[alias]),
            location: 0,
        };
        let call = pg::FuncCall {
            funcname: names(&[schema.as_str(), function]),
            args: vec![Node {
                node: Some(NodeEnum::ColumnRef(column)),
            }],
            funcformat: pg::CoercionForm::CoerceExplicitCall.into(),
            ..pg::FuncCall::default()
        };
        let sent = NodeEnum::FuncCall(Box::new(rewritten.clone()));
        if bare::same(&NodeEnum::FuncCall(Box::new(call)), &sent)? {
            Ok(())
        } else {
            Err(wrong())
        }
    }

    /// The range entry of this name, and the table whose rows it gives, if it has no fence.
    fn row_of(&self, alias: &str) -> Option<(&Item, &RelationName)> {
        let item = scope::range_entry(&self.levels, None, alias).ok()?;
        item.hidden.as_ref()?;
        let is_item = |other: &Item| std::ptr::eq(other, item);
        let level = self
            .levels
            .iter()
            .find(|level| level.items.iter().any(is_item))?;
        let mut tests = level.direct.iter().filter(|test| test.alias == alias);
        match (tests.next(), tests.next()) {
            (Some(test), None) => Some((item, &test.relation)),
            (None | Some(_), _) => None,
        }
    }

    /// The schema of the function of this name, if there is one only, it takes one row of this table and
    /// nothing else, and it is trusted.
    fn takes_row(
        &self,
        schema: Option<&str>,
        function: &str,
        row: &RelationName,
    ) -> Option<String> {
        let catalog = self.catalog();
        let mut named = catalog.functions_named(function);
        let (Some(found), None) = (named.next(), named.next()) else {
            return None;
        };
        let is_found = match schema {
            Some(schema) => schema == found.schema,
            None => {
                catalog.search_path.contains(&found.schema)
                    && !catalog.system_functions.contains(function)
            }
        };
        let takes = found.arguments == [format!("{}.{}", row.schema, row.name)];
        let trusted = self.classified().trusts_function(&found.schema, function);
        (is_found && takes && trusted).then(|| found.schema.clone())
    }

    /// Recognises `tableoid::regclass` of a table without a fence.
    pub(super) fn names_table(
        &self,
        (original, rewritten): Pair<'_, pg::TypeCast>,
    ) -> Checked<bool> {
        let (Some(type_name), Some(Some(NodeEnum::ColumnRef(column)))) = (
            &original.type_name,
            original.arg.as_ref().map(|arg| &arg.node),
        ) else {
            return Ok(false);
        };
        let is_regclass = matches!(
            path(&type_name.names).as_deref(),
            Some(["regclass"] | ["pg_catalog", "regclass"])
        ) && type_name.typmods.is_empty()
            && type_name.array_bounds.is_empty()
            && !type_name.setof;
        let Some(named) = reference(&column.fields).filter(|_| is_regclass) else {
            return Ok(false);
        };
        let Some("tableoid") = named.column else {
            return Ok(false);
        };
        let item = match (named.table, self.levels.last()) {
            (Some(table), _) => scope::range_entry(&self.levels, named.schema, table).ok(),
            (None, Some(level)) => match level.items.as_slice() {
                [item] if level.readable().is_ok() => Some(item),
                _ => None,
            },
            (None, None) => None,
        };
        let is_table = item.is_some_and(|item| {
            let is_own = item.hidden.is_some() && item.sent.is_none();
            is_own && item.columns.iter().all(|column| column.name != "tableoid")
        });
        if !is_table {
            return Ok(false);
        }
        let (Some(sent_type), Some(Some(NodeEnum::ColumnRef(sent)))) = (
            &rewritten.type_name,
            rewritten.arg.as_ref().map(|arg| &arg.node),
        ) else {
            return Err(differs("a cast"));
        };
        if !is_plain_type(sent_type, "regclass") {
            return Err(differs("a cast"));
        }
        sent_as((&column.fields, &sent.fields), named)?;
        Ok(true)
    }
}

fn name(part: &str) -> Node {
    let sval = part.to_owned();
    Node {
        node: Some(NodeEnum::String(pg::String { sval })),
    }
}
