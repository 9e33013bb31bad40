//! Configuration directories in, what is wrong with them out.
//!
//! A file of `tests/config/cases` holds cases of one theme. `load` is followed by files, each behind
//! a line `=== path`, which replace or join those of [`BASE`]; a file without a line is left out.
//! Behind `----` stand the faults, the warnings, and what is served. `show` also prints what the
//! usable objects mean. Every environment variable is set but those that begin with `MISSING`.
//! `REWRITE=1 ./bin/test config` writes what is found into the files, to be reviewed as a diff.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use datadriven::TestCase;
use libtest_mimic::Trial;
use tenantry::config::{Config, Effect, MissingSecret, load_with};
use tenantry::tenant::TenantId;

/// A directory without a fault.
const BASE: &[(&str, &str)] = &[
    (
        "tenantry.toml",
        r#"
[listen]
address = ["127.0.0.1:6432"]
[[upstream]]
name = "main"
address = "127.0.0.1:5432"
database = "app"
user = "app_rw"
password = { env = "MAIN_PASSWORD" }
[[login]]
name = "legacy_app"
password = { env = "APP_PASSWORD" }
tenants = "*"
"#,
    ),
    ("policy.toml", "[defaults]\nunlisted = \"by-column\"\n"),
    (
        "tenants/_common.toml",
        "isolation = \"shared\"\nupstream = \"main\"\n",
    ),
    ("tenants/acme.toml", "key = 1\n"),
];

/// The trials.
pub fn trials() -> Vec<Trial> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config");
    let mut trials: Vec<Trial> = [
        "faults",
        "grants",
        "meaning",
        "names",
        "not_supported",
        "secrets",
    ]
    .into_iter()
    .map(|name| {
        let file = root.join("cases").join(name);
        Trial::test(format!("config::{name}"), move || {
            datadriven::walk(&file.display().to_string(), |cases| {
                cases.run(|case| -> String { check(case) });
            });
            Ok(())
        })
    })
    .collect();
    trials.push(Trial::test(
        "config::the_example_is_understood",
        move || {
            let config = load_with(&root.join("example"), MissingSecret::Warning, &variable);
            for fault in &config.faults {
                assert!(
                    matches!(fault.effect, Effect::NotSupportedYet(_)),
                    "{fault}"
                );
            }
            let served: Vec<&str> = config.tenants.keys().map(TenantId::as_str).collect();
            assert_eq!(served, ["acme", "globex"]);
            assert_eq!(config.grants.len(), 1, "inc-123");
            Ok(())
        },
    ));
    trials
}

fn variable(name: &str) -> Option<String> {
    (!name.starts_with("MISSING")).then(|| format!("the secret in {name}"))
}

fn check(case: &mut TestCase) -> String {
    let missing = match case.take_arg::<String>("secrets").ok().as_deref() {
        Some("warn") => MissingSecret::Warning,
        Some(other) => panic!("unknown: secrets={other}"),
        None => MissingSecret::Fault,
    };
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files(&case.input) {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let config = load_with(folder.path(), missing, &variable);
    let mut out = String::new();
    for fault in &config.faults {
        writeln!(out, "{fault}").unwrap();
    }
    for warning in &config.warnings {
        writeln!(out, "warning: {warning}").unwrap();
    }
    match case.directive.as_str() {
        "load" => served(&config, &mut out),
        "show" => show(&config, &mut out),
        other => panic!("unknown: {other}"),
    }
    out
}

/// The base with what the case changes.
fn files(input: &str) -> BTreeMap<String, String> {
    let mut files: BTreeMap<String, String> = BASE
        .iter()
        .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
        .collect();
    for part in input.split("=== ").skip(1) {
        let (path, text) = part.split_once('\n').unwrap_or((part, ""));
        if text.is_empty() {
            files.remove(path);
        } else {
            files.insert(path.to_owned(), text.to_owned());
        }
    }
    files
}

fn served(config: &Config, out: &mut String) {
    let mut grants = String::new();
    for name in config.grants.keys() {
        write!(grants, "; grant {name}").unwrap();
    }
    let names = |names: Vec<&str>| {
        if names.is_empty() {
            "-".to_owned()
        } else {
            names.join(" ")
        }
    };
    writeln!(
        out,
        "served: listeners {}; upstreams {}; logins {}; tenants {}{}",
        config.listen.addresses.len(),
        names(config.upstreams.keys().map(String::as_str).collect()),
        names(config.logins.keys().map(String::as_str).collect()),
        names(config.tenants.keys().map(TenantId::as_str).collect()),
        grants,
    )
    .unwrap();
}

fn show(config: &Config, out: &mut String) {
    writeln!(out, "{:?}", config.listen).unwrap();
    writeln!(out, "{:?}", config.pool).unwrap();
    for upstream in config.upstreams.values() {
        writeln!(out, "{upstream:?}").unwrap();
    }
    for login in config.logins.values() {
        writeln!(out, "{login:?}").unwrap();
    }
    for tenant in config.tenants.values() {
        writeln!(out, "{tenant:?}").unwrap();
    }
    for grant in config.grants.values() {
        writeln!(out, "{grant:?}").unwrap();
    }
    writeln!(out, "{:?}", config.policy).unwrap();
}
