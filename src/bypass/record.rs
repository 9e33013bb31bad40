//! What the audit log says: one value for each kind of record.
//!
//! In: what happened, as plain values. Out: JSON, in the names of these fields.
//!
//! # Invariants
//! 1. A statement of an admin is recorded whole, with its parameters: nothing is cut.
//! 2. A refused statement of a tenant is recorded without its literals ([`super::shape()`]).
//!
//! # Not here
//! How records are chained, written and read: [`crate::audit`]. It also adds each record's number
//! and time.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use super::timestamp::Timestamp;

/// SHA-256 of something.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Sha256Hash(pub [u8; 32]);

/// A text is not 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("a hash is 64 hexadecimal digits in lower case")]
pub struct NoHash;

impl fmt::Display for Sha256Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl FromStr for Sha256Hash {
    type Err = NoHash;

    fn from_str(text: &str) -> Result<Self, NoHash> {
        let digit = |byte: &u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut bytes = [0; 32];
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != bytes.len() || !rest.is_empty() {
            return Err(NoHash);
        }
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = digit(high).ok_or(NoHash)? * 16 + digit(low).ok_or(NoHash)?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Sha256Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Bytes as two hexadecimal digits each.
fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| {
        char::from(if value < 10 {
            b'0' + value
        } else {
            b'a' - 10 + value
        })
    };
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// Bytes that a client sent: as a text where they are one.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub enum SentText {
    /// UTF-8.
    Text(String),
    /// Anything else.
    Bytes {
        /// The bytes in hexadecimal digits.
        hex: String,
    },
}

impl From<&[u8]> for SentText {
    fn from(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_not_utf8) => Self::Bytes { hex: hex(bytes) },
        }
    }
}

impl From<&str> for SentText {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// The format of a parameter in Bind.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ParameterFormat {
    /// 1
    Binary,
    /// 0
    Text,
}

/// The value of a parameter: `null`, a JSON text, or an object with its format and bytes.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub enum SentParameter {
    /// NULL.
    Null,
    /// Text format, UTF-8.
    Text(String),
    /// Anything else.
    Bytes {
        /// Its format.
        format: ParameterFormat,
        /// The bytes in hexadecimal digits.
        hex: String,
    },
}

impl SentParameter {
    /// A value as Bind carries it; none is NULL.
    pub fn new(format: ParameterFormat, value: Option<&[u8]>) -> Self {
        let Some(bytes) = value else {
            return Self::Null;
        };
        let text = match format {
            ParameterFormat::Binary => None,
            ParameterFormat::Text => std::str::from_utf8(bytes).ok(),
        };
        match text {
            Some(text) => Self::Text(text.to_owned()),
            None => Self::Bytes {
                format,
                hex: hex(bytes),
            },
        }
    }
}

/// An admin's session.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AdminSession {
    /// Who the grant names.
    pub who: String,
    /// The login, as the client sent it.
    pub login: String,
    /// The client's address.
    pub client: String,
    /// The process id that the client was given: it tells apart sessions of one admin.
    pub session: u32,
}

/// Names, or all there are: a list, or `"*"`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Names {
    /// These.
    Listed(Vec<String>),
    /// `"*"`
    All(AllNames),
}

impl Names {
    /// All there are.
    pub const ALL: Self = Self::All(AllNames::All);

    /// Whether the name is one of them.
    pub fn contains(&self, name: &str) -> bool {
        match self {
            Self::Listed(names) => names.iter().any(|listed| listed == name),
            Self::All(AllNames::All) => true,
        }
    }
}

/// `"*"`
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum AllNames {
    /// `"*"`
    #[serde(rename = "*")]
    All,
}

/// What a grant allowed at that time: its file may be another one tomorrow.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RecordedScope {
    /// The tenants' names.
    pub tenants: Names,
    /// The tables, as `schema.name`.
    pub tables: Names,
    /// Such as `select`.
    pub verbs: Vec<String>,
    /// Rows that it may read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_rows: Option<u64>,
    /// The tenant whose view the admin took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_tenant: Option<String>,
}

/// A grant in use.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RecordedGrant {
    /// Its name.
    pub grant: String,
    /// Why.
    pub reason: String,
    /// By whom.
    pub approved_by: String,
    /// Until when.
    pub expires: Timestamp,
    /// For what.
    pub scope: RecordedScope,
}

/// Why a grant is no longer in use.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantEnd {
    /// The admin went away.
    Disconnect,
    /// Its time was over.
    Expired,
    /// The proxy stopped.
    ProxyStopped,
    /// The admin took another one.
    Replaced,
    /// The admin gave it back.
    Reset,
    /// Its file is gone, or another one.
    Revoked,
    /// It was taken with SET LOCAL, or its SET was rolled back.
    TransactionEnd,
}

