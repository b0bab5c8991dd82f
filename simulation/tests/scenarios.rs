//! Every scenario ends as its file says, on the clean store and with each of its defects.

use labrys_checker::verdict::Validity;
use labrys_history::write_json_lines;
use labrys_simulation::scenario::{Played, SCENARIOS, Scenario};

fn all() -> impl Iterator<Item = Scenario> {
    SCENARIOS.iter().map(|(name, _)| Scenario::named(name).expect(name))
}

fn in_words(played: &Played) -> String {
    let step = |step: &labrys_simulation::scenario::Reported| {
        format!("{:10.3} ms  {}  {}", step.at_ns as f64 / 1e6, step.step, step.happened)
    };
    let steps: Vec<String> = played.steps.iter().map(step).collect();
    let reasons =
        played.simulated.verdict.checks.iter().map(|check| format!("{}: {}", check.checker, check.reason));
    let violations = played.simulated.violations.iter().take(5).map(ToString::to_string);
    steps.into_iter().chain(reasons).chain(violations).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_file_is_what_its_name_says_and_explains_itself_in_two_paragraphs() {
    for ((name, _), scenario) in SCENARIOS.iter().zip(all()) {
        assert_eq!((scenario.name.as_str(), scenario.explanation.len()), (*name, 2));
    }
    assert!(Scenario::named("figure-9").unwrap_err().to_string().contains("figure-8"));
}

#[test]
fn the_clean_store_goes_through_every_scenario_unharmed() {
    for scenario in all() {
        let played = scenario.play(&[]).expect("played");
        let found = (played.simulated.verdict.validity, &played.seen_by);
        assert_eq!(found, (scenario.expected, &Vec::new()), "{}:\n{}", scenario.name, in_words(&played));
    }
}

#[test]
fn every_defect_shows_in_its_scenario_as_the_file_says() {
    let mut wrong = Vec::new();
    for scenario in all() {
        assert!(!scenario.defect.is_empty(), "{} shows nothing", scenario.name);
        for defect in &scenario.defect {
            let played = scenario.play(std::slice::from_ref(&defect.name)).expect("played");
            let found = (played.simulated.verdict.validity, &played.seen_by);
            if found != (defect.expected, &defect.seen_by) {
                wrong.push(format!(
                    "{} with {}: {found:?}\n{}",
                    scenario.name,
                    defect.name,
                    in_words(&played)
                ));
            }
            assert_ne!(defect.expected, Validity::Valid);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn playing_a_scenario_again_gives_the_same_bytes() {
    let bytes = || {
        let played = Scenario::named("figure-8").expect("named").play(&[]).expect("played");
        let mut bytes = Vec::new();
        write_json_lines(&mut bytes, played.simulated.history.events()).expect("written");
        (bytes, played.steps, played.simulated.trace)
    };
    assert_eq!(bytes(), bytes());
}

#[test]
fn a_clock_beyond_the_bound_breaks_the_clean_store_as_the_file_of_leases_says() {
    let (_, text) = SCENARIOS.iter().find(|(name, _)| *name == "lease-and-drift").expect("there");
    // The last heartbeat is at another time then: n2 or n3 is elected without help.
    let slower = text.replace("drift n1 -9%", "drift n1 -40%").replace("elect n2", "advance 500ms");
    let played = Scenario::parse("slower", &slower).expect("a scenario").play(&[]).expect("played");
    assert_eq!(played.seen_by, ["linearizable"], "{}", in_words(&played));
}
