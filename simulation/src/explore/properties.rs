//! What must hold in every state: the Raft paper's Figure 3, but for what a leader does to its own log, which the core checks itself.

use super::cluster::{Cluster, View};
use super::state::State;
use crate::oracles::Property;

/// Checks what a step of `node` can have violated, and notes in `state` who leads and what is committed now.
pub(super) fn check(
    cluster: &Cluster,
    state: &mut State,
    node: usize,
    nodes: usize,
) -> Result<(), (String, String)> {
    let view = cluster.view(state.nodes[node]);
    let violated = |property: Property, what: String| Err((property.name().to_owned(), what));
    if let Some(what) = elections(state, node, view) {
        return violated(Property::ElectionSafety, what);
    }
    if let Some(what) = leaders(state, node, view) {
        return violated(Property::LeaderCompleteness, what);
    }
    if let Some(what) = commits(state, node, view) {
        return violated(Property::StateMachineSafety, what);
    }
    for other in (0..nodes).filter(|other| *other != node) {
        if let Some(index) = mismatch(view, cluster.view(state.nodes[other])) {
            let what = format!(
                "n{} and n{} have the same entry after {index}, and differ there",
                node + 1,
                other + 1
            );
            return violated(Property::LogMatching, what);
        }
    }
    Ok(())
}

/// At most one leader per term (5.2).
fn elections(state: &mut State, node: usize, view: &View) -> Option<String> {
    if !view.leads {
        return None;
    }
    let leader = &mut state.leaders[usize::from(view.term) - 1];
    let before = std::mem::replace(leader, node as u8 + 1);
    (before != 0 && before != *leader)
        .then(|| format!("n{before} and n{leader} both lead term {}", view.term))
}

/// A leader has every entry that was committed in an earlier term (5.4).
fn leaders(state: &State, node: usize, view: &View) -> Option<String> {
    let committed = state.committed.iter().enumerate();
    let earlier = committed.filter(|(_, (term, in_term))| view.leads && *term != 0 && *in_term < view.term);
    earlier
        .map(|(position, (term, _))| (position, *term))
        .find(|(position, term)| view.log.get(*position) != Some(term))
        .map(|(position, term)| {
            let has = view.log.get(position).map_or("nothing".to_owned(), |has| format!("one of term {has}"));
            let (node, index) = (node + 1, position + 1);
            format!(
                "n{node} leads term {}, but of the committed entry {index} of term {term} it has {has}",
                view.term
            )
        })
}

/// No two nodes commit different entries at an index (5.4.3).
fn commits(state: &mut State, node: usize, view: &View) -> Option<String> {
    let entries = view.log.iter().take(view.commit).zip(&mut state.committed);
    for (position, (term, committed)) in entries.enumerate() {
        if committed.0 == 0 {
            *committed = (*term, view.term);
        }
        if committed.0 != *term {
            let (node, index, before) = (node + 1, position + 1, committed.0);
            return Some(format!(
                "n{node} commits an entry of term {term} at {index}, where one of term {before} is committed"
            ));
        }
    }
    None
}

/// Logs that have an entry of the same index and term are the same up to there (5.3); the last index at which they are not.
fn mismatch(one: &View, other: &View) -> Option<usize> {
    let is_same = |index: &usize| one.log[*index] == other.log[*index];
    let both = 0..one.log.len().min(other.log.len());
    let last_same = both.rev().find(is_same)?;
    (0..last_same).rev().find(|index| !is_same(index)).map(|position| position + 1)
}
