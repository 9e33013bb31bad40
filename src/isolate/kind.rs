//! What a session has to know of a statement, beyond sending it.

/// What a transaction control statement does.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum TransactionCommand {
    /// `BEGIN`, `START TRANSACTION`
    Begin,
    /// `COMMIT`, `END`
    Commit,
    /// `RELEASE SAVEPOINT`
    Release,
    /// `ROLLBACK`, `ABORT`
    Rollback,
    /// `ROLLBACK TO SAVEPOINT`
    RollbackTo,
    /// `SAVEPOINT`
    Savepoint,
}

/// Whether a SET lasts for the session or the transaction.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum SetScope {
    /// `SET LOCAL`
    Local,
    /// `SET`, `SET SESSION`
    Session,
}

/// What the session layer has to know of a statement, beyond sending it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    /// It clears the server's session: `DISCARD`, `RESET ALL`. Only database tenants may.
    ClearsSession,
    /// A query or a change of data: nothing.
    Data,
    /// It leaves something in the server's session (a temporary table, a listener, a prepared
    /// statement, an advisory lock), so that the connection must stay with this client. Only
    /// database tenants may.
    Pins,
    /// `RESET name`, `SET name TO DEFAULT`
    Reset {
        /// The parameter's name, in lower case.
        variable: String,
    },
    /// `SET name TO value`, of a parameter that clients may change.
    Set {
        /// For how long.
        scope: SetScope,
        /// The parameter's name, in lower case.
        variable: String,
        /// The value, as `SHOW` would take it.
        value: String,
    },
    /// `SET TRANSACTION`: it ends with the transaction.
    SetTransaction,
    /// `SHOW name`, of a parameter that clients may read.
    Show {
        /// The parameter's name, in lower case.
        variable: String,
    },
    /// Transaction control.
    Transaction(TransactionCommand),
}
