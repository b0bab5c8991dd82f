//! Changes of the cluster's members, and of its leader, by command lines that are run on its nodes.
//!
//! A fault says what its nodes are to be while it lasts: no members, or members without a vote. All others are to be members with a
//! vote, and so are these when it ends. What is done for that follows from what the cluster says of itself, again and again, until it is so: see
//! [`steps`]. So a change whose outcome nobody told is neither repeated blindly nor forgotten.
//!
//! - *remove*: the node is no member any more. Its process runs on, as a machine would that nobody has switched off yet.
//! - *demote*: the node is a member without a vote, by way of a joint configuration.
//! - *replace*: the node is removed and comes back at once, as another member on an empty disk, by way of joint configurations.
//! - *transfer*: the node leads, or somebody else if it does already. There is nothing to undo.
//!
//! A change that the cluster does not carry out in time (it has no leader, it is cut off) is no error of ours: it did not bite, or not
//! yet. That the members cannot be brought back is an error, tried again later and when the run ends. A fault that would leave fewer voters than
//! a majority of all nodes, together with those that are under way, replacements that have not come to their end included, is not applied
//! at all: it did not bite.
//!
//! Who is asked: every node about itself, on its own machine, which no partition of the nodes prevents. What is believed: the newest
//! committed list of a node that leads.

mod cluster;
pub mod steps;

use std::collections::{BTreeMap, BTreeSet};

use super::{Injector, Scope, StepReport};
use crate::evidence::{Effect, Evidence, NodeFailure, Observation, Step};
use crate::fault::{CLIENTS, MembershipChange, Resolved};
use cluster::{Cluster, Outcome};
use steps::{Members, Standing};

pub(super) struct Membership;

impl Injector for Membership {
    fn objections(&self, scope: &Scope<'_>) -> Vec<NodeFailure> {
        let objection = |node: &str| {
            let commands = scope.daemons.get(node).and_then(|daemon| daemon.commands.as_ref());
            if scope.only.is_some() {
                return Some("members are changed from one place that reaches all nodes, not by agents");
            }
            commands
                .and_then(|commands| commands.membership.as_ref())
                .is_none()
                .then_some("it is not known how its members are changed")
        };
        let nodes = cluster_nodes(scope).map(String::as_str);
        let failure = |(node, detail): (&str, &str)| NodeFailure {
            node: node.to_owned(),
            step: Step::Apply,
            detail: detail.to_owned(),
        };
        nodes.filter_map(|node| Some((node, objection(node)?))).map(failure).collect()
    }

    fn apply(&self, scope: &Scope<'_>) -> StepReport {
        let cluster = Cluster::new(scope);
        let change = change(scope.resolved);
        let held_back = match change {
            Some(MembershipChange::Transfer) => return cluster.transfer(),
            Some(MembershipChange::Demote) => Standing::Learner,
            _ => Standing::Out,
        };
        let mut wanted = wanted(scope);
        let mut back = wanted.clone();
        for node in scope.resolved.nodes() {
            wanted.entry(node.to_owned()).and_modify(|standing| *standing = held_back.min(*standing));
        }
        let replaced = being_replaced(&scope.others);
        let has_vote = |(node, standing): &(&String, &Standing)| {
            **standing == Standing::Voter && !replaced.contains(node.as_str())
        };
        let voters = wanted.iter().filter(has_vote).count();
        if voters <= wanted.len() / 2 {
            let detail = format!("only {voters} of {} nodes would have a vote", wanted.len());
            return told(scope, |_| Effect::MembershipRefused { detail: detail.clone() });
        }
        // What the other faults hold back is their affair: they have asked for it, and it may be under way.
        let own = scope.resolved.nodes();
        wanted.retain(|node, _| own.contains(&node.as_str()));
        back.retain(|node, _| own.contains(&node.as_str()));
        let at_once = change == Some(MembershipChange::Remove);
        let outcome = cluster.settle(&wanted, change == Some(MembershipChange::Replace), at_once);
        let outcome = match change {
            Some(MembershipChange::Replace) if outcome.missing.is_none() => {
                outcome.then(cluster.settle(&back, true, false))
            }
            _ => outcome,
        };
        report(scope, &cluster, &outcome, |detail| Ok(Effect::MembershipPending { detail }))
    }

    /// What the cluster said last is what was looked at.
    fn verify(&self, _: &Scope<'_>) -> StepReport {
        StepReport::default()
    }

    fn undo(&self, scope: &Scope<'_>) -> StepReport {
        if is_without_undo(scope) {
            return StepReport::default();
        }
        let cluster = Cluster::new(scope);
        let outcome = cluster.settle(&wanted(scope), false, false);
        report(scope, &cluster, &outcome, Err)
    }

