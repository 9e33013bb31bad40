//! What an admin and the log are told is what became of a statement, however and whenever its grant ended.

use std::time::Duration;

use libtest_mimic::Trial;

use super::super::gate::Gate;
use super::super::proxy::{PASSWORD, Proxy};
use super::super::raw::{Raw, bind, execute, flush, parse, query, shape, sync};
use super::log::{records, told};
use super::{admin, proxy, proxy_before};
use crate::support::trial;

/// The trials.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("wire::hatch::what_was_committed_is_told", committed),
        trial("wire::hatch::what_a_sync_commits_ends_as_well", syncing),
        trial("wire::hatch::what_is_undone_is_told", undone),
        trial("wire::hatch::a_record_is_for_one_message", one_message),
        trial("wire::hatch::what_many_have_changed_is_told", changed),
        trial(
            "wire::hatch::what_a_put_down_grant_has_done_ends_with_it",
            put_down,
        ),
        trial("wire::hatch::a_grant_in_a_wrong_file_is_over", wrong_file),
        trial("wire::hatch::many_small_rows_are_not_kept", small_rows),
    ]
}

const UPDATE: &str = "UPDATE items SET name = name || '!' WHERE name = 'CANARY-T1'";

fn taken(proxy: &Proxy, grant: &str) -> Raw {
    let mut raw = admin(proxy);
    assert_eq!(
        shape(&raw.query(&format!("SET tenantry.bypass = '{grant}'"))),
        "C Z:I"
    );
    raw
}

fn pause() {
    std::thread::sleep(Duration::from_millis(500));
}

/// The last records, from the one before the end of the grant on.
fn last(proxy: &Proxy, event: (&str, usize), count: usize) -> Vec<String> {
    let found = told(&records(proxy, event));
    found[found.len() - count..].to_vec()
}

/// The server has committed, and its answer is under way, when the grant ends.
fn committed() {
    for (block, last_words, tag) in [(true, "COMMIT", "COMMIT"), (false, UPDATE, "UPDATE 1")] {
        let gate = Gate::open();
        let proxy = proxy_before(Some(gate.port));
        let mut raw = taken(&proxy, "write");
        if block {
            raw.query("BEGIN");
            raw.query(UPDATE);
        } else {
            // The connection is there, and has its variables.
            raw.query("SELECT name FROM items");
        }
        gate.hold_answers();
        raw.send(&query(last_words));
        pause();
        proxy.take_back("grants/write.toml");
        pause();
        gate.release();
        assert_eq!(raw.answer(), "C Z:I");
        let records = records(&proxy, ("grant_ended", 1));
        let outcome = records.iter().rev().find(|it| it["event"] == "outcome");
        assert_eq!(outcome.unwrap()["tag"], tag);
        let mut tenant = Raw::log_in(proxy.port, "app", PASSWORD, "a").unwrap();
        assert_eq!(tenant.rows("SELECT name FROM items"), ["CANARY-T1!"]);
    }
}

/// Neither the Sync behind an Execute nor a Bind goes on when the grant has ended.
fn syncing() {
    for waits in [&[sync()][..], &[bind("", &[]), execute(), sync()]] {
        let gate = Gate::open();
        let proxy = proxy_before(Some(gate.port));
        let mut raw = taken(&proxy, "write");
        let is_sync = waits.len() == 1;
        let mut before = vec![parse("", UPDATE)];
        if is_sync {
            before.extend([bind("", &[]), execute()]);
        }
        before.push(flush());
        raw.send(&before.concat());
        let answers = if is_sync { 3 } else { 1 };
        for _ in 0..answers {
            raw.message().unwrap();
        }
        gate.hold();
        raw.send(&waits.concat());
        pause();
        proxy.take_back("grants/write.toml");
        let last_word = raw.message().unwrap();
        assert_eq!(last_word.field('S').as_deref(), Some("FATAL"));
        assert_eq!(last_word.field('C').as_deref(), Some("57014"));
        assert_eq!(raw.message(), None);
        if is_sync {
            let expected = [
                "outcome 1 UPDATE 1 [\"a\",\"b\"]",
                "grant_ended write revoked",
                "undone 1 grant \"write\" was revoked [TN6007]",
            ];
            assert_eq!(last(&proxy, ("undone", 1), 3), expected);
        }
        // What was held does not arrive.
        gate.shut();
        gate.release();
        gate.reopen();
        let mut tenant = Raw::log_in(proxy.port, "app", PASSWORD, "a").unwrap();
        assert_eq!(tenant.rows("SELECT name FROM items"), ["CANARY-T1"]);
    }
}

/// An Execute is complete before its transaction is.
fn undone() {
    let proxy = proxy();
    let mut raw = taken(&proxy, "write");
    let change = [parse("", UPDATE), bind("", &[]), execute()].concat();
    let wrong = [parse("", "SELECT nothing FROM items"), sync()].concat();
    raw.send(&[change.clone(), wrong].concat());
    assert_eq!(raw.answer(), "1 2 C E:42703 Z:I");
    assert_eq!(last(&proxy, ("undone", 1), 1), ["undone 1 42703"]);
    raw.send(&[change.clone(), flush()].concat());
    for _ in 0..3 {
        raw.message().unwrap();
    }
    drop(raw);
    let expected = [
        "undone 1 the client has left",
        "grant_ended write disconnect",
    ];
    assert_eq!(last(&proxy, ("grant_ended", 1), 2), expected);
    // A ROLLBACK takes back what stands before it in its series, and what was done before its block in the same
    // series; not what a Sync has committed.
    let command = |sql| [parse("", sql), bind("", &[]), execute(), sync()].concat();
    let proxy = super::proxy();
    let mut raw = taken(&proxy, "write");
    for (series, told) in [
        (vec![[change.clone(), command("ROLLBACK")].concat()], 1),
        (
            vec![
                [change.clone(), command("BEGIN")].concat(),
                query("ROLLBACK"),
            ],
            2,
        ),
        (
            vec![
                [change, sync()].concat(),
                command("BEGIN"),
                command("ROLLBACK"),
            ],
            2,
        ),
    ] {
        for messages in series {
            raw.send(&messages);
            raw.answer();
        }
        records(&proxy, ("undone", told));
    }
    drop(raw);
    let records = records(&proxy, ("grant_ended", 1));
    let undone = records.iter().filter(|it| it["event"] == "undone");
    assert_eq!(undone.count(), 2);
}

