//! The SQL that Tenantry sends on its own account: a closed list, with nothing of a client in it but
//! quoted names, and values of variables.

/// A text of Tenantry's own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Housekeeping {
    /// Opens a transaction around one statement, see [`Housekeeping::Commit`].
    Begin,
    /// Makes a temporary table, and takes its rows: what an admin collects from many tenants. It leaves the
    /// transaction open.
    Collect {
        /// The table's name.
        table: String,
        /// The names of its columns, and of their types in `pg_catalog`.
        columns: Vec<(String, String)>,
    },
    /// Ends it when what was changed has been counted.
    Commit,
    /// Forgets what `currval` and `lastval` would tell.
    DiscardSequences,
    /// Nothing at all: PostgreSQL answers `EmptyQueryResponse`.
    Empty,
    /// Fails in any state, so that a refusal fails the transaction block on the server as well.
    Fail,
    /// Does nothing, but fails in a block that has failed.
    Probe,
    /// Nothing more is written in this transaction.
    ReadOnly,
    /// Everything that a session can leave behind, but for prepared statements: DISCARD ALL without
    /// DEALLOCATE ALL and DISCARD PLANS.
    Reset,
    /// Ends it when too much was changed, or the statement has failed.
    Rollback,
    /// Sets and resets session variables.
    Variables {
        /// Names that get their default.
        reset: Vec<String>,
        /// Names and values as SHOW prints them.
        set: Vec<(String, String)>,
    },
}

impl Housekeeping {
    /// The text to be sent.
    pub fn text(&self) -> String {
        match self {
            Self::Begin => "BEGIN".to_owned(),
            Self::Collect { table, columns } => {
                let table = identifier(table);
                let columns: Vec<String> = columns
                    .iter()
                    .map(|(name, type_name)| {
                        format!("{} pg_catalog.{}", identifier(name), identifier(type_name))
                    })
                    .collect();
                let columns = columns.join(", ");
                format!(
                    "BEGIN READ WRITE; CREATE TEMPORARY TABLE {table} ({columns}); \
                     COPY pg_temp.{table} FROM STDIN"
                )
            }
            Self::Commit => "COMMIT".to_owned(),
            Self::DiscardSequences => "DISCARD SEQUENCES".to_owned(),
            Self::Empty => String::new(),
            Self::Fail => "refused_by_tenantry".to_owned(),
            Self::Probe => "SELECT".to_owned(),
            Self::ReadOnly => "SET TRANSACTION READ ONLY".to_owned(),
            Self::Reset => "RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; CLOSE ALL; \
                            UNLISTEN *; SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; \
                            DISCARD SEQUENCES"
                .to_owned(),
            Self::Rollback => "ROLLBACK".to_owned(),
            Self::Variables { reset, set } => {
                let reset = reset.iter().map(|name| {
                    let parts: Vec<String> = name.split('.').map(identifier).collect();
                    format!("RESET {}", parts.join("."))
                });
                let calls: Vec<String> = set
                    .iter()
                    .map(|(name, value)| {
                        let (name, value) = (literal(name), literal(value));
                        format!("pg_catalog.set_config({name}, {value}, false)")
                    })
                    .collect();
                let set = (!calls.is_empty()).then(|| format!("SELECT {}", calls.join(", ")));
                reset.chain(set).collect::<Vec<_>>().join("; ")
            }
        }
    }
}

/// Quoted as a string constant that means the same whatever `standard_conforming_strings` says.
fn literal(text: &str) -> String {
    let quoted = text.replace('\0', "").replace('\'', "''");
    if quoted.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('\0', "").replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_quoted() {
        let task = Housekeeping::Variables {
            reset: vec!["app.u\"ser".into()],
            set: vec![
                ("timezone".into(), "x'; DROP TABLE t; --".into()),
                ("app.a".into(), "\\'".into()),
            ],
        };
        assert_eq!(
            task.text(),
            "RESET \"app\".\"u\"\"ser\"; SELECT \
             pg_catalog.set_config('timezone', 'x''; DROP TABLE t; --', false), \
             pg_catalog.set_config('app.a', E'\\\\''', false)"
        );
    }
}
