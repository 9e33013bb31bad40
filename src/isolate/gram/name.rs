//! Names of columns, functions, types and collations.

use pg_query::protobuf as pg;
use pg_query::protobuf::Token;
use pg_query::{Node, NodeEnum};

use super::{Rewriter, Rewritten, lost, unsupported};
use crate::catalog::{Resolved, qualified_name};
use crate::isolate::refusal::{Reason, Refusal};
use crate::sql;

impl Rewriter<'_> {
    /// `schema.table.column` becomes `table.column`: what stands in FROM has the table's name only.
    pub(super) fn column_reference(&mut self, column: &pg::ColumnRef) -> Rewritten<()> {
        let names = column.fields.len();
        if names > 4 {
            // As transformColumnRef() says it.
            let all = parts(&column.fields)?.join(".");
            let message = format!("improper qualified name (too many dotted names): {all}");
            return Err(refuse_at(column.location, as_postgres("42601", message)));
        }
        if names == 4 {
            return Err(unsupported("a column reference of four names"));
        }
        if self.renamed(column)? {
            return Ok(());
        }
        if names == 3 {
            let start = self.words.at(column.location)?;
            let behind = self.words.behind_part(start) + 1;
            self.edits.replace(start..behind, "");
        }
        Ok(())
    }

    /// A function without a schema gets one: the system's own wins, as `pg_catalog` is searched first.
    pub(super) fn function_name(&mut self, call: &pg::FuncCall) -> Rewritten<()> {
        let names = parts(&call.funcname)?;
        let name = match names.as_slice() {
            [name] => *name,
            // An old spelling of a call that later versions have a word for.
            ["pg_catalog", name] if self.is_json_object(call)? => *name,
            _ => return Ok(()),
        };
        let start = self.words.at(call.location)?;
        let schema = self.schema_of_function(name).ok_or_else(|| {
            let message = format!("function {name} does not exist");
            refuse_at(call.location, as_postgres("42883", message))
        })?;
        self.qualify(start, &schema);
        Ok(())
    }

    /// The sequence that `nextval` names in its text is found and qualified. Whether it is such a call.
    pub(super) fn sequence_name(&mut self, call: &pg::FuncCall) -> Rewritten<bool> {
        let is_call = matches!(
            parts(&call.funcname)?.as_slice(),
            ["nextval"] | ["pg_catalog", "nextval"]
        );
        let ([argument], true) = (call.args.as_slice(), is_call) else {
            return Ok(false);
        };
        let constant = match &argument.node {
            Some(NodeEnum::TypeCast(cast)) => cast.arg.as_deref().unwrap_or(argument),
            Some(_) | None => argument,
        };
        let Some(NodeEnum::AConst(pg::AConst {
            val: Some(pg::a_const::Val::Sval(text)),
            ..
        })) = &constant.node
        else {
            return Ok(false);
        };
        let names = qualified_name(&text.sval).unwrap_or_default();
        let found = match names.as_slice() {
            [name] => self.classified.catalog().resolve(None, name),
            [schema, name] => self.classified.catalog().resolve(Some(schema), name),
            _ => Resolved::Nothing,
        };
        let Resolved::Relation(relation) = found else {
            let message = format!("relation \"{}\" does not exist", names.join("."));
            return Err(refuse_at(call.location, as_postgres("42P01", message)));
        };
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let name = &relation.name;
        let full = format!("{}.{}", quoted(&name.schema), quoted(&name.name));
        let open = self.words.behind_name(self.words.at(call.location)?);
        let close = self.words.behind_group(open)?;
        let literal = full.replace('\'', "''");
        self.edits.replace(
            open + 1..close - 1,
            format!("'{literal}'::pg_catalog.regclass"),
        );
        Ok(true)
    }

    fn is_json_object(&self, call: &pg::FuncCall) -> Rewritten<bool> {
        let is_call = call.funcformat == i32::from(pg::CoercionForm::CoerceExplicitCall);
        Ok(is_call
            && self
                .words
                .is(self.words.at(call.location)?, Token::JsonObject))
    }

    fn schema_of_function(&self, name: &str) -> Option<String> {
        let catalog = self.classified.catalog();
        if catalog.system_functions.contains(name) {
            return Some("pg_catalog".to_owned());
        }
        let holds = |schema: &&String| {
            catalog
                .functions_named(name)
                .any(|function| function.schema == **schema)
        };
        catalog.search_path.iter().find(holds).cloned()
    }

    /// A type without a schema gets one; what the grammar itself spells has one already.
    pub(super) fn type_name(&mut self, name: &pg::TypeName) -> Rewritten<()> {
        let names = parts(&name.names)?;
        let [only] = names.as_slice() else {
            return Ok(());
        };
        let Some(found) = self.classified.catalog().resolve_type(None, only) else {
            let message = format!("type \"{only}\" does not exist");
            return Err(refuse_at(name.location, as_postgres("42704", message)));
        };
        let schema = found.schema.clone();
        let start = self.words.at(name.location)?;
        self.qualify(start, &schema);
        Ok(())
    }

    /// `COLLATE "C"` becomes `COLLATE pg_catalog."C"`.
    pub(super) fn collation(&mut self, collate: &pg::CollateClause) -> Rewritten<()> {
        if collate.collname.len() == 1 {
            let start = self.words.at(collate.location)?;
            self.qualify(start + 1, "pg_catalog");
        }
        Ok(())
    }

    /// Puts a schema before the name that begins here.
    fn qualify(&mut self, start: usize, schema: &str) {
        let name = self.words.written(start);
        let text = format!("{}.{name}", sql::quote(schema));
        self.edits.replace(start..start + 1, text);
    }
}

/// The parts of a name.
pub(super) fn parts(names: &[Node]) -> Rewritten<Vec<&str>> {
    names
        .iter()
        .map(|name| match &name.node {
            Some(NodeEnum::String(pg::String { sval })) => Ok(sval.as_str()),
            Some(_) | None => Err(lost("a name")),
        })
        .collect()
}

pub(super) fn as_postgres(sqlstate: &'static str, message: String) -> Reason {
    Reason::AsPostgres { sqlstate, message }
}

/// A refusal of something at a position of the tree.
pub(super) fn refuse_at(location: i32, reason: Reason) -> Refusal {
    Refusal {
        reason,
        position: usize::try_from(location).ok(),
    }
}
