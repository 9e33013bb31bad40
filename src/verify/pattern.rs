//! Patterns of LIKE that are no error, whatever they are matched with, and labels of enums.
//!
//! LIKE fails on a pattern that ends with an escape, but only if what it is matched with fits so far: that
//! tells a prefix of other tenants' values. So does one with more `%` than its recursion can follow. So a
//! literal pattern is looked at here, and of one that is bound note is taken for the session, which looks
//! at it in Bind. So it is of a parameter that is cast to an enum, which fails on what is no label.
//!
//! # Invariants
//! 1. A bound pattern is a parameter whose text is taken as it is: of type text or varchar, not cut to a
//!    length, in a statement that is run by Bind and in no other way.

use std::sync::Arc;

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::comparison::operator_name;
use super::constants::literal;
use super::containment::{DEPTH_MAX, depth, plain_constant};
use super::proof::{Checked, Proof, path, unsupported};
use super::silent::{Clause, is_plain, loud};
use super::types::{self, Size, Typed, Value};
use crate::catalog::{Oid, TypeKind, oid};
use crate::isolate::refusal::{Reason, Refusal};

/// A parameter whose value is looked at before it is bound.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Pattern {
    /// The parameter's number.
    pub number: u16,
    pub(super) wanted: Wanted,
}

/// What the value must be.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) enum Wanted {
    /// A pattern of LIKE with this escape.
    Like(char),
    /// A part of a pattern of LIKE, or a pattern without an escape: its end says nothing.
    Part,
    /// A `jsonb` value that others contain, or are contained in.
    Tree,
    /// A label of this enum.
    Label { of: String, labels: Arc<[String]> },
}

impl Pattern {
    /// The parameter is a pattern of LIKE, with what it takes for an escape.
    pub fn like(number: u16, escape: char) -> Self {
        let wanted = Wanted::Like(escape);
        Self { number, wanted }
    }

    /// Why this value is not bound; nothing if it can be.
    pub fn fault(&self, value: &[u8]) -> Option<Refusal> {
        match &self.wanted {
            Wanted::Like(escape) => {
                let mut bytes = [0; 4];
                if ends_well(value, escape.encode_utf8(&mut bytes).as_bytes()) {
                    too_many_wildcards(value)
                } else {
                    let message = "LIKE pattern must not end with escape character";
                    Some(as_postgres("22025", message.to_owned()))
                }
            }
            Wanted::Part => too_many_wildcards(value),
            Wanted::Tree => (depth(value) > DEPTH_MAX)
                .then(|| unsupported(&format!("a search for jsonb deeper than {DEPTH_MAX}"))),
            Wanted::Label { of, labels } => {
                let fits = labels.iter().any(|label| label.as_bytes() == value);
                (!fits).then(|| {
                    let value = String::from_utf8_lossy(value);
                    let message = format!("invalid input value for enum {of}: \"{value}\"");
                    as_postgres("22P02", message)
                })
            }
        }
    }

    /// Whether an argument of EXECUTE can be bound.
    pub(super) fn is_given(&self, argument: &Node) -> Checked {
        let argument = match self.wanted {
            Wanted::Like(_) | Wanted::Part | Wanted::Label { .. } => whole_text(argument),
            Wanted::Tree => plain_constant(argument),
        };
        let is_null = matches!(&argument.node, Some(NodeEnum::AConst(constant)) if constant.isnull);
        match literal(argument) {
            _ if is_null => Ok(()),
            Some(text) => self.fault(text.as_bytes()).map_or(Ok(()), Err),
            None => Err(unsupported(match self.wanted {
                Wanted::Like(_) | Wanted::Part => {
                    "EXECUTE with a pattern of LIKE that is not a literal"
                }
                Wanted::Tree => "EXECUTE with a search for jsonb that is not a literal",
                Wanted::Label { .. } => "EXECUTE with a label of an enum that is not a literal",
            })),
        }
    }
}

/// What PostgreSQL escapes with by itself.
const BACKSLASH: char = '\\';

/// More parts of a pattern are not put together.
const PARTS_MAX: usize = 8;

/// A pattern with more `%` is not matched with rows of every tenant: PostgreSQL's matching recurses for each.
const WILDCARDS_MAX: usize = 200;

fn as_postgres(sqlstate: &'static str, message: String) -> Refusal {
    Reason::AsPostgres { sqlstate, message }.into()
}

/// Escaped ones count: what an escape is does not matter then.
fn too_many_wildcards(pattern: &[u8]) -> Option<Refusal> {
    let wildcards = pattern.iter().filter(|byte| **byte == b'%').count();
    (wildcards > WILDCARDS_MAX).then(|| {
        unsupported(&format!(
            "a pattern of LIKE with more than {WILDCARDS_MAX} %"
        ))
    })
}

