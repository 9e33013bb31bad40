//! The table of what is silent, `silent.tsv`: operators, functions and casts.

use std::sync::LazyLock;

use pg_query::Node;

use super::constants;
use super::containment::is_of_trees;
use super::proof::{Checked, Proof, path, refuse};
use super::regular;
use super::scope::{Extent, Output};
use super::silent::{self, location, loud};
use super::types::{self, Columns, OPAQUE, Origin, Size, Typed, Value};
use crate::catalog::{Oid, TypeKind, oid};
use crate::isolate::refusal::Reason;

/// An entry of the table.
#[derive(Debug)]
struct Entry {
    /// The operators; the functions, with `()` behind the name; or `::`, a cast.
    names: Vec<&'static str>,
    /// What each argument may be.
    arguments: Vec<Vec<&'static str>>,
    result: &'static str,
}

/// An argument of an operator, a function or a cast.
#[derive(Clone, Debug)]
pub(super) struct Argument<'n> {
    /// Its value.
    pub(super) value: Value,
    /// Where it is written, for what must be a literal.
    pub(super) node: Option<&'n Node>,
}

/// Operators on texts that work under every collation.
const IN_ANY_COLLATION: [&str; 7] = ["<", "<=", "<>", "=", ">", ">=", "||"];

const SILENT: &str = include_str!("silent.tsv");

