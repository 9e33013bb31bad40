//! What a message, or a byte, does.

use std::time::Duration;

use libtest_mimic::Trial;

use super::proxy::{PASSWORD, Proxy, Settings};
use super::raw::{
    Raw, bind, close_statement, describe_statement, execute, flush, message, parse, query, sync,
};

/// The trials.
pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("wire::messages_are_answered_as_postgresql_does", || {
            answers();
            Ok(())
        }),
        Trial::test("wire::bad_input_ends_one_connection_only", || {
            bad_input();
            Ok(())
        }),
        Trial::test("wire::bad_startups_end_one_connection_only", || {
            bad_startups();
            Ok(())
        }),
        Trial::test("wire::every_truncation_is_survived", || {
            truncations();
            Ok(())
        }),
        Trial::test("wire::logins_are_refused_alike", || {
            logins();
            Ok(())
        }),
        Trial::test("wire::versions_and_options_are_negotiated", || {
            negotiation();
            Ok(())
        }),
    ]
}

fn all(parts: &[Vec<u8>]) -> Vec<u8> {
    parts.concat()
}

/// What is sent, and the answers up to each ReadyForQuery. The same is asked of PostgreSQL itself.
fn answers() {
    let proxy = Proxy::start(Settings::default());
    for (name, bytes, expected) in [
        ("a query", query("SELECT 1"), &["T D C Z:I"][..]),
        (
            "several statements",
            query("SELECT 1; SELECT 2"),
            &["T D C T D C Z:I"],
        ),
        ("no statement", query(""), &["I Z:I"]),
        ("only semicolons", query("; ;"), &["I Z:I"]),
        ("a syntax error", query("SELEC 1"), &["E:42601 Z:I"]),
        (
            "all or nothing",
            query("CREATE TABLE x (); SELEC 1"),
            &["E:42601 Z:I"],
        ),
        (
            "an error in the middle",
            query("SELECT 1; SELECT 1/0; SELECT 2"),
            &["T D C E:22012 Z:I"],
        ),
        (
            "a block",
            all(&[
                query("BEGIN"),
                query("SELECT 1/0"),
                query("SELECT 1"),
                query("COMMIT"),
            ]),
            &["C Z:T", "E:22012 Z:E", "E:25P02 Z:E", "C Z:I"],
        ),
        (
            "the extended protocol",
            all(&[
                parse("", "SELECT $1::int4"),
                describe_statement(""),
                bind("", &["7"]),
                execute(),
                sync(),
            ]),
            &["1 t T 2 D C Z:I"],
        ),
        (
            "an error up to Sync",
            all(&[
                parse("", "SELECT 1/0"),
                bind("", &[]),
                execute(),
                parse("x", "SELECT 7"),
                query("SELECT 8"),
                sync(),
                bind("x", &[]),
                execute(),
                sync(),
            ]),
            &["1 E:22012 Z:I", "E:26000 Z:I"],
        ),
        (
            "what needs no server, behind a description",
            all(&[
                parse("described", "SELECT 1"),
                describe_statement("described"),
                close_statement("described"),
                sync(),
                parse("one", "SELECT 1"),
                describe_statement("one"),
                parse("two", "SELECT 1"),
                sync(),
            ]),
            &["1 t T 3 Z:I", "1 t T 1 Z:I"],
        ),
        (
            "PREPARE behind a series without Sync",
            all(&[
                parse("", "SELECT 1"),
                bind("", &[]),
                query("PREPARE first AS SELECT 11"),
                parse("three", "SELECT 3"),
                describe_statement("three"),
                query("SELECT 2; PREPARE second AS SELECT 1"),
            ]),
            &["1 2 C Z:I", "1 t T T D C C Z:I"],
        ),
        (
            "segments",
            all(&[
                parse("a", "SELECT 1"),
                sync(),
                bind("a", &[]),
                execute(),
                sync(),
                parse("a", "SELECT 2"),
                sync(),
                close_statement("a"),
                sync(),
                bind("a", &[]),
                sync(),
            ]),
            &["1 Z:I", "2 D C Z:I", "E:42P05 Z:I", "3 Z:I", "E:26000 Z:I"],
        ),
        (
            "the wrong number of values",
            all(&[
                parse("", "SELECT $1::int4"),
                bind("", &["1", "2"]),
                sync(),
                bind("", &[]),
                sync(),
            ]),
            &["1 E:08P01 Z:I", "E:08P01 Z:I"],
        ),
        (
            "several commands in one Parse",
            all(&[parse("", "SELECT 1; SELECT 2"), sync()]),
            &["E:42601 Z:I"],
        ),
        (
            "an empty statement",
            all(&[parse("", ""), bind("", &[]), execute(), sync()]),
            &["1 2 I Z:I"],
        ),
        (
            "a portal in parts",
            all(&[
                parse("", "SELECT generate_series(1, 3)"),
                bind("", &[]),
                message('E', b"\0\0\0\0\x02"),
                execute(),
                sync(),
            ]),
            &["1 2 D D s D C Z:I"],
        ),
        (
            "close of what does not exist",
            all(&[
                close_statement("nothing"),
                message('C', b"Pnothing\0"),
                sync(),
            ]),
            &["3 3 Z:I"],
        ),
        (
            "an unknown portal",
            all(&[message('E', b"nothing\0\0\0\0\0"), sync()]),
            &["E:34000 Z:I"],
        ),
        ("a lone Sync", sync(), &["Z:I"]),
        (
            "COPY messages outside of COPY",
            all(&[
                message('d', b"1\t2\n"),
                message('c', b""),
                message('f', b"x\0"),
                query("SELECT 1"),
            ]),
            &["T D C Z:I"],
        ),
        (
            "a simple query drops the unnamed statement",
            all(&[
                parse("", "SELECT 1"),
                sync(),
                query("SELECT 1"),
                bind("", &[]),
                sync(),
            ]),
            &["1 Z:I", "T D C Z:I", "E:26000 Z:I"],
        ),
    ] {
        let mut direct = Raw::log_in(
            crate::support::port(),
            "postgres",
            "",
            proxy.database.name(),
        );
        for (who, raw) in [
            ("PostgreSQL", direct.as_mut().unwrap()),
            ("the proxy", &mut proxy.raw()),
        ] {
            raw.send(&bytes);
            for expected in expected {
                assert_eq!(raw.answer(), *expected, "{who}: {name}");
            }
        }
    }
    // PostgreSQL runs functions by this message; Tenantry does not.
    let mut raw = proxy.raw();
    raw.send(&message('F', &[0; 12]));
    assert_eq!(raw.answer(), "E:0A000 Z:I");
    // Flush makes the server answer, and the connection stays until Sync.
    let mut raw = proxy.raw();
    raw.send(&all(&[parse("", "SELECT 1"), flush()]));
    assert_eq!(raw.message().unwrap().tag, '1');
    raw.send(&all(&[bind("", &[]), flush()]));
    assert_eq!(raw.message().unwrap().tag, '2');
    raw.send(&all(&[execute(), flush()]));
    assert_eq!(raw.message().unwrap().tag, 'D');
    assert_eq!(raw.message().unwrap().tag, 'C');
    raw.send(&sync());
    assert_eq!(raw.answer(), "Z:I");
}

