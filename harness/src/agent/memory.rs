//! [`Memory`]: which requests an agent has taken, so that each is carried out once.

use std::collections::BTreeMap;

use super::protocol::Answer;

/// What there is to do about a request that has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is to be carried out, by whoever has asked: nobody else is told so.
    New,
    /// Somebody is at it.
    UnderWay,
    /// It was carried out.
    Answered(Box<Answer>),
    /// It was carried out, its answer has arrived and is not known any more.
    Forgotten,
}

/// Requests that have come and have not been forgotten, with their answers once there are any.
#[derive(Default)]
pub(super) struct Memory {
    taken: BTreeMap<u64, Option<Answer>>,
    forgotten_up_to: u64,
}

impl Memory {
    /// Takes a request. O(log requests that are remembered), and a copy of the answer.
    pub fn take(&mut self, id: u64) -> Taken {
        match self.taken.get(&id) {
            Some(Some(answer)) => Taken::Answered(Box::new(answer.clone())),
            Some(None) => Taken::UnderWay,
            None if id <= self.forgotten_up_to => Taken::Forgotten,
            None => {
                self.taken.insert(id, None);
                Taken::New
            }
        }
    }

    pub fn answered(&mut self, id: u64, answer: Answer) {
        self.taken.insert(id, Some(answer));
    }

    /// It could not be begun: whoever says it again may try again.
    pub fn not_begun(&mut self, id: u64) {
        self.taken.remove(&id);
    }

    /// The answers up to `received` have arrived, or nobody waits for them any more.
    pub fn forget(&mut self, received: u64) {
        self.forgotten_up_to = self.forgotten_up_to.max(received);
        let forgotten = self.forgotten_up_to;
        self.taken.retain(|id, answer| *id > forgotten || answer.is_none());
    }
}

#[cfg(test)]
mod tests {
    use super::super::protocol::HostAnswer;
    use super::*;

    #[test]
    fn a_request_is_new_once_then_under_way_then_answered_and_never_new_again() {
        let mut memory = Memory::default();
        let answer = || Answer::Host(HostAnswer::Done);
        assert_eq!(memory.take(2), Taken::New);
        assert_eq!(memory.take(2), Taken::UnderWay);
        memory.answered(2, answer());
        memory.forget(1);
        assert_eq!(memory.take(2), Taken::Answered(Box::new(answer())));
        assert_eq!(memory.take(3), Taken::New);
        memory.forget(3);
        assert_eq!(memory.take(3), Taken::UnderWay, "it is forgotten only when it is done");
        memory.answered(3, answer());
        memory.forget(1);
        assert_eq!([memory.take(2), memory.take(3)], [Taken::Forgotten, Taken::Forgotten]);
        assert_eq!(memory.take(4), Taken::New);
        memory.not_begun(4);
        assert_eq!(memory.take(4), Taken::New);
    }
}
