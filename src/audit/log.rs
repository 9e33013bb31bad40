//! One log on disk, and the only door through which records get into it.
//!
//! # Invariants
//! 1. Records are acknowledged only after they are on the disk and the head says so.
//! 2. After a failure nothing is written until the file was read again up to the last acknowledged
//!    record and everything behind it was cut off: a kernel may report a failed sync only once.
//! 3. Bytes that this process did not write are never cut off, only sealed or refused.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::chain::{self, Anchor};
use super::fault::LogFault;
use super::files::{self, Head, Identity, Missing, Names};
use super::walk::{self, End, Tail, Torn};
use crate::bypass::{AuditRecord, Timestamp};

/// What a disk does. Tests put a failing one in its place.
pub(super) trait Disk: Send {
    /// Appends all bytes.
    fn append(&mut self, file: &mut File, bytes: &[u8]) -> io::Result<()>;
    /// Returns when all that was appended is on the disk.
    fn sync(&mut self, file: &File) -> io::Result<()>;
}

/// The disk itself.
#[derive(Debug)]
pub(super) struct RealDisk;

impl Disk for RealDisk {
    fn append(&mut self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        file.sync_data()
    }
}

/// An open log.
pub(super) struct Log {
    names: Names,
    rotate_bytes: u64,
    clock: fn() -> Timestamp,
    disk: Box<dyn Disk>,
    head: Head,
    /// The last record that was acknowledged, or that was there when the log was opened.
    last: Anchor,
    /// None after a failure.
    current: Option<Current>,
    owner_of_tail: Owner,
}

/// The file that is written.
#[derive(Debug)]
struct Current {
    file: File,
    identity: Identity,
    length: u64,
    /// The number of its first record.
    first: u64,
}

/// Whose the bytes behind the last acknowledged record are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Owner {
    /// Of a write of ours that failed.
    Proxy,
    /// There should be none.
    Unknown,
}

/// Up to where the records of a file are kept when it is opened.
#[derive(Clone, Copy, Debug)]
enum Kept {
    /// All that follow from each other; this one must be among them.
    All(Anchor),
    /// Those up to this one.
    UpTo(Anchor),
}

impl Log {
    /// Opens a log, or begins one. What a crash left at its end is sealed.
    pub(super) fn open(
        file: &Path,
        rotate_bytes: u64,
        clock: fn() -> Timestamp,
        disk: Box<dyn Disk>,
    ) -> Result<Self, LogFault> {
        let names = Names::new(file)?;
        let made = names.make_directory();
        made.map_err(|error| LogFault::io(names.directory(), error))?;
        let head = Head::lock(&names)?;
        let last = head.read()?;
        let mut log = Self {
            names,
            rotate_bytes,
            clock,
            disk,
            head,
            last,
            current: None,
            owner_of_tail: Owner::Unknown,
        };
        log.recover(Kept::All(last))?;
        Ok(log)
    }

    /// Whether records can be written without [`Self::reopen`].
    pub(super) fn is_open(&self) -> bool {
        self.current.is_some()
    }

    /// Opens the log again after a failure.
    pub(super) fn reopen(&mut self) -> Result<(), LogFault> {
        self.head.is_still_there()?;
        self.recover(Kept::UpTo(self.last))
    }

    /// Writes records, by their JSON, and returns when they are on the disk. All or none of them.
    pub(super) fn commit(&mut self, bodies: &[&[u8]]) -> Result<Vec<Anchor>, LogFault> {
        let committed = self.try_commit(bodies);
        if committed.is_err() {
            self.fail();
        }
        committed
    }

    /// Makes the head last as well. Until then a loss of power may take it back by a few records, but
    /// nothing else.
    pub(super) fn sync_head(&mut self) -> Result<(), LogFault> {
        let synced = self.head.sync();
        if synced.is_err() {
            self.current = None;
        }
        synced
    }

    fn try_commit(&mut self, bodies: &[&[u8]]) -> Result<Vec<Anchor>, LogFault> {
        self.check_still_ours()?;
        self.owner_of_tail = Owner::Proxy;
        if self.current()?.length >= self.rotate_bytes {
            self.rotate()?;
        }
        let time = (self.clock)();
        let mut lines = Vec::with_capacity(bodies.iter().map(|body| body.len() + 160).sum());
        let mut anchors = Vec::with_capacity(bodies.len());
        let mut last = self.last;
        for body in bodies {
            last = chain::push_line(&mut lines, &last, time, body);
            anchors.push(last);
        }
        self.append(&lines, last)?;
        self.owner_of_tail = Owner::Unknown;
        Ok(anchors)
    }

    /// Nobody else may have touched the files since the last commit.
    fn check_still_ours(&mut self) -> Result<(), LogFault> {
        self.head.is_still_there()?;
        let path = self.names.current();
        let current = self.current()?;
        files::is_still(&path, current.identity)?;
        let metadata = current.file.metadata();
        let found = metadata.map_err(|error| LogFault::io(&path, error))?.len();
        if found != current.length {
            let expected = current.length;
            return Err(LogFault::Resized {
                path,
                expected,
                found,
            });
        }
        Ok(())
    }

