//! What becomes of sessions and server connections.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;

use super::proxy::{PASSWORD, Proxy, Settings};
use super::raw::{Raw, bind, describe_statement, execute, flush, parse, query, shape, sync};
use crate::support::runtime;

/// The trials.
pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("wire::a_refusal_fails_the_block_on_the_server_too", || {
            refusals();
            Ok(())
        }),
        Trial::test("wire::statements_follow_their_client", || {
            statements();
            Ok(())
        }),
        Trial::test("wire::variables_are_the_sessions_own", || {
            variables();
            Ok(())
        }),
        Trial::test("wire::constants_are_read_for_who_asks", || {
            constants();
            Ok(())
        }),
        Trial::test("wire::nothing_is_left_to_the_next_client", || {
            traces();
            Ok(())
        }),
        Trial::test("wire::a_driver_in_pipelines_is_served", || {
            driver();
            Ok(())
        }),
        Trial::test("wire::a_cancel_request_hits_its_own_client_only", || {
            cancel();
            Ok(())
        }),
        Trial::test("wire::a_full_pool_makes_clients_wait_in_turn", || {
            full_pool();
            Ok(())
        }),
        Trial::test("wire::a_tenant_waits_for_its_own_connections", || {
            own_queue();
            Ok(())
        }),
        Trial::test("wire::a_tenant_keeps_so_many_connections", || {
            kept();
            Ok(())
        }),
        Trial::test("wire::client_connections_are_limited", || {
            limits();
            Ok(())
        }),
    ]
}

/// A statement that a tenant may not run.
const REFUSED: &str = "ALTER SYSTEM SET work_mem = 1";

fn refusals() {
    let proxy = Proxy::start(Settings::default());
    let mut raw = proxy.raw();
    assert_eq!(shape(&raw.query(REFUSED)), "E:42501 Z:I");
    raw.send(&[parse("", REFUSED), bind("", &[]), execute(), sync()].concat());
    assert_eq!(raw.answer(), "E:42501 Z:I");
    for (name, refused) in [
        ("simple", query(REFUSED)),
        (
            "extended",
            [parse("", REFUSED), bind("", &[]), execute(), sync()].concat(),
        ),
    ] {
        let mut raw = proxy.raw();
        raw.query("BEGIN");
        raw.query("INSERT INTO notes VALUES (1, 'x')");
        raw.send(&refused);
        assert_eq!(raw.answer(), "E:42501 Z:E", "{name}");
        assert_eq!(shape(&raw.query("SELECT 1")), "E:25P02 Z:E", "{name}");
        assert_eq!(shape(&raw.query("COMMIT")), "C Z:I", "{name}");
        assert_eq!(raw.rows("SELECT count(*) FROM notes"), ["0"], "{name}");
        // All of it at once: the answers keep their order, and nothing takes effect.
        let at_once = [
            query("BEGIN"),
            query("INSERT INTO notes VALUES (1, 'x')"),
            refused,
            query("COMMIT"),
            query("SELECT count(*) FROM notes"),
        ];
        raw.send(&at_once.concat());
        for expected in ["C Z:T", "C Z:T", "E:42501 Z:E", "C Z:I", "T D C Z:I"] {
            assert_eq!(raw.answer(), expected, "{name}");
        }
        assert_eq!(raw.rows("SELECT count(*) FROM notes"), ["0"], "{name}");
    }
    // An implicit transaction, in one segment.
    let mut raw = proxy.raw();
    let insert = parse("", "INSERT INTO notes VALUES (1, 'x')");
    raw.send(&[insert, bind("", &[]), execute(), parse("", REFUSED), sync()].concat());
    assert_eq!(raw.answer(), "1 2 C E:42501 Z:I");
    assert_eq!(raw.rows("SELECT count(*) FROM notes"), ["0"]);
    let all_or_nothing = format!("INSERT INTO notes VALUES (1, 'x'); {REFUSED}");
    assert_eq!(shape(&raw.query(&all_or_nothing)), "E:42501 Z:I");
    assert_eq!(raw.rows("SELECT count(*) FROM notes"), ["0"]);
}

