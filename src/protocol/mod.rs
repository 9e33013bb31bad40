//! Bytes and messages of PostgreSQL's frontend/backend protocol 3, without I/O.
//!
//! In: bytes as they arrive. Out: [`frame::Frame`]s, and the few messages that Tenantry must understand, each
//! read by a bounded [`reader::Reader`] that has to consume its frame exactly.
//!
//! # Invariants
//! 1. Nothing is buffered beyond the bound of its tag: a length is checked before its bytes are awaited.
//! 2. A message is read from its own frame only; what is left over in it is a violation
//!    (`a_body_is_consumed_exactly`).
//! 3. However the bytes are cut into pieces, the frames are the same (`any_chunking_gives_the_same_frames`).
//! 4. Nothing a peer sends can panic.
//!
//! # Not here
//! What a message means for a conversation: [`crate::session`]. Sockets: `net` and `upstream`.

pub mod backend;
pub mod copy;
pub mod error_response;
pub mod frame;
pub mod frontend;
pub mod reader;
pub mod startup;

use thiserror::Error;

/// A peer broke the protocol. The connection cannot go on.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum Violation {
    /// A message's body holds more or less than its fields.
    #[error("invalid message format")]
    BodyFormat,
    /// A message's tag is unknown, or not allowed at this time.
    #[error("invalid frontend message type {0}")]
    FrontendTag(u8),
    /// A length below its own four bytes, or above the bound for its tag.
    #[error("invalid message length")]
    Length,
    /// A message that does not answer what was asked.
    #[error("unexpected message type {0} from the server")]
    ServerTag(u8),
    /// A startup packet that makes no sense.
    #[error("invalid length or layout of startup packet")]
    StartupLayout,
    /// A string without its terminating NUL.
    #[error("invalid string in message")]
    UnterminatedString,
}
