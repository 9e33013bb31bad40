//! The audit log as an operator, an attacker and a crash meet it.
//!
//! # Not here
//! Disks that fail in the middle of a call: the tests of `src/audit`.

mod child;
mod records;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use child::Writer;
pub use child::run_as_child;
use libtest_mimic::Trial;
use proptest::test_runner::{Config, TestRunner};
use rand::Rng;
use tenantry::audit::{
    Anchor, AuditError, AuditSettings, AuditSink, Broken, Filter, Known, Line, NO_FILTER, Report,
    show, verify, wall_clock,
};
use tenantry::bypass::{AuditRecord, SentText};

use crate::support::{runtime, trial};

/// The trials.
pub fn trials() -> Vec<Trial> {
    vec![
        trial(
            "audit::every_flipped_byte_is_found",
            every_flipped_byte_is_found,
        ),
        trial("audit::every_cut_is_found", every_cut_is_found),
        trial(
            "audit::records_keep_their_places",
            records_keep_their_places,
        ),
        trial("audit::files_keep_their_places", files_keep_their_places),
        trial(
            "audit::an_anchor_shows_a_forged_log",
            an_anchor_shows_a_forged_log,
        ),
        trial(
            "audit::archived_files_are_vouched_for",
            archived_files_are_vouched_for,
        ),
        trial(
            "audit::the_readme_says_how_to_check",
            the_readme_says_how_to_check,
        ),
        trial("audit::records_can_be_found", records_can_be_found),
        trial("audit::the_command_line", the_command_line),
        trial("audit::one_process_writes", one_process_writes),
        trial(
            "audit::only_plain_files_of_the_owner",
            only_plain_files_of_the_owner,
        ),
        trial("audit::many_wait_for_one_write", many_wait_for_one_write),
        trial("audit::notes_never_wait", notes_never_wait),
        trial(
            "audit::a_record_is_written_whole_or_refused",
            a_record_is_written_whole_or_refused,
        ),
        trial(
            "audit::a_full_disk_refuses_and_recovers",
            a_full_disk_refuses_and_recovers,
        ),
        trial(
            "audit::a_killed_writer_loses_nothing",
            a_killed_writer_loses_nothing,
        ),
    ]
}

fn settings(file: &Path, rotate_bytes: u64) -> AuditSettings {
    AuditSettings {
        file: file.to_owned(),
        rotate_bytes,
        clock: wall_clock,
        retry_after: Duration::ZERO,
    }
}

/// A log of some files in a folder of its own.
struct Log {
    folder: tempfile::TempDir,
}

impl Log {
    /// One record of each kind.
    fn of_each_kind(rotate_bytes: u64) -> Self {
        let log = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        runtime().block_on(async {
            let sink = AuditSink::open(settings(&log.file(), rotate_bytes)).unwrap();
            let mut last = 0;
            for mut record in records::each() {
                if let AuditRecord::Outcome { statement, .. } = &mut record {
                    *statement = last;
                }
                last = sink.append(&record).await.unwrap().seq;
            }
            sink.close().await;
        });
        log
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("audit.jsonl")
    }

    fn verify(&self) -> Report {
        verify(&self.file(), &Known::default())
    }

    fn is_found(&self) -> bool {
        self.verify().finding.is_some()
    }

    /// The files with records, the oldest first.
    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut files: Vec<PathBuf> = entries.map(|it| it.unwrap().path()).collect();
        let is_log = |name: &str| name.starts_with("audit.jsonl") && !name.ends_with(".head");
        files.retain(|path| is_log(path.file_name().unwrap().to_str().unwrap()));
        files.sort();
        // The one without a number is the last.
        files.rotate_left(1);
        files
    }

    /// The hash of each record.
    fn hashes(&self) -> BTreeMap<u64, String> {
        let mut hashes = BTreeMap::new();
        show(&self.file(), &NO_FILTER, &mut |line| {
            if let Line::Record { text } = line {
                let record: serde_json::Value = serde_json::from_str(text).unwrap();
                let hash = record["hash"].as_str().unwrap().to_owned();
                hashes.insert(record["seq"].as_u64().unwrap(), hash);
            }
            Ok(())
        })
        .unwrap();
        hashes
    }
}

const SMALL: u64 = 900;

