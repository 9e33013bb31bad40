//! Commands around statements of tenants that share tables: cursors, EXPLAIN, TRUNCATE, DISCARD.

use libtest_mimic::Trial;

use super::proxy::{PASSWORD, Proxy, Settings};
use super::raw::{
    Raw, bind, describe_statement, execute, flush, message, parse, query, shape, sync,
};

/// The trials.
pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("wire::cursors_end_with_their_session", || {
            cursors();
            Ok(())
        }),
        Trial::test("wire::a_cursor_with_hold_keeps_its_connection", || {
            held_cursors();
            Ok(())
        }),
        Trial::test("wire::a_fetch_is_described_beside_its_cursor_only", || {
            described_fetch();
            Ok(())
        }),
        Trial::test("wire::explain_shows_no_estimates", || {
            explain();
            Ok(())
        }),
        Trial::test("wire::truncate_empties_the_tenants_rows", || {
            truncate();
            Ok(())
        }),
        Trial::test("wire::discard_all_leaves_the_connection_usable", || {
            discard();
            Ok(())
        }),
        Trial::test("wire::sql_has_prepared_statements", || {
            prepared();
            Ok(())
        }),
        Trial::test("wire::prepared_statements_are_their_sessions", || {
            prepared_apart();
            Ok(())
        }),
        Trial::test("wire::transactions_may_be_chained", || {
            chained();
            Ok(())
        }),
    ]
}

/// A proxy with one server connection.
fn proxy() -> Proxy {
    Proxy::start(Settings {
        pool_size: 1,
        ..Settings::default()
    })
}

fn tenant(proxy: &Proxy, name: &str) -> Raw {
    Raw::log_in(proxy.port, "app", PASSWORD, name).unwrap()
}

/// One statement in the extended protocol.
fn extended(sql: &str, values: &[&str]) -> Vec<u8> {
    [parse("", sql), bind("", values), execute(), sync()].concat()
}

/// The command tag of the only statement.
fn tag(raw: &mut Raw, sql: &str) -> String {
    let messages = raw.query(sql);
    let found = messages.iter().find(|message| message.tag == 'C');
    let body = &found.unwrap_or_else(|| panic!("{sql}: {messages:?}")).body;
    String::from_utf8(body[..body.len() - 1].to_vec()).unwrap()
}

fn cursors() {
    let proxy = proxy();
    let (mut b, mut a) = (tenant(&proxy, "b"), tenant(&proxy, "a"));
    assert_eq!(
        shape(&b.query("DECLARE c CURSOR FOR SELECT name FROM items")),
        "E:25P01 Z:I"
    );
    b.query("BEGIN");
    assert_eq!(
        tag(
            &mut b,
            "DECLARE c SCROLL CURSOR FOR SELECT name FROM items ORDER BY id"
        ),
        "DECLARE CURSOR"
    );
    assert_eq!(b.rows("FETCH c"), ["CANARY-T2"]);
    assert_eq!(b.rows("FETCH ALL IN c"), ["CANARY-T2-2"]);
    assert_eq!(b.rows("FETCH BACKWARD 1 FROM c"), ["CANARY-T2-2"]);
    assert_eq!(tag(&mut b, "MOVE ABSOLUTE 0 IN c"), "MOVE 0");
    b.send(&extended("FETCH FORWARD 5 FROM c", &[]));
    assert_eq!(b.answer(), "1 2 D D C Z:T");
    assert_eq!(shape(&b.query("FETCH FROM nobody")), "E:34000 Z:E");
    b.query("ROLLBACK");
    // What the one leaves, the other does not find, on the same connection.
    for end in ["COMMIT", "ROLLBACK"] {
        b.query("BEGIN");
        b.query("DECLARE c CURSOR FOR SELECT name FROM items");
        b.query(end);
        a.query("BEGIN");
        assert_eq!(shape(&a.query("FETCH ALL FROM c")), "E:34000 Z:E");
        a.query("ROLLBACK");
    }
    // Parameters, and the row that a cursor stands on.
    b.query("BEGIN");
    b.send(&extended(
        "DECLARE c CURSOR FOR SELECT * FROM items WHERE id >= $1 FOR UPDATE",
        &["2"],
    ));
    assert_eq!(b.answer(), "1 2 C Z:T");
    assert_eq!(b.rows("FETCH c"), ["2"]);
    assert_eq!(
        tag(&mut b, "UPDATE items SET name = 'new' WHERE CURRENT OF c"),
        "UPDATE 1"
    );
    assert_eq!(b.rows("SELECT name FROM items WHERE id = 2"), ["new"]);
    assert_eq!(
        tag(&mut b, "DELETE FROM items WHERE CURRENT OF c"),
        "DELETE 1"
    );
    assert_eq!(tag(&mut b, "CLOSE c"), "CLOSE CURSOR");
    assert_eq!(
        shape(&b.query("UPDATE items SET name = 'x' WHERE CURRENT OF c")),
        "E:34000 Z:E"
    );
    b.query("ROLLBACK");
    assert_eq!(
        proxy
            .shared
            .value("SELECT count(*) FROM items WHERE name ~ 'CANARY'"),
        "4"
    );
}