    /// Appends lines whose last record this is, and makes them last.
    fn append(&mut self, lines: &[u8], last: Anchor) -> Result<(), LogFault> {
        let path = self.names.current();
        let current = self.current.as_mut().ok_or(LogFault::NotOpen)?;
        let appended = self.disk.append(&mut current.file, lines);
        let synced = appended.and_then(|()| self.disk.sync(&current.file));
        synced.map_err(|error| LogFault::io(&path, error))?;
        self.head.write(&last)?;
        current.length += size(lines);
        self.last = last;
        Ok(())
    }

    /// Cuts off what was not acknowledged, so that it takes no room on a full disk. Whether that
    /// succeeds is seen when the file is read again.
    fn fail(&mut self) {
        if let Some(current) = self.current.take()
            && self.owner_of_tail == Owner::Proxy
        {
            current.file.set_len(current.length).ok();
        }
    }

    fn current(&mut self) -> Result<&mut Current, LogFault> {
        self.current.as_mut().ok_or(LogFault::NotOpen)
    }

    /// Puts the full file aside. Whatever happens in between, the last file has a first record.
    fn rotate(&mut self) -> Result<(), LogFault> {
        let first = self.current()?.first;
        let full = self.names.full_path(first);
        if fs::symlink_metadata(&full).is_ok() {
            return Err(LogFault::Occupied(full));
        }
        let (next, last) = self.prepare_next(self.names.full(first))?;
        let current = self.names.current();
        fs::rename(&current, &full).map_err(|error| LogFault::io(&full, error))?;
        self.put_in_place(next, last)
    }

    /// Makes the next file, with its first record.
    fn prepare_next(&mut self, before: String) -> Result<(Current, Anchor), LogFault> {
        let path = self.names.next();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(LogFault::io(&path, error));
            }
            Ok(()) | Err(_) => {}
        }
        let options = &mut OpenOptions::new();
        let (mut file, metadata) = files::open_own(&path, Missing::Create, options.append(true))?;
        let fault = |error| LogFault::io(&path, error);
        let record = AuditRecord::Rotated {
            file: before,
            previous: self.last.hash,
        };
        let body = chain::body(&record).map_err(|error| fault(error.into()))?;
        let mut line = Vec::new();
        let last = chain::push_line(&mut line, &self.last, (self.clock)(), &body);
        self.disk.append(&mut file, &line).map_err(fault)?;
        self.disk.sync(&file).map_err(fault)?;
        let next = Current {
            file,
            identity: Identity::from(&metadata),
            length: size(&line),
            first: last.seq,
        };
        Ok((next, last))
    }

    fn put_in_place(&mut self, next: Current, last: Anchor) -> Result<(), LogFault> {
        let path = self.names.current();
        let renamed = fs::rename(self.names.next(), &path);
        let synced = renamed.and_then(|()| self.names.sync_directory());
        synced.map_err(|error| LogFault::io(&path, error))?;
        self.head.write(&last)?;
        self.current = Some(next);
        self.last = last;
        Ok(())
    }

    /// Reads the last file and makes it ready to be written.
    fn recover(&mut self, kept: Kept) -> Result<(), LogFault> {
        let recovered = self.try_recover(kept);
        if recovered.is_err() {
            self.current = None;
        }
        recovered
    }

    fn try_recover(&mut self, kept: Kept) -> Result<(), LogFault> {
        let path = self.names.current();
        let files = self.names.list();
        let files = files.map_err(|error| LogFault::io(self.names.directory(), error))?;
        let (Kept::All(target) | Kept::UpTo(target)) = kept;
        match files.last() {
            Some(last) if *last == path => {
                let scan = Scan::of(&path, target)?;
                self.take_over(kept, &scan)?;
            }
            Some(full) => {
                let scan = Scan::of(full, target)?;
                scan.check_all(full, target)?;
                if scan.end.tail != Tail::End {
                    return Err(scan.torn(full));
                }
                self.last = scan.end.last;
                let name = full.file_name().unwrap_or_default().to_string_lossy();
                let (next, last) = self.prepare_next(name.into_owned())?;
                self.put_in_place(next, last)?;
            }
            None => self.begin(target)?,
        }
        self.head.write(&self.last)?;
        self.head.sync()?;
        self.owner_of_tail = Owner::Unknown;
        Ok(())
    }

    /// Begins a chain, where nothing says that there should be one.
    fn begin(&mut self, target: Anchor) -> Result<(), LogFault> {
        let path = self.names.current();
        if target != Anchor::START {
            return Err(LogFault::Truncated {
                path,
                last: Anchor::START,
                head: target,
            });
        }
        let options = &mut OpenOptions::new();
        let (file, metadata) = files::open_own(&path, Missing::Create, options.append(true))?;
        let synced = file.sync_all().and_then(|()| self.names.sync_directory());
        synced.map_err(|error| LogFault::io(&path, error))?;
        self.current = Some(Current {
            file,
            identity: Identity::from(&metadata),
            length: 0,
            first: 1,
        });
        Ok(())
    }

    /// Goes on with the file that was written before.
    fn take_over(&mut self, kept: Kept, scan: &Scan) -> Result<(), LogFault> {
        let path = self.names.current();
        let fault = |error| LogFault::io(&path, error);
        let (last, length) = match kept {
            Kept::All(target) => {
                scan.check_all(&path, target)?;
                (scan.end.last, scan.size)
            }
            Kept::UpTo(target) => scan.cut(&path, target)?,
        };
        if length < scan.size && self.owner_of_tail == Owner::Unknown {
            return Err(LogFault::Resized {
                path,
                expected: length,
                found: scan.size,
            });
        }
        let options = &mut OpenOptions::new();
        let (file, _) = files::open_own(&path, Missing::Fails, options.append(true))?;
        files::is_still(&path, scan.identity)?;
        if length < scan.size {
            file.set_len(length).map_err(fault)?;
        }
        // What was read may have been in memory only.
        self.disk.sync(&file).map_err(fault)?;
        self.names.sync_directory().map_err(fault)?;
        self.last = last;
        self.current = Some(Current {
            file,
            identity: scan.identity,
            length,
            first: scan.before.seq + 1,
        });
        match (kept, &scan.end.tail) {
            (Kept::All(_), Tail::Torn(torn)) => self.seal(torn),
            // It was not acknowledged, but it is whole.
            (Kept::All(_), Tail::Unended) => self.append(b"\n", last),
            (Kept::All(_), Tail::End) | (Kept::UpTo(_), _) => Ok(()),
        }
    }

    fn seal(&mut self, torn: &Torn) -> Result<(), LogFault> {
        let path = self.names.current();
        let body = chain::body(&torn.seal()).map_err(|error| LogFault::io(&path, error.into()))?;
        let mut line = Vec::new();
        if !torn.ends_line {
            line.push(b'\n');
        }
        let last = chain::push_line(&mut line, &self.last, (self.clock)(), &body);
        tracing::warn!(
            bytes = torn.bytes,
            "audit: the end of the log was torn; it is sealed"
        );
        let sealed = self.append(&line, last);
        if sealed.is_err() {
            self.current = None;
        }
        sealed
    }
}

