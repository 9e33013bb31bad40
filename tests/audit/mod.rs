//! The audit log as an operator, an attacker and a crash meet it.
//!
//! # Not here
//! Disks that fail in the middle of a call: the tests of `src/audit`.

mod child;
mod proof;
mod reading;
mod records;
mod writing;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use child::run_as_child;
use libtest_mimic::Trial;
use tenantry::audit::{
    AuditSettings, AuditSink, Known, Line, NO_FILTER, Report, show, verify, wall_clock,
};
use tenantry::bypass::AuditRecord;

use crate::support::runtime;

/// The trials.
pub fn trials() -> Vec<Trial> {
    [proof::trials(), reading::trials(), writing::trials()]
        .into_iter()
        .flatten()
        .collect()
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

    /// Several files, the last of which holds torn bytes and their seal.
    fn with_a_seal() -> Self {
        let log = Self::of_each_kind(SMALL);
        let torn = [
            fs::read(log.file()).unwrap(),
            b"{\"hash\":\"torn\n\n\0".to_vec(),
        ];
        fs::write(log.file(), torn.concat()).unwrap();
        append(&log, &AuditRecord::ProxyStopped);
        let report = log.verify();
        assert!(report.finding.is_none(), "{:?}", report.finding);
        assert_eq!((report.files > 2, report.seals.len()), (true, 1));
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
        files.retain(|path| {
            let is_log = path
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("audit.jsonl");
            is_log && path.extension().unwrap() != "head"
        });
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

/// From this length on, a file with one record of each kind goes on in a new one, twice.
const SMALL: u64 = 900;

fn append(log: &Log, record: &AuditRecord) {
    runtime().block_on(async {
        let sink = AuditSink::open(settings(&log.file(), u64::MAX)).unwrap();
        sink.append(record).await.unwrap();
        sink.close().await;
    });
}