fn statements() {
    let proxy = Proxy::start(Settings {
        pool_size: 2,
        ..Settings::default()
    });
    let mut raw = proxy.raw();
    let mut other = proxy.raw();
    // As pg8000 does: the unnamed statement lives over three Syncs, on whatever connection.
    raw.send(&[parse("", "SELECT $1::int4 + 1"), flush(), sync()].concat());
    assert_eq!(raw.answer(), "1 Z:I");
    raw.send(&[parse("named", "SELECT $1::text"), sync()].concat());
    assert_eq!(raw.answer(), "1 Z:I");
    let backend = "SELECT pg_backend_pid()";
    let mut backends = std::collections::BTreeSet::new();
    for round in 0..4 {
        // Takes away the connection that was used last.
        other.query("BEGIN");
        backends.extend(other.rows(backend));
        raw.send(&[describe_statement(""), flush(), sync()].concat());
        assert_eq!(raw.answer(), "t T Z:I", "{round}");
        raw.send(&[bind("", &["41"]), flush(), execute(), flush(), sync()].concat());
        let messages = raw.until_ready();
        assert_eq!(shape(&messages), "2 D C Z:I", "{round}");
        assert!(messages[1].body.ends_with(b"42"));
        raw.send(&[bind("named", &["x"]), execute(), sync()].concat());
        assert_eq!(raw.answer(), "2 D C Z:I", "{round}");
        other.query("COMMIT");
        if round == 2 {
            let backend = other.rows(backend).remove(0);
            let kill = format!("SELECT pg_terminate_backend({backend}, 1000)");
            assert_eq!(proxy.database.value(&kill), "t");
        }
    }
    assert!(backends.len() > 1, "the same connection each time");
    // More statements than a connection keeps.
    for number in 0..450 {
        let sql = format!("SELECT {number}");
        let name = format!("s{number}");
        raw.send(&[parse(&name, &sql), bind(&name, &[]), execute(), sync()].concat());
        assert_eq!(raw.answer(), "1 2 D C Z:I", "{number}");
    }
    for number in [0, 449, 225, 1] {
        raw.send(&[bind(&format!("s{number}"), &[]), execute(), sync()].concat());
        let messages = raw.until_ready();
        assert_eq!(shape(&messages), "2 D C Z:I", "{number}");
        assert!(messages[1].body.ends_with(number.to_string().as_bytes()));
    }
    let kept = proxy
        .raw()
        .rows("SELECT count(*) FROM pg_prepared_statements");
    let kept: u32 = kept[0].parse().unwrap();
    assert!(kept <= 200, "{kept} are kept");
    // One text, two clients: it is prepared once on a connection.
    let mut again = proxy.raw();
    again.send(
        &[
            parse("mine", "SELECT 449"),
            bind("mine", &[]),
            execute(),
            sync(),
        ]
        .concat(),
    );
    assert_eq!(again.answer(), "1 2 D C Z:I");
}

