//! Sockets, and the way of a client to its authentication.
//!
//! In: a connection that was accepted. Out: an authenticated login with what it asked for, or a cancel
//! request.
//!
//! # Invariants
//! 1. Before a client is authenticated no more than [`crate::protocol::startup::STARTUP_BYTES_MAX`]
//!    bytes of it are held, and only passwords are read.
//! 2. Any fault of the handshake ends the connection; nothing falls through to a session.
//! 3. Nobody can tell an unknown login from a wrong password, by text or by salt.
//!
//! # Not here
//! Which tenant a login becomes: `proxy`. TLS: it is refused (`N`) for the time being.

pub mod handshake;
pub mod scram;
pub mod stream;
