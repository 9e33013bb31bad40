//! The forms of single values: durations, addresses, names of relations.

use std::path::PathBuf;
use std::time::Duration;

use super::types::UpstreamAddress;
use crate::catalog::RelationName;
use crate::tenant::{TablePolicy, TrustedTrigger};

/// `"30s"`, with the units of PostgreSQL's own settings; `"0"` needs none.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(split)?;
    let count: u64 = digits.parse().ok()?;
    let milliseconds = match unit.trim_start() {
        "" if count == 0 => 1,
        "ms" => 1,
        "s" => 1000,
        "min" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        "d" => 24 * 60 * 60 * 1000,
        _ => return None,
    };
    let milliseconds = count.checked_mul(milliseconds)?;
    // PostgreSQL's own timeouts are 32-bit numbers of milliseconds.
    (milliseconds <= u64::from(i32::MAX.unsigned_abs()))
        .then(|| Duration::from_millis(milliseconds))
}

/// What a duration looks like, for messages.
pub(super) const DURATION: &str = "a duration such as \"10s\" (ms, s, min, h or d), 24d at most";

/// `host:port`, or the directory of a Unix socket.
pub(super) fn upstream_address(text: &str) -> Option<UpstreamAddress> {
    if text.starts_with('/') {
        let directory = PathBuf::from(text);
        return Some(UpstreamAddress::Unix { directory });
    }
    let (host, port) = text.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(address) => address.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let port = port.parse().ok().filter(|port| *port > 0)?;
    (!host.is_empty()).then(|| UpstreamAddress::Tcp {
        host: host.to_owned(),
        port,
    })
}

/// `schema.name`, as `pg_class` holds the two parts; a part with a dot stands in double quotes.
pub(super) fn relation_name(text: &str) -> Option<RelationName> {
    match parts(text)?.as_slice() {
        [schema, name] => Some(RelationName::new(schema, name)),
        _ => None,
    }
}

/// `order_id -> public.orders.id`
pub(super) fn via(text: &str) -> Option<TablePolicy> {
    let (column, parent) = text.split_once("->")?;
    let (column, parent) = (parts(column.trim())?, parts(parent.trim())?);
    match (column.as_slice(), parent.as_slice()) {
        ([column], [schema, name, parent_column]) => Some(TablePolicy::Via {
            column: column.clone(),
            parent: RelationName::new(schema, name),
            parent_column: parent_column.clone(),
            existence_leak: false,
        }),
        _ => None,
    }
}

/// `orders_audit on public.orders`
pub(super) fn trusted_trigger(text: &str) -> Option<TrustedTrigger> {
    let (name, table) = text.split_once(" on ")?;
    match parts(name.trim())?.as_slice() {
        [name] => Some(TrustedTrigger {
            name: name.clone(),
            table: relation_name(table.trim())?,
        }),
        _ => None,
    }
}

/// The digits of a function's fingerprint.
const FINGERPRINT: usize = 32;

/// `public.order_total(integer)`, and behind it perhaps ` = ` and a fingerprint.
pub(super) fn trusted_function(text: &str) -> Option<String> {
    let signature = match text.rsplit_once(" = ") {
        Some((signature, fingerprint)) => {
            let is_hex = |digit: char| matches!(digit, '0'..='9' | 'a'..='f');
            let is_whole = fingerprint.len() == FINGERPRINT && fingerprint.chars().all(is_hex);
            is_whole.then_some(signature)?
        }
        None => text,
    };
    let (name, arguments) = signature.split_once('(')?;
    let arguments = arguments.strip_suffix(')')?;
    let is_plain = !arguments.contains([')', ';', '\'']);
    (relation_name(name.trim()).is_some() && is_plain).then(|| text.to_owned())
}

/// The parts of a dotted name. Nothing is folded: the policy names things as the catalog does.
fn parts(text: &str) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let (part, after) = if let Some(quoted) = rest.strip_prefix('"') {
            closing_quote(quoted)?
        } else {
            let end = rest.find('.').unwrap_or(rest.len());
            let (part, after) = rest.split_at_checked(end)?;
            (part.to_owned(), after)
        };
        let is_bare = !rest.starts_with('"');
        // Nor is a name a pattern: who writes one means more than this would give.
        if part.is_empty() || (is_bare && part.contains([' ', '"', '(', ')', ',', '*'])) {
            return None;
        }
        parts.push(part);
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None if after.is_empty() => return Some(parts),
            None => return None,
        }
    }
}

/// The text up to a closing double quote, in which a doubled one stands for itself.
fn closing_quote(text: &str) -> Option<(String, &str)> {
    let mut part = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest.split_once('"')?;
        part.push_str(before);
        match after.strip_prefix('"') {
            Some(next) => {
                part.push('"');
                rest = next;
            }
            None => return Some((part, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_postgresqls_units() {
        for (text, milliseconds) in [
            ("0", 0),
            ("250ms", 250),
            ("10s", 10_000),
            ("10 min", 600_000),
        ] {
            assert_eq!(
                duration(text),
                Some(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        for text in [
            "",
            "10",
            "s",
            "-1s",
            "1.5s",
            "1 week",
            "99999999999999999999s",
            "25d",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn addresses_are_host_and_port_or_a_directory() {
        let tcp = |host: &str, port| {
            let host = host.to_owned();
            Some(UpstreamAddress::Tcp { host, port })
        };
        assert_eq!(
            upstream_address("db.example.com:5432"),
            tcp("db.example.com", 5432)
        );
        assert_eq!(upstream_address("[::1]:1"), tcp("::1", 1));
        let directory = "/run/postgresql".into();
        let unix = UpstreamAddress::Unix { directory };
        assert_eq!(upstream_address("/run/postgresql"), Some(unix));
        for text in [
            "",
            "host",
            ":5432",
            "host:0",
            "host:x",
            "::1:5432",
            "host:70000",
        ] {
            assert_eq!(upstream_address(text), None, "{text}");
        }
    }

    #[test]
    fn names_are_taken_as_they_are() {
        let name = |text| relation_name(text).map(|name| (name.schema, name.name));
        let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        assert_eq!(name("public.Orders"), pair("public", "Orders"));
        assert_eq!(
            name("\"my.app\".\"say \"\"x\"\"\""),
            pair("my.app", "say \"x\"")
        );
        for text in [
            "orders", "a.b.c", ".a", "a.", "a.\"b", "a.\"b\"c", "a.b c", "",
        ] {
            assert_eq!(name(text), None, "{text}");
        }
    }

    #[test]
    fn via_names_two_columns() {
        assert_eq!(
            via("order_id -> public.orders.id"),
            Some(TablePolicy::Via {
                column: "order_id".to_owned(),
                parent: RelationName::new("public", "orders"),
                parent_column: "id".to_owned(),
                existence_leak: false,
            })
        );
        for text in ["order_id", "a.b -> c.d.e", "a -> b.c", "a -> b.c.d.e"] {
            assert_eq!(via(text), None, "{text}");
        }
    }
}
