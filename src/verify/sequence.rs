//! `nextval` and `currval` of a sequence that the text names or that a column has, and which sequence that is.
//!
//! What `currval` and `lastval` tell is what this client's own statements took: `session` makes a server
//! connection forget it before another client borrows it.

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::bare;
use super::proof::{
    Checked, Pair, Proof, differs, is_plain_type, path, position, refuse, unsupported,
};
use crate::catalog::{Relation, Resolved, qualified_name};
use crate::isolate::refusal::Reason;
use crate::tenant::Class;

/// The functions that take a sequence.
const OF_A_SEQUENCE: [&str; 2] = ["currval", "nextval"];

/// Which of the functions that take a sequence a call is of, as PostgreSQL finds it: `pg_catalog` comes first.
pub(super) fn of_a_sequence(names: &[Node]) -> Option<&'static str> {
    let name = match path(names).as_deref() {
        Some([name] | ["pg_catalog", name]) => *name,
        Some(_) | None => return None,
    };
    OF_A_SEQUENCE.into_iter().find(|known| *known == name)
}

const SERIAL_SEQUENCE: &str = "pg_get_serial_sequence";

/// Whether a call is one of `pg_get_serial_sequence`.
pub(super) fn is_serial_sequence(names: &[Node]) -> bool {
    match path(names).as_deref() {
        Some([name] | ["pg_catalog", name]) => *name == SERIAL_SEQUENCE,
        Some(_) | None => false,
    }
}

impl<'a> Proof<'a> {
    /// Compares two calls of a function that takes a sequence: it is the one that the client's text names,
    /// qualified, or that of the column that it names.
    pub(super) fn sequence_call(
        &mut self,
        function: &'static str,
        (original, rewritten): Pair<'_, pg::FuncCall>,
    ) -> Checked {
        if self.classified().scope().is_some() {
            return Err(unsupported(&format!("{function} under a grant")));
        }
        let at = position((&original.location, &rewritten.location));
        let plain = |call: &pg::FuncCall| pg::FuncCall {
            funcname: call.funcname.clone(),
            args: call.args.clone(),
            funcformat: call.funcformat,
            location: call.location,
            ..pg::FuncCall::default()
        };
        let this_form = || unsupported(&format!("this form of {function}"));
        if *original != plain(original) || *rewritten != plain(rewritten) {
            return Err(this_form());
        }
        let ([named], [sent]) = (original.args.as_slice(), rewritten.args.as_slice()) else {
            return Err(this_form());
        };
        match (&named.node, &sent.node) {
            (Some(NodeEnum::FuncCall(column)), Some(NodeEnum::FuncCall(sent)))
                if is_serial_sequence(&column.funcname) =>
            {
                let table = self.serial_sequence((column, sent))?;
                let mut sequences = self
                    .catalog()
                    .relations
                    .iter()
                    .filter(|relation| relation.owned_by.as_ref() == Some(&table.name));
                if let Some(closed) = sequences.find(|one| !self.classified().may_advance(one)) {
                    return Err(refuse(forbidden(closed), at));
                }
            }
            _ => {
                let sequence = self
                    .named_sequence(function, named)
                    .map_err(|reason| refuse(reason, at))?;
                if !self.classified().may_advance(sequence) {
                    return Err(refuse(forbidden(sequence), at));
                }
                let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
                let name = &sequence.name;
                let wanted = format!("{}.{}", quoted(&name.schema), quoted(&name.name));
                let is_sent = matches!(cast(sent), Some((text, type_name))
                    if text == wanted && is_plain_type(type_name, "regclass"));
                if !is_sent {
                    return Err(differs(&format!("the sequence of {function}")));
                }
            }
        }
        let is_qualified = path(&rewritten.funcname).as_deref() == Some(&["pg_catalog", function]);
        let same_form = original.funcformat == rewritten.funcformat;
        if !(is_qualified && same_form) {
            return Err(differs(&format!("the sequence of {function}")));
        }
        let volatile = Reason::not_silent(format!("volatile function {function}"));
        self.volatile.get_or_insert(refuse(volatile, at));
        Ok(())
    }

