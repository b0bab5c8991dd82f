//! Whole simulated runs: equal seeds give equal bytes, a correct store is never accused, each oracle fires.

use std::collections::BTreeSet;

use labrys_checker::Budget;
use labrys_checker::verdict::Validity;
use labrys_harness::config::TestOptions;
use labrys_history::write_json_lines;
use labrys_nemesis::Family;
use labrys_seed::Seed;
use labrys_simulation::oracles::Property;
use labrys_simulation::{Ended, Simulated, SimulationConfig, run};

const ALL_FAULTS: &str =
    r#"nemesis = ["partition", "pause", "kill", "power-cut", "network", "clock", "disk"]"#;

/// How many seeds: `LABRYS_SIMULATION_SEEDS`, or the default.
#[allow(clippy::disallowed_methods, reason = "a test may be told how long to search")]
fn seeds(default: u64) -> u64 {
    std::env::var("LABRYS_SIMULATION_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn config(toml: &str, seed: u64) -> SimulationConfig {
    let text =
        format!("testbed = \"sim\"\nrate = 100.0\ntime-limit = \"10s\"\nnemesis-interval = \"1s\"\n{toml}");
    let options = TestOptions::parse(&text, std::path::Path::new("test.toml")).expect("options");
    SimulationConfig::new(options.resolve(Seed(seed)).expect("a configuration"))
}

fn simulate(toml: &str, seed: u64) -> Simulated {
    run(&config(toml, seed), Budget::unlimited()).expect("a run")
}

fn bytes(simulated: &Simulated) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_json_lines(&mut bytes, simulated.history.events()).expect("written");
    bytes
}

#[test]
fn a_seed_is_the_same_history_byte_for_byte_in_any_thread() {
    for seed in 0..5 {
        let here = simulate(ALL_FAULTS, seed);
        let there = std::thread::spawn(move || bytes(&simulate(ALL_FAULTS, seed))).join().expect("a run");
        assert_eq!(bytes(&here), there, "seed {seed}");
        assert!(here.history.events().len() > 300, "seed {seed} does too little to mean anything");
        assert_ne!(bytes(&here), bytes(&simulate(ALL_FAULTS, seed + 1)));
    }
}

#[test]
fn a_correct_store_is_never_accused_whatever_befalls_it_and_every_kind_of_fault_bites() {
    let mut bitten = BTreeSet::new();
    let mut snapshots = 0;
    for seed in 0..seeds(60) {
        let simulated = simulate(ALL_FAULTS, seed);
        let complaints: Vec<&str> =
            simulated.verdict.checks.iter().map(|check| check.reason.as_str()).collect();
        assert_eq!(
            (simulated.verdict.validity, &simulated.ended),
            (Validity::Valid, &Ended::Whole),
            "seed {seed}: {complaints:#?}"
        );
        let bites = simulated.schedule.iter().filter(|fault| fault.bit);
        bitten.extend(bites.map(|fault| fault.resolved.family().to_string()));
        snapshots += simulated.marks.snapshots_installed;
    }
    let families = ["clock", "disk", "kill", "network", "partition", "pause", "power-cut"];
    assert_eq!(bitten.iter().map(String::as_str).collect::<Vec<_>>(), families);
    assert!(snapshots > 0, "no snapshot was ever installed");
}

#[test]
fn a_correct_store_bears_every_sequence_and_every_aimed_cut_and_several_faults_of_each_bite() {
    let kinds = [
        "partition-swizzle",
        "partition-flapping",
        "clock-strobe",
        "partition-leader-minority",
        "partition-deaf-leader",
        "partition-mute-leader",
        "partition-client-requests",
        "partition-client-replies",
        "partition-client-links",
    ];
    for kind in kinds {
        let mut bites = 0;
        for seed in 0..6 {
            let simulated = simulate(&format!("nemesis = [\"{kind}\"]"), seed);
            let complaints: Vec<&str> =
                simulated.verdict.checks.iter().map(|check| check.reason.as_str()).collect();
            assert_eq!(
                (simulated.verdict.validity, &simulated.ended),
                (Validity::Valid, &Ended::Whole),
                "{kind}, seed {seed}: {complaints:#?}"
            );
            bites += simulated.schedule.iter().filter(|fault| fault.bit).count();
        }
        assert!(bites >= 6, "{kind}: {bites}");
    }
}

