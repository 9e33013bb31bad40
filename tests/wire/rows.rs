//! A tenant's limit of rows: `result_rows`.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;

use super::proxy::{PASSWORD, Proxy, Settings};
use super::raw::{Raw, bind, execute, message, parse, query, shape, sync};
use crate::support::trial;

/// The trials.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("wire::rows::a_result_ends_at_the_limit", limited),
        trial("wire::rows::what_is_told_to_have_failed_has", undone),
        trial("wire::rows::long_results_are_cancelled", cancelled),
        trial("wire::rows::shared_tenants_have_the_limit", shared),
    ]
}

const LIMIT: &str = "[limits]\nresult_rows = 3\n";

fn start() -> Proxy {
    Proxy::start(Settings {
        tenant: LIMIT,
        ..Settings::default()
    })
}

/// Parse, Bind and Execute of a statement with this limit of rows.
fn run(sql: &str, rows_max: i32) -> Vec<u8> {
    let execute = message('E', &[b"\0", &rows_max.to_be_bytes()[..]].concat());
    [parse("", sql), bind("", &[]), execute].concat()
}

const THREE: &str = "SELECT generate_series(1, 3)";
const FOUR: &str = "SELECT generate_series(1, 4)";

fn limited() {
    let proxy = start();
    let mut raw = proxy.raw();
    let ended = |bytes: &[&[u8]]| bytes.concat();
    for (name, bytes, expected) in [
        ("as many", query(THREE), &["T D D D C Z:I"][..]),
        ("one more", query(FOUR), &["T D D D E:54000 Z:I"]),
        (
            "each by itself",
            query(&format!("{THREE}; {THREE}")),
            &["T D D D C T D D D C Z:I"],
        ),
        (
            "the second one",
            query(&format!("SELECT 1; {FOUR}; SELECT 2")),
            &["T D C T D D D E:54000 Z:I"],
        ),
        (
            "as many, extended",
            ended(&[&run(THREE, 0), &sync()]),
            &["1 2 D D D C Z:I"],
        ),
        (
            "one more, extended",
            ended(&[&run(FOUR, 0), &sync()]),
            &["1 2 D D D E:54000 Z:I"],
        ),
        (
            "a wide portion",
            ended(&[&run(FOUR, 100), &sync()]),
            &["1 2 D D D E:54000 Z:I"],
        ),
        (
            "in portions",
            ended(&[&run(FOUR, 2), &execute(), &sync()]),
            &["1 2 D D s D D C Z:I"],
        ),
        (
            "what follows is dropped up to Sync",
            ended(&[
                &run(FOUR, 0),
                &run("SELECT 1", 0),
                &sync(),
                &run("SELECT 2", 0),
                &sync(),
            ]),
            &["1 2 D D D E:54000 Z:I", "1 2 D C Z:I"],
        ),
        (
            "COPY",
            query(&format!("COPY ({THREE}) TO STDOUT")),
            &["H d d d c C Z:I"],
        ),
        (
            "COPY of more",
            query(&format!("COPY ({FOUR}) TO STDOUT")),
            &["H d d d E:54000 Z:I"],
        ),
        (
            "COPY of more, extended",
            ended(&[&run(&format!("COPY ({FOUR}) TO STDOUT"), 0), &sync()]),
            &["1 2 H d d d E:54000 Z:I"],
        ),
        (
            "COPY FROM, extended",
            ended(&[
                &run("COPY notes FROM STDIN", 0),
                &sync(),
                &message('d', b"21\ta\n22\tb\n23\tc\n24\td\n"),
                &message('c', b""),
                &sync(),
                &query("DELETE FROM notes"),
            ]),
            &["1 2 G C Z:I", "C Z:I"],
        ),
        (
            "FETCH",
            query(&format!(
                "BEGIN; DECLARE c CURSOR FOR {FOUR}; FETCH 3 FROM c; FETCH 3 FROM c; COMMIT"
            )),
            &["C C T D D D C T D C C Z:I"],
        ),
        (
            "FETCH ALL",
            query(&format!(
                "BEGIN; DECLARE c CURSOR FOR {FOUR}; FETCH ALL FROM c; COMMIT"
            )),
            &["C C T D D D E:54000 Z:I"],
        ),
        // Rows that nobody gets may be of any length.
        (
            "long rows",
            query("SELECT repeat('x', 5000000) FROM generate_series(1, 5)"),
            &["T D D D E:54000 Z:I"],
        ),
    ] {
        raw.send(&bytes);
        for expected in expected {
            assert_eq!(raw.answer(), *expected, "{name}");
        }
        assert_eq!(raw.rows("SELECT 7"), ["7"], "after {name}");
    }
    let told = raw.query(FOUR);
    let error = told.iter().find(|message| message.tag == 'E').unwrap();
    assert_eq!(
        error.field('M').as_deref(),
        Some("the result has more than 3 rows, the tenant's limit")
    );
    // The limit goes with its line.
    let tenant = std::fs::read_to_string(proxy.directory().join("tenants/own.toml")).unwrap();
    proxy.reload_with("tenants/own.toml", Some(&tenant.replace(LIMIT, "")));
    assert_eq!(shape(&raw.query(FOUR)), "T D D D D C Z:I");
}

