//! `grants/*.toml`: leave to use the escape hatch. The files are checked; none is in effect yet.

use toml::de::DeValue;

use super::fault::Object;
use super::table::{Placed, Table};
use super::values::relation_name;
use crate::tenant::TenantId;

/// Checks one file.
pub(super) fn read(mut file: Table<'_>, name: &str) {
    for (key, example) in [
        ("who", "who = [\"ops_anna\"]"),
        ("reason", "reason = \"INC-123: ..\""),
        ("approved_by", "approved_by = \"head-of-support\""),
        ("tenants", "tenants = [\"acme\"], or \"*\""),
        ("tables", "tables = [\"public.invoices\"], or \"*\""),
        ("verbs", "verbs = [\"select\"]"),
        ("expires", "expires = 2026-12-01T00:00:00Z"),
    ] {
        file.demand(key, example);
    }
    file.strings("who");
    file.string("reason");
    file.string("approved_by");
    names(&mut file, "tenants", |name| TenantId::parse(name).is_ok());
    names(&mut file, "tables", |name| relation_name(name).is_some());
    for verb in file.strings("verbs").unwrap_or_default() {
        if !["select", "insert", "update", "delete"].contains(&verb.value.as_str()) {
            let message = format!("\"{}\" is no verb", verb.value);
            file.fault(
                verb.place,
                message,
                "It must be select, insert, update or delete.",
            );
        }
    }
    for key in ["not_before", "expires"] {
        moment(&mut file, key);
    }
    file.number("max_rows", 1..=u64::from(u32::MAX));
    file.flag("as_tenant");
    file.not_supported(file.place(), "grants", Object::Grant(name.to_owned()));
    file.finish();
}

/// `"*"`, or a list of names.
fn names(file: &mut Table<'_>, key: &'static str, is_name: fn(&str) -> bool) {
    let Some(found) = file.any(key) else { return };
    let fits = match found.value {
        DeValue::String(text) => text == "*",
        DeValue::Array(names) => names
            .iter()
            .all(|name| name.get_ref().as_str().is_some_and(is_name)),
        DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Table(_) => false,
    };
    if !fits {
        let remedy = format!("It must be \"*\" or a list of the names of {key}.");
        file.fault(found.place, format!("\"{key}\" is not understood"), remedy);
    }
}

/// A moment without an offset would mean another one on each machine.
fn moment(file: &mut Table<'_>, key: &'static str) {
    let Some(found) = file.any(key) else { return };
    let Placed { value, place } = found;
    let whole = value.as_datetime().is_some_and(|moment| {
        moment.date.is_some() && moment.time.is_some() && moment.offset.is_some()
    });
    if !whole {
        let remedy = "It must be a date and a time with an offset: 2026-12-01T00:00:00Z.";
        file.fault(place, format!("\"{key}\" is no moment"), remedy);
    }
}