/// What was found in a file.
struct Scan {
    before: Anchor,
    /// The first record and where its line ends.
    first: Option<(Anchor, u64)>,
    end: End,
    /// The record with the wanted number and where its line ends.
    found: Option<(Anchor, u64)>,
    identity: Identity,
    size: u64,
}

impl Scan {
    fn of(path: &Path, target: Anchor) -> Result<Self, LogFault> {
        let fault = |error| LogFault::io(path, error);
        let file = files::open(path, Missing::Fails, OpenOptions::new().read(true))?;
        let metadata = file.metadata().map_err(fault)?;
        let mut reader = BufReader::new(file);
        let before = walk::before(&mut reader).map_err(fault)?;
        let mut first = None;
        let mut found = (target == before).then_some((before, 0));
        let end = walk::walk(&mut reader, before, &mut |record| {
            first.get_or_insert((record.anchor, record.end));
            if record.anchor.seq == target.seq {
                found = Some((record.anchor, record.end));
            }
            Ok(())
        });
        Ok(Self {
            before,
            first,
            end: end.map_err(fault)?,
            found,
            identity: Identity::from(&metadata),
            size: metadata.len(),
        })
    }

    /// The wanted record must be there.
    fn check_all(&self, path: &Path, target: Anchor) -> Result<(), LogFault> {
        match self.found {
            // What was acknowledged has a line feed.
            Some((found, _)) if found == target && found == self.end.last => match self.end.tail {
                Tail::Unended => Err(self.torn(path)),
                Tail::End | Tail::Torn(_) => Ok(()),
            },
            Some((found, _)) if found == target => Ok(()),
            None if self.end.last.seq < target.seq => Err(LogFault::Truncated {
                path: path.to_owned(),
                last: self.end.last,
                head: target,
            }),
            Some(_) | None => Err(LogFault::Differs(path.to_owned())),
        }
    }

    /// Where the file ends if nothing but the wanted record and those before it are kept. The first
    /// record of a file that follows another is not torn, and belongs to nobody.
    fn cut(&self, path: &Path, target: Anchor) -> Result<(Anchor, u64), LogFault> {
        self.check_all(path, target)?;
        let is_first_file = self.before == Anchor::START;
        match (self.found, self.first) {
            (Some((_, 0)), Some(first)) if !is_first_file => Ok(first),
            (Some((_, 0)), None) if !is_first_file => Err(self.torn(path)),
            (Some((found, end)), _) => Ok((found, end)),
            (None, _) => Err(LogFault::Differs(path.to_owned())),
        }
    }

    fn torn(&self, path: &Path) -> LogFault {
        LogFault::Torn {
            path: PathBuf::from(path),
            last: self.end.last,
        }
    }
}

fn size(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
