//! [`Recipe`]: what a history should be like.

use labrys_history::History;
use labrys_seed::Seed;
use thiserror::Error;

use crate::clients::Clients;
use crate::queue::Queue;
use crate::register::Register;

/// What the clients work on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    /// Registers, for the models `register` and `cas-register`: as many reads as writes, and as many compare-and-sets as
    /// either if there are any. Of those half expect what the register holds when they are invoked.
    Register {
        /// What is written.
        values: Values,
        /// Whether there are compare-and-sets.
        has_cas: bool,
    },
    /// A queue, first in first out, for the model `queue`: as many `enqueue` as `dequeue`, every value once.
    Queue,
}

/// The values that are written to a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// Every write has a value that no other has.
    Unique,
    /// The numbers from 0 up to, but without, this one; at least two of them.
    Below(u32),
}

/// What a history should be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// What the clients work on.
    pub object: Object,
    /// Number of operations.
    pub operations: usize,
    /// Number of clients; each begins an operation as soon as its last one is over.
    pub clients: usize,
    /// Number of independent keys. With one, the operations have no key.
    pub keys: usize,
    /// Of a thousand operations that write (of a queue: that enqueue) so many crash.
    pub crashed_per_mille: u32,
    /// Where, in per cent of the history, one operation has an answer that cannot be; nowhere: the history is linearizable.
    pub violation_at_per_cent: Option<u32>,
}

/// A recipe that makes no history.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RecipeError {
    /// Less than one client or key, or fewer than two values.
    #[error("a history needs {0}")]
    TooFew(&'static str),
    /// A share beyond the whole.
    #[error("{what} is {found}, but it can be at most {most}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// What was asked for.
        found: u32,
        /// The whole.
        most: u32,
    },
    /// The history is over before a violation could be proved: it needs more operations, fewer clients or fewer keys, or
    /// an earlier violation.
    #[error("{operations} operations of {clients} clients leave no room for a violation at {per_cent}%")]
    NoRoom {
        /// Number of operations.
        operations: usize,
        /// Number of clients.
        clients: usize,
        /// Where the violation should have been.
        per_cent: u32,
    },
}

impl Recipe {
    /// The history of this recipe and `seed`.
    ///
    /// # Errors
    /// [`RecipeError`].
    pub fn history(&self, seed: Seed) -> Result<History, RecipeError> {
        self.validate()?;
        let clients = Clients::new(self, seed.fork("synthetic").rng());
        let (events, is_as_asked) = match self.object {
            Object::Register { values, has_cas } => clients.work(Register::new(self, values, has_cas)),
            Object::Queue => clients.work(Queue::new(self)),
        };
        match self.violation_at_per_cent {
            Some(per_cent) if !is_as_asked => {
                Err(RecipeError::NoRoom { operations: self.operations, clients: self.clients, per_cent })
            }
            _ => Ok(History::from_validated(events)),
        }
    }

    /// The number of operations after which a violation is prepared: it takes a few of each client, and more where most
    /// are on other keys.
    pub(crate) fn prepared_from(&self) -> Option<usize> {
        let at = self.operations * self.violation_at_per_cent? as usize / 100;
        let other_keys = self.keys.saturating_sub(1);
        Some(at.saturating_sub(4 * self.clients + 4 * other_keys))
    }

    fn validate(&self) -> Result<(), RecipeError> {
        let has_two_values =
            !matches!(self.object, Object::Register { values: Values::Below(number), .. } if number < 2);
        for (is_enough, what) in [
            (self.clients > 0, "a client"),
            (self.keys > 0, "a key"),
            (has_two_values, "two values"),
            (self.keys == 1 || self.object != Object::Queue, "no more than one key for a queue"),
        ] {
            if !is_enough {
                return Err(RecipeError::TooFew(what));
            }
        }
        for (what, found, most) in [
            ("the share of crashed operations", self.crashed_per_mille, 1_000),
            ("the place of the violation", self.violation_at_per_cent.unwrap_or(0), 100),
        ] {
            if found > most {
                return Err(RecipeError::TooMuch { what, found, most });
            }
        }
        Ok(())
    }
}
