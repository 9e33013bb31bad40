//! The proxy as its clients see it: a running one in front of the run's cluster.
//!
//! Where a new test goes: what a message or a byte does, `messages`; what becomes of sessions and
//! server connections, `sessions`; what becomes of shared tables' hidden column, `shared`; what faults
//! do, `faults`; what drivers send of their own accord, `drivers`; COPY, `copy`; what admins may do, a transcript in `tests/wire/hatch`.

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
mod sessions;
mod settings;
mod shared;
mod via;

use libtest_mimic::Trial;

/// The trials.
pub fn trials() -> Vec<Trial> {
    [
        commands::trials(),
        messages::trials(),
        sessions::trials(),
        settings::trials(),
        shared::trials(),
        copy::trials(),
        drivers::trials(),
        faults::trials(),
        gaps::trials(),
        hatch::trials(),
        via::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