/// What one client does, and what it and another see afterwards.
fn variables() {
    for (steps, own) in [
        (&["SET TimeZone = 'Asia/Tokyo'"][..], "Asia/Tokyo"),
        (&["BEGIN", "SET TimeZone = 'Asia/Tokyo'", "ROLLBACK"], "UTC"),
        (
            &["BEGIN", "SET TimeZone = 'Asia/Tokyo'", "COMMIT"],
            "Asia/Tokyo",
        ),
        (
            &["BEGIN", "SET LOCAL TimeZone = 'Asia/Tokyo'", "COMMIT"],
            "UTC",
        ),
        (
            &["BEGIN; SET TimeZone = 'Asia/Tokyo'; COMMIT; SELECT 1/0"],
            "Asia/Tokyo",
        ),
        (&["SET TimeZone = 'Asia/Tokyo'; SELECT 1/0"], "UTC"),
        (
            &[
                "BEGIN",
                "SET TimeZone = 'Asia/Tokyo'",
                "SELECT 1/0",
                "COMMIT",
            ],
            "UTC",
        ),
        (
            &[
                "BEGIN",
                "SET TimeZone = 'Asia/Tokyo'",
                "SAVEPOINT \"A\"",
                "SET TimeZone = 'Asia/Seoul'",
                "ROLLBACK TO \"A\"",
                "COMMIT",
            ],
            "Asia/Tokyo",
        ),
        (&["SET TimeZone = 'Asia/Tokyo'", "RESET TimeZone"], "UTC"),
        (
            &["SET TimeZone = 'Asia/Tokyo'", "SET TimeZone TO DEFAULT"],
            "UTC",
        ),
    ] {
        let proxy = Proxy::start(Settings {
            pool_size: 1,
            tenant: "[settings]\nTimeZone = \"UTC\"",
            ..Settings::default()
        });
        let mut first = proxy.raw();
        let mut second = proxy.raw();
        for step in steps {
            first.query(step);
        }
        for _ in 0..2 {
            assert_eq!(second.rows("SHOW TimeZone"), ["UTC"], "{steps:?}");
            assert_eq!(first.rows("SHOW TimeZone"), [own], "{steps:?}");
        }
        first.send(&[parse("", "SHOW TimeZone"), bind("", &[]), execute(), sync()].concat());
        assert!(
            first.until_ready()[2].body.ends_with(own.as_bytes()),
            "{steps:?}"
        );
    }
    // In the extended protocol.
    let proxy = Proxy::start(Settings {
        pool_size: 1,
        ..Settings::default()
    });
    let mut first = proxy.raw();
    let set = parse("", "SET application_name = 'mine'");
    first.send(&[set, bind("", &[]), execute(), sync()].concat());
    assert_eq!(first.answer(), "1 2 C Z:I");
    assert_eq!(proxy.raw().rows("SHOW application_name"), [""]);
    assert_eq!(first.rows("SHOW application_name"), ["mine"]);
}

/// What one client leaves, and what the next one sees on the same server connection.
/// PostgreSQL turns a literal into a value when it parses, under the settings and at the time of that
/// moment. A statement that another session had prepared, or this one before a SET, must not tell.
fn constants() {
    let proxy = Proxy::start(Settings {
        pool_size: 1,
        ..Settings::default()
    });
    let ask = |raw: &mut Raw, sql: &str| -> String {
        raw.send(&[parse("", sql), bind("", &[]), execute(), sync()].concat());
        let row = raw
            .until_ready()
            .into_iter()
            .find(|message| message.tag == 'D');
        let row = row.expect("a row").body;
        String::from_utf8_lossy(&row[6..]).into_owned()
    };
    let date = "SELECT '01/02/2024'::date::text";
    let moment = "SELECT '2024-01-01 00:00'::timestamptz = '2024-01-01 00:00+00'::timestamptz";
    let mut first = proxy.raw();
    first.query("SET DateStyle = 'ISO, DMY'");
    first.query("SET TimeZone = 'Asia/Tokyo'");
    assert_eq!(ask(&mut first, date), "2024-02-01");
    assert_eq!(ask(&mut first, moment), "f");
    let now = ask(&mut first, "SELECT 'now'::timestamptz = now()");
    assert_eq!(now, "t");
    let mut second = proxy.raw();
    second.query("SET TimeZone = 'UTC'");
    assert_eq!(ask(&mut second, date), "2024-01-02");
    assert_eq!(ask(&mut second, moment), "t");
    let now = ask(&mut second, "SELECT 'now'::timestamptz = now()");
    assert_eq!(now, "t", "the moment of this transaction");
    // Within one session, too, and for what lasts as long as a transaction.
    second.query("BEGIN");
    assert_eq!(ask(&mut second, date), "2024-01-02");
    second.query("SET LOCAL DateStyle = 'ISO, DMY'");
    assert_eq!(ask(&mut second, date), "2024-02-01");
    second.query("ROLLBACK");
    assert_eq!(ask(&mut second, date), "2024-01-02");
}

