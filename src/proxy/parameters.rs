//! What a client says in its startup packet about session variables.

use std::collections::BTreeMap;

use crate::config::Limits;
use crate::protocol::error_response::ErrorReport;
use crate::protocol::startup::Startup;

/// Variables that a client may begin with.
const TAKEN: &[&str] = &[
    "application_name",
    "bytea_output",
    "client_min_messages",
    "datestyle",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "extra_float_digits",
    "idle_in_transaction_session_timeout",
    "intervalstyle",
    "lock_timeout",
    "statement_timeout",
    "timezone",
];

/// Variables that drivers send, and that change nothing that a client could see.
const IGNORED: &[&str] = &["geqo", "jit"];

/// What the startup packet asks for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Requested {
    /// Names in lower case, with values.
    pub(super) variables: BTreeMap<String, String>,
    /// `tenantry.tenant`
    pub(super) tenant: Option<String>,
}

/// Sorts the parameters of a startup packet; what is not known is refused by name.
pub(super) fn requested(startup: &Startup) -> Result<Requested, ErrorReport> {
    let mut requested = Requested::default();
    for (name, value) in &startup.parameters {
        match name.as_str() {
            "user" | "database" | "replication" => {}
            "options" => {
                for (name, value) in options(value)? {
                    take(&mut requested, &name, &value)?;
                }
            }
            name => take(&mut requested, name, value)?,
        }
    }
    Ok(requested)
}

fn take(requested: &mut Requested, name: &str, value: &str) -> Result<(), ErrorReport> {
    let name = name.to_ascii_lowercase();
    match name.as_str() {
        "client_encoding" => {
            // Drivers quote it: asyncpg sends 'utf-8' with its quotes.
            let plain: String = value
                .chars()
                .filter(char::is_ascii_alphanumeric)
                .collect::<String>()
                .to_ascii_lowercase();
            if plain == "utf8" || plain == "unicode" {
                Ok(())
            } else {
                Err(ErrorReport::fatal(
                    "0A000",
                    format!("client_encoding \"{value}\" is not supported"),
                )
                .with_hint("Tenantry reads UTF8 only."))
            }
        }
        "standard_conforming_strings" if value.eq_ignore_ascii_case("on") => Ok(()),
        "tenantry.tenant" => match &requested.tenant {
            Some(other) if other != value => Err(ErrorReport::fatal(
                "28000",
                "tenantry.tenant is given twice, with different values",
            )),
            Some(_) | None => {
                requested.tenant = Some(value.to_owned());
                Ok(())
            }
        },
        name if TAKEN.contains(&name) => {
            requested
                .variables
                .insert(name.to_owned(), value.to_owned());
            Ok(())
        }
        name if IGNORED.contains(&name) => Ok(()),
        name => Err(ErrorReport::fatal(
            "0A000",
            format!("startup parameter \"{name}\" is not supported"),
        )),
    }
}

/// `-c name=value`, `-cname=value` and `--name=value`, split as `pg_split_opts` does: at white space,
/// with a backslash for what is meant literally. In `--name`, `-` stands for `_`.
fn options(text: &str) -> Result<Vec<(String, String)>, ErrorReport> {
    let unreadable = || {
        ErrorReport::fatal(
            "0A000",
            "only -c name=value is supported in startup options",
        )
    };
    let mut settings = Vec::new();
    let mut words = split_options(text).into_iter();
    while let Some(word) = words.next() {
        let (setting, is_long) = if let Some(long) = word.strip_prefix("--") {
            (long.to_owned(), true)
        } else if word == "-c" {
            (words.next().ok_or_else(unreadable)?, false)
        } else if let Some(short) = word.strip_prefix("-c") {
            (short.to_owned(), false)
        } else {
            return Err(unreadable());
        };
        let (name, value) = setting.split_once('=').ok_or_else(unreadable)?;
        let name = if is_long {
            name.replace('-', "_")
        } else {
            name.to_owned()
        };
        settings.push((name, value.to_owned()));
    }
    Ok(settings)
}

