//! Reading a file of the log, record by record.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};

use sha2::{Digest, Sha256};

use super::LINE_BYTES_MAX;
use super::chain::{self, Anchor, Entry};
use crate::bypass::{AuditRecord, Sha256Hash};

/// One record of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) anchor: Anchor,
    /// Where the line ends.
    pub(super) end: u64,
    /// How many bytes before it are no record, where it seals some.
    pub(super) sealed: Option<u64>,
}

/// What a file ends with.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    /// The last record.
    pub(super) last: Anchor,
    /// Its line's number, from 1; 0 if there is none.
    pub(super) lines: u64,
    /// What stands behind it.
    pub(super) tail: Tail,
}

/// What stands behind the last record of a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Tail {
    /// Nothing, but the end of the file.
    End,
    /// Bytes that are no record and that no record seals.
    Torn(Torn),
    /// Not even the line feed that ends it.
    Unended,
}

/// Bytes that are no record, where one was expected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Torn {
    /// How many, without a line feed at their end.
    pub(super) bytes: u64,
    /// Their hash.
    pub(super) sha256: Sha256Hash,
    /// Whether a line feed ends them.
    pub(super) ends_line: bool,
    /// How many line feeds are among them, the one at their end included.
    pub(super) line_feeds: u64,
}

impl Torn {
    /// The record that seals them.
    pub(super) fn seal(&self) -> AuditRecord {
        AuditRecord::Sealed {
            bytes: self.bytes,
            sha256: self.sha256,
        }
    }
}

/// Goes through a file. What does not follow from the record before is torn, up to a record that does
/// follow and that seals exactly these bytes.
pub(super) fn walk(
    reader: &mut dyn BufRead,
    before: Anchor,
    visit: &mut dyn FnMut(Record) -> io::Result<()>,
) -> io::Result<End> {
    let mut end = End {
        last: before,
        lines: 0,
        tail: Tail::End,
    };
    let mut tear = Tear::default();
    let mut position: u64 = 0;
    let mut lines: u64 = 0;
    let mut chunk = Vec::new();
    while read_line(reader, &mut chunk)? {
        position += count(&chunk);
        // Without a line feed it is the end of the file, or too long to be a record.
        let line = chunk.strip_suffix(b"\n").unwrap_or(&chunk);
        lines += u64::from(line.len() < chunk.len());
        let follows = chain::follows(&end.last, line);
        let torn = follows.and_then(|_| tear.torn());
        match follows {
            Some(anchor) if is_in_place(line, torn.as_ref()) => {
                visit(Record {
                    anchor,
                    end: position,
                    sealed: torn.map(|torn| torn.bytes),
                })?;
                let is_ended = line.len() < chunk.len();
                end = End {
                    last: anchor,
                    lines,
                    tail: if is_ended { Tail::End } else { Tail::Unended },
                };
                tear = Tear::default();
            }
            Some(_) | None => tear.push(&chunk),
        }
    }
    if let Some(torn) = tear.torn() {
        end.tail = Tail::Torn(torn);
    }
    Ok(end)
}

/// The anchor before a file, according to its first line; the reader is put back to its beginning. Only
/// the first file of a log can begin with something torn.
pub(super) fn before(reader: &mut BufReader<File>) -> io::Result<Anchor> {
    let mut first = Vec::new();
    read_line(reader, &mut first)?;
    reader.rewind()?;
    let first = first.strip_suffix(b"\n").unwrap_or(&first);
    Ok(chain::before_file(first).unwrap_or(Anchor::START))
}

/// Whether a record may stand here: one that seals stands behind exactly the bytes that it names, and
/// nothing else stands behind torn bytes.
fn is_in_place(line: &[u8], torn: Option<&Torn>) -> bool {
    // The tag follows the time at once; in a text, its quotes would be escaped.
    const TAG: &[u8] = b"\"event\":\"sealed\"";
    const FIELDS_BEFORE_MAX: usize = 200;
    let begin = line.get(..FIELDS_BEFORE_MAX).unwrap_or(line);
    let seals = begin.windows(TAG.len()).any(|window| window == TAG);
    match (seals, torn) {
        (false, None) => true,
        (true, Some(torn)) => {
            let entry: Option<Entry> = serde_json::from_slice(line).ok();
            entry.is_some_and(|entry| entry.record == torn.seal())
        }
        (false, Some(_)) | (true, None) => false,
    }
}

/// A line with its line feed, or what there is of one; false at the end of the file. A longer one than
/// any record comes in parts, none of which is one.
pub(super) fn read_line(reader: &mut dyn BufRead, chunk: &mut Vec<u8>) -> io::Result<bool> {
    chunk.clear();
    let limit = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
    reader.take(limit).read_until(b'\n', chunk)?;
    Ok(!chunk.is_empty())
}

/// Bytes that are torn, without the line feed that ends them.
#[derive(Debug, Default)]
struct Tear {
    hash: Sha256,
    bytes: u64,
    ends_line: bool,
    line_feeds: u64,
}

impl Tear {
    fn push(&mut self, chunk: &[u8]) {
        if std::mem::take(&mut self.ends_line) {
            self.hash.update(b"\n");
            self.bytes += 1;
        }
        let line = chunk.strip_suffix(b"\n");
        self.ends_line = line.is_some();
        self.line_feeds += u64::from(self.ends_line);
        let bytes = line.unwrap_or(chunk);
        self.hash.update(bytes);
        self.bytes += count(bytes);
    }

    fn torn(&self) -> Option<Torn> {
        let is_open = self.bytes > 0 || self.ends_line;
        is_open.then(|| Torn {
            bytes: self.bytes,
            sha256: Sha256Hash(self.hash.clone().finalize().into()),
            ends_line: self.ends_line,
            line_feeds: self.line_feeds,
        })
    }
}

fn count(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
