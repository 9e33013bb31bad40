//! What a statement changes in the session, once the server has run it.

use std::sync::Arc;

use super::admission::{copying, parse_text};
use super::variables::OWN_PREFIX;
use crate::isolate::copying::{CopyIn, Copying};
use crate::isolate::{Isolated, Kind, SetScope, SqlPrepare, TransactionCommand};

/// What is to be noted when a statement has completed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Effect {
    /// A transaction block begins.
    Begin,
    /// The next transaction block begins where this one ended, one way or the other: the command tag tells.
    Chain,
    /// The session is as new: variables, prepared statements, all.
    Clear,
    /// A cursor is gone, or all are.
    CloseCursor(Option<String>),
    /// The transaction block ends, one way or the other: the command tag tells.
    Commit,
    /// A setting of the application's own was made for the transaction; its name stays.
    Custom(String),
    /// Rows of the client's are read before it completes.
    CopyIn(Arc<CopyIn>),
    /// Prepared statements are forgotten: one, or all.
    Deallocate(Option<String>),
    /// A cursor was made that outlives the transaction.
    Hold(String),
    /// Nothing.
    None,
    /// The server connection holds something of this client's.
    Pin,
    /// A statement was prepared.
    Prepare(SqlPrepare),
    /// A savepoint is gone.
    Release(String),
    /// A variable has its default again.
    Reset(String),
    /// All variables have their defaults again.
    ResetAll,
    /// The transaction block has ended and was undone.
    Rollback,
    /// What came after a savepoint was undone.
    RollbackTo(String),
    /// A savepoint was made.
    Savepoint(String),
    /// A variable was set.
    Set(String, String),
    /// Several variables were set.
    SetAll(Vec<(String, String)>),
    /// A variable that Tenantry reads itself was set for the transaction.
    SetLocal(String, String),
    /// Tables were emptied, by DELETE.
    Truncate,
}

impl Effect {
    /// Whether it begins or ends a transaction block, and so a transaction.
    pub(super) fn is_of_transaction(&self) -> bool {
        matches!(
            self,
            Self::Begin | Self::Chain | Self::Commit | Self::Rollback
        )
    }

    /// What this statement will have changed.
    pub fn of(statement: &Isolated) -> Self {
        match &statement.kind {
            Kind::Data => match copying(&statement.admitted) {
                Some(Copying::In(copy)) => Self::CopyIn(Arc::clone(copy)),
                Some(Copying::Out) | None => Self::None,
            },
            Kind::Characteristics(values) => Self::SetAll(values.clone()),
            Kind::CloseCursor(name) => Self::CloseCursor(name.clone()),
            Kind::Cursor
            | Kind::Execute { .. }
            | Kind::Fetch
            | Kind::SetTransaction
            | Kind::Show { .. } => Self::None,
            Kind::Deallocate(name) => Self::Deallocate(name.clone()),
            Kind::Prepare(prepare) => Self::Prepare(prepare.clone()),
            Kind::Hold(cursor) => Self::Hold(cursor.clone()),
            Kind::ResetAll => Self::ResetAll,
            Kind::Truncate => Self::Truncate,
            Kind::ClearsSession => Self::Clear,
            Kind::Pins => Self::Pin,
            Kind::Reset { variable } => Self::Reset(variable.clone()),
            Kind::Set { variable, .. } if OF_THE_TRANSACTION.contains(&variable.as_str()) => {
                Self::None
            }
            Kind::Set {
                scope: SetScope::Local,
                variable,
                value,
            } => {
                if variable.starts_with(OWN_PREFIX) {
                    Self::SetLocal(variable.clone(), value.clone())
                } else if variable.contains('.') {
                    Self::Custom(variable.clone())
                } else {
                    Self::None
                }
            }
            Kind::Set {
                scope: SetScope::Session,
                variable,
                value,
            } => Self::Set(variable.clone(), value.clone()),
            Kind::Transaction(command) => {
                let name = || savepoint_name(parse_text(&statement.admitted));
                match command {
                    TransactionCommand::Begin => Self::Begin,
                    TransactionCommand::Commit => Self::Commit,
                    TransactionCommand::CommitAndChain | TransactionCommand::RollbackAndChain => {
                        Self::Chain
                    }
                    TransactionCommand::Release => Self::Release(name()),
                    TransactionCommand::Rollback => Self::Rollback,
                    TransactionCommand::RollbackTo => Self::RollbackTo(name()),
                    TransactionCommand::Savepoint => Self::Savepoint(name()),
                }
            }
        }
    }