/// How a statement ended.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The server connection was lost: the statement may have run or not. Why.
    Lost(String),
    /// It was recorded, but never reached a server. Why.
    NotSent(String),
    /// An error, by its SQLSTATE.
    Sqlstate(String),
    /// The command tag.
    Tag(String),
}

/// A refused statement of a tenant, as far as it may be written down.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Shape {
    /// The statement with its literals replaced.
    Readable {
        /// Its words.
        shape: String,
    },
    /// It could not be read, or is too long.
    Unreadable {
        /// How long it is.
        bytes: usize,
    },
}

/// One record. The tag of its JSON is `event`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum AuditRecord {
    /// An admin logged in.
    AdminLogin {
        /// Who.
        #[serde(flatten)]
        admin: AdminSession,
        /// The upstream, or the console.
        database: String,
    },
    /// An admin could not log in.
    AdminLoginRefused {
        /// The name that was given.
        login: String,
        /// The client's address.
        client: String,
        /// The database that was named.
        database: String,
        /// What the client was told.
        sqlstate: String,
    },
    /// Other files are in effect.
    ConfigChanged {
        /// What asked for it, such as `SIGHUP`.
        by: String,
        /// The files that came, went or changed, relative to the configuration directory.
        changed: Vec<String>,
        /// The revision before.
        previous: String,
        /// The revision that is in effect.
        revision: String,
    },
    /// Records that were not written, because there were too many: see [`crate::audit`].
    Dropped {
        /// How many.
        records: u64,
        /// How many of each tenant, where that is known.
        tenants: BTreeMap<String, u64>,
    },
    /// A grant is no longer in use.
    GrantEnded {
        /// Whose.
        #[serde(flatten)]
        admin: AdminSession,
        /// Its name.
        grant: String,
        /// Why.
        why: GrantEnd,
    },
    /// An admin took a grant.
    GrantTaken {
        /// Who.
        #[serde(flatten)]
        admin: AdminSession,
        /// What.
        #[serde(flatten)]
        grant: RecordedGrant,
    },
    /// How a statement ended.
    Outcome {
        /// The number of its record.
        statement: u64,
        /// Rows that were read or written.
        rows: u64,
        /// How it ended.
        #[serde(flatten)]
        ending: Ending,
        /// How long it ran.
        duration_us: u64,
        /// The tenants that it was sent for; none if it names no table.
        tenants: Names,
        /// How many rows were changed of each tenant, where that was done for one after the other.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        changed: BTreeMap<String, u64>,
    },
    /// The proxy began to serve.
    ProxyStarted {
        /// Of Tenantry.
        version: String,
        /// The revision of the configuration.
        revision: String,
    },
    /// The proxy stops in order.
    ProxyStopped,
    /// The log could not be written for a while; what it refused then was not sent.
    Recovered {
        /// What was wrong.
        error: String,
        /// How many records were refused.
        refused: u64,
    },
    /// A statement of an admin was refused.
    Refused {
        /// Whose.
        #[serde(flatten)]
        admin: AdminSession,
        /// The grant in use.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        grant: Option<String>,
        /// The client's text.
        statement: SentText,
        /// What the client was told.
        sqlstate: String,
        /// The message that the client was given; it ends with the code of the refusal.
        message: String,
    },
    /// The first record of a file.
    Rotated {
        /// The file before.
        file: String,
        /// Its last hash.
        previous: Sha256Hash,
    },
    /// What stands before this record is no record: writing it was cut short.
    Sealed {
        /// How many bytes it has, without the line feed that ends it.
        bytes: u64,
        /// Their hash.
        sha256: Sha256Hash,
    },
    /// A statement of an admin is about to be sent.
    Statement {
        /// Whose.
        #[serde(flatten)]
        admin: AdminSession,
        /// Under which grant, if under any.
        #[serde(default, flatten, skip_serializing_if = "Option::is_none")]
        grant: Option<RecordedGrant>,
        /// The client's text.
        statement: SentText,
        /// The text that the server runs.
        sent: SentText,
        /// The client's parameters.
        parameters: Vec<SentParameter>,
    },
    /// Changes that these outcomes tell were undone with their transaction, or nobody knows.
    Undone {
        /// Whose.
        #[serde(flatten)]
        admin: AdminSession,
        /// The numbers of the statements' records.
        statements: Vec<u64>,
        /// Why.
        #[serde(flatten)]
        ending: Ending,
    },
    /// A statement of a tenant was refused.
    TenantRefused {
        /// Whose.
        tenant: String,
        /// The login.
        login: String,
        /// The client's address.
        client: String,
        /// What the client was told.
        sqlstate: String,
        /// The code of the refusal, such as `TN0004`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<String>,
        /// The statement without its literals.
        #[serde(flatten)]
        shape: Shape,
    },
}
