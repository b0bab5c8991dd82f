//! The gate: defects are found, and nothing else is. The whole of it is `labrys defects --testbed sim`; this is a fast part.

use std::collections::BTreeSet;
use std::time::Duration;

use labrys_seed::Seed;
use labrys_simulation::gate::{Patience, ROWS, Row, Search, hunt};
use labrys_store::raft::Defect;

/// Of each kind of fault, oracle and trial one that is found soon.
const QUICK: &[&str] = &[
    "commit-index-not-min",
    "unclean-election",
    "quorum-off-by-one",
    "no-check-quorum",
    "no-dir-fsync",
    "mid-log-corruption-truncates",
    "applied-index-nonatomic",
    "hard-state-and-entries-not-atomic",
    "local-leader-read",
    "dedup-not-replicated",
];

fn quick() -> impl Iterator<Item = &'static Row> {
    QUICK.iter().map(|name| Row::of(name).expect(name))
}

#[test]
fn every_defect_of_the_store_has_a_row_with_a_campaign_or_a_reason() {
    let rows: Vec<&str> = ROWS.iter().map(|row| row.defect).collect();
    let defects: Vec<&str> = Defect::ALL.iter().map(|defect| defect.name()).collect();
    assert_eq!(rows, defects);
    for row in ROWS {
        match row.search {
            Search::Campaign(_) => {
                let config = row.config(Seed(1), true).expect(row.defect).expect("a campaign");
                assert_eq!(config.test.defect, [row.defect]);
                let correct = row.config(Seed(1), false).expect(row.defect).expect("a campaign");
                assert!(correct.test.defect.is_empty());
            }
            Search::NotExpressible { why } => assert!(!why.is_empty(), "{}", row.defect),
        }
    }
}

#[test]
fn quick_defects_are_found_by_one_hunt_each() {
    let patience = Patience { simulated: Duration::from_secs(200), runs: u64::MAX };
    for row in quick() {
        let hunted = hunt(row, 1, patience, true).expect(row.defect);
        assert!(hunted.found.is_some(), "{}: not in {} runs", row.defect, hunted.runs);
    }
}

#[test]
fn the_correct_store_raises_no_alarm_under_the_same_campaigns() {
    let patience = Patience { simulated: Duration::from_secs(3_600), runs: 4 };
    let mut campaigns = BTreeSet::new();
    for row in quick().filter(|row| campaigns.insert(row.campaign())) {
        let hunted = hunt(row, 1, patience, false).expect(row.defect);
        let alarm = hunted.found.map(|(config, failure)| (config.test.seed, failure));
        assert_eq!(alarm, None, "{}", row.defect);
        assert_eq!(hunted.runs, 4, "{}", row.defect);
    }
}
