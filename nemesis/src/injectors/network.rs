//! Messages lost, doubled, late or overtaken, on the links between the fault's nodes and all others, in both directions. Client links stay.
//!
//! Each receiver does it to what arrives, so that each link and direction is a matter of one node and of rules that count:
//!
//! - *lost*: dropped by chance (`-m statistic`) in the table `filter`;
//! - *doubled*: by chance, a copy is sent to the receiver by itself (`-j TEE`), in the table `mangle`; copies come in by `lo` and are not
//!   doubled again;
//! - *late* and *overtaken*: handed to a queue (`-j NFQUEUE`), in the table `mangle`, from where a process in the receiver's network takes
//!   them and lets them go on later ([`crate::hold_packets`]): all of them, or, where none is late, by chance those that the others
//!   overtake. netem would do it as well, and is not in every kernel; this is, and hits single links.
//!
//! - *corrupted*: by chance handed to another queue of the same process, which flips a bit;
//! - *narrow*: handed to the first queue, which lets so many bits on in a second; per receiver, for all its links in trouble together;
//! - *reset*: by chance answered with a reset of their TCP connection (`-j REJECT`), in `filter`.
//!
//! `mangle` comes before `filter`, and what leaves a queue goes on to `filter`: so packets that were late are still cut off by a partition. Of
//! two faults that make the same link late only the first one's queue gets the packets; the other one's rules count none.
//!
//! The process lives as long as a file on the host, its orders; so undoing takes the rules away, removes the file, and waits until the
//! kernel has no such queue any more. Should it die, `--queue-bypass` lets packets through as if there were no rule; what it held then
//! is lost, once.

use std::net::IpAddr;
use std::path::PathBuf;

use super::chain::{Filter, Wanted};
use super::tables::{FILTER, MANGLE, Tools, VERSION_4, VERSION_6, change, read};
use super::{InjectError, Injector, Scope, StepReport};
use crate::evidence::{Effect, Mechanism, NodeFailure, Step};
use crate::fault::{CLIENTS, LinkTrouble, Resolved};
use crate::host::Host;
use crate::packets::PacketOrder;

pub(super) struct Network;

/// Rules for one version of IP in one table of a receiver.
struct Part {
    tools: &'static Tools,
    table: &'static str,
    wanted: Vec<Wanted>,
}

impl Injector for Network {
    fn objections(&self, scope: &Scope<'_>) -> Vec<NodeFailure> {
        let failures = receivers(scope).into_iter().filter_map(|node| {
            let detail = if !needs_process(scope) {
                return None;
            } else if scope.packet_program.is_empty() {
                "packets cannot be made late here: this nemesis was not told how to start the process that holds them"
            } else if order_file(scope, node).is_err() {
                NO_FOLDER
            } else {
                return None;
            };
            Some(NodeFailure { node: node.to_owned(), step: Step::Apply, detail: detail.to_owned() })
        });
        failures.collect()
    }

    fn apply(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_nodes(Step::Apply, &receivers(scope), |node, host| {
            if needs_process(scope) {
                hold_packets_on(scope, node, host)?;
            }
            for Part { tools, table, wanted } in parts(scope, node)? {
                let filter = read(host, tools, table, scope.run_tag)?;
                change(host, tools, filter.script_to_add(scope.run_tag, scope.fault_id, &wanted))?;
            }
            Ok(Vec::new())
        })
    }

    fn verify(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_nodes(Step::Verify, &receivers(scope), |node, host| {
            let mut effects = Vec::new();
            for Part { tools, table, wanted } in parts(scope, node)? {
                let filter = read(host, tools, table, scope.run_tag)?;
                for wanted in wanted {
                    let from = name_of(scope, wanted.source);
                    if !filter.does(scope.run_tag, scope.fault_id, &wanted) {
                        let detail =
                            format!("no rule in force has packets from {from} go to {}", wanted.target);
                        return Err(InjectError::Unexpected(detail));
                    }
                    effects.push(Effect::LinkTroubled { from, by: mechanism(wanted.target) });
                }
            }
            if needs_process(scope) && !has_queue(scope, host)? {
                return Err(InjectError::Unexpected("nobody takes packets from the queue".to_owned()));
            }
            Ok(effects)
        })
    }

