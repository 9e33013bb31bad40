//! The value that SET gives a parameter, as SHOW would take it.
//!
//! In: the arguments of SET. Out: one text, put together as PostgreSQL's `flatten_set_variable_args` does;
//! `set_config` takes it on another server connection.

/// One argument.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Argument {
    /// A word, a number or a string.
    Constant(String),
    /// `INTERVAL '..'`, of SET TIME ZONE.
    Interval {
        /// What stands in quotes.
        text: String,
        /// The fields that it has; none where they are not named.
        fields: Option<Fields>,
    },
}

/// The fields of an interval that SET TIME ZONE takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fields {
    /// `HOUR`
    Hour,
    /// `HOUR TO MINUTE`
    HourToMinute,
}

/// `INTERVAL_MASK(HOUR)` and `INTERVAL_MASK(MINUTE)` of utils/timestamp.h.
const HOUR: i32 = 1 << 10;
const MINUTE: i32 = 1 << 11;
/// `INTERVAL_FULL_RANGE`
const ALL_FIELDS: i32 = 0x7FFF;

impl Fields {
    /// The fields that the type of an interval says, as the grammar writes them down; an error if these are
    /// others.
    pub fn of(typmods: &[i32]) -> Result<Option<Self>, UnknownFields> {
        match typmods.first() {
            None | Some(&ALL_FIELDS) => Ok(None),
            Some(&HOUR) => Ok(Some(Self::Hour)),
            Some(mask) if *mask == HOUR | MINUTE => Ok(Some(Self::HourToMinute)),
            Some(_) => Err(UnknownFields),
        }
    }
}

/// An interval with fields that SET TIME ZONE does not take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UnknownFields;

/// Parameters that are lists of names: each keeps its quotes.
const LISTS_OF_NAMES: [&str; 6] = [
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

/// The value that these arguments are together; none where that cannot be said.
pub fn value(variable: &str, arguments: &[Argument]) -> Option<String> {
    let is_list = LISTS_OF_NAMES.contains(&variable);
    let each = arguments.iter().map(|argument| match argument {
        Argument::Constant(text) if is_list => Some(name(text)),
        Argument::Constant(text) => Some(text.clone()),
        Argument::Interval { text, fields } => interval(text, *fields),
    });
    let each: Vec<String> = each.collect::<Option<_>>()?;
    Some(each.join(", "))
}

/// A name in quotes, if it needs them.
fn name(text: &str) -> String {
    let is_plain = text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && text
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    if is_plain {
        text.to_owned()
    } else {
        format!("\"{}\"", text.replace('"', "\"\""))
    }
}

/// `INTERVAL '..'` without fields: they say how a number is meant, and what is cut off.
fn interval(text: &str, fields: Option<Fields>) -> Option<String> {
    if text.contains(['\'', '\\']) {
        return None;
    }
    let Some(fields) = fields else {
        return Some(format!("INTERVAL '{text}'"));
    };
    let trimmed = text.trim();
    let (sign, unsigned) = match trimmed.strip_prefix('-') {
        Some(unsigned) => ("-", unsigned),
        None => ("", trimmed.strip_prefix('+').unwrap_or(trimmed)),
    };
    let mut parts = unsigned.split(':').map(number);
    let first = parts.next()??;
    let (hours, minutes) = match (parts.next(), fields) {
        (None, Fields::Hour) => (first, 0),
        (None, Fields::HourToMinute) => (first / 60, first % 60),
        (Some(minutes), Fields::Hour) => {
            minutes?;
            (first, 0)
        }
        (Some(minutes), Fields::HourToMinute) => (first, minutes?),
    };
    let seconds = parts.next().unwrap_or(Some(0));
    (seconds.is_some() && parts.next().is_none())
        .then(|| format!("INTERVAL '{sign}{hours}:{minutes:02}:00'"))
}

fn number(text: &str) -> Option<u32> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_say_how_a_number_is_meant() {
        let hour = Some(Fields::Hour);
        let both = Some(Fields::HourToMinute);
        for (text, fields, expected) in [
            ("1", both, Some("INTERVAL '0:01:00'")),
            ("+00:00", both, Some("INTERVAL '0:00:00'")),
            ("-08:30", both, Some("INTERVAL '-8:30:00'")),
            ("-0:30", both, Some("INTERVAL '-0:30:00'")),
            ("8:30:59", both, Some("INTERVAL '8:30:00'")),
            ("90", both, Some("INTERVAL '1:30:00'")),
            ("2", hour, Some("INTERVAL '2:00:00'")),
            ("2:30", hour, Some("INTERVAL '2:00:00'")),
            ("3 hours", None, Some("INTERVAL '3 hours'")),
            ("3 hours", hour, None),
            ("1:2:3:4", both, None),
            ("1:", both, None),
            ("x'y", None, None),
        ] {
            let argument = Argument::Interval {
                text: text.to_owned(),
                fields,
            };
            let found = value("timezone", &[argument]);
            assert_eq!(found.as_deref(), expected, "{text} {fields:?}");
        }
    }

    #[test]
    fn names_keep_their_quotes() {
        let arguments = ["$user", "App", "public"].map(|name| Argument::Constant(name.to_owned()));
        for (variable, expected) in [
            ("search_path", "\"$user\", \"App\", public"),
            ("datestyle", "$user, App, public"),
        ] {
            assert_eq!(value(variable, &arguments).as_deref(), Some(expected));
        }
    }
}
