//! What an admin could try with the messages of the extended protocol, and with many at once.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;

use super::super::gate::Gate;
use super::super::proxy::{PASSWORD, Proxy};
use super::super::raw::{
    Message, Raw, bind, describe_statement, execute, flush, message, parse, query, shape, sync,
};
use super::log::records;
use super::{admin, folder, grant, proxy, proxy_before};
use crate::support::trial;

/// The trials.
pub fn trials() -> Vec<Trial> {
    vec![
        trial(
            "wire::hatch::a_prepared_statement_is_under_the_present_grant",
            prepared,
        ),
        trial(
            "wire::hatch::a_portal_is_under_the_grant_it_was_opened_under",
            portals,
        ),
        trial(
            "wire::hatch::messages_sent_at_once_are_taken_one_by_one",
            pipelined,
        ),
        trial("wire::hatch::rows_are_counted_for_a_portal", counted),
        trial("wire::hatch::admins_and_tenants_share_no_connection", apart),
        trial(
            "wire::hatch::an_end_in_the_midst_of_rows_is_an_error",
            midst,
        ),
        trial("wire::hatch::what_many_servers_do_is_cancelled", many),
        trial("wire::hatch::what_must_end_ends_at_any_moment", soon),
        trial(
            "wire::hatch::many_answers_in_the_extended_protocol",
            extended,
        ),
        trial("wire::hatch::an_admin_cancels_its_own_statement", cancelled),
        trial("wire::hatch::many_answers_are_taken_in_portions", portions),
        trial("wire::hatch::a_change_comes_in_no_portions", changed_some),
        trial(
            "wire::hatch::an_open_transaction_does_not_outlive_its_grant",
            outlived,
        ),
        trial("wire::hatch::many_are_not_asked_within_a_series", series),
        trial(
            "wire::hatch::many_are_cancelled_before_they_are_asked",
            not_yet,
        ),
    ]
}

const NAMES: &str = "SELECT name FROM items ORDER BY name";

fn take(raw: &mut Raw, name: &str) {
    let taken = raw.query(&format!("SET tenantry.bypass = '{name}'"));
    assert_eq!(shape(&taken), "C Z:I", "{taken:?}");
}

fn shorten(proxy: &Proxy) {
    let content = grant(&folder().join("grants/short+.toml"));
    proxy.reload_with("grants/short.toml", Some(&content));
}

fn names(messages: &[Message]) -> Vec<String> {
    messages
        .iter()
        .filter(|message| message.tag == 'D')
        .map(|message| message.values().join("|"))
        .collect()
}

/// Execute of the portal of this name.
fn execute_portal(portal: &str, rows_max: i32) -> Vec<u8> {
    message(
        'E',
        &[portal.as_bytes(), b"\0", &rows_max.to_be_bytes()].concat(),
    )
}

/// Bind of a statement without parameters to a portal.
fn bind_portal(portal: &str, statement: &str) -> Vec<u8> {
    let name = [portal.as_bytes(), b"\0", statement.as_bytes(), b"\0"].concat();
    message('B', &[&name[..], &[0; 6]].concat())
}

fn prepared() {
    let proxy = proxy();
    let mut raw = admin(&proxy);
    take(&mut raw, "read");
    raw.send(&[parse("s", NAMES), describe_statement("s"), sync()].concat());
    assert_eq!(raw.answer(), "1 t T Z:I");
    let run = [bind("s", &[]), execute(), sync()].concat();
    raw.send(&run);
    let all = ["CANARY-T1", "CANARY-T2", "CANARY-T2-2"];
    assert_eq!(names(&raw.until_ready()), all);
    take(&mut raw, "one");
    raw.send(&run);
    assert_eq!(names(&raw.until_ready()), ["CANARY-T1"]);
    raw.query("RESET tenantry.bypass");
    raw.send(&run);
    assert_eq!(raw.answer(), "E:42501 Z:I");
    // Its time is over between Parse and Execute.
    shorten(&proxy);
    take(&mut raw, "short");
    raw.send(&[parse("t", NAMES), sync()].concat());
    assert_eq!(raw.answer(), "1 Z:I");
    std::thread::sleep(Duration::from_millis(3100));
    raw.send(&[bind("t", &[]), execute(), sync()].concat());
    assert_eq!(raw.answer(), "E:42501 Z:I");
    // A value cannot take the place of a scope.
    take(&mut raw, "one");
    let other = "SELECT name FROM items WHERE tenant_id = $1::int4";
    raw.send(&[parse("", other), bind("", &["2"]), execute(), sync()].concat());
    assert_eq!(raw.answer(), "1 2 C Z:I");
    raw.send(&[bind("", &["1", "2"]), execute(), sync()].concat());
    assert_eq!(raw.answer(), "E:08P01 Z:I");
}

