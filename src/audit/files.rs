//! The files of a log: their names, the lock, and what may be opened at all.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::chain::Anchor;
use super::fault::LogFault;

/// The names of one log's files. `audit.jsonl` is the one that is written; `audit.jsonl.000000000001`
/// begins with the first record; `audit.jsonl.head` holds the last record's anchor.
#[derive(Clone, Debug)]
pub(super) struct Names {
    directory: PathBuf,
    name: String,
}

impl Names {
    /// The names that go with the configured file.
    pub(super) fn new(file: &Path) -> Result<Self, LogFault> {
        let name = file.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| LogFault::NoFileName(file.to_owned()))?;
        let directory = match file.parent() {
            Some(parent) if parent != Path::new("") => parent,
            Some(_) | None => Path::new("."),
        };
        Ok(Self {
            directory: directory.to_owned(),
            name: name.to_owned(),
        })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The file that is written.
    pub(super) fn current(&self) -> PathBuf {
        self.directory.join(&self.name)
    }

    /// The next file, before it takes its place.
    pub(super) fn next(&self) -> PathBuf {
        self.directory.join(format!("{}.new", self.name))
    }

    pub(super) fn head(&self) -> PathBuf {
        self.directory.join(format!("{}.head", self.name))
    }

    /// The name that a full file gets, by its first record.
    pub(super) fn full(&self, first: u64) -> String {
        format!("{}.{first:012}", self.name)
    }

    pub(super) fn full_path(&self, first: u64) -> PathBuf {
        self.directory.join(self.full(first))
    }

    /// The files with records, the oldest first; the one that is written is the last, if it exists.
    pub(super) fn list(&self) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut full = Vec::new();
        let mut current = None;
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if name == self.name {
                current = Some(entry.path());
            } else if let Some(first) = self.first_of(name) {
                full.push((first, entry.path()));
            }
        }
        full.sort();
        Ok(full
            .into_iter()
            .map(|(_, path)| path)
            .chain(current)
            .collect())
    }

    /// The first record of a full file.
    fn first_of(&self, name: &str) -> Option<u64> {
        let digits = name.strip_prefix(&self.name)?.strip_prefix('.')?;
        let first = digits.parse().ok()?;
        (self.full(first) == name).then_some(first)
    }

    /// Makes the directory, and makes it last.
    pub(super) fn make_directory(&self) -> io::Result<()> {
        let ancestors = self.directory.ancestors();
        let missing: Vec<&Path> = ancestors
            .take_while(|path| *path != Path::new("") && !path.exists())
            .collect();
        let mut builder = DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(&self.directory)?;
        for made in missing {
            let parent = made.parent().filter(|it| *it != Path::new(""));
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
        }
        Ok(())
    }

    /// Makes new names last.
    pub(super) fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }
}

/// Which file a path stood for when it was opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl From<&Metadata> for Identity {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// Whether the path still stands for the file that was opened.
pub(super) fn is_still(path: &Path, identity: Identity) -> Result<(), LogFault> {
    match fs::symlink_metadata(path) {
        Ok(found) if Identity::from(&found) == identity => Ok(()),
        Ok(_) => Err(LogFault::Replaced(path.to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(LogFault::Replaced(path.to_owned()))
        }
        Err(error) => Err(LogFault::io(path, error)),
    }
}

/// Whether a file is made if there is none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Missing {
    Create,
    Fails,
}

/// Opens a file that no symbolic link stands for. A new one is for the owner's eyes only.
pub(super) fn open(
    path: &Path,
    missing: Missing,
    options: &mut OpenOptions,
) -> Result<File, LogFault> {
    let fault = |error| LogFault::io(path, error);
    match fs::symlink_metadata(path) {
        Ok(found) if !found.is_file() => return Err(LogFault::NotAFile(path.to_owned())),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound && missing == Missing::Create => {
            // It never follows a link: it fails if there is anything.
            options.create_new(true).mode(0o600);
        }
        Err(error) => return Err(fault(error)),
    }
    let file = options.open(path).map_err(fault)?;
    let metadata = file.metadata().map_err(fault)?;
    is_still(path, Identity::from(&metadata))?;
    Ok(file)
}

/// Opens a file to be written, if nobody else may write it.
pub(super) fn open_own(
    path: &Path,
    missing: Missing,
    options: &mut OpenOptions,
) -> Result<(File, Metadata), LogFault> {
    let file = open(path, missing, options)?;
    let metadata = file.metadata().map_err(|error| LogFault::io(path, error))?;
    if metadata.mode() & 0o022 != 0 {
        return Err(LogFault::WritableByOthers(path.to_owned()));
    }
    Ok((file, metadata))
}

