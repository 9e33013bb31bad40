//! SQL text through the whole pipeline.
#![no_main]

#[path = "../checks.rs"]
mod checks;
#[path = "../../tests/fixture.rs"]
mod fixture;

libfuzzer_sys::fuzz_target!(|input: &[u8]| checks::isolate_never_lets_a_table_through(input));
