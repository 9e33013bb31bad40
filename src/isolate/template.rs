//! A rewritten statement with places for the tenant, but no tenant in it.

use crate::tenant::TenantType;

/// A place in the text where the tenant's value stands, as `$n::pg_catalog.type`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Slot {
    /// The byte offset of the `$`.
    pub offset: usize,
    /// The parameter's number, always greater than the client's last.
    pub number: u16,
    /// The type that it is cast to.
    pub slot_type: TenantType,
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
    pub tenant_parameters: Vec<TenantType>,
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
