//! `tenantry corpus`: what would become of the statements of a log.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::rewrite::{Judge, judge};
use super::{Outcome, Terminal};
use crate::isolate::legible;
use crate::isolate::refusal::Refusal;

#[derive(Args, Debug)]
pub(super) struct Corpus {
    /// The configuration directory; without it, statements are only read.
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,
    /// The tenant whose statements they are; without it, one of shared tables.
    #[arg(long, value_name = "NAME", requires = "config")]
    tenant: Option<String>,
    /// A file that `tenantry catalog` wrote; without it, the tenant's upstream is asked.
    #[arg(long, value_name = "FILE", requires = "config")]
    catalog: Option<PathBuf>,
    /// A log: JSON lines with `sql`, PostgreSQL's csvlog, or one statement on each line.
    file: PathBuf,
}

/// What stands at a place of a log.
#[derive(Debug, Eq, PartialEq)]
enum Entry {
    /// No statement could be found where one must be.
    Odd { line: u64 },
    /// A statement; the first line is 1.
    Statement { line: u64, sql: String },
}

type Entries = Box<dyn Iterator<Item = io::Result<Entry>>>;

impl Corpus {
    pub(super) fn run(&self, terminal: &mut Terminal<'_>) -> io::Result<Outcome> {
        let judge = match &self.config {
            None => None,
            Some(config) => match judge(config, self.tenant.as_deref(), self.catalog.as_deref())? {
                Ok(judge) => Some(judge),
                Err(stopped) => return stopped.tell(terminal),
            },
        };
        let mut totals = Totals::default();
        for entry in entries(&self.file)? {
            match entry? {
                Entry::Statement { line, sql } => {
                    let verdict = totals.count(line, &sql, judge.as_ref());
                    writeln!(terminal.out, "{verdict}")?;
                }
                Entry::Odd { line } => {
                    totals.odd += 1;
                    writeln!(terminal.err, "tenantry: no statement on line {line}")?;
                }
            }
        }
        writeln!(terminal.out, "{}", totals.json())?;
        Ok(totals.outcome())
    }
}

/// What was counted.
#[derive(Debug, Default)]
struct Totals {
    /// How many were admitted, or read.
    fine: BTreeMap<&'static str, u64>,
    /// How many were refused, by code and reason.
    refused: BTreeMap<(&'static str, String), u64>,
    /// Lines without a statement.
    odd: u64,
}

impl Totals {
    /// Decides on a statement; gives the line that tells it.
    fn count(&mut self, line: u64, sql: &str, judge: Option<&Judge>) -> Value {
        let verdict = match judge {
            None => legible(sql.as_bytes()).map(|()| "read"),
            Some(judge) => judge.admits(sql).map(|()| "admitted"),
        };
        match verdict {
            Ok(verdict) => {
                *self.fine.entry(verdict).or_default() += 1;
                json!({ "line": line, "verdict": verdict, "sql": sql })
            }
            Err(refusal) => self.refuse(line, sql, &refusal),
        }
    }

    fn refuse(&mut self, line: u64, sql: &str, refusal: &Refusal) -> Value {
        let (code, reason) = (refusal.code(), refusal.to_string());
        let told = json!({
            "line": line,
            "verdict": "refused",
            "code": code,
            "reason": reason,
            "hint": refusal.hint(),
            "sql": sql,
        });
        *self.refused.entry((code, reason)).or_default() += 1;
        told
    }

    /// All in one line, the most frequent refusal first.
    fn json(&self) -> Value {
        let mut refused: Vec<_> = self.refused.iter().collect();
        refused.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let by_reason: Vec<Value> = refused
            .iter()
            .map(|((code, reason), count)| {
                json!({ "code": code, "reason": reason, "statements": count })
            })
            .collect();
        let mut totals = json!({
            "refused": self.refused.values().sum::<u64>(),
            "by_reason": by_reason,
            "lines_without_statement": self.odd,
        });
        if let Some(members) = totals.as_object_mut() {
            for (verdict, count) in &self.fine {
                members.insert((*verdict).to_owned(), json!(count));
            }
        }
        json!({ "totals": totals })
    }

