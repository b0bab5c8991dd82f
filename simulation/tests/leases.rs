//! Keys under leases, from the workload to the verdict: a few short runs of the correct store, and of one whose nodes each count by
//! their own clock.

use std::path::Path;

use labrys_checker::verdict::{Validity, Verdict};
use labrys_harness::config::TestOptions;
use labrys_seed::Seed;
use labrys_simulation::SimulationConfig;
use labrys_simulation::failure::Failure;
use labrys_simulation::shrink::simulate;

/// What the workload `lease` comes to, and what accuses the run.
fn run(seed: u64, defect: &str) -> (Verdict, Vec<String>) {
    let toml = format!(
        "testbed = \"sim\"\nworkload = \"lease\"\nnodes = 3\ntime-limit = \"10s\"\nnemesis = [\"none\"]\ndefect = [{defect}]"
    );
    let options = TestOptions::parse(&toml, Path::new("test.toml")).expect("options");
    let config = SimulationConfig::new(options.resolve(Seed(seed)).expect("a configuration"));
    let simulated = simulate(&config).expect("it can be simulated");
    let accusers = Failure::all(&simulated).into_iter().map(|failure| failure.of).collect();
    (simulated.verdict, accusers)
}

#[test]
fn a_correct_store_keeps_keys_as_long_as_their_leases_and_no_longer() {
    for seed in 1..=3 {
        let (verdict, accusers) = run(seed, "");
        assert_eq!((verdict.validity, accusers), (Validity::Valid, Vec::new()), "seed {seed}");
    }
}

#[test]
fn a_store_whose_nodes_end_leases_each_by_its_own_clock_is_found_as_their_states_differ() {
    for seed in 1..=3 {
        let (verdict, accusers) = run(seed, "\"ttl-wall-clock\"");
        assert_eq!(verdict.validity, Validity::Invalid, "seed {seed}");
        assert!(
            accusers.iter().any(|accuser| accuser == "state-machine-safety"),
            "seed {seed}: {accusers:?}"
        );
    }
}