fn held_cursors() {
    let proxy = Proxy::start(Settings {
        pool_size: 2,
        ..Settings::default()
    });
    let (mut b, mut a) = (tenant(&proxy, "b"), tenant(&proxy, "a"));
    let declare = "DECLARE c CURSOR WITH HOLD FOR SELECT name FROM items ORDER BY id";
    assert_eq!(tag(&mut b, declare), "DECLARE CURSOR");
    for _ in 0..3 {
        // The other one is served by the other connection.
        assert_eq!(a.rows("SELECT name FROM items"), ["CANARY-T1"]);
        assert_eq!(shape(&a.query("FETCH ALL FROM c")), "E:34000 Z:I");
    }
    assert_eq!(b.rows("FETCH c"), ["CANARY-T2"]);
    assert_eq!(b.rows("FETCH c"), ["CANARY-T2-2"]);
    assert_eq!(tag(&mut b, "CLOSE c"), "CLOSE CURSOR");
    // It is free again, for everybody.
    a.query("BEGIN");
    let mut other = tenant(&proxy, "a");
    assert_eq!(other.rows("SELECT name FROM items"), ["CANARY-T1"]);
    a.query("COMMIT");
    // Left open: the connection goes with its client.
    assert_eq!(tag(&mut b, declare), "DECLARE CURSOR");
    drop(b);
    for _ in 0..4 {
        a.query("BEGIN");
        assert_eq!(shape(&a.query("FETCH ALL FROM c")), "E:34000 Z:E");
        assert_eq!(shape(&other.query("FETCH ALL FROM c")), "E:34000 Z:I");
        a.query("ROLLBACK");
    }
    // Closed with all others, and in a block that is undone.
    let mut b = tenant(&proxy, "b");
    b.query("BEGIN");
    b.query(declare);
    b.query("ROLLBACK");
    assert_eq!(shape(&b.query("FETCH c")), "E:34000 Z:I");
    assert_eq!(tag(&mut b, declare), "DECLARE CURSOR");
    assert_eq!(tag(&mut b, "CLOSE ALL"), "CLOSE CURSOR ALL");
    assert_eq!(shape(&a.query("FETCH c")), "E:34000 Z:I");
}

