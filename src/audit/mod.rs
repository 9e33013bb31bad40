//! The audit log: records in a chain of hashes, on the disk before what they announce happens.
//!
//! In: [`crate::bypass::AuditRecord`]s. Out: lines of JSON in a file, and the proof that none of them was changed.
//!
//! A line is `{"hash":"H",REST`. `H` is the SHA-256, in 64 lower-case hexadecimal digits, of the hash
//! of the line before it, as it is written there, followed by the bytes of `REST`; before the first
//! line stand 64 zeros. `REST` begins with `"seq":N,"time":"..",` and `N` counts from 1. A full file
//! is renamed to the configured name, a dot, and the number of its first record in 12 digits; the chain
//! goes on in the next file, whose first record is `rotated`. A file beside them ends in `.head` and
//! holds `N:H` of the last record.
//!
//! # Invariants
//! 1. [`AuditSink::append`] returns only after the record is on the disk, and all before it.
//! 2. After a failure nothing is appended until the log was read again up to its last acknowledged
//!    record. What cannot be explained by a crash stops the log, never the tenants.
//! 3. A torn end is sealed by a record that names its length and hash; the bytes stay.
//! 4. [`AuditSink::note`] neither waits nor fails. What it drops is counted, and the count recorded.
//! 5. One process at a time writes a log: the head is locked.
//!
//! # Not here
//! What the records say: [`crate::bypass`]. An attacker who may write the files can make a new chain:
//! only an anchor that is kept elsewhere shows that (`tenantry audit verify --expect-at-least`).

mod chain;
mod fault;
mod files;
mod log;
mod show;
mod sink;
mod verify;
mod walk;
mod writer;

#[cfg(test)]
mod tests;

pub use chain::{Anchor, NoAnchor};
pub use show::{Filter, Line, NO_FILTER, show};
pub use sink::{AuditError, AuditSettings, AuditSink, wall_clock};
pub use verify::{Broken, Finding, Known, Report, verify};

/// A longer record is refused, and what it announces with it.
pub const RECORD_BYTES_MAX: usize = 32 * 1024 * 1024;
/// A longer line is no record: hash, number and time come on top.
const LINE_BYTES_MAX: usize = RECORD_BYTES_MAX + 256;
