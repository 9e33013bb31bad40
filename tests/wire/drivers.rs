//! What drivers and frameworks send of their own accord: when they connect, reset a connection, and close it.

use libtest_mimic::Trial;

use super::proxy::{PASSWORD, Proxy, Settings};
use super::raw::{Raw, bind, execute, parse, query, shape, sync};
use crate::support::trial;

/// The trials.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("wire::what_drivers_send_is_taken", texts),
        trial("wire::every_form_of_a_time_zone_is_kept", time_zones),
        trial("wire::a_reset_leaves_nothing_and_holds_nothing", resets),
        trial("wire::what_a_driver_deallocates_is_gone", deallocate),
        trial("wire::a_failed_block_looks_for_no_names", failed_block),
        trial("wire::a_long_statement_stalls_nobody", long),
    ]
}

/// The tenants with shared tables and with a database of their own.
const TENANTS: [&str; 2] = ["a", "own"];

fn proxy() -> Proxy {
    Proxy::start(Settings {
        pool_size: 1,
        ..Settings::default()
    })
}

fn log_in(proxy: &Proxy, tenant: &str) -> Raw {
    Raw::log_in(proxy.port, "app", PASSWORD, tenant).unwrap()
}

fn extended(raw: &mut Raw, sql: &str) -> String {
    raw.send(&[parse("", sql), bind("", &[]), execute(), sync()].concat());
    raw.answer()
}

/// Each is answered without an error, in both protocols; then the session goes on, on whatever connection.
fn texts() {
    let proxy = proxy();
    for tenant in TENANTS {
        let mut other = log_in(&proxy, tenant);
        for sql in [
            "SELECT set_config('TimeZone', 'UTC', false)",
            "SELECT pg_catalog.set_config('bytea_output', 'hex', false)",
            "SELECT current_setting('jit') AS cur, set_config('jit', 'off', false) AS new",
            "SELECT current_setting('server_version_num')",
            "SELECT set_config('app.user', '7', true)",
            "SET standard_conforming_strings = on",
            "SET SESSION timezone TO 'UTC'",
            "SET intervalstyle = iso_8601",
            "SET client_min_messages TO 'warning'",
            "SET client_encoding = 'utf-8'",
            "SET NAMES 'utf8'",
            "SET NAMES DEFAULT",
            "SET extra_float_digits = -3",
            "SET default_tablespace = ''",
            "SET xmloption = content",
            "SET check_function_bodies = false",
            "SET synchronize_seqscans TO off",
            "SET transaction_isolation = 'serializable'",
            "SET transaction_read_only = on",
            "SET transaction_deferrable = on",
            "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED",
            "SET LOCAL TimeZone TO DEFAULT",
            "SHOW ALL",
            "SHOW lc_collate",
            "SHOW is_superuser",
            "SHOW in_hot_standby",
            "SHOW server_version",
            "SHOW transaction isolation level",
            "RESET TIME ZONE",
            "UNLISTEN *",
            "CLOSE ALL",
            "DEALLOCATE ALL",
            "RESET ALL",
            "DISCARD ALL",
            "SELECT pg_advisory_unlock_all()",
        ] {
            let mut raw = log_in(&proxy, tenant);
            let simple = shape(&raw.query(sql));
            assert!(!simple.contains('E'), "{tenant} {sql}: {simple}");
            assert_eq!(other.rows("SELECT 1"), ["1"], "{tenant} {sql}");
            let extended = extended(&mut raw, sql);
            assert!(!extended.contains('E'), "{tenant} {sql}: {extended}");
            assert_eq!(other.rows("SELECT 1"), ["1"], "{tenant} {sql}");
            assert_eq!(raw.rows("SELECT 2"), ["2"], "{tenant} {sql}");
        }
        let mut raw = log_in(&proxy, tenant);
        let both =
            "SET client_min_messages TO warning;SET TIME ZONE INTERVAL '+00:00' HOUR TO MINUTE;";
        assert_eq!(shape(&raw.query(both)), "C C Z:I");
        assert_eq!(raw.rows("SHOW TimeZone"), ["<+00>-00"]);
    }
}

