//! What faults of either side do.

use std::io::Read;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;

use super::gate::Gate;
use super::proxy::{Proxy, Settings};
use super::raw::{Raw, bind, execute, message, parse, query, shape, sync};

/// The trials.
pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("wire::a_killed_idle_server_connection_is_not_lent", || {
            killed_idle();
            Ok(())
        }),
        Trial::test(
            "wire::a_killed_busy_server_connection_ends_its_client",
            || {
                killed_busy();
                Ok(())
            },
        ),
        Trial::test("wire::a_server_that_was_away_is_served_at_once", || {
            away();
            Ok(())
        }),
        Trial::test(
            "wire::a_cancel_request_waits_for_the_statement_it_is_for",
            || {
                cancelled_behind_variables();
                Ok(())
            },
        ),
        Trial::test("wire::both_directions_flow_at_once", || {
            full_duplex();
            Ok(())
        }),
        Trial::test("wire::a_million_rows_need_no_memory", || {
            million_rows();
            Ok(())
        }),
        Trial::test("wire::a_slow_reader_holds_back_its_own_server", || {
            slow_reader();
            Ok(())
        }),
        Trial::test("wire::a_client_that_leaves_leaves_nothing", || {
            leaving();
            Ok(())
        }),
    ]
}

const KILL_ALL: &str = "SELECT count(pg_terminate_backend(pid, 2000)) FROM pg_stat_activity \
                        WHERE datname = current_database() AND pid <> pg_backend_pid()";

fn killed_idle() {
    let proxy = Proxy::start(Settings::default());
    let mut clients: Vec<_> = (0..4).map(|_| proxy.raw()).collect();
    for round in 0..5 {
        for client in &mut clients {
            client.query("BEGIN");
        }
        for client in &mut clients {
            client.query("COMMIT");
        }
        assert_eq!(proxy.database.value(KILL_ALL), "4", "{round}");
        for client in &mut clients {
            assert_eq!(client.rows("SELECT 1"), ["1"], "{round}");
        }
    }
}

fn killed_busy() {
    let proxy = Proxy::start(Settings::default());
    let mut client = proxy.raw();
    client.query("BEGIN");
    proxy.database.value(KILL_ALL);
    let answer = shape(&client.query("SELECT 1"));
    assert_eq!(answer, "E:57P01");
    assert_eq!(client.message(), None);
    proxy.check_alive("a kill");
}

fn away() {
    let gate = Gate::open();
    let proxy = Proxy::start(Settings {
        server_port: Some(gate.port),
        ..Settings::default()
    });
    let mut client = proxy.raw();
    assert_eq!(client.rows("SELECT 1"), ["1"]);
    for round in 0..3 {
        gate.shut();
        for _ in 0..20 {
            let began = Instant::now();
            assert_eq!(shape(&client.query("SELECT 1")), "E:08006 Z:I", "{round}");
            assert!(began.elapsed() < Duration::from_secs(1), "{round}");
            std::thread::sleep(Duration::from_millis(20));
        }
        gate.reopen();
        let began = Instant::now();
        while shape(&client.query("SELECT 1")) != "T D C Z:I" {
            assert!(began.elapsed() < Duration::from_millis(200), "{round}");
        }
        proxy.check_alive("the server is back");
    }
}

/// What Tenantry sends before a statement, the client's variables, is nothing that the client could cancel.
fn cancelled_behind_variables() {
    let gate = Gate::open();
    let proxy = Proxy::start(Settings {
        pool_size: 1,
        server_port: Some(gate.port),
        ..Settings::default()
    });
    let mut client = proxy.raw();
    assert_eq!(client.rows("SELECT 1"), ["1"]);
    client.query("SET application_name = 'other'");
    assert_eq!(proxy.raw().rows("SELECT 1"), ["1"]);
    // The pool's only connection; cancel requests come on others.
    gate.hold_present();
    client.send(&query("SELECT pg_sleep(30)"));
    std::thread::sleep(Duration::from_millis(200));
    let length = u32::try_from(client.key.len() + 8).unwrap().to_be_bytes();
    let request = [&length[..], &80_877_102_u32.to_be_bytes(), &client.key].concat();
    Raw::connect(proxy.port).send(&request);
    assert!(client.is_silent(Duration::from_millis(300)));
    gate.release();
    assert_eq!(client.answer(), "T E:57014 Z:I");
    assert_eq!(client.rows("SHOW application_name"), ["other"]);
}

