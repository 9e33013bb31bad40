//! Connections to PostgreSQL: made, pooled, lent for a transaction, brought back to a known state.
//!
//! In: where a server is and who to be there; a client's need. Out: a [`Server`], lent until it is
//! dropped; or the catalog of a database.
//!
//! # Invariants
//! 1. SQL reaches a server only out of [`crate::session::ToServer`].
//! 2. A server connection goes back to its pool only when its state is known: idle, nothing due, no
//!    byte unread. Whatever is dropped on the way is closed.
//! 3. A cancel request reaches a server connection only while it works for the client that asked.
//! 4. A connection that an admin has used is never lent to a tenant, nor the other way round.
//! 5. A connection that died while it was idle is noticed before it is lent.
//!
//! # When a server connection is reset
//! Admitted statements leave nothing behind but session variables and the state of sequences: isolation
//! refuses temporary tables, LISTEN, PREPARE, advisory locks and cursors WITH HOLD. So a connection
//! that only ran such statements is clean when its transaction has ended. If its client changed
//! variables, it is reset in full, in a round trip of its own, before anybody else borrows it. The next
//! client's variables, and `DISCARD SEQUENCES` if it worked for somebody else, go in front of the
//! client's first message without waiting; if that fails, the client's connection ends before it could
//! read what came after.
//!
//! # Not here
//! The conversation itself: [`crate::session`].

mod cancel;
mod connect;
mod introspect;
mod pool;
mod server;
mod survey;
mod unseen;

pub use cancel::{CancelKey, Cancels, Registration};
pub use connect::{ConnectError, Target};
pub use introspect::{IntrospectError, introspect};
pub use pool::{AcquireError, Borrowed, Pool, Pools, Users};
pub use server::Server;
pub use survey::{PlainIndex, Survey, survey};
