//! COPY, as a tenant with shared tables and as one with a database of its own: the second is what the
//! first is compared with.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use libtest_mimic::Trial;

use super::proxy::{PASSWORD, Proxy, Settings};
use super::raw::{
    Message, Raw, bind, describe_statement, execute, flush, message, parse, query, shape, sync,
};
use crate::support::Cluster;

/// The trials.
pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("wire::copy_loads_what_a_private_database_loads", || {
            loads();
            Ok(())
        }),
        Trial::test("wire::copy_messages_come_in_any_order", || {
            conversations();
            Ok(())
        }),
        Trial::test("wire::copy_never_serves_another_tenant", || {
            one_connection();
            Ok(())
        }),
        Trial::test("wire::copy_ends_with_its_client", || {
            endings();
            Ok(())
        }),
        Trial::test("wire::copy_works_for_psql_and_pgbench", || {
            programs();
            Ok(())
        }),
    ]
}

/// The shared table hides its tenant column in the middle.
fn start(pool_size: usize) -> Proxy {
    let proxy = Proxy::start(Settings {
        pool_size,
        ..Settings::default()
    });
    for (database, column) in [
        (&proxy.shared, "tenant_id integer NOT NULL,"),
        (&proxy.database, ""),
    ] {
        let key = if column.is_empty() { "" } else { "tenant_id, " };
        database.execute(&format!(
            "CREATE TABLE lines (a text, {column} b text DEFAULT 'd', c integer CHECK (c <> 13), \
             CONSTRAINT lines_key UNIQUE ({key} c)); CREATE TABLE one ({column} x text)"
        ));
    }
    let reload = std::fs::read_to_string(proxy.directory().join("policy.toml")).unwrap();
    proxy.reload_with("policy.toml", Some(&reload));
    proxy
}

fn log_in(proxy: &Proxy, tenant: &str) -> Raw {
    Raw::log_in(proxy.port, "app", PASSWORD, tenant).unwrap()
}

fn data(bytes: &[u8]) -> Vec<u8> {
    message('d', bytes)
}

fn done() -> Vec<u8> {
    message('c', b"")
}

/// A stream of the binary format, of rows of text fields.
fn binary(rows: &[&[Option<&str>]]) -> Vec<u8> {
    let mut stream = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    for row in rows {
        stream.extend_from_slice(&u16::try_from(row.len()).unwrap().to_be_bytes());
        for field in *row {
            let length = field.map_or(-1, |field| i32::try_from(field.len()).unwrap());
            stream.extend_from_slice(&length.to_be_bytes());
            stream.extend_from_slice(field.unwrap_or_default().as_bytes());
        }
    }
    stream
}

/// The shape, and what an error says.
fn told(messages: &[Message]) -> String {
    let mut told = shape(messages);
    for message in messages {
        if message.tag == 'E' || message.tag == 'G' || message.tag == 'C' {
            let fields = ['M', 'W'].map(|code| message.field(code).unwrap_or_default());
            match message.tag {
                'E' => writeln!(told, "\n{}\n{}", fields[0], fields[1]).unwrap(),
                'G' => writeln!(told, "\n{:?}", message.body).unwrap(),
                _ => writeln!(told, "\n{}", String::from_utf8_lossy(&message.body)).unwrap(),
            }
        }
    }
    told
}

/// What becomes of a stream, and what is in the table then.
fn outcome(raw: &mut Raw, sql: &str, stream: &[u8], chunk: usize) -> String {
    raw.query("DELETE FROM lines; DELETE FROM one");
    let mut bytes = query(sql);
    for chunk in stream.chunks(chunk) {
        bytes.extend(data(chunk));
    }
    bytes.extend(done());
    raw.send(&bytes);
    // What the server says of a code suits whose text it read.
    let told = told(&raw.until_ready());
    let told = told.split(" [TN").next().unwrap_or_default().trim_end();
    let rows = raw
        .rows("SELECT concat_ws('|', coalesce(a, '~'), coalesce(b, '~'), c) FROM lines ORDER BY 1");
    let ones = raw.rows("SELECT coalesce(x, '~') FROM one ORDER BY 1");
    format!("{told}\n{}\n{}", rows.join("\n"), ones.join("\n"))
}

