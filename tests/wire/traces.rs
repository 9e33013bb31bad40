//! Nothing stays behind: one client leaves a trace on a server connection in every way there is, and the next one
//! that borrows this very connection sees nothing of it.
//!
//! The ways are in `tests/wire/traces/ways.txt`. Whether they are ways at all is shown on a bare connection of
//! PostgreSQL that goes from one to the other as it is: there most of them are seen.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use tokio_postgres::SimpleQueryMessage;

use super::proxy::{PASSWORD, Proxy, Settings};
use super::raw::{Raw, query};
use super::transcripts::message::{Sent, sent, untagged};
use super::transcripts::shown::shown;
use crate::support::trial;

/// The trials.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("wire::traces::two_logins_of_one_database", || {
            borrowed("own", "own", &[]);
        }),
        trial("wire::traces::two_tenants_of_shared_tables", || {
            borrowed("a", "b", &REFUSED_TO_SHARED);
        }),
        trial("wire::traces::a_bare_connection_shows_them", bare),
    ]
}

/// Ways that are not open to shared tenants, besides those that the file says are not for them.
const REFUSED_TO_SHARED: [&str; 0] = [];

/// So many ways must be seen on a bare connection.
const SEEN_MIN: usize = 90;

/// A way to leave a trace.
#[derive(Debug, Default)]
struct Way {
    name: String,
    leave: Vec<u8>,
    look: Vec<u8>,
    /// How often the one who looks is told that the server is ready.
    looks: usize,
    superuser: Option<String>,
    /// The one who has left it asks to cancel its statement while the other one looks.
    cancel: Option<()>,
}

impl Way {
    fn is_own(&self) -> bool {
        self.name.ends_with("(own)")
    }

    fn is_unread(&self) -> bool {
        self.name.ends_with("(unread)")
    }

    fn cancels(&self) -> bool {
        self.cancel.is_some()
    }
}

fn ways() -> Vec<Way> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire/traces/ways.txt");
    let mut ways: Vec<Way> = Vec::new();
    let bytes = |line: &str| {
        let Sent::Message(bytes) = sent(line, "", "") else {
            panic!("{line}: no message");
        };
        bytes
    };
    for line in std::fs::read_to_string(file).unwrap().lines() {
        if let Some(name) = line.strip_prefix("== ") {
            ways.push(Way {
                name: name.to_owned(),
                ..Way::default()
            });
        }
        let Some(way) = ways.last_mut() else {
            continue;
        };
        if let Some(line) = line.strip_prefix("> ") {
            way.leave.extend(bytes(line));
        } else if let Some(line) = line.strip_prefix("? ") {
            way.look.extend(bytes(line));
            way.looks += usize::from(line.starts_with("Query") || line == "Sync");
        } else if let Some(line) = line.strip_prefix("! ") {
            way.superuser = Some(line.to_owned());
        } else if line == "~ cancel" {
            way.cancel = Some(());
        }
    }
    ways
}

/// What a tenant's own database holds.
const OWN: &str = "
    CREATE TABLE pairs (id integer PRIMARY KEY, body text);
    INSERT INTO pairs VALUES (1, 'one'), (2, 'two');
    CREATE TABLE counted (id serial);
    CREATE FUNCTION leave(name text, value text) RETURNS text LANGUAGE sql
        AS $$ SELECT set_config(name, value, false) $$;
    CREATE FUNCTION leave_table() RETURNS void LANGUAGE plpgsql
        AS $$ BEGIN CREATE TEMP TABLE mine (a int4); END $$;
    CREATE FUNCTION leave_lock() RETURNS void LANGUAGE sql AS $$ SELECT pg_advisory_lock(4711) $$;
    CREATE FUNCTION leave_by_trigger() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN PERFORM set_config('TimeZone', 'Asia/Tokyo', false); RETURN new; END $$;
    CREATE TABLE touched (id int4);
    CREATE TRIGGER touch BEFORE INSERT ON touched FOR EACH ROW EXECUTE FUNCTION leave_by_trigger();
    CREATE VIEW leaving AS SELECT leave('TimeZone', 'Asia/Tokyo');
    CREATE TABLE defaulted (zone text DEFAULT leave('TimeZone', 'Asia/Tokyo'));";