    fn undo(&self, scope: &Scope<'_>) -> StepReport {
        // What the rules of a part have counted goes with them.
        scope.on_nodes_part_by_part(Step::Undo, &receivers(scope), |node, host, effects| {
            // The rules go on counting when the process has died and packets pass: that is no bite.
            let is_held = needs_process(scope) && has_queue(scope, host)?;
            for Part { tools, table, .. } in parts(scope, node)? {
                let filter = read(host, tools, table, scope.run_tag)?;
                change(host, tools, filter.script_to_remove(scope.run_tag, scope.fault_id))?;
                let counted = counted(scope, &filter).into_iter();
                effects.extend(counted.filter(|effect| is_held || !is_by_process(effect)));
            }
            if needs_process(scope) {
                let file = order_file(scope, node)?;
                host.run("rm", &["-f", "--", &file.to_string_lossy()])?;
            }
            Ok(())
        })
    }

    fn verify_undone(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_nodes(Step::VerifyUndone, &receivers(scope), |node, host| {
            for Part { tools, table, .. } in parts(scope, node)? {
                let filter = read(host, tools, table, scope.run_tag)?;
                let left = filter.rules_of(scope.run_tag, scope.fault_id).count();
                if left > 0 || filter.has_an_empty_chain() {
                    let detail =
                        format!("{left} rules of the fault, or its empty chain, are still in `{table}`");
                    return Err(InjectError::Unexpected(detail));
                }
            }
            if needs_process(scope) {
                let gone = scope.patience.wait_for(|| Ok((!has_queue(scope, host)?).then_some(())));
                gone.and_then(|gone| {
                    gone.ok_or_else(|| InjectError::Unexpected("the queue is still there".to_owned()))
                })?;
            }
            Ok(Vec::new())
        })
    }
}

const NO_FOLDER: &str =
    "packets cannot be made late here: it is not known in which folder the node keeps its files";

fn trouble(scope: &Scope<'_>) -> LinkTrouble {
    match scope.resolved {
        Resolved::Network { trouble, .. } => *trouble,
        _ => LinkTrouble::default(),
    }
}

fn needs_process(scope: &Scope<'_>) -> bool {
    let trouble = trouble(scope);
    trouble.holds_packets() || trouble.corrupt_permille > 0
}

/// Everybody who hears over one of the links: all nodes, if there is a node in trouble.
fn receivers<'s>(scope: &Scope<'s>) -> Vec<&'s str> {
    let has_target = scope.resolved.nodes().iter().any(|node| scope.hosts.contains_key(*node));
    let hosts: &'s _ = scope.hosts;
    hosts.keys().map(String::as_str).filter(|name| has_target && *name != CLIENTS).collect()
}

/// Whose messages to `receiver` get into trouble.
fn senders(scope: &Scope<'_>, receiver: &str) -> Vec<IpAddr> {
    let targets = scope.resolved.nodes();
    let is_hit = |node: &str| targets.contains(&receiver) || targets.contains(&node);
    let others = scope.hosts.iter().filter(|(node, _)| *node != CLIENTS && *node != receiver && is_hit(node));
    others.map(|(_, host)| host.address()).collect()
}

fn name_of(scope: &Scope<'_>, address: IpAddr) -> String {
    let sender = scope.hosts.iter().find(|(_, host)| host.address() == address);
    sender.map_or_else(|| "somebody".to_owned(), |(name, _)| name.clone())
}

fn by_chance(permille: u16) -> String {
    format!(" -m statistic --mode random --probability {:.3}", f64::from(permille.min(1000)) / 1000.0)
}

