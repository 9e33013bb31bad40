//! The audit log of the escape hatch: what is in it, and that nothing is done without it.

use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::Value;

use super::super::proxy::{PASSWORD, Proxy, Settings};
use super::super::raw::{Raw, bind, execute, parse, shape, sync};
use super::{ADMINS, admin, folder, grant, proxy};
use crate::support::trial;

/// The trials.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("wire::hatch::every_step_is_in_the_log", every_step),
        trial("wire::hatch::what_was_begun_has_an_end", an_end),
        trial(
            "wire::hatch::a_refused_tenant_is_in_the_log",
            refused_tenant,
        ),
        trial("wire::hatch::logins_and_changes_are_in_the_log", others),
        trial("wire::hatch::without_a_log_there_is_no_hatch", no_log),
    ]
}

/// The records so far, once there are as many of this event as expected.
fn records(proxy: &Proxy, (event, count): (&str, usize)) -> Vec<Value> {
    for _ in 0..200 {
        let text = std::fs::read_to_string(proxy.directory().join("audit/audit.jsonl"));
        let records: Vec<Value> = text
            .unwrap_or_default()
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        let found = records.iter().filter(|record| record["event"] == event);
        if found.count() >= count {
            return records;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("there are not {count} records of {event}");
}

/// One line for each record of a session, with what tells most.
fn told(records: &[Value]) -> Vec<String> {
    let text = |value: &Value| match value.as_str() {
        Some(text) => text.to_owned(),
        None if value.is_null() => String::new(),
        None => value.to_string(),
    };
    let line = |record: &Value| {
        let event = text(&record["event"]);
        let rest: &[&str] = match event.as_str() {
            "admin_login" => &["login", "database"],
            "grant_taken" => &["login", "grant", "reason"],
            "grant_ended" => &["grant", "why"],
            "statement" => &["grant", "statement", "parameters"],
            "outcome" => &["rows", "tag", "sqlstate", "lost", "tenants"],
            "refused" => &["grant", "statement", "sqlstate"],
            _ => return None,
        };
        let words: Vec<String> = rest.iter().map(|key| text(&record[*key])).collect();
        let line = format!("{event} {}", words.join(" "));
        Some(line.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    records.iter().filter_map(line).collect()
}

fn every_step() {
    let proxy = proxy();
    let mut raw = admin(&proxy);
    raw.query("SELECT name FROM items");
    raw.query("SET tenantry.bypass = 'read'");
    raw.query("SELECT count(*) FROM items");
    let text = "SELECT name FROM items WHERE id = $1 AND name <> $2";
    raw.send(&[parse("", text), bind("", &["1", "x"]), execute(), sync()].concat());
    assert_eq!(raw.answer(), "1 2 D D C Z:I");
    raw.query("SELECT 1/0");
    raw.query("DELETE FROM items");
    raw.query("RESET tenantry.bypass");
    drop(raw);
    let found = told(&records(&proxy, ("outcome", 6)));
    assert_eq!(
        found,
        [
            "admin_login anna main",
            "refused SELECT name FROM items 42501",
            "statement read SET tenantry.bypass = 'read' []",
            "grant_taken anna read INC-1",
            "outcome 0 SET [\"a\",\"b\"]",
            "statement read SELECT count(*) FROM items []",
            "outcome 1 SELECT 1 [\"a\",\"b\"]",
            "statement read SELECT name FROM items WHERE id = $1 AND name <> $2 []",
            "outcome 0 [\"a\",\"b\"]",
            "statement read SELECT name FROM items WHERE id = $1 AND name <> $2 [\"1\",\"x\"]",
            "outcome 2 SELECT 2 [\"a\",\"b\"]",
            "statement read SELECT 1/0 []",
            "outcome 0 22012 [\"a\",\"b\"]",
            "refused read DELETE FROM items 42501",
            "statement read RESET tenantry.bypass []",
            "grant_ended read reset",
            "outcome 0 RESET [\"a\",\"b\"]",
        ]
    );
}

fn an_end() {
    let proxy = proxy();
    let mut raw = admin(&proxy);
    raw.query("SET tenantry.bypass = 'read'");
    raw.send(&super::query("SELECT count(*) FROM items AS i, generate_series(1, 100000), generate_series(1, 100000) AS k"));
    records(&proxy, ("statement", 2));
    drop(raw);
    let found = told(&records(&proxy, ("grant_ended", 1)));
    assert_eq!(
        found[found.len() - 2..],
        [
            "outcome 0 the client has left [\"a\",\"b\"]",
            "grant_ended read disconnect",
        ]
    );
}

fn refused_tenant() {
    let proxy = proxy();
    let mut raw = Raw::log_in(proxy.port, "app", PASSWORD, "a").unwrap();
    raw.query("SET tenantry.bypass = 'a secret'");
    raw.query("CREATE TABLE secrets (name text DEFAULT 'a secret')");
    let records = records(&proxy, ("tenant_refused", 2));
    for record in &records {
        assert!(!record.to_string().contains("a secret"), "{record}");
    }
    let first = records
        .iter()
        .find(|record| record["event"] == "tenant_refused")
        .unwrap();
    assert_eq!(first["tenant"], "a");
    assert_eq!(first["sqlstate"], "42501");
    assert_eq!(first["code"], "TN4002");
}

fn others() {
    let proxy = proxy();
    assert!(Raw::log_in(proxy.port, "anna", "another", "main").is_err());
    assert!(Raw::log_in(proxy.port, "anna", PASSWORD, "a").is_err());
    let refused = records(&proxy, ("admin_login_refused", 2));
    let refused: Vec<&Value> = refused
        .iter()
        .filter(|record| record["event"] == "admin_login_refused")
        .collect();
    assert_eq!(refused[0]["sqlstate"], "28P01");
    assert_eq!(refused[1]["sqlstate"], "28000");
    assert_eq!(refused[1]["database"], "a");
    proxy.reload_with("grants/one.toml", None);
    let changed = records(&proxy, ("config_changed", 1));
    let changed = changed.last().unwrap();
    assert_eq!(changed["changed"], serde_json::json!(["grants/one.toml"]));
    assert_ne!(changed["previous"], changed["revision"]);
    let first = records(&proxy, ("proxy_started", 1));
    assert_eq!(first[0]["revision"], changed["previous"]);
}

fn no_log() {
    let unwritable = ADMINS.replace("audit/audit.jsonl", "secret/audit.jsonl");
    let (_, none) = ADMINS.split_once("\n[[").unwrap();
    let none = format!("[[{none}");
    for main in [unwritable, none] {
        let settings = Settings {
            main: Box::leak(main.into_boxed_str()),
            ..Settings::default()
        };
        let read = grant(&folder().join("grants/read.toml"));
        let proxy = Proxy::start_with(settings, &[("grants/read.toml", read)]);
        let mut raw = admin(&proxy);
        assert_eq!(shape(&raw.query("SELECT 1")), "T D C Z:I");
        let taking = raw.query("SET tenantry.bypass = 'read'");
        assert_eq!(shape(&taking), "E:58030 Z:I", "{taking:?}");
        assert_eq!(
            shape(&raw.query("SELECT count(*) FROM items")),
            "E:42501 Z:I"
        );
        raw.query("BEGIN");
        let taking = raw.query("SET LOCAL tenantry.bypass = 'read'");
        assert_eq!(shape(&taking), "E:58030 Z:E", "{taking:?}");
        let mut tenant = Raw::log_in(proxy.port, "app", PASSWORD, "a").unwrap();
        assert_eq!(tenant.rows("SELECT count(*) FROM items"), ["1"]);
    }
}
