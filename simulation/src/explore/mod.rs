//! Exhaustive exploration: every state that a tiny cluster of Raft cores can reach within bounds, breadth first, so that the way to a
//! violation is a shortest one. Explicit-state model checking as in *Model Checking* (Clarke, Grumberg, Peled 1999, chapter 2), on the
//! code that runs and not on a model of it.
//!
//! # What is explored
//!
//! Nodes of [`labrys_store::raft`], each with its network and its disk as follows. At every moment
//! - a node that does not lead may have its election timeout (so clocks may differ without bounds, and pauses are of any length);
//! - a message may arrive, be it the next one or not: links hold one message per direction, and a newer one takes the place of an older
//!   one that has not arrived, which is lost. What never arrives is lost as well, so cuts of any kind and length are covered; what is
//!   not covered is that a message arrives twice, or after a later one of the same link;
//! - while [`Bounds::restarts`] last, a node may be ended and start again from its disk. What a step writes is durable at its end, all
//!   or nothing: damage done by torn or unsynced writes is the simulator's affair, not this one's.
//!
//! Clients do nothing: entries are those with which leaders open their terms. Leaders send no heartbeats after the first ones. There is
//! no pre-vote and no check-quorum, as in section 5 of the Raft paper, and one entry per message.
//!
//! # Why it ends, and what it proves
//!
//! Only a timeout raises a term, and none does beyond [`Bounds::highest_term`]; so terms, logs and messages are finite, and so are the
//! states. If no state is left that was not looked at ([`Explored::is_complete`]), the properties hold in *every* state that can be
//! reached so; with a limit on the depth, in every state that takes no more steps than that. States of nodes are told apart by 128 bits
//! of [`labrys_store::raft::Node::fingerprint`], so that two different ones are taken for one with a probability of n²/2¹²⁹ for n of them
//! (some thousands); states of the cluster are compared in full.
//!
//! Nodes are equal but for their numbers, and timeouts do not depend on these, so that the first one to time out is n1 without loss of
//! generality. An answer that its receiver can do nothing with, now or later, is taken off its link: one of an earlier term, a vote that
//! was counted or comes to somebody who is no candidate any more, an acknowledgement that says nothing new; unless a defect has old
//! answers heeded.
//!
//! # Complexity
//!
//! O(states × actions) look-ups: what a node does with an input is computed once for each of its states (some thousands), whatever the
//! rest of the cluster looks like. About 100 bytes per state.

mod cluster;
mod properties;
mod state;

use std::hash::BuildHasher;

use hashbrown::HashTable;
pub use labrys_store::raft::{Defect, Defects};
use rustc_hash::FxBuildHasher;
use serde::Serialize;
use thiserror::Error;

use self::cluster::{Cluster, Happening};
use self::state::{Action, MOST_NODES, MOST_TERMS, State};
use crate::trace::{Trace, TracedMark, TracedMessage};

/// How far is looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How many nodes: 2 or 3.
    pub nodes: usize,
    /// Whether it begins when n1 leads term 1 by the vote of n2, and what it has sent is on its way; else when all start.
    pub from_leader: bool,
    /// No node campaigns for a term above this one; from 1 to 7.
    pub highest_term: u64,
    /// No more steps than these from the beginning.
    pub depth: usize,
    /// No more election timeouts than these in a run; `None`: as many as the terms allow.
    pub timeouts: Option<u8>,
    /// No more restarts than these in a run.
    pub restarts: u8,
    /// No more states than these: a limit for memory.
    pub states: usize,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            nodes: 3,
            from_leader: false,
            highest_term: 3,
            depth: usize::MAX,
            timeouts: None,
            restarts: 0,
            states: 20_000_000,
        }
    }
}

/// The bounds make no sense.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum BoundsError {
    /// Too many or too few nodes.
    #[error("{0} nodes cannot be explored: 2 or 3 can")]
    Nodes(usize),
    /// Too many or too few terms.
    #[error("{0} is no highest term: 1 to 7")]
    Terms(u64),
    /// The cores refuse to start.
    #[error("{0}")]
    Start(String),
}

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explored {
    /// States of the cluster.
    pub states: usize,
    /// Steps from one to another, or to one that was known.
    pub transitions: u64,
    /// States of single nodes.
    pub node_states: usize,
    /// Different messages.
    pub messages: usize,
    /// How many states are first reached after so many steps, from 0.
    pub by_depth: Vec<usize>,
    /// Whether there is no other state within the bounds on terms and restarts.
    pub is_complete: bool,
    /// Whether it ended because there were too many states.
    pub gave_up: bool,
    /// The first violation; the exploration ends with it.
    pub violation: Option<Found>,
}

/// A violation, and a shortest way to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Which property, or `node-invariants`: the core itself noticed.
    pub property: String,
    /// What was seen.
    pub what: String,
    /// What happened, and what became of the node to which it happened.
    pub steps: Vec<String>,
    /// The same as messages, a step a millisecond, for a picture.
    #[serde(skip)]
    pub trace: Trace,
}

