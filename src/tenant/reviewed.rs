//! Functions that the policy trusts, and the fingerprints by which they are still the ones that were reviewed.
//!
//! In: entries of the policy, `schema.name(types)` with or without ` = fingerprint`. Out: whether a function is
//! trusted. One whose definition has changed since its fingerprint was written down is not.

use super::policy::Policy;
use crate::catalog::Catalog;

/// Whether the policy names exactly this `schema.name(types)`, spaces aside, and as it is now.
pub(super) fn trusts(catalog: &Catalog, policy: &Policy, signature: &str) -> bool {
    let entries = policy.trusted_functions.iter();
    let mut entries = entries.filter_map(|entry| of_entry(entry, signature));
    entries.any(|fingerprint| match fingerprint {
        "" => true,
        wanted => fingerprint_of(catalog, signature) == Some(wanted),
    })
}

/// Whether the policy names this function, with the fingerprint of another definition.
pub(super) fn has_changed(catalog: &Catalog, policy: &Policy, signature: &str) -> bool {
    let mut entries = policy.trusted_functions.iter();
    entries.any(|entry| of_entry(entry, signature).is_some()) && !trusts(catalog, policy, signature)
}

/// The fingerprint in an entry that is about this function, or nothing.
fn of_entry<'e>(entry: &'e str, signature: &str) -> Option<&'e str> {
    let plain = |text: &str| text.replace(' ', "");
    let (named, fingerprint) = match entry.rsplit_once(" = ") {
        Some((named, fingerprint)) => (named, fingerprint.trim()),
        None => (entry, ""),
    };
    (plain(named) == plain(signature)).then_some(fingerprint)
}

fn fingerprint_of<'c>(catalog: &'c Catalog, signature: &str) -> Option<&'c str> {
    let plain = |text: &str| text.replace(' ', "");
    let mut functions = catalog.functions.iter();
    let found = functions.find(|function| plain(&function.signature()) == plain(signature));
    found?.fingerprint.as_deref()
}
