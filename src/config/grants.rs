//! `grants/*.toml`: leave to use the escape hatch.

use std::collections::BTreeSet;
use std::time::Duration;

use toml::de::DeValue;
use toml::value::{Datetime, Offset};

use super::table::{Placed, Table};
use super::values::relation_name;
use crate::bypass::{Grant, Sight};
use crate::tenant::{TableSet, TenantId, TenantSet, Verb};

/// What a file says; its names of logins and tenants are compared with the other files.
#[derive(Debug, Default)]
pub(super) struct Declared {
    pub(super) who: Vec<Placed<String>>,
    pub(super) tenants: Vec<Placed<String>>,
    /// None if the file has a fault.
    pub(super) grant: Option<Grant>,
}

/// `"*"`, or a list of names.
enum Names {
    All,
    Listed(Vec<Placed<String>>),
}

/// Reads one file.
pub(super) fn read(mut file: Table<'_>, name: &str) -> Declared {
    check_name(&file, name);
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
    let who = file.strings("who").unwrap_or_default();
    some(&mut file, "who", &who);
    let reason = file.string("reason");
    let approved_by = approver(&mut file, &who);
    let tenants = names(&mut file, "tenants");
    let tables = tables(&mut file);
    let verbs = verbs(&mut file);
    let not_before = moment(&mut file, "not_before");
    let expires = moment(&mut file, "expires");
    if let (Some(begin), Some(end)) = (&not_before, &expires)
        && begin.value >= end.value
    {
        let message = "it expires before it begins";
        file.fault(
            end.place.clone(),
            message,
            "\"expires\" must be after \"not_before\".",
        );
    }
    let max_rows = file.number("max_rows", 1..=u64::from(u32::MAX));
    let as_tenant = file.flag("as_tenant");
    file.finish();
    let (tenants, tenant_set) = tenant_set(tenants);
    let grant = || {
        Some(Grant {
            name: name.to_owned(),
            who: who.iter().map(|login| login.value.clone()).collect(),
            reason: reason?.value,
            approved_by: approved_by?,
            tenants: tenant_set?,
            tables: tables?,
            verbs: verbs?,
            not_before: not_before.map(|moment| moment.value),
            expires: expires?.value,
            max_rows: max_rows.map(|rows| rows.value),
            sight: match as_tenant {
                Some(Placed { value: true, .. }) => Sight::AsTenant,
                Some(_) | None => Sight::Across,
            },
        })
    };
    Declared {
        grant: grant(),
        who,
        tenants,
    }
}

/// The name is typed by hand, and printed in the log.
fn check_name(file: &Table<'_>, name: &str) {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let lead = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !lead || name.len() > 63 || !name.chars().all(plain) {
        file.fault(
            file.place(),
            "a grant's name has 1 to 63 letters, digits, '-', '_' and '.', a letter or digit first",
            "Rename the file.",
        );
    }
}

/// Nobody approves their own.
fn approver(file: &mut Table<'_>, who: &[Placed<String>]) -> Option<String> {
    let approver = file.string("approved_by")?;
    let same = |login: &Placed<String>| login.value.eq_ignore_ascii_case(approver.value.trim());
    if who.iter().any(same) {
        let message = format!("\"{}\" approves a grant of their own", approver.value);
        file.fault(
            approver.place,
            message,
            "Somebody else than \"who\" must approve it.",
        );
        return None;
    }
    Some(approver.value)
}

/// Notes a fault if a list has nothing in it.
fn some<T>(file: &mut Table<'_>, key: &'static str, list: &[T]) {
    let Some(found) = file.any(key) else { return };
    if list.is_empty() && matches!(found.value, DeValue::Array(_)) {
        file.fault(
            found.place,
            format!("\"{key}\" is empty"),
            "A grant allows something, or is not there.",
        );
    }
}

fn names(file: &mut Table<'_>, key: &'static str) -> Option<Names> {
    let found = file.any(key)?;
    match found.value {
        DeValue::String(text) if text == "*" => Some(Names::All),
        DeValue::Array(_) => {
            let listed = file.strings(key)?;
            some(file, key, &listed);
            Some(Names::Listed(listed))
        }
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Table(_) => {
            let remedy = format!("It must be \"*\" or a list of the names of {key}.");
            file.fault(found.place, format!("\"{key}\" is not understood"), remedy);
            None
        }
    }
}