fn portals() {
    let proxy = proxy();
    let mut raw = admin(&proxy);
    shorten(&proxy);
    raw.query("BEGIN");
    raw.query("SET tenantry.bypass = 'short'");
    raw.send(
        &[
            parse("", NAMES),
            bind_portal("p", ""),
            execute_portal("p", 1),
            sync(),
        ]
        .concat(),
    );
    assert_eq!(raw.answer(), "1 2 D s Z:T");
    std::thread::sleep(Duration::from_millis(3100));
    raw.send(&[execute_portal("p", 1), sync()].concat());
    assert_eq!(raw.answer(), "E:42501 Z:E");
    raw.query("ROLLBACK");
    // Opened under a wider grant.
    take(&mut raw, "read");
    raw.query("BEGIN");
    raw.send(&[parse("", NAMES), bind_portal("p", ""), sync()].concat());
    assert_eq!(raw.answer(), "1 2 Z:T");
    raw.query("SET tenantry.bypass = 'one'");
    raw.send(&[execute_portal("p", 0), sync()].concat());
    assert_eq!(raw.answer(), "E:42501 Z:E");
    assert_eq!(shape(&raw.query("ROLLBACK")), "C Z:I");
    raw.query("BEGIN");
    raw.send(&[parse("", NAMES), bind_portal("p", ""), sync()].concat());
    assert_eq!(raw.answer(), "1 2 Z:T");
    raw.query("RESET tenantry.bypass");
    raw.send(&[execute_portal("p", 0), sync()].concat());
    assert_eq!(raw.answer(), "E:42501 Z:E");
}

/// Parse, Bind and Execute without Sync.
fn run(sql: &str) -> Vec<u8> {
    [parse("", sql), bind("", &[]), execute()].concat()
}

fn pipelined() {
    let proxy = proxy();
    let script = [
        NAMES,
        "SET tenantry.bypass = 'one'",
        NAMES,
        "RESET tenantry.bypass",
        NAMES,
    ];
    let mut raw = admin(&proxy);
    let queries: Vec<u8> = script.iter().flat_map(|sql| query(sql)).collect();
    raw.send(&queries);
    for expected in ["E:42501 Z:I", "C Z:I", "T D C Z:I", "C Z:I", "E:42501 Z:I"] {
        assert_eq!(raw.answer(), expected);
    }
    let segments: Vec<u8> = script
        .iter()
        .flat_map(|sql| [run(sql), sync()].concat())
        .collect();
    raw.send(&segments);
    for expected in [
        "E:42501 Z:I",
        "1 2 C Z:I",
        "1 2 D C Z:I",
        "1 2 C Z:I",
        "E:42501 Z:I",
    ] {
        assert_eq!(raw.answer(), expected);
    }
    // In one transaction of its own: the server does not know yet that it must not write.
    raw.send(&[run(script[1]), run(NAMES), run(script[3]), sync()].concat());
    assert_eq!(raw.answer(), "1 2 C 1 E:0A000 Z:I");
    assert_eq!(shape(&raw.query(NAMES)), "E:42501 Z:I");
    // In a block.
    let block = ["BEGIN", script[1], NAMES, script[3], NAMES, "COMMIT"];
    let at_once: Vec<u8> = block.iter().flat_map(|sql| run(sql)).collect();
    raw.send(&[at_once, sync()].concat());
    assert_eq!(raw.answer(), "1 2 C 1 2 C 1 2 D C 1 2 C E:42501 Z:E");
    assert_eq!(shape(&raw.query("ROLLBACK")), "C Z:I");
    assert_eq!(shape(&raw.query(NAMES)), "E:42501 Z:I");
}