    /// Compares two calls of `pg_get_serial_sequence` for a column that the application knows. Gives the
    /// table.
    pub(super) fn serial_sequence(
        &self,
        (original, rewritten): Pair<'_, pg::FuncCall>,
    ) -> Checked<&'a Relation> {
        let at = position((&original.location, &rewritten.location));
        let plain = |call: &pg::FuncCall, names: &[Node]| pg::FuncCall {
            funcname: names.to_vec(),
            args: call.args.clone(),
            funcformat: original.funcformat,
            location: call.location,
            ..pg::FuncCall::default()
        };
        let constants = || unsupported("pg_get_serial_sequence of what the text does not name");
        let ([table, column], true) = (
            original.args.as_slice(),
            *original == plain(original, &original.funcname),
        ) else {
            return Err(constants());
        };
        let (Some(table), Some(column)) = (text(table), text(column)) else {
            return Err(constants());
        };
        let parts = qualified_name(table).ok_or_else(constants)?;
        let found = match parts.as_slice() {
            [name] => self.catalog().resolve(None, name),
            [schema, name] => self.catalog().resolve(Some(schema), name),
            _ => Resolved::Nothing,
        };
        let relation = match found {
            Resolved::Relation(relation) => relation,
            Resolved::Nothing | Resolved::System(_) => {
                let relation = parts.join(".");
                return Err(refuse(Reason::RelationDoesNotExist { relation }, at));
            }
        };
        if let Class::Refused(closed) = self.classified().class(relation) {
            let (relation, closed) = (relation.name.to_string(), *closed);
            return Err(refuse(Reason::RelationNotAllowed { relation, closed }, at));
        }
        let visible = self.classified().visible_columns(relation);
        if !visible.iter().any(|known| known.name == column) {
            let table = &relation.name.name;
            let reason = Reason::AsPostgres {
                sqlstate: "42703",
                message: format!("column \"{column}\" of relation \"{table}\" does not exist"),
            };
            return Err(refuse(reason, at));
        }
        let is_qualified =
            path(&rewritten.funcname).as_deref() == Some(&["pg_catalog", SERIAL_SEQUENCE]);
        let is_same = *rewritten == plain(rewritten, &rewritten.funcname)
            && bare::same_list(&original.args, &rewritten.args)?;
        if is_qualified && is_same {
            Ok(relation)
        } else {
            Err(differs("pg_get_serial_sequence"))
        }
    }

    /// The sequence that a constant names, with or without a cast to `regclass`.
    fn named_sequence(&self, function: &str, node: &Node) -> Result<&'a Relation, Reason> {
        let computed = || Reason::ConstructNotSupported {
            construct: format!("{function} of a sequence that is not named in the text"),
        };
        let text = match (text(node), cast(node)) {
            (Some(text), _) => text,
            (None, Some((text, type_name))) => {
                let names = path(&type_name.names);
                let is_name = matches!(
                    names.as_deref(),
                    Some(["regclass"] | ["pg_catalog", "regclass"])
                );
                if !is_name || !type_name.typmods.is_empty() || !type_name.array_bounds.is_empty() {
                    return Err(computed());
                }
                text
            }
            (None, None) => return Err(computed()),
        };
        let parts = qualified_name(text).ok_or_else(computed)?;
        let (schema, name) = match parts.as_slice() {
            [name] => (None, name),
            [schema, name] => (Some(schema.as_str()), name),
            _ => return Err(computed()),
        };
        let missing = || Reason::RelationDoesNotExist {
            relation: parts.join("."),
        };
        match self.catalog().resolve(schema, name) {
            Resolved::Relation(relation) => Ok(relation),
            Resolved::Nothing | Resolved::System(_) => Err(missing()),
        }
    }
}

fn forbidden(sequence: &Relation) -> Reason {
    Reason::AsPostgres {
        sqlstate: "42501",
        message: format!("permission denied for sequence {}", sequence.name.name),
    }
}

fn text(node: &Node) -> Option<&str> {
    let Some(NodeEnum::AConst(constant)) = &node.node else {
        return None;
    };
    match &constant.val {
        Some(pg::a_const::Val::Sval(text)) => Some(text.sval.as_str()),
        Some(_) | None => None,
    }
}

fn cast(node: &Node) -> Option<(&str, &pg::TypeName)> {
    let Some(NodeEnum::TypeCast(cast)) = &node.node else {
        return None;
    };
    Some((text(cast.arg.as_deref()?)?, cast.type_name.as_ref()?))
}
