//! The server's time for the usual statements: as they are sent, and as a hand would write them.
//!
//! In: the statements of `usual.txt`. Out: the ratio of the medians of the time that the backend was on a
//! processor, measured in turn on one connection.

use std::time::Duration;

use libtest_mimic::Failed;
use tokio_postgres::{Client, Statement};

use super::{SHOP, classified, sent, usual};
use crate::support::runtime;

/// How often a statement is run between two looks at the clock.
const RUNS: u32 = 40;

/// Without `TENANTRY_CPU`, this often; that is too few for a verdict.
const ROUNDS: usize = 1;

/// More than this over all statements, and what is sent costs more than what a hand writes.
const RATIO_AT_MOST: f64 = 1.1;

/// Measures; the ratio is judged only if it was asked for more rounds.
pub(super) fn cost_the_same() -> Result<(), Failed> {
    let asked = std::env::var("TENANTRY_CPU").ok();
    let rounds = asked
        .as_deref()
        .map_or(ROUNDS, |rounds| rounds.parse().expect("a number"));
    let database = SHOP.database();
    database.execute("VACUUM ANALYZE");
    let classified = classified(&database);
    let pairs = usual()
        .into_iter()
        .filter(|(plain, _)| plain.starts_with("SELECT"));
    let (mut all, mut ratios) = ([0.0, 0.0], Vec::new());
    runtime().block_on(async {
        let client = database.connect().await;
        let process: i32 = client
            .query_one("SELECT pg_backend_pid()", &[])
            .await
            .expect("a process")
            .get(0);
        for (plain, by_hand) in pairs {
            let Ok(sent) = sent(&plain, &classified) else {
                continue;
            };
            let mut times = [Vec::new(), Vec::new()];
            let mut prepared = Vec::new();
            for text in [&sent, &by_hand] {
                prepared.push(client.prepare(text).await.expect("a statement"));
            }
            for _ in 0..rounds {
                for (statement, times) in prepared.iter().zip(&mut times) {
                    times.push(measured(&client, process, statement).await);
                }
            }
            let [ours, theirs] = times.map(median);
            all = [all[0] + ours, all[1] + theirs];
            ratios.push((ours / theirs, ours, plain));
        }
    });
    ratios.sort_by(|one, other| other.0.total_cmp(&one.0));
    for (ratio, ours, plain) in ratios.iter().take(8) {
        println!("{ratio:>6.2} {ours:>7.0} us {plain}");
    }
    let middle = ratios[ratios.len() / 2].0;
    let total = all[0] / all[1];
    println!(
        "{} statements, {rounds} rounds: the middle ratio is {middle:.3}, that of the sums {total:.3}",
        ratios.len()
    );
    if asked.is_some() && total > RATIO_AT_MOST {
        return Err(format!("{total:.3} times the time of what a hand writes").into());
    }
    Ok(())
}

/// The microseconds on a processor for one run of a prepared statement.
async fn measured(client: &Client, process: i32, statement: &Statement) -> f64 {
    let before = on_processor(process);
    for _ in 0..RUNS {
        client.query(statement, &[]).await.expect("a result");
    }
    let spent = Duration::from_nanos(on_processor(process) - before);
    spent.as_secs_f64() * 1_000_000.0 / f64::from(RUNS)
}

fn on_processor(process: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/schedstat")).expect("Linux");
    let first = text.split_ascii_whitespace().next();
    first
        .and_then(|spent| spent.parse().ok())
        .expect("a number")
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