fn bad_input() {
    let proxy = Proxy::start(Settings::default());
    for (name, bytes) in [
        ("length 0", b"Q\0\0\0\0xxxx".to_vec()),
        ("length 3", b"Q\0\0\0\x03".to_vec()),
        ("negative length", b"Q\xff\xff\xff\xffx".to_vec()),
        ("1 GiB", b"Q\x40\0\0\0x".to_vec()),
        ("a long Sync", b"S\0\0\x7f\0".to_vec()),
        ("a server's message", message('T', b"")),
        ("a password", message('p', b"x\0")),
        (
            "NUL in a statement",
            message('Q', b"SELECT 1 -- \0 DELETE FROM notes\0"),
        ),
        ("no NUL behind a statement", message('Q', b"SELECT 1")),
        (
            "a value's length below -1",
            message('B', b"\0\0\0\0\0\x01\xff\xff\xff\xfe\0\0"),
        ),
        (
            "a value beyond the message",
            message('B', b"\0\0\0\0\0\x01\0\0\x03\xe8x\0\0"),
        ),
        ("a negative count", message('B', b"\0\0\0\0\xff\xff\0\0")),
        (
            "a negative count of types",
            message('P', b"\0SELECT 1\0\xff\xff"),
        ),
        ("more than a body", message('S', b"\0")),
        ("an unknown target", message('D', b"X\0")),
        ("an unknown message", message('y', b"")),
    ] {
        let mut raw = proxy.raw();
        raw.send(&bytes);
        let error = raw.message().unwrap_or_else(|| panic!("{name}: no answer"));
        assert_eq!(error.field('C').as_deref(), Some("08P01"), "{name}");
        assert_eq!(error.field('S').as_deref(), Some("FATAL"), "{name}");
        assert_eq!(raw.message(), None, "{name}");
        // The same in a transaction: it is rolled back, and nobody else sees it.
        let mut raw = proxy.raw();
        raw.query("BEGIN; INSERT INTO notes VALUES (1, 'x')");
        raw.send(&bytes);
        while raw.message().is_some() {}
        let mut next = proxy.raw();
        assert_eq!(next.rows("SELECT count(*) FROM notes"), ["0"], "{name}");
    }
    for sql in [
        &b"SELECT '\xc0\xa7'\0"[..],
        b"SELECT '\xed\xa0\x80'\0",
        b"SELECT '\xff'\0",
    ] {
        let mut raw = proxy.raw();
        raw.send(&message('Q', sql));
        assert_eq!(raw.answer(), "E:22021 Z:I", "{sql:?}");
    }
}

