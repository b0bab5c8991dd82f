//! `labrys scenario explore`: every order in which things can happen to a tiny cluster.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use labrys_history::History;
use labrys_reports::lamport::{Window, svg};
use labrys_simulation::explore::{Bounds, Defect, Explored, Found, explore};

use crate::diagram::{self, Run};
use crate::exit::{Failure, Outcome};
use crate::output::print_json;

const EXAMPLES: &str = "\
Examples:
  labrys scenario explore                                             every state of 3 nodes up to term 3
  labrys scenario explore --terms 2 --restarts 1 --defect vote-not-persisted
  labrys scenario explore --terms 4 --timeouts 5 --from-leader --defect commit-prior-term-by-count    Figure 8, found

What is explored, and what that proves, is in docs/scenarios.md. Exit codes: 0 no violation within the bounds, 1 a violation, with a
shortest way to it, 2 too many states.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// How many nodes: 2 or 3
    #[arg(long, default_value_t = Bounds::default().nodes)]
    nodes: usize,
    /// No node campaigns for a later term than this (1 to 7)
    #[arg(long, default_value_t = Bounds::default().highest_term)]
    terms: u64,
    /// No more election timeouts than these [default: as many as the terms allow]
    #[arg(long)]
    timeouts: Option<u8>,
    /// No more restarts of nodes than these
    #[arg(long, default_value_t = Bounds::default().restarts)]
    restarts: u8,
    /// No more steps than these [default: until there is nothing new]
    #[arg(long)]
    depth: Option<usize>,
    /// Begin when n1 leads term 1 by the vote of n2, and not when all start
    #[arg(long)]
    from_leader: bool,
    /// No more states than these, about 100 bytes each
    #[arg(long, default_value_t = Bounds::default().states)]
    states: usize,
    /// Switch a defect of the store on (repeatable)
    #[arg(long, value_name = "NAME")]
    defect: Vec<Defect>,
    /// Draw the way to the violation
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// What was seen as JSON, on standard output
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Outcome {
    let bounds = Bounds {
        nodes: arguments.nodes,
        from_leader: arguments.from_leader,
        highest_term: arguments.terms,
        depth: arguments.depth.unwrap_or(usize::MAX),
        timeouts: arguments.timeouts,
        restarts: arguments.restarts,
        states: arguments.states,
    };
    let explored = explore(&bounds, arguments.defect.iter().copied().collect()).map_err(Failure::usage)?;
    if let (Some(file), Some(found)) = (&arguments.svg, &explored.violation) {
        fs::write(file, drawn(arguments, found))
            .with_context(|| file.display().to_string())
            .map_err(Failure::environment)?;
    }
    if arguments.json {
        print_json(&explored)?;
    } else {
        tell(&explored);
    }
    Ok(match explored {
        Explored { violation: Some(_), .. } => 1,
        Explored { gave_up: true, .. } => 2,
        _ => 0,
    })
}

fn drawn(arguments: &Arguments, found: &Found) -> String {
    let defects: Vec<&str> = arguments.defect.iter().map(|defect| defect.name()).collect();
    let with = if defects.is_empty() { String::new() } else { format!(" with {}", defects.join(", ")) };
    let title = format!("{} violated{with}, in {} steps", found.property, found.steps.len());
    let (trace, history) = (&found.trace, &History::default());
    let run = Run { nodes: arguments.nodes, threads: 0, clients: &[], trace, history };
    svg(&diagram::of_run(&title, &run), Window::whole(usize::MAX))
}

fn tell(explored: &Explored) {
    let Explored { states, transitions, node_states, messages, by_depth, .. } = explored;
    eprintln!(
        "{states} states of the cluster ({node_states} of a node, {messages} messages), {transitions} steps between them, up to {} \
         from the beginning",
        by_depth.len() - 1
    );
    match &explored.violation {
        Some(Found { property, what, steps, .. }) => {
            eprintln!("\n{property} is violated after {} steps: {what}", steps.len());
            for (number, step) in steps.iter().enumerate() {
                eprintln!("{:>4}  {step}", number + 1);
            }
        }
        None if explored.is_complete => {
            eprintln!("no violation, and there is no other state within these bounds")
        }
        None if explored.gave_up => {
            eprintln!("no violation so far, and there are more states than --states allows")
        }
        None => eprintln!("no violation, in all states that take no more steps than these"),
    }
}