/// Whether a text does not end with an unpaired escape.
fn ends_well(text: &[u8], escape: &[u8]) -> bool {
    let mut rest = text;
    let mut trailing = 0_usize;
    while let Some(shorter) = rest.strip_suffix(escape) {
        rest = shorter;
        trailing += 1;
    }
    trailing.is_multiple_of(2)
}

impl Proof<'_> {
    /// LIKE with a literal pattern that cannot be wrong at its end. ILIKE makes copies of its operands
    /// that are several times as long.
    pub(super) fn silent_like(
        &mut self,
        operation: &pg::AExpr,
        node: &Node,
        clause: Clause,
    ) -> Typed {
        let (Some(left), Some(pattern)) = (&operation.lexpr, &operation.rexpr) else {
            return Err(loud("an operator with one operand", node));
        };
        let left = self.silent(left, clause)?;
        let is_text = types::is_text(left.oid) && is_plain(&left);
        let is_like = !operator_name(&operation.name).is_some_and(|name| name.ends_with('*'));
        let is_short = is_like || left.size == Size::Bounded;
        let matched = if !is_text || !self.is_safe_pattern(pattern) {
            Err(loud("LIKE with such a pattern", node))
        } else if is_short {
            Ok(Value {
                columns: left.columns.clone(),
                ..Value::varying(oid::BOOL)
            })
        } else {
            Err(loud("ILIKE on a text of any length", node))
        };
        if matched.is_ok() {
            return matched;
        }
        let pattern = self.silent(pattern, clause)?;
        self.strictly(matched, &[left, pattern], oid::BOOL)
    }

    /// Whether an expression is a pattern that is no error, or one that the session looks at.
    pub(super) fn is_safe_pattern(&mut self, node: &Node) -> bool {
        let node = whole_text(node);
        match &node.node {
            Some(NodeEnum::FuncCall(call)) => self.is_escaped_pattern(call),
            Some(NodeEnum::AExpr(_)) => self.is_joined_pattern(node),
            Some(_) | None => self.is_one_pattern(node, Wanted::Like(BACKSLASH)),
        }
    }

    /// A literal, or a parameter.
    fn is_one_pattern(&mut self, node: &Node, wanted: Wanted) -> bool {
        if let Some(text) = literal(node) {
            let pattern = Pattern { number: 0, wanted };
            return pattern.fault(text.as_bytes()).is_none();
        }
        match self.bound_text(node) {
            Some(number) => {
                self.patterns.insert(Pattern { number, wanted });
                true
            }
            None => false,
        }
    }

    /// `pattern ESCAPE 'x'`, which is the call of a function.
    fn is_escaped_pattern(&mut self, call: &pg::FuncCall) -> bool {
        let is_escape = path(&call.funcname).as_deref() == Some(&["pg_catalog", "like_escape"]);
        let [pattern, escape] = call.args.as_slice() else {
            return false;
        };
        let Some(escape) = literal(escape).filter(|_| is_escape) else {
            return false;
        };
        let pattern = whole_text(pattern);
        let mut characters = escape.chars();
        match (characters.next(), characters.next()) {
            (Some(escape), None) => self.is_one_pattern(pattern, Wanted::Like(escape)),
            // Nothing is an escape.
            (None, _) => self.is_one_pattern(pattern, Wanted::Part),
            (Some(_), Some(_)) => false,
        }
    }

    /// `'%' || $1 || '%'`: what an escape at the end of a part escapes is the next part's beginning. So
    /// the last part must be there, and hold no escape of its own.
    fn is_joined_pattern(&mut self, node: &Node) -> bool {
        let mut parts = Vec::new();
        if !in_parts(node, &mut parts) {
            return false;
        }
        let Some(last) = parts.last() else {
            return false;
        };
        let closes =
            literal(last).is_some_and(|last| !last.is_empty() && !last.contains(BACKSLASH));
        let no_other = self.catalog().operators_named("||").next().is_none();
        closes
            && no_other
            && parts
                .iter()
                .all(|part| self.is_one_pattern(whole_text(part), Wanted::Part))
    }

    /// `CAST($1::text AS an_enum)`: the cast fails on what is no label, so the session looks at it.
    pub(super) fn bound_label(&mut self, argument: &Node, wanted: Oid) -> Option<Value> {
        let found = self.catalog().type_by_oid(wanted)?;
        if found.kind != TypeKind::Enum || !matches!(argument.node, Some(NodeEnum::TypeCast(_))) {
            return None;
        }
        let is_visible = self.catalog().resolve_type(None, &found.name) == Some(found);
        let (schema, name) = (quoted(&found.schema), quoted(&found.name));
        let wanted_label = Wanted::Label {
            of: if is_visible {
                name
            } else {
                format!("{schema}.{name}")
            },
            labels: found.labels.as_slice().into(),
        };
        let number = self.bound_text(whole_text(argument))?;
        self.patterns.insert(Pattern {
            number,
            wanted: wanted_label,
        });
        Some(Value::constant(wanted))
    }

    /// The parameter that this is, if it is a text and is bound.
    fn bound_text(&mut self, node: &Node) -> Option<u16> {
        let Some(NodeEnum::ParamRef(parameter)) = &node.node else {
            return None;
        };
        if !self.binds {
            return None;
        }
        let value = self.parameter(*parameter).ok()?;
        let is_text = matches!(value.oid, oid::TEXT | oid::VARCHAR | oid::UNKNOWN);
        self.use_as(value.untyped, oid::TEXT);
        u16::try_from(parameter.number).ok().filter(|_| is_text)
    }
}

