//! Transcripts: messages that a client sends, and what PostgreSQL answers. Through Tenantry the answers are
//! the same: to a tenant with a database of its own, in both modes of pooling and in pieces of any size,
//! and to one of shared tables.
//!
//! A transcript is a file of `tests/wire/transcripts`. Its lines:
//!
//! - `# ..`: a remark;
//! - `== name`: a case begins, with a connection of its own; `== name (own)`: what it sends is not for shared tables;
//! - `> message`: what is sent, several lines at once: `> Query SELECT 1`, `> Parse s(23): SELECT $1`,
//!   `> Bind portal statement values in:1 out:0`, `> Sync`; see [`message`];
//! - `@ a`, `@ b`: what follows is sent by another client;
//! - `> Startup 3.0 name=value ..`, `> SSLRequest`: how a connection is made, where it is not the usual way;
//! - `> CancelOf a`: a request to cancel what client `a` does; `> (read)`: nothing is sent, and an answer awaited;
//!   `> (wait) 100`: nothing happens for so many milliseconds; `> (leave)`: the connection ends;
//! - anything else: what came back, a line for each message.
//!
//! `different.txt` holds the cases in which Tenantry means to answer otherwise, with the reason. `REWRITE=1
//! ./bin/test transcripts` writes what PostgreSQL answers into the files, and what Tenantry does into that one.

pub mod message;
pub mod shown;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use libtest_mimic::Trial;

use super::proxy::{PASSWORD, Proxy, Settings};
use super::raw::Raw;
use message::{Sent, sent, untagged};
use shown::shown;

/// The trials.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for file in files() {
        for way in WAYS {
            let theme = theme(&file);
            let file = file.clone();
            let title = format!("wire::transcripts::{theme}::{}", way.name());
            trials.push(Trial::test(title, move || {
                check(&file, way);
                Ok(())
            }));
        }
    }
    trials
}

/// How a transcript is played.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    /// To PostgreSQL itself.
    Direct,
    /// To a tenant's own database, a server connection for each transaction.
    Own,
    /// The same, with what is sent in pieces.
    Pieces,
    /// To a tenant's own database, a server connection for each session.
    Session,
    /// To tables that tenants share.
    Shared,
}

const WAYS: [Way; 5] = [
    Way::Direct,
    Way::Own,
    Way::Pieces,
    Way::Session,
    Way::Shared,
];

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Direct => "postgresql",
            Self::Own => "own",
            Self::Pieces => "pieces",
            Self::Session => "session",
            Self::Shared => "shared",
        }
    }
}

/// What a transcript is played for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Plays {
    /// To see whether the answers are those that were expected.
    Checks,
    /// To write them down.
    Records,
}

/// A case: its head, and its lines.
#[derive(Clone, Debug)]
struct Case {
    name: String,
    lines: Vec<String>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire/transcripts")
}

const DIFFERENT: &str = "different";

fn files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|file| file.extension().is_some_and(|end| end == "txt"))
        .filter(|file| theme(file) != DIFFERENT)
        .collect();
    files.sort();
    files
}

fn theme(file: &Path) -> String {
    file.file_stem().unwrap().to_string_lossy().into_owned()
}

/// What stands before the first case, and the cases.
fn cases(text: &str) -> (String, Vec<Case>) {
    let (mut head, mut cases) = (String::new(), Vec::<Case>::new());
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("== ") {
            cases.push(Case {
                name: name.to_owned(),
                lines: Vec::new(),
            });
        } else if let Some(case) = cases.last_mut() {
            case.lines.push(line.to_owned());
        } else {
            writeln!(head, "{line}").unwrap();
        }
    }
    (head, cases)
}

/// The cases that Tenantry answers otherwise, by theme, name and way; `theme: name: own shared`.
fn different() -> BTreeMap<(String, String), Case> {
    let text = std::fs::read_to_string(folder().join("different.txt")).unwrap();
    let mut different = BTreeMap::new();
    for case in cases(&text).1 {
        let parts: Vec<&str> = case.name.splitn(3, ": ").collect();
        let [ways, theme, name] = parts.as_slice() else {
            panic!("{}: ways: theme: name", case.name);
        };
        for way in ways.split(' ') {
            let key = (way.to_owned(), format!("{theme}: {name}"));
            different.insert(key, case.clone());
        }
    }
    different
}