fn traces() {
    for (leave, look, expected) in [
        (
            "SELECT nextval('numbers')",
            "SELECT lastval()",
            "T E:55000 Z:I",
        ),
        (
            "SELECT nextval('numbers')",
            "SELECT currval('numbers')",
            "T E:55000 Z:I",
        ),
        ("SET app.who = 'x'", "SHOW app.who", "E:42704 Z:I"),
        ("RESET app.never", "SHOW app.never", "E:42704 Z:I"),
        ("SET app.never TO DEFAULT", "SHOW app.never", "E:42704 Z:I"),
        (
            "BEGIN; SET LOCAL app.who = 'x'; COMMIT",
            "SHOW app.who",
            "E:42704 Z:I",
        ),
        (
            "CREATE TEMP TABLE mine (a int)",
            "SELECT * FROM mine",
            "E:42P01 Z:I",
        ),
        ("PREPARE mine AS SELECT 1", "EXECUTE mine", "E:26000 Z:I"),
        (
            "DECLARE mine CURSOR WITH HOLD FOR SELECT 1",
            "FETCH mine",
            "E:34000 Z:I",
        ),
        (
            "BEGIN; INSERT INTO notes VALUES (9, 'x')",
            "SELECT 1 FROM notes",
            "T C Z:I",
        ),
        ("BEGIN; SELECT 1/0", "SELECT 1", "T D C Z:I"),
    ] {
        let proxy = Proxy::start(Settings {
            pool_size: 1,
            ..Settings::default()
        });
        let mut first = proxy.raw();
        assert_eq!(shape(&first.query(look)), expected, "before {leave}");
        first.query(leave);
        if leave.contains("CREATE TEMP")
            || leave.contains("mine")
            || leave.starts_with("BEGIN; I")
            || leave.ends_with('0')
        {
            drop(first);
        }
        let mut second = proxy.raw();
        assert_eq!(shape(&second.query(look)), expected, "after {leave}");
    }
}

fn driver() {
    let proxy = Proxy::start(Settings::default());
    runtime().block_on(async {
        let mut client = proxy.connect().await;
        let insert = client
            .prepare("INSERT INTO notes VALUES ($1, $2)")
            .await
            .unwrap();
        let inserts = (0..200).map(|id| {
            let (client, insert) = (&client, &insert);
            async move { client.execute(insert, &[&id, &format!("note {id}")]).await }
        });
        for inserted in futures_util::future::join_all(inserts).await {
            assert_eq!(inserted.unwrap(), 1);
        }
        // Several statements are prepared at the same time, each in its own segment.
        let prepared = (0..50).map(|number| {
            let client = &client;
            async move {
                let sql = format!("SELECT body, {number} FROM notes WHERE id = $1");
                let statement = client.prepare(&sql).await.unwrap();
                let row = client.query_one(&statement, &[&number]).await.unwrap();
                (row.get::<_, String>(0), row.get::<_, i32>(1))
            }
        });
        for (number, row) in futures_util::future::join_all(prepared)
            .await
            .iter()
            .enumerate()
        {
            assert_eq!(row.0, format!("note {number}"));
            assert_eq!(usize::try_from(row.1).unwrap(), number);
        }
        let transaction = client.transaction().await.unwrap();
        transaction.execute("DELETE FROM notes", &[]).await.unwrap();
        assert!(transaction.execute(REFUSED, &[]).await.is_err());
        assert!(transaction.execute("SELECT 1", &[]).await.is_err());
        drop(transaction);
        let row = client
            .query_one("SELECT count(*) FROM notes", &[])
            .await
            .unwrap();
        assert_eq!(row.get::<_, i64>(0), 200);
    });
}