/// PostgreSQL 15 itself crashes when it describes a FETCH whose cursor is gone since it was parsed.
fn described_fetch() {
    let proxy = proxy();
    let (mut b, mut other) = (tenant(&proxy, "b"), tenant(&proxy, "a"));
    let started = "SELECT pg_postmaster_start_time()::text || min(backend_start) FROM pg_stat_activity \
                   WHERE backend_type = 'background writer'";
    let before = proxy.shared.value(started);
    let describe_portal = message('D', b"P\0");
    b.query("BEGIN");
    b.query("DECLARE c CURSOR FOR SELECT name FROM items ORDER BY id");
    b.send(&[parse("f", "FETCH c"), describe_statement("f"), sync()].concat());
    assert_eq!(b.answer(), "1 t T Z:T");
    b.send(&[bind("f", &[]), describe_portal.clone(), execute(), sync()].concat());
    assert_eq!(b.answer(), "2 T D C Z:T");
    b.query("CLOSE c");
    b.send(&[describe_statement("f"), sync()].concat());
    assert_eq!(b.answer(), "t n Z:T");
    b.query("ROLLBACK");
    for (rest, expected) in [
        (describe_statement("f"), "t n Z:I"),
        (
            [bind("f", &[]), describe_portal.clone(), execute()].concat(),
            "2 n E:34000 Z:I",
        ),
    ] {
        b.send(&[rest, sync()].concat());
        assert_eq!(b.answer(), expected);
        assert_eq!(other.rows("SELECT name FROM items"), ["CANARY-T1"]);
    }
    // A portal that outlives its cursor.
    b.query("BEGIN");
    b.query("DECLARE c CURSOR FOR SELECT name FROM items");
    b.send(&[bind("f", &[]), sync()].concat());
    assert_eq!(b.answer(), "2 Z:T");
    b.query("CLOSE c");
    b.send(&[describe_portal, sync()].concat());
    assert_eq!(b.answer(), "E:0A000 Z:E");
    b.query("ROLLBACK");
    assert_eq!(proxy.shared.value(started), before);
}

fn explain() {
    let proxy = proxy();
    let mut b = tenant(&proxy, "b");
    let sql = "EXPLAIN SELECT name FROM items WHERE id = 1";
    let plan = b.rows(sql).join("\n");
    assert!(plan.contains("Index") || plan.contains("Scan"), "{plan}");
    assert!(!plan.contains("cost=") && !plan.contains("rows="), "{plan}");
    let plan = b
        .rows("EXPLAIN (FORMAT JSON, COSTS ON) SELECT name FROM items")
        .join("");
    assert!(
        plan.contains("\"Plan\"") && !plan.contains("Plan Rows"),
        "{plan}"
    );
    b.send(&extended(
        "EXPLAIN SELECT name FROM items WHERE id = $1",
        &["1"],
    ));
    assert!(b.answer().starts_with("1 2 D"));
    assert_eq!(
        shape(&b.query("EXPLAIN ANALYZE DELETE FROM items")),
        "E:0A000 Z:I"
    );
    assert_eq!(tag(&mut b, "EXPLAIN DELETE FROM items"), "EXPLAIN");
    assert_eq!(b.rows("SELECT count(*) FROM items"), ["2"]);
}

fn truncate() {
    let proxy = proxy();
    let (mut b, mut a) = (tenant(&proxy, "b"), tenant(&proxy, "a"));
    b.query("INSERT INTO parts (item) VALUES (1), (2)");
    a.query("INSERT INTO parts (item) VALUES (1)");
    assert_eq!(shape(&b.query("TRUNCATE items")), "E:0A000 Z:I");
    assert_eq!(tag(&mut b, "TRUNCATE parts"), "TRUNCATE TABLE");
    assert_eq!(b.rows("SELECT count(*) FROM parts"), ["0"]);
    b.query("INSERT INTO parts (item) VALUES (1), (2)");
    for tables in ["items, parts", "TABLE parts, items"] {
        b.query("BEGIN");
        b.send(&extended(&format!("TRUNCATE {tables}"), &[]));
        let messages = b.until_ready();
        assert_eq!(shape(&messages), "1 2 C Z:T", "{messages:?}");
        assert_eq!(messages[2].body, b"TRUNCATE TABLE\0");
        assert_eq!(b.rows("SELECT count(*) FROM items"), ["0"]);
        b.query("ROLLBACK");
    }
    let messages = b.query("SELECT 1; TRUNCATE items, parts; SELECT 2");
    assert_eq!(shape(&messages), "T D C C T D C Z:I");
    assert_eq!(messages[3].body, b"TRUNCATE TABLE\0");
    assert_eq!(b.rows("SELECT count(*) FROM items"), ["0"]);
    assert_eq!(a.rows("SELECT count(*) FROM parts"), ["1"]);
    assert_eq!(
        proxy
            .shared
            .value("SELECT string_agg(name, ' ' ORDER BY name) FROM items"),
        "CANARY-T1 CANARY-T3"
    );
}