fn check(file: &Path, way: Way) {
    let text = std::fs::read_to_string(file).unwrap();
    let (head, cases) = cases(&text);
    let different = different();
    let stage = Stage::new(way);
    let rewrites = std::env::var_os("REWRITE").is_some();
    let plays = if rewrites && way == Way::Direct {
        Plays::Records
    } else {
        Plays::Checks
    };
    let (mut found, mut wrong) = (head, String::new());
    let mut others = 0;
    for case in cases {
        let is_own = case.name.ends_with("(own)");
        if is_own && way == Way::Shared {
            continue;
        }
        let name = case.name.trim_end_matches(" (own)");
        let key = (way.name().to_owned(), format!("{}: {name}", theme(file)));
        let other = different.get(&key);
        others += usize::from(other.is_some());
        let expected = other.unwrap_or(&case);
        stage.renew();
        let played = Player::new(&stage, plays).play(expected);
        if played != expected.lines && rewrites && way != Way::Direct {
            add_different(&format!("{}: {}: {name}", way.name(), theme(file)), &played);
        } else if played != expected.lines {
            write!(wrong, "{}", difference(&case.name, expected, &played)).unwrap();
        }
        writeln!(found, "== {}", case.name).unwrap();
        for line in played {
            writeln!(found, "{line}").unwrap();
        }
    }
    if plays == Plays::Records {
        std::fs::write(file, found).unwrap();
        return;
    }
    if others > 0 {
        println!(
            "{} {}: {others} answers differ by intent",
            theme(file),
            way.name()
        );
    }
    assert!(wrong.is_empty(), "{} {}:\n{wrong}", theme(file), way.name());
}

/// Adds a case to those that Tenantry answers otherwise; why it does is to be written there.
fn add_different(name: &str, played: &[String]) {
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap();
    let file = folder().join("different.txt");
    let mut text = std::fs::read_to_string(&file).unwrap();
    writeln!(text, "== {name}\n# why?\n{}", played.join("\n")).unwrap();
    std::fs::write(file, text).unwrap();
}

fn difference(name: &str, expected: &Case, played: &[String]) -> String {
    let same = expected.lines.iter().zip(played);
    let at = same
        .take_while(|(expected, played)| expected == played)
        .count();
    let from = |lines: &[String]| {
        let shown: Vec<String> = lines.iter().skip(at).take(6).cloned().collect();
        shown.join("\n    ")
    };
    format!(
        "== {name}\n  expected from line {}:\n    {}\n  found:\n    {}\n",
        at + 1,
        from(&expected.lines),
        from(played)
    )
}

/// Where a transcript is played.
struct Stage {
    way: Way,
    proxy: Proxy,
    runtime: tokio::runtime::Runtime,
    superusers: Vec<tokio_postgres::Client>,
}

/// What both databases hold, and what is there at the beginning of each case.
const OWN_TABLE: &str = "CREATE TABLE pairs (id integer PRIMARY KEY, body text)";
const SHARED_TABLE: &str = "CREATE TABLE pairs (tenant_id integer NOT NULL, id integer, body text, \
                            PRIMARY KEY (tenant_id, id))";
const OWN_ROWS: &str = "TRUNCATE pairs; INSERT INTO pairs VALUES (1, 'one'), (2, 'two'), (3, NULL)";
const SHARED_ROWS: &str = "TRUNCATE pairs; INSERT INTO pairs VALUES (1, 1, 'one'), (1, 2, 'two'), (1, 3, NULL), \
                           (2, 1, 'CANARY'), (2, 9, 'CANARY'), (3, 2, 'CANARY')";

impl Stage {
    fn new(way: Way) -> Self {
        let settings = Settings {
            pool_mode: if way == Way::Session {
                "session"
            } else {
                "transaction"
            },
            ..Settings::default()
        };
        let proxy = Proxy::start(settings);
        proxy.database.execute(OWN_TABLE);
        proxy.shared.execute(SHARED_TABLE);
        proxy.reload();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let superusers = runtime
            .block_on(async { vec![proxy.database.connect().await, proxy.shared.connect().await] });
        Self {
            way,
            proxy,
            runtime,
            superusers,
        }
    }

    /// Every case begins with the same rows.
    fn renew(&self) {
        for (client, rows) in self.superusers.iter().zip([OWN_ROWS, SHARED_ROWS]) {
            self.runtime.block_on(client.batch_execute(rows)).unwrap();
        }
    }

    fn send(&self, raw: &mut Raw, bytes: &[u8]) {
        let step = match self.way {
            Way::Pieces => (bytes.len() / 500).max(1),
            Way::Direct | Way::Own | Way::Session | Way::Shared => bytes.len().max(1),
        };
        for piece in bytes.chunks(step) {
            raw.send(piece);
        }
    }

    /// The port, user, password and database of a client.
    fn login(&self) -> (u16, &str, &str, &str) {
        match self.way {
            Way::Direct => (
                crate::support::port(),
                "postgres",
                "",
                self.proxy.database.name(),
            ),
            Way::Own | Way::Pieces | Way::Session => (self.proxy.port, "app", PASSWORD, "own"),
            Way::Shared => (self.proxy.port, "app", PASSWORD, "a"),
        }
    }
}

struct Player<'s> {
    stage: &'s Stage,
    plays: Plays,
    clients: BTreeMap<String, Raw>,
    current: String,
    closed: BTreeSet<String>,
}

impl<'s> Player<'s> {
    fn new(stage: &'s Stage, plays: Plays) -> Self {
        Self {
            stage,
            plays,
            clients: BTreeMap::new(),
            current: String::new(),
            closed: BTreeSet::new(),
        }
    }

