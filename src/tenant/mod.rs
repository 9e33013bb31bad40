//! Who a row belongs to: tenants, and what each relation is to them.
//!
//! In: the policy's lines and a [`crate::catalog::Catalog`]. Out: [`Classified`], the two together, in
//! which every relation has exactly one [`Class`]; [`Classified::under`] a [`Scope`], what an admin sees of it.
//!
//! # Invariants
//! 1. A relation that nothing classifies has the class [`Class::Refused`]; there is no other default.
//! 2. A [`TenantKey`] is only bound to a column whose [`TenantType`] accepts it.
//!
//! # Not here
//! How the files are read: [`crate::config`]. What is done to a statement: [`crate::isolate`].

mod classified;
mod column;
mod id;
mod policy;
mod references;
mod reviewed;
mod scope;
mod sequence;
mod truncate;
mod via;
mod view;

pub use classified::{Class, Classified, Closed, Scoped, TenantColumn, WriteHazard};
pub use id::{InvalidTenantId, KeyMismatch, TenantId, TenantKey, TenantSet, TenantType};
pub use policy::{Costs, Policy, TablePolicy, TrustedTrigger, Unlisted};
pub use references::TellingCheck;
pub use scope::{Counted, Rows, Scope, TableSet, Verb};
pub use truncate::{TruncateHazard, WithChildren};
pub use via::{Broken, ChangedReference, Ownership, Via};