fn counted() {
    let proxy = proxy();
    let mut raw = admin(&proxy);
    take(&mut raw, "few");
    raw.query("BEGIN");
    raw.send(&[parse("", NAMES), bind_portal("p", ""), sync()].concat());
    assert_eq!(raw.answer(), "1 2 Z:T");
    for expected in ["D s Z:T", "D s Z:T", "E:54000 Z:E"] {
        raw.send(&[execute_portal("p", 1), sync()].concat());
        assert_eq!(raw.answer(), expected);
    }
    raw.query("ROLLBACK");
    // What is said is what the grant allows, not what is left of it.
    raw.query("BEGIN");
    raw.send(&[parse("", NAMES), bind_portal("p", ""), sync()].concat());
    raw.answer();
    for _ in 0..2 {
        raw.send(&[execute_portal("p", 1), sync()].concat());
        raw.answer();
    }
    raw.send(&[execute_portal("p", 1), sync()].concat());
    let told = raw.until_ready()[0].field('M').unwrap();
    assert_eq!(told, "the grant allows 2 rows at most [TN6008]");
    raw.query("ROLLBACK");
    raw.send(&[run(NAMES), sync()].concat());
    assert_eq!(raw.answer(), "1 2 D D E:54000 Z:I");
    // What was changed can still be undone there.
    raw.send(&[run("UPDATE items SET name = name || '!'"), sync()].concat());
    assert_eq!(raw.answer(), "1 2 E:54000 Z:I");
    let changed = "SELECT name FROM items WHERE name LIKE '%!'";
    assert_eq!(shape(&raw.query(changed)), "T C Z:I");
}

fn apart() {
    let proxy = proxy();
    for _ in 0..3 {
        let mut raw = admin(&proxy);
        take(&mut raw, "read");
        assert_eq!(raw.rows("SELECT count(*) FROM items"), ["3"]);
        let mut raw = Raw::log_in(proxy.port, "app", PASSWORD, "a").unwrap();
        assert_eq!(raw.rows("SELECT count(*) FROM items"), ["1"]);
        let setting = raw.query("SHOW default_transaction_read_only");
        assert_eq!(names(&setting), ["off"]);
    }
    // One after the other, they would have been content with one connection.
    let backends = format!(
        "SELECT count(*)::text FROM pg_stat_activity WHERE datname = '{}'",
        proxy.shared.name()
    );
    assert_eq!(proxy.database.value(&backends), "2");
}

fn midst() {
    let proxy = proxy();
    let mut raw = admin(&proxy);
    shorten(&proxy);
    take(&mut raw, "short");
    let rows = "SELECT repeat('x', 100000), i.name FROM items AS i, generate_series(1, 1000000)";
    raw.send(&query(rows));
    std::thread::sleep(Duration::from_millis(3200));
    let messages = raw.until_ready();
    let error = messages.iter().rev().nth(1).unwrap();
    let expected = "grant \"short\" has expired [TN6007]";
    assert_eq!(error.field('M').as_deref(), Some(expected));
    assert!(messages.len() > 3);
    assert_eq!(shape(&raw.query(NAMES)), "E:42501 Z:I");
}

const LONG: &str = "SELECT count(*) FROM items, generate_series(1, 100000) AS j, \
                    generate_series(1, 100000) AS k";

fn cancel(proxy: &Proxy, raw: &Raw) {
    let mut other = Raw::connect(proxy.port);
    let length = u32::try_from(raw.key.len() + 8).unwrap().to_be_bytes();
    other.send(&[&length[..], &80_877_102_u32.to_be_bytes(), &raw.key].concat());
}

