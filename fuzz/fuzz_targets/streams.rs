//! Streams of COPY FROM through the machine that puts the tenant in front of each row.
#![no_main]

#[path = "../streams.rs"]
mod streams;

libfuzzer_sys::fuzz_target!(|input: &[u8]| streams::rows_begin_with_the_tenant(input));
