//! Where secrets come from: environment variables and files.

use std::fmt;
use std::path::PathBuf;

use toml::de::DeValue;

use super::fault::{Effect, Fault};
use super::secret::Secret;
use super::table::{Placed, Table};

/// What becomes of an object whose secret cannot be read. A login without one is left out in any
/// case.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MissingSecret {
    /// It is a fault: somebody wants to use the secret.
    Fault,
    /// It is a warning: the files are only looked at, where secrets need not be.
    Warning,
}

/// What is read besides the directory's own files.
pub(super) struct Environment<'a> {
    variable: &'a dyn Fn(&str) -> Option<String>,
    missing: MissingSecret,
    directory: PathBuf,
}

impl fmt::Debug for Environment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("missing", &self.missing)
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

/// A variable of this process.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one reader of the environment"
)]
pub(super) fn process_variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl<'a> Environment<'a> {
    /// An environment for one directory, to which secrets' files are relative.
    pub(super) fn new(
        directory: PathBuf,
        variable: &'a dyn Fn(&str) -> Option<String>,
        missing: MissingSecret,
    ) -> Self {
        Self {
            variable,
            missing,
            directory,
        }
    }

    /// A file that is named relative to the directory.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A secret that is shown to a server. Where the files are only looked at, an empty one stands
    /// for one that cannot be read.
    pub(super) fn server_secret(&self, table: &mut Table<'_>, key: &'static str) -> Option<Secret> {
        let is_referred_to = table
            .any(key)
            .is_some_and(|it| Reference::read(it.value).is_some());
        let placeholder = || match self.missing {
            MissingSecret::Fault => None,
            MissingSecret::Warning => is_referred_to.then(|| Secret::new(String::new())),
        };
        self.secret(table, key).or_else(placeholder)
    }

    /// A secret that a key refers to.
    pub(super) fn secret(&self, table: &mut Table<'_>, key: &'static str) -> Option<Secret> {
        let reference = table.any(key)?;
        match Reference::read(reference.value) {
            Some(Reference::Env(name)) => self.resolved(
                table,
                &reference,
                (self.variable)(name).ok_or(format!("the environment variable {name} is not set")),
            ),
            Some(Reference::File(name)) => {
                let path = self.directory.join(name);
                let text = super::file::text(&path).map_err(|error| format!("{name}: {error}"));
                self.resolved(table, &reference, text)
            }
            None => {
                table.fault(
                    reference.place,
                    format!("\"{key}\" is no reference to a secret"),
                    format!("A secret is never written here: {key} = {{ env = \"..\" }} or {{ file = \"..\" }}"),
                );
                None
            }
        }
    }

    fn resolved(
        &self,
        table: &Table<'_>,
        reference: &Placed<&DeValue<'_>>,
        text: Result<String, String>,
    ) -> Option<Secret> {
        let problem = match text {
            // A file made by an editor ends with a line feed, which is no part of the secret.
            Ok(text) => match text.trim_end_matches(['\r', '\n']) {
                "" => "the secret is empty".to_owned(),
                secret => return Some(Secret::new(secret.to_owned())),
            },
            Err(problem) => problem,
        };
        table.context.findings.add(Fault {
            place: reference.place.clone(),
            message: problem,
            remedy: "Provide it where tenantry serve runs.".to_owned(),
            effect: match self.missing {
                MissingSecret::Fault => table.context.effect.clone(),
                MissingSecret::Warning => Effect::Nothing,
            },
        });
        None
    }
}

/// `{ env = ".." }` or `{ file = ".." }`
enum Reference<'a> {
    Env(&'a str),
    File(&'a str),
}

impl<'a> Reference<'a> {
    fn read(value: &'a DeValue<'_>) -> Option<Self> {
        let mut entries = value.as_table()?.iter();
        let (key, target) = entries.next()?;
        let target = target.get_ref().as_str().filter(|text| !text.is_empty())?;
        match (key.get_ref().as_ref(), entries.next()) {
            ("env", None) => Some(Self::Env(target)),
            ("file", None) => Some(Self::File(target)),
            _ => None,
        }
    }
}
