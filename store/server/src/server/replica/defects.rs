//! What defects of the replica do that is more than a line in the place of another.

use bytes::Bytes;
use labrys_raft::{Entry, LogIndex, Payload, Term, Token};

use super::{Answer, Replica, ReplicaOutput};
use crate::machine::{Done, Operation, Outcome, Revision, Step, StepResult};

impl Replica {
    /// A defect: the comparison is made against what is applied now, although other writes may be on their way.
    pub(super) fn evaluate_now(&self, operation: Operation) -> Result<Operation, Outcome> {
        match operation {
            Operation::Step(Step::CompareAndSet { key, expected, value }) => match self.machine.get(&key) {
                actual if actual == expected.as_ref() => Ok(Operation::put(key, value)),
                actual => Err(Outcome::Done {
                    index: LogIndex(0),
                    revision: Revision(0),
                    done: Done::Step(StepResult::NotSwapped { actual: actual.cloned() }),
                }),
            },
            other => Ok(other),
        }
    }

    /// A defect: what is only proposed counts as done, in a state that reads are answered from.
    pub(super) fn apply_optimistically(&mut self, command: Bytes) {
        let machine = self.optimistic.get_or_insert_with(|| self.machine.clone());
        let payload = Payload::Command(command);
        machine.apply(&Entry { term: Term(0), index: machine.applied().next(), payload });
    }
}

/// A defect: the leader has only appended the write.
pub(super) fn early_answer(token: Token) -> ReplicaOutput {
    let outcome =
        Outcome::Done { index: LogIndex(0), revision: Revision(0), done: Done::Step(StepResult::Put) };
    ReplicaOutput::Answer { token, answer: Answer::Outcome(outcome) }
}
