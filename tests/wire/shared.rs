//! Tenants that share tables: the tenant is one more parameter, or a literal, and nobody sees it.

use libtest_mimic::Trial;

use super::proxy::{PASSWORD, Proxy, Settings};
use super::raw::{Message, Raw, describe_statement, execute, message, parse, query, shape, sync};

/// The trials.
pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("wire::the_tenant_is_a_hidden_parameter", || {
            hidden_parameter();
            Ok(())
        }),
        Trial::test("wire::identity_functions_tell_the_session", || {
            session_names();
            Ok(())
        }),
        Trial::test("wire::a_wrong_pattern_fails_before_it_is_sent", || {
            patterns();
            Ok(())
        }),
        Trial::test("wire::errors_do_not_tell_of_the_tenant", || {
            errors();
            Ok(())
        }),
        Trial::test("wire::a_shared_tenant_is_rolled_back_by_a_refusal", || {
            refusals();
            Ok(())
        }),
    ]
}

fn tenant(proxy: &Proxy, name: &str) -> Raw {
    Raw::log_in(proxy.port, "app", PASSWORD, name).unwrap()
}

/// Bind to the unnamed portal with these formats and values, as they are.
fn bind(formats: &[i16], values: &[&[u8]]) -> Vec<u8> {
    let mut body = b"\0s\0".to_vec();
    body.extend_from_slice(&u16::try_from(formats.len()).unwrap().to_be_bytes());
    for format in formats {
        body.extend_from_slice(&format.to_be_bytes());
    }
    body.extend_from_slice(&u16::try_from(values.len()).unwrap().to_be_bytes());
    for value in values {
        body.extend_from_slice(&u32::try_from(value.len()).unwrap().to_be_bytes());
        body.extend_from_slice(value);
    }
    body.extend_from_slice(b"\0\0");
    message('B', &body)
}

fn text(messages: &[Message]) -> String {
    messages
        .iter()
        .map(|message| format!("{message:?}"))
        .collect::<Vec<_>>()
        .concat()
}

/// LIKE fails on a pattern that ends with an escape only where a row fits it so far, which may be another
/// tenant's; a cast to an enum where a row is looked at.
fn patterns() {
    let proxy = Proxy::start(Settings::default());
    let mut raw = tenant(&proxy, "a");
    for (sql, pattern, outcome) in [
        (
            "SELECT name FROM items WHERE name LIKE $1",
            &b"CANARY-T1%"[..],
            "CANARY-T1",
        ),
        (
            "SELECT name FROM items WHERE name LIKE $1",
            b"CANARY-T2\\",
            "22025",
        ),
        (
            "SELECT name FROM items WHERE name LIKE $1",
            b"NOTHING\\",
            "22025",
        ),
        (
            "SELECT name FROM items WHERE name NOT LIKE $1",
            b"CANARY-T2\\\\",
            "CANARY-T1",
        ),
        (
            "SELECT name FROM items WHERE name LIKE $1 ESCAPE '!'",
            b"CANARY-T2!",
            "22025",
        ),
        (
            "SELECT name FROM items WHERE name LIKE $1 ESCAPE '!'",
            b"CANARY!-%",
            "CANARY-T1",
        ),
        (
            "SELECT name FROM items WHERE name LIKE '%' || $1 || '%'",
            b"ARY\\",
            "SELECT 0",
        ),
        (
            "SELECT name FROM items WHERE CAST($1::text AS mood) = 'high'",
            b"high",
            "CANARY-T1",
        ),
        (
            "SELECT name FROM items WHERE name = 'CANARY-T9' AND CAST($1::text AS mood) = 'high'",
            b"High",
            "22P02",
        ),
    ] {
        for format in [0, 1] {
            raw.send(
                &[
                    parse("s", sql),
                    bind(&[format], &[pattern]),
                    execute(),
                    sync(),
                ]
                .concat(),
            );
            let told = text(&raw.until_ready());
            assert!(told.contains(outcome), "{sql} {format}: {told}");
            raw.send(&[message('C', b"Ss\0"), sync()].concat());
            raw.until_ready();
        }
    }
}

/// One prepared statement serves all, and each is told its own name.
fn session_names() {
    let proxy = Proxy::start(Settings {
        pool_size: 1,
        ..Settings::default()
    });
    let sql = "SELECT current_database() || '/' || current_user || '/' || name FROM items \
               WHERE id = $1 AND id < $2 AND name <> session_user";
    let (one, nine) = (1_i32.to_be_bytes(), 9_i32.to_be_bytes());
    for (name, told) in [
        ("a", "a/app/CANARY-T1"),
        ("b", "b/app/CANARY-T2"),
        ("a", "a/app/CANARY-T1"),
    ] {
        let mut raw = tenant(&proxy, name);
        raw.send(&[parse("s", sql), describe_statement("s"), sync()].concat());
        let described = raw.until_ready();
        assert_eq!(described[1].body, b"\0\x02\0\0\0\x17\0\0\0\x17");
        for (formats, values) in [(&[][..], [&b"1"[..], b"9"]), (&[1], [&one, &nine])] {
            raw.send(&[bind(formats, &values), execute(), sync()].concat());
            let messages = raw.until_ready();
            assert!(messages[1].body.ends_with(told.as_bytes()), "{messages:?}");
        }
        let simple = raw.query("SELECT current_user || '@' || current_catalog");
        assert!(simple[1].body.ends_with(format!("app@{name}").as_bytes()));
        let prepared = raw.query("PREPARE p AS SELECT current_catalog");
        assert_eq!(shape(&prepared), "C Z:I");
        let executed = raw.query("EXECUTE p");
        assert!(executed[1].body.ends_with(name.as_bytes()), "{executed:?}");
    }
}