    /// The case with what is answered in place of what was expected.
    fn play(mut self, case: &Case) -> Vec<String> {
        let mut played = Vec::new();
        let mut lines = case.lines.iter().peekable();
        while let Some(line) = lines.next() {
            if line.is_empty() || line.starts_with('#') {
                played.push(line.clone());
            } else if let Some(client) = line.strip_prefix("@ ") {
                client.clone_into(&mut self.current);
                played.push(line.clone());
            } else if line.starts_with("> ") {
                let mut block = vec![line.clone()];
                while let Some(next) = lines.next_if(|line| line.starts_with("> ")) {
                    block.push(next.clone());
                }
                let is_answer =
                    |line: &&String| !line.is_empty() && !line.starts_with(['#', '>', '@']);
                let mut expected = Vec::new();
                while let Some(next) = lines.next_if(is_answer) {
                    expected.push(next.clone());
                }
                let answers = self.exchange(&block, &expected);
                played.extend(block);
                played.extend(answers);
            } else {
                // What was answered to nothing.
                assert!(self.plays == Plays::Records, "{line}: an answer to nothing");
            }
        }
        self.end(&mut played);
        played
    }

    fn exchange(&mut self, block: &[String], expected: &[String]) -> Vec<String> {
        let mut found = Vec::new();
        let mut bytes = Vec::new();
        let mut reads = false;
        let (port, user, password, database) = self.stage.login();
        for line in block {
            match sent(line.strip_prefix("> ").unwrap(), user, database) {
                Sent::Message(message) => bytes.extend_from_slice(&message),
                Sent::Asks(message) => {
                    let raw = self.unnamed();
                    raw.send(&message);
                    found.push(raw.byte().map_or("(closed)".to_owned(), String::from));
                }
                Sent::Connects(message) => {
                    let stage = self.stage;
                    let raw = self.unnamed();
                    stage.send(raw, &message);
                    found.extend(startup(raw, (user, password)));
                }
                Sent::Cancels(client) => {
                    let key = &self.clients[&client].key;
                    let mut raw = Raw::connect(port);
                    raw.send(&untagged(80_877_102, key));
                    assert_eq!(raw.message(), None, "an answer to a cancel request");
                }
                Sent::Leaves => {
                    self.clients.remove(&self.current);
                }
                Sent::Reads => reads = true,
                Sent::Waits(time) => std::thread::sleep(Duration::from_millis(time)),
            }
        }
        let is_open = found.last().is_none_or(|last| last != "(closed)");
        if is_open && (!bytes.is_empty() || reads) {
            let raw = self.clients.entry(self.current.clone());
            let raw = raw.or_insert_with(|| Raw::log_in(port, user, password, database).unwrap());
            self.stage.send(raw, &bytes);
            let left = expected.get(found.len()..).unwrap_or_default();
            found.extend(read(raw, left, self.plays));
        }
        if found.last().is_some_and(|last| last == "(closed)") {
            self.closed.insert(self.current.clone());
        }
        found
    }

    /// The present client, which does not log in by itself.
    fn unnamed(&mut self) -> &mut Raw {
        let (port, ..) = self.stage.login();
        let raw = self.clients.entry(self.current.clone());
        raw.or_insert_with(|| Raw::connect(port))
    }

    /// Nothing is left to be told, but of a connection that has ended.
    fn end(mut self, played: &mut Vec<String>) {
        for (name, raw) in &mut self.clients {
            if self.closed.contains(name) {
                continue;
            }
            raw.send(&super::raw::sync());
            let left: Vec<String> = raw.until_ready().iter().map(shown).collect();
            if left.len() != 1 || !left[0].starts_with("Ready") {
                played.push(format!("and more {name}: {left:?}"));
            }
        }
    }
}

/// As many messages as are expected; all that come within a moment when they are recorded.
fn read(raw: &mut Raw, expected: &[String], plays: Plays) -> Vec<String> {
    let mut found = Vec::new();
    loop {
        if plays == Plays::Checks && found.len() >= expected.len() {
            break;
        }
        if plays == Plays::Records && raw.is_quiet(Duration::from_millis(250)) {
            break;
        }
        if raw.is_quiet(Duration::from_secs(8)) {
            found.push("(silence)".to_owned());
            break;
        }
        let Some(message) = raw.message() else {
            found.push("(closed)".to_owned());
            break;
        };
        found.push(shown(&message));
    }
    found
}

/// What a startup message is answered; how one logs in is left out, and parameters are sorted.
fn startup(raw: &mut Raw, (user, password): (&str, &str)) -> Vec<String> {
    let mut found = Vec::new();
    let mut parameters = Vec::new();
    let told = raw.greet(password, |message| match message.tag {
        'S' => parameters.push(shown(message)),
        'R' => {}
        _ => found.push(shown(message)),
    });
    if !told {
        found.push("(closed)".to_owned());
    }
    parameters.sort();
    parameters.extend(found);
    parameters
        .into_iter()
        .map(|line| line.replace(&format!("\"{user}\""), "\"$user\""))
        .map(|line| {
            line.replace(
                &format!("session_authorization={user}"),
                "session_authorization=$user",
            )
        })
        .collect()
}