/// Much is sent while much comes back: a proxy that waits for one direction stalls.
fn full_duplex() {
    let proxy = Proxy::start(Settings::default());
    let mut client = proxy.raw();
    let long = "x".repeat(2_000_000);
    let sql = format!("SELECT repeat('y', 5000000) /* {long} */");
    let all = query(&sql).repeat(6);
    let mut writer = client.stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &all));
    for round in 0..6 {
        let messages = client.until_ready();
        assert_eq!(shape(&messages), "T D C Z:I", "{round}");
        assert_eq!(messages[1].body.len(), 5_000_006);
    }
    writing.join().unwrap().unwrap();
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        * 1024
}

fn million_rows() {
    let proxy = Proxy::start(Settings::default());
    let mut client = proxy.raw();
    client.rows("SELECT 1");
    let before = resident_bytes();
    let sql = "SELECT g, repeat('x', 100) FROM generate_series(1, 1000000) g";
    client.send(&[parse("", sql), bind("", &[]), execute(), sync()].concat());
    let mut buffer = vec![0; 256 * 1024];
    let (mut received, mut most) = (0_usize, 0);
    while received < 120_000_000 {
        match client.stream.read(&mut buffer).unwrap() {
            0 => panic!("the end after {received} bytes"),
            length => received += length,
        }
        if received.is_multiple_of(97) {
            most = most.max(resident_bytes());
        }
    }
    // Other trials run in this process; tests/long/stream looks at the proxy alone, and closer.
    let growth = most.saturating_sub(before) / 1024 / 1024;
    assert!(growth < 80, "{growth} MB more than before");
}

fn slow_reader() {
    let proxy = Proxy::start(Settings::default());
    let mut slow = proxy.raw();
    let before = resident_bytes();
    slow.send(&query(
        "SELECT repeat('x', 1000) FROM generate_series(1, 500000)",
    ));
    std::thread::sleep(Duration::from_millis(500));
    let growth = resident_bytes().saturating_sub(before) / 1024 / 1024;
    assert!(
        growth < 150,
        "{growth} MB wait for a reader that does not read"
    );
    // Others are served meanwhile.
    proxy.check_alive("a slow reader");
    assert_eq!(slow.until_ready().len(), 500_003);
}

fn leaving() {
    let proxy = Proxy::start(Settings {
        pool_size: 1,
        ..Settings::default()
    });
    for (name, bytes) in [
        (
            "in a block",
            query("BEGIN; INSERT INTO notes VALUES (1, 'x')"),
        ),
        ("while a statement runs", query("SELECT pg_sleep(30)")),
        (
            "while holding by Flush",
            [parse("", "SELECT 1"), message('H', b"")].concat(),
        ),
        (
            "while rows come",
            query("SELECT repeat('x', 1000) FROM generate_series(1, 1000000)"),
        ),
        (
            "with a goodbye",
            [query("BEGIN"), message('X', b"")].concat(),
        ),
    ] {
        let mut client = proxy.raw();
        client.send(&bytes);
        std::thread::sleep(Duration::from_millis(50));
        drop(client);
        let began = Instant::now();
        assert_eq!(
            proxy.raw().rows("SELECT count(*) FROM notes"),
            ["0"],
            "{name}"
        );
        assert!(began.elapsed() < Duration::from_secs(2), "{name}");
    }
    // What runs for a client that has left is cancelled.
    let asleep = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                  AND query LIKE '%pg_sleep(30)%' AND pid <> pg_backend_pid() AND state = 'active'";
    assert_eq!(proxy.database.value(asleep), "0");
}
