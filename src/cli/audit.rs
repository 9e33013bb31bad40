//! `tenantry audit`: proves the audit log whole, and reads it.

use std::io;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::{Environment, Outcome, Terminal};
use crate::audit::{self, Anchor, Filter, Known, Line};
use crate::bypass::Timestamp;
use crate::config::{self, MissingSecret};

#[derive(Args, Debug)]
pub(super) struct Audit {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Show records, the oldest first.
    Show(Show),
    /// Prove that no record was changed, dropped or moved.
    Verify(Verify),
}

impl Audit {
    pub(super) fn run(&self, terminal: &mut Terminal<'_>) -> io::Result<Outcome> {
        match &self.command {
            AuditCommand::Show(command) => command.run(terminal),
            AuditCommand::Verify(command) => command.run(terminal),
        }
    }
}

/// Which log.
#[derive(Args, Debug)]
struct Log {
    #[command(flatten)]
    environment: Environment,
    /// The log, where no configuration names it.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
}

impl Log {
    fn file(&self, terminal: &mut Terminal<'_>) -> io::Result<Option<PathBuf>> {
        if let Some(file) = &self.file {
            return Ok(Some(file.clone()));
        }
        let directory = &self.environment.config;
        let audit = config::load(directory, MissingSecret::Warning).audit;
        if audit.is_none() {
            writeln!(
                terminal.err,
                "tenantry: {}: no [audit] that can be used; name the log with --file",
                directory.join("tenantry.toml").display()
            )?;
        }
        Ok(audit.map(|audit| audit.file))
    }
}

#[derive(Args, Debug)]
struct Verify {
    #[command(flatten)]
    log: Log,
    /// The last record of the files that were put into an archive.
    #[arg(long, value_name = "NUMBER:HASH")]
    after: Option<Anchor>,
    /// A record that must be there; it was noted elsewhere.
    #[arg(long, value_name = "NUMBER:HASH")]
    expect_at_least: Option<Anchor>,
}

impl Verify {
    fn run(&self, terminal: &mut Terminal<'_>) -> io::Result<Outcome> {
        let Some(file) = self.log.file(terminal)? else {
            return Ok(Outcome::WrongUse);
        };
        let report = audit::verify(
            &file,
            &Known {
                after: self.after,
                at_least: self.expect_at_least,
            },
        );
        for (seq, bytes) in &report.seals {
            writeln!(
                terminal.out,
                "record {seq} seals {bytes} bytes that a crash left before it"
            )?;
        }
        if report.is_being_written {
            writeln!(terminal.out, "a record is being written")?;
        } else if report.behind_head > 0 {
            writeln!(
                terminal.out,
                "{} records are behind the head: the proxy was killed, or is writing",
                report.behind_head
            )?;
        }
        if let Some(finding) = &report.finding {
            writeln!(terminal.out, "{finding}")?;
            return Ok(Outcome::Findings);
        }
        writeln!(
            terminal.out,
            "{}: whole: {} records in {} files{}",
            file.display(),
            report.records,
            report.files,
            report
                .last
                .map_or_else(String::new, |last| format!("; the last one is {last}")),
        )?;
        Ok(Outcome::Fine)
    }
}

#[derive(Args, Debug)]
struct Show {
    #[command(flatten)]
    log: Log,
    /// From this moment on: a date, or a date and a time with an offset.
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Of this login.
    #[arg(long, value_name = "LOGIN")]
    who: Option<String>,
    /// That concern this tenant.
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// Under this grant.
    #[arg(long, value_name = "NAME")]
    grant: Option<String>,
    /// The lines as they are written.
    #[arg(long)]
    json: bool,
}

impl Show {
    fn run(&self, terminal: &mut Terminal<'_>) -> io::Result<Outcome> {
        let Some(file) = self.log.file(terminal)? else {
            return Ok(Outcome::WrongUse);
        };
        let filter = Filter {
            since: self.since,
            who: self.who.clone(),
            tenant: self.tenant.clone(),
            grant: self.grant.clone(),
        };
        let mut outcome = Outcome::Fine;
        audit::show(&file, &filter, &mut |line| match line {
            Line::Record { text } if self.json => writeln!(terminal.out, "{text}"),
            Line::Record { text } => writeln!(terminal.out, "{}", described(text)),
            Line::Unreadable { bytes } => {
                outcome = Outcome::Findings;
                writeln!(
                    terminal.err,
                    "{}: {bytes} bytes are no record",
                    file.display()
                )
            }
        })?;
        Ok(outcome)
    }
}

/// A record on one line: who and where first, what was sent last.
fn described(line: &str) -> String {
    const FIRST: &[&str] = &[
        "time", "seq", "event", "who", "login", "client", "session", "grant", "tenant", "tenants",
        "sqlstate", "code",
    ];
    const LAST: &[&str] = &[
        "message",
        "reason",
        "shape",
        "statement",
        "sent",
        "parameters",
    ];
    let fields: Map<String, Value> = serde_json::from_str(line).unwrap_or_default();
    let named = |names: &'static [&'static str]| {
        let found = |name: &&'static str| Some((*name, fields.get(*name)?));
        names.iter().filter_map(found).collect::<Vec<_>>()
    };
    let others = fields
        .iter()
        .map(|(name, value)| (name.as_str(), value))
        .filter(|(name, _)| !FIRST.contains(name) && !LAST.contains(name) && *name != "hash");
    let ordered = named(FIRST).into_iter().chain(others).chain(named(LAST));
    let words: Vec<String> = ordered
        .map(|(name, value)| match (name, value) {
            ("time" | "event", Value::String(text)) => text.clone(),
            (_, Value::String(text)) if is_plain(text) => format!("{name}={text}"),
            (_, value) => format!("{name}={value}"),
        })
        .collect();
    printable(&words.join(" "))
}

/// Whether a text can stand without quotes.
fn is_plain(text: &str) -> bool {
    let is_plain = |c: char| c.is_alphanumeric() || "_-.:/@+*[]".contains(c);
    !text.is_empty() && text.chars().all(is_plain)
}

/// The text with everything escaped that is no plain sign: control characters, and those that turn the
/// direction of writing.
fn printable(text: &str) -> String {
    let is_turn = |c: char| matches!(c, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || is_turn(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::{described, printable};

    #[test]
    fn a_record_is_one_line() {
        let line = r#"{"hash":"00","seq":1,"time":"2026-12-01T00:00:00.000000Z","event":"refused",
            "statement":"SELECT\n1","who":"ops anna","client":"[::1]:1","rows":5}"#;
        assert_eq!(
            described(line),
            "2026-12-01T00:00:00.000000Z seq=1 refused who=\"ops anna\" client=[::1]:1 rows=5 \
             statement=\"SELECT\\n1\""
        );
    }

    #[test]
    fn a_terminal_is_not_moved() {
        let shown = printable("a\n\u{1b}[2J\u{9b}\u{202e}ü");
        assert_eq!(shown, "a\\n\\u{1b}[2J\\u{9b}\\u{202e}ü");
    }
}
