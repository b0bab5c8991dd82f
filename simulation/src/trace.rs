//! [`Trace`]: what passed between the nodes, kept for a picture.

use std::collections::{BTreeMap, BTreeSet};

use labrys_store::client::logic::Reply;
use labrys_store::raft::{Message, MessageBody};
use labrys_store::server::Answer;
use serde::Serialize;

use crate::queue::Agenda;
use crate::world::Event;

/// A message from node to node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TracedMessage {
    /// When it was sent, in the world's nanoseconds.
    pub sent_ns: u64,
    /// When it arrived; `None`: never.
    pub arrived_ns: Option<u64>,
    /// Position of the sender.
    pub from: usize,
    /// Position of the receiver.
    pub to: usize,
    /// What it says, in a few words.
    pub label: String,
}

/// A request of a client, or the reply to one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TracedCall {
    /// When it was sent, in the world's nanoseconds.
    pub sent_ns: u64,
    /// When it arrives; `None`: never.
    pub arrives_ns: Option<u64>,
    /// Number of the client's thread.
    pub client: usize,
    /// Position of the node.
    pub node: usize,
    /// Whether it is the reply.
    pub is_reply: bool,
    /// What it says, if that is neither what the client wants nor what it gets.
    pub label: String,
}

/// Something that happened on a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TracedMark {
    /// When, in the world's nanoseconds.
    pub at_ns: u64,
    /// Position of the node.
    pub node: usize,
    /// What, in a few words.
    pub label: String,
}

/// What passed between the nodes, if it is kept at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Trace {
    /// When the history begins, whose times count from then, in the world's nanoseconds.
    pub history_begins_ns: u64,
    /// Whether it is kept.
    #[serde(skip)]
    pub is_kept: bool,
    /// In the order in which they were sent.
    pub messages: Vec<TracedMessage>,
    /// In the order in which they were sent.
    pub calls: Vec<TracedCall>,
    /// In the order in which they happened.
    pub marks: Vec<TracedMark>,
}

impl Trace {
    /// A message is sent; its number.
    pub(crate) fn sent(&mut self, sent_ns: u64, from: usize, to: usize, message: &Message) -> u64 {
        if !self.is_kept {
            return 0;
        }
        let label = label_of(message);
        self.messages.push(TracedMessage { sent_ns, arrived_ns: None, from, to, label });
        self.messages.len() as u64 - 1
    }

    /// It has arrived.
    pub(crate) fn arrived(&mut self, number: u64, at_ns: u64) {
        let message = usize::try_from(number).ok().and_then(|number| self.messages.get_mut(number));
        if let Some(message) = message {
            message.arrived_ns.get_or_insert(at_ns);
        }
    }

    /// A client asks a node for something: when, and when that arrives.
    pub(crate) fn asked(&mut self, sent_ns: u64, arrives_ns: Option<u64>, client: usize, node: usize) {
        if self.is_kept {
            let label = String::new();
            self.calls.push(TracedCall { sent_ns, arrives_ns, client, node, is_reply: false, label });
        }
    }

    /// A node replies: when, and when that arrives.
    pub(crate) fn replied(&mut self, times: (u64, Option<u64>), node: usize, client: usize, reply: &Reply) {
        if self.is_kept {
            let (sent_ns, arrives_ns) = times;
            let label = label_of_reply(reply);
            self.calls.push(TracedCall { sent_ns, arrives_ns, client, node, is_reply: true, label });
        }
    }

    /// The run has ended. What would still have arrived is neither lost nor of consequence: it is as if it had not been sent.
    pub(crate) fn ended(mut self, mut agenda: Agenda<Event>, history_begins_ns: u64) -> Trace {
        self.history_begins_ns = history_begins_ns;
        let mut on_their_way = BTreeSet::new();
        while let Some((_, event)) = agenda.take().filter(|_| self.is_kept) {
            if let Event::Arrive { number, .. } = event {
                on_their_way.insert(number);
            }
        }
        let mut number = 0;
        self.messages.retain(|message| {
            number += 1;
            message.arrived_ns.is_some() || !on_their_way.contains(&(number - 1))
        });
        self
    }

    /// Something has happened on a node.
    pub(crate) fn mark(&mut self, at_ns: u64, node: usize, label: &str) {
        if self.is_kept {
            self.marks.push(TracedMark { at_ns, node, label: label.to_owned() });
        }
    }

