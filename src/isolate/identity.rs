//! What a statement can ask about its session: the names that the client connected with.
//!
//! In: the name of a function or keyword. Out: which place of a template answers it.

use super::template::SlotType;

/// What a call of a function of `pg_catalog`, without arguments, is answered with.
pub(super) fn by_call(function: &str) -> Option<SlotType> {
    match function {
        "current_database" => Some(SlotType::Database),
        "current_user" | "session_user" => Some(SlotType::Login),
        _ => None,
    }
}

/// What a keyword without parentheses is answered with.
pub(super) fn by_keyword(keyword: &str) -> Option<SlotType> {
    match keyword {
        "current_catalog" => Some(SlotType::Database),
        "current_role" | "current_user" | "session_user" | "user" => Some(SlotType::Login),
        _ => None,
    }
}

/// A sub-select gives the column the name that the call would, wherever it stands.
pub(super) fn named(slot: &str, name: &str) -> String {
    format!("(SELECT {slot} AS \"{name}\")")
}