/// Whether no server works at a long statement any more.
fn is_quiet(proxy: &Proxy, after: &str) {
    let busy = format!(
        "SELECT count(*)::text FROM pg_stat_activity WHERE state = 'active' \
         AND query LIKE '%generate_series%' AND datname IN ('{}', '{}') \
         AND pid <> pg_backend_pid()",
        proxy.shared.name(),
        proxy.database.name()
    );
    for _ in 0..100 {
        if proxy.database.value(&busy) == "0" {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("a server still works after {after}");
}

/// At whatever moment it is cancelled: no server goes on with it, and none begins.
fn soon() {
    let proxy = proxy();
    let content = grant(&folder().join("grants/each.toml"));
    for round in 0..8_u64 {
        let mut raw = admin(&proxy);
        take(&mut raw, "each");
        let known = records(&proxy, ("statement", 0)).len();
        raw.send(&query(LONG));
        while records(&proxy, ("statement", 0)).len() <= known {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_millis(round * round / 2));
        let began = Instant::now();
        if round % 2 == 0 {
            cancel(&proxy, &raw);
        } else {
            proxy.take_back("grants/each.toml");
        }
        let answer = raw.answer();
        assert!(answer.ends_with("E:57014 Z:I"), "{round}: {answer}");
        // It is waited for: what comes next finds no server at work.
        assert!(began.elapsed() < Duration::from_secs(4), "{round}");
        is_quiet(&proxy, "an early end");
        proxy.reload_with("grants/each.toml", Some(&content));
    }
    // One part's error is the end of the others.
    let mut raw = admin(&proxy);
    take(&mut raw, "each");
    let sql = "SELECT 1 / CASE WHEN name LIKE 'OWN%' THEN 0 ELSE 1 END, (SELECT count(*) FROM \
               generate_series(1, 100000) AS x, generate_series(1, 100000) AS y) FROM items";
    let began = Instant::now();
    raw.send(&query(
        &sql.replace("1 / CASE", "1 / CASE WHEN name = 'CANARY-T1' THEN 1"),
    ));
    std::thread::sleep(Duration::from_millis(300));
    cancel(&proxy, &raw);
    assert!(raw.answer().ends_with("E:57014 Z:I"));
    let failing = sql.replace("LIKE 'OWN%'", "= 'CANARY-T1'");
    assert_eq!(shape(&raw.query(&failing)), "T N E:22012 Z:I");
    assert!(began.elapsed() < Duration::from_secs(9));
    is_quiet(&proxy, "an error of one part");
}

fn many() {
    let proxy = proxy();
    let is_quiet = |after: &str| is_quiet(&proxy, after);
    let mut raw = admin(&proxy);
    take(&mut raw, "each");
    raw.send(&query(LONG));
    std::thread::sleep(Duration::from_millis(500));
    cancel(&proxy, &raw);
    assert!(raw.answer().ends_with("E:57014 Z:I"));
    is_quiet("a cancel request");
    raw.send(&query(LONG));
    std::thread::sleep(Duration::from_millis(500));
    proxy.reload_with("grants/each.toml", None);
    assert!(raw.answer().ends_with("E:57014 Z:I"));
    is_quiet("a revocation");
    assert_eq!(shape(&raw.query(NAMES)), "E:42501 Z:I");
    take(&mut raw, "eachwrite");
    raw.send(&query(LONG));
    std::thread::sleep(Duration::from_millis(500));
    drop(raw);
    is_quiet("the client has left");
}

fn extended() {
    let proxy = proxy();
    let mut raw = admin(&proxy);
    take(&mut raw, "each");
    let text = "SELECT id, name FROM items WHERE id = $1 ORDER BY name";
    raw.send(&[parse("s", text), describe_statement("s"), sync()].concat());
    let described = raw.until_ready();
    assert_eq!(shape(&described), "1 t T Z:I");
    assert_eq!(described[1].body, b"\0\x01\0\0\0\x17");
    assert!(described[2].body.starts_with(b"\0\x03tenant\0"));
    raw.send(&[bind("s", &["1"]), execute(), sync()].concat());
    let messages = raw.until_ready();
    assert_eq!(shape(&messages), "2 N D D D C Z:I");
    let expected = ["a|1|CANARY-T1", "b|1|CANARY-T2", "own|1|OWN-1"];
    assert_eq!(names(&messages), expected);
    // Binary, for the tenant's column and two more.
    let body = [
        &b"\0s\0\0\x01\0\x01\0\x01\0\0\0\x04\0\0\0\x01"[..],
        b"\0\x03\0\0\0\x01\0\0",
    ];
    raw.send(
        &[
            message('B', &body.concat()),
            message('D', b"P\0"),
            execute(),
            sync(),
        ]
        .concat(),
    );
    let messages = raw.until_ready();
    assert_eq!(shape(&messages), "2 T N D D D C Z:I");
    assert!(
        messages[3]
            .body
            .ends_with(b"\0\0\0\x04\0\0\0\x01\0\0\0\x09CANARY-T1")
    );
    // Too few values, and a portal of another grant.
    raw.send(&[bind("s", &[]), execute(), sync()].concat());
    assert_eq!(raw.answer(), "2 E:08P01 Z:I");
    raw.query("BEGIN");
    raw.send(&[bind("s", &["1"]), sync()].concat());
    assert_eq!(raw.answer(), "2 Z:T");
    raw.query("SET tenantry.bypass = 'read'");
    raw.send(&[execute(), sync()].concat());
    assert_eq!(raw.answer(), "E:42501 Z:E");
    raw.query("ROLLBACK");
    take(&mut raw, "one");
    raw.send(&[bind("s", &["1"]), execute(), sync()].concat());
    assert_eq!(names(&raw.until_ready()), ["1|CANARY-T1"]);
    take(&mut raw, "each");
    raw.send(&[bind("s", &["1"]), execute(), sync()].concat());
    assert_eq!(names(&raw.until_ready()), expected);
    raw.query("RESET tenantry.bypass");
    raw.send(&[bind("s", &["1"]), execute(), sync()].concat());
    assert_eq!(raw.answer(), "E:42501 Z:I");
}

fn cancelled() {
    let proxy = proxy();
    let mut raw = admin(&proxy);
    take(&mut raw, "read");
    raw.send(&query("SELECT count(*) FROM items AS i, items AS j, generate_series(1, 100000), generate_series(1, 100000) AS k"));
    std::thread::sleep(Duration::from_millis(300));
    cancel(&proxy, &raw);
    assert_eq!(raw.answer(), "T E:57014 Z:I");
    assert_eq!(shape(&raw.query(NAMES)), "T D D D C Z:I");
}

/// A statement for many that waits for a tenant's database to be looked at first.
fn not_yet() {
    let gate = Gate::open();
    let proxy = proxy_before(Some(gate.port));
    let mut raw = admin(&proxy);
    take(&mut raw, "each");
    gate.hold_new();
    let began = Instant::now();
    raw.send(&query(NAMES));
    assert!(raw.is_silent(Duration::from_millis(300)));
    cancel(&proxy, &raw);
    assert_eq!(raw.answer(), "E:57014 Z:I");
    raw.send(&query(NAMES));
    assert!(raw.is_silent(Duration::from_millis(300)));
    proxy.take_back("grants/each.toml");
    assert_eq!(raw.answer(), "E:57014 Z:I");
    // No server was waited for.
    assert!(began.elapsed() < Duration::from_secs(4));
    gate.release();
    let asked = "SELECT count(*)::text FROM pg_stat_activity WHERE query LIKE '%FROM %items%' \
                 AND datname = current_database() AND pid <> pg_backend_pid()";
    assert_eq!(proxy.database.value(asked), "0");
    assert_eq!(proxy.shared.value(asked), "0");
}

fn execute_some(portal: &str, rows_max: i32) -> Vec<u8> {
    let mut body = portal.as_bytes().to_vec();
    body.push(0);
    body.extend_from_slice(&rows_max.to_be_bytes());
    message('E', &body)
}

/// The answers are those that PostgreSQL gives for one table.
fn portions() {
    let proxy = proxy();
    let mut raw = admin(&proxy);
    take(&mut raw, "each");
    let sql = "SELECT name FROM items WHERE id < 3 ORDER BY name";
    raw.send(
        &[
            parse("", sql),
            bind("", &[]),
            execute_some("", 2),
            execute_some("", 3),
            execute_some("", 2),
            execute_some("", 0),
            sync(),
        ]
        .concat(),
    );
    let answers = raw.until_ready();
    assert_eq!(shape(&answers), "1 2 N D D s D D D s C C Z:I");
    assert_eq!(
        names(&answers),
        [
            "a|CANARY-T1",
            "b|CANARY-T2",
            "b|CANARY-T2-2",
            "own|OWN-1",
            "own|OWN-2"
        ]
    );
    // The portal has ended with its transaction.
    raw.send(&[execute_some("", 2), sync()].concat());
    let answers = raw.until_ready();
    let failed = answers.iter().find(|message| message.tag == 'E').unwrap();
    assert_eq!(failed.field('C').as_deref(), Some("34000"), "{answers:?}");

    // In a block it lives longer, but not longer than its grant.
    assert_eq!(shape(&raw.query("BEGIN")), "C Z:T");
    raw.send(&[parse("", sql), bind("", &[]), execute_some("", 1), sync()].concat());
    assert_eq!(shape(&raw.until_ready()), "1 2 N D s Z:T");
    raw.send(&[execute_some("", 9), sync()].concat());
    let answers = raw.until_ready();
    assert_eq!(shape(&answers), "D D D D C Z:T");
    raw.send(&[parse("", sql), bind("", &[]), execute_some("", 1), sync()].concat());
    assert_eq!(shape(&raw.until_ready()), "1 2 N D s Z:T");
    proxy.reload_with("grants/each.toml", None);
    raw.send(&[execute_some("", 9), sync()].concat());
    let answers = raw.until_ready();
    assert_eq!(names(&answers), Vec::<String>::new(), "{answers:?}");
    assert_eq!(answers[0].tag, 'E', "{answers:?}");
}

fn error_code(messages: &[Message]) -> String {
    let failed = messages.iter().find(|message| message.tag == 'E');
    failed
        .and_then(|message| message.field('C'))
        .unwrap_or_default()
}

/// PostgreSQL makes the whole change at the first Execute, however few rows of it are asked for.
fn changed_some() {
    let proxy = proxy();
    let mut raw = admin(&proxy);
    take(&mut raw, "few");
    let sql = "UPDATE items SET name = name || '!' RETURNING id";
    raw.send(&[parse("", sql), bind("", &[]), execute_some("", 1), sync()].concat());
    let answers = raw.until_ready();
    assert_eq!(error_code(&answers), "0A000", "{answers:?}");
    assert_eq!(
        raw.rows("SELECT count(*) FROM items WHERE name LIKE '%!'"),
        ["0"]
    );
}

/// Sync commits what the messages before it have done, but not under a grant that has ended since.
fn outlived() {
    let proxy = proxy();
    let mut raw = admin(&proxy);
    take(&mut raw, "write");
    let sql = "UPDATE items SET name = 'kept' WHERE name = 'CANARY-T1'";
    raw.send(&[parse("", sql), bind("", &[]), execute(), flush()].concat());
    for expected in ['1', '2', 'C'] {
        let message = raw.message().unwrap();
        assert_eq!(message.tag, expected, "{message:?}");
    }
    proxy.reload_with("grants/write.toml", None);
    raw.send(&sync());
    let answers = raw.until_ready();
    assert_eq!(error_code(&answers), "42501", "{answers:?}");
    take(&mut raw, "read");
    assert_eq!(
        raw.rows("SELECT count(*) FROM items WHERE name = 'kept'"),
        ["0"]
    );
}

/// What many tenants are asked for is no part of the transaction that messages before it have begun.
fn series() {
    let proxy = proxy();
    let mut raw = admin(&proxy);
    for (grant, first, sql) in [
        ("write", "BEGIN", "SELECT id INTO TEMP gathered FROM items"),
        (
            "write",
            "DELETE FROM items WHERE id = 99",
            "SELECT id INTO TEMP gathered FROM items",
        ),
        ("eachwrite", "BEGIN", "UPDATE items SET name = 'x'"),
    ] {
        take(&mut raw, grant);
        raw.send(
            &[
                parse("", first),
                bind("", &[]),
                execute(),
                parse("", sql),
                bind("", &[]),
                execute(),
                sync(),
            ]
            .concat(),
        );
        let answers = raw.until_ready();
        assert_eq!(error_code(&answers), "25001", "{first}; {sql}: {answers:?}");
        raw.query("ROLLBACK");
    }
    take(&mut raw, "each");
    raw.send(
        &[
            parse("", "SELECT id INTO TEMP one FROM items"),
            bind("", &[]),
            execute(),
            parse("", "SELECT id INTO TEMP other FROM items"),
            bind("", &[]),
            execute(),
            sync(),
        ]
        .concat(),
    );
    let answers = raw.until_ready();
    assert_eq!(error_code(&answers), "", "{answers:?}");
    assert_eq!(
        raw.rows("SELECT count(*) FROM one JOIN other USING (tenant, id)"),
        ["6"]
    );
}
