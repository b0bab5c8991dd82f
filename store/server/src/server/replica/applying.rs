//! Committed entries, applied to the state machine in order, and the answers that follow from that.

use labrys_raft::{Defect, Entry, Input, Payload, Token};

use super::{Answer, Replica, ReplicaOutput};
use crate::machine::Surroundings;

impl Replica {
    pub(super) fn apply(&mut self, entries: Vec<(Entry, Option<Token>)>, outputs: &mut Vec<ReplicaOutput>) {
        let entries = self.before_apply(entries);
        if entries.is_empty() {
            return;
        }
        let leads = self.leads();
        self.optimistic = None;
        let (mut tokens, mut outcomes) = (Vec::new(), Vec::new());
        for (entry, token) in entries {
            self.machine
                .set_surroundings(Surroundings { clock_ms: self.now_ms, proposed_here: token.is_some() });
            let outcome = self.machine.apply(&entry);
            if let Some(token) = token
                && let Some(answer) = self.answer_of_entry(&entry, token)
            {
                outputs.push(ReplicaOutput::Answer { token, answer });
            } else if token.is_some() && token == self.tick {
                self.tick = None;
                self.overdue.clear();
            } else if let (Some(token), Some(outcome)) = (token, outcome) {
                tokens.push(token);
                outcomes.push(outcome);
            }
        }
        if self.defects.has(Defect::UnackedBatchReorder) {
            outcomes.reverse();
        }
        outputs.extend(
            tokens
                .into_iter()
                .zip(outcomes)
                .map(|(token, outcome)| ReplicaOutput::Answer { token, answer: Answer::Outcome(outcome) }),
        );
        self.clock.applied(self.now_ms, self.machine.time_ms(), leads);
        self.inputs.push(Input::Applied { index: self.machine.applied() });
    }

    /// What ends with an entry that is none of the state machine's: a change of the membership, or a read through the log,
    /// which sees what was applied before it.
    fn answer_of_entry(&mut self, entry: &Entry, token: Token) -> Option<Answer> {
        match entry.payload {
            Payload::Membership(_) => Some(Answer::MembershipChanged { index: entry.index }),
            Payload::Noop => {
                let query = self.reads.remove(&token)?;
                Some(Answer::Reading(self.machine.read(&query)))
            }
            Payload::Command(_) => None,
        }
    }
}