/// An identifier as messages show it.
fn quoted(name: &str) -> String {
    let is_plain = |character: char| matches!(character, 'a'..='z' | '0'..='9' | '_');
    if name.chars().all(is_plain) && !name.starts_with(|first: char| first.is_ascii_digit()) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

/// The operands of a chain of `||`, if there are not too many.
fn in_parts<'n>(node: &'n Node, parts: &mut Vec<&'n Node>) -> bool {
    let Some(NodeEnum::AExpr(operation)) = &node.node else {
        parts.push(node);
        return parts.len() <= PARTS_MAX;
    };
    let is_chain = operation.kind == i32::from(pg::AExprKind::AexprOp)
        && matches!(
            path(&operation.name).as_deref(),
            Some(["||"] | ["pg_catalog", "||"])
        );
    match (&operation.lexpr, &operation.rexpr) {
        (Some(left), Some(right)) if is_chain => in_parts(left, parts) && in_parts(right, parts),
        _ => false,
    }
}

/// What is cast to a text of any length, or not cast at all.
fn whole_text(node: &Node) -> &Node {
    let Some(NodeEnum::TypeCast(cast)) = &node.node else {
        return node;
    };
    let (Some(argument), Some(name)) = (&cast.arg, &cast.type_name) else {
        return node;
    };
    let is_text = matches!(
        path(&name.names).as_deref(),
        Some(["pg_catalog", "text" | "varchar"] | ["text"])
    );
    // A length would cut the pattern, perhaps in the middle of an escape.
    if is_text && name.typmods.is_empty() && name.array_bounds.is_empty() {
        argument
    } else {
        node
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unpaired_escape_at_the_end_is_found() {
        let backslash = Pattern::like(1, '\\');
        for (value, fits) in [
            ("", true),
            ("a%", true),
            ("\\", false),
            ("a\\\\", true),
            ("a\\\\\\", false),
            ("\\a", true),
        ] {
            assert_eq!(backslash.fault(value.as_bytes()).is_none(), fits, "{value}");
        }
        let wide = Pattern::like(1, 'é');
        assert!(wide.fault("aéé\\".as_bytes()).is_none());
        assert!(wide.fault("aé".as_bytes()).is_some());
    }

    #[test]
    fn what_recurses_too_deep_is_found() {
        let of = |wanted| Pattern { number: 1, wanted };
        assert!(of(Wanted::Part).fault(b"a\\").is_none());
        for (wanted, one, most) in [
            (Wanted::Like('\\'), "%e", 200),
            (Wanted::Part, "%e", 200),
            (Wanted::Tree, "[", 100),
        ] {
            let pattern = of(wanted);
            assert!(pattern.fault(one.repeat(most).as_bytes()).is_none());
            assert!(pattern.fault(one.repeat(most + 1).as_bytes()).is_some());
        }
    }

    #[test]
    fn what_is_no_label_is_told_as_postgresql_does() {
        let label = Pattern {
            number: 1,
            wanted: Wanted::Label {
                of: quoted("Role"),
                labels: ["a".to_owned(), "b c".to_owned()].into(),
            },
        };
        assert!(label.fault(b"b c").is_none());
        let refusal = label.fault(b"b").unwrap();
        assert_eq!(refusal.sqlstate(), "22P02");
        let told = refusal.to_string();
        assert!(told.starts_with("invalid input value for enum \"Role\": \"b\""));
    }
}
