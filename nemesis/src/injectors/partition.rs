//! Partitions: the receiver drops what comes from the sender's address, in its own packet filter.
//!
//! Dropping on the receiver's side makes every link and direction a matter of one node, and lets the counters of its rules
//! say how many packets arrived in vain. How the rules are kept apart from those of others is told in [`super::chain`].
//!
//! Clients have an address of their own, and are a host called [`CLIENTS`] where the testbed can cut their links: what they send
//! is dropped on the nodes, what is sent to their address on that host, where others may have addresses, too.
//!
//! Of a muffled node only packets with content are dropped: TCP segments beyond the head with its usual options, but for those that open
//! a connection. What a muffled node sends goes on to be acknowledged, and so to arrive; what is said to it is not.
//!
//! Per node: applying costs two calls of the host (read the filter, change it), verifying one.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::chain::Wanted;
use super::tables::{FILTER, Tools, VERSION_4, VERSION_6, change, read};
use super::{InjectError, Injector, Scope, StepReport};
use crate::evidence::{Effect, Step};
use crate::fault::{CLIENTS, Resolved};
use crate::host::Host;
use crate::journal::{BadRunTag, RunTag};

pub(super) struct Partition;

/// A sender, as the receiver sees it.
struct Sender<'a> {
    name: &'a str,
    address: IpAddr,
}

impl Injector for Partition {
    fn apply(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_each_node(Step::Apply, |node, host| {
            for (tools, senders) in senders_by_version(scope, node)? {
                let of_sender = |sender| dropped(sender, node, host, content_only(scope));
                let wanted: Vec<Wanted> = senders.iter().flat_map(of_sender).collect();
                let filter = read(host, tools, FILTER, scope.run_tag)?;
                change(host, tools, filter.script_to_add(scope.run_tag, scope.fault_id, &wanted))?;
            }
            Ok(Vec::new())
        })
    }

    fn verify(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_each_node(Step::Verify, |node, host| {
            let mut effects = Vec::new();
            for (tools, senders) in senders_by_version(scope, node)? {
                let filter = read(host, tools, FILTER, scope.run_tag)?;
                for sender in senders {
                    let wanted = dropped(&sender, node, host, content_only(scope));
                    if !filter.does_all(scope.run_tag, scope.fault_id, &wanted) {
                        let detail = format!("no rule in force drops packets from {}", sender.name);
                        return Err(InjectError::Unexpected(detail));
                    }
                    effects.push(Effect::LinkCut { from: sender.name.to_owned() });
                }
            }
            Ok(effects)
        })
    }

    fn undo(&self, scope: &Scope<'_>) -> StepReport {
        // What the rules of one version of IP have counted goes with them.
        scope.on_nodes_part_by_part(Step::Undo, &scope.resolved.nodes(), |node, host, effects| {
            for (tools, senders) in senders_by_version(scope, node)? {
                let filter = read(host, tools, FILTER, scope.run_tag)?;
                change(host, tools, filter.script_to_remove(scope.run_tag, scope.fault_id))?;
                let mut counted: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
                for rule in filter.rules_of(scope.run_tag, scope.fault_id) {
                    let sender = senders.iter().find(|sender| Some(sender.address) == rule.source);
                    let sums = counted.entry(sender.map_or("somebody", |sender| sender.name)).or_default();
                    *sums = (sums.0 + rule.packets, sums.1 + rule.bytes);
                }
                for (from, (packets, bytes)) in counted {
                    effects.push(Effect::PacketsDropped { from: from.to_owned(), packets, bytes });
                }
            }
            Ok(())
        })
    }

    fn verify_undone(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_each_node(Step::VerifyUndone, |node, host| {
            for (tools, _) in senders_by_version(scope, node)? {
                let filter = read(host, tools, FILTER, scope.run_tag)?;
                let left = filter.rules_of(scope.run_tag, scope.fault_id).count();
                if left > 0 || filter.has_an_empty_chain() {
                    let detail =
                        format!("{left} rules of the partition, or its empty chain, are still there");
                    return Err(InjectError::Unexpected(detail));
                }
            }
            Ok(Vec::new())
        })
    }
}

/// The heads of IP and TCP with a time stamp, which is all that there is of a bare acknowledgement.
const IPV4_HEADS_BYTES: u16 = 20 + 32;
const IPV6_HEADS_BYTES: u16 = 40 + 32;

/// Packets of TCP that open no connection and have so many bytes beyond the heads (first to last): what is said, and not the acknowledgements of it.
///
/// While anything is missing, every acknowledgement is a selective one (option 5; RFC 2018), which is longer by 4 bytes and 8 more for each of
/// one to three blocks. These must pass, too: without them a sender that has lost two packets never hears that the first one has arrived at last,
/// and repeats it for ever. So may what says just 8 or 16 bytes at such a moment, which is less than any message between our nodes.
const CONTENT: [(&str, u16, u16); 4] =
    [(" ! --tcp-option 5", 1, LONGEST), ("", 13, 19), ("", 21, 27), ("", 29, LONGEST)];
/// However long.
const LONGEST: u16 = u16::MAX;

fn content_only(scope: &Scope<'_>) -> bool {
    matches!(scope.resolved, Resolved::Partition { content_only: true, .. })
}

