//! Disks that fail, and logs that a crash cut short.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::chain::{self, Anchor, Entry};
use super::fault::LogFault;
use super::files::{Head, Names};
use super::log::{Disk, Log, RealDisk};
use super::{Broken, Known, Report, verify};
use crate::bypass::{AuditRecord, SentText, Timestamp};

const ROTATE_BYTES: u64 = 700;

fn clock() -> Timestamp {
    Timestamp::from_microseconds(1_790_000_000_000_000)
}

fn record(number: usize) -> Vec<u8> {
    chain::body(&AuditRecord::ProxyStarted {
        version: format!("number {number}"),
        revision: "x".repeat(number % 7 * 10),
    })
    .unwrap()
}

fn open(file: &Path, rotate_bytes: u64) -> Result<Log, LogFault> {
    Log::open(file, rotate_bytes, clock, Box::new(RealDisk))
}

struct Folder {
    directory: tempfile::TempDir,
}

impl Folder {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { directory }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("audit.jsonl")
    }

    fn names(&self) -> Names {
        Names::new(&self.file()).unwrap()
    }

    fn verify(&self) -> Report {
        verify(&self.file(), &Known::default())
    }

    /// The versions in the log, in order.
    fn versions(&self) -> Vec<String> {
        let mut versions = Vec::new();
        for path in self.names().list().unwrap() {
            let text = fs::read(path).unwrap();
            for line in text.split(|byte| *byte == b'\n') {
                let entry: Option<Entry> = serde_json::from_slice(line).ok();
                if let Some(AuditRecord::ProxyStarted { version, .. }) = entry.map(|it| it.record) {
                    versions.push(version);
                }
            }
        }
        versions
    }
}

/// Fails at one of its calls, after some of the bytes.
struct FailingDisk {
    calls: Arc<AtomicUsize>,
    fails_at: usize,
    /// How much of the bytes is written then, in quarters.
    quarters: usize,
}

impl FailingDisk {
    fn fails(&self) -> bool {
        self.calls.fetch_add(1, Ordering::Relaxed) == self.fails_at
    }
}