const SELECT: &str = "SELECT name FROM items WHERE id = $1 AND id < $2 ORDER BY name";

fn hidden_parameter() {
    let proxy = Proxy::start(Settings {
        pool_size: 1,
        ..Settings::default()
    });
    let (one, nine) = (1_i32.to_be_bytes(), 9_i32.to_be_bytes());
    for (name, canary) in [("a", "CANARY-T1"), ("b", "CANARY-T2"), ("a", "CANARY-T1")] {
        let mut raw = tenant(&proxy, name);
        raw.send(&[parse("s", SELECT), describe_statement("s"), sync()].concat());
        let described = raw.until_ready();
        assert_eq!(shape(&described), "1 t T Z:I");
        assert_eq!(described[1].body, b"\0\x02\0\0\0\x17\0\0\0\x17");
        for (formats, values) in [
            (&[][..], [&b"1"[..], b"9"]),
            (&[0], [b"1", b"9"]),
            (&[1], [&one, &nine]),
            (&[0, 1], [b"1", &nine]),
            (&[1, 0], [&one, b"9"]),
            (&[1, 1], [&one, &nine]),
        ] {
            raw.send(&[bind(formats, &values), execute(), sync()].concat());
            let messages = raw.until_ready();
            assert_eq!(shape(&messages), "2 D C Z:I", "{name} {formats:?}");
            assert!(
                messages[1].body.ends_with(canary.as_bytes()),
                "{messages:?}"
            );
        }
        // The tenant's value stands behind the client's, where the client has no say.
        for (formats, values) in [
            (&[][..], &[&b"1"[..], b"9", b"2"][..]),
            (&[], &[b"1"]),
            (&[], &[]),
            (&[0, 0, 0], &[b"1", b"9"]),
        ] {
            raw.send(&[bind(formats, values), execute(), sync()].concat());
            assert_eq!(raw.answer(), "E:08P01 Z:I", "{name} {formats:?} {values:?}");
        }
        let simple = raw.query("SELECT name FROM items WHERE id = 1; SELECT 7");
        assert_eq!(shape(&simple), "T D C T D C Z:I");
        assert!(simple[1].body.ends_with(canary.as_bytes()));
        raw.send(
            &[
                parse("", "SELECT name FROM items WHERE id = $1 OR tenant_id = $2"),
                sync(),
            ]
            .concat(),
        );
        assert_eq!(raw.answer(), "E:42703 Z:I");
    }
    // A Bind for a text column, binary for all: the tenant's integer is binary, too.
    let mut raw = tenant(&proxy, "b");
    let insert = parse("s", "INSERT INTO items (id, name) VALUES ($1, $2)");
    raw.send(
        &[
            insert,
            bind(&[1], &[&7_i32.to_be_bytes(), b"seven"]),
            execute(),
            sync(),
        ]
        .concat(),
    );
    assert_eq!(raw.answer(), "1 2 C Z:I");
    assert_eq!(raw.rows("SELECT name FROM items WHERE id = 7"), ["seven"]);
    assert!(
        tenant(&proxy, "a")
            .rows("SELECT name FROM items WHERE id = 7")
            .is_empty()
    );
}

/// No field of an error, or a notice, names the tenant column, or another's row.
fn errors() {
    let proxy = Proxy::start(Settings::default());
    let mut raw = tenant(&proxy, "a");
    for (sql, sqlstate, detail) in [
        (
            "INSERT INTO items (id, name) VALUES (1, 'x')",
            "23505",
            Some("Key (id)=(1) already exists."),
        ),
        (
            "INSERT INTO items (id, name) VALUES (9, 'CANARY-T1')",
            "23505",
            Some("Key (name)=(CANARY-T1) already exists."),
        ),
        (
            "INSERT INTO parts (item) VALUES (2)",
            "23503",
            Some("Key (item)=(2) is not present in table \"items\"."),
        ),
        ("INSERT INTO items (id) VALUES (5)", "23502", None),
        ("SELECT nothing FROM items", "42703", None),
        ("SELECT id / 0 FROM items", "22012", None),
    ] {
        let messages = raw.query(sql);
        let error = messages.iter().find(|message| message.tag == 'E').unwrap();
        assert_eq!(error.field('C').as_deref(), Some(sqlstate), "{sql}");
        assert_eq!(error.field('D').as_deref(), detail, "{sql}");
        for hidden in ["tenant", "CANARY-T2"] {
            assert!(!text(&messages).contains(hidden), "{messages:?}");
        }
    }
}

fn refusals() {
    let proxy = Proxy::start(Settings::default());
    let refused = "CREATE TABLE mine (id integer)";
    for refusing in [query(refused), [parse("", refused), sync()].concat()] {
        let mut raw = tenant(&proxy, "a");
        raw.send(
            &[
                query("BEGIN"),
                query("INSERT INTO items (id, name) VALUES (3, 'new')"),
                refusing,
                query("SELECT 1"),
                query("COMMIT"),
            ]
            .concat(),
        );
        for expected in ["C Z:T", "C Z:T", "E:42501 Z:E", "E:25P02 Z:E", "C Z:I"] {
            assert_eq!(raw.answer(), expected);
        }
        assert_eq!(raw.rows("SELECT count(*) FROM items"), ["1"]);
    }
}
