//! What the tests need of the world: a throw-away PostgreSQL cluster, and databases in it.
//!
//! In: a [`Fixture`], SQL files that fill a template database once. Out: a [`Database`], a copy of
//! the template that belongs to one trial and may be changed at will.
//!
//! # Invariants
//! 1. No server is used but the one started here; without one, the tests fail. They never skip.
//! 2. The cluster is stopped at the end of the run by its own process id, also after a panic.

mod cluster;
mod database;

use libtest_mimic::Trial;

pub use cluster::{Cluster, StopAtEnd, free_port};
pub use database::{Database, Fixture, runtime};

/// The port of the run's cluster on 127.0.0.1.
pub fn port() -> u16 {
    Cluster::shared().port()
}

/// A trial that fails by panicking.
pub fn trial(name: &str, check: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, || {
        check();
        Ok(())
    })
}

/// A file below `tests/cases`.
pub fn case_file(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/cases")
        .join(name)
}

/// The trials of the support itself.
pub fn trials() -> Vec<Trial> {
    const EMPTY: Fixture = Fixture {
        name: "empty",
        files: &[],
    };
    vec![
        Trial::test("support::a_database_belongs_to_one_trial", || {
            let first = EMPTY.database();
            let second = EMPTY.database();
            first.execute("CREATE TABLE mine (id integer)");
            let count = "SELECT count(*)::text FROM pg_class WHERE relname = 'mine'";
            assert_ne!(first.name(), second.name());
            assert_eq!(first.value(count), "1");
            assert_eq!(second.value(count), "0");
            Ok(())
        }),
        Trial::test("support::the_server_is_not_run_by_root", || {
            let database = EMPTY.database();
            let cluster = Cluster::shared();
            assert_eq!(
                database.value("SHOW data_directory"),
                cluster.data_directory().display().to_string(),
                "the server is the one that was started here"
            );
            let owner = std::os::unix::fs::MetadataExt::uid(
                &std::fs::metadata(cluster.data_directory()).unwrap(),
            );
            assert_ne!(owner, 0);
            Ok(())
        }),
    ]
}