fn bad_startups() {
    let proxy = Proxy::start(Settings::default());
    let startup = |code: u32, rest: &[u8]| {
        let length = u32::try_from(rest.len() + 8).unwrap();
        [&length.to_be_bytes()[..], &code.to_be_bytes(), rest].concat()
    };
    let tls = startup(80_877_103, b"");
    let gss = startup(80_877_104, b"");
    let plain = startup(196_608, b"user\0app\0database\0own\0\0");
    for (name, bytes, expected) in [
        ("length 0", b"\0\0\0\0".to_vec(), ""),
        ("length 10001", startup(196_608, &[b'x'; 9_993]), ""),
        ("negative length", vec![0xff; 12], ""),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), ""),
        ("no terminator", startup(196_608, b"user\0"), ""),
        ("a short cancel key", startup(80_877_102, b"\0\0\0\x01"), ""),
        (
            "a cancel key of nobody",
            startup(80_877_102, b"\0\0\0\x01\0\0\0\x02"),
            "",
        ),
        ("protocol 2", startup(0x0002_0000, b""), "E:0A000"),
        ("no user", startup(196_608, b"database\0own\0\0"), "E:28000"),
        (
            "replication",
            startup(196_608, b"user\0app\0replication\0true\0\0"),
            "E:42501",
        ),
        (
            "logical replication",
            startup(196_608, b"user\0app\0replication\0database\0\0"),
            "E:42501",
        ),
        (
            "a search_path",
            startup(196_608, b"user\0app\0options\0-csearch_path=evil\0\0"),
            "E:0A000",
        ),
        (
            "an encoding",
            startup(196_608, b"user\0app\0client_encoding\0SJIS\0\0"),
            "E:0A000",
        ),
        (
            "clear text after SSLRequest",
            [&tls[..], &plain].concat(),
            "E:08P01",
        ),
        ("SSLRequest twice", [&tls[..], &tls].concat(), "E:08P01"),
        (
            "a query before the password",
            [&plain[..], &query("SELECT 1")].concat(),
            "R E:08P01",
        ),
        (
            "a long password",
            [&plain[..], b"p\x40\0\0\0"].concat(),
            "R E:08P01",
        ),
        (
            "a malformed password",
            [&plain[..], &message('p', b"x\0")].concat(),
            "R E:08P01",
        ),
    ] {
        let mut raw = Raw::connect(proxy.port);
        raw.send(&bytes);
        assert_eq!(raw.answer(), expected, "{name}");
        assert_eq!(raw.message(), None, "{name}");
    }
    for (request, name) in [(&tls, "SSLRequest"), (&gss, "GSSENCRequest")] {
        let mut raw = Raw::connect(proxy.port);
        raw.send(request);
        let mut answer = [0; 1];
        std::io::Read::read_exact(&mut raw.stream, &mut answer).unwrap();
        assert_eq!(&answer, b"N", "{name}");
        raw.send(&plain);
        assert_eq!(raw.message().unwrap().tag, 'R', "{name}");
    }
    proxy.check_alive("bad startups");
}

fn truncations() {
    let proxy = Proxy::start(Settings {
        pool_size: 2,
        ..Settings::default()
    });
    let conversation = all(&[
        parse("s", "SELECT $1::int4"),
        describe_statement("s"),
        bind("s", &["7"]),
        execute(),
        sync(),
        query("BEGIN"),
        query("INSERT INTO notes VALUES (1, 'x')"),
    ]);
    for end in 0..=conversation.len() {
        let mut raw = proxy.raw();
        raw.send(&conversation[..end]);
        raw.stream.shutdown(std::net::Shutdown::Write).unwrap();
        while raw.message().is_some() {}
    }
    let mut raw = proxy.raw();
    assert_eq!(raw.rows("SELECT count(*) FROM notes"), ["0"]);
    let startup = b"\0\0\0\x21\0\x03\0\0user\0app\0database\0own\0\0";
    for end in 0..startup.len() {
        let mut raw = Raw::connect(proxy.port);
        raw.send(&startup[..end]);
        raw.stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(raw.message(), None, "cut at {end}");
    }
    proxy.check_alive("truncated startups");
}

