//! The table of silent operators, `silent.tsv`.

use std::sync::LazyLock;

use pg_query::Node;

use super::proof::{Proof, refuse};
use super::silent::location;
use super::types::{self, Origin, Typed, Value};
use crate::catalog::{Oid, TypeKind, oid};
use crate::isolate::refusal::Reason;

/// An entry of the table.
#[derive(Debug)]
struct Entry {
    operators: Vec<&'static str>,
    left: Vec<&'static str>,
    right: Vec<&'static str>,
    result: &'static str,
}

const SILENT: &str = include_str!("silent.tsv");

static TABLE: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    SILENT
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let mut fields = line.split('\t');
            let mut words = || -> Option<Vec<&'static str>> {
                Some(fields.next()?.split_whitespace().collect())
            };
            Some(Entry {
                operators: words()?,
                left: words()?,
                right: words()?,
                result: words()?.first().copied()?,
            })
        })
        .collect()
});

impl Proof<'_> {
    /// Looks two values up, untyped ones having taken the other's type.
    pub(super) fn operate(
        &mut self,
        operator: &str,
        left: Value,
        right: Value,
        node: &Node,
    ) -> Typed {
        let (left, right) = match (left.oid == oid::UNKNOWN, right.oid == oid::UNKNOWN) {
            (true, true) => (self.taken(left, oid::TEXT), self.taken(right, oid::TEXT)),
            (true, false) => (self.taken(left, comparable(right.oid)), right),
            (false, true) => {
                let takes_text = matches!(operator, "->" | "->>" | "?");
                let type_oid = if takes_text {
                    oid::TEXT
                } else {
                    comparable(left.oid)
                };
                (left, self.taken(right, type_oid))
            }
            (false, false) => (left, right),
        };
        self.comparison(operator, &left, &right, location(node))
    }

    fn taken(&mut self, value: Value, type_oid: Oid) -> Value {
        self.use_as(value.untyped, type_oid);
        Value {
            oid: type_oid,
            untyped: None,
            ..value
        }
    }

    /// Looks an operator up in the table.
    pub(super) fn comparison(
        &self,
        operator: &str,
        left: &Value,
        right: &Value,
        at: Option<usize>,
    ) -> Typed {
        let refused = |what: String| refuse(Reason::ConditionNotSilent { what }, at);
        let entry = TABLE.iter().find(|entry| {
            entry.operators.contains(&operator)
                && self.is_one_of(left, &entry.left)
                && self.is_one_of(right, &entry.right)
                && (!entry.left.iter().any(|name| is_twice(name)) || left.oid == right.oid)
        });
        let Some(entry) = entry else {
            return Err(refused(format!(
                "operator {operator} on {} and {}",
                self.type_label(left.oid),
                self.type_label(right.oid)
            )));
        };
        let rival = |rival: &crate::catalog::Operator| {
            types::family(rival.left) == types::family(left.oid)
                && types::family(rival.right) == types::family(right.oid)
        };
        if self.catalog().operators_named(operator).any(rival) {
            return Err(refused(format!("operator {operator} of two schemas")));
        }
        if left.collation != 0 && right.collation != 0 && left.collation != right.collation {
            return Err(refused("a comparison of two collations".to_owned()));
        }
        match entry.result {
            "text" => Ok(Value {
                collation: 100,
                ..Value::varying(oid::TEXT)
            }),
            "jsonb" => Ok(Value::varying(oid::JSONB)),
            "bool" => Ok(Value::varying(oid::BOOL)),
            other => Err(refused(format!(
                "operator {operator} with the result {other}"
            ))),
        }
    }

    fn is_one_of(&self, value: &Value, names: &[&str]) -> bool {
        let Some(found) = self.catalog().type_by_oid(value.oid) else {
            return false;
        };
        let is_system = found.schema == "pg_catalog";
        names.iter().any(|name| match (*name, found.kind) {
            ("enum", TypeKind::Enum) => true,
            ("array", TypeKind::Array(element)) => self.is_plain(element),
            (name, TypeKind::Base) => match name.strip_prefix("const:") {
                Some(name) => is_system && found.name == name && value.origin == Origin::Constant,
                None => is_system && found.name == name,
            },
            (
                _,
                TypeKind::Array(_)
                | TypeKind::Composite
                | TypeKind::Domain(_)
                | TypeKind::Enum
                | TypeKind::Multirange
                | TypeKind::Pseudo
                | TypeKind::Range,
            ) => false,
        })
    }

    /// Whether elements of this type are compared silently.
    fn is_plain(&self, element: Oid) -> bool {
        let found = self.catalog().type_by_oid(element);
        let is_base = found.is_some_and(|found| found.kind == TypeKind::Base);
        let value = Value::varying(element);
        is_base && self.comparison("=", &value, &value, None).is_ok()
    }

    fn type_label(&self, type_oid: Oid) -> String {
        let found = self.catalog().type_by_oid(type_oid);
        found.map_or_else(|| "an unknown type".to_owned(), |found| found.name.clone())
    }
}

/// Entries that ask for the same type on both sides.
fn is_twice(name: &str) -> bool {
    matches!(name, "enum" | "array")
}

/// What an untyped operand becomes next to this type: `varchar` has no operators of its own.
pub(super) fn comparable(type_oid: Oid) -> Oid {
    if type_oid == oid::VARCHAR {
        oid::TEXT
    } else {
        type_oid
    }
}