/// What is refused after its record was written leaves that to no other message, and what needs no server has its
/// outcome.
fn one_message() {
    let proxy = proxy();
    let mut raw = taken(&proxy, "read");
    let text = "SELECT name FROM items WHERE id = $1";
    for _ in 0..2 {
        let wrong = [parse("", text), bind("", &[]), sync()].concat();
        raw.send(&wrong);
        assert_eq!(raw.answer(), "1 E:08P01 Z:I");
    }
    raw.query("SELECT 1");
    let series = [
        parse("", text),
        parse("", "SELECT 2"),
        parse("", text),
        sync(),
    ];
    raw.send(&series.concat());
    assert_eq!(raw.answer(), "1 1 1 Z:I");
    drop(raw);
    let records = records(&proxy, ("grant_ended", 1));
    let of = |event: &str| records.iter().filter(|it| it["event"] == event).count();
    assert_eq!(of("statement"), of("outcome"));
    let told = told(&records);
    assert_eq!(
        told.iter()
            .filter(|line| *line == "statement read SELECT 1 []")
            .count(),
        1
    );
    assert_eq!(of("refused"), 2);
}

/// One tenant's row is locked when the grant ends; the others' are changed.
fn changed() {
    let proxy = proxy();
    let mut locking = Raw::log_in(proxy.port, "app", PASSWORD, "own").unwrap();
    locking.query("BEGIN");
    locking.query("UPDATE items SET name = name");
    let mut raw = taken(&proxy, "eachwrite");
    raw.send(&query("UPDATE items SET name = name || '!'"));
    std::thread::sleep(Duration::from_millis(1500));
    proxy.take_back("grants/eachwrite.toml");
    assert!(raw.answer().ends_with("E:57014 Z:I"));
    let records = records(&proxy, ("outcome", 2));
    let outcome = records
        .iter()
        .rev()
        .find(|it| it["event"] == "outcome")
        .unwrap();
    assert_eq!(outcome["rows"], 3);
    assert_eq!(outcome["changed"], serde_json::json!({"a": 1, "b": 2}));
    assert_eq!(outcome["tenants"], serde_json::json!(["a", "b", "own"]));
    locking.query("ROLLBACK");
}

/// A grant that was put down in the block, or exchanged for another, has done what it has done.
fn put_down() {
    for put_down in [
        "RESET tenantry.bypass",
        "SET LOCAL tenantry.bypass = 'read'",
    ] {
        let proxy = proxy();
        let mut raw = taken(&proxy, "write");
        raw.query("BEGIN");
        raw.query(UPDATE);
        assert_eq!(shape(&raw.query(put_down)), "C Z:T");
        proxy.take_back("grants/write.toml");
        assert_eq!(shape(&raw.query("COMMIT")), "E:42501 Z:E");
        assert_eq!(shape(&raw.query("ROLLBACK")), "C Z:I");
        let mut tenant = Raw::log_in(proxy.port, "app", PASSWORD, "a").unwrap();
        assert_eq!(tenant.rows("SELECT name FROM items"), ["CANARY-T1"]);
    }
}

/// Nobody has approved what stands there now. What is no file is not waited for.
fn wrong_file() {
    let proxy = proxy();
    for grant in ["read", "few"] {
        let mut raw = taken(&proxy, grant);
        let file = proxy.directory().join(format!("grants/{grant}.toml"));
        std::fs::remove_file(&file).unwrap();
        if grant == "read" {
            std::fs::write(&file, "reason = [").unwrap();
        } else {
            let made = std::process::Command::new("mkfifo").arg(&file).status();
            assert!(made.unwrap().success());
        }
        proxy.end_grants();
        let answer = raw.query("SELECT count(*) FROM items");
        assert_eq!(shape(&answer), "E:42501 Z:I", "{grant}");
        std::fs::remove_file(&file).unwrap();
    }
}

/// What a row costs besides its bytes counts, too; nor is more read of one tenant than may be shown of all.
fn small_rows() {
    let proxy = proxy();
    let many = "SELECT 1 FROM items, generate_series(1, 1000000)";
    for (grant, told) in [
        ("each", "the result of tenant \"a\" is too large"),
        ("eachfew", "the grant allows 3 rows at most [TN6008]"),
    ] {
        let mut raw = taken(&proxy, grant);
        let answer = raw.query(many);
        let error = answer.iter().find_map(|message| {
            message
                .field('M')
                .filter(|_| message.field('C').as_deref() == Some("54000"))
        });
        assert!(
            error
                .as_deref()
                .is_some_and(|error| error.starts_with(told)),
            "{error:?}"
        );
    }
}
