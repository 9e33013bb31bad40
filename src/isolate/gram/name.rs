//! Names of columns, functions, types and collations.

use std::ops::Range;

use pg_query::protobuf as pg;
use pg_query::protobuf::Token;
use pg_query::{Node, NodeEnum};

use super::{Rewriter, Rewritten, lost, unsupported};
use crate::catalog::{Resolved, qualified_name};
use crate::isolate::identity;
use crate::isolate::refusal::{Reason, Refusal};
use crate::isolate::template::SlotType;
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
            // Of several arrays, side by side: only the bare name means it.
            ["unnest"] if call.args.len() > 1 => return Ok(()),
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

    /// The sequence that `nextval` or `currval` names in its text is found and qualified. Whether it is such a
    /// call.
    pub(super) fn sequence_name(&mut self, call: &pg::FuncCall) -> Rewritten<bool> {
        let is_call = matches!(
            parts(&call.funcname)?.as_slice(),
            ["currval" | "nextval"] | ["pg_catalog", "currval" | "nextval"]
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

    /// `current_user` and its kin; other words of this kind stay as they are.
    pub(super) fn asks_by_keyword(&mut self, location: i32) -> Rewritten<()> {
        let at = self.words.at(location)?;
        let keyword = self.words.written(at).to_ascii_lowercase();
        let asked = identity::by_keyword(&keyword);
        self.answer(asked, at..at + 1, &keyword);
        Ok(())
    }

    /// `current_database()` and its kin. Whether it is such a call.
    pub(super) fn asks_by_call(&mut self, call: &pg::FuncCall) -> Rewritten<bool> {
        let name = match parts(&call.funcname)?.as_slice() {
            [name] | ["pg_catalog", name] => *name,
            _ => return Ok(false),
        };
        let asked = identity::by_call(name).filter(|_| call.args.is_empty());
        let start = self.words.at(call.location)?;
        let open = self.words.behind_name(start);
        if asked.is_none() || !self.words.is(open, Token::Ascii40) {
            return Ok(false);
        }
        self.answer(asked, start..open + 2, name);
        Ok(true)
    }

    /// A sub-select cannot take the place of such a call in FROM: it needs another alias.
    pub(super) fn asks_in_from(&mut self, range: &pg::RangeFunction) -> Rewritten<()> {
        for item in &range.functions {
            let Some(NodeEnum::List(item)) = &item.node else {
                return Err(lost("a function"));
            };
            let (at, name) = match item.items.first().and_then(|call| call.node.as_ref()) {
                Some(NodeEnum::FuncCall(call)) => match parts(&call.funcname)?.last() {
                    Some(name) if identity::by_call(name).is_some() => (call.location, *name),
                    Some(_) | None => continue,
                },
                Some(NodeEnum::SqlvalueFunction(keyword)) => {
                    let word = self.words.written(self.words.at(keyword.location)?);
                    (keyword.location, word)
                }
                Some(_) | None => continue,
            };
            let function = format!("{} in FROM", name.to_ascii_lowercase());
            return Err(refuse_at(at, Reason::FunctionNotAllowed { function }));
        }
        Ok(())
    }

    fn answer(&mut self, asked: Option<SlotType>, words: Range<usize>, name: &str) {
        let asked = asked.filter(|_| self.classified.scope().is_none());
        if let Some(slot_type) = asked {
            let slot = self.slot_of(slot_type);
            self.edits.replace(words, identity::named(&slot, name));
        }
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
        if names == ["pg_catalog", "bpchar"] {
            return self.national(name.location);
        }
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

    /// `N'..'`, whose prefix the lexer takes for a word of its own, becomes `pg_catalog.bpchar '..'`.
    fn national(&mut self, location: i32) -> Rewritten<()> {
        let start = self.words.at(location)?;
        let is_prefix = self.words.is(start, Token::Nchar)
            && !self.words.written(start).eq_ignore_ascii_case("nchar");
        if is_prefix {
            self.edits.replace(start..start + 1, "pg_catalog.bpchar");
        }
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
