//! What is wrong in a file, and what to do about it.

use std::fmt;
use std::path::PathBuf;

/// Where something stands.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Place {
    /// The file, relative to the configuration directory.
    pub file: PathBuf,
    /// The line, counted from 1; none where the file itself is meant.
    pub line: Option<usize>,
}

/// Something that a fault can stop alone.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Object {
    /// A grant, by its name.
    Grant(String),
    /// All listeners.
    Listeners,
    /// A login, by its name.
    Login(String),
    /// A tenant, by its name.
    Tenant(String),
    /// An upstream, by its name; its tenants go with it.
    Upstream(String),
}

/// What a fault stops.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Effect {
    /// Nothing: a warning.
    Nothing,
    /// One object, because what it asks for does not exist yet. The rest is served, and a reload
    /// takes effect.
    NotSupportedYet(Object),
    /// One object at a start; at a reload the old state stays.
    Stops(Object),
    /// Everything at a start; at a reload the old state stays.
    StopsEverything,
}

/// Something wrong.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// What.
    pub message: String,
    /// What to do.
    pub remedy: String,
    /// What it stops.
    pub effect: Effect,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        match self.line {
            Some(line) => write!(f, ":{line}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grant(name) => write!(f, "grant {name}"),
            Self::Listeners => f.write_str("all listeners"),
            Self::Login(name) => write!(f, "login {name}"),
            Self::Tenant(name) => write!(f, "tenant {name}"),
            Self::Upstream(name) => write!(f, "upstream {name}"),
        }
    }
}

impl fmt::Display for Fault {
    /// `file:line: message`, and the remedy on a line of its own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)?;
        match &self.effect {
            Effect::Nothing | Effect::StopsEverything => {}
            Effect::NotSupportedYet(object) | Effect::Stops(object) => {
                write!(f, " (stops {object})")?;
            }
        }
        write!(f, "\n    {}", self.remedy)
    }
}
