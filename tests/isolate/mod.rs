//! Case files: SQL in, the statement to be sent or a refusal out.
//!
//! A file of `tests/isolate/cases` holds cases of one theme. `isolate` is followed by the client's
//! text and, behind `----`, what becomes of it: the text of each statement, or the refusal with its
//! SQLSTATE, its hint and the place it names. `types=(23,25)` declares parameter types.
//! `scope=(1,2)` makes it an admin's text, under a grant over these tenants; `as=1` under one to see what
//! this tenant sees; `own=yes` under one in a tenant's own database. `tables=(orders)` and
//! `verbs=(select)` say what the grant allows; without them, everything.
//! A file of `tests/isolate/schemas` has a database of its own: `schema` is followed by SQL that a superuser
//! runs in it, `policy` by the tables of a policy.toml.
//! `REWRITE=1 ./bin/test isolate` writes what is found into the files, to be reviewed as a diff.

mod schemas;
mod sizes;

use std::fmt::Write as _;
use std::path::Path;

use datadriven::TestCase;
use libtest_mimic::Trial;
use tenantry::admitted::Admitted;
use tenantry::isolate::isolate;
use tenantry::tenant::{Classified, Rows, Scope, TenantKey};

use crate::{fixture, grants};

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
        .chain(schemas::trials())
        .chain(sizes::trials())
        .collect()
}

fn check(case: &mut TestCase, classified: &Classified) -> String {
    assert_eq!(case.directive, "isolate", "the only directive");
    let types: Vec<u32> = case.take_args("types").unwrap_or_default();
    let under = scope(case).map(|scope| classified.under(scope));
    case.expect_empty().expect("no other argument");
    let sql = case.input.trim_end();
    match isolate(sql.as_bytes(), &types, under.as_ref().unwrap_or(classified)) {
        Ok(statements) => statements
            .iter()
            .map(|isolated| match &isolated.admitted {
                Admitted::Isolated(verified) => format!("{}\n", verified.text()),
                Admitted::Bypassed(bypassed) => {
                    assert_eq!(bypassed.scope().grant, "inc-1");
                    format!("{}\n", bypassed.text())
                }
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

/// What a case's grant allows, if it has one.
fn scope(case: &mut TestCase) -> Option<Scope> {
    let keys: Result<Vec<i64>, _> = case.take_args("scope");
    let tenant: Result<i64, _> = case.take_arg("as");
    let own: Result<String, _> = case.take_arg("own");
    let tables: Result<Vec<String>, _> = case.take_args("tables");
    let verbs: Result<Vec<String>, _> = case.take_args("verbs");
    let rows = match (keys, tenant, own) {
        (Ok(keys), Err(_), Err(_)) => Rows::Of(keys.into_iter().map(TenantKey::Integer).collect()),
        (Err(_), Ok(key), Err(_)) => Rows::AsTenant(TenantKey::Integer(key)),
        (Err(_), Err(_), Ok(_)) => Rows::All,
        (Err(_), Err(_), Err(_)) if tables.is_err() && verbs.is_err() => return None,
        _ => panic!("one of scope, as and own"),
    };
    Some(grants::scope(
        rows,
        tables.as_deref().ok(),
        verbs.as_deref().ok(),
    ))
}
