//! The fuzz targets' corpus, replayed on the stable toolchain.

#[path = "../fuzz/checks.rs"]
mod checks;
#[path = "../fuzz/streams.rs"]
mod streams;

use std::path::Path;

use libtest_mimic::Trial;

/// A target, and what it checks of an input.
type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 3] = [
    ("frames", checks::frames_are_all_of_the_bytes),
    ("isolate", checks::isolate_never_lets_a_table_through),
    ("streams", streams::rows_begin_with_the_tenant),
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
        .chain([Trial::test("replay::streams_made_at_random", || {
            streams_made_at_random();
            Ok(())
        })])
        .collect()
}

/// Streams of what has a meaning somewhere, and of little else.
fn streams_made_at_random() {
    use proptest::prelude::*;
    let piece = prop::sample::select(
        [
            "\n", "\r", "\r\n", "\\", ".", "\\.", "\\.\n", "\\.\r\n", "\"", "'", ",", "|", "7",
            "a", "\\N", "\0",
        ]
        .as_slice(),
    );
    let text = (0_u8..128, 1_u8..9, prop::collection::vec(piece, 0..24)).prop_map(
        |(options, chunk, pieces)| [&[options, chunk], pieces.concat().as_bytes()].concat(),
    );
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 40_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let outcome = runner.run(&text, |input| {
        streams::rows_begin_with_the_tenant(&input);
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}
