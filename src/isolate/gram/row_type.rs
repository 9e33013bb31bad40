//! Values of a table's row type: `(NULL::table).*`, and what `json_populate_record` makes of one in FROM.
//! Of both nothing is left but the columns that can be seen.

use pg_query::protobuf as pg;
use pg_query::protobuf::Token;
use pg_query::{Node, NodeEnum};

use super::name::parts;
use super::{Rewriter, Rewritten, lost};
use crate::catalog::Relation;
use crate::sql;

/// Functions that give a row of the type of their first argument.
const OF_ONE: [&str; 2] = ["json_populate_record", "jsonb_populate_record"];

/// Functions that give several.
const OF_SEVERAL: [&str; 2] = ["json_populate_recordset", "jsonb_populate_recordset"];

impl<'a> Rewriter<'a> {
    /// `(row).*` as a target becomes one target for each column. Whether it was one.
    pub(super) fn expanded_row_type(&mut self, target: &pg::ResTarget) -> Rewritten<bool> {
        let Some((row, relation)) = self.star_of_row(target) else {
            return Ok(false);
        };
        self.node(row)?;
        let start = self.words.at(target.location)?;
        let end = self.words.behind_group(start)?;
        if !self.words.is(end, Token::Ascii46) {
            return Err(lost("a row"));
        }
        let text = self.edits.cut(self.words, start..end)?;
        let columns = self.names_of(relation).into_iter();
        let columns: Vec<String> = columns.map(|name| format!("{text}.{name}")).collect();
        self.edits.replace(start..end + 2, columns.join(", "));
        Ok(true)
    }

    fn star_of_row<'n>(&self, target: &'n pg::ResTarget) -> Option<(&'n Node, &'a Relation)> {
        let NodeEnum::AIndirection(selection) = target.val.as_ref()?.node.as_ref()? else {
            return None;
        };
        let row = selection.arg.as_deref()?;
        match selection.indirection.as_slice() {
            [
                Node {
                    node: Some(NodeEnum::AStar(_)),
                },
            ] => Some((row, self.row_typed(row)?)),
            _ => None,
        }
    }

    /// How many columns `(row).*` is.
    pub(super) fn width_of_row(&self, target: &pg::ResTarget) -> Option<usize> {
        let (_, relation) = self.star_of_row(target)?;
        Some(self.columns_of(relation).len())
    }

    /// How many columns such a function in FROM has.
    pub(super) fn width_in_from(&self, function: &pg::RangeFunction) -> Option<usize> {
        let (_, _, relation) = self.called_in_from(function)?;
        Some(self.columns_of(relation).len())
    }

    fn called_in_from<'n>(
        &self,
        function: &'n pg::RangeFunction,
    ) -> Option<(&'n Node, &'n pg::FuncCall, &'a Relation)> {
        let [
            Node {
                node: Some(NodeEnum::List(item)),
            },
        ] = function.functions.as_slice()
        else {
            return None;
        };
        let node = item.items.first()?;
        let relation = self.populated(node, &[OF_ONE, OF_SEVERAL].concat())?;
        let plain = !function.is_rowsfrom && !function.ordinality;
        match &node.node {
            Some(NodeEnum::FuncCall(call)) if plain => Some((node, call, relation)),
            Some(_) | None => None,
        }
    }

    /// Such a function in FROM becomes a derived table over it. Whether it was one.
    pub(super) fn rows_in_from(&mut self, function: &pg::RangeFunction) -> Rewritten<bool> {
        let Some((node, call, relation)) = self.called_in_from(function) else {
            return Ok(false);
        };
        self.node(node)?;
        let start = self.words.at(call.location)?;
        let end = self.words.behind_group(self.words.behind_name(start))?;
        let text = self.edits.cut(self.words, start..end)?;
        let columns = self.names_of(relation).join(", ");
        let lateral = if function.lateral { "" } else { "LATERAL " };
        let alias = match (&function.alias, parts(&call.funcname)?.last()) {
            (None, Some(name)) => format!(" AS {}", sql::quote(name)),
            (_, _) => String::new(),
        };
        self.edits.replace(
            start..end,
            format!("{lateral}(SELECT {columns} FROM {text}){alias}"),
        );
        Ok(true)
    }

    /// The table whose row type an expression has, if it is one of these.
    fn row_typed(&self, node: &Node) -> Option<&'a Relation> {
        self.null_row(node)
            .or_else(|| self.populated(node, &OF_ONE))
    }

    fn null_row(&self, node: &Node) -> Option<&'a Relation> {
        let Some(NodeEnum::TypeCast(cast)) = &node.node else {
            return None;
        };
        let names = parts(&cast.type_name.as_ref()?.names).ok()?;
        let catalog = self.classified.catalog();
        let found = match names.as_slice() {
            [name] => catalog.resolve_type(None, name)?,
            [schema, name] => catalog.resolve_type(Some(schema), name)?,
            _ => return None,
        };
        catalog.relation(&found.schema, &found.name)
    }

    fn populated(&self, node: &Node, functions: &[&str]) -> Option<&'a Relation> {
        let Some(NodeEnum::FuncCall(call)) = &node.node else {
            return None;
        };
        let names = parts(&call.funcname).ok()?;
        let is_one = names.last().is_some_and(|name| functions.contains(name));
        self.null_row(call.args.first().filter(|_| is_one)?)
    }

    fn names_of(&self, relation: &Relation) -> Vec<String> {
        let columns = self.columns_of(relation).into_iter();
        columns.map(|column| sql::quote(&column.name)).collect()
    }
}
