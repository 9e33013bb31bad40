//! The proxy as its clients see it: a running one in front of the run's cluster.
//!
//! Where a new test goes: what a message or a byte does, `messages`; what becomes of sessions and
//! server connections, `sessions`; what becomes of shared tables' hidden column, `shared`; what faults
//! do, `faults`; what drivers send of their own accord, `drivers`; COPY, `copy`;
//! a series of messages and PostgreSQL's own answers, a transcript in `tests/wire/transcripts`; a way to leave a trace
//! behind, `tests/wire/traces/ways.txt`; what admins may do, a transcript in `tests/wire/hatch`.

mod commands;
mod copy;
mod drivers;
mod faults;
mod gaps;
mod gate;
mod hatch;
mod messages;
pub mod proxy;
pub mod raw;
mod rows;
mod sessions;
mod settings;
mod shared;
mod traces;
mod transcripts;
mod via;

use libtest_mimic::Trial;

/// The trials.
pub fn trials() -> Vec<Trial> {
    [
        commands::trials(),
        messages::trials(),
        rows::trials(),
        sessions::trials(),
        settings::trials(),
        shared::trials(),
        copy::trials(),
        drivers::trials(),
        faults::trials(),
        gaps::trials(),
        hatch::trials(),
        traces::trials(),
        transcripts::trials(),
        via::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