#[test]
fn faults_wait_for_their_events_and_those_whose_event_never_comes_are_told() {
    let plan = r#"
        require-bite = ["clock"]
        faults = [
          { at-ms = 1000, lasts-ms = 3000, kind = "partition", shape = "leader" },
          { at-ms = 1000, lasts-ms = 500, after = "new leader elected", kind = "pause", target = "leader" },
          { at-ms = 0, lasts-ms = 300, after = "fault 1 undone", kind = "kill", target = "one of followers" },
          { at-ms = 0, lasts-ms = 300, after = "1000000 operations completed", kind = "clock", target = "all", change = "freeze" },
        ]"#;
    for seed in 0..5 {
        let simulated = simulate(plan, seed);
        let applied = |family: Family| {
            let fault = simulated.schedule.iter().find(|fault| fault.resolved.family() == family);
            fault.and_then(|fault| Some((fault.applied_at_ms?, fault.undone_at_ms?)))
        };
        let (cut, healed) = applied(Family::Partition).expect("it waits for nothing");
        let (paused, resumed) = applied(Family::Pause).expect("the others elect a leader");
        assert!(
            cut < paused && paused < healed,
            "seed {seed}: the old leader was cut off, a new one was elected"
        );
        let lasted_ms = resumed - paused;
        assert!((480..600).contains(&lasted_ms), "seed {seed}: {lasted_ms}");
        let (killed, _) = applied(Family::Kill).expect("the first fault is undone");
        assert!((healed..healed + 100).contains(&killed), "seed {seed}: {healed} {killed}");
        assert_eq!(applied(Family::Clock), None);
        assert_eq!(simulated.verdict.validity, Validity::Unknown, "seed {seed}");
        let reasons: Vec<&str> = simulated.verdict.checks.iter().map(|check| check.reason.as_str()).collect();
        let expected = "clock had to bite: the event that 1 of its faults waited for never came";
        assert!(reasons.contains(&expected), "seed {seed}: {reasons:#?}");
    }
}

/// The first seed of fifty on which an oracle sees `property` violated.
fn first_seen(property: Property, toml: &str) -> Option<u64> {
    (0..50).find(|seed| {
        let simulated = simulate(toml, *seed);
        simulated.violations.iter().any(|violation| violation.property == property)
    })
}

#[test]
fn every_oracle_is_shown_to_fire_by_a_defect() {
    // That the commit index never falls has a test of its own: no defect breaks it.
    let table = [
        (Property::ElectionSafety, "unclean-election"),
        (Property::LogMatching, "unclean-election"),
        (Property::LeaderCompleteness, "election-no-log-check"),
        (Property::StateMachineSafety, "nondeterministic-apply"),
        (Property::DurableBeforePromised, "follower-acks-before-fsync"),
        (Property::CommitOfOwnTerm, "commit-prior-term-by-count"),
        (Property::DurableIsKept, "hard-state-and-entries-not-atomic"),
        (Property::NothingAcknowledgedIsLost, "async-replication-ack"),
    ];
    assert_eq!(table.len() + 1, Property::ALL.len());
    for (property, defect) in table {
        let found = first_seen(property, &format!("{ALL_FAULTS}\ndefect = [\"{defect}\"]"));
        assert!(found.is_some(), "{property}: not by {defect} in 50 seeds");
    }
}

#[test]
fn a_cluster_that_cannot_go_on_is_unavailable_and_not_just_invalid() {
    let toml = r#"
        nemesis = ["power-cut", "kill"]
        store-option = ["snapshot-entries=5"]
        defect = ["snapshot-not-atomic-file"]"#;
    let simulated = (0..50).map(|seed| simulate(toml, seed));
    let mut unavailable = simulated.filter(|simulated| matches!(simulated.ended, Ended::Unavailable { .. }));
    let found = unavailable.next().expect("half a snapshot keeps a node from starting");
    let check =
        found.verdict.checks.iter().find(|check| check.checker == "available").expect("its own verdict");
    assert_eq!(check.validity, Validity::Invalid);
}

#[test]
fn a_correct_store_bears_rot_and_is_whole_again_when_that_is_put_right() {
    let mut rotten = 0;
    for seed in 0..seeds(30) {
        let toml = r#"nemesis = ["disk-rot", "disk-decay", "kill", "power-cut-one", "partition-leader"]"#;
        let simulated = simulate(toml, seed);
        let complaints: Vec<&str> =
            simulated.verdict.checks.iter().map(|check| check.reason.as_str()).collect();
        assert_eq!(
            (simulated.verdict.validity, &simulated.ended),
            (Validity::Valid, &Ended::Whole),
            "seed {seed}: {complaints:#?}"
        );
        let bit = simulated.schedule.iter().filter(|fault| fault.bit && !fault.resolved.rots().is_empty());
        rotten += bit.count();
    }
    assert!(rotten > 10, "{rotten}");
}