/// Looks at every state within `bounds`, or at those before the first violation. The same every time.
///
/// # Errors
/// If the bounds make no sense.
pub fn explore(bounds: &Bounds, defects: Defects) -> Result<Explored, BoundsError> {
    search(bounds, defects, heeds_old_answers(defects))
}

fn search(bounds: &Bounds, defects: Defects, keeps_spent: bool) -> Result<Explored, BoundsError> {
    if !(2..=MOST_NODES).contains(&bounds.nodes) {
        return Err(BoundsError::Nodes(bounds.nodes));
    }
    if !(1..=MOST_TERMS as u64).contains(&bounds.highest_term) {
        return Err(BoundsError::Terms(bounds.highest_term));
    }
    let cluster = Cluster::new(bounds.nodes, defects).map_err(BoundsError::Start)?;
    let first = State::of(cluster.start());
    let mut known = Known::default();
    known.insert(first, 0, Action::Restart(0));
    let mut search = Search { bounds, keeps_spent, cluster, known, transitions: 0 };
    if bounds.from_leader {
        search.elect_first();
    }
    let mut begin = search.known.len() - 1;
    let mut by_depth = vec![1; begin + 1];
    let (mut found, mut gave_up) = (None, false);
    while found.is_none() && begin < search.known.len() && by_depth.len() <= bounds.depth {
        let end = search.known.len();
        if end > bounds.states {
            gave_up = true;
            break;
        }
        found = (begin..end).find_map(|position| search.expand(position));
        by_depth.push(search.known.len() - end);
        begin = end;
    }
    let is_complete = found.is_none() && begin == search.known.len();
    if by_depth.last() == Some(&0) {
        by_depth.pop();
    }
    let violation = found.map(|(position, action, violation)| search.tell(position, action, violation));
    let (node_states, messages) = search.cluster.sizes();
    let (states, transitions) = (search.known.len(), search.transitions);
    Ok(Explored { states, transitions, node_states, messages, by_depth, is_complete, gave_up, violation })
}

/// Whether a node with these defects may heed an answer of an earlier term than its own.
fn heeds_old_answers(defects: Defects) -> bool {
    [Defect::StaleVoteCounted, Defect::StaleAppendReplyCounted, Defect::VoteNotPersisted]
        .into_iter()
        .any(|defect| defects.has(defect))
}

/// States that were reached, in the order in which they were, each with how.
#[derive(Default)]
struct Known {
    states: Vec<State>,
    from: Vec<(u32, Action)>,
    positions: HashTable<u32>,
}

impl Known {
    fn len(&self) -> usize {
        self.states.len()
    }

    fn insert(&mut self, state: State, from: usize, action: Action) {
        let hash = |state: &State| FxBuildHasher.hash_one(state);
        let states = &self.states;
        let is_same = |position: &u32| states[*position as usize] == state;
        let entry = self.positions.entry(hash(&state), is_same, |position| hash(&states[*position as usize]));
        if let hashbrown::hash_table::Entry::Vacant(vacant) = entry {
            vacant.insert(self.states.len() as u32);
            self.states.push(state);
            self.from.push((from as u32, action));
        }
    }

    /// The steps that lead to a state, the first one first.
    fn way_to(&self, mut position: usize) -> Vec<Action> {
        let mut actions = Vec::new();
        while position != 0 {
            let (from, action) = self.from[position];
            actions.push(action);
            position = from as usize;
        }
        actions.reverse();
        actions
    }
}

/// A property and what was seen.
type Violated = (String, String);

struct Search<'a> {
    bounds: &'a Bounds,
    /// Whether answers that nobody does anything with stay on their links.
    keeps_spent: bool,
    cluster: Cluster,
    known: Known,
    transitions: u64,
}

