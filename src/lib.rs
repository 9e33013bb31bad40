//! Tenantry: a proxy that speaks PostgreSQL's protocol on both sides and keeps each tenant inside
//! its own data.
//!
//! ```text
//! SQL text -> sql::parse      -> ParsedStatement
//!          -> isolate         -> Template          text with places for the tenant
//!          -> verify          -> VerifiedStatement an independent proof on PostgreSQL's own grammar
//!                             => Admitted          the only thing a server connection takes
//! ```

pub mod admitted;
pub mod audit;
pub mod bypass;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod isolate;
pub mod net;
pub mod protocol;
pub mod proxy;
pub mod registry;
pub mod session;
pub mod sql;
pub mod tenant;
pub mod upstream;
pub mod verify;
