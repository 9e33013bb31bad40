//! Schemas, data and statements that are made at random, played three times: on a private database,
//! and through the proxy on two shared ones that differ in nothing but the rows of others.
//!
//! What comes back is the same, message by message, and so are the tenant's rows and sequences
//! afterwards; no row of another is changed or locked. Each program of statements has a seed of its
//! own: `TENANTRY_SEED=n TENANTRY_GENERATED=1` plays that one alone. `TENANTRY_GENERATED=n` asks for
//! about n statements.

#![expect(
    clippy::fn_params_excessive_bools,
    clippy::range_plus_one,
    clippy::struct_excessive_bools,
    reason = "what is made at random has many switches, and lengths are sums"
)]

mod change;
mod choices;
mod data;
mod expression;
mod play;
mod program;
mod query;
mod schema;
mod shrink;
mod value;
mod worlds;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use proptest::prelude::any;
use proptest::strategy::{Strategy, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use worlds::Ground;

/// How many statements are played.
const STATEMENTS: usize = 2_000;

/// How many in a hundred must be admitted, else the test tells little.
const ADMITTED_PERCENT: usize = 60;

/// How many failing programs are enough.
const FAILURES: usize = 5;

/// The trials.
pub fn trials() -> Vec<Trial> {
    vec![Trial::test("generated::as_on_a_private_database", check)]
}

/// What a program is made of.
#[derive(Clone, Debug)]
struct Seeds {
    schema: Vec<u8>,
    views: Vec<u8>,
    data: Vec<u8>,
    statements: Vec<Vec<u8>>,
}

fn seeds() -> impl Strategy<Value = Seeds> {
    let bytes = |length| proptest::collection::vec(any::<u8>(), length);
    let statements = proptest::collection::vec(bytes(180), 60..90);
    (bytes(150), bytes(80), bytes(300), statements).prop_map(|(schema, views, data, statements)| {
        Seeds {
            schema,
            views,
            data,
            statements,
        }
    })
}

/// What became of the statements of one command.
#[derive(Clone, Debug, Default)]
struct Count {
    played: usize,
    refused: usize,
    errors: usize,
}

/// What was seen so far.
#[derive(Debug, Default)]
struct Counts {
    commands: BTreeMap<&'static str, Count>,
    refusals: BTreeMap<String, (usize, String)>,
    errors: BTreeMap<String, usize>,
    setting_up: Duration,
}

impl Counts {
    fn all(&self) -> usize {
        self.commands.values().map(|count| count.played).sum()
    }

    fn refused(&self) -> usize {
        self.commands.values().map(|count| count.refused).sum()
    }

    fn print(&self) {
        for (command, count) in &self.commands {
            println!(
                "  {command:<10} {:>7} played, {:>6} refused, {:>6} ended with an error",
                count.played, count.refused, count.errors
            );
        }
        for (code, (count, example)) in &self.refusals {
            println!("  {code} {count:>6}: {example}");
        }
        println!("  errors: {:?}", self.errors);
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

fn check() -> Result<(), Failed> {
    let fresh = std::time::UNIX_EPOCH.elapsed().expect("a clock").as_secs();
    let first = number("TENANTRY_SEED").unwrap_or(fresh);
    let wanted = number("TENANTRY_GENERATED").map_or(STATEMENTS, |number| {
        usize::try_from(number).expect("a number of statements")
    });
    println!("generated: TENANTRY_SEED={first}");
    let ground = Ground::new();
    let mut counts = Counts::default();
    let mut failures = Vec::new();
    let began = Instant::now();
    let mut told = began;
    let mut seed = first;
    while counts.all() < wanted && failures.len() < FAILURES {
        let seeds = of(seed);
        if let Err(difference) = shrink::play(&ground, &seeds, &mut counts) {
            println!("a difference: TENANTRY_SEED={seed}: {}", difference.what());
            let least = shrink::least(&ground, seeds, difference);
            println!("TENANTRY_SEED={seed}: {least}");
            failures.push(format!("TENANTRY_SEED={seed}: {least}"));
        }
        seed += 1;
        if told.elapsed() > Duration::from_mins(5) {
            told = Instant::now();
            println!("{} statements, next seed {seed}", counts.all());
        }
    }
    println!(
        "generated: {} statements in {} programs, {} refused, {} s, of which {} s filled databases",
        counts.all(),
        seed - first,
        counts.refused(),
        began.elapsed().as_secs(),
        counts.setting_up.as_secs()
    );
    counts.print();
    if !failures.is_empty() {
        return Err(failures.join("\n\n").into());
    }
    let admitted = counts.all() - counts.refused();
    assert!(
        admitted * 100 >= counts.all() * ADMITTED_PERCENT,
        "too few are admitted"
    );
    Ok(())
}

fn of(seed: u64) -> Seeds {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    seeds().new_tree(&mut runner).expect("seeds").current()
}
