//! A queue, first in first out, empty at first.
//!
//! # The violation
//!
//! An element is overtaken. The element at the front, a, whose insertion has completed, is held back; the others move on. The
//! first dequeue that takes out an element whose insertion was *invoked after that of a had completed*, b, is the violation, but only
//! if a is not taken out concurrently: so a goes to a dequeue that is invoked after that of b has completed, or to none if the
//! history is over before.
//!
//! Proof: a was inserted before b in every order, b is taken out before a in every order that takes a out, and a queue
//! takes out a before b. No dequeue of this history crashes, so none can have taken out a unseen. (While a is held back, an
//! answer that the queue is empty is wrong too.)

use std::collections::VecDeque;

use labrys_seed::Rng;
use rand::Rng as _;

use crate::call::{Answer, Call, Fate, Function, Served};
use crate::recipe::Recipe;

/// An element. Times are counted in events of this history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Element {
    value: i64,
    invoked: u64,
    /// None while its insertion is open, and if that crashed.
    inserted: Option<u64>,
}

/// How far the violation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// There is to be none.
    Never,
    /// It begins when so many operations were invoked.
    From(usize),
    /// a is held back.
    Holding { value: i64, inserted: u64 },
    /// The dequeue of that number has taken out b.
    Overtaken { value: i64, by: usize },
    /// a goes to the next dequeue that is invoked.
    Releasing { value: i64 },
    /// a goes to the dequeue of that number.
    Released { value: i64, to: usize },
    /// All is as it should be again.
    Done,
}

pub(crate) struct Queue {
    elements: VecDeque<Element>,
    /// The value of the last insertion that was invoked.
    fresh: i64,
    /// Insertions that are open: the value, and when they were invoked.
    open: Vec<(i64, u64)>,
    /// Invocations, effects and completions so far.
    now: u64,
    crashed_per_mille: u32,
    stage: Stage,
}

impl Queue {
    pub fn new(recipe: &Recipe) -> Queue {
        Queue {
            elements: VecDeque::new(),
            fresh: 0,
            open: Vec::new(),
            now: 0,
            crashed_per_mille: recipe.crashed_per_mille,
            stage: recipe.prepared_from().map_or(Stage::Never, Stage::From),
        }
    }

    fn insert(&mut self, value: i64) {
        let invoked = self.open.iter().find(|(open, _)| *open == value).map_or(0, |(_, invoked)| *invoked);
        self.elements.push_back(Element { value, invoked, inserted: None });
    }

    fn take_out(&mut self, by: usize) -> Answer {
        if let Stage::Released { value, to } = self.stage
            && to == by
        {
            self.stage = Stage::Done;
            return Answer::Value(value);
        }
        let Some(element) = self.elements.pop_front() else { return Answer::Empty };
        if let Stage::Holding { value, inserted } = self.stage
            && element.invoked > inserted
        {
            self.stage = Stage::Overtaken { value, by };
        }
        Answer::Value(element.value)
    }

    /// Begins to hold the element at the front, when it is time and its insertion has completed.
    fn hold(&mut self, invoked: usize) {
        let Stage::From(from) = self.stage else { return };
        if let Some(&Element { value, inserted: Some(inserted), .. }) = self.elements.front()
            && invoked >= from
        {
            self.elements.pop_front();
            self.stage = Stage::Holding { value, inserted };
        }
    }
}

impl Served for Queue {
    fn first_calls(&self) -> Vec<(Function, usize)> {
        Vec::new()
    }

    fn invoke(&mut self, number: usize, rng: &mut Rng) -> Call {
        self.now += 1;
        self.hold(number);
        let (function, fate) = if rng.random_bool(0.5) {
            self.fresh += 1;
            self.open.push((self.fresh, self.now));
            (Function::Enqueue(self.fresh), Fate::drawn(self.crashed_per_mille, rng))
        } else {
            if let Stage::Releasing { value } = self.stage {
                self.stage = Stage::Released { value, to: number };
            }
            (Function::Dequeue, Fate::Completes)
        };
        Call { function, key: 0, fate, number }
    }

    fn take_effect(&mut self, call: &Call) -> Answer {
        self.now += 1;
        match call.function {
            Function::Enqueue(value) => {
                self.insert(value);
                Answer::Done
            }
            _ => self.take_out(call.number),
        }
    }

    fn complete(&mut self, call: &Call) {
        self.now += 1;
        if let Function::Enqueue(value) = call.function {
            self.open.retain(|(open, _)| *open != value);
            let mut elements = self.elements.iter_mut().rev();
            if call.fate == Fate::Completes
                && let Some(element) = elements.find(|element| element.value == value)
            {
                element.inserted = Some(self.now);
            }
        }
        if let Stage::Overtaken { value, by } = self.stage
            && by == call.number
        {
            self.stage = Stage::Releasing { value };
        }
    }

    fn has_violation(&self) -> bool {
        matches!(self.stage, Stage::Releasing { .. } | Stage::Released { .. } | Stage::Done)
    }
}