    /// A node answers an operator, who is no client of the run.
    pub(crate) fn answered(&mut self, at_ns: u64, node: usize, answer: &Answer) {
        match answer {
            Answer::MembershipChanged { .. } => self.mark(at_ns, node, "members changed"),
            Answer::ChangeRefused(refusal) => self.mark(at_ns, node, &format!("refused: {refusal}")),
            Answer::Transferred { leader } => self.mark(at_ns, node, &format!("handed over to n{leader}")),
            _ => {}
        }
    }
}

/// What a message says, in a few words.
pub(crate) fn label_of(message: &Message) -> String {
    let term = message.term;
    match &message.body {
        MessageBody::PreVote { .. } => format!("trial vote? term {term}"),
        MessageBody::PreVoteReply { granted: true } => format!("trial vote, term {term}"),
        MessageBody::PreVoteReply { granted: false } => "no trial vote".to_owned(),
        MessageBody::Vote { .. } => format!("vote? term {term}"),
        MessageBody::VoteReply { granted: true } => format!("vote, term {term}"),
        MessageBody::VoteReply { granted: false } => format!("no vote, term {term}"),
        MessageBody::Append { prev_index, entries, commit, .. } => match entries.last() {
            None => format!("heartbeat, commit {commit}"),
            Some(last) if entries.len() == 1 => format!("entry {}, commit {commit}", last.index),
            Some(last) => format!("entries {}–{}, commit {commit}", prev_index.0 + 1, last.index),
        },
        MessageBody::AppendReply { outcome: Ok(matched), .. } => format!("has {matched}"),
        MessageBody::AppendReply { outcome: Err(rejection), .. } => format!("lacks {}", rejection.rejected),
        MessageBody::InstallSnapshot { snapshot, offset, data, .. } => {
            format!("snapshot {} from {offset}, {} bytes", snapshot.index(), data.len())
        }
        MessageBody::SnapshotReply { index, .. } => format!("snapshot {index}: more"),
        MessageBody::TimeoutNow => "campaign now".to_owned(),
        MessageBody::ReadIndex { request, .. } => format!("read index? {request}"),
        MessageBody::ReadIndexReply { index, .. } => format!("read index {index}"),
        #[allow(unreachable_patterns, reason = "messages that are added later have a name all the same")]
        _ => "another message".to_owned(),
    }
}

fn label_of_reply(reply: &Reply) -> String {
    match reply {
        Reply::Ok(_) => String::new(),
        Reply::NotLeader { leader_address: None } => "knows no leader".to_owned(),
        Reply::NotLeader { leader_address: Some(address) } => {
            format!("{} leads", address.split(':').next().unwrap_or_default())
        }
        Reply::Failed { error, .. } => error.to_string(),
    }
}

impl Trace {
    /// Of each message, whether it changes nothing: a heartbeat, or an answer to one, that says what the last message on its link
    /// said, and met with the same fate. O(n).
    #[must_use]
    pub fn routine(&self) -> Vec<bool> {
        let mut last: BTreeMap<(usize, usize, bool), (&str, bool)> = BTreeMap::new();
        let mut routine = Vec::with_capacity(self.messages.len());
        for message in &self.messages {
            let is_heartbeat = message.label.starts_with("heartbeat");
            if !is_heartbeat && !message.label.starts_with("has ") {
                routine.push(false);
                continue;
            }
            let now = (message.label.as_str(), message.arrived_ns.is_some());
            let before = last.insert((message.from, message.to, is_heartbeat), now);
            // The first of a link is routine as long as it says nothing.
            routine.push(before.map_or(message.label.ends_with(" 0"), |before| before == now));
        }
        routine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heartbeats_are_routine_while_they_say_the_same_and_meet_with_the_same_fate() {
        let message = |label: &str, arrived_ns| TracedMessage {
            sent_ns: 0,
            arrived_ns,
            from: 0,
            to: 1,
            label: label.to_owned(),
        };
        let messages = vec![
            message("heartbeat, commit 0", Some(1)),
            message("heartbeat, commit 3", Some(1)),
            message("heartbeat, commit 3", Some(1)),
            message("heartbeat, commit 3", None),
            message("heartbeat, commit 3", None),
            message("vote for term 2", None),
            message("vote for term 2", None),
        ];
        let trace = Trace { is_kept: true, messages, ..Trace::default() };
        assert_eq!(trace.routine(), [true, false, true, false, true, false, false]);
    }
}
