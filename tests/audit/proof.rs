//! A log that somebody changed, and a log that nobody did.

use std::fs;
use std::process::Command;

use libtest_mimic::Trial;
use proptest::test_runner::{Config, TestRunner};
use tenantry::audit::{Anchor, Broken, Known, verify};

use super::{Log, SMALL};
use crate::support::trial;

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
    ]
}

fn every_flipped_byte_is_found() {
    let log = Log::with_a_seal();
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
    let log = Log::with_a_seal();
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
    let log = Log::with_a_seal();
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
    TestRunner::new(Config {
        cases: 200,
        failure_persistence: None,
        ..Config::default()
    })
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
    let log = Log::with_a_seal();
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