/// The names, and those of them that are tenants'; what is none is found where the files are compared.
fn tenant_set(names: Option<Names>) -> (Vec<Placed<String>>, Option<TenantSet>) {
    match names {
        None => (Vec::new(), None),
        Some(Names::All) => (Vec::new(), Some(TenantSet::All)),
        Some(Names::Listed(listed)) => {
            let parsed = listed.iter().map(|name| TenantId::parse(&name.value).ok());
            let set = parsed.collect::<Option<BTreeSet<TenantId>>>();
            (listed, set.map(TenantSet::Listed))
        }
    }
}

fn tables(file: &mut Table<'_>) -> Option<TableSet> {
    let listed = match names(file, "tables")? {
        Names::All => return Some(TableSet::All),
        Names::Listed(listed) => listed,
    };
    let mut tables = Some(BTreeSet::new());
    for Placed { value, place } in listed {
        match (relation_name(&value), &mut tables) {
            (Some(name), Some(tables)) => {
                tables.insert(name);
            }
            (Some(_), None) => {}
            (None, _) => {
                let message = format!("\"{value}\" is no table's full name");
                file.fault(place, message, "For example: \"public.invoices\".");
                tables = None;
            }
        }
    }
    tables.map(TableSet::Listed)
}

fn verbs(file: &mut Table<'_>) -> Option<BTreeSet<Verb>> {
    let listed = file.strings("verbs")?;
    some(file, "verbs", &listed);
    let mut verbs = Some(BTreeSet::new());
    for Placed { value, place } in listed {
        match (Verb::parse(&value), &mut verbs) {
            (Some(verb), Some(verbs)) => {
                verbs.insert(verb);
            }
            (Some(_), None) => {}
            (None, _) => {
                let message = format!("\"{value}\" is no verb");
                file.fault(
                    place,
                    message,
                    "It must be select, insert, update or delete.",
                );
                verbs = None;
            }
        }
    }
    verbs
}

/// A moment without an offset would mean another one on each machine.
fn moment(file: &mut Table<'_>, key: &'static str) -> Option<Placed<Duration>> {
    let Placed { value, place } = file.any(key)?;
    let moment = value.as_datetime().and_then(since_epoch);
    if moment.is_none() {
        let remedy = "It must be a date and a time with an offset: 2026-12-01T00:00:00Z.";
        file.fault(place.clone(), format!("\"{key}\" is no moment"), remedy);
    }
    moment.map(|value| Placed { value, place })
}

/// How long after 1970-01-01 00:00 UTC a moment is.
fn since_epoch(moment: &Datetime) -> Option<Duration> {
    let (date, time, offset) = (moment.date?, moment.time?, moment.offset?);
    let days = days_since_epoch(
        i64::from(date.year),
        i64::from(date.month),
        i64::from(date.day),
    );
    let minutes_ahead = match offset {
        Offset::Z => 0,
        Offset::Custom { minutes } => i64::from(minutes),
    };
    let minutes = i64::from(time.hour) * 60 + i64::from(time.minute) - minutes_ahead;
    let seconds = days * 86_400 + minutes * 60 + i64::from(time.second.unwrap_or(0));
    let nanoseconds = time.nanosecond.unwrap_or(0);
    Some(Duration::new(u64::try_from(seconds).ok()?, nanoseconds))
}

/// The days from 1970-01-01 to a date of the Gregorian calendar. A year counts from March here, so that
/// the leap day is its last.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let years = if month > 2 { year } else { year - 1 };
    let months = (month + 9) % 12;
    let leap_days = years.div_euclid(4) - years.div_euclid(100) + years.div_euclid(400);
    let days_before_month = (153 * months + 2) / 5;
    365 * years + leap_days + days_before_month + day - 1 - DAYS_TO_EPOCH
}

/// From 0000-03-01 to 1970-01-01.
const DAYS_TO_EPOCH: i64 = 719_468;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_counted_from_the_epoch() {
        // As `date --date=.. +%s` gives them.
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1970-01-01T01:00:00+01:00", Some(0)),
            ("2000-02-29T12:00:00Z", Some(951_825_600)),
            ("2000-03-01T00:00:00Z", Some(951_868_800)),
            ("2026-12-01T00:00:00Z", Some(1_796_083_200)),
            ("2026-12-01T00:00:00-08:30", Some(1_796_113_800)),
            ("2100-02-28T23:59:59Z", Some(4_107_542_399)),
            ("2100-03-01T00:00:00Z", Some(4_107_542_400)),
            ("1969-12-31T23:59:59Z", None),
            ("1970-01-01T00:00:00+01:00", None),
            ("2026-12-01T00:00:00", None),
            ("2026-12-01", None),
        ] {
            let moment: Datetime = text.parse().unwrap();
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(since_epoch(&moment), expected, "{text}");
        }
    }
}
