//! Registers, one for each key.
//!
//! # The violation
//!
//! A read on key 0 returns a value that was overwritten. That no order explains it is made sure of in steps:
//!
//! 1. From some moment on, nobody begins an operation that would write the value in question, w; and no operation that crashes
//!    ever writes w. (Unique values: w is the last value whose write has completed, so there is no other that writes it.
//!    Few values: w is 0.)
//! 2. Every operation that would write w has completed.
//! 3. A write of something else, invoked after that, completes.
//! 4. A read, invoked after that, returns w. Until it completes, step 1 holds.
//!
//! Proof: in a legal order, every operation that writes w comes before the write of step 3 (it completed before that was
//! invoked) or after the read (it is invoked after that completed), and the write of step 3 comes before the read. So the last
//! operation before the read that changes the register does not write w, and the register holds another value. This needs
//! nothing of the other operations, crashed or not, and of the initial value only that the first write has replaced it.

use labrys_seed::Rng;
use rand::Rng as _;

use crate::call::{Answer, Call, Fate, Function, Served};
use crate::recipe::{Recipe, Values};

/// The value of the violation where values are few.
const WITHHELD: i64 = 0;
/// The key of the violation.
const KEY: usize = 0;

/// How far the violation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// There is to be none.
    Never,
    /// It begins when so many operations were invoked.
    From(usize),
    /// Step 2: operations that write it are still open.
    Clearing { value: i64 },
    /// Step 3: a write whose number is larger must complete.
    Overwriting { value: i64, after: usize },
    /// Step 4: the next read.
    Overwritten { value: i64 },
    /// Step 4: the read of that number.
    Reading { value: i64, reader: usize },
    /// The read has completed.
    Done,
}

pub(crate) struct Register {
    values: Values,
    has_cas: bool,
    crashed_per_mille: u32,
    /// By key.
    holds: Vec<i64>,
    /// The last unique value.
    fresh: i64,
    /// What the last completed write on the key of the violation wrote.
    written: i64,
    invoked: usize,
    /// Open operations that write [`WITHHELD`] to the key of the violation.
    open_writers: usize,
    stage: Stage,
}

impl Register {
    pub fn new(recipe: &Recipe, values: Values, has_cas: bool) -> Register {
        Register {
            values,
            has_cas,
            crashed_per_mille: recipe.crashed_per_mille,
            holds: vec![0; recipe.keys],
            fresh: recipe.keys as i64,
            written: 0,
            invoked: 0,
            open_writers: 0,
            stage: recipe.prepared_from().map_or(Stage::Never, Stage::From),
        }
    }

    /// A value to write, not [`WITHHELD`] if it `must_differ` from that.
    fn value(&mut self, must_differ: bool, rng: &mut Rng) -> i64 {
        match self.values {
            Values::Unique => {
                self.fresh += 1;
                self.fresh
            }
            Values::Below(number) => rng.random_range(WITHHELD + i64::from(must_differ)..i64::from(number)),
        }
    }

    fn writes_withheld(&self, call: &Call) -> bool {
        let writes = |value| matches!(self.values, Values::Below(_)) && value == WITHHELD && call.key == KEY;
        matches!(call.function, Function::Write(value) | Function::Cas(_, value) if writes(value))
    }

    fn is_withheld(&self) -> bool {
        !matches!(self.stage, Stage::Never | Stage::From(_) | Stage::Done)
    }

    fn advance(&mut self) {
        match self.stage {
            Stage::From(from) if self.invoked >= from => {
                let value = if self.values == Values::Unique { self.written } else { WITHHELD };
                self.stage = Stage::Clearing { value };
                self.advance();
            }
            Stage::Clearing { value } if self.open_writers == 0 => {
                self.stage = Stage::Overwriting { value, after: self.invoked };
            }
            _ => {}
        }
    }

    fn function(&mut self, key: usize, crashes: bool, rng: &mut Rng) -> Function {
        let must_differ = crashes || key == KEY && self.is_withheld();
        if !self.has_cas || rng.random_bool(0.5) {
            return Function::Write(self.value(must_differ, rng));
        }
        let holds = self.holds[key];
        let expected = match self.values {
            _ if rng.random_bool(0.5) => holds,
            Values::Unique => holds - rng.random_range(0..10),
            Values::Below(number) => rng.random_range(0..i64::from(number)),
        };
        Function::Cas(expected, self.value(must_differ, rng))
    }
}

impl Served for Register {
    fn first_calls(&self) -> Vec<(Function, usize)> {
        let value = |key: usize| if self.values == Values::Unique { key as i64 + 1 } else { 1 };
        (0..self.holds.len()).map(|key| (Function::Write(value(key)), key)).collect()
    }

    fn invoke(&mut self, number: usize, rng: &mut Rng) -> Call {
        self.invoked = number - 1;
        self.advance();
        self.invoked = number;
        let key = rng.random_range(0..self.holds.len());
        let is_read = rng.random_range(0..if self.has_cas { 3 } else { 2 }) == 0;
        let fate = if is_read { Fate::Completes } else { Fate::drawn(self.crashed_per_mille, rng) };
        let function =
            if is_read { Function::Read } else { self.function(key, fate != Fate::Completes, rng) };
        let call = Call { function, key, fate, number };
        self.open_writers += usize::from(self.writes_withheld(&call));
        if let (Stage::Overwritten { value }, true) = (self.stage, is_read && key == KEY) {
            self.stage = Stage::Reading { value, reader: number };
        }
        call
    }

    fn take_effect(&mut self, call: &Call) -> Answer {
        let holds = &mut self.holds[call.key];
        match (call.function, self.stage) {
            (_, Stage::Reading { value, reader }) if reader == call.number => Answer::Value(value),
            (Function::Write(value), _) => {
                *holds = value;
                Answer::Done
            }
            (Function::Cas(expected, new), _) if expected == *holds => {
                *holds = new;
                Answer::Done
            }
            (Function::Cas(..), _) => Answer::Unequal,
            _ => Answer::Value(*holds),
        }
    }

    fn complete(&mut self, call: &Call) {
        self.open_writers -= usize::from(self.writes_withheld(call));
        if let (Function::Write(value), Fate::Completes, KEY) = (call.function, call.fate, call.key) {
            self.written = value;
            if let Stage::Overwriting { value, after } = self.stage
                && call.number > after
            {
                self.stage = Stage::Overwritten { value };
            }
        }
        if matches!(self.stage, Stage::Reading { reader, .. } if reader == call.number) {
            self.stage = Stage::Done;
        }
    }

    fn has_violation(&self) -> bool {
        self.stage == Stage::Done
    }
}
