//! What Tenantry asks of PostgreSQL servers.
//!
//! # Not here
//! What is sent: [`crate::admitted::Admitted`].

mod introspect;

pub use introspect::{IntrospectError, introspect};
