//! The functions that a statement calls, wherever in it they stand.
//!
//! In: a statement's tree. Out: the first call of a function that is not the system's, nor one of the
//! usual extensions'. It may run any SQL, out of the gate's sight.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use pg_query::NodeEnum;
use serde_json::Value;

use crate::isolate::refusal::Reason;

static SYSTEM: LazyLock<BTreeSet<&'static str>> = LazyLock::new(|| {
    include_str!("system_functions.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect()
});

/// Functions of the extensions that come with PostgreSQL, and of `PostGIS`, which compute from what is
/// given to them. A `*` at the end of an entry stands for any ending.
pub(super) const EXTENSIONS: [&str; 27] = [
    "armor",
    "crypt",
    "cube*",
    "daitch_mokotoff",
    "dearmor",
    "decrypt*",
    "difference",
    "digest",
    "dmetaphone*",
    "earth*",
    "encrypt*",
    "gen_random_*",
    "gen_salt",
    "hmac",
    "hstore*",
    "levenshtein*",
    "ll_to_earth",
    "metaphone",
    "pgp_*",
    "show_trgm",
    "similarity*",
    "soundex",
    "st_*",
    "strict_word_similarity*",
    "unaccent*",
    "uuid_*",
    "word_similarity*",
];

/// Refuses a statement that calls a function of the application's own.
pub(super) fn only_known(node: &NodeEnum) -> Result<(), Reason> {
    // The library's own walk leaves nodes out; written as JSON, the tree shows each of them.
    let tree = serde_json::to_value(node).map_err(|error| Reason::Unproved {
        what: error.to_string(),
    })?;
    match unknown(&tree) {
        Some(function) => Err(Reason::FunctionBeyondGate { function }),
        None => Ok(()),
    }
}

fn unknown(tree: &Value) -> Option<String> {
    match tree {
        Value::Array(elements) => elements.iter().find_map(unknown),
        Value::Object(fields) => fields.iter().find_map(|(field, value)| {
            if field == "funcname" {
                unknown_name(value)
            } else {
                unknown(value)
            }
        }),
        Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => None,
    }
}

/// The name in dotted form, unless it is known.
fn unknown_name(names: &Value) -> Option<String> {
    let mut parts = Vec::new();
    strings(names, &mut parts);
    let is_known = match parts.as_slice() {
        [name] | ["pg_catalog", name] if SYSTEM.contains(name) => true,
        ["information_schema", name] => name.starts_with("_pg_"),
        [.., name] => super::gate::is_listed(name, &EXTENSIONS),
        [] => false,
    };
    (!is_known).then(|| parts.join("."))
}

fn strings<'t>(tree: &'t Value, found: &mut Vec<&'t str>) {
    match tree {
        Value::String(text) => found.push(text),
        Value::Array(elements) => elements.iter().for_each(|element| strings(element, found)),
        Value::Object(fields) => fields.values().for_each(|value| strings(value, found)),
        Value::Bool(_) | Value::Null | Value::Number(_) => {}
    }
}