fn split_options(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => {
                if let Some(literal) = characters.next() {
                    word.get_or_insert_default().push(literal);
                }
            }
            space if space.is_ascii_whitespace() => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

/// The variables that a tenant's session begins with: the tenant's settings, the client's own, and the
/// limits where neither asks for less.
pub(super) fn initial_variables(
    settings: &BTreeMap<String, String>,
    requested: &Requested,
    limits: &Limits,
) -> BTreeMap<String, String> {
    let mut variables: BTreeMap<String, String> = settings
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
        .collect();
    // A private database would not know of the pool's own name.
    variables.insert("application_name".to_owned(), String::new());
    variables.extend(requested.variables.clone());
    for (name, limit) in [
        ("statement_timeout", limits.statement_timeout),
        (
            "idle_in_transaction_session_timeout",
            limits.idle_in_transaction_timeout,
        ),
    ] {
        let Some(limit) = limit else { continue };
        let limit = limit.as_millis();
        let asked = variables.get(name).and_then(|value| milliseconds(value));
        if asked.is_none_or(|asked| asked == 0 || asked > limit) {
            variables.insert(name.to_owned(), limit.to_string());
        }
    }
    variables
}

/// A duration as PostgreSQL reads it, if it is written without fractions.
fn milliseconds(text: &str) -> Option<u128> {
    let text = text.trim();
    let end = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(end)?;
    let number: u128 = digits.parse().ok()?;
    match unit.trim() {
        "" | "ms" => Some(number),
        "us" => Some(number.div_ceil(1000)),
        "s" => number.checked_mul(1000),
        "min" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        "d" => number.checked_mul(86_400_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ask(parameters: &[(&str, &str)]) -> Result<Requested, ErrorReport> {
        requested(&Startup {
            parameters: parameters
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..Startup::default()
        })
    }

    #[test]
    fn what_drivers_send_is_taken() {
        let asked = ask(&[
            ("user", "u"),
            ("client_encoding", "'utf-8'"),
            ("DateStyle", "ISO"),
            (
                "options",
                "-c TimeZone=Europe/Berlin --statement-timeout=5 -cjit=off",
            ),
            ("application_name", "psql"),
        ])
        .unwrap();
        let variables: Vec<(&str, &str)> = asked
            .variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(
            variables,
            [
                ("application_name", "psql"),
                ("datestyle", "ISO"),
                ("statement_timeout", "5"),
                ("timezone", "Europe/Berlin"),
            ]
        );
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for (name, value, sqlstate) in [
            ("client_encoding", "SJIS", "0A000"),
            ("search_path", "evil", "0A000"),
            ("iso.tenant", "2", "0A000"),
            ("options", "-c iso.tenant=2 -c search_path=evil", "0A000"),
            ("options", "-csearch_path=evil", "0A000"),
            ("options", "-c role=postgres", "0A000"),
            ("options", "-d postgres", "0A000"),
            ("options", "-c", "0A000"),
            ("standard_conforming_strings", "off", "0A000"),
            (
                "options",
                "-c tenantry.tenant=a -c tenantry.tenant=b",
                "28000",
            ),
        ] {
            let refused = ask(&[(name, value)]).unwrap_err();
            assert_eq!(refused.sqlstate, sqlstate, "{name}={value}");
        }
    }

    #[test]
    fn options_are_split_as_postgresql_does() {
        let asked = ask(&[(
            "options",
            r"-c application_name=a\ b\\c  -c tenantry.tenant=acme",
        )]);
        let asked = asked.unwrap();
        assert_eq!(asked.variables["application_name"], r"a b\c");
        assert_eq!(asked.tenant.as_deref(), Some("acme"));
    }

    #[test]
    fn limits_bound_what_a_client_asks() {
        let limits = Limits {
            statement_timeout: Some(Duration::from_secs(2)),
            ..Limits::default()
        };
        for (asked, expected) in [("5", "5"), ("0", "2000"), ("1min", "2000"), ("x", "2000")] {
            let requested = ask(&[("statement_timeout", asked)]).unwrap();
            let variables = initial_variables(&BTreeMap::new(), &requested, &limits);
            assert_eq!(variables["statement_timeout"], expected, "{asked}");
        }
    }
}
