//! Lines of the log: how a record is written down, and how one follows the other.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::bypass::{AuditRecord, NoHash, Sha256Hash, Timestamp};

/// The last hash before the first record.
const BEFORE_ALL: Sha256Hash = Sha256Hash([0; 32]);

/// A record, by its number and hash. It also vouches for all records before it. Written as
/// `NUMBER:HASH`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Anchor {
    /// The number of the record; the first one is 1. 0 stands before all records.
    pub seq: u64,
    /// Its hash.
    pub hash: Sha256Hash,
}

impl Anchor {
    /// Where a chain begins.
    pub(super) const START: Self = Self {
        seq: 0,
        hash: BEFORE_ALL,
    };
}

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, self.hash)
    }
}

/// A text is no anchor.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("an anchor is NUMBER:HASH, as `tenantry audit verify` prints it")]
pub struct NoAnchor;

impl From<NoHash> for NoAnchor {
    fn from(NoHash: NoHash) -> Self {
        Self
    }
}

impl FromStr for Anchor {
    type Err = NoAnchor;

    fn from_str(text: &str) -> Result<Self, NoAnchor> {
        let (seq, hash) = text.split_once(':').ok_or(NoAnchor)?;
        let digits = !seq.is_empty() && seq.bytes().all(|byte| byte.is_ascii_digit());
        Ok(Self {
            seq: seq.parse().ok().filter(|_| digits).ok_or(NoAnchor)?,
            hash: hash.parse()?,
        })
    }
}

/// A line, taken apart.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Entry {
    pub(super) seq: u64,
    pub(super) time: Timestamp,
    #[serde(flatten)]
    pub(super) record: AuditRecord,
}

/// A record's own JSON, without number and time.
pub(super) fn body(record: &AuditRecord) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(record)
}

/// Appends the line of a record to a buffer.
pub(super) fn push_line(
    line: &mut Vec<u8>,
    before: &Anchor,
    time: Timestamp,
    body: &[u8],
) -> Anchor {
    let seq = before.seq + 1;
    // A body begins with a brace, in whose place number and time go.
    let fields = body.strip_prefix(b"{").unwrap_or(body);
    let numbered = format!("\"seq\":{seq},\"time\":\"{time}\",");
    let hash = link(&before.hash, &[numbered.as_bytes(), fields]);
    line.extend_from_slice(format!("{HASH_OPENS}{hash}{HASH_CLOSES}").as_bytes());
    line.extend_from_slice(numbered.as_bytes());
    line.extend_from_slice(fields);
    line.push(b'\n');
    Anchor { seq, hash }
}

const HASH_OPENS: &str = "{\"hash\":\"";
const HASH_CLOSES: &str = "\",";
const HASH_DIGITS: usize = 64;

/// The hash of a record: over the hash before it, as it is written, and the bytes of its line behind
/// its own hash.
fn link(before: &Sha256Hash, rest: &[&[u8]]) -> Sha256Hash {
    let mut hash = Sha256::new();
    hash.update(before.to_string());
    for part in rest {
        hash.update(part);
    }
    Sha256Hash(hash.finalize().into())
}

/// The anchor of a line, without its line feed, if it is the record that follows.
pub(super) fn follows(before: &Anchor, line: &[u8]) -> Option<Anchor> {
    let (digits, rest) = line
        .strip_prefix(HASH_OPENS.as_bytes())?
        .split_at_checked(HASH_DIGITS)?;
    let rest = rest.strip_prefix(HASH_CLOSES.as_bytes())?;
    let hash: Sha256Hash = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let seq = before.seq.checked_add(1)?;
    let is_next = rest.starts_with(format!("\"seq\":{seq},").as_bytes());
    (is_next && link(&before.hash, &[rest]) == hash).then_some(Anchor { seq, hash })
}

/// The anchor before a file, according to its first line. Whether the line is right is for
/// [`follows`] to say.
pub(super) fn before_file(first: &[u8]) -> Option<Anchor> {
    let entry: Entry = serde_json::from_slice(first).ok()?;
    if entry.seq == 1 {
        return Some(Anchor::START);
    }
    let AuditRecord::Rotated { previous, .. } = entry.record else {
        return None;
    };
    Some(Anchor {
        seq: entry.seq.checked_sub(1)?,
        hash: previous,
    })
}