static TABLE: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    SILENT
        .lines()
        .filter(|line| !line.starts_with("# "))
        .filter_map(|line| {
            let mut fields: Vec<Vec<&'static str>> = line
                .split('\t')
                .map(|field| field.split_whitespace().collect())
                .collect();
            let _reason = fields.pop()?;
            let result = fields.pop()?.first().copied()?;
            let mut fields = fields.into_iter();
            Some(Entry {
                names: fields.next()?,
                arguments: fields.collect(),
                result,
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
        self.no_rival_of_one(operator, &left, &right, node)?;
        let (left, right) = match (left.oid == oid::UNKNOWN, right.oid == oid::UNKNOWN) {
            (true, true) => (self.taken(left, oid::TEXT), self.taken(right, oid::TEXT)),
            (true, false) => (self.taken(left, comparable(right.oid)), right),
            (false, true) => {
                let type_oid = match operator {
                    "->" | "->>" | "?" => oid::TEXT,
                    "#>" | "#>>" | "?&" | "?|" => oid::TEXT_ARRAY,
                    _ => comparable(left.oid),
                };
                (left, self.taken(right, type_oid))
            }
            (false, false) => (left, right),
        };
        let found = if is_of_trees(operator, &left, &right) {
            Err(loud("containment of jsonb values of any depth", node))
        } else {
            self.comparison(operator, &left, &right, location(node))
        };
        if self.is_strict_operator(operator) || self.concatenates(operator, &left, &right) {
            self.strictly(found, &[left, right], OPAQUE)
        } else {
            found
        }
    }

    /// Whether this appends one text to another, which is strict, unlike appending to an array.
    fn concatenates(&self, operator: &str, left: &Value, right: &Value) -> bool {
        let is_text = |value: &Value| [oid::TEXT, oid::VARCHAR].contains(&value.oid);
        operator == "||"
            && is_text(left)
            && is_text(right)
            && self.catalog().operators_named(operator).next().is_none()
    }

    /// Next to an untyped operand PostgreSQL takes the operator whose other side fits best: one of an extension
    /// that fits a varchar would win over the system's on texts.
    fn no_rival_of_one(&self, operator: &str, left: &Value, right: &Value, node: &Node) -> Checked {
        let mut rivals = self.catalog().operators_named(operator);
        let fits = |rival: Oid, value: &Value| types::family(rival) == types::family(value.oid);
        let has_rival = match (left.oid == oid::UNKNOWN, right.oid == oid::UNKNOWN) {
            (true, false) => rivals.any(|rival| fits(rival.right, right)),
            (false, true) => rivals.any(|rival| fits(rival.left, left)),
            (true, true) | (false, false) => false,
        };
        if has_rival {
            return Err(loud(&format!("operator {operator} of two schemas"), node));
        }
        Ok(())
    }

    /// A value that is compared with others of its kind, as its type says: where rows are sorted, grouped or
    /// told apart, or the greatest is taken. PostgreSQL looks for that comparison when it meets the rows.
    pub(super) fn ordered(&mut self, value: Value) -> Typed {
        let value = self.taken_for_text(value);
        let found = self
            .comparison("=", &value, &value, None)
            .map(|_| value.clone());
        let type_oid = value.oid;
        self.strictly(found, &[value], type_oid)
    }

    fn taken_for_text(&mut self, value: Value) -> Value {
        if value.oid == oid::UNKNOWN {
            self.taken(value, oid::TEXT)
        } else {
            value
        }
    }

    pub(super) fn taken(&mut self, value: Value, type_oid: Oid) -> Value {
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
        let rival = |rival: &crate::catalog::Operator| {
            types::family(rival.left) == types::family(left.oid)
                && types::family(rival.right) == types::family(right.oid)
        };
        if self.catalog().operators_named(operator).any(rival) {
            let what = format!("operator {operator} of two schemas");
            return Err(refuse(Reason::not_silent(what), at));
        }
        // What looks into a text is not made for every collation.
        let is_special = |value: &Value| types::is_text(value.oid) && !silent::is_plain(value);
        let looks_into = !IN_ANY_COLLATION.contains(&operator);
        if looks_into && (is_special(left) || is_special(right)) {
            let what = format!("operator {operator} under this collation");
            return Err(refuse(Reason::not_silent(what), at));
        }
        let arguments = [left, right].map(|value| Argument {
            value: value.clone(),
            node: None,
        });
        self.listed_silent(&format!("operator {operator}"), operator, &arguments, at)
    }

    /// Looks an operator, a function or a cast up in the table.
    pub(super) fn listed_silent(
        &self,
        what: &str,
        name: &str,
        arguments: &[Argument<'_>],
        at: Option<usize>,
    ) -> Typed {
        let refused = |what: String| refuse(Reason::not_silent(what), at);
        let first = arguments.first().map(|argument| argument.value.oid);
        let entry = TABLE.iter().find(|entry| {
            entry.names.contains(&name)
                && entry.arguments.len() == arguments.len()
                && entry
                    .arguments
                    .iter()
                    .zip(arguments)
                    .all(|(words, argument)| {
                        words.iter().any(|word| self.fits(argument, word, first))
                    })
        });
        let Some(entry) = entry else {
            let labels: Vec<String> = arguments
                .iter()
                .map(|argument| self.type_label(argument.value.oid))
                .collect();
            return Err(refused(match labels.as_slice() {
                [] => what.to_owned(),
                labels => format!("{what} on {}", labels.join(" and ")),
            }));
        };
        let mut collations: Vec<Oid> = arguments
            .iter()
            .map(|argument| argument.value.collation)
            .filter(|collation| *collation != 0)
            .collect();
        collations.dedup();
        if collations.len() > 1 {
            return Err(refused("a comparison of two collations".to_owned()));
        }
        let (size, name) = match entry.result.strip_prefix("bounded:") {
            Some(name) => (Size::Bounded, name),
            None => (Size::Unbounded, entry.result),
        };
        let is_older = self.catalog().server_version < 140_000;
        let name = match what {
            "function extract" if is_older => "float8",
            _ => name,
        };
        let system = self.catalog().resolve_type(Some("pg_catalog"), name);
        let result = match name {
            "same" => first,
            _ => system.map(|found| found.oid),
        };
        let result = result.ok_or_else(|| refused(format!("{what} with the result {name}")))?;
        let collation = if types::is_text(result) {
            collations
                .first()
                .copied()
                .unwrap_or(types::DEFAULT_COLLATION)
        } else {
            0
        };
        Ok(Value {
            collation,
            size,
            origin: Origin::of_strict(arguments.iter().map(|a| a.value.origin)),
            columns: types::all_columns(arguments.iter().map(|a| &a.value)),
            ..Value::varying(result)
        })
    }

    /// Whether an argument is what a word of the table asks for.
    fn fits(&self, argument: &Argument<'_>, word: &str, first: Option<Oid>) -> bool {
        let value = &argument.value;
        let literal = argument.node.and_then(constants::literal);
        if let Some(wanted) = word.strip_prefix('\'') {
            let wanted = wanted.trim_end_matches('\'');
            return literal.is_some_and(|literal| literal.eq_ignore_ascii_case(wanted));
        }
        if word == "count" {
            return argument.node.is_some_and(constants::is_count);
        }
        if word == "regular" {
            return literal.is_some_and(regular::is_simple);
        }
        let (check, name) = word.split_once(':').unwrap_or(("any", word));
        let checked = match check {
            "any" => true,
            "bounded" => value.size == Size::Bounded,
            "const" => value.origin.is_constant(),
            "literal" => value.origin == Origin::Literal,
            _ => false,
        };
        checked && self.is_of(value.oid, name, first)
    }

    fn is_of(&self, type_oid: Oid, name: &str, first: Option<Oid>) -> bool {
        let Some(found) = self.catalog().type_by_oid(type_oid) else {
            return false;
        };
        match (name, found.kind) {
            ("same", _) => Some(type_oid) == first,
            ("enum", TypeKind::Enum) | ("anyarray", TypeKind::Array(_)) => true,
            ("array", TypeKind::Array(element)) => self.is_plain(element),
            (name, TypeKind::Array(element)) => {
                let element = self.catalog().type_by_oid(element);
                let wanted = name.strip_suffix("[]");
                element.is_some_and(|e| e.schema == "pg_catalog" && Some(e.name.as_str()) == wanted)
            }
            (name, TypeKind::Base | TypeKind::Range | TypeKind::Multirange) => {
                found.schema == "pg_catalog" && found.name == name
            }
            (_, TypeKind::Composite | TypeKind::Domain(_) | TypeKind::Enum | TypeKind::Pseudo) => {
                false
            }
        }
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

/// What an untyped operand becomes next to this type: `varchar` has no operators of its own.
pub(super) fn comparable(type_oid: Oid) -> Oid {
    if type_oid == oid::VARCHAR {
        oid::TEXT
    } else {
        type_oid
    }
}

/// The operator of a name that may be `pg_catalog.operator`.
pub(super) fn operator_name(names: &[Node]) -> Option<&str> {
    match path(names)?.as_slice() {
        [name] | ["pg_catalog", name] => Some(*name),
        _ => None,
    }
}

/// Types that IN may mix without converting a column in a way that fails.
pub(super) fn number_family(type_oid: Oid) -> Oid {
    match type_oid {
        oid::INT2 | oid::INT4 | oid::INT8 | oid::NUMERIC => oid::NUMERIC,
        other => other,
    }
}

/// Whether every value of one type is one of the other.
pub(super) fn widens(from: Oid, to: Oid) -> bool {
    from == to
        || matches!(
            (from, to),
            (oid::INT2, oid::INT4 | oid::INT8 | oid::NUMERIC)
                | (oid::INT4, oid::INT8 | oid::NUMERIC)
                | (oid::INT8, oid::NUMERIC)
                | (oid::VARCHAR, oid::TEXT)
                | (oid::TEXT, oid::VARCHAR)
        )
}

pub(super) fn only_column(output: &Output, node: &Node) -> Typed {
    match (output.extent, output.columns.as_slice()) {
        (Extent::Complete, [column]) => column.value.clone().map(|value| Value {
            origin: Origin::Varying,
            untyped: None,
            columns: Columns::default(),
            ..value
        }),
        (Extent::Complete | Extent::Open, _) => Err(loud("a sub-select", node)),
    }
}
