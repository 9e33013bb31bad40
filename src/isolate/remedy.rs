//! What would make a condition silent: the verifier says it with its refusal, and the rewriter tries.
//!
//! A remedy is a hint. What the rewriter makes of it is proved like everything else.

/// What to do about a condition that could fail, warn or act on another tenant's row.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Remedy {
    /// Show a column as NULL on rows of other tenants.
    Mask(MaskedColumn),
    /// Compute a conjunct on the tenant's own rows only.
    Shield {
        /// The condition that it is in.
        condition: Condition,
        /// Its place among the condition's conjuncts.
        conjunct: usize,
    },
}

/// Where a table is named: in the client's text, or in the definition of a view that is named there.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Mention {
    /// The place in the client's text.
    at: usize,
    /// The way from there through definitions, as a number; 0 where there are none.
    way: u64,
}

/// What a way is multiplied by at each step: prime, and greater than the places in a definition.
const STEP: u64 = 2_147_483_647;

impl Mention {
    /// In the client's text.
    pub fn new(at: usize) -> Self {
        Self { at, way: 0 }
    }

    /// In the definition of the view that is named here.
    #[must_use]
    pub fn within(self, at: usize) -> Self {
        let at = u64::try_from(at).unwrap_or(u64::MAX);
        let way = self.way.wrapping_mul(STEP).wrapping_add(at).wrapping_add(1);
        Self { way, ..self }
    }

    /// The same in a text that begins behind so many bytes of this one.
    pub fn behind(self, bytes: usize) -> Option<Self> {
        let at = self.at.checked_sub(bytes)?;
        Some(Self { at, ..self })
    }
}

/// A column of a table in FROM.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct MaskedColumn {
    /// Where the table is named.
    pub table: Mention,
    /// The column's number in the catalog.
    pub number: i16,
}

/// A condition, by the place of a table's name in the client's text.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Condition {
    /// The ON of the join whose right side is, or begins with, this table.
    On(usize),
    /// The WHERE of the query or change in which this table stands.
    Where(usize),
}