    /// The stream that is read before it completes.
    pub fn copy_in(self) -> Option<Arc<CopyIn>> {
        match self {
            Self::CopyIn(copy) => Some(copy),
            Self::Begin
            | Self::Chain
            | Self::Clear
            | Self::CloseCursor(_)
            | Self::Commit
            | Self::Custom(_)
            | Self::Deallocate(_)
            | Self::Hold(_)
            | Self::None
            | Self::Pin
            | Self::Prepare(_)
            | Self::Release(_)
            | Self::Reset(_)
            | Self::ResetAll
            | Self::Rollback
            | Self::RollbackTo(_)
            | Self::Savepoint(_)
            | Self::Set(..)
            | Self::SetAll(_)
            | Self::SetLocal(..)
            | Self::Truncate => None,
        }
    }

    /// Whether the server connection's variables change outside of what a rollback undoes.
    pub fn changes_variables(&self) -> bool {
        match self {
            Self::Clear
            | Self::Custom(_)
            | Self::Reset(_)
            | Self::ResetAll
            | Self::Set(..)
            | Self::SetAll(_)
            | Self::SetLocal(..) => true,
            Self::Begin
            | Self::Chain
            | Self::CloseCursor(_)
            | Self::Commit
            | Self::CopyIn(_)
            | Self::Deallocate(_)
            | Self::Hold(_)
            | Self::None
            | Self::Pin
            | Self::Prepare(_)
            | Self::Release(_)
            | Self::Rollback
            | Self::RollbackTo(_)
            | Self::Savepoint(_)
            | Self::Truncate => false,
        }
    }

    /// Whether what is sent behind it has to wait until it is over.
    pub(super) fn clears(&self) -> bool {
        matches!(
            self,
            Self::Clear | Self::Deallocate(None) | Self::Reset(_) | Self::ResetAll
        )
    }

    /// Whether prepared statements come or go.
    pub(super) fn changes_names(&self) -> bool {
        matches!(self, Self::Clear | Self::Deallocate(_) | Self::Prepare(_))
    }

    /// The command tag that the client is told, where it is not the server's.
    pub(super) fn tag(&self) -> Option<&'static str> {
        match self {
            Self::Deallocate(Some(_)) => Some("DEALLOCATE"),
            Self::Deallocate(None) => Some("DEALLOCATE ALL"),
            Self::Prepare(_) => Some("PREPARE"),
            Self::Truncate => Some("TRUNCATE TABLE"),
            Self::Begin
            | Self::Chain
            | Self::Clear
            | Self::CloseCursor(_)
            | Self::Commit
            | Self::CopyIn(_)
            | Self::Custom(_)
            | Self::Hold(_)
            | Self::None
            | Self::Pin
            | Self::Release(_)
            | Self::Reset(_)
            | Self::ResetAll
            | Self::Rollback
            | Self::RollbackTo(_)
            | Self::Savepoint(_)
            | Self::Set(..)
            | Self::SetAll(_)
            | Self::SetLocal(..) => None,
        }
    }
}

/// Variables that end with the transaction, however they are set.
const OF_THE_TRANSACTION: [&str; 3] = [
    "transaction_deferrable",
    "transaction_isolation",
    "transaction_read_only",
];

/// The name at the end of SAVEPOINT, RELEASE and ROLLBACK TO, folded as PostgreSQL folds it.
fn savepoint_name(text: &str) -> String {
    let text = text.trim_end_matches(|c: char| c.is_whitespace() || c == ';');
    if let Some(quoted) = text.strip_suffix('"') {
        let name = quoted.split_once('"').map_or(quoted, |(_, name)| name);
        return name.replace("\"\"", "\"");
    }
    text.rsplit(char::is_whitespace)
        .next()
        .unwrap_or(text)
        .to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn savepoints_are_named_as_postgresql_folds_them() {
        for (text, name) in [
            ("SAVEPOINT A", "a"),
            ("ROLLBACK TO SAVEPOINT \"A b\"", "A b"),
            ("RELEASE SAVEPOINT \"a\"\"b\" ;", "a\"b"),
            ("ROLLBACK TO a;", "a"),
        ] {
            assert_eq!(savepoint_name(text), name, "{text}");
        }
    }
}