fn every_flipped_byte_is_found() {
    let log = Log::of_each_kind(SMALL);
    assert!(log.files().len() > 2);
    assert!(!log.is_found());
    let mut files = log.files();
    files.push(log.file().with_extension("jsonl.head"));
    for file in files {
        let whole = fs::read(&file).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 7);
            fs::write(&file, bytes).unwrap();
            assert!(log.is_found(), "{}: byte {at}", file.display());
        }
        fs::write(&file, whole).unwrap();
    }
    assert!(!log.is_found());
}

fn every_cut_is_found() {
    let log = Log::of_each_kind(SMALL);
    for file in log.files() {
        let whole = fs::read(&file).unwrap();
        for length in 0..whole.len() {
            fs::write(&file, &whole[..length]).unwrap();
            assert!(log.is_found(), "{}: cut at {length}", file.display());
        }
        fs::write(&file, whole).unwrap();
    }
    assert!(!log.is_found());
}

/// Any order of the lines but their own is found, and any record that is missing or there twice.
fn records_keep_their_places() {
    let log = Log::of_each_kind(SMALL);
    let whole: Vec<Vec<u8>> = log.files().iter().map(|it| fs::read(it).unwrap()).collect();
    let lines: Vec<Vec<Vec<u8>>> = whole
        .iter()
        .map(|text| {
            text.split_inclusive(|it| *it == b'\n')
                .map(<[u8]>::to_vec)
                .collect()
        })
        .collect();
    let places: Vec<(usize, usize)> = (0..lines.len())
        .flat_map(|file| (0..lines[file].len()).map(move |line| (file, line)))
        .collect();
    let check = |what: &str, changed: &[Vec<Vec<u8>>]| {
        for (path, lines) in log.files().iter().zip(changed) {
            fs::write(path, lines.concat()).unwrap();
        }
        assert!(log.is_found(), "{what}");
    };
    for (file, line) in places.iter().copied() {
        let mut changed = lines.clone();
        let taken = changed[file].remove(line);
        check("dropped", &changed);
        changed[file].insert(line, taken.clone());
        changed[file].insert(line, taken);
        check("twice", &changed);
        for (other, place) in places.iter().copied() {
            if (other, place) != (file, line) {
                let mut changed = lines.clone();
                changed[file][line].clone_from(&lines[other][place]);
                changed[other][place].clone_from(&lines[file][line]);
                check("swapped", &changed);
            }
        }
    }
    for (path, text) in log.files().iter().zip(whole) {
        fs::write(path, text).unwrap();
    }
    assert!(!log.is_found());
    // Several things at once.
    let check = |change: Vec<(usize, usize, u8)>| {
        let mut changed = lines.clone();
        for (from, to, byte) in change {
            let (file, line) = places[from % places.len()];
            let taken = changed[file]
                .get(line)
                .cloned()
                .unwrap_or_else(|| vec![byte]);
            let (file, _) = places[to % places.len()];
            let at = to % (changed[file].len() + 1);
            changed[file].insert(at, taken);
        }
        if changed != lines {
            check("random", &changed);
        }
    };
    let strategy =
        proptest::collection::vec(proptest::arbitrary::any::<(usize, usize, u8)>(), 1..5);
    TestRunner::new(Config::with_cases(200))
        .run(&strategy, |change| {
            check(change);
            Ok(())
        })
        .unwrap();
}

fn files_keep_their_places() {
    let log = Log::of_each_kind(SMALL);
    let aside = log.folder.path().join("audit.jsonl.aside");
    let mut files = log.files();
    files.push(log.file().with_extension("jsonl.head"));
    for file in &files {
        fs::rename(file, &aside).unwrap();
        assert!(log.is_found(), "{} is missing", file.display());
        fs::rename(&aside, file).unwrap();
    }
    fs::rename(&files[0], &aside).unwrap();
    fs::rename(&files[1], &files[0]).unwrap();
    fs::rename(&aside, &files[1]).unwrap();
    assert!(log.is_found(), "swapped");
    let nothing = verify(&log.folder.path().join("other"), &Known::default());
    assert!(matches!(nothing.finding.unwrap().broken, Broken::NoLog));
}

