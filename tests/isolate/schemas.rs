//! Case files with a database of their own, for what the cases' fixture does not have.

use std::path::{Path, PathBuf};

use datadriven::TestCase;
use libtest_mimic::Trial;
use tenantry::config::{self, MissingSecret};
use tenantry::tenant::{Classified, Policy};

use crate::catalog::read;
use crate::support::{Database, Fixture};

const EMPTY: Fixture = Fixture {
    name: "empty",
    files: &[],
};

/// One trial a file.
pub fn trials() -> Vec<Trial> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/isolate/schemas");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the folder of case files")
        .map(|entry| entry.expect("a case file").path())
        .collect();
    files.sort();
    files.into_iter().map(of_file).collect()
}

fn of_file(file: PathBuf) -> Trial {
    let name = file.file_stem().expect("a name").to_string_lossy();
    Trial::test(format!("isolate::schemas::{name}"), move || {
        let mut world = World {
            database: EMPTY.database(),
            policy: policy(""),
            classified: None,
        };
        datadriven::walk(&file.display().to_string(), |cases| {
            cases.run(|case| -> String { world.check(case) });
        });
        Ok(())
    })
}

/// What a file's cases are about.
struct World {
    database: Database,
    policy: Policy,
    /// Made when it is first needed after a change.
    classified: Option<Classified>,
}

impl World {
    fn check(&mut self, case: &mut TestCase) -> String {
        match case.directive.as_str() {
            "schema" => {
                self.database.execute(&case.input);
                self.classified = None;
                String::new()
            }
            "policy" => {
                self.policy = policy(&case.input);
                self.classified = None;
                String::new()
            }
            _ => {
                let classified = self.classified.get_or_insert_with(|| {
                    let catalog = read(&self.database).expect("a catalog");
                    Classified::new(catalog, self.policy.clone())
                });
                super::check(case, classified)
            }
        }
    }
}

/// The policy of a file with these tables, in which a table with the tenant column is scoped.
fn policy(tables: &str) -> Policy {
    let folder = tempfile::tempdir().expect("a folder");
    let defaults = "[defaults]\ntenant_column = \"tenant_id\"\nunlisted = \"by-column\"\n";
    let file = folder.path().join("policy.toml");
    std::fs::write(file, format!("{defaults}{tables}")).expect("a file");
    let config = config::load(folder.path(), MissingSecret::Warning);
    let faults: Vec<_> = config
        .faults
        .iter()
        .filter(|fault| fault.place.file.ends_with("policy.toml"))
        .collect();
    assert!(faults.is_empty(), "{faults:?}");
    config.policy
}
