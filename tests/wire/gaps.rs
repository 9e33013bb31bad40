//! What drivers and frameworks send beside queries: sequences right behind an INSERT, long messages, system
//! columns, what follows in a block that has failed.

use libtest_mimic::Trial;

use super::proxy::{PASSWORD, Proxy, Settings};
use super::raw::{Raw, bind, execute, message, parse, query, shape, sync};

/// The trials.
pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("wire::a_sequence_tells_what_its_own_client_took", || {
            sequences();
            Ok(())
        }),
        Trial::test("wire::messages_that_are_too_long_are_refused", || {
            too_long();
            Ok(())
        }),
        Trial::test("wire::a_failed_block_looks_at_nothing_else", || {
            failed_block();
            Ok(())
        }),
        Trial::test("wire::what_is_set_for_a_transaction_may_be_bound", || {
            bound_setting();
            Ok(())
        }),
    ]
}

fn tenant(proxy: &Proxy, name: &str) -> Raw {
    Raw::log_in(proxy.port, "app", PASSWORD, name).unwrap()
}

/// `currval` and `lastval` tell what this client took on the server connection that it has; nothing is told
/// of other clients, nor of what it took elsewhere since.
fn sequences() {
    let proxy = Proxy::start(Settings {
        pool_size: 1,
        ..Settings::default()
    });
    proxy.shared.execute(
        "CREATE TABLE serials (id serial, tenant_id integer NOT NULL, PRIMARY KEY (tenant_id, id));
         GRANT ALL ON serials, serials_id_seq TO PUBLIC",
    );
    proxy.reload();
    let mut a = tenant(&proxy, "a");
    let mut b = tenant(&proxy, "b");
    let serial = "pg_get_serial_sequence('serials', 'id')";
    let all = format!(
        "INSERT INTO serials DEFAULT VALUES RETURNING id; \
         SELECT currval({serial}); SELECT lastval(); SELECT currval('serials_id_seq')"
    );
    assert_eq!(a.rows(&all), ["1", "1", "1", "1"]);
    // Nobody else was on the connection.
    assert_eq!(a.rows("SELECT lastval()"), ["1"]);
    // Another client knows nothing of it, whatever tenant it is.
    let mut c = tenant(&proxy, "a");
    for other in [&mut b, &mut c] {
        for ask in ["SELECT lastval()", "SELECT currval('serials_id_seq')"] {
            assert_eq!(shape(&other.query(ask)), "T E:55000 Z:I", "{ask}");
        }
    }
    assert_eq!(shape(&a.query("SELECT lastval()")), "T E:55000 Z:I");
    // In a block the connection stays.
    a.query("BEGIN");
    assert_eq!(a.rows(&format!("SELECT nextval({serial})")), ["2"]);
    assert_eq!(a.rows("SELECT lastval()"), ["2"]);
    a.query("COMMIT");
    assert_eq!(
        b.rows("INSERT INTO serials DEFAULT VALUES RETURNING id"),
        ["3"]
    );
    assert_eq!(b.rows("SELECT lastval()"), ["3"]);
    let parts = [
        parse("", "SELECT currval('serials_id_seq')"),
        bind("", &[]),
        execute(),
        sync(),
    ];
    b.send(&parts.concat());
    assert_eq!(b.answer(), "1 2 D C Z:I");
    assert_eq!(
        shape(&a.query("SELECT setval('serials_id_seq', 1)")),
        "E:42501 Z:I"
    );
}

/// What is longer than a statement may be is read to its end and refused.
fn too_long() {
    let proxy = Proxy::start(Settings::default());
    let mut raw = tenant(&proxy, "a");
    let long = "x".repeat(17 * 1024 * 1024);
    assert_eq!(
        shape(&raw.query(&format!("SELECT '{long}'"))),
        "E:54000 Z:I"
    );
    assert_eq!(raw.rows("SELECT 1"), ["1"]);
    // Its length alone costs nothing, and what comes behind it is read.
    let parts = [
        parse("", &format!("SELECT '{long}'")),
        bind("", &[]),
        execute(),
        sync(),
        query("SELECT 2"),
    ];
    raw.send(&parts.concat());
    assert_eq!(raw.answer(), "E:54000 Z:I");
    assert_eq!(raw.answer(), "T D C Z:I");
    // Values may be longer.
    let parts = [
        parse("", "SELECT length($1::text)"),
        bind("", &[&long]),
        execute(),
        sync(),
    ];
    raw.send(&parts.concat());
    assert_eq!(raw.answer(), "1 2 D C Z:I");
    // It fails the block on the server, too.
    raw.query("BEGIN");
    assert_eq!(
        shape(&raw.query(&format!("SELECT '{long}'"))),
        "E:54000 Z:E"
    );
    assert_eq!(shape(&raw.query("SELECT 1")), "E:25P02 Z:E");
    assert_eq!(shape(&raw.query("ROLLBACK")), "C Z:I");
    // What no server reads ends the connection.
    raw.send(&[&b"Q"[..], &i32::MAX.to_be_bytes()].concat());
    assert!(matches!(raw.message(), Some(error) if error.field('C').as_deref() == Some("08P01")));
    // In the middle of a COPY it is out of step.
    let mut raw = tenant(&proxy, "a");
    raw.send(&query("COPY items FROM STDIN"));
    assert_eq!(raw.message().unwrap().tag, 'G');
    raw.send(&message('Q', long.as_bytes()));
    assert_eq!(raw.message().unwrap().tag, 'E');
}

fn failed_block() {
    let proxy = Proxy::start(Settings::default());
    let mut raw = tenant(&proxy, "a");
    raw.query("BEGIN");
    assert_eq!(shape(&raw.query("SELECT 1/0")), "E:22012 Z:E");
    for (sql, expected) in [
        ("SELECT nothing()", "E:25P02 Z:E"),
        ("TABLE nowhere", "E:25P02 Z:E"),
        ("SHOW nothing", "E:25P02 Z:E"),
        ("CREATE TABLE t ()", "E:25P02 Z:E"),
        ("SELECT tenant_id FROM items", "E:25P02 Z:E"),
        ("SELEC", "E:42601 Z:E"),
    ] {
        assert_eq!(shape(&raw.query(sql)), expected, "{sql}");
        raw.send(&[parse("", sql), bind("", &[]), execute(), sync()].concat());
        assert_eq!(raw.answer(), expected, "{sql}");
    }
    raw.send(&[bind("none", &[]), sync()].concat());
    assert_eq!(raw.answer(), "E:26000 Z:E");
    assert_eq!(shape(&raw.query("ROLLBACK")), "C Z:I");
    assert_eq!(shape(&raw.query("TABLE nowhere")), "E:42P01 Z:I");
}

fn bound_setting() {
    let proxy = Proxy::start(Settings {
        pool_size: 1,
        ..Settings::default()
    });
    let mut raw = tenant(&proxy, "a");
    raw.query("BEGIN");
    let parts = [
        parse("", "SELECT set_config('app.user_id', $1, true)"),
        bind("", &["7"]),
        execute(),
        sync(),
    ];
    raw.send(&parts.concat());
    assert_eq!(raw.answer(), "1 2 D C Z:T");
    assert_eq!(raw.rows("SHOW app.user_id"), ["7"]);
    raw.query("COMMIT");
    assert_eq!(raw.rows("SHOW app.user_id"), [""]);
    // Others do not even see that there is such a name.
    let mut other = tenant(&proxy, "b");
    assert_eq!(shape(&other.query("SHOW app.user_id")), "E:42704 Z:I");
}