/// What `receiver` is to drop.
fn dropped(sender: &Sender<'_>, receiver: &str, host: &dyn Host, content_only: bool) -> Vec<Wanted> {
    let to = if receiver == CLIENTS { format!(" -d {}", host.address()) } else { String::new() };
    let heads_bytes = if sender.address.is_ipv4() { IPV4_HEADS_BYTES } else { IPV6_HEADS_BYTES };
    let content = |(option, first, last): (&str, u16, u16)| {
        let (first, last) = (heads_bytes.saturating_add(first), heads_bytes.saturating_add(last));
        format!("{to} -p tcp -m tcp{option} ! --tcp-flags SYN SYN -m length --length {first}:{last}")
    };
    let matches: Vec<String> = match content_only {
        true => CONTENT.into_iter().map(content).collect(),
        false => vec![to.clone()],
    };
    matches.into_iter().map(|matches| Wanted { matches, ..Wanted::drop(sender.address) }).collect()
}

/// A partition may be made of programs and modules of which each works by itself; so all of them are tried, by the very texts
/// that a run uses: packets from `sender` are dropped by `host`, which is verified, and not any more, which is verified too.
///
/// # Errors
/// In words, which step failed, and what the program said.
pub fn try_partition(host: &dyn Host, sender: IpAddr) -> Result<(), String> {
    try_cut(host, sender, &[Wanted::drop(sender)])
}

/// The same for a node that is muffled, of whose packets only some are dropped: that needs a module more.
///
/// # Errors
/// As of [`try_partition`].
pub fn try_muffled_partition(host: &dyn Host, sender: IpAddr) -> Result<(), String> {
    try_cut(host, sender, &dropped(&Sender { name: "nobody", address: sender }, host.name(), host, true))
}

fn try_cut(host: &dyn Host, sender: IpAddr, cut: &[Wanted]) -> Result<(), String> {
    let tools = if sender.is_ipv4() { &VERSION_4 } else { &VERSION_6 };
    let run_tag: RunTag = "trial".parse().map_err(|error: BadRunTag| error.to_string())?;
    let fault_id = 0;
    let failed = |error: InjectError| error.to_string();
    let look = || read(host, tools, FILTER, &run_tag).map_err(failed);
    change(host, tools, look()?.script_to_add(&run_tag, fault_id, cut)).map_err(failed)?;
    let filter = look()?;
    let is_cut = filter.does_all(&run_tag, fault_id, cut);
    change(host, tools, look()?.script_to_remove(&run_tag, fault_id)).map_err(failed)?;
    let left = look()?;
    if !is_cut {
        return Err(format!("{} accepted a rule that {} does not show", tools.restore, tools.save));
    }
    if left.rules_of(&run_tag, fault_id).next().is_some() || left.has_an_empty_chain() {
        return Err(format!("{} did not remove what it was to remove", tools.restore));
    }
    Ok(())
}

/// Whom `receiver` shall not hear, with the tools that see to it.
fn senders_by_version<'a>(
    scope: &'a Scope<'_>,
    receiver: &str,
) -> Result<Vec<(&'static Tools, Vec<Sender<'a>>)>, InjectError> {
    let Resolved::Partition { links, .. } = scope.resolved else { return Ok(Vec::new()) };
    let (mut version_4, mut version_6) = (Vec::new(), Vec::new());
    for link in links.iter().filter(|link| link.to == receiver) {
        let Some(sender) = scope.hosts.get(&link.from) else {
            return Err(InjectError::Unexpected(format!(
                "there is no node {} to be cut off from",
                link.from
            )));
        };
        let sender = Sender { name: &link.from, address: sender.address() };
        if sender.address.is_ipv4() { version_4.push(sender) } else { version_6.push(sender) }
    }
    let both = [(&VERSION_4, version_4), (&VERSION_6, version_6)];
    Ok(both.into_iter().filter(|(_, senders)| !senders.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{fake_host, fake_host_version_6};

    #[test]
    fn a_trial_leaves_the_filter_as_it_was_and_tells_what_failed() {
        let sender: IpAddr = "192.0.2.1".parse().unwrap();
        let host = fake_host(1);
        host.insert_foreign_rule("-j ACCEPT");
        let before = host.filter_lines();
        try_partition(host.as_ref(), sender).unwrap();
        assert_eq!(host.filter_lines(), before);
        let needs_length = |step: &String| step.contains("-m length --length 53:65535");
        assert!(!host.done().iter().any(needs_length));
        try_muffled_partition(host.as_ref(), sender).unwrap();
        assert!(host.done().iter().any(needs_length), "{:?}", host.done());
        assert_eq!(host.filter_lines(), before);
        host.fail_next("iptables-restore", 1);
        let error = try_partition(host.as_ref(), sender).unwrap_err();
        assert!(error.contains("iptables-restore") && error.contains("made to fail"), "{error}");
    }

    #[test]
    fn a_trial_of_version_6_uses_the_programs_of_version_6() {
        let host = fake_host_version_6(1);
        try_partition(host.as_ref(), "fd00::9".parse().unwrap()).unwrap();
        assert!(host.done().iter().all(|step| step.contains("ip6tables-")), "{:?}", host.done());
    }
}
