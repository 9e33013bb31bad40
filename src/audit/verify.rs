//! Proving a log whole, without its writer.
//!
//! # Not here
//! An attacker who may write the log can also write its head: what such a one can still hide is shown
//! only by an anchor that is kept elsewhere ([`Known::at_least`]).

use std::fs::OpenOptions;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use super::chain::Anchor;
use super::fault::LogFault;
use super::files::{self, Missing, Names, Writer};
use super::walk::{self, End, Tail, walk};

/// What is known of a log from elsewhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// The last record of the files that were put into an archive; none if all files are here.
    pub after: Option<Anchor>,
    /// A record that must be there.
    pub at_least: Option<Anchor>,
}

/// What was found.
#[derive(Debug)]
pub struct Report {
    /// Files with records.
    pub files: usize,
    /// Records that follow from each other.
    pub records: u64,
    /// The last of them.
    pub last: Option<Anchor>,
    /// Records that seal what a crash tore: their numbers, and how many bytes are torn.
    pub seals: Vec<(u64, u64)>,
    /// Records behind the head: the proxy was killed, or is about to write the head.
    pub behind_head: u64,
    /// Whether the end is just being written.
    pub is_being_written: bool,
    /// What is wrong.
    pub finding: Option<Finding>,
}

/// Where a log is broken.
#[derive(Debug, Error)]
#[error("{}{}: {broken}", file.display(), line.map_or_else(String::new, |line| format!(":{line}")))]
pub struct Finding {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: Option<u64>,
    /// What is wrong.
    #[source]
    pub broken: Broken,
}

/// What is wrong with a log.
#[derive(Debug, Error)]
pub enum Broken {
    /// The beginning of a record ends the file.
    #[error(
        "record {record} is cut short; if a crash did that, the next start of the proxy seals it"
    )]
    Cut {
        /// Its number.
        record: u64,
    },
    /// A record has another hash than is known from elsewhere.
    #[error("record {} is another one than {of} says: {known}", known.seq)]
    Differs {
        /// What knows it.
        of: &'static str,
        /// What it knows.
        known: Anchor,
    },
    /// Files are missing.
    #[error(
        "records 1 to {last} are not here; if they were archived, name the last one with --after"
    )]
    Early {
        /// The last one that is missing.
        last: u64,
    },
    /// A file cannot be read, or is none.
    #[error("{0}")]
    File(String),
    /// Records at the end are missing.
    #[error("the last record is {last}, but {of} says {}: the end is missing", known.seq)]
    Missing {
        /// What knows more.
        of: &'static str,
        /// What it knows.
        known: Anchor,
        /// The last record that is there.
        last: u64,
    },
    /// There is no log.
    #[error("there is no log")]
    NoLog,
    /// A record is not the one that was written there.
    #[error(
        "record {record} does not follow from the one before: it was changed, dropped or moved"
    )]
    Record {
        /// Its number.
        record: u64,
    },
}