impl Search<'_> {
    /// n1 asks for votes, n2 gives its one, and the only way goes on from there.
    fn elect_first(&mut self) {
        let (from, to) = (0, 1);
        for action in
            [Action::Timeout(0), Action::Deliver { from, to }, Action::Deliver { from: to, to: from }]
        {
            let position = self.known.len() - 1;
            let state = self.known.states[position];
            if let Ok(next) = self.take(&state, action) {
                self.known.insert(next, position, action);
            }
        }
    }

    /// Takes every step from a state; the first one that violates something.
    fn expand(&mut self, position: usize) -> Option<(usize, Action, Violated)> {
        let state = self.known.states[position];
        for action in self.possible(&state, position == 0) {
            self.transitions += 1;
            match self.take(&state, action) {
                Ok(next) => self.known.insert(next, position, action),
                Err(violated) => return Some((position, action, violated)),
            }
        }
        None
    }

    fn possible(&self, state: &State, is_first: bool) -> Vec<Action> {
        let nodes = 0..self.bounds.nodes;
        let mut actions = Vec::new();
        for node in nodes.clone() {
            let view = self.cluster.view(state.nodes[node]);
            let has_more = self.bounds.timeouts.is_none_or(|timeouts| state.timeouts < timeouts);
            let may_campaign = has_more && !view.leads && u64::from(view.term) < self.bounds.highest_term;
            if may_campaign && (!is_first || node == 0) {
                actions.push(Action::Timeout(node as u8));
            }
            if state.restarts < self.bounds.restarts && !is_first {
                actions.push(Action::Restart(node as u8));
            }
            let links = nodes.clone().filter(|from| state.link(*from, node).is_some());
            actions.extend(links.map(|from| Action::Deliver { from: from as u8, to: node as u8 }));
        }
        actions
    }

    /// The state after a step, or what it violates.
    fn take(&mut self, state: &State, action: Action) -> Result<State, Violated> {
        let mut next = *state;
        let node = action.node();
        let happening = match action {
            Action::Timeout(_) => {
                next.timeouts += u8::from(self.bounds.timeouts.is_some());
                Happening::Timeout
            }
            Action::Restart(_) => {
                next.restarts += 1;
                Happening::Restart
            }
            Action::Deliver { from, .. } => match next.take_from_link(usize::from(from), node) {
                Some(message) => Happening::Receive(message),
                None => return Ok(next),
            },
        };
        let outcome = self.cluster.step(state.nodes[node], happening);
        next.nodes[node] = outcome.node;
        if let Some(what) = &outcome.broken {
            return Err(("node-invariants".to_owned(), format!("n{} says: {what}", node + 1)));
        }
        for (to, message) in &outcome.sent {
            next.put_on_link(node, *to, *message);
        }
        if !self.keeps_spent {
            self.take_spent_answers_off(&mut next, node);
        }
        properties::check(&self.cluster, &mut next, node, self.bounds.nodes)?;
        Ok(next)
    }

    /// Those that were sent by `node` in its last step, or were on their way to it.
    fn take_spent_answers_off(&mut self, state: &mut State, node: usize) {
        for other in 0..self.bounds.nodes {
            for (from, to) in [(node, other), (other, node)] {
                let message = state.link(from, to);
                if message.is_some_and(|message| self.cluster.is_spent(message, state.nodes[to])) {
                    state.take_from_link(from, to);
                }
            }
        }
    }

    /// The way to a violation, in words and as messages.
    fn tell(&mut self, position: usize, last: Action, (property, what): Violated) -> Found {
        let mut actions = self.known.way_to(position);
        actions.push(last);
        let mut state = self.known.states[0];
        let mut trace = Trace { is_kept: true, ..Trace::default() };
        let mut on_link = [None; MOST_NODES * MOST_NODES];
        let mut steps = Vec::new();
        for (number, action) in actions.into_iter().enumerate() {
            let (at_ns, node) = ((number as u64 + 1) * 1_000_000, action.node());
            let happening = match action {
                Action::Timeout(_) => Happening::Timeout,
                Action::Restart(_) => Happening::Restart,
                Action::Deliver { from, .. } => {
                    let sent: Option<usize> = on_link[usize::from(from) * MOST_NODES + node].take();
                    let traced = sent.and_then(|sent| trace.messages.get_mut(sent));
                    traced.into_iter().for_each(|message| message.arrived_ns = Some(at_ns));
                    Happening::Receive(state.link(usize::from(from), node).unwrap_or_default())
                }
            };
            let before = self.cluster.view(state.nodes[node]).clone();
            let outcome = self.cluster.step(state.nodes[node], happening);
            let after = self.cluster.view(outcome.node).clone();
            if !matches!(happening, Happening::Receive(_)) || (after.leads && !before.leads) {
                let label =
                    if after.leads { format!("leads term {}", after.term) } else { happening.to_string() };
                trace.marks.push(TracedMark { at_ns, node, label });
            }
            for (to, message) in &outcome.sent {
                on_link[node * MOST_NODES + to] = Some(trace.messages.len());
                let label = self.cluster.label(*message);
                let (sent_ns, arrived_ns) = (at_ns, None);
                trace.messages.push(TracedMessage { sent_ns, arrived_ns, from: node, to: *to, label });
            }
            let what = match (action, happening) {
                (Action::Deliver { from, .. }, Happening::Receive(message)) => {
                    format!("n{} receives from n{}: {}", node + 1, from + 1, self.cluster.label(message))
                }
                _ => format!("n{}: {happening}", node + 1),
            };
            steps.push(format!("{what} → {after}"));
            // The last step is the one that goes wrong; where it would lead to is of no consequence.
            state = self.take(&state, action).unwrap_or(state);
        }
        Found { property, what, steps, trace }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_state_of_a_node_is_missed_by_taking_spent_answers_off_their_links() {
        for (nodes, highest_term, restarts) in [(2, 4, 0), (2, 3, 1), (3, 2, 0)] {
            let bounds = Bounds { nodes, highest_term, restarts, ..Bounds::default() };
            let [with, without] =
                [false, true].map(|keeps| search(&bounds, Defects::NONE, keeps).expect("good bounds"));
            assert_eq!(
                (with.node_states, with.messages),
                (without.node_states, without.messages),
                "{bounds:?}"
            );
            assert!(with.states < without.states && with.is_complete && without.is_complete, "{bounds:?}");
        }
    }
}
