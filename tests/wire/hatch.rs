//! The escape hatch: transcripts of what admins send and what they are answered, in both protocols.
//!
//! A transcript is a file of `tests/wire/hatch`. Its lines:
//!
//! - `# ..`: a remark;
//! - `== login@database`: what follows is sent by this client, which logs in when it is first named;
//! - `== leave login@database`: this client disconnects;
//! - `== revoke NAME`: the grant's file is taken away, and the proxy reads the files again;
//! - `== grant NAME FILE`: the grant is now as this file of `tests/wire/hatch/grants` says;
//! - `.. beside FILE`: of these two, while this other file cannot be read;
//! - `== wait N`: for N milliseconds;
//! - `> sql`: one Query, or Parse to Sync. What it is answered follows: rows, notices (`-`), the command tag
//!   or the error (`!`), and the state of the transaction where there is one;
//! - `simple> sql`: the same in the simple protocol only.
//!
//! `REWRITE=1 ./bin/test hatch` writes what is found into the files, to be reviewed as a diff.

mod attacks;
mod generated;
mod log;
mod truth;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use libtest_mimic::Trial;
use tenantry::bypass::Timestamp;

use super::proxy::{PASSWORD, Proxy, Settings};
use super::raw::{Message, Raw, bind, execute, message, parse, query, sync};

/// The trials.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for file in transcripts() {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        for protocol in [Protocol::Simple, Protocol::Extended] {
            let file = file.clone();
            let title = format!("wire::hatch::{name}::{protocol:?}").to_lowercase();
            trials.push(Trial::test(title, move || {
                check(&file, protocol);
                Ok(())
            }));
        }
    }
    trials.extend(attacks::trials());
    trials.extend(generated::trials());
    trials.extend(log::trials());
    trials.extend(truth::trials());
    trials
}

const ADMINS: &str = "[audit]\nfile = \"audit/audit.jsonl\"\n\
    [[login]]\nname = \"anna\"\npassword = { file = \"secret\" }\nrole = \"admin\"\n\
    [[login]]\nname = \"ben\"\npassword = { file = \"secret\" }\nrole = \"admin\"\n";

/// A proxy with two admins and all the grants.
fn proxy() -> Proxy {
    proxy_before(None)
}

/// The same in front of a server at another port.
fn proxy_before(server_port: Option<u16>) -> Proxy {
    let settings = Settings {
        main: ADMINS,
        server_port,
        ..Settings::default()
    };
    let grants: Vec<(String, String)> = files(&folder().join("grants"))
        .iter()
        .map(|file| {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            (format!("grants/{name}"), grant(file))
        })
        .collect();
    let named: Vec<(&str, String)> = grants
        .iter()
        .filter(|(name, _)| !name.contains('+'))
        .map(|(name, content)| (name.as_str(), content.clone()))
        .collect();
    Proxy::start_with(settings, &named)
}

fn admin(proxy: &Proxy) -> Raw {
    Raw::log_in(proxy.port, "anna", PASSWORD, "main").unwrap()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire/hatch")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|file| file.is_file())
        .collect();
    files.sort();
    files
}

fn transcripts() -> Vec<PathBuf> {
    let is_transcript = |file: &PathBuf| file.extension().is_some_and(|end| end == "txt");
    files(&folder()).into_iter().filter(is_transcript).collect()
}

/// A grant's file, in which `+N` stands for the moment N milliseconds from now.
fn grant(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    let moment = |line: &str| {
        let (key, offset) = line.split_once(" = +")?;
        Some(format!("{key} = {}", from_now(offset.parse().unwrap())))
    };
    text.lines()
        .map(|line| moment(line).unwrap_or_else(|| line.to_owned()) + "\n")
        .collect()
}