fn cancel() {
    let proxy = Proxy::start(Settings {
        pool_size: 1,
        ..Settings::default()
    });
    let request = |raw: &Raw, change: u8| {
        let mut key = raw.key.clone();
        key[4] ^= change;
        let mut canceller = Raw::connect(proxy.port);
        let code = 80_877_102_u32.to_be_bytes();
        canceller.send(&[&16_u32.to_be_bytes()[..], &code, &key].concat());
        assert_eq!(canceller.message(), None);
    };
    let mut raw = proxy.raw();
    let began = Instant::now();
    raw.send(&query("SELECT pg_sleep(10)"));
    wait_for(&proxy, "pg_sleep");
    request(&raw, 1);
    assert!(raw.is_silent(Duration::from_millis(200)), "a wrong key");
    request(&raw, 0);
    assert_eq!(raw.answer(), "T E:57014 Z:I");
    assert!(began.elapsed() < Duration::from_secs(5));
    // Who has nothing running hits nobody, whoever has the connection now.
    let mut other = proxy.raw();
    other.send(&query("SELECT pg_sleep(0.5)"));
    wait_for(&proxy, "pg_sleep");
    request(&raw, 0);
    assert_eq!(other.answer(), "T D C Z:I");
    // Cancel requests in a storm against short statements: the next borrower is never hit.
    for _ in 0..100 {
        raw.send(&query("SELECT 1"));
        request(&raw, 0);
        let answer = raw.answer();
        assert!(
            answer == "T D C Z:I" || answer.contains("E:57014"),
            "{answer}"
        );
        assert_eq!(other.rows("SELECT 2"), ["2"]);
    }
}