/// What the shared tables are.
const SHARED: &str = "
    CREATE TABLE pairs (tenant_id integer NOT NULL, id integer, body text, PRIMARY KEY (tenant_id, id));
    INSERT INTO pairs VALUES (1, 1, 'one'), (1, 2, 'two'), (2, 1, 'eins'), (2, 2, 'zwei');
    CREATE SEQUENCE numbers;";

struct Superuser {
    runtime: tokio::runtime::Runtime,
    client: tokio_postgres::Client,
}

impl Superuser {
    fn new(database: &crate::support::Database) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let client = runtime.block_on(database.connect());
        Self { runtime, client }
    }

    /// The values of all rows.
    fn ask(&self, sql: &str) -> Vec<String> {
        let messages = self
            .runtime
            .block_on(self.client.simple_query(sql))
            .unwrap();
        let value = |message: &SimpleQueryMessage| {
            let SimpleQueryMessage::Row(row) = message else {
                return None;
            };
            row.get(0).map(str::to_owned)
        };
        messages.iter().filter_map(value).collect()
    }

    /// The server connections that others have in this database.
    fn connections(&self) -> Vec<String> {
        self.ask(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() \
             AND pid <> pg_backend_pid() AND backend_type = 'client backend'",
        )
    }

    /// Whoever comes next has a new connection.
    fn kill(&self) {
        self.ask(
            "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        );
    }

    /// What is told of a way; what goes away takes a moment.
    fn asked(&self, way: &Way, expected: &[String]) -> Vec<String> {
        let Some(sql) = &way.superuser else {
            return Vec::new();
        };
        let began = Instant::now();
        loop {
            let told = self.ask(sql);
            if told == expected || began.elapsed() > Duration::from_secs(2) {
                return told;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// What was answered, until the server is ready so often, or says nothing more.
fn answers(raw: &mut Raw, ready: usize) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = ready;
    loop {
        let patience = if left == 0 { 20 } else { 1500 };
        if raw.is_quiet(Duration::from_millis(patience)) {
            break;
        }
        let Some(message) = raw.message() else {
            found.push("(closed)".to_owned());
            break;
        };
        left = left.saturating_sub(usize::from(message.tag == 'Z'));
        found.push(shown(&message));
    }
    found
}

/// Leaves the trace; gives what was answered, if anybody reads it.
fn leave(way: &Way, raw: &mut Raw) -> Vec<String> {
    raw.send(&way.leave);
    if way.is_unread() {
        std::thread::sleep(Duration::from_millis(50));
        return Vec::new();
    }
    let mut found = Vec::new();
    while !raw.is_quiet(Duration::from_millis(if found.is_empty() {
        300
    } else {
        60
    })) {
        match raw.message() {
            Some(message) => found.push(shown(&message)),
            None => break,
        }
    }
    found
}

fn look(way: &Way, raw: &mut Raw, cancels: Option<(u16, &[u8])>) -> Vec<String> {
    raw.send(&way.look);
    if let Some((port, key)) = cancels {
        std::thread::sleep(Duration::from_millis(150));
        let mut canceller = Raw::connect(port);
        canceller.send(&untagged(80_877_102, key));
        assert_eq!(canceller.message(), None);
    }
    answers(raw, way.looks)
}

/// The trace is left through the proxy, whose pool has one connection.
fn borrowed(first: &str, second: &str, refused: &[&str]) {
    let is_own = first == "own";
    let proxy = Proxy::start(Settings {
        pool_size: 1,
        wait_timeout: "300ms",
        tenant: "user = \"postgres\"\npassword = { file = \"secret\" }",
        ..Settings::default()
    });
    proxy.database.execute(OWN);
    proxy.shared.execute(SHARED);
    proxy.reload();
    let superuser = Superuser::new(if is_own {
        &proxy.database
    } else {
        &proxy.shared
    });
    let log_in =
        |user: &str, database: &str| Raw::log_in(proxy.port, user, PASSWORD, database).unwrap();
    let looking = if is_own { "own" } else { "app" };
    let (mut wrong, mut counts) = (String::new(), BTreeMap::<&str, usize>::new());
    for way in ways() {
        if way.is_own() && !is_own {
            continue;
        }
        superuser.kill();
        let mut next = log_in(looking, second);
        let expected = look(&way, &mut next, None);
        let expected_told = superuser.asked(&way, &[]);
        drop(next);
        superuser.kill();
        let mut next = log_in(looking, second);
        let mut one = log_in("app", first);
        one.query("SELECT 1");
        let before = superuser.connections();
        let answered = leave(&way, &mut one);
        if way
            .superuser
            .as_ref()
            .is_some_and(|sql| sql.starts_with("NOTIFY"))
        {
            superuser.asked(&way, &[]);
        }
        let key = one.key.clone();
        let cancels = way.cancels().then_some((proxy.port, key.as_slice()));
        let mut one = Some(one);
        let mut seen = look(&way, &mut next, cancels);
        if seen.iter().any(|line| line.contains("| 53300 |")) {
            // The one keeps its connection as long as it is there.
            one = None;
            next.send(&query(""));
            answers(&mut next, 1);
            let began = Instant::now();
            while seen.iter().any(|line| line.contains("| 53300 |")) {
                assert!(
                    began.elapsed() < Duration::from_secs(5),
                    "{}: {seen:?}",
                    way.name
                );
                seen = look(&way, &mut next, None);
            }
        }
        let told = superuser.asked(&way, &expected_told);
        if seen != expected || told != expected_told {
            writeln!(
                wrong,
                "== {}\n  {expected:?}\n  {seen:?} {told:?}",
                way.name
            )
            .unwrap();
        }
        let began = Instant::now();
        while superuser.connections().len() > 1 {
            assert!(
                began.elapsed() < Duration::from_secs(5),
                "{}: two connections",
                way.name
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        let is_refused = |line: &String| line.contains("| 42501 |") || line.contains("| 0A000 |");
        let outcome = if answered.iter().any(is_refused) {
            if !refused.contains(&way.name.as_str()) {
                println!("refused to {first}: {} {answered:?}", way.name);
            }
            "refused"
        } else if superuser.connections() == before {
            "on the same connection"
        } else {
            "closed"
        };
        *counts.entry(outcome).or_default() += 1;
        drop(one);
    }
    println!("traces left by {first}, looked for by {second}: {counts:?}");
    assert!(wrong.is_empty(), "seen by {second}:\n{wrong}");
}

/// The same on a connection that is handed on as it is.
fn bare() {
    let database = Proxy::start(Settings::default()).database.clone();
    database.execute(OWN);
    let superuser = Superuser::new(&database);
    let log_in = || Raw::log_in(crate::support::port(), "postgres", "", database.name()).unwrap();
    let mut unseen = Vec::new();
    let mut seen_ways = 0;
    for way in ways() {
        superuser.kill();
        let mut fresh = log_in();
        let expected = (look(&way, &mut fresh, None), superuser.asked(&way, &[]));
        drop(fresh);
        let mut raw = log_in();
        leave(&way, &mut raw);
        let key = raw.key.clone();
        let cancels = way
            .cancels()
            .then_some((crate::support::port(), key.as_slice()));
        if way
            .superuser
            .as_ref()
            .is_some_and(|sql| sql.starts_with("NOTIFY"))
        {
            superuser.asked(&way, &[]);
        }
        let found = look(&way, &mut raw, cancels);
        if (found, superuser.asked(&way, &[])) == expected {
            unseen.push(way.name);
        } else {
            seen_ways += 1;
        }
    }
    println!("{seen_ways} traces are seen on a bare connection, but not {unseen:?}");
    assert!(seen_ways >= SEEN_MIN, "only {seen_ways}: not {unseen:?}");
}
