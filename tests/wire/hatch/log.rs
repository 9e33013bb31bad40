//! The audit log of the escape hatch: what is in it, and that nothing is done without it.

use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::Value;

use super::super::gate::Gate;
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
            "wire::hatch::what_the_server_refuses_is_in_the_log",
            refused_by_the_server,
        ),
        trial(
            "wire::hatch::the_log_says_whose_servers_were_asked",
            whose_servers,
        ),
        trial(
            "wire::hatch::what_a_grant_has_done_is_committed_on_record",
            committed,
        ),
        trial(
            "wire::hatch::a_server_that_hangs_keeps_no_grant",
            hanging_server,
        ),
        trial(
            "wire::hatch::taking_back_waits_for_no_reload",
            beside_a_reload,
        ),
        trial(
            "wire::hatch::a_refused_tenant_is_in_the_log",
            refused_tenant,
        ),
        trial("wire::hatch::logins_and_changes_are_in_the_log", others),
        trial("wire::hatch::without_a_log_there_is_no_hatch", no_log),
    ]
}

/// The records so far, once there are as many of this event as expected.
pub(super) fn records(proxy: &Proxy, (event, count): (&str, usize)) -> Vec<Value> {
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
pub(super) fn told(records: &[Value]) -> Vec<String> {
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
            "undone" => {
                let count = record["statements"].as_array().map_or(0, Vec::len);
                let ending = ["sqlstate", "lost"].map(|key| text(&record[key])).concat();
                return Some(format!("undone {count} {ending}"));
            }
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
            "outcome 0 SET []",
            "statement read SELECT count(*) FROM items []",
            "outcome 1 SELECT 1 [\"a\",\"b\"]",
            "statement read SELECT name FROM items WHERE id = $1 AND name <> $2 []",
            "outcome 0 [\"a\",\"b\"]",
            "statement read SELECT name FROM items WHERE id = $1 AND name <> $2 [\"1\",\"x\"]",
            "outcome 0 [\"a\",\"b\"]",
            "statement read SELECT name FROM items WHERE id = $1 AND name <> $2 [\"1\",\"x\"]",
            "outcome 2 SELECT 2 [\"a\",\"b\"]",
            "statement read SELECT 1/0 []",
            "outcome 0 22012 []",
            "refused read DELETE FROM items 42501",
            "statement read RESET tenantry.bypass []",
            "grant_ended read reset",
            "outcome 0 RESET []",
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

/// A Bind is on record before it is sent; a message that cannot be read, afterwards.
fn refused_by_the_server() {
    let proxy = proxy();
    let mut raw = admin(&proxy);
    raw.query("SET tenantry.bypass = 'read'");
    let text = "SELECT name FROM items WHERE name = $1";
    for value in ["\u{7f}", "CANARY-T1"] {
        let mut bytes = bind("", &[value]);
        for byte in &mut bytes {
            if *byte == 0x7f {
                *byte = 0xff;
            }
        }
        raw.send(&[parse("", text), bytes, execute(), sync()].concat());
        raw.answer();
    }
    raw.send(b"Q\0\0\0\x0fSELECT \x001\0\0");
    raw.answer();
    let found = told(&records(&proxy, ("grant_ended", 1)));
    let statement = "read SELECT name FROM items WHERE name = $1";
    assert_eq!(
        found[3..],
        [
            "outcome 0 SET []".to_owned(),
            format!("statement {statement} []"),
            "outcome 0 [\"a\",\"b\"]".to_owned(),
            format!("statement {statement} [{{\"format\":\"text\",\"hex\":\"ff\"}}]"),
            "outcome 0 22021 [\"a\",\"b\"]".to_owned(),
            // The server knows the statement by now.
            format!("statement {statement} [\"CANARY-T1\"]"),
            "outcome 0 [\"a\",\"b\"]".to_owned(),
            format!("statement {statement} [\"CANARY-T1\"]"),
            "outcome 1 SELECT 1 [\"a\",\"b\"]".to_owned(),
            "refused read 08P01".to_owned(),
            "grant_ended read disconnect".to_owned(),
        ]
    );
}

/// Of a statement for many tenants it is told which were asked, not which might have been.
fn whose_servers() {
    let proxy = proxy();
    let mut raw = admin(&proxy);
    raw.query("SET tenantry.bypass = 'eachwrite'");
    raw.query("INSERT INTO items (id, name) VALUES (1, 'again')");
    raw.query("SET tenantry.bypass = 'eachgone'");
    raw.query("SELECT name FROM items");
    raw.query("SET tenantry.on_error = 'skip'");
    raw.query("SELECT name FROM items");
    let slow =
        "SELECT count(*) FROM items, generate_series(1, 100000), generate_series(1, 100000) AS k";
    raw.send(&super::query(slow));
    records(&proxy, ("statement", 7));
    std::thread::sleep(Duration::from_millis(500));
    drop(raw);
    let found = told(&records(&proxy, ("grant_ended", 2)));
    let outcomes: Vec<&str> = found
        .iter()
        .filter_map(|line| line.strip_prefix("outcome "))
        .collect();
    assert_eq!(
        outcomes,
        [
            "0 SET []",
            "0 23505 [\"a\"]",
            "0 SET []",
            "0 08006 []",
            "0 SET []",
            "4 SELECT 4 [\"a\",\"own\"]",
            "0 the client has left [\"a\",\"own\"]",
        ]
    );
}

/// COMMIT after RESET is under the grant that the transaction was under.
fn committed() {
    let proxy = proxy();
    let mut raw = admin(&proxy);
    for sql in [
        "SET tenantry.bypass = 'write'",
        "BEGIN",
        "DELETE FROM items WHERE name = 'CANARY-T1'",
        "RESET tenantry.bypass",
        "COMMIT",
        "SELECT 1",
    ] {
        raw.query(sql);
    }
    drop(raw);
    let found = told(&records(&proxy, ("outcome", 6)));
    assert_eq!(
        found[found.len() - 8..],
        [
            "outcome 1 DELETE 1 [\"a\",\"b\"]",
            "statement write RESET tenantry.bypass []",
            "grant_ended write reset",
            "outcome 0 RESET []",
            "statement write COMMIT []",
            "outcome 0 COMMIT []",
            "statement SELECT 1 []",
            "outcome 1 SELECT 1 []",
        ]
    );
}

/// A server that says nothing any more, not even to a cancel request, is given up.
fn hanging_server() {
    let gate = Gate::open();
    let proxy = super::proxy_before(Some(gate.port));
    let mut raw = admin(&proxy);
    raw.query("SET tenantry.bypass = 'read'");
    raw.query("BEGIN");
    gate.hold();
    raw.send(&super::query("SELECT count(*) FROM items"));
    records(&proxy, ("statement", 3));
    proxy.take_back("grants/read.toml");
    let told_to_client = raw.message().unwrap();
    assert_eq!(told_to_client.field('S').as_deref(), Some("FATAL"));
    assert_eq!(told_to_client.field('C').as_deref(), Some("57014"));
    assert_eq!(raw.message(), None);
    let found = told(&records(&proxy, ("grant_ended", 1)));
    assert_eq!(
        found[found.len() - 2..],
        [
            "grant_ended read revoked",
            "outcome 0 grant \"read\" was revoked [TN6007] [\"a\",\"b\"]",
        ]
    );
    gate.release();
}

/// A reload that waits for a server neither delays the end of a grant nor brings it back.
fn beside_a_reload() {
    let gate = Gate::open();
    let proxy = super::proxy_before(Some(gate.port));
    let mut raw = admin(&proxy);
    raw.query("SET tenantry.bypass = 'read'");
    gate.hold();
    std::thread::scope(|scope| {
        scope.spawn(|| proxy.reload());
        std::thread::sleep(Duration::from_millis(500));
        proxy.take_back("grants/read.toml");
        assert_eq!(
            shape(&raw.query("SELECT count(*) FROM items")),
            "E:42501 Z:I"
        );
        gate.release();
    });
    let taken = raw.query("SET tenantry.bypass = 'read'");
    assert_eq!(shape(&taken), "E:42501 Z:I");
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
        // Not even what needs no grant.
        assert_eq!(shape(&raw.query("SELECT 1")), "E:58030 Z:I");
        let taking = raw.query("SET tenantry.bypass = 'read'");
        assert_eq!(shape(&taking), "E:58030 Z:I", "{taking:?}");
        assert_eq!(
            shape(&raw.query("SELECT count(*) FROM items")),
            "E:42501 Z:I"
        );
        assert_eq!(shape(&raw.query("BEGIN")), "E:58030 Z:I");
        let mut tenant = Raw::log_in(proxy.port, "app", PASSWORD, "a").unwrap();
        assert_eq!(tenant.rows("SELECT count(*) FROM items"), ["1"]);
    }
}
