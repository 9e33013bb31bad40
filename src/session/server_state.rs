//! What is known of a server connection, whoever uses it.

use std::collections::{BTreeMap, BTreeSet};

use super::statements::Prepared;
use super::variables::Values;

/// What a server connection carries from one client to the next.
#[derive(Debug, Default)]
pub struct ServerState {
    /// The statements that are prepared on it.
    pub prepared: Prepared,
    /// The session variables that differ from its defaults.
    pub variables: Values,
    /// The names of an application's own settings that it has seen: they cannot be taken back.
    pub custom_variables: BTreeSet<String>,
    /// Whom it worked for last.
    pub last_session: Option<u64>,
    /// Which of that session's borrowings it was.
    pub last_borrowing: u64,
    /// What it reported by `ParameterStatus`.
    pub parameters: BTreeMap<String, String>,
}
