//! A rewritten statement with places for the tenant, but no tenant in it.

use std::collections::BTreeSet;

use crate::catalog::{Oid, oid};
use crate::sql::NAME_BYTES_MAX;
use crate::tenant::{KeyMismatch, TenantKey, TenantType};

/// The type of a place for the tenant, for the tenants of a scope, or for what a session is called.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum SlotType {
    /// An array of keys, behind `= ANY`.
    Any(TenantType),
    /// The name of the database that the client connected to.
    Database,
    /// The name of the client's login.
    Login,
    /// One key.
    One(TenantType),
}

/// What a session is called.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SessionName {
    /// The name of the database that the client connected to.
    pub database: String,
    /// The name of the client's login.
    pub login: String,
}

/// Whose rows are meant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SlotValue<'a> {
    /// The keys of a scope.
    Any(&'a BTreeSet<TenantKey>),
    /// A tenant's key.
    One(&'a TenantKey),
}

/// What is put in the places of a template.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Filling<'a> {
    /// Whose rows are meant.
    pub rows: SlotValue<'a>,
    /// What the session is called; where none is told, a statement that asks for it is not sent.
    pub session: Option<&'a SessionName>,
}

impl<'a> From<&'a TenantKey> for Filling<'a> {
    fn from(key: &'a TenantKey) -> Self {
        SlotValue::One(key).into()
    }
}

impl<'a> From<SlotValue<'a>> for Filling<'a> {
    fn from(rows: SlotValue<'a>) -> Self {
        Self {
            rows,
            session: None,
        }
    }
}

impl SlotType {
    /// The type's name in `pg_catalog`, which the place is printed with.
    pub fn name(self) -> &'static str {
        match self {
            Self::Any(element) => element.array_name(),
            Self::Database | Self::Login => "name",
            Self::One(key) => key.name(),
        }
    }

    /// The type's object identifier, which a parameter is declared with.
    pub fn oid(self) -> Oid {
        match self {
            Self::Any(element) => element.array_oid(),
            Self::Database | Self::Login => oid::NAME,
            Self::One(key) => key.oid(),
        }
    }

    /// The value in this type's text form.
    pub fn text(self, filling: Filling<'_>) -> Result<String, KeyMismatch> {
        match (self, filling.rows) {
            (Self::Any(element), SlotValue::Any(keys)) => element.array_text(keys),
            (Self::One(key_type), SlotValue::One(key)) => key_type.text(key),
            (Self::Database | Self::Login, _) => self.session_name(filling).map(str::to_owned),
            (Self::Any(_) | Self::One(_), _) => Err(self.mismatch(filling)),
        }
    }

    /// The value in this type's binary form.
    pub fn binary(self, filling: Filling<'_>) -> Result<Vec<u8>, KeyMismatch> {
        match (self, filling.rows) {
            (Self::Any(element), SlotValue::Any(keys)) => element.array_binary(keys),
            (Self::One(key_type), SlotValue::One(key)) => key_type.binary(key),
            (Self::Database | Self::Login, _) => {
                let name = self.session_name(filling)?;
                Ok(name.as_bytes().to_vec())
            }
            (Self::Any(_) | Self::One(_), _) => Err(self.mismatch(filling)),
        }
    }

    /// What the session is called, as long as a value of type `name` may be.
    fn session_name(self, filling: Filling<'_>) -> Result<&str, KeyMismatch> {
        let name = filling.session.map(|session| match self {
            Self::Database => session.database.as_str(),
            Self::Any(_) | Self::Login | Self::One(_) => session.login.as_str(),
        });
        let name = name.ok_or_else(|| self.mismatch(filling))?;
        Ok(name
            .get(..name.floor_char_boundary(NAME_BYTES_MAX))
            .unwrap_or_default())
    }

    fn mismatch(self, filling: Filling<'_>) -> KeyMismatch {
        KeyMismatch {
            key: match filling.rows {
                SlotValue::Any(_) => "a scope".to_owned(),
                SlotValue::One(key) => key.to_string(),
            },
            type_name: self.name(),
        }
    }
}

/// What the server says of a new row whose tenant is not in the scope; it begins an error of PostgreSQL's
/// own, and no value of a tenant column can be made of it.
pub const OUT_OF_SCOPE: &str = "the tenant of a new row is outside the grant [TN6004]";

/// What the row is called that a row refers to, where it says whose that one is; of a row further up the same
/// with a number behind it.
pub const PARENT: &str = "tenantry_parent";

/// What the row is called that holds a new value of a referring column.
pub const REFERENCE: &str = "tenantry_reference";

/// How an error of PostgreSQL's own begins that stands for that of a foreign key: no value of a referring column
/// can be made of it.
pub const NOT_PRESENT: &str = "insert or update on table \"";

/// A place in the text where the tenant's value, or the scope's values, stand, as
/// `$n::pg_catalog.type`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Slot {
    /// The byte offset of the `$`.
    pub offset: usize,
    /// The parameter's number, always greater than the client's last.
    pub number: u16,
    /// The type that it is cast to.
    pub slot_type: SlotType,
}

/// What a rewriter hands to the verifier.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Template {
    /// The text to be sent in a Parse message.
    pub text: String,
    /// How many parameters the client has: the highest `$n` in its text, or the number of types
    /// that it declared if that is more.
    pub client_parameters: u16,
    /// The types of the tenant's parameters, which follow the client's: the first is
    /// `$client_parameters + 1`.
    pub tenant_parameters: Vec<SlotType>,
    /// Each place of a tenant's parameter in the text, in order.
    pub slots: Vec<Slot>,
}

/// A change of a statement's words.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Edit {
    /// The words that are replaced, counted from 0, comments left out; none where something is
    /// inserted before a word.
    pub words: std::ops::Range<usize>,
    /// What is put in their place.
    pub text: String,
}

/// How the rewriter read the client's text.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Reading {
    /// With a parser of its own.
    Parsed {
        /// The byte range of each token of the client's text, comments and white space left out.
        tokens: Vec<(usize, usize)>,
        /// What that parser prints for the client's text before any rewriting.
        reprinted: String,
    },
    /// With PostgreSQL's: the text to be sent is the client's words, with these edits in order.
    Spliced {
        /// The edits.
        edits: Vec<Edit>,
    },
}