fn discard() {
    let proxy = proxy();
    let (mut b, mut a) = (tenant(&proxy, "b"), tenant(&proxy, "a"));
    let backend = || {
        proxy.shared.value(
        "SELECT min(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    };
    b.query("SET timezone = 'Asia/Tokyo'");
    b.send(&[parse("s", "SELECT name FROM items WHERE id = $1"), sync()].concat());
    assert_eq!(b.answer(), "1 Z:I");
    let before = backend();
    assert_eq!(tag(&mut b, "DISCARD ALL"), "DISCARD ALL");
    assert_eq!(b.rows("SHOW timezone"), a.rows("SHOW timezone"));
    b.send(&[bind("s", &["1"]), execute(), sync()].concat());
    assert_eq!(b.answer(), "E:26000 Z:I");
    // As drivers do that clean up in front of the next command, all in one go.
    for _ in 0..2 {
        let segment = [
            query("DISCARD ALL"),
            parse("s", "SELECT name FROM items WHERE id = $1"),
            bind("s", &["1"]),
            execute(),
            sync(),
        ];
        b.send(&segment.concat());
        assert_eq!(b.answer(), "C Z:I");
        assert_eq!(b.answer(), "1 2 D C Z:I");
    }
    let segment = [
        parse("", "DISCARD ALL"),
        bind("", &[]),
        execute(),
        flush(),
        parse("t", "SELECT name FROM items WHERE id = $1"),
        bind("t", &["1"]),
        execute(),
        sync(),
    ];
    b.send(&segment.concat());
    assert_eq!(b.answer(), "1 2 C 1 2 D C Z:I");
    b.send(&[bind("t", &["1"]), execute(), sync()].concat());
    assert_eq!(b.answer(), "2 D C Z:I");
    b.query("BEGIN");
    assert_eq!(shape(&b.query("DISCARD ALL")), "E:25001 Z:E");
    b.query("ROLLBACK");
    b.send(&[bind("t", &["1"]), execute(), sync()].concat());
    assert_eq!(b.answer(), "2 D C Z:I");
    assert_eq!(backend(), before);
    for sql in [
        "DISCARD PLANS",
        "DISCARD SEQUENCES",
        "DISCARD TEMP",
        "RESET ALL",
    ] {
        assert_eq!(shape(&b.query(sql)), "C Z:I", "{sql}");
        b.send(&[bind("t", &["1"]), execute(), sync()].concat());
        assert_eq!(b.answer(), "2 D C Z:I", "{sql}");
    }
}

fn prepared() {
    let proxy = proxy();
    let (mut b, mut a) = (tenant(&proxy, "b"), tenant(&proxy, "a"));
    let prepare = "PREPARE q (int) AS SELECT name FROM items WHERE id = $1";
    assert_eq!(tag(&mut b, prepare), "PREPARE");
    assert_eq!(shape(&b.query(prepare)), "E:42P05 Z:I");
    for _ in 0..3 {
        assert_eq!(b.rows("EXECUTE q (2)"), ["CANARY-T2-2"]);
        assert_eq!(b.rows("EXECUTE q ('1')"), ["CANARY-T2"]);
        // Another client takes the connection in between.
        assert_eq!(a.rows("SELECT name FROM items"), ["CANARY-T1"]);
    }
    b.send(&extended("execute q (1 + 1)", &[]));
    assert_eq!(b.answer(), "1 2 D C Z:I");
    for (wrong, answer) in [
        ("EXECUTE q", "E:42601 Z:I"),
        ("EXECUTE q (1, 2)", "E:42601 Z:I"),
        ("EXECUTE q ('x')", "E:22P02 Z:I"),
        ("EXECUTE q ((SELECT 1))", "E:0A000 Z:I"),
        ("EXECUTE nothing", "E:26000 Z:I"),
        ("DEALLOCATE nothing", "E:26000 Z:I"),
        ("PREPARE r AS SELECT nothing FROM items", "E:42703 Z:I"),
        ("PREPARE r AS SELECT tenant_id FROM items", "E:42703 Z:I"),
        ("PREPARE r AS DELETE FROM others", "E:42P01 Z:I"),
        ("SELECT 1; EXECUTE nothing", "E:26000 Z:I"),
    ] {
        assert_eq!(shape(&b.query(wrong)), answer, "{wrong}");
    }
    // One name space with the protocol's statements.
    b.send(
        &[
            parse("p", "SELECT name FROM items WHERE id = $1::int4"),
            bind("q", &["2"]),
            execute(),
            sync(),
        ]
        .concat(),
    );
    assert_eq!(b.answer(), "1 2 D C Z:I");
    assert_eq!(b.rows("EXECUTE p (2)"), ["CANARY-T2-2"]);
    assert_eq!(tag(&mut b, "DEALLOCATE p"), "DEALLOCATE");
    b.send(&[bind("p", &["2"]), execute(), sync()].concat());
    assert_eq!(b.answer(), "E:26000 Z:I");
    // In one message, and in one segment.
    let messages = b.query(
        "PREPARE w AS DELETE FROM items WHERE id = $1; EXECUTE w (2); DEALLOCATE w; EXECUTE q (2)",
    );
    assert_eq!(shape(&messages), "C C C T C Z:I");
    assert_eq!(messages[1].body, b"DELETE 1\0");
    let segment = [
        parse(
            "",
            "PREPARE w (int) AS INSERT INTO items (id, name) VALUES ($1, 'new')",
        ),
        bind("", &[]),
        execute(),
        parse("x", "EXECUTE w (2)"),
        bind("x", &[]),
        execute(),
        parse("", "DEALLOCATE w"),
        bind("", &[]),
        execute(),
        parse("w", "SELECT name FROM items WHERE id = $1::int4"),
        bind("w", &["2"]),
        execute(),
        sync(),
    ];
    b.send(&segment.concat());
    let messages = b.until_ready();
    assert_eq!(
        shape(&messages),
        "1 2 C 1 2 C 1 2 C 1 2 D C Z:I",
        "{messages:?}"
    );
    assert_eq!(messages[2].body, b"PREPARE\0");
    assert_eq!(messages[8].body, b"DEALLOCATE\0");
    // What was deallocated stays so, whatever becomes of the transaction.
    let failing = [
        parse("", "DEALLOCATE ALL"),
        bind("", &[]),
        execute(),
        parse("", "SELECT 1/0"),
        bind("", &[]),
        execute(),
        sync(),
    ];
    b.send(&failing.concat());
    assert_eq!(b.answer(), "1 2 C 1 E:22012 Z:I");
    assert_eq!(shape(&b.query("EXECUTE q (2)")), "E:26000 Z:I");
    // A failed block stays one.
    b.query("PREPARE q (int) AS SELECT name FROM items WHERE id = $1");
    b.query("BEGIN");
    b.query("SELECT 1/0");
    for sql in ["EXECUTE q (2)", "DEALLOCATE ALL", "PREPARE z AS SELECT 1"] {
        assert_eq!(shape(&b.query(sql)), "E:25P02 Z:E", "{sql}");
    }
    b.query("ROLLBACK");
    assert_eq!(tag(&mut b, "DEALLOCATE ALL"), "DEALLOCATE ALL");
    assert_eq!(shape(&b.query("EXECUTE q (2)")), "E:26000 Z:I");
    assert_eq!(
        proxy
            .shared
            .value("SELECT count(*) FROM items WHERE name ~ 'CANARY'"),
        "3"
    );
}

fn prepared_apart() {
    let proxy = proxy();
    let (mut b, mut a) = (tenant(&proxy, "b"), tenant(&proxy, "a"));
    let prepare = "PREPARE q AS SELECT name FROM items ORDER BY id LIMIT 1";
    assert_eq!(tag(&mut b, prepare), "PREPARE");
    assert_eq!(shape(&a.query("EXECUTE q")), "E:26000 Z:I");
    assert_eq!(tag(&mut a, prepare), "PREPARE");
    for _ in 0..2 {
        assert_eq!(b.rows("EXECUTE q"), ["CANARY-T2"]);
        assert_eq!(a.rows("EXECUTE q"), ["CANARY-T1"]);
    }
    // The names by which the server knows them are nobody's.
    for number in 0..20 {
        let execute = format!("EXECUTE tenantry_{number}");
        assert_eq!(shape(&a.query(&execute)), "E:26000 Z:I");
    }
    assert_eq!(tag(&mut a, "DEALLOCATE ALL"), "DEALLOCATE ALL");
    assert_eq!(b.rows("EXECUTE q"), ["CANARY-T2"]);
    assert_eq!(tag(&mut b, "DISCARD ALL"), "DISCARD ALL");
    assert_eq!(shape(&b.query("EXECUTE q")), "E:26000 Z:I");
    // What is prepared at once by the protocol and named by a Query behind it.
    b.send(
        &[
            parse("s", "SELECT name FROM items WHERE id = $1::int4"),
            sync(),
            query("EXECUTE s (2)"),
            query("DEALLOCATE s"),
            parse("s", "SELECT 1"),
            sync(),
        ]
        .concat(),
    );
    for expected in ["1 Z:I", "T D C Z:I", "C Z:I", "1 Z:I"] {
        assert_eq!(b.answer(), expected);
    }
}

fn chained() {
    let proxy = proxy();
    let (mut b, mut a) = (tenant(&proxy, "b"), tenant(&proxy, "a"));
    assert_eq!(shape(&b.query("COMMIT AND CHAIN")), "E:25P01 Z:I");
    b.query("BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY");
    assert_eq!(shape(&b.query("COMMIT AND CHAIN")), "C Z:T");
    assert_eq!(b.rows("SHOW transaction_isolation"), ["serializable"]);
    b.query("SET timezone = 'Asia/Tokyo'");
    assert_eq!(shape(&b.query("ROLLBACK AND CHAIN")), "C Z:T");
    assert_eq!(shape(&b.query("SELECT 1/0")), "E:22012 Z:E");
    assert_eq!(shape(&b.query("ROLLBACK AND CHAIN")), "C Z:T");
    assert_eq!(shape(&b.query("COMMIT")), "C Z:I");
    assert_eq!(b.rows("SHOW timezone"), a.rows("SHOW timezone"));
    // What is set for the session stays with it.
    b.query(
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY, ISOLATION LEVEL REPEATABLE READ",
    );
    assert_eq!(a.rows("SHOW default_transaction_read_only"), ["off"]);
    assert_eq!(b.rows("SHOW default_transaction_read_only"), ["on"]);
    assert_eq!(
        b.rows("SHOW default_transaction_isolation"),
        ["repeatable read"]
    );
    assert_eq!(shape(&b.query("DELETE FROM items")), "E:25006 Z:I");
    assert_eq!(
        shape(&a.query(
            "BEGIN; LOCK TABLE items IN ACCESS SHARE MODE; SET CONSTRAINTS ALL DEFERRED; COMMIT"
        )),
        "C C C C Z:I"
    );
}
