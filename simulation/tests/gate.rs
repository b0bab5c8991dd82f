//! The gate: defects are found, and nothing else is.

use std::time::Duration;

use labrys_simulation::gate::{Patience, ROWS, Row, Search, hunt};
use labrys_store::raft::Defect;

/// A variable of the environment: which defects to hunt, or for how long.
#[allow(clippy::disallowed_methods, reason = "a test may be told what to search")]
fn told(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[test]
fn every_defect_of_the_store_has_a_row_with_a_campaign_or_a_reason() {
    let rows: Vec<&str> = ROWS.iter().map(|row| row.defect).collect();
    let defects: Vec<&str> = Defect::ALL.iter().map(|defect| defect.name()).collect();
    assert_eq!(rows, defects);
    for row in ROWS {
        match row.search {
            Search::Campaign(_) => {
                let config = row.config(labrys_seed::Seed(1), true).expect(row.defect).expect("a campaign");
                assert_eq!(config.test.defect, [row.defect]);
            }
            Search::NotExpressible { why } => assert!(!why.is_empty(), "{}", row.defect),
        }
    }
}

#[test]
#[ignore = "a search by hand: LABRYS_GATE_ONLY=a,b LABRYS_GATE_SECONDS=600"]
fn explore() {
    let only = told("LABRYS_GATE_ONLY");
    let seconds = told("LABRYS_GATE_SECONDS").and_then(|text| text.parse().ok()).unwrap_or(300);
    for row in ROWS {
        if only.as_ref().is_some_and(|only| !only.split(',').any(|name| name == row.defect)) {
            continue;
        }
        let Row { search: Search::Campaign(_), .. } = row else { continue };
        for number in 1..=told("LABRYS_GATE_SEEDS").map_or(1, |text| text.parse().unwrap_or(1)) {
            let hunted =
                hunt(row, number, Patience { simulated: Duration::from_secs(seconds), runs: u64::MAX }, true)
                    .expect(row.defect);
            let found = hunted.found.map_or("-".to_owned(), |(config, failure)| {
                format!("seed {} {}: {}", config.test.seed, failure.of, failure.what)
            });
            println!("{} {} runs {:.0?}: {found:.150}", row.defect, hunted.runs, hunted.simulated);
        }
    }
}