/// The last record's anchor, in a file of its own: a log that lost its end can be told from a whole
/// one. The file is also what keeps a second proxy away.
#[derive(Debug)]
pub(super) struct Head {
    file: File,
    path: PathBuf,
    identity: Identity,
}

impl Head {
    /// Opens and locks the head. A new one stands before all records.
    pub(super) fn lock(names: &Names) -> Result<Self, LogFault> {
        let path = names.head();
        let options = &mut OpenOptions::new();
        let (file, metadata) = open_own(&path, Missing::Create, options.read(true).write(true))?;
        lock(&file, &path)?;
        let identity = Identity::from(&metadata);
        let mut head = Self {
            file,
            path,
            identity,
        };
        if metadata.len() == 0 {
            if !names
                .list()
                .map_err(|error| LogFault::io(names.directory(), error))?
                .is_empty()
            {
                return Err(LogFault::NoHead(head.path));
            }
            head.write(&Anchor::START)?;
            head.sync()?;
            names
                .sync_directory()
                .map_err(|error| LogFault::io(names.directory(), error))?;
        }
        Ok(head)
    }

    /// The anchor in it.
    pub(super) fn read(&self) -> Result<Anchor, LogFault> {
        let mut text = [0; HEAD_BYTES + 1];
        let mut length = 0;
        while let Some(rest) = text.get_mut(length..).filter(|rest| !rest.is_empty()) {
            let read = self
                .file
                .read_at(rest, u64::try_from(length).unwrap_or(u64::MAX));
            match read.map_err(|error| LogFault::io(&self.path, error))? {
                0 => break,
                read => length += read,
            }
        }
        let text = text.get(..length).unwrap_or_default();
        parse_head(text).ok_or_else(|| LogFault::HeadUnreadable(self.path.clone()))
    }

    /// Overwrites it. Its length never changes, so that this needs no room on the disk, and it is
    /// so short that a disk writes all of it or nothing.
    pub(super) fn write(&mut self, anchor: &Anchor) -> Result<(), LogFault> {
        let text = format!("{:020}:{}\n", anchor.seq, anchor.hash);
        let written = self.file.write_all_at(text.as_bytes(), 0);
        written.map_err(|error| LogFault::io(&self.path, error))
    }

    pub(super) fn sync(&self) -> Result<(), LogFault> {
        self.file
            .sync_data()
            .map_err(|error| LogFault::io(&self.path, error))
    }

    /// Whether it is still the file that others would look at.
    pub(super) fn is_still_there(&self) -> Result<(), LogFault> {
        is_still(&self.path, self.identity)
    }
}

/// Who proves a log holds its lock for an instant; only a proxy keeps it.
fn lock(file: &File, path: &Path) -> Result<(), LogFault> {
    const ATTEMPTS: usize = 10;
    const PAUSE: Duration = Duration::from_millis(10);
    for _ in 0..ATTEMPTS {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            Err(TryLockError::Error(error)) => return Err(LogFault::io(path, error)),
        }
    }
    Err(LogFault::Locked(path.to_owned()))
}

const HEAD_BYTES: usize = 20 + 1 + 64 + 1;

fn parse_head(text: &[u8]) -> Option<Anchor> {
    let text = std::str::from_utf8(text).ok()?;
    let anchor = text.strip_suffix('\n')?;
    (text.len() == HEAD_BYTES).then(|| anchor.parse().ok())?
}

/// Whether a proxy has the log open.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Writer {
    Away,
    Present,
}

/// The head of a log that is only looked at; none where there is no such file.
pub(super) fn read_head(names: &Names) -> Result<Option<(Anchor, Writer)>, LogFault> {
    let path = names.head();
    let options = &mut OpenOptions::new();
    let mut file = match open(&path, Missing::Fails, options.read(true)) {
        Err(LogFault::Io { error, .. }) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    // The lock is given back when the file is closed.
    let writer = match file.try_lock_shared() {
        Ok(()) => Writer::Away,
        Err(TryLockError::WouldBlock) => Writer::Present,
        Err(TryLockError::Error(error)) => return Err(LogFault::io(&path, error)),
    };
    let mut text = Vec::new();
    let limit = u64::try_from(HEAD_BYTES + 1).unwrap_or(u64::MAX);
    let read = file.by_ref().take(limit).read_to_end(&mut text);
    read.map_err(|error| LogFault::io(&path, error))?;
    let anchor = parse_head(&text).ok_or(LogFault::HeadUnreadable(path))?;
    Ok(Some((anchor, writer)))
}
