//! Bytes of a client through the deframer and the readers of messages.
#![no_main]

#[path = "../checks.rs"]
mod checks;
#[path = "../../tests/fixture.rs"]
mod fixture;

libfuzzer_sys::fuzz_target!(|input: &[u8]| checks::frames_are_all_of_the_bytes(input));