/// What SHOW says afterwards, on another server connection.
fn time_zones() {
    let proxy = proxy();
    for tenant in TENANTS {
        let mut other = log_in(&proxy, tenant);
        let usual = other.rows("SHOW TimeZone");
        for (sql, shown) in [
            (
                "SET TIME ZONE INTERVAL '1' HOUR TO MINUTE",
                "<+00:01>-00:01",
            ),
            (
                "SET TIME ZONE INTERVAL '-08:30' HOUR TO MINUTE",
                "<-08:30>+08:30",
            ),
            ("SET TIME ZONE INTERVAL '2:30' HOUR", "<+02>-02"),
            ("SET TIME ZONE INTERVAL '3:30'", "<+03:30>-03:30"),
            ("SET TIME ZONE INTERVAL(0) '-3 hours'", "<-03>+03"),
            ("SET TIME ZONE -7", "<-07>+07"),
            ("SET TIME ZONE +5.5", "<+05:30>-05:30"),
            ("SET TIME ZONE 'Europe/Rome'", "Europe/Rome"),
            ("SET TIME ZONE \"Europe/Rome\"", "Europe/Rome"),
            ("SET TimeZone = E'Europe/\\x52ome'", "Europe/Rome"),
            ("SET TimeZone TO $$UTC$$", "UTC"),
            (
                "SELECT set_config('TimeZone', 'Europe/Rome', false)",
                "Europe/Rome",
            ),
            ("SET TIME ZONE LOCAL", usual[0].as_str()),
            ("SET TIME ZONE DEFAULT", usual[0].as_str()),
            ("SET LOCAL TIME ZONE 'Europe/Rome'", usual[0].as_str()),
            (
                "SELECT set_config('TimeZone', 'Europe/Rome', true)",
                usual[0].as_str(),
            ),
        ] {
            for protocol in ["simple", "extended"] {
                let mut raw = log_in(&proxy, tenant);
                if protocol == "simple" {
                    raw.query(sql);
                } else {
                    extended(&mut raw, sql);
                }
                assert_eq!(other.rows("SHOW TimeZone"), usual, "{tenant} {sql}");
                assert_eq!(raw.rows("SHOW TimeZone"), [shown], "{tenant} {sql}");
            }
        }
        // In a portion, which would leave the statement open.
        let mut raw = log_in(&proxy, tenant);
        let set = parse("", "SELECT set_config('TimeZone', 'Europe/Rome', false)");
        let one_row = super::raw::message('E', b"\0\0\0\0\x01");
        raw.send(&[set, bind("", &[]), one_row, sync()].concat());
        assert_eq!(raw.answer(), "1 2 D C Z:I");
        assert_eq!(other.rows("SHOW TimeZone"), usual, "{tenant}");
        assert_eq!(raw.rows("SHOW TimeZone"), ["Europe/Rome"], "{tenant}");
        // What is undone is not kept.
        raw.query("BEGIN");
        raw.query("SELECT set_config('TimeZone', 'Asia/Tokyo', false)");
        assert_eq!(raw.rows("SHOW TimeZone"), ["Asia/Tokyo"], "{tenant}");
        raw.query("ROLLBACK");
        assert_eq!(raw.rows("SHOW TimeZone"), ["Europe/Rome"], "{tenant}");
        raw.query("BEGIN");
        raw.query("SET LOCAL TimeZone TO DEFAULT");
        assert_eq!(raw.rows("SHOW TimeZone"), usual, "{tenant}");
        raw.query("COMMIT");
        assert_eq!(raw.rows("SHOW TimeZone"), ["Europe/Rome"], "{tenant}");
    }
}

/// As asyncpg, psycopg2, Npgsql and pgjdbc reset a connection. There is one server connection only, so
/// that nobody may keep it.
fn resets() {
    let proxy = proxy();
    for tenant in TENANTS {
        for reset in [
            "SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;",
            "SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;",
            "RESET ALL; DEALLOCATE ALL",
            "DISCARD ALL",
        ] {
            let mut raw = log_in(&proxy, tenant);
            let mut other = log_in(&proxy, tenant);
            let usual = other.rows("SHOW DateStyle");
            raw.query("SET DateStyle = 'German'");
            let messages = raw.query(reset);
            assert!(
                !shape(&messages).contains('E'),
                "{tenant} {reset}: {messages:?}"
            );
            assert_eq!(other.rows("SHOW DateStyle"), usual, "{tenant} {reset}");
            assert_eq!(raw.rows("SHOW DateStyle"), usual, "{tenant} {reset}");
        }
    }
}

