//! Writing a log: many at once, on a full disk, and until the process is killed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;
use std::time::Duration;

use libtest_mimic::Trial;
use rand::Rng;
use tenantry::audit::{Anchor, AuditError, AuditSink, Broken};
use tenantry::bypass::{AuditRecord, SentText};

use super::child::Writer;
use super::{Log, records, settings};
use crate::support::{runtime, trial};

/// The trials.
pub fn trials() -> Vec<Trial> {
    vec![
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
        // Nor does a stranger.
        for _ in 0..500 {
            sink.note(&AuditRecord::AdminLoginRefused {
                login: "root".to_owned(),
                client: "10.0.0.9:1".to_owned(),
                database: "main".to_owned(),
                sqlstate: "28P01".to_owned(),
            });
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
    let of_stranger = text
        .matches("\"admin_login_refused\",\"login\":\"root\"")
        .count();
    assert!(of_stranger <= 100, "{of_stranger}");
    let all = 5500 - u64::try_from(written + of_stranger).unwrap();
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