fn from_now(milliseconds: i64) -> Timestamp {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = i64::try_from(now.unwrap().as_micros()).unwrap();
    Timestamp::from_microseconds(now + milliseconds * 1000)
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Protocol {
    Extended,
    Simple,
}

fn check(file: &Path, protocol: Protocol) {
    let expected = std::fs::read_to_string(file).unwrap();
    let found = Player {
        proxy: proxy(),
        protocol,
        clients: BTreeMap::new(),
        current: String::new(),
    }
    .play(&expected);
    if found != expected && std::env::var_os("REWRITE").is_some() {
        std::fs::write(file, &found).unwrap();
        return;
    }
    let differs = || {
        let pairs = expected.lines().zip(found.lines());
        let line = pairs.take_while(|(expected, found)| expected == found);
        let at = line.count();
        let from = |text: &str| text.lines().skip(at).take(4).collect::<Vec<_>>().join("\n");
        format!(
            "line {}:\n{}\n--\n{}",
            at + 1,
            from(&expected),
            from(&found)
        )
    };
    assert!(found == expected, "{} {}", file.display(), differs());
}

struct Player {
    proxy: Proxy,
    protocol: Protocol,
    clients: BTreeMap<String, Raw>,
    current: String,
}

impl Player {
    fn play(&mut self, script: &str) -> String {
        let mut found = String::new();
        let mut skipping = false;
        for line in script.lines() {
            if let Some(directive) = line.strip_prefix("== ") {
                self.direct(directive);
            }
            let simple = line.strip_prefix("simple> ");
            let sql = line.strip_prefix("> ").or(simple);
            let is_kept = sql.is_some() || line.is_empty() || line.starts_with(['#', '=']);
            if is_kept {
                skipping = false;
                writeln!(found, "{line}").unwrap();
            }
            if let Some(sql) = sql {
                match (simple, self.protocol) {
                    // What it is answered there is known from the other run.
                    (Some(_), Protocol::Extended) => skipping = true,
                    (_, protocol) => found += &self.answer(sql, protocol),
                }
            } else if !is_kept && skipping {
                writeln!(found, "{line}").unwrap();
            }
        }
        found
    }

    fn direct(&mut self, directive: &str) {
        let words: Vec<&str> = directive.split(' ').collect();
        match words.as_slice() {
            ["wait", time] => std::thread::sleep(Duration::from_millis(time.parse().unwrap())),
            ["revoke", name] => self.proxy.reload_with(&format!("grants/{name}.toml"), None),
            ["revoke", name, "beside", spoilt] => {
                let name = format!("grants/{name}.toml");
                self.proxy.reload_beside(spoilt, &name, None);
            }
            ["grant", name, file, "beside", spoilt] => {
                let content = grant(&folder().join("grants").join(file));
                let name = format!("grants/{name}.toml");
                self.proxy.reload_beside(spoilt, &name, Some(&content));
            }
            ["grant", name, file] => {
                let content = grant(&folder().join("grants").join(file));
                let name = format!("grants/{name}.toml");
                self.proxy.reload_with(&name, Some(&content));
            }
            ["leave", client] => drop(self.clients.remove(*client)),
            [client] => {
                let port = self.proxy.port;
                let (login, database) = client.split_once('@').unwrap();
                (*client).clone_into(&mut self.current);
                self.clients
                    .entry(self.current.clone())
                    .or_insert_with(|| Raw::log_in(port, login, PASSWORD, database).unwrap());
            }
            other => panic!("{other:?}"),
        }
    }

    fn answer(&mut self, sql: &str, protocol: Protocol) -> String {
        let raw = self.clients.get_mut(&self.current).unwrap();
        match protocol {
            Protocol::Simple => raw.send(&query(sql)),
            Protocol::Extended => raw.send(
                &[
                    parse("", sql),
                    bind("", &[]),
                    message('D', b"P\0"),
                    execute(),
                    sync(),
                ]
                .concat(),
            ),
        }
        let mut text = String::new();
        for message in raw.until_ready() {
            if let Some(line) = shown(&message) {
                writeln!(text, "{line}").unwrap();
            }
        }
        text
    }
}

/// A message as a transcript shows it.
fn shown(message: &Message) -> Option<String> {
    let field = |code| message.field(code).unwrap_or_default();
    let text = || {
        let text = String::from_utf8_lossy(&message.body);
        text.trim_end_matches('\0').to_owned()
    };
    match message.tag {
        'D' => {
            let values = message.values();
            let shown = values
                .iter()
                .map(|value| if value.is_empty() { "''" } else { value });
            Some(without_time(&shown.collect::<Vec<_>>().join(" | ")))
        }
        'C' => Some(text()),
        'd' => Some(text().trim_end().replace('\t', " | ")),
        'E' => Some(format!("! {} {}", field('C'), field('M'))),
        'N' => Some(format!("- {} {}", field('S'), field('M'))),
        'I' => Some("(empty)".to_owned()),
        'Z' if message.body == b"I" => None,
        'Z' => Some(format!("[{}]", text())),
        _ => None,
    }
}

/// The time that is left is another one each time.
fn without_time(value: &str) -> String {
    match value.rsplit_once("; ") {
        Some((before, left)) if left.ends_with(" left") => format!("{before}; .. left"),
        Some(_) | None => value.to_owned(),
    }
}