/// An error of ours is one of the server's, too.
fn undone() {
    let proxy = start();
    let mut raw = proxy.raw();
    let insert = "INSERT INTO notes SELECT g, 'x' FROM generate_series(1, 4) g RETURNING id";
    let count = |raw: &mut Raw| raw.rows("SELECT count(*) FROM notes").remove(0);
    raw.send(&[run(insert, 0), sync()].concat());
    assert_eq!(raw.answer(), "1 2 D D D E:54000 Z:I");
    assert_eq!(count(&mut raw), "0");
    // What came before it in the same series, too.
    let one = "INSERT INTO notes VALUES (9, 'x')";
    raw.send(&[run(one, 0), run(FOUR, 0), sync()].concat());
    assert_eq!(raw.answer(), "1 2 C 1 2 D D D E:54000 Z:I");
    assert_eq!(count(&mut raw), "0");
    for failing in [
        query(insert),
        [run(insert, 0), sync()].concat(),
        query(FOUR),
    ] {
        raw.query("BEGIN");
        assert_eq!(shape(&raw.query(one)), "C Z:T");
        raw.send(&failing);
        assert!(raw.answer().ends_with("D D D E:54000 Z:E"));
        assert_eq!(shape(&raw.query("SELECT 1")), "E:25P02 Z:E");
        let ended = raw.query("COMMIT");
        assert_eq!(ended[0].body, b"ROLLBACK\0");
        assert_eq!(count(&mut raw), "0");
    }
    // A Query by itself may be done before it can be stopped: then that is told.
    let told = raw.query(insert);
    assert_eq!(shape(&told), "T D D D E:54000 Z:I");
    let error = told.iter().find(|message| message.tag == 'E').unwrap();
    let is_kept = count(&mut raw) == "4";
    assert_eq!(error.field('D').is_some(), is_kept, "{error:?}");
}

fn cancelled() {
    let proxy = start();
    let mut raw = proxy.raw();
    let long = "SELECT generate_series(1, 100000000), repeat('x', 100)";
    for bytes in [
        query(long),
        [run(long, 0), sync()].concat(),
        query(&format!("COPY ({long}) TO STDOUT")),
    ] {
        let began = Instant::now();
        raw.send(&bytes);
        assert!(raw.answer().ends_with("E:54000 Z:I"));
        assert!(began.elapsed() < Duration::from_secs(5));
        // The request to cancel hits nothing that comes later.
        for _ in 0..20 {
            assert_eq!(raw.rows("SELECT 1 FROM pg_sleep(0.002)"), ["1"]);
        }
    }
}

fn shared() {
    let proxy = Proxy::start(Settings::default());
    let tenant =
        "isolation = \"shared\"\nupstream = \"main\"\nkey = 2\n[limits]\nresult_rows = 1\n";
    proxy.reload_with("tenants/b.toml", Some(tenant));
    let mut raw = Raw::log_in(proxy.port, "app", PASSWORD, "b").unwrap();
    let (one, two) = (
        "SELECT name FROM items WHERE id = 1",
        "SELECT name FROM items",
    );
    assert_eq!(shape(&raw.query(one)), "T D C Z:I");
    assert_eq!(shape(&raw.query(two)), "T D E:54000 Z:I");
    raw.send(&[run(two, 0), sync()].concat());
    assert_eq!(raw.answer(), "1 2 D E:54000 Z:I");
    let mut other = Raw::log_in(proxy.port, "app", PASSWORD, "a").unwrap();
    assert_eq!(shape(&other.query(two)), "T D C Z:I");
}
