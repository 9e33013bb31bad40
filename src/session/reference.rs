//! What the server says of a value that refers to no row of the tenant's: the error of a foreign key, in other words.

use crate::isolate::template::NOT_PRESENT;
use crate::protocol::error_response::{ErrorReport, ServerReport};

/// `foreign_key_violation`
const FOREIGN_KEY_VIOLATION: &str = "23503";

/// Where the detail begins behind the message.
const DETAIL: &str = "\" Key (";

/// The error that a foreign key would have given, if the server could not make a value of the text that stands in
/// place of one.
pub(super) fn not_present(report: &ServerReport<'_>) -> Option<ErrorReport> {
    if report.text(b'C') != Some("22P02") {
        return None;
    }
    let (_, text) = report.text(b'M')?.split_once(NOT_PRESENT)?;
    let (names, detail) = text.strip_suffix('"')?.split_once(DETAIL)?;
    let message = format!("{NOT_PRESENT}{names}\"");
    Some(ErrorReport {
        detail: Some(format!("Key ({detail}")),
        ..ErrorReport::error(FOREIGN_KEY_VIOLATION, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(sqlstate: &str, message: &str) -> Option<(String, Option<String>)> {
        let mut body = Vec::new();
        for (code, value) in [(b'S', "ERROR"), (b'C', sqlstate), (b'M', message)] {
            body.push(code);
            body.extend_from_slice(value.as_bytes());
            body.push(0);
        }
        body.push(0);
        let report = ServerReport::read(&body).unwrap();
        let found = not_present(&report)?;
        assert_eq!(found.sqlstate, "23503");
        Some((found.message, found.detail))
    }

    #[test]
    fn a_reference_to_nothing_is_told_as_postgres_tells_it() {
        let message = "invalid input syntax for type integer: \"insert or update on table \"l\" violates foreign key \
                       constraint \"l_order\" Key (order_id)=(9) is not present in table \"o\".\"";
        let told_so = told("22P02", message);
        let wanted = "insert or update on table \"l\" violates foreign key constraint \"l_order\"";
        let detail = "Key (order_id)=(9) is not present in table \"o\".";
        assert_eq!(told_so, Some((wanted.to_owned(), Some(detail.to_owned()))));
        assert_eq!(told("22003", message), None);
        assert_eq!(
            told("22P02", "invalid input syntax for type integer: \"x\""),
            None
        );
        assert_eq!(told("22P02", "\"insert or update on table \"l\""), None);
    }
}
