//! What a session has to know of a statement, beyond sending it.

use crate::catalog::Oid;

/// What a transaction control statement does.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum TransactionCommand {
    /// `BEGIN`, `START TRANSACTION`
    Begin,
    /// `COMMIT`, `END`
    Commit,
    /// `COMMIT AND CHAIN`: the next block begins at once.
    CommitAndChain,
    /// `RELEASE SAVEPOINT`
    Release,
    /// `ROLLBACK`, `ABORT`
    Rollback,
    /// `ROLLBACK AND CHAIN`: the next block begins at once.
    RollbackAndChain,
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

/// `PREPARE name (types) AS statement`
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct SqlPrepare {
    /// The name.
    pub name: String,
    /// The types of its parameters.
    pub types: Vec<Oid>,
    /// The text of the statement; it is admitted by itself.
    pub sql: String,
}

/// What stands in a text in place of the name that EXECUTE gives.
pub const EXECUTED: &str = "tenantry_statement";

/// What the server is sent in place of PREPARE and DEALLOCATE, whose names Tenantry keeps: it does
/// nothing, but for failing where any statement would.
pub const NOTHING: &str = "UNLISTEN tenantry_nothing";

/// What the session layer has to know of a statement, beyond sending it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    /// `SET SESSION CHARACTERISTICS`: parameters, each with its value as `SHOW` would take it.
    Characteristics(Vec<(String, String)>),
    /// It clears the server's session: `DISCARD ALL`; for database tenants any DISCARD and `RESET ALL`.
    ClearsSession,
    /// `CLOSE name`, or `CLOSE ALL` where there is no name.
    CloseCursor(Option<String>),
    /// It works on a cursor that ends with the transaction: DECLARE, WHERE CURRENT OF.
    Cursor,
    /// A query or a change of data: nothing.
    Data,
    /// FETCH, MOVE
    Fetch,
    /// `DEALLOCATE name`, or `DEALLOCATE ALL` where there is no name.
    Deallocate(Option<String>),
    /// `EXECUTE name (arguments)`
    Execute {
        /// The name.
        name: String,
        /// How many arguments there are.
        arguments: usize,
    },
    /// `DECLARE name CURSOR WITH HOLD`: the cursor outlives the transaction.
    Hold(String),
    /// It leaves something in the server's session (a temporary table, a listener, a prepared
    /// statement, an advisory lock), so that the connection must stay with this client. Only
    /// database tenants may.
    Pins,
    /// `PREPARE`
    Prepare(SqlPrepare),
    /// `RESET name`, `SET name TO DEFAULT`
    Reset {
        /// The parameter's name, in lower case.
        variable: String,
    },
    /// `RESET ALL`
    ResetAll,
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
    /// `TRUNCATE`, which is sent as DELETE.
    Truncate,
}
