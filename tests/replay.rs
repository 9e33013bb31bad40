//! The fuzz targets' corpus, replayed on the stable toolchain.

#[path = "../fuzz/checks.rs"]
mod checks;

use std::path::Path;

use libtest_mimic::Trial;

/// A target, and what it checks of an input.
type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 2] = [
    ("frames", checks::frames_are_all_of_the_bytes),
    ("isolate", checks::isolate_never_lets_a_table_through),
];

/// One trial a target.
pub fn trials() -> Vec<Trial> {
    TARGETS
        .into_iter()
        .map(|(name, check)| {
            Trial::test(format!("replay::{name}"), move || {
                let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
                    .join("fuzz/corpus")
                    .join(name);
                let mut inputs = 0;
                for entry in std::fs::read_dir(folder).expect("the corpus") {
                    let input = std::fs::read(entry.expect("an input").path()).expect("its bytes");
                    check(&input);
                    inputs += 1;
                }
                assert!(inputs > 0, "the corpus of {name} is not empty");
                Ok(())
            })
        })
        .collect()
}