/// The rules of a receiver.
fn parts(scope: &Scope<'_>, receiver: &str) -> Result<Vec<Part>, InjectError> {
    let Some(host) = scope.hosts.get(receiver) else { return Ok(Vec::new()) };
    let own_address = host.address();
    let mut parts = Vec::new();
    for (tools, is_version_4) in [(&VERSION_4, true), (&VERSION_6, false)] {
        let senders = senders(scope, receiver);
        let (mut lost, mut mangled) = (Vec::new(), Vec::new());
        for source in senders.into_iter().filter(|sender| sender.is_ipv4() == is_version_4) {
            lost.extend(filtered(trouble(scope), source));
            mangled.extend(mangled_from(scope, source, own_address));
        }
        let both = [(FILTER, lost), (MANGLE, mangled)].into_iter().filter(|(_, wanted)| !wanted.is_empty());
        parts.extend(both.map(|(table, wanted)| Part { tools, table, wanted }));
    }
    Ok(parts)
}

/// The rules for a sender's packets in the table `filter`.
fn filtered(trouble: LinkTrouble, source: IpAddr) -> Vec<Wanted> {
    let lost = Wanted { matches: by_chance(trouble.loss_permille), ..Wanted::drop(source) };
    let reset = Wanted {
        source,
        // A reset is not answered by another one.
        matches: format!(" -p tcp -m tcp ! --tcp-flags RST RST{}", by_chance(trouble.reset_permille)),
        target: REJECT,
        options: " --reject-with tcp-reset".to_owned(),
    };
    let wanted = [(trouble.loss_permille > 0, lost), (trouble.reset_permille > 0, reset)];
    wanted.into_iter().filter_map(|(is_wanted, wanted)| is_wanted.then_some(wanted)).collect()
}

/// The rules for a sender's packets in the table `mangle`.
fn mangled_from(scope: &Scope<'_>, source: IpAddr, own_address: IpAddr) -> Vec<Wanted> {
    let trouble = trouble(scope);
    let doubled = Wanted {
        source,
        matches: format!(" ! -i lo{}", by_chance(trouble.duplicate_permille)),
        target: TEE,
        options: format!(" --gateway {own_address}"),
    };
    let queue = |number: u16, matches: String| {
        let options = format!(" --queue-num {number} --queue-bypass");
        Wanted { source, matches, target: NFQUEUE, options }
    };
    let all_wait = trouble.delay_ms > 0 || trouble.bandwidth_kbit > 0;
    let overtaken = if all_wait { String::new() } else { by_chance(trouble.reorder_permille) };
    let corrupted = by_chance(trouble.corrupt_permille);
    let wanted = [
        (trouble.duplicate_permille > 0, doubled),
        (trouble.corrupt_permille > 0, queue(corrupt_queue_number(scope), corrupted)),
        (trouble.holds_packets(), queue(queue_number(scope), overtaken)),
    ];
    wanted.into_iter().filter_map(|(is_wanted, wanted)| is_wanted.then_some(wanted)).collect()
}

const TEE: &str = "TEE";
const NFQUEUE: &str = "NFQUEUE";
const REJECT: &str = "REJECT";

fn mechanism(target: &str) -> Mechanism {
    match target {
        TEE => Mechanism::Tee,
        NFQUEUE => Mechanism::Queue,
        REJECT => Mechanism::Reject,
        _ => Mechanism::Statistic,
    }
}

/// Whether it takes the process to have this effect.
fn is_by_process(effect: &Effect) -> bool {
    matches!(effect, Effect::PacketsHeldBack { .. } | Effect::PacketsCorrupted { .. })
}

