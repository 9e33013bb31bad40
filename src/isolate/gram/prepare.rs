//! PREPARE, EXECUTE and DEALLOCATE: the names are Tenantry's to keep.

use pg_query::NodeEnum;
use pg_query::protobuf as pg;
use pg_query::protobuf::Token;

use super::name::{as_postgres, parts, refuse_at};
use super::{Rewriter, Rewritten, lost, unsupported};
use crate::catalog::{Oid, TypeKind};
use crate::isolate::kind::{EXECUTED, Kind, NOTHING, SqlPrepare};

impl Rewriter<'_> {
    /// The statement is admitted by itself, when it is known what it is prepared for.
    pub(super) fn prepare(&mut self, prepare: &pg::PrepareStmt) -> Rewritten<Kind> {
        let types: Rewritten<Vec<Oid>> = prepare.argtypes.iter().map(|t| self.type_of(t)).collect();
        let mut behind = self.words.behind_part(1);
        if self.words.is(behind, Token::Ascii40) {
            behind = self.words.behind_group(behind)?;
        }
        if !self.words.is(behind, Token::As) {
            return Err(lost("AS"));
        }
        let sql = self.words.text_from(behind + 1).to_owned();
        self.edits.replace(0..self.words.len(), NOTHING);
        Ok(Kind::Prepare(SqlPrepare {
            name: prepare.name.clone(),
            types: types?,
            sql,
        }))
    }

    /// `EXECUTE name (arguments)`, which begins at this word, with another name until it is known what the name
    /// means.
    pub(super) fn execute(&mut self, execute: &pg::ExecuteStmt, at: usize) -> Rewritten<Kind> {
        if let Some(word) = self.words.iter().find(|word| word.kind == Token::Param) {
            let message = "there are no parameters in EXECUTE".to_owned();
            let at = i32::try_from(word.bytes.start).unwrap_or(-1);
            return Err(refuse_at(at, as_postgres("42P02", message)));
        }
        let name = format!("EXECUTE {EXECUTED}");
        self.edits.replace(at..self.words.behind_part(at + 1), name);
        self.nodes(&execute.params)?;
        Ok(Kind::Execute {
            name: execute.name.clone(),
            arguments: execute.params.len(),
        })
    }

    pub(super) fn deallocate(&mut self, deallocate: &pg::DeallocateStmt) -> Kind {
        self.edits.replace(0..self.words.len(), NOTHING);
        Kind::Deallocate((!deallocate.isall).then(|| deallocate.name.clone()))
    }

    /// The type that a name means.
    fn type_of(&self, node: &pg_query::Node) -> Rewritten<Oid> {
        let Some(NodeEnum::TypeName(name)) = &node.node else {
            return Err(lost("a type"));
        };
        if name.setof || name.pct_type {
            return Err(unsupported("SETOF or %TYPE"));
        }
        let catalog = self.classified.catalog();
        let names = parts(&name.names)?;
        let found = match names.as_slice() {
            [name] => catalog.resolve_type(None, name),
            [schema, name] => catalog.resolve_type(Some(schema), name),
            _ => None,
        };
        let found = if name.array_bounds.is_empty() {
            found
        } else {
            let element = found.map(|element| TypeKind::Array(element.oid));
            element.and_then(|kind| catalog.types.iter().find(|found| found.kind == kind))
        };
        found.map(|found| found.oid).ok_or_else(|| {
            let message = format!("type \"{}\" does not exist", names.join("."));
            refuse_at(name.location, as_postgres("42704", message))
        })
    }
}
