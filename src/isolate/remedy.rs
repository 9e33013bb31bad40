//! What would make a condition silent: the verifier says it with its refusal, and the rewriter tries.
//!
//! A remedy is a hint. What the rewriter makes of it is proved like everything else.

/// What to do about a condition that could fail, warn or act on another tenant's row.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Remedy {
    /// Compute a conjunct on the tenant's own rows only.
    Shield {
        /// The condition that it is in.
        condition: Condition,
        /// Its place among the condition's conjuncts.
        conjunct: usize,
    },
}

/// A condition, by the place of a table's name in the client's text.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Condition {
    /// The ON of the join whose right side is, or begins with, this table.
    On(usize),
    /// The WHERE of the query or change in which this table stands.
    Where(usize),
}
