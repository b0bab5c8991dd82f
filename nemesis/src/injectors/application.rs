//! Orders to the system under test, by command lines that are run on its nodes: a snapshot now, a compaction, a command of the
//! user's own.
//!
//! An order that the system does not carry out (its process is dead, or cut off from those that it needs) is no error of ours: it did
//! not bite, and the record says what the command said. It is an error if what takes an order back fails. What has no such command is
//! done once and for all.
//!
//! Whether an order had an effect is looked at, where the system can be asked: what the look found before it and after it is in the
//! record. Without a look, that the command succeeded is all that is known.

use super::{InjectError, Injector, Scope, StepReport, living_daemon};
use crate::commands::{CommandLine, Look, Order, OrderName};
use crate::evidence::{Effect, NodeFailure, Step};
use crate::fault::Resolved;
use crate::host::{CommandOutput, Host, HostError, ProcessState};

pub(super) struct Application;

/// So much of what a command printed is kept.
const MOST_SAID_CHARS: usize = 200;

impl Injector for Application {
    fn objections(&self, scope: &Scope<'_>) -> Vec<NodeFailure> {
        let nodes = scope.resolved.nodes().into_iter();
        let unknown = nodes.filter(|node| order(scope, node).is_err());
        let failure = |node: &str| NodeFailure {
            node: node.to_owned(),
            step: Step::Apply,
            detail: format!("it is not known how it is given the order `{}`", name(scope)),
        };
        unknown.map(failure).collect()
    }

    fn apply(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_each_node(Step::Apply, |node, host| {
            let order = order(scope, node)?;
            if is_of_systems(scope) && !matches!(living_daemon(host)?, Some((_, ProcessState::Running))) {
                let detail = "its process does not run".to_owned();
                return Ok(vec![Effect::OrderRefused { order: name(scope).to_owned(), detail }]);
            }
            let before = order.look.as_ref().and_then(|look| found(host, look).ok());
            let name = name(scope).to_owned();
            Ok(vec![match run(host, &order.run) {
                Ok(output) => Effect::OrderTaken { order: name, before, said: beginning(&output.stdout) },
                Err(error) => Effect::OrderRefused { order: name, detail: error.to_string() },
            }])
        })
    }

    fn verify(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_each_node(Step::Verify, |node, host| {
            let taken = scope.seen_on(node).find_map(|effect| match effect {
                Effect::OrderTaken { before, .. } => Some(before.clone()),
                _ => None,
            });
            let (Some(before), order) = (taken, name(scope).to_owned()) else { return Ok(Vec::new()) };
            let Some(look) = &self::order(scope, node)?.look else {
                return Ok(vec![Effect::OrderCarriedOut { order }]);
            };
            Ok(vec![match (before, found(host, look)) {
                (Some(before), Ok(after)) => Effect::OrderShows { order, before, after },
                (None, Ok(after)) => {
                    let detail = format!("{after} afterwards, but it is not known what it was before");
                    Effect::OrderUnseen { order, detail }
                }
                (_, Err(error)) => Effect::OrderUnseen { order, detail: error.to_string() },
            }])
        })
    }

    fn undo(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_each_node(Step::Undo, |node, host| {
            // Also after a refusal: how much was done of what failed is not known.
            if let Some(undo) = &order(scope, node)?.undo {
                run(host, undo)?;
                return Ok(vec![Effect::OrderTakenBack { order: name(scope).to_owned() }]);
            }
            Ok(Vec::new())
        })
    }

    /// That the command of the undoing succeeded is all that can be known.
    fn verify_undone(&self, _: &Scope<'_>) -> StepReport {
        StepReport::default()
    }
}

fn name<'a>(scope: &'a Scope<'_>) -> &'a str {
    match scope.resolved {
        Resolved::Application { order, .. } => order.key(),
        _ => "",
    }
}

/// Such are given to the node's process, which is of no use if there is none. What a user's own command needs is not known.
fn is_of_systems(scope: &Scope<'_>) -> bool {
    OrderName::OF_SYSTEMS.iter().any(|order| order.key() == name(scope))
}

fn beginning(text: &str) -> String {
    text.trim().chars().take(MOST_SAID_CHARS).collect()
}

fn order<'a>(scope: &'a Scope<'_>, node: &str) -> Result<&'a Order, InjectError> {
    let commands = scope.daemons.get(node).and_then(|specification| specification.commands.as_ref());
    commands
        .and_then(|commands| commands.orders.get(name(scope)))
        .ok_or_else(|| InjectError::Unexpected(format!("no order `{}` is known", name(scope))))
}

fn found(host: &dyn Host, look: &Look) -> Result<String, InjectError> {
    let printed = run(host, &look.command)?.stdout;
    look.find(&printed).ok_or_else(|| {
        let wanted = look.pointer.as_deref().unwrap_or_default();
        InjectError::Unexpected(format!("`{}` printed nothing at {wanted}", look.command.0.join(" ")))
    })
}

/// Runs a command line on a node.
pub(super) fn run(host: &dyn Host, CommandLine(words): &CommandLine) -> Result<CommandOutput, HostError> {
    let (program, arguments) = words.split_first().map_or(("", &[][..]), |(program, rest)| (program, rest));
    host.run(program, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
}
