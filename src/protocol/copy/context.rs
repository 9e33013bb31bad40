//! What the server says of a stream, in the words of one that was not edited.
//!
//! What was put in front of a row is known to the byte, and is taken away there and nowhere else. Where
//! something else stands, less is told: the line's number alone.

use super::{CopyStream, Format, Rows};

impl CopyStream {
    /// The CONTEXT of an error, as `CopyFromErrorCallback()` would have made it of the client's stream;
    /// none if it is not one of that function's.
    pub fn context(&self, context: &str) -> Option<String> {
        let begins = format!("COPY {}, line ", self.relation);
        let rest = context.strip_prefix(&begins)?;
        let Rows::Owned { owner, format, .. } = &self.rows else {
            return Some(context.to_owned());
        };
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = rest.split_at_checked(digits)?;
        let line = format!("{begins}{number}");
        if let Some(column) = rest.strip_prefix(", column ") {
            let behind = column.strip_prefix(owner);
            let is_owner =
                behind.is_some_and(|behind| behind.is_empty() || behind.starts_with(':'));
            return Some(if is_owner { line } else { context.to_owned() });
        }
        let shown = match format {
            Format::Binary(_) => None,
            Format::Lines(lines) => lines.fronts().find_map(|front| {
                let front = std::str::from_utf8(front).ok()?;
                rest.strip_prefix(": \"")?.strip_prefix(front)
            }),
        };
        Some(match shown {
            Some(shown) => format!("{line}: \"{shown}"),
            None => line,
        })
    }

    /// A message that counts columns, as it would count the client's; none for any other.
    pub fn message(&self, message: &str) -> Option<String> {
        let Rows::Owned {
            columns, format, ..
        } = &self.rows
        else {
            return None;
        };
        match format {
            Format::Binary(rows) => {
                let (found, sent) = rows.miscounted()?;
                let says = |found: i16, expected: usize| {
                    format!("row field count is {found}, expected {expected}")
                };
                (message == says(sent, columns + 1)).then(|| says(found, *columns))
            }
            Format::Lines(_) => header_message(message),
        }
    }
}

/// As `NextCopyFromRawFields()` says it of a header that does not match.
fn header_message(message: &str) -> Option<String> {
    // PostgreSQL 15, and later ones.
    const COUNTS: [&str; 2] = [
        "wrong number of fields in header line: got ",
        "wrong number of fields in header line: field count is ",
    ];
    const NAME: &str = "column name mismatch in header line field ";
    let one_less = |number: &str| number.parse::<usize>().ok()?.checked_sub(1);
    let count = COUNTS
        .into_iter()
        .find_map(|count| Some((count, message.strip_prefix(count)?)));
    if let Some((count, rest)) = count {
        let (found, expected) = rest.split_once(", expected ")?;
        let (found, expected) = (one_less(found)?, one_less(expected)?);
        return Some(format!("{count}{found}, expected {expected}"));
    }
    let (number, rest) = message.strip_prefix(NAME)?.split_once(": ")?;
    Some(format!("{NAME}{}: {rest}", one_less(number)?))
}
