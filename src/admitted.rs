//! What may be sent to a server.

use crate::bypass::BypassedStatement;
use crate::verify::VerifiedStatement;

/// The only form in which SQL text reaches a server connection.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Admitted {
    /// An admin's statement, under a grant.
    Bypassed(BypassedStatement),
    /// A tenant's statement, proved to be isolated.
    Isolated(VerifiedStatement),
}

impl From<VerifiedStatement> for Admitted {
    /// What was proved under the scope of a grant is an admin's.
    fn from(verified: VerifiedStatement) -> Self {
        match BypassedStatement::new(verified) {
            Ok(bypassed) => Self::Bypassed(bypassed),
            Err(verified) => Self::Isolated(*verified),
        }
    }
}
