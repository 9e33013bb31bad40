//! Random statements: refused, or answered as the private database does.

use libtest_mimic::Failed;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::{Answer, PRIVATE, SHARED, ask, connect, generator, isolated, shows_foreign_rows};
use tenantry::isolate::template::Reading;

use crate::fixture;
use crate::support::runtime;

/// How many statements are made; `TENANTRY_RANDOM_STATEMENTS` asks for more.
const STATEMENTS: usize = 600;
/// How many in a hundred must be admitted, else the test tells little.
const ADMITTED_PERCENT: usize = 60;

pub(super) fn check() -> Result<(), Failed> {
    let seed: u64 = std::env::var("TENANTRY_SEED").map_or(20_261_122, |text| {
        text.parse().expect("TENANTRY_SEED is a number")
    });
    let statements = std::env::var("TENANTRY_RANDOM_STATEMENTS").map_or(STATEMENTS, |text| {
        text.parse().expect("a number of statements")
    });
    println!("random statements: seed {seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = generator::query();
    let (shared, private) = (SHARED.database(), PRIVATE.database());
    let classified = fixture::classified();
    let mut admitted = 0;
    let mut bad = Vec::new();
    runtime().block_on(async {
        let (on_shared, on_private) = (connect(&shared).await, connect(&private).await);
        for client in [&on_shared, &on_private] {
            client
                .batch_execute("SET statement_timeout = '20s'; SET jit = off")
                .await
                .unwrap();
        }
        for _ in 0..statements {
            let sql = strategy
                .new_tree(&mut runner)
                .expect("a statement")
                .current();
            let Ok(text) = isolated(&sql, &classified) else {
                continue;
            };
            admitted += 1;
            let (found, shown) = ask(&on_shared, &text).await;
            let (wanted, private_shown) = ask(&on_private, &sql).await;
            let leak = shows_foreign_rows(&shown);
            if leak || found != wanted {
                let shorten = |text: &str| text.chars().take(600).collect::<String>();
                bad.push(format!(
                    "{}: {sql}\nsent {text}\nfound {}\nwanted {}",
                    if leak { "LEAK" } else { "WRONG" },
                    shorten(&shown),
                    shorten(&private_shown)
                ));
            }
            if matches!(wanted, Answer::Error(_)) && bad.len() > 20 {
                break;
            }
        }
    });
    println!("random statements: {admitted} of {statements} admitted");
    if !bad.is_empty() {
        return Err(bad.join("\n\n").into());
    }
    assert!(
        admitted * 100 >= statements * ADMITTED_PERCENT,
        "too few are admitted"
    );
    Ok(())
}

/// What is printed is read and printed again as the same text, before the rewriting and after it.
pub(super) fn check_printing() -> Result<(), Failed> {
    let classified = fixture::classified();
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..Config::default()
    });
    let print = |text: &str| -> String {
        let parsed = tenantry::sql::parse(text.as_bytes()).expect("what was printed is read");
        parsed
            .iter()
            .map(|statement| statement.tree.to_string())
            .collect()
    };
    runner
        .run(&generator::query(), |sql| {
            let prepared = tenantry::isolate::prepare(sql.as_bytes(), &[], &classified);
            for prepared in prepared.into_iter().flatten() {
                let Reading::Parsed { reprinted, .. } = &prepared.reading else {
                    continue;
                };
                for text in [reprinted, &prepared.template.text] {
                    proptest::prop_assert_eq!(&print(text), text);
                }
            }
            Ok(())
        })
        .map_err(|error| error.to_string().into())
}
