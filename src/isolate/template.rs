//! A rewritten statement with places for the tenant, but no tenant in it.

use std::collections::BTreeSet;

use crate::catalog::Oid;
use crate::tenant::{KeyMismatch, TenantKey, TenantType};

/// The type of a place for the tenant, or for the tenants of a scope.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum SlotType {
    /// An array of keys, behind `= ANY`.
    Any(TenantType),
    /// One key.
    One(TenantType),
}

/// What is put in such a place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SlotValue<'a> {
    /// The keys of a scope.
    Any(&'a BTreeSet<TenantKey>),
    /// A tenant's key.
    One(&'a TenantKey),
}

impl SlotType {
    /// The type's name in `pg_catalog`, which the place is printed with.
    pub fn name(self) -> &'static str {
        match self {
            Self::Any(element) => element.array_name(),
            Self::One(key) => key.name(),
        }
    }

    /// The type's object identifier, which a parameter is declared with.
    pub fn oid(self) -> Oid {
        match self {
            Self::Any(element) => element.array_oid(),
            Self::One(key) => key.oid(),
        }
    }

    /// The value in this type's text form.
    pub fn text(self, value: SlotValue<'_>) -> Result<String, KeyMismatch> {
        match (self, value) {
            (Self::Any(element), SlotValue::Any(keys)) => element.array_text(keys),
            (Self::One(key_type), SlotValue::One(key)) => key_type.text(key),
            (Self::Any(_) | Self::One(_), _) => Err(self.mismatch(value)),
        }
    }

    /// The value in this type's binary form.
    pub fn binary(self, value: SlotValue<'_>) -> Result<Vec<u8>, KeyMismatch> {
        match (self, value) {
            (Self::Any(element), SlotValue::Any(keys)) => element.array_binary(keys),
            (Self::One(key_type), SlotValue::One(key)) => key_type.binary(key),
            (Self::Any(_) | Self::One(_), _) => Err(self.mismatch(value)),
        }
    }

    fn mismatch(self, value: SlotValue<'_>) -> KeyMismatch {
        KeyMismatch {
            key: match value {
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