/// Waits until the server runs a statement with this word.
fn wait_for(proxy: &Proxy, word: &str) {
    for _ in 0..500 {
        let running = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND datname = '{}' \
             AND pid <> pg_backend_pid() AND query LIKE '%{word}%'",
            proxy.database.name()
        );
        if proxy.database.value(&running) == "1" {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{word} does not run");
}

fn full_pool() {
    let proxy = Proxy::start(Settings {
        pool_size: 1,
        wait_timeout: "300ms",
        ..Settings::default()
    });
    let mut holder = proxy.raw();
    holder.query("BEGIN");
    let mut waiting = proxy.raw();
    let began = Instant::now();
    assert_eq!(shape(&waiting.query("SELECT 1")), "E:53300 Z:I");
    assert!(began.elapsed() >= Duration::from_millis(290));
    waiting.send(&[parse("", "SELECT 7"), bind("", &[]), execute(), sync()].concat());
    assert_eq!(waiting.answer(), "E:53300 Z:I");
    waiting.send(&query("SELECT 1"));
    std::thread::sleep(Duration::from_millis(50));
    // Who waits can be cancelled, and can leave.
    let mut key = waiting.key.clone();
    let mut canceller = Raw::connect(proxy.port);
    let code = 80_877_102_u32.to_be_bytes();
    key.splice(..0, [&16_u32.to_be_bytes()[..], &code].concat());
    canceller.send(&key);
    assert_eq!(waiting.answer(), "E:57014 Z:I");
    let mut leaving = proxy.raw();
    leaving.send(&query("INSERT INTO notes VALUES (1, 'x')"));
    std::thread::sleep(Duration::from_millis(50));
    drop(leaving);
    std::thread::sleep(Duration::from_millis(50));
    waiting.send(&query("SELECT 1"));
    std::thread::sleep(Duration::from_millis(50));
    holder.query("COMMIT");
    assert_eq!(waiting.answer(), "T D C Z:I");
    assert_eq!(waiting.rows("SELECT count(*) FROM notes"), ["0"]);
    // The upstream has one connection for all pools: an idle one of another pool is closed for us.
    let proxy = Proxy::start(Settings {
        connections_max: 1,
        wait_timeout: "300ms",
        ..Settings::default()
    });
    let mut own = proxy.raw();
    let mut shared = Raw::log_in(proxy.port, "app", PASSWORD, "a").unwrap();
    for _ in 0..3 {
        assert_eq!(own.rows("SELECT 1"), ["1"]);
        assert_eq!(shared.rows("SELECT 1"), ["1"]);
    }
    own.query("BEGIN");
    assert_eq!(shape(&shared.query("SELECT 1")), "E:53300 Z:I");
    own.query("COMMIT");
    assert_eq!(shared.rows("SELECT 1"), ["1"]);
}

fn own_queue() {
    let limited = |count: u32| format!("[limits]\nactive_transactions = {count}");
    let proxy = Proxy::start(Settings {
        wait_timeout: "300ms",
        tenant: "[limits]\nactive_transactions = 2",
        ..Settings::default()
    });
    let mut clients: Vec<Raw> = (0..4).map(|_| proxy.raw()).collect();
    let [first, second, third, fourth] = clients.as_mut_slice() else {
        panic!("four clients");
    };
    first.query("BEGIN");
    second.query("BEGIN");
    let refused = third.query("SELECT 1");
    assert_eq!(shape(&refused), "E:53300 Z:I");
    assert!(refused[0].field('M').unwrap().contains("the tenant"));
    // Others have the rest of the pool.
    let mut other = Raw::log_in(proxy.port, "app", PASSWORD, "a").unwrap();
    assert_eq!(other.rows("SELECT 1"), ["1"]);
    third.send(&query("SELECT 3"));
    std::thread::sleep(Duration::from_millis(50));
    first.query("COMMIT");
    assert_eq!(third.answer(), "T D C Z:I");
    // A killed connection is not counted for ever.
    proxy.database.value(
        "SELECT count(pg_terminate_backend(pid, 2000)) FROM pg_stat_activity \
                          WHERE datname = current_database() AND pid <> pg_backend_pid()",
    );
    assert_eq!(shape(&second.query("SELECT 1")), "E:57P01");
    for client in [third, fourth] {
        assert_eq!(shape(&client.query("BEGIN")), "C Z:T");
    }
    let tenant = std::fs::read_to_string(proxy.directory().join("tenants/own.toml")).unwrap();
    proxy.reload_with(
        "tenants/own.toml",
        Some(&tenant.replace(&limited(2), &limited(3))),
    );
    assert_eq!(shape(&first.query("SELECT 1")), "T D C Z:I");
}

fn kept() {
    let proxy = Proxy::start(Settings {
        tenant: "[limits]\npinned_connections = 1",
        ..Settings::default()
    });
    let (mut first, mut second) = (proxy.raw(), proxy.raw());
    let held = "DECLARE c CURSOR WITH HOLD FOR SELECT 1";
    assert_eq!(shape(&first.query("LISTEN mine")), "C Z:I");
    assert_eq!(shape(&first.query("CREATE TEMP TABLE t (a int)")), "C Z:I");
    for pinning in ["LISTEN mine", "CREATE TEMP TABLE t (a int)", held] {
        assert_eq!(shape(&second.query(pinning)), "E:53400 Z:I", "{pinning}");
        second.send(&[parse("", pinning), bind("", &[]), execute(), sync()].concat());
        assert_eq!(second.answer(), "1 2 E:53400 Z:I", "{pinning}");
        second.query("BEGIN");
        assert_eq!(shape(&second.query(pinning)), "E:53400 Z:E", "{pinning}");
        second.query("ROLLBACK");
    }
    assert_eq!(second.rows("SELECT 1"), ["1"]);
    drop(first);
    let began = Instant::now();
    while shape(&second.query(held)) != "C Z:I" {
        assert!(began.elapsed() < Duration::from_secs(5), "it stays counted");
    }
    // What is closed is not kept.
    let mut third = proxy.raw();
    assert_eq!(shape(&third.query(held)), "E:53400 Z:I");
    second.query("CLOSE c");
    assert_eq!(shape(&third.query(held)), "C Z:I");
}

fn limits() {
    let proxy = Proxy::start(Settings {
        tenant: "[limits]\nclient_connections = 2\nstatement_timeout = \"200ms\"",
        ..Settings::default()
    });
    let mut first = proxy.raw();
    let second = proxy.raw();
    let refused = Raw::log_in(proxy.port, "app", PASSWORD, "own").err();
    assert_eq!(refused.unwrap().field('C').as_deref(), Some("53300"));
    drop(second);
    let began = Instant::now();
    while Raw::log_in(proxy.port, "app", PASSWORD, "own").is_err() {
        assert!(began.elapsed() < Duration::from_secs(5), "it stays counted");
    }
    assert_eq!(shape(&first.query("SELECT pg_sleep(5)")), "T E:57014 Z:I");
}