fn deallocate() {
    let proxy = proxy();
    for tenant in TENANTS {
        let mut raw = log_in(&proxy, tenant);
        let mut other = log_in(&proxy, tenant);
        let run = |raw: &mut Raw, name: &str| {
            raw.send(&[bind(name, &["41"]), execute(), sync()].concat());
            raw.answer()
        };
        for client in [&mut raw, &mut other] {
            client.send(&[parse("s", "SELECT $1::int4 + 1"), sync()].concat());
            assert_eq!(client.answer(), "1 Z:I");
            assert_eq!(run(client, "s"), "2 D C Z:I", "{tenant}");
        }
        assert_eq!(shape(&raw.query("DEALLOCATE ALL")), "C Z:I");
        assert_eq!(run(&mut other, "s"), "2 D C Z:I", "{tenant}");
        assert_eq!(run(&mut raw, "s"), "E:26000 Z:I", "{tenant}");
        // In a block, so that it is the same server connection all the time; then all at once.
        raw.query("BEGIN");
        raw.send(&[parse("t", "SELECT $1::int4 + 1"), sync()].concat());
        assert_eq!(raw.answer(), "1 Z:T", "{tenant}");
        assert_eq!(run(&mut raw, "t"), "2 D C Z:T", "{tenant}");
        raw.send(
            &[
                parse("", "DEALLOCATE ALL"),
                bind("", &[]),
                execute(),
                parse("t", "SELECT $1::int4 + 1"),
                bind("t", &["41"]),
                execute(),
                sync(),
            ]
            .concat(),
        );
        assert_eq!(raw.answer(), "1 2 C 1 2 D C Z:T", "{tenant}");
        assert_eq!(shape(&raw.query("DEALLOCATE t")), "C Z:T", "{tenant}");
        raw.send(&[parse("t", "SELECT $1::int4 + 1"), sync()].concat());
        assert_eq!(raw.answer(), "1 Z:T", "{tenant}");
        let gone = [parse("", "DEALLOCATE t"), bind("", &[]), execute(), sync()];
        raw.send(&gone.concat());
        assert_eq!(raw.answer(), "1 2 C Z:T", "{tenant}");
        assert_eq!(run(&mut raw, "t"), "E:26000 Z:E", "{tenant}");
        raw.query("ROLLBACK");
        assert_eq!(
            shape(&raw.query("DEALLOCATE none")),
            "E:26000 Z:I",
            "{tenant}"
        );
        assert_eq!(run(&mut other, "s"), "2 D C Z:I", "{tenant}");
    }
}

fn failed_block() {
    let proxy = proxy();
    let mut raw = log_in(&proxy, "a");
    raw.query("BEGIN");
    assert_eq!(shape(&raw.query("EXECUTE none")), "E:26000 Z:E");
    for sql in ["EXECUTE none", "DEALLOCATE none", "PREPARE p AS SELECT 1"] {
        assert_eq!(shape(&raw.query(sql)), "E:25P02 Z:E", "{sql}");
    }
    assert_eq!(shape(&raw.query("ROLLBACK; EXECUTE none")), "E:26000 Z:E");
    raw.query("ROLLBACK");
    raw.query("PREPARE q (int) AS SELECT id FROM items WHERE id = $1");
    let plan = raw.rows("EXPLAIN EXECUTE q (1)").join("\n");
    assert!(plan.contains("items"), "{plan}");
    assert_eq!(shape(&raw.query("EXPLAIN EXECUTE none")), "E:26000 Z:I");
    assert_eq!(
        extended(&mut raw, "EXPLAIN (FORMAT JSON) EXECUTE q (1)"),
        "1 2 D C Z:I"
    );
    assert_eq!(raw.rows("EXECUTE q (1)"), ["1"]);
}

/// Looking at it takes a while; other clients do not notice.
fn long() {
    let proxy = Proxy::start(Settings::default());
    let values: Vec<String> = (0..12_000).map(|number| format!("({number})")).collect();
    let sql = format!("SELECT count(*) FROM (VALUES {}) AS v", values.join(","));
    let mut short = proxy.raw();
    // There are two threads for all clients.
    let mut long: Vec<Raw> = (0..2).map(|_| proxy.raw()).collect();
    for (number, raw) in long.iter_mut().enumerate() {
        raw.send(&query(&format!("{sql} -- {number}")));
    }
    assert_eq!(short.rows("SELECT 1"), ["1"]);
    for raw in &mut long {
        assert!(raw.is_silent(std::time::Duration::from_millis(1)));
    }
    for raw in &mut long {
        assert_eq!(raw.answer(), "T D C Z:I");
    }
    let nested = format!("SELECT 1 {}", "/*".repeat(58_000));
    assert_eq!(shape(&short.query(&nested)), "E:54001 Z:I");
}