/// Reads all files of a log. A proxy that is writing it may go on; what it does meanwhile is no finding.
pub fn verify(file: &Path, known: &Known) -> Report {
    let mut attempts = 5;
    loop {
        let (report, writer) = verify_once(file, known);
        attempts -= 1;
        // A file was renamed or the head was written while it was read.
        if report.finding.is_none() || writer == Writer::Away || attempts == 0 {
            return report;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn verify_once(file: &Path, known: &Known) -> (Report, Writer) {
    let mut verifier = Verifier {
        report: Report {
            files: 0,
            records: 0,
            last: None,
            seals: Vec::new(),
            behind_head: 0,
            is_being_written: false,
            finding: None,
        },
        writer: Writer::Away,
        wanted: Vec::new(),
    };
    verifier.report.finding = verifier.all(file, known).err();
    (verifier.report, verifier.writer)
}

struct Verifier {
    report: Report,
    writer: Writer,
    wanted: Vec<Wanted>,
}

/// A record that must be there.
struct Wanted {
    of: &'static str,
    known: Anchor,
    found: Option<Anchor>,
}

impl Verifier {
    fn all(&mut self, file: &Path, known: &Known) -> Result<(), Finding> {
        let names = Names::new(file).map_err(|fault| finding(file, &fault))?;
        // The head first: what is written meanwhile comes on top of it.
        let head = files::read_head(&names).map_err(|fault| finding(&names.head(), &fault))?;
        let files = names.list();
        let files = files.map_err(|error| unread(names.directory(), &error))?;
        let Some((head, writer)) = head else {
            return Err(if files.is_empty() {
                broken(file, Broken::NoLog)
            } else {
                finding(&names.head(), &LogFault::NoHead(names.head()))
            });
        };
        self.writer = writer;
        self.want("its head", head);
        if let Some(anchor) = known.at_least {
            self.want("the given anchor", anchor);
        }
        let mut last = None;
        for path in &files {
            self.report.files += 1;
            let before = last.or(known.after);
            let end = self.file(path, before)?;
            let is_current = *path == names.current();
            let writer = if is_current { writer } else { Writer::Away };
            self.check_end(path, &end, writer)?;
            last = Some(end.last);
        }
        let last = last.unwrap_or(Anchor::START);
        self.report.last = Some(last);
        self.report.behind_head = last.seq.saturating_sub(head.seq);
        self.check_wanted(&names.current(), last)
    }

    fn want(&mut self, of: &'static str, known: Anchor) {
        let found = (known == Anchor::START).then_some(known);
        self.wanted.push(Wanted { of, known, found });
    }

    /// One file, after what is known to be before it.
    fn file(&mut self, path: &Path, before: Option<Anchor>) -> Result<End, Finding> {
        let options = &mut OpenOptions::new();
        let file = files::open(path, Missing::Fails, options.read(true));
        let mut reader = BufReader::new(file.map_err(|fault| finding(path, &fault))?);
        let before = match before {
            Some(before) => before,
            None => match walk::before(&mut reader).map_err(|error| unread(path, &error))? {
                Anchor::START => Anchor::START,
                Anchor { seq: last, .. } => return Err(broken(path, Broken::Early { last })),
            },
        };
        let (report, wanted) = (&mut self.report, &mut self.wanted);
        let mut note = |anchor: Anchor| {
            for wanted in wanted.iter_mut().filter(|it| it.known.seq == anchor.seq) {
                wanted.found = Some(anchor);
            }
        };
        note(before);
        let end = walk(&mut reader, before, &mut |record| {
            report.records += 1;
            if let Some(bytes) = record.sealed {
                report.seals.push((record.anchor.seq, bytes));
            }
            note(record.anchor);
            Ok(())
        });
        end.map_err(|error| unread(path, &error))
    }

    fn check_end(&mut self, path: &Path, end: &End, writer: Writer) -> Result<(), Finding> {
        let last = end.last.seq;
        let (line, broken) = match end.tail {
            Tail::End => return Ok(()),
            Tail::Torn(torn) if torn.line_feeds > 0 => {
                (end.lines + 1, Broken::Record { record: last + 1 })
            }
            Tail::Torn(_) => (end.lines + 1, Broken::Cut { record: last + 1 }),
            Tail::Unended => (end.lines, Broken::Cut { record: last }),
        };
        // A record that the head vouches for must be whole; what lies behind it may be on its way.
        let head = self.wanted.first().map_or(0, |head| head.known.seq);
        if writer == Writer::Present && head <= last {
            self.report.is_being_written = true;
            return Ok(());
        }
        Err(Finding {
            file: path.to_owned(),
            line: Some(line),
            broken,
        })
    }

    fn check_wanted(&self, current: &Path, last: Anchor) -> Result<(), Finding> {
        for Wanted { of, known, found } in &self.wanted {
            let (of, known) = (*of, *known);
            match found {
                Some(found) if *found == known => {}
                None if known.seq > last.seq => {
                    let last = last.seq;
                    return Err(broken(current, Broken::Missing { of, known, last }));
                }
                Some(_) | None => return Err(broken(current, Broken::Differs { of, known })),
            }
        }
        Ok(())
    }
}

fn broken(file: &Path, broken: Broken) -> Finding {
    Finding {
        file: file.to_owned(),
        line: None,
        broken,
    }
}

fn unread(file: &Path, error: &io::Error) -> Finding {
    broken(file, Broken::File(error.to_string()))
}

/// What keeps a proxy from writing a log keeps it from being proved, too.
fn finding(file: &Path, fault: &LogFault) -> Finding {
    broken(file, Broken::File(fault.to_string()))
}