impl Disk for FailingDisk {
    fn append(&mut self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        if self.fails() {
            let (written, _) = bytes.split_at(bytes.len() * self.quarters / 4);
            RealDisk.append(file, written)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        RealDisk.append(file, bytes)
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        if self.fails() {
            return Err(io::ErrorKind::Other.into());
        }
        RealDisk.sync(file)
    }
}

/// Whichever call fails, and whatever it wrote: what was acknowledged is there, what was refused is
/// not, and the chain is whole.
#[test]
fn a_disk_may_fail_at_any_time() {
    let calls = Arc::new(AtomicUsize::new(0));
    let mut fails_at = 0;
    loop {
        for quarters in 0..=4 {
            calls.store(0, Ordering::Relaxed);
            let folder = Folder::new();
            let disk = FailingDisk {
                calls: Arc::clone(&calls),
                fails_at,
                quarters,
            };
            let opened = Log::open(&folder.file(), ROTATE_BYTES, clock, Box::new(disk));
            let mut log = opened.unwrap();
            let mut expected = Vec::new();
            for number in 0..8 {
                if !log.is_open() {
                    // The call that fails may be one of these.
                    log.reopen().or_else(|_| log.reopen()).unwrap();
                }
                if log.commit(&[&record(number), &record(number)]).is_ok() {
                    expected.extend(vec![format!("number {number}"); 2]);
                    log.sync_head().unwrap();
                }
            }
            assert!(expected.len() >= 14, "one call fails");
            assert_eq!(folder.versions(), expected, "call {fails_at}, {quarters}/4");
            drop(log);
            let report = folder.verify();
            assert!(report.finding.is_none(), "{:?}", report.finding);
            assert!(report.files > 2, "it was rotated");
        }
        if calls.load(Ordering::Relaxed) <= fails_at {
            assert!(fails_at > 20, "all calls were tried");
            return;
        }
        fails_at += 1;
    }
}

/// A log of three records, the last of which was never acknowledged, with the ends of their lines.
fn three_records(folder: &Folder) -> Vec<u64> {
    let mut log = open(&folder.file(), u64::MAX).unwrap();
    let mut ends = Vec::new();
    for number in 0..3 {
        log.commit(&[&record(number)]).unwrap();
        ends.push(fs::metadata(folder.file()).unwrap().len());
    }
    ends
}

fn put_head(folder: &Folder, anchor: &Anchor) {
    Head::lock(&folder.names()).unwrap().write(anchor).unwrap();
}

fn anchor_of(folder: &Folder, record: usize) -> Anchor {
    let mut anchor = Anchor::START;
    for line in fs::read_to_string(folder.file())
        .unwrap()
        .lines()
        .take(record)
    {
        anchor = chain::follows(&anchor, line.as_bytes()).unwrap();
    }
    anchor
}

#[test]
fn a_torn_record_is_sealed_wherever_it_is_cut() {
    let whole = Folder::new();
    let ends = three_records(&whole);
    let bytes = fs::read(whole.file()).unwrap();
    let second = anchor_of(&whole, 2);
    for cut in ends[1]..=ends[2] {
        let folder = Folder::new();
        put_head(&folder, &second);
        fs::write(folder.file(), &bytes[..usize::try_from(cut).unwrap()]).unwrap();
        let torn = cut != ends[1] && cut != ends[2];
        let finding = folder.verify().finding;
        let is_cut = finding.is_some_and(|it| matches!(it.broken, Broken::Cut { record: 3 }));
        assert_eq!(is_cut, torn, "cut at {cut}");
        // A crash while it is being sealed is only another one.
        for number in 3..6 {
            let mut log = open(&folder.file(), u64::MAX).unwrap();
            log.commit(&[&record(number)]).unwrap();
        }
        let report = folder.verify();
        assert!(
            report.finding.is_none(),
            "cut at {cut}: {:?}",
            report.finding
        );
        let sealed: Vec<u64> = report.seals.iter().map(|(_, bytes)| *bytes).collect();
        // Where the line feed alone is missing, the record is whole.
        let is_sealed = torn && cut != ends[2] - 1;
        let expected = is_sealed.then_some(cut - ends[1]);
        assert_eq!(sealed, Vec::from_iter(expected), "cut at {cut}");
    }
}

/// The record that seals is cut itself, anywhere, and the next one seals both.
#[test]
fn a_seal_can_be_torn_as_well() {
    let whole = Folder::new();
    let ends = three_records(&whole);
    let second = anchor_of(&whole, 2);
    let torn = usize::try_from(ends[1] + 40).unwrap();
    let bytes = fs::read(whole.file()).unwrap()[..torn].to_vec();
    put_head(&whole, &second);
    fs::write(whole.file(), &bytes).unwrap();
    drop(open(&whole.file(), u64::MAX).unwrap());
    let sealed = fs::read(whole.file()).unwrap();
    for cut in torn..sealed.len() {
        let folder = Folder::new();
        put_head(&folder, &second);
        fs::write(folder.file(), &sealed[..cut]).unwrap();
        assert!(folder.verify().finding.is_some(), "cut at {cut}");
        open(&folder.file(), u64::MAX)
            .unwrap()
            .commit(&[&record(3)])
            .unwrap();
        let report = folder.verify();
        assert!(
            report.finding.is_none(),
            "cut at {cut}: {:?}",
            report.finding
        );
        assert_eq!(report.seals.len(), 1);
        // What was torn is still there.
        assert!(fs::read(folder.file()).unwrap().starts_with(&sealed[..cut]));
    }
}

/// What the head vouches for is never taken for the work of a crash.
#[test]
fn a_log_behind_its_head_is_not_opened() {
    let whole = Folder::new();
    let ends = three_records(&whole);
    let bytes = fs::read(whole.file()).unwrap();
    for cut in 0..ends[2] {
        let folder = Folder::new();
        put_head(&folder, &anchor_of(&whole, 3));
        fs::write(folder.file(), &bytes[..usize::try_from(cut).unwrap()]).unwrap();
        assert!(open(&folder.file(), u64::MAX).is_err(), "cut at {cut}");
        assert!(folder.verify().finding.is_some(), "cut at {cut}");
        let after = fs::read(folder.file()).unwrap();
        assert_eq!(
            after.len(),
            usize::try_from(cut).unwrap(),
            "nothing was changed"
        );
    }
    fs::remove_file(whole.file()).unwrap();
    assert!(open(&whole.file(), u64::MAX).is_err());
    assert!(whole.verify().finding.is_some());
}

/// Rotation is cut between any two of its steps.
#[test]
fn a_crash_while_rotating_leaves_a_whole_log() {
    let states: [&dyn Fn(&Names); 3] = [
        &|names| fs::write(names.next(), "{\"hash\":").unwrap(),
        &|names| fs::rename(names.current(), names.full_path(1)).unwrap(),
        &|names| {
            fs::write(names.next(), "{\"hash\":").unwrap();
            fs::rename(names.current(), names.full_path(1)).unwrap();
        },
    ];
    for crash in states {
        let folder = Folder::new();
        three_records(&folder);
        crash(&folder.names());
        let mut log = open(&folder.file(), 1).unwrap();
        for number in 3..6 {
            log.commit(&[&record(number)]).unwrap();
        }
        drop(log);
        let report = folder.verify();
        assert!(report.finding.is_none(), "{:?}", report.finding);
        let numbers = (0..6).map(|number| format!("number {number}"));
        assert_eq!(folder.versions(), numbers.collect::<Vec<_>>());
    }
}

#[test]
fn files_that_others_touch_stop_the_log() {
    type Touch<'a> = (&'a str, &'a dyn Fn(&Folder));
    let touches: [Touch<'_>; 6] = [
        ("appended", &|folder| {
            let mut file = File::options().append(true).open(folder.file()).unwrap();
            io::Write::write_all(&mut file, b"x").unwrap();
        }),
        ("truncated", &|folder| fs::write(folder.file(), "").unwrap()),
        ("moved", &|folder| {
            fs::rename(folder.file(), folder.directory.path().join("elsewhere")).unwrap();
        }),
        ("replaced", &|folder| {
            let copy = folder.directory.path().join("copy");
            fs::copy(folder.file(), &copy).unwrap();
            fs::rename(copy, folder.file()).unwrap();
        }),
        ("headless", &|folder| {
            fs::remove_file(folder.names().head()).unwrap();
        }),
        ("changed", &|folder| {
            let text = fs::read_to_string(folder.file()).unwrap();
            fs::write(folder.file(), text.replace("number 1", "number 9")).unwrap();
        }),
    ];
    for (name, touch) in touches {
        let folder = Folder::new();
        let mut log = open(&folder.file(), u64::MAX).unwrap();
        log.commit(&[&record(0)]).unwrap();
        log.commit(&[&record(1)]).unwrap();
        touch(&folder);
        // What was changed in place shows when somebody looks.
        if name != "changed" {
            log.commit(&[&record(2)]).unwrap_err();
            assert!(!log.is_open(), "{name}");
        }
        // A copy is as good as the file.
        if name != "replaced" {
            log.reopen().unwrap_err();
            drop(log);
            open(&folder.file(), u64::MAX)
                .err()
                .filter(|_| name != "appended");
            let finding = folder.verify().finding;
            assert!(finding.is_some() || name == "appended", "{name}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a client sends, it is one line, and comes back as it was.
    #[test]
    fn a_record_is_one_line(texts in prop::collection::vec(any::<String>(), 1..4), bytes: Vec<u8>) {
        let record = AuditRecord::Refused {
            admin: crate::bypass::AdminSession {
                who: texts[0].clone(),
                login: texts.concat(),
                client: "\"},{\"event\":\"sealed\",".to_owned(),
                session: 7,
            },
            grant: texts.get(1).cloned(),
            statement: SentText::from(bytes.as_slice()),
            sqlstate: "42501".to_owned(),
            message: texts.join("\n\u{0}"),
        };
        let mut line = Vec::new();
        let anchor = chain::push_line(&mut line, &Anchor::START, clock(), &chain::body(&record).unwrap());
        let text = line.strip_suffix(b"\n").unwrap();
        prop_assert!(!text.contains(&b'\n'));
        prop_assert_eq!(chain::follows(&Anchor::START, text), Some(anchor));
        let entry: Entry = serde_json::from_slice(text).unwrap();
        prop_assert_eq!(entry.record, record);
        prop_assert_eq!(anchor.to_string().parse(), Ok(anchor));
    }
}
