//! Exhaustive exploration of tiny clusters: the correct core violates nothing, each defect is found, and `docs/scenarios.md` has the
//! figures.

use std::fs;
use std::path::Path;

use labrys_simulation::explore::{Bounds, BoundsError, Defect, Defects, Explored, explore};

fn bounds(nodes: usize, highest_term: u64, restarts: u8) -> Bounds {
    Bounds { nodes, highest_term, restarts, ..Bounds::default() }
}

/// The paper's Figure 8 within reach: n1 leads, and there are four more elections.
fn figure_8() -> Bounds {
    Bounds { from_leader: true, timeouts: Some(5), ..bounds(3, 4, 0) }
}

/// The bounds as options of `labrys scenario explore`.
fn options(bounds: &Bounds) -> String {
    let mut options = format!("--nodes {} --terms {}", bounds.nodes, bounds.highest_term);
    if let Some(timeouts) = bounds.timeouts {
        options += &format!(" --timeouts {timeouts}");
    }
    if bounds.restarts > 0 {
        options += &format!(" --restarts {}", bounds.restarts);
    }
    if bounds.from_leader {
        options += " --from-leader";
    }
    if bounds.depth < usize::MAX {
        options += &format!(" --depth {}", bounds.depth);
    }
    options
}

/// 1234567 as 1,234,567.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join(",")
}

fn documentation() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/scenarios.md");
    fs::read_to_string(file).expect("docs/scenarios.md")
}

fn is_documented(row: &str) {
    assert!(documentation().lines().any(|line| line == row), "docs/scenarios.md has no row\n{row}");
}

fn explored(bounds: &Bounds, defects: impl IntoIterator<Item = Defect>) -> Explored {
    explore(bounds, defects.into_iter().collect::<Defects>()).expect("good bounds")
}

/// Explores the correct core, to the end if there is no depth, and looks the figures up in the documentation.
fn holds(bounds: &Bounds) {
    let explored = explored(bounds, []);
    assert_eq!(explored.violation, None);
    assert_eq!(explored.is_complete, bounds.depth == usize::MAX);
    let depth = explored.by_depth.len() - 1;
    let whole = if explored.is_complete { "all" } else { "all up to that depth" };
    is_documented(&format!("| `{}` | {whole} | {} | {depth} |", options(bounds), grouped(explored.states)));
}

#[test]
fn two_nodes_are_safe_in_every_state_up_to_term_4_and_with_restarts_up_to_term_3() {
    holds(&bounds(2, 4, 0));
    holds(&bounds(2, 3, 2));
}

#[test]
fn three_nodes_are_safe_in_every_state_up_to_term_2_also_with_a_restart() {
    holds(&bounds(3, 2, 0));
    holds(&bounds(3, 2, 1));
}

#[test]
fn three_nodes_are_safe_as_deep_as_figure_8_is_found() {
    holds(&Bounds { depth: 20, ..figure_8() });
}

#[test]
fn three_nodes_are_safe_in_every_state_up_to_term_3() {
    holds(&bounds(3, 3, 0));
}

/// Looks the figures up in the documentation; the way to the violation, a step a line.
fn is_found(bounds: &Bounds, defect: Defect, property: &str) -> String {
    let explored = explored(bounds, [defect]);
    let found =
        explored.violation.unwrap_or_else(|| panic!("{defect} is not found: {:?}", explored.by_depth));
    assert_eq!(found.property, property, "{}", found.what);
    let (steps, states) = (found.steps.len(), grouped(explored.states));
    is_documented(&format!("| `{defect}` | `{}` | `{property}` | {steps} | {states} |", options(bounds)));
    assert_eq!(found.trace.marks.last().map(|mark| mark.at_ns), Some(steps as u64 * 1_000_000));
    let numbered = found.steps.iter().enumerate().map(|(number, step)| format!("{:>4}  {step}", number + 1));
    numbered.collect::<Vec<_>>().join("\n")
}

#[test]
fn figure_8_is_found_on_three_nodes_by_the_shortest_way_there_is() {
    let steps = is_found(&figure_8(), Defect::CommitPriorTermByCount, "leader-completeness");
    assert!(documentation().contains(&steps), "docs/scenarios.md has another way:\n{steps}");
}

#[test]
fn each_of_these_defects_is_found() {
    is_found(&bounds(3, 1, 0), Defect::QuorumOffByOne, "election-safety");
    is_found(&bounds(3, 2, 1), Defect::VoteNotPersisted, "election-safety");
    is_found(&bounds(3, 2, 0), Defect::StaleVoteCounted, "election-safety");
    is_found(&bounds(3, 2, 0), Defect::HeartbeatTermRace, "election-safety");
    is_found(&bounds(3, 2, 0), Defect::ElectionNoLogCheck, "leader-completeness");
    is_found(&bounds(3, 3, 0), Defect::ElectionCompareLengthOnly, "leader-completeness");
}

#[test]
fn exploring_again_gives_the_same_and_a_limit_is_no_end() {
    let some = Bounds { states: 5_000, ..bounds(3, 2, 0) };
    let (one, other) = (explored(&some, []), explored(&some, []));
    assert_eq!(one, other);
    assert!(one.gave_up && !one.is_complete && one.states > 5_000);
}

#[test]
fn bounds_that_make_no_sense_are_refused() {
    assert_eq!(explore(&bounds(4, 2, 0), Defects::NONE).err(), Some(BoundsError::Nodes(4)));
    assert_eq!(explore(&bounds(3, 8, 0), Defects::NONE).err(), Some(BoundsError::Terms(8)));
}