/// Who may write the files can write a new log and its head. An anchor from elsewhere shows it.
fn an_anchor_shows_a_forged_log() {
    let log = Log::of_each_kind(u64::MAX);
    let anchor = log.verify().last.unwrap();
    let text = fs::read_to_string(log.file()).unwrap();
    let begin: Vec<&str> = text.lines().take(4).collect();
    let hash = &begin[3][9..73];
    fs::write(log.file(), begin.join("\n") + "\n").unwrap();
    fs::write(
        log.file().with_extension("jsonl.head"),
        format!("{:020}:{hash}\n", 4),
    )
    .unwrap();
    assert!(!log.is_found(), "no anchor, no finding");
    let known = |at_least: Anchor| Known {
        at_least: Some(at_least),
        after: None,
    };
    let found = |known| verify(&log.file(), &known).finding.map(|it| it.broken);
    assert!(matches!(found(known(anchor)), Some(Broken::Missing { .. })));
    let other = Anchor { seq: 3, ..anchor };
    assert!(matches!(found(known(other)), Some(Broken::Differs { .. })));
    let good: Anchor = format!("4:{hash}").parse().unwrap();
    assert!(found(known(good)).is_none());
}

fn archived_files_are_vouched_for() {
    let log = Log::of_each_kind(SMALL);
    let files = log.files();
    let text = fs::read_to_string(&files[0]).unwrap();
    let last = text.lines().last().unwrap();
    let record: serde_json::Value = serde_json::from_str(last).unwrap();
    let anchor = format!("{}:{}", record["seq"], record["hash"].as_str().unwrap());
    fs::remove_file(&files[0]).unwrap();
    assert!(matches!(
        log.verify().finding.unwrap().broken,
        Broken::Early { .. }
    ));
    let known = |after: Anchor| Known {
        after: Some(after),
        at_least: None,
    };
    let after: Anchor = anchor.parse().unwrap();
    assert!(verify(&log.file(), &known(after)).finding.is_none());
    let wrong = Anchor {
        seq: after.seq - 1,
        ..after
    };
    assert!(verify(&log.file(), &known(wrong)).finding.is_some());
}