/// What the rules of the fault have counted.
fn counted(scope: &Scope<'_>, filter: &Filter) -> Vec<Effect> {
    let rules = filter.rules_of(scope.run_tag, scope.fault_id);
    let effect = |rule: &super::chain::Rule| {
        let from = rule.source.map_or_else(|| "somebody".to_owned(), |source| name_of(scope, source));
        match mechanism(&rule.target) {
            Mechanism::Statistic => Effect::PacketsDropped { from, packets: rule.packets, bytes: rule.bytes },
            Mechanism::Tee => Effect::PacketsDoubled { from, packets: rule.packets },
            Mechanism::Reject => Effect::ConnectionsReset { from, packets: rule.packets },
            Mechanism::Queue if rule.names_queue(corrupt_queue_number(scope)) => {
                Effect::PacketsCorrupted { from, packets: rule.packets }
            }
            Mechanism::Queue => Effect::PacketsHeldBack { from, packets: rule.packets },
        }
    };
    rules.map(effect).collect()
}

/// A queue of this fault alone. Each node has queues of its own.
fn queue_number(scope: &Scope<'_>) -> u16 {
    // Never 0, which is what rules of others use by default.
    u16::try_from(scope.fault_id % 30_000).unwrap_or(0) + 1_000
}

/// Another one, of packets that are to be corrupted.
fn corrupt_queue_number(scope: &Scope<'_>) -> u16 {
    queue_number(scope) + 30_000
}

fn order_file(scope: &Scope<'_>, node: &str) -> Result<PathBuf, InjectError> {
    let folder = scope.daemons.get(node).map(|specification| &specification.directory);
    let folder = folder.ok_or_else(|| InjectError::Unexpected(NO_FOLDER.to_owned()))?;
    Ok(folder.join(format!("packets-{}-{}.json", scope.run_tag, scope.fault_id)))
}

/// Starts the process that holds packets, unless there is one, and waits until it has its queue.
fn hold_packets_on(scope: &Scope<'_>, node: &str, host: &dyn Host) -> Result<(), InjectError> {
    if has_queue(scope, host)? {
        return Ok(());
    }
    let trouble = trouble(scope);
    let file = order_file(scope, node)?;
    let order = PacketOrder {
        queue: if trouble.holds_packets() { queue_number(scope) } else { 0 },
        delay_ms: trouble.delay_ms,
        overtaken_permille: trouble.reorder_permille,
        bandwidth_kbit: trouble.bandwidth_kbit,
        corrupt_queue: if trouble.corrupt_permille > 0 { corrupt_queue_number(scope) } else { 0 },
        seed: scope.fault_id,
    };
    let text = serde_json::to_vec(&order).map_err(|error| InjectError::Unexpected(error.to_string()))?;
    host.write_file(&file, &text)?;
    // In the background, apart from the shell's session, and holding none of its pipes.
    let script = "log=\"$1\"; shift; setsid \"$@\" </dev/null >\"$log\" 2>&1 &";
    let (file, log) = (file.to_string_lossy().into_owned(), file.with_extension("log"));
    let log = log.to_string_lossy().into_owned();
    let mut arguments = vec!["-c", script, "sh", &log];
    arguments.extend(scope.packet_program.iter().map(String::as_str));
    arguments.push(&file);
    host.run("sh", &arguments)?;
    let begun = scope.patience.wait_for(|| Ok::<_, InjectError>(has_queue(scope, host)?.then_some(())))?;
    begun.ok_or_else(|| {
        InjectError::Unexpected(format!(
            "the process that holds packets has not begun; see {log} on the node"
        ))
    })
}

/// Whether somebody takes packets from the fault's queues, which are one process's: the kernel lists the queues of a network.
fn has_queue(scope: &Scope<'_>, host: &dyn Host) -> Result<bool, InjectError> {
    // Without the file the kernel has no queue yet: where it is a module, the first one to be opened loads it.
    let list = "f=/proc/self/net/netfilter/nfnetlink_queue; [ ! -e $f ] || cat $f";
    let queues = host.run("sh", &["-c", list])?;
    let numbers = [queue_number(scope), corrupt_queue_number(scope)].map(|number| number.to_string());
    let is_ours = |line: &str| {
        let first = line.split_ascii_whitespace().next();
        numbers.iter().any(|number| first == Some(number))
    };
    Ok(queues.stdout.lines().any(is_ours))
}