fn loads() {
    let proxy = start(4);
    let (mut shared, mut own) = (log_in(&proxy, "b"), log_in(&proxy, "own"));
    proxy
        .shared
        .execute("INSERT INTO lines VALUES ('CANARY', 1, 'x', 1), ('CANARY', 3, 'y', 2)");
    let long = "x".repeat(300_000);
    let long = format!("{long}\t{long}\t1\nb\tc\t2\n");
    let cases: Vec<(&str, &[u8])> = vec![
        ("COPY lines FROM STDIN", b"x\ty\t1\nz\t\\N\t2\n"),
        ("COPY lines FROM STDIN", b""),
        ("COPY lines FROM STDIN", b"x\ty\t1"),
        ("COPY lines FROM STDIN", b"x\\ty\t\\x41\\101\\n\t1\n"),
        ("COPY lines FROM STDIN", b"x\\\ny\tb\\\\\t1\n"),
        ("COPY lines FROM STDIN", b"x\ty\t1\n\\.\n9\tplanted\t2\n"),
        ("COPY lines FROM STDIN", b"x\ty\t1\\.\nz\tplanted\t2\n"),
        ("COPY lines FROM STDIN", b"x\ty\t1\n\\.x\n"),
        ("COPY lines FROM STDIN", b"x\ty\t1\n\\."),
        (
            "COPY lines FROM STDIN",
            b"x\ty\t1\r\nz\tw\t2\r\n\\.\r\nq\r\n",
        ),
        (
            "COPY lines FROM STDIN",
            b"x\ty\t1\r\nz\tw\t2\n1\tplanted\t3\n",
        ),
        ("COPY lines FROM STDIN", b"x\ty\t1\rz\tw\t2\r"),
        (
            "COPY lines FROM STDIN",
            b"x\ty\t1\nz\tw\t2\r1\tplanted\t3\n",
        ),
        ("COPY lines FROM STDIN", b"x\ty\t1\t2\n"),
        ("COPY lines FROM STDIN", b"x\ty\t1\nx\n"),
        ("COPY lines FROM STDIN", b"x\ty\tnine\n"),
        ("COPY lines FROM STDIN", b"x\ty\t1\nx\ty\t99999999999\n"),
        ("COPY lines FROM STDIN", b"x\ty\t1\nx\ty\t1\n"),
        ("COPY lines FROM STDIN", b"x\ty\t13\n"),
        ("COPY lines FROM STDIN", b"x\xff\ty\t1\n"),
        ("COPY lines FROM STDIN", b"x\ty\t1\nx\0\ty\t2\nz\tw\t3\n"),
        ("COPY lines FROM STDIN", b"\xc3\xa4\t\xe2\x82\xac\t1\n"),
        ("COPY lines FROM STDIN", b"\n"),
        ("COPY lines FROM STDIN", long.as_bytes()),
        ("COPY lines (c, a) FROM STDIN", b"1\tx\n2\ty\n"),
        ("COPY lines FROM STDIN (NULL '2')", b"2\t2\t1\n"),
        ("COPY lines FROM STDIN (NULL '')", b"\t\t1\n"),
        (
            "COPY lines FROM STDIN (DELIMITER '|', NULL 'x')",
            b"2|x|1\nx|2|x\n",
        ),
        ("COPY lines FROM STDIN (DELIMITER '2')", b"x2y21\n"),
        ("COPY lines FROM STDIN (DELIMITER 'N')", b"xNyN1\n"),
        ("COPY lines FROM STDIN (DELIMITER 'X')", b"aXbX1\n"),
        ("COPY lines FROM STDIN (HEADER)", b"whatever\nx\ty\t1\n"),
        (
            "COPY lines FROM STDIN (HEADER match)",
            b"a\tb\tc\nx\ty\t1\n",
        ),
        (
            "COPY lines FROM STDIN (HEADER match)",
            b"a\tB\tc\nx\ty\t1\n",
        ),
        ("COPY lines FROM STDIN (HEADER match)", b"a\tb\nx\ty\t1\n"),
        (
            "COPY lines FROM STDIN (HEADER match)",
            b"a\tb\tc\td\nx\ty\t1\n",
        ),
        (
            "COPY lines FROM STDIN (HEADER match)",
            b"\\N\tb\tc\nx\ty\t1\n",
        ),
        ("COPY lines FROM STDIN WHERE c > 1", b"x\ty\t1\nz\tw\t2\n"),
        (
            "COPY lines FROM STDIN WHERE lines.a <> 'x' AND length(b) = 1",
            b"x\ty\t1\nz\tw\t2\n",
        ),
        ("COPY lines FROM STDIN WHERE c IN (SELECT 1)", b""),
        ("COPY lines FROM STDIN WHERE count(*) > 1", b""),
        ("COPY lines FROM STDIN WHERE 1 / (c - 1) > 0", b"x\ty\t1\n"),
        ("COPY one FROM STDIN", b"x\n\n2\n\\N\n"),
        ("COPY one FROM STDIN", b"x\ty\n"),
        ("COPY one FROM STDIN CSV", b"x\n\n\"\"\n2\n"),
        (
            "COPY lines FROM STDIN CSV",
            b"x,y,1\n\"a\n2,planted,7\",\"q\"\"q\",2\n",
        ),
        ("COPY lines FROM STDIN CSV", b"x,,1\n\"\",,2\n"),
        ("COPY lines FROM STDIN CSV", b"x,y,1\n\\.\n2,planted,2\n"),
        ("COPY lines FROM STDIN CSV", b"x,y,1\n\\.x,y,2\n"),
        (
            "COPY lines FROM STDIN CSV",
            b"x,y,1\r\n\\.\r\n2,planted,2\r\n",
        ),
        (
            "COPY lines FROM STDIN CSV",
            b"x,y,1\r\n\\.\n2,planted,2\r\n",
        ),
        ("COPY lines FROM STDIN CSV", b"x,y,1\n\\."),
        ("COPY lines FROM STDIN CSV", b"x,y,1\n\\"),
        ("COPY lines FROM STDIN CSV", b"x,\"y,1\n"),
        ("COPY lines FROM STDIN CSV", b"x,y\"z\n2,planted,1\n\",1\n"),
        ("COPY lines FROM STDIN CSV", b"x,y,1,2\n"),
        ("COPY lines FROM STDIN CSV", b"x,y,1\nx\n"),
        ("COPY lines FROM STDIN CSV", b"x,y,\"1\nz\"\n"),
        ("COPY lines FROM STDIN CSV", b"x,y,1\r2,z,2\n3,planted,3\n"),
        (
            "COPY lines FROM STDIN (FORMAT csv, QUOTE '~', DELIMITER ';')",
            b"~k;~;x;1\nv~;planted;~x;~2~\n",
        ),
        (
            "COPY lines FROM STDIN (FORMAT csv, QUOTE '2', NULL '1')",
            b"x,2y2,1\n",
        ),
        (
            "COPY lines FROM STDIN (FORMAT csv, DELIMITER '2', NULL '')",
            b"x2y21\n",
        ),
        (
            "COPY lines FROM STDIN (FORMAT csv, QUOTE '''', ESCAPE '\\')",
            b"'a\\'\n2,planted',b,1\n",
        ),
        (
            "COPY lines FROM STDIN (FORMAT csv, ESCAPE '\\')",
            b"\"a\\\"\n2,planted\",b,1\n\"\\\\\",b,2\n",
        ),
        (
            "COPY lines FROM STDIN (FORMAT csv, ESCAPE '2')",
            b"\"a2\"\n2,planted\",b,1\n",
        ),
        (
            "COPY lines FROM STDIN (FORMAT csv, HEADER)",
            b"\"a\nb\",c\nx,y,1\n",
        ),
        (
            "COPY lines FROM STDIN (FORMAT csv, HEADER match)",
            b"a,b,c\nx,y,1\n",
        ),
        (
            "COPY lines FROM STDIN (FORMAT csv, HEADER match)",
            b"a,b,\"d\"\nx,y,1\n",
        ),
        (
            "COPY lines FROM STDIN (FORMAT csv, HEADER match)",
            b"a\nx,y,1\n",
        ),
        (
            "COPY lines FROM STDIN (FORMAT csv, NULL '2', FORCE_NULL (a), FORCE_NOT_NULL (b))",
            b"\"2\",2,1\n2,\"2\",2\n",
        ),
        ("COPY lines (tenant_id, a) FROM STDIN", b"1\tplanted\n"),
        ("COPY lines (a, tenant_id) FROM STDIN CSV", b"planted,1\n"),
        (
            "COPY lines FROM STDIN (FORMAT csv, FORCE_NULL (tenant_id))",
            b"x,y,1\n",
        ),
        ("COPY lines FROM STDIN WHERE tenant_id = 1", b"x\ty\t1\n"),
        ("COPY lines (a, a) FROM STDIN", b""),
        ("COPY lines (nosuch) FROM STDIN", b""),
        ("COPY nosuch FROM STDIN", b""),
        ("COPY lines FROM STDIN (DELIMITER 'ab')", b""),
        ("COPY lines FROM STDIN (DELIMITER 'a')", b""),
        ("COPY lines FROM STDIN (FORMAT csv, QUOTE ',')", b""),
        ("COPY lines FROM STDIN (QUOTE '\"')", b""),
        ("COPY lines FROM STDIN (FORMAT binary, HEADER)", b""),
    ];
    let mut faults = Vec::new();
    for (sql, stream) in cases {
        faults.extend(same(&mut shared, &mut own, sql, stream));
    }
    let one: &[Option<&str>] = &[Some("x"), None, Some("\0\0\0\x01")];
    let other: &[Option<&str>] = &[Some("\n2\tplanted"), Some(""), Some("\0\0\0\x02")];
    let trailer = b"\xff\xff".to_vec();
    for stream in [
        [binary(&[one, other]), trailer.clone()].concat(),
        binary(&[one, other]),
        [binary(&[one]), trailer.clone(), b"x".to_vec()].concat(),
        [binary(&[one]), trailer.clone(), binary(&[other])].concat(),
        binary(&[one, &[Some("x")]]),
        binary(&[&[Some("a"), Some("b"), Some("\0\0\0\x01"), Some("\0\0\0\x01")]]),
        [binary(&[one]), b"\xff\xfe\0\0".to_vec()].concat(),
        [binary(&[one]), b"\x7f\xff\0\0".to_vec()].concat(),
        binary(&[&[Some("a"), Some("b"), Some("\0\0\x01")]]),
        binary(&[one])[..30].to_vec(),
        [binary(&[one]), b"\0\x03\xff\xff\xff\xfb".to_vec()].concat(),
        b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\x02ab\xff\xff".to_vec(),
        b"PGCOPY\n\xff\r\n\0\0\x01\0\0\0\0\0\0\xff\xff".to_vec(),
        b"PGCOPY\n\xff\r\n\0\x80\0\0\0\0\0\0\0\xff\xff".to_vec(),
        b"no signature at all, but a long one".to_vec(),
    ] {
        let sql = "COPY lines FROM STDIN (FORMAT binary)";
        faults.extend(same(&mut shared, &mut own, sql, &stream));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
    let theirs = "SELECT string_agg(concat_ws('|', tenant_id, a, b, c), ',' ORDER BY 1) FROM lines WHERE tenant_id <> 2";
    assert_eq!(proxy.shared.value(theirs), "1|CANARY|x|1,3|CANARY|y|2");
}

/// Tells of each way of cutting the stream that makes a difference.
fn same(shared: &mut Raw, own: &mut Raw, sql: &str, stream: &[u8]) -> Vec<String> {
    let mut faults = Vec::new();
    let chunks: &[usize] = if stream.len() < 1000 {
        &[1, 3, 1000]
    } else {
        &[7_000, 1_000_000]
    };
    for chunk in chunks {
        let expected = outcome(own, sql, stream, *chunk);
        let found = outcome(shared, sql, stream, *chunk);
        if found != expected {
            let shown = String::from_utf8_lossy(&stream[..stream.len().min(99)]);
            faults.push(format!(
                "{sql} {shown:?} by {chunk}\n{found}\n---\n{expected}"
            ));
        }
    }
    faults
}

/// What is sent, and the answers up to each ReadyForQuery; the same of both tenants.
fn conversations() {
    let proxy = start(4);
    let copy = "COPY lines FROM STDIN";
    let rows = || data(b"x\ty\t1\n");
    let prepared = |sql: &str| [parse("", sql), bind("", &[]), execute()].concat();
    for (name, parts, expected) in [
        (
            "all at once",
            vec![query(copy), rows(), done(), query("SELECT 1")],
            &["G C Z:I", "T D C Z:I"][..],
        ),
        (
            "among others",
            vec![
                query("SELECT 1; COPY lines FROM STDIN; SELECT 2"),
                data(b""),
                data(b"x\ty"),
                data(b"\t2\n"),
                done(),
            ],
            &["T D C G C T D C Z:I"],
        ),
        (
            "two of them",
            vec![
                query("COPY lines FROM STDIN; COPY one FROM STDIN; SELECT 3"),
                data(b"x\ty\t3\n"),
                done(),
                data(b"one\n"),
                done(),
                sync(),
            ],
            &["G C G C T D C Z:I", "Z:I"],
        ),
        (
            "in a block",
            vec![
                query("BEGIN"),
                query(copy),
                data(b"x\ty\t4\n"),
                done(),
                query("ROLLBACK"),
            ],
            &["C Z:I", "G C Z:T", "C Z:I"],
        ),
        (
            "the client fails",
            vec![
                query(copy),
                rows(),
                message('f', b"why\0"),
                query("SELECT 1"),
            ],
            &["G E:57014 Z:I", "T D C Z:I"],
        ),
        (
            "an error",
            vec![
                query(copy),
                data(b"x\ty\tnine\n"),
                rows(),
                rows(),
                done(),
                query("SELECT 1"),
            ],
            &["G E:22P02 Z:I", "T D C Z:I"],
        ),
        (
            "an error in a block",
            vec![
                query("BEGIN"),
                query(copy),
                data(b"x\n"),
                done(),
                query("SELECT 1"),
                query("ROLLBACK"),
            ],
            &["C Z:T", "G E:22P04 Z:E", "E:25P02 Z:E", "C Z:I"],
        ),
        (
            "no such table",
            vec![
                query("COPY nosuch FROM STDIN"),
                rows(),
                done(),
                query("SELECT 1"),
            ],
            &["E:42P01 Z:I", "T D C Z:I"],
        ),
        (
            "extended",
            vec![prepared(copy), data(b"x\ty\t5\n"), done(), sync()],
            &["1 2 G C Z:I"],
        ),
        (
            "extended with an early Sync",
            vec![
                prepared(copy),
                sync(),
                flush(),
                data(b"x\ty\t6\n"),
                sync(),
                done(),
                sync(),
                query("SELECT 1"),
            ],
            &["1 2 G C Z:I", "T D C Z:I"],
        ),
        (
            "extended with an error",
            vec![
                prepared(copy),
                sync(),
                data(b"x\n"),
                data(b"y\n"),
                done(),
                sync(),
                query("SELECT 1"),
            ],
            &["1 2 G E:22P04 Z:I", "T D C Z:I"],
        ),
        (
            "extended, the client fails",
            vec![
                prepared(copy),
                sync(),
                message('f', b"why"),
                sync(),
                query("SELECT 1"),
            ],
            &["1 2 G E:57014 Z:I", "T D C Z:I"],
        ),
        (
            "extended after an error",
            vec![
                prepared("SELECT 1 / 0"),
                prepared(copy),
                rows(),
                done(),
                sync(),
                query("SELECT 1"),
            ],
            &["1 E:22012 Z:I", "T D C Z:I"],
        ),
        (
            "extended, among others",
            vec![
                prepared("SELECT 1"),
                prepared(copy),
                data(b"x\ty\t7\n"),
                done(),
                prepared("SELECT 2"),
                sync(),
            ],
            &["1 2 D C 1 2 G C 1 2 D C Z:I"],
        ),
        (
            "described",
            vec![
                parse("s", copy),
                describe_statement("s"),
                sync(),
                bind("s", &[]),
                execute(),
                done(),
                sync(),
                message('C', b"Ss\0"),
                sync(),
            ],
            &["1 t n Z:I", "2 G C Z:I", "3 Z:I"],
        ),
        (
            "values for it",
            vec![
                parse("s", copy),
                bind("s", &["1"]),
                execute(),
                sync(),
                message('C', b"Ss\0"),
                sync(),
            ],
            &["1 E:08P01 Z:I", "3 Z:I"],
        ),
        (
            "a parameter in it",
            vec![parse("", "COPY lines FROM STDIN WHERE c = $1"), sync()],
            &["E:42P02 Z:I"],
        ),
        (
            "out",
            vec![query("COPY lines TO STDOUT")],
            &["H d d d d d d c C Z:I"],
        ),
        (
            "out, among others",
            vec![query(
                "COPY (SELECT 1) TO STDOUT; COPY (VALUES (1), (2)) TO STDOUT CSV; SELECT 1",
            )],
            &["H d c C H d d c C T D C Z:I"],
        ),
        (
            "out, extended",
            vec![
                prepared("COPY (SELECT 1) TO STDOUT"),
                prepared("SELECT 1"),
                sync(),
            ],
            &["1 2 H d c C 1 2 D C Z:I"],
        ),
        (
            "out, with an error",
            vec![
                query("COPY (SELECT 1 / (2 - i) FROM generate_series(1, 3) i) TO STDOUT"),
                query("SELECT 1"),
            ],
            &["H d E:22012 Z:I", "T D C Z:I"],
        ),
        (
            "in and out",
            vec![
                query("COPY one FROM STDIN; COPY one TO STDOUT"),
                data(b"two\n"),
                done(),
            ],
            &["G C H d d c C Z:I"],
        ),
        (
            "data outside of COPY",
            vec![data(&vec![b'x'; 3_000_000]), done(), query("SELECT 1")],
            &["T D C Z:I"],
        ),
    ] {
        for tenant in ["b", "own"] {
            // The second is told of a parameter by the server, in its own time.
            if name == "a parameter in it" && tenant == "own" {
                continue;
            }
            let expected: Vec<String> =
                expected.iter().map(|answer| (*answer).to_owned()).collect();
            let expected = if name == "in a block" {
                vec!["C Z:T".to_owned(), "G C Z:T".to_owned(), "C Z:I".to_owned()]
            } else {
                expected
            };
            for piece in [1_000_000, 7] {
                let mut raw = log_in(&proxy, tenant);
                let before = if name == "out" {
                    "DELETE FROM lines; INSERT INTO lines (c) VALUES (1), (2), (3), (4), (5), (6)"
                } else {
                    "DELETE FROM lines; DELETE FROM one; INSERT INTO one (x) VALUES ('one')"
                };
                raw.query(before);
                for piece in parts.concat().chunks(piece) {
                    raw.send(piece);
                }
                let found: Vec<String> = expected.iter().map(|_| raw.answer()).collect();
                assert_eq!(found, expected, "{name} as {tenant}");
                assert_eq!(raw.rows("SELECT 42"), ["42"], "{name} as {tenant}");
            }
        }
    }
}

/// One server connection for all: what is prepared with one tenant's value serves nobody else.
fn one_connection() {
    let proxy = start(1);
    let out = "COPY items (name) TO STDOUT";
    for (tenant, expected) in [
        ("a", "CANARY-T1\n"),
        ("b", "CANARY-T2\nCANARY-T2-2\n"),
        ("a", "CANARY-T1\n"),
        ("c", "CANARY-T3\n"),
    ] {
        let mut raw = log_in(&proxy, tenant);
        for round in 0..2 {
            raw.send(
                &[
                    parse("s", out),
                    bind("s", &[]),
                    execute(),
                    sync(),
                    message('C', b"Ss\0"),
                    sync(),
                ]
                .concat(),
            );
            let simple = raw.until_ready();
            raw.until_ready();
            for messages in [simple, raw.query(out)] {
                let rows = messages.iter().filter(|message| message.tag == 'd');
                let rows: Vec<u8> = rows.flat_map(|message| message.body.clone()).collect();
                assert_eq!(String::from_utf8_lossy(&rows), expected, "{tenant} {round}");
            }
            let copy = [
                parse("", "COPY parts FROM STDIN"),
                bind("", &[]),
                execute(),
                data(b"1\n"),
                done(),
                sync(),
            ];
            raw.send(&copy.concat());
            assert_eq!(raw.answer(), "1 2 G C Z:I");
        }
    }
    let owners = "SELECT string_agg(tenant_id::text, ',' ORDER BY tenant_id) FROM parts";
    assert_eq!(proxy.shared.value(owners), "1,1,1,1,2,2,3,3");
}

fn endings() {
    let proxy = start(1);
    for tenant in ["b", "own"] {
        let begun = || {
            let mut raw = log_in(&proxy, tenant);
            raw.send(&[query("COPY lines FROM STDIN"), data(b"x\ty\t1\nz")].concat());
            assert_eq!(raw.message().map(|message| message.tag), Some('G'));
            raw
        };
        let empty = |after: &str| {
            let mut raw = log_in(&proxy, tenant);
            assert_eq!(
                raw.rows("SELECT count(*) FROM lines"),
                ["0"],
                "{tenant} after {after}"
            );
        };
        // As PostgreSQL answers it: twice, and then it hangs up.
        for (name, bytes) in [
            ("a Query", query("SELECT 1")),
            ("a Parse", parse("", "SELECT 1")),
            ("a Bind", bind("", &[])),
        ] {
            let mut raw = begun();
            raw.send(&bytes);
            assert_eq!(raw.answer(), "E:08P01 E:08P01", "{name}");
            empty(name);
        }
        let mut raw = begun();
        raw.send(&message('X', b""));
        assert!(raw.message().is_none());
        empty("Terminate");
        drop(begun());
        empty("a lost client");
        let mut raw = begun();
        raw.send(&[b'd', 0, 0, 1, 0, b'x']);
        drop(raw);
        empty("half a message");
        let mut raw = begun();
        raw.send(&[b'd', 0xff, 0xff, 0xff, 0xff]);
        assert!(raw.answer().contains("E:08P01"));
        empty("a length without sense");
        let mut raw = begun();
        assert!(raw.is_silent(Duration::from_millis(100)));
        raw.send(&done());
        assert_eq!(raw.answer(), "E:22P04 Z:I");
    }
}

fn run(proxy: &Proxy, program: &str, tenant: &str, arguments: &[&str], input: &str) -> String {
    let mut command: Command = Cluster::shared().program(program);
    let mut child = command
        .args([
            "-h",
            "127.0.0.1",
            "-p",
            &proxy.port.to_string(),
            "-U",
            "app",
        ])
        .args(arguments)
        .arg(tenant)
        .env("PGPASSWORD", PASSWORD)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn programs() {
    let proxy = start(4);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lines.csv");
    for tenant in ["b", "own"] {
        let script = format!(
            "\\copy lines from stdin\nx\ty\\nz\t1\n\\N\tw\t2\n\\.\n\\copy lines to '{file}' csv header\n\
             delete from lines;\n\\copy lines from '{file}' with (format csv, header match)\ncopy lines (c, b) to stdout;\n",
            file = file.display()
        );
        let told = run(
            &proxy,
            "psql",
            tenant,
            &["-X", "-q", "-v", "ON_ERROR_STOP=1"],
            &script,
        );
        assert_eq!(told, "1\ty\\nz\n2\tw\n", "{tenant}");
        assert_eq!(
            std::fs::read_to_string(&file).unwrap(),
            "a,b,c\nx,\"y\nz\",1\n,w,2\n"
        );
    }
    run(&proxy, "pgbench", "own", &["-i", "-q"], "");
    run(&proxy, "pgbench", "own", &["-t", "10", "-n"], "");
    assert_eq!(
        proxy
            .database
            .value("SELECT count(*) FROM pgbench_accounts"),
        "100000"
    );
}