/// The check in the README needs nothing of ours.
fn the_readme_says_how_to_check() {
    let readme = include_str!("../../README.md");
    let script = readme
        .split("```python\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let log = Log::of_each_kind(SMALL);
    // A torn end that was sealed: the next start does that.
    let torn = [fs::read(log.file()).unwrap(), b"{\"hash\":\"torn".to_vec()].concat();
    fs::write(log.file(), torn).unwrap();
    append(&log, &AuditRecord::ProxyStopped);
    let run = || {
        let python = Command::new("python3")
            .arg("-c")
            .arg(script)
            .args(log.files())
            .output();
        let output = python.expect("python3 is there: bin/setup installs it");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let report = log.verify();
    assert!(report.finding.is_none());
    assert_eq!(report.seals.len(), 1);
    assert_eq!(run(), report.last.unwrap().to_string());
    for file in log.files() {
        let whole = fs::read(&file).unwrap();
        let mut bytes = whole.clone();
        bytes[whole.len() / 2] ^= 1;
        fs::write(&file, bytes).unwrap();
        assert_eq!(run(), "", "{}", file.display());
        fs::write(&file, whole).unwrap();
    }
}

fn append(log: &Log, record: &AuditRecord) {
    runtime().block_on(async {
        let sink = AuditSink::open(settings(&log.file(), u64::MAX)).unwrap();
        sink.append(record).await.unwrap();
        sink.close().await;
    });
}

fn records_can_be_found() {
    let log = Log::of_each_kind(SMALL);
    let events = |filter: Filter| {
        let mut events = Vec::new();
        show(&log.file(), &filter, &mut |line| {
            let Line::Record { text } = line else {
                panic!("{line:?}")
            };
            let record: serde_json::Value = serde_json::from_str(text).unwrap();
            events.push(record["event"].as_str().unwrap().to_owned());
            Ok(())
        })
        .unwrap();
        events.retain(|event| event != "rotated");
        events.join(" ")
    };
    let named = |name: &str| Some(name.to_owned());
    assert_eq!(
        events(Filter {
            who: named("ops_anna"),
            ..NO_FILTER
        }),
        "admin_login grant_taken statement outcome refused grant_ended"
    );
    assert_eq!(
        events(Filter {
            who: named("ops_eve"),
            ..NO_FILTER
        }),
        "admin_login_refused"
    );
    assert_eq!(
        events(Filter {
            tenant: named("acme"),
            ..NO_FILTER
        }),
        "grant_taken statement outcome tenant_refused"
    );
    assert_eq!(
        events(Filter {
            tenant: named("globex"),
            ..NO_FILTER
        }),
        "grant_taken statement outcome dropped"
    );
    assert_eq!(
        events(Filter {
            grant: named("inc-123"),
            ..NO_FILTER
        }),
        "grant_taken statement outcome refused grant_ended"
    );
    let future = "2999-01-01".parse().unwrap();
    assert_eq!(
        events(Filter {
            since: Some(future),
            ..NO_FILTER
        }),
        ""
    );
    // An outcome belongs to its statement.
    let statement = log.verify().last.unwrap().seq + 1;
    append(&log, &records::statement(2, SentText::from("SELECT 2")));
    append(&log, &records::outcome(statement));
    let filter = Filter {
        tenant: named("globex"),
        ..NO_FILTER
    };
    assert!(events(filter).ends_with("dropped statement outcome"));
}

fn the_command_line() {
    let log = Log::of_each_kind(SMALL);
    let file = log.file();
    let file = file.to_str().unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_tenantry"))
            .args(arguments)
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (
            output.status.code().unwrap(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    let (code, out, _) = run(&["audit", "verify", "--file", file]);
    let last = log.verify().last.unwrap();
    assert_eq!(code, 0, "{out}");
    assert!(
        out.ends_with(&format!("; the last one is {last}\n")),
        "{out}"
    );
    let anchor = last.to_string();
    let expected = ["audit", "verify", "--file", file, "--expect-at-least"];
    assert_eq!(run(&[&expected[..], &[&anchor]].concat()).0, 0);
    let more = Anchor { seq: 999, ..last }.to_string();
    assert_eq!(run(&[&expected[..], &[&more]].concat()).0, 1);
    assert_eq!(run(&[&expected[..], &["5"]].concat()).0, 2);
    let config = log.folder.path().to_str().unwrap();
    assert_eq!(run(&["audit", "verify", "--config", config]).0, 2);
    assert_eq!(
        run(&["audit", "verify", "--config", config, "--file", file]).0,
        2
    );
    fs::write(
        log.folder.path().join("tenantry.toml"),
        "[listen]\naddress = [\"127.0.0.1:1\"]\n[audit]\nfile = \"audit.jsonl\"\n",
    )
    .unwrap();
    assert_eq!(run(&["audit", "verify", "--config", config]).0, 0);
    let (code, out, err) = run(&["audit", "show", "--config", config, "--who", "ops_anna"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let words: Vec<&str> = out
        .lines()
        .nth(1)
        .unwrap()
        .split(' ')
        .skip(2)
        .take(3)
        .collect();
    assert_eq!(
        words,
        ["grant_taken", "who=ops_anna", "login=ops_anna"],
        "{out}"
    );
    assert!(!out.contains('\u{1b}'));
    let (_, json, _) = run(&["audit", "show", "--file", file, "--json"]);
    let written: Vec<String> = log
        .files()
        .iter()
        .map(|it| fs::read_to_string(it).unwrap())
        .collect();
    assert_eq!(json, written.concat());
    let text = fs::read_to_string(file).unwrap();
    fs::write(file, text.replacen("\"seq\"", "\"sec\"", 1)).unwrap();
    let (code, out, _) = run(&["audit", "verify", "--file", file]);
    assert_eq!(code, 1);
    assert!(out.contains("audit.jsonl:1: record "), "{out}");
    assert_eq!(run(&["audit", "show", "--file", file]).0, 1);
}

fn unavailable(result: Result<Anchor, AuditError>) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.sqlstate(), "58030");
    let AuditError::Unavailable { reason } = error else {
        panic!("{error}")
    };
    reason
}

fn one_process_writes() {
    let log = Log::of_each_kind(u64::MAX);
    runtime().block_on(async {
        let first = AuditSink::open(settings(&log.file(), u64::MAX)).unwrap();
        let record = AuditRecord::ProxyStopped;
        first.append(&record).await.unwrap();
        let second = AuditSink::open(settings(&log.file(), u64::MAX)).unwrap();
        let reason = unavailable(second.append(&record).await);
        assert!(
            reason.ends_with("another process has the log open"),
            "{reason}"
        );
        assert!(!log.is_found(), "a log can be proved while it is written");
        first.clone().close().await;
        assert_eq!(first.append(&record).await, Err(AuditError::Closed));
        second.append(&record).await.unwrap();
        second.close().await;
    });
    assert!(!log.is_found());
}

fn only_plain_files_of_the_owner() {
    let log = Log::of_each_kind(u64::MAX);
    let (file, head) = (log.file(), log.file().with_extension("jsonl.head"));
    for path in [&file, &head] {
        let mode = fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }
    let attempt = || {
        runtime().block_on(async {
            let sink = AuditSink::open(settings(&file, u64::MAX)).unwrap();
            let written = sink.append(&AuditRecord::ProxyStopped).await;
            sink.close().await;
            written
        })
    };
    let aside = log.folder.path().join("aside");
    for path in [&file, &head] {
        fs::rename(path, &aside).unwrap();
        symlink(&aside, path).unwrap();
        let reason = unavailable(attempt());
        assert!(reason.ends_with("it is no plain file"), "{reason}");
        assert!(log.is_found());
        fs::remove_file(path).unwrap();
        fs::rename(&aside, path).unwrap();
        fs::set_permissions(path, PermissionsExt::from_mode(0o666)).unwrap();
        let reason = unavailable(attempt());
        assert!(
            reason.ends_with("others than its owner may write it"),
            "{reason}"
        );
        fs::set_permissions(path, PermissionsExt::from_mode(0o640)).unwrap();
    }
    attempt().unwrap();
}

fn many_wait_for_one_write() {
    let log = Log::of_each_kind(u64::MAX);
    runtime().block_on(async {
        let sink = AuditSink::open(settings(&log.file(), 64 * 1024)).unwrap();
        let first = sink.append(&AuditRecord::ProxyStopped).await.unwrap();
        let waiting = (0..500).map(|session| {
            let sink = sink.clone();
            tokio::spawn(async move {
                let record = records::statement(session, SentText::from("SELECT 1"));
                sink.append(&record).await.unwrap()
            })
        });
        let mut anchors = BTreeMap::new();
        for waiting in waiting.collect::<Vec<_>>() {
            let anchor = waiting.await.unwrap();
            anchors.insert(anchor.seq, anchor.hash.to_string());
        }
        assert_eq!(anchors.len(), 500);
        assert!(anchors.keys().all(|seq| *seq > first.seq));
        let hashes = log.hashes();
        assert!(
            anchors
                .iter()
                .all(|(seq, hash)| hashes.get(seq) == Some(hash))
        );
        sink.close().await;
    });
    assert!(!log.is_found());
}

/// A tenant that is refused all the time neither waits nor fills the disk; what was left out is known.
fn notes_never_wait() {
    let log = Log::of_each_kind(u64::MAX);
    runtime().block_on(async {
        let sink = AuditSink::open(settings(&log.file(), u64::MAX)).unwrap();
        for _ in 0..5000 {
            sink.note(&records::tenant_refused("globex"));
        }
        sink.close().await;
        without_a_log(&log).await;
    });
    let text = fs::read_to_string(log.file()).unwrap();
    let written = text
        .matches("\"tenant_refused\",\"tenant\":\"globex\"")
        .count();
    assert!((1..=100).contains(&written), "{written}");
    let is_last = |line: &&str| line.contains("\"dropped\",\"records\"");
    let dropped = text.lines().rfind(is_last).unwrap();
    let dropped: serde_json::Value = serde_json::from_str(dropped).unwrap();
    let all = 5000 - u64::try_from(written).unwrap();
    assert_eq!(dropped["records"].as_u64().unwrap(), all);
    assert!(dropped["tenants"]["globex"].as_u64().unwrap() > 0);
    assert!(!log.is_found());
}

/// Nothing happens where nothing can be written.
async fn without_a_log(log: &Log) {
    let sink = AuditSink::open(settings(&log.file().join("no-folder"), u64::MAX)).unwrap();
    sink.note(&records::tenant_refused("acme"));
    unavailable(sink.append(&AuditRecord::ProxyStopped).await);
    sink.clone().close().await;
    sink.note(&records::tenant_refused("acme"));
}

fn a_record_is_written_whole_or_refused() {
    let log = Log::of_each_kind(u64::MAX);
    let megabytes = |count: usize| "\u{1}é\"".repeat(count * 1024 * 1024 / 4);
    runtime().block_on(async {
        let sink = AuditSink::open(settings(&log.file(), u64::MAX)).unwrap();
        // The signs above take 2.5 times their room in JSON.
        let large = records::statement(1, SentText::Text(megabytes(10)));
        sink.append(&large).await.unwrap();
        let too_large = records::statement(1, SentText::Text(megabytes(16)));
        let error = sink.append(&too_large).await.unwrap_err();
        assert_eq!(error.sqlstate(), "54000");
        sink.append(&AuditRecord::ProxyStopped).await.unwrap();
        sink.close().await;
    });
    let text = fs::read_to_string(log.file()).unwrap();
    let line = text.lines().nth(12).unwrap();
    let record: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(record["statement"].as_str().unwrap(), megabytes(10));
    assert!(!log.is_found());
}

fn a_full_disk_refuses_and_recovers() {
    let log = Log::of_each_kind(u64::MAX);
    let mut writer = Writer::start(&log.file(), Some(16));
    let mut acknowledged = BTreeMap::new();
    let mut keep = |line: &str| {
        if let Some(anchor) = line.strip_prefix("ok ") {
            let (seq, hash) = anchor.split_once(':').unwrap();
            acknowledged.insert(seq.parse().unwrap(), hash.to_owned());
        }
    };
    let mut refused = 0;
    while refused < 20 {
        let line = writer.line().unwrap();
        keep(&line);
        refused += i32::from(line == "refused 58030");
    }
    // What was refused left nothing behind.
    let report = log.verify();
    assert!(report.finding.is_none(), "{:?}", report.finding);
    let lifted = Command::new("prlimit")
        .args([
            "--fsize=unlimited:unlimited",
            "--pid",
            &writer.id().to_string(),
        ])
        .status();
    assert!(lifted.unwrap().success());
    keep(&writer.wait_for("ok"));
    keep(&writer.wait_for("ok"));
    writer.stop();
    let report = log.verify();
    assert!(report.finding.is_none(), "{:?}", report.finding);
    assert_eq!(report.seals, []);
    let hashes = log.hashes();
    assert!(acknowledged.len() > 2);
    for (seq, hash) in &acknowledged {
        assert_eq!(hashes.get(seq), Some(hash), "record {seq}");
    }
    let text: String = log
        .files()
        .iter()
        .map(|it| fs::read_to_string(it).unwrap())
        .collect();
    assert!(
        text.contains("\"event\":\"recovered\",\"error\":"),
        "it says so"
    );
}

/// Whatever was acknowledged when the process was killed is there, and the chain goes on.
fn a_killed_writer_loses_nothing() {
    let log = Log::of_each_kind(u64::MAX);
    let mut acknowledged = BTreeMap::new();
    for round in 0..100 {
        let mut writer = Writer::start(&log.file(), None);
        let mut lines = vec![writer.wait_for("ok")];
        std::thread::sleep(Duration::from_micros(rand::rng().random_range(0..15_000)));
        lines.extend(writer.kill());
        for line in lines {
            let anchor = line.strip_prefix("ok ").expect("nothing is refused");
            let (seq, hash) = anchor.split_once(':').unwrap();
            acknowledged.insert(seq.parse::<u64>().unwrap(), hash.to_owned());
        }
        match log.verify().finding.map(|finding| finding.broken) {
            // What was not acknowledged may be torn, but nothing else.
            None => {}
            Some(Broken::Cut { record } | Broken::Record { record }) => {
                assert!(
                    record > *acknowledged.keys().last().unwrap(),
                    "round {round}"
                );
            }
            Some(broken) => panic!("round {round}: {broken}"),
        }
    }
    let mut writer = Writer::start(&log.file(), None);
    writer.wait_for("ok");
    writer.stop();
    let report = log.verify();
    assert!(report.finding.is_none(), "{:?}", report.finding);
    assert!(report.files > 1, "it was rotated");
    let hashes = log.hashes();
    assert!(acknowledged.len() >= 100);
    for (seq, hash) in &acknowledged {
        assert_eq!(hashes.get(seq), Some(hash), "record {seq}");
    }
}