    fn outcome(&self) -> Outcome {
        if self.refused.is_empty() && self.odd == 0 {
            Outcome::Fine
        } else {
            Outcome::Findings
        }
    }
}

/// Reads a log. What it is made of is seen by how it begins.
fn entries(file: &Path) -> io::Result<Entries> {
    let mut input = BufReader::new(File::open(file)?);
    let begin = input.fill_buf()?;
    let first = begin
        .iter()
        .copied()
        .find(|byte| !byte.is_ascii_whitespace());
    let line = begin
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    if first == Some(b'{') {
        Ok(each_line(input, in_json))
    } else if is_csvlog(line) {
        Ok(csvlog(input))
    } else {
        Ok(each_line(input, |line| Some(line.to_owned())))
    }
}

/// Statements that stand on a line each.
fn each_line(input: BufReader<File>, statement: fn(&str) -> Option<String>) -> Entries {
    let numbered = (1..).zip(input.lines());
    let entries = numbered.filter_map(move |(line, text)| {
        let text = match text {
            Ok(text) => text,
            Err(error) => return Some(Err(error)),
        };
        let is_empty = text.trim().is_empty();
        let entry = match statement(&text) {
            Some(sql) => Entry::Statement { line, sql },
            None => Entry::Odd { line },
        };
        (!is_empty).then_some(Ok(entry))
    });
    Box::new(entries)
}

fn in_json(line: &str) -> Option<String> {
    let record: Value = serde_json::from_str(line).ok()?;
    record.get("sql")?.as_str().map(str::to_owned)
}

/// The columns that matter, from 0, as PostgreSQL's manual lists them under "Using CSV-Format Log Output".
const SEVERITY: usize = 11;
const MESSAGE: usize = 13;
/// How many columns there are in the oldest version that is served; later ones append theirs.
const COLUMNS_MIN: usize = 23;

/// Whether a line begins as PostgreSQL begins its own: a time, and what a log in CSV has behind it.
fn is_csvlog(line: &[u8]) -> bool {
    let is_time = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'-' | b':' | b'.' | b' ');
    let time = line.iter().take_while(|byte| is_time(byte)).count();
    time >= "2026-01-01 00:00:00".len() && line.split(|byte| *byte == b',').count() > SEVERITY
}

fn csvlog(input: BufReader<File>) -> Entries {
    let reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(input);
    let entries = reader.into_records().filter_map(|record| {
        let record = match record {
            Ok(record) => record,
            Err(error) => return Some(Err(error.into())),
        };
        let line = record.position().map_or(0, csv::Position::line);
        if record.len() < COLUMNS_MIN {
            return Some(Ok(Entry::Odd { line }));
        }
        let is_log = record.get(SEVERITY) == Some("LOG");
        let sql = record.get(MESSAGE).filter(|_| is_log).and_then(logged)?;
        Some(Ok(Entry::Statement { line, sql }))
    });
    Box::new(entries)
}

/// The statement in a message of `log_statement` or `log_min_duration_statement`; nothing for any other. Of the
/// extended protocol it is the execution that counts, not the steps before.
fn logged(message: &str) -> Option<String> {
    let message = match message.strip_prefix("duration: ") {
        Some(timed) => timed.split_once(" ms")?.1.trim_start(),
        None => message,
    };
    if let Some(sql) = message.strip_prefix("statement: ") {
        return Some(sql.to_owned());
    }
    let named = message.strip_prefix("execute ")?;
    // A portal that is continued was counted when it began.
    let is_continued = named.starts_with("fetch from ");
    let (_name, sql) = named.split_once(": ").filter(|_| !is_continued)?;
    Some(sql.to_owned())
}