fn logins() {
    let proxy = Proxy::start(Settings::default());
    for (user, password, database, sqlstate) in [
        ("app", "wrong", "own", "28P01"),
        ("app", "", "own", "28P01"),
        ("nobody", PASSWORD, "own", "28P01"),
        ("app", PASSWORD, "unknown", "28000"),
        ("app", PASSWORD, "gone", "28000"),
        ("app", PASSWORD, "../own", "28000"),
        ("app", PASSWORD, "app", "28000"),
        ("own", PASSWORD, "gone", "28000"),
        ("other", PASSWORD, "own", "28000"),
        ("other", PASSWORD, "gone", "28000"),
    ] {
        let Err(error) = Raw::log_in(proxy.port, user, password, database) else {
            panic!("{user} {database} is let in");
        };
        assert_eq!(
            error.field('C').as_deref(),
            Some(sqlstate),
            "{user} {database}"
        );
        assert_eq!(error.field('S').as_deref(), Some("FATAL"));
        let text = error
            .field('M')
            .unwrap()
            .replace(user, "?")
            .replace(database, "?");
        let expected = match sqlstate {
            "28P01" => "password authentication failed for user \"?\"",
            _ => "database \"?\" is not open to login \"?\"",
        };
        assert_eq!(text, expected);
    }
    // `libpq` sends the login's name where no database is given.
    assert!(Raw::log_in(proxy.port, "own", PASSWORD, "own").is_ok());
    let agreeing = [
        ("user", "app"),
        ("database", "own"),
        ("options", "-c tenantry.tenant=own"),
    ];
    assert!(Raw::log_in_with(proxy.port, PASSWORD, &agreeing).is_ok());
    let disagreeing = [
        ("user", "app"),
        ("database", "own"),
        ("options", "-c tenantry.tenant=gone"),
    ];
    let error = Raw::log_in_with(proxy.port, PASSWORD, &disagreeing).err();
    assert_eq!(error.unwrap().field('C').as_deref(), Some("28000"));
}

fn negotiation() {
    let proxy = Proxy::start(Settings::default());
    for (minor, options, expected) in [
        (0_u32, &b""[..], None),
        (2, b"", None),
        (9_999, b"", Some((2_u8, 0_u8))),
        (0, b"_pq_.x\0y\0", Some((0, 1))),
    ] {
        let rest = [&b"user\0app\0database\0own\0"[..], options, b"\0"].concat();
        let length = u32::try_from(rest.len() + 8).unwrap();
        let mut raw = Raw::connect(proxy.port);
        let code = 0x0003_0000 + minor;
        raw.send(&[&length.to_be_bytes()[..], &code.to_be_bytes(), &rest].concat());
        let first = raw.message().unwrap();
        match expected {
            None => assert_eq!(first.tag, 'R'),
            Some((minor, options)) => {
                assert_eq!(first.tag, 'v');
                assert_eq!(first.body[..8], [0, 3, 0, minor, 0, 0, 0, options]);
                assert_eq!(raw.message().unwrap().tag, 'R');
            }
        }
    }
    let parameters = [
        ("user", "app"),
        ("database", "own"),
        ("client_encoding", "'utf-8'"),
        ("application_name", "a client"),
        ("TimeZone", "Asia/Tokyo"),
    ];
    let mut raw = Raw::log_in_with(proxy.port, PASSWORD, &parameters).unwrap();
    for (name, value) in [
        ("application_name", "a client"),
        ("TimeZone", "Asia/Tokyo"),
        ("client_encoding", "UTF8"),
        ("session_authorization", "app"),
    ] {
        let told = raw.parameters.iter().find(|(told, _)| told == name);
        assert_eq!(told.map(|(_, value)| value.as_str()), Some(value), "{name}");
    }
    assert_eq!(raw.rows("SHOW TimeZone"), ["Asia/Tokyo"]);
    assert_eq!(raw.rows("SHOW application_name"), ["a client"]);
    assert!(raw.is_silent(Duration::from_millis(100)));
    let wrong = [
        ("user", "app"),
        ("database", "own"),
        ("TimeZone", "Nowhere"),
    ];
    let error = Raw::log_in_with(proxy.port, PASSWORD, &wrong)
        .err()
        .unwrap();
    assert_eq!(error.field('C').as_deref(), Some("22023"));
    proxy.check_alive("a wrong time zone");
}
