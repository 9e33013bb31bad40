//! Case files: SQL in, the statement to be sent or a refusal out.
//!
//! A file of `tests/isolate/cases` holds cases of one theme. `isolate` is followed by the client's
//! text and, behind `----`, what becomes of it: the text of each statement, or the refusal with its
//! SQLSTATE, its hint and the place it names. `types=(23,25)` declares parameter types.
//! `REWRITE=1 ./bin/test isolate` writes what is found into the files, to be reviewed as a diff.

mod sizes;

use std::fmt::Write as _;
use std::path::Path;

use datadriven::TestCase;
use libtest_mimic::Trial;
use tenantry::admitted::Admitted;
use tenantry::isolate::isolate;
use tenantry::tenant::Classified;

use crate::fixture;

/// One trial a file.
pub fn trials() -> Vec<Trial> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/isolate/cases");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .expect("the folder of case files")
        .map(|entry| entry.expect("a case file").path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "there are case files");
    files
        .into_iter()
        .map(|file| {
            let name = file
                .file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            Trial::test(format!("isolate::{name}"), move || {
                let classified = fixture::classified();
                datadriven::walk(&file.display().to_string(), |cases| {
                    cases.run(|case| -> String { check(case, &classified) });
                });
                Ok(())
            })
        })
        .chain(sizes::trials())
        .collect()
}

fn check(case: &mut TestCase, classified: &Classified) -> String {
    assert_eq!(case.directive, "isolate", "the only directive");
    let types: Vec<u32> = case.take_args("types").unwrap_or_default();
    case.expect_empty().expect("no other argument");
    let sql = case.input.trim_end();
    match isolate(sql.as_bytes(), &types, classified) {
        Ok(statements) => statements
            .iter()
            .map(|isolated| match &isolated.admitted {
                Admitted::Isolated(verified) => format!("{}\n", verified.text()),
                Admitted::Bypassed(bypassed) => format!("bypassed: {}\n", bypassed.text()),
            })
            .collect(),
        Err(refusal) => {
            let mut out = format!("{}: {refusal}\n", refusal.sqlstate());
            if let Some(hint) = refusal.hint() {
                writeln!(out, "hint: {hint}").expect("a string");
            }
            if let Some(position) = refusal.position {
                let place: String = sql[position..].chars().take(24).collect();
                writeln!(out, "at: {}", place.replace('\n', " ")).expect("a string");
            }
            out
        }
    }
}
