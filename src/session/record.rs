//! What a session has to tell the audit log.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::leave::Leave;
use crate::bypass::{Ending, GrantEnd, ParameterFormat, SentParameter};
use crate::protocol::frontend::Bind;
use crate::tenant::TenantId;

/// A statement of an admin that is about to be sent. It must be on disk before.
#[derive(Clone, Debug)]
pub struct Intent {
    /// The grant in force, or the one that the statement takes; none for what an admin may do without.
    pub leave: Option<Arc<Leave>>,
    /// The one tenant that the admin is bound to.
    pub tenant: Option<TenantId>,
    /// The text, as the client sent it.
    pub statement: Bytes,
    /// The text that the server will run.
    pub sent: String,
    /// The values that it is executed with.
    pub parameters: Vec<SentParameter>,
    /// Whether rows of the scope's tenants can have a part in it.
    pub touches: Touches,
}

/// A statement that was not sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refused {
    /// The SQLSTATE that it was answered.
    pub sqlstate: Cow<'static, str>,
    /// The message, which ends with the stable code.
    pub message: String,
    /// The client's text, where there is one.
    pub statement: Bytes,
}

/// Whether rows of tenants can have a part in a statement.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Touches {
    /// It may change some.
    Changed,
    /// It names no relation.
    Nothing,
    /// It reads some.
    Read,
}

/// How far a statement came that is run for each tenant by itself.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Progress {
    /// Whose servers it was sent to.
    pub sent_for: BTreeSet<TenantId>,
    /// How many rows were changed, and that for good, of which tenant.
    pub changed: BTreeMap<TenantId, u64>,
    /// How many rows the client was given, or were changed.
    pub rows: u64,
}

/// What happened in an admin's session.
#[derive(Clone, Debug)]
pub enum HatchEvent {
    /// A grant is no longer in force.
    Ended(Arc<Leave>, GrantEnd),
    /// What the last [`Intent`] was about is over.
    Outcome {
        /// How many rows the client got, or the command counted.
        rows: u64,
        /// How it ended.
        ending: Ending,
        /// Of a statement that is run for each tenant by itself, how far it came.
        progress: Option<Progress>,
    },
    /// What these records announced was undone with its transaction, or may have been.
    Undone {
        /// The numbers of their records.
        statements: Vec<u64>,
        /// Why.
        ending: Ending,
    },
    /// A grant came into force.
    Taken(Arc<Leave>),
}

/// The values of a Bind, each with its own format.
pub(super) fn parameters(bind: &Bind) -> Vec<SentParameter> {
    let mut parameters = Vec::with_capacity(bind.parameters);
    for (number, value) in bind.each_value().into_iter().enumerate() {
        let format = match bind.parameter_formats.as_slice() {
            [] => 0,
            [all] => *all,
            each => each.get(number).copied().unwrap_or_default(),
        };
        let format = if format == 0 {
            ParameterFormat::Text
        } else {
            ParameterFormat::Binary
        };
        parameters.push(SentParameter::new(format, value));
    }
    parameters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_told_apart() {
        let mut bind = Bind {
            portal: Bytes::new(),
            statement: Bytes::new(),
            parameter_formats: vec![0, 1, 0],
            parameters: 3,
            values: Bytes::from_static(b"\0\0\0\x02ab\0\0\0\x01\x07\xff\xff\xff\xff"),
            result_formats: Bytes::new(),
        };
        let value = |format, value| SentParameter::new(format, value);
        assert_eq!(
            parameters(&bind),
            [
                value(ParameterFormat::Text, Some(&b"ab"[..])),
                value(ParameterFormat::Binary, Some(&[7])),
                SentParameter::Null
            ]
        );
        bind.parameter_formats = vec![1];
        let binary = value(ParameterFormat::Binary, Some(&b"ab"[..]));
        assert_eq!(parameters(&bind)[0], binary);
        bind.parameter_formats = Vec::new();
        let text = value(ParameterFormat::Text, Some(&[7]));
        assert_eq!(parameters(&bind)[1], text);
    }
}