    fn verify_undone(&self, scope: &Scope<'_>) -> StepReport {
        if is_without_undo(scope) {
            return StepReport::default();
        }
        let outcome = Cluster::new(scope).look_settled(&wanted(scope));
        let failure = |detail: String| NodeFailure {
            node: scope.resolved.nodes().first().map_or_else(String::new, ToString::to_string),
            step: Step::VerifyUndone,
            detail,
        };
        StepReport { failures: outcome.err().map(failure).into_iter().collect(), ..StepReport::default() }
    }
}

fn change(resolved: &Resolved) -> Option<MembershipChange> {
    match resolved {
        Resolved::Membership { change, .. } => Some(*change),
        _ => None,
    }
}

/// The hosts on which nodes run.
fn cluster_nodes<'a>(scope: &'a Scope<'_>) -> impl Iterator<Item = &'a String> {
    scope.hosts.keys().filter(|name| *name != CLIENTS)
}

fn is_without_undo(scope: &Scope<'_>) -> bool {
    change(scope.resolved) == Some(MembershipChange::Transfer) || was_refused(scope.evidence)
}

fn was_refused(evidence: &Evidence) -> bool {
    evidence.details.iter().any(|seen| matches!(seen.effect, Effect::MembershipRefused { .. }))
}

/// What every node is to be as far as the other faults are concerned: a function of their set, so that the order in which they end does
/// not matter.
fn wanted(scope: &Scope<'_>) -> BTreeMap<String, Standing> {
    let mut wanted: BTreeMap<String, Standing> =
        cluster_nodes(scope).map(|node| (node.clone(), Standing::Voter)).collect();
    for (resolved, _) in scope.others.iter().filter(|(_, evidence)| !was_refused(evidence)) {
        let held_back = match change(resolved) {
            Some(MembershipChange::Remove) => Standing::Out,
            Some(MembershipChange::Demote) => Standing::Learner,
            Some(MembershipChange::Replace | MembershipChange::Transfer) | None => continue,
        };
        for node in resolved.nodes() {
            wanted.entry(node.to_owned()).and_modify(|standing| *standing = held_back.min(*standing));
        }
    }
    wanted
}

/// The nodes of other faults that are being replaced, as far as is known: they may have no vote now, though they are to have one.
fn being_replaced<'a>(others: &[(&'a Resolved, &Evidence)]) -> BTreeSet<&'a str> {
    let is_pending = |evidence: &Evidence| {
        evidence.details.iter().any(|seen| matches!(seen.effect, Effect::MembershipPending { .. }))
    };
    let is_one = |(resolved, evidence): &&(&Resolved, &Evidence)| {
        change(resolved) == Some(MembershipChange::Replace) && is_pending(evidence)
    };
    others.iter().filter(is_one).flat_map(|(resolved, _)| resolved.nodes()).collect()
}

/// The same about each node of the fault.
fn told(scope: &Scope<'_>, effect: impl Fn(&str) -> Effect) -> StepReport {
    let observation = |node: &str| Observation { node: node.to_owned(), effect: effect(node) };
    StepReport {
        observations: scope.resolved.nodes().into_iter().map(observation).collect(),
        ..StepReport::default()
    }
}

/// What became of the fault's nodes, and what is missing: an effect or a failure, as `pending` says.
fn report(
    scope: &Scope<'_>,
    cluster: &Cluster<'_>,
    outcome: &Outcome,
    pending: impl Fn(String) -> Result<Effect, String>,
) -> StepReport {
    let mut report = StepReport { daemons: cluster.started(), ..StepReport::default() };
    for node in scope.resolved.nodes() {
        let described =
            |members: &Option<Members>| members.as_ref().map(|members| cluster.describe(members, node));
        if let (Some(before), Some(after)) = (described(&outcome.before), described(&outcome.after))
            && before != after
        {
            let effect = Effect::MemberChanged { before, after };
            report.observations.push(Observation { node: node.to_owned(), effect });
        }
        let Some(missing) = &outcome.missing else { continue };
        match pending(missing.clone()) {
            Ok(effect) => report.observations.push(Observation { node: node.to_owned(), effect }),
            Err(detail) => {
                report.failures.push(NodeFailure { node: node.to_owned(), step: Step::Undo, detail });
            }
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replacement_counts_as_under_way_until_it_was_seen_to_be_done() {
        let of = |node: &str, change| Resolved::Membership { nodes: vec![node.to_owned()], change };
        let seen = |effect| Evidence {
            details: vec![Observation { node: "n2".to_owned(), effect }],
            ..Evidence::default()
        };
        let pending = seen(Effect::MembershipPending { detail: "nobody leads".to_owned() });
        let done = seen(Effect::MemberChanged { before: "voter 2".to_owned(), after: "voter 6".to_owned() });
        let [replaced, removed] =
            [MembershipChange::Replace, MembershipChange::Remove].map(|change| of("n2", change));
        assert_eq!(being_replaced(&[(&replaced, &pending)]), BTreeSet::from(["n2"]));
        assert!(being_replaced(&[(&replaced, &done)]).is_empty());
        // Whoever is removed is to be no member, and is counted as that.
        assert!(being_replaced(&[(&removed, &pending)]).is_empty());
    }
}
