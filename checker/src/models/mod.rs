//! The table of models by name. A new model is a new file and a line of [`MODELS`].

mod bag;
mod container;
mod counter;
mod fenced_lock;
pub(crate) mod lease;
mod list;
mod log;
mod map;
mod mutex;
mod priority_queue;
mod queue;
mod reentrant_mutex;
mod register;
mod semaphore;
mod session_register;
mod set;
mod shape;
mod stack;

use labrys_history::Value;
use thiserror::Error;

pub use bag::{AnyOut, Bag};
pub use container::{Container, ContainerCall, ContainerRefusal, Discipline, EMPTY, Words};
pub use counter::{Counter, CounterCall, CounterRefusal};
pub use fenced_lock::{Fence, FencedCall, FencedLock, FencedRefusal};
pub use lease::{LEASE_UNKNOWN, Lease, LeaseCall, LeaseRefusal, Leased};
pub use list::{List, ListCall, ListRefusal};
pub use log::{Log, LogCall, LogRefusal};
pub use map::{Map, MapAction, MapCall, MapRefusal, MapStep};
pub use mutex::{Mutex, MutexCall, MutexRefusal};
pub use priority_queue::{LeastOut, PriorityQueue};
pub use queue::{FirstInFirstOut, Queue};
pub use reentrant_mutex::{Holder, ReentrantCall, ReentrantMutex, ReentrantRefusal};
pub use register::{PRECONDITION_FAILED, Register, RegisterCall, RegisterRefusal};
pub use semaphore::{Semaphore, SemaphoreCall, SemaphoreRefusal};
pub use session_register::{SessionAction, SessionCall, SessionRefusal, SessionRegister, Versions};
pub use set::{Set, SetCall, SetRefusal};
pub use shape::WrongInitial;
pub use stack::{LastInFirstOut, Stack};

use crate::linearizable::JudgedByModel;
use crate::model::Model;

/// A line of the table of models.
#[derive(Debug)]
pub struct ModelEntry {
    /// The name on the command line.
    pub name: &'static str,
    /// One line for `--help`.
    pub description: &'static str,
    /// Makes it with the initial value given, or nil.
    make: fn(Value) -> Made,
}

type Made = Result<Box<dyn JudgedByModel>, WrongInitial>;

/// The model in a box, for the table.
fn boxed<M: Model + 'static>(model: Result<M, WrongInitial>) -> Made {
    Ok(Box::new(model?))
}

/// All models, by name.
pub static MODELS: &[ModelEntry] = &[
    ModelEntry {
        name: "bag",
        description: "values in no order: add, remove; --initial VALUES ([])",
        make: |initial| boxed(Bag::with_initial(&initial)),
    },
    ModelEntry {
        name: "cas-register",
        description: "one value: read, write, cas [expected new]; --initial VALUE (nil)",
        make: |initial| boxed(Ok(Register::with_cas(initial))),
    },
    ModelEntry {
        name: "counter",
        description: "a number: add, read, add-and-get; --initial NUMBER (0)",
        make: |initial| boxed(Counter::with_initial(&initial)),
    },
    ModelEntry {
        name: "fenced-lock",
        description: "acquire, which returns a token greater than all before, and release; --initial TOKEN (0)",
        make: |initial| boxed(FencedLock::with_initial(&initial)),
    },
    ModelEntry {
        name: "kv",
        description: "keys with values: get, put, append, cas, delete, txn; --initial MAP, or the VALUE of every key (nil)",
        make: |initial| boxed(Map::new(&initial).checked()),
    },
    ModelEntry {
        name: "lease",
        description: "a key that lasts as long as its lease: grant, put, keep-alive, revoke, read, and how long each lasted",
        make: |initial| boxed(Lease::with_initial(&initial)),
    },
    ModelEntry {
        name: "list",
        description: "append, read; --initial ELEMENTS ([])",
        make: |initial| boxed(List::with_initial(&initial)),
    },
    ModelEntry {
        name: "log",
        description: "records with offsets: send, poll; --initial RECORDS ([])",
        make: |initial| boxed(Log::with_initial(&initial)),
    },
    ModelEntry {
        name: "multi-register",
        description: "the same as kv, for transactions: txn [[f key value] …]; --initial MAP, or the VALUE of every key (nil)",
        make: |initial| boxed(Map::multi_register(&initial).checked()),
    },
    ModelEntry {
        name: "mutex",
        description: "acquire, release, by anybody; --initial free or held (free)",
        make: |initial| boxed(Mutex::with_initial(&initial)),
    },
    ModelEntry {
        name: "priority-queue",
        description: "least value out first: insert, remove-min; --initial VALUES ([])",
        make: |initial| boxed(PriorityQueue::with_initial(&initial)),
    },
    ModelEntry {
        name: "queue",
        description: "first in, first out: enqueue, dequeue; --initial VALUES ([])",
        make: |initial| boxed(Queue::with_initial(&initial)),
    },
    ModelEntry {
        name: "reentrant-mutex",
        description: "acquire, release, by the holder; --initial {:limit N} (no limit)",
        make: |initial| boxed(ReentrantMutex::with_initial(&initial)),
    },
    ModelEntry {
        name: "register",
        description: "one value: read, write; --initial VALUE (nil)",
        make: |initial| boxed(Ok(Register::new(initial))),
    },
    ModelEntry {
        name: "semaphore",
        description: "acquire, release so many; --initial PERMITS (1)",
        make: |initial| boxed(Semaphore::with_initial(&initial)),
    },
    ModelEntry {
        name: "session-register",
        description: "reads may be stale, but not go back within a process: read, write, cas; --initial VALUE (nil)",
        make: |initial| boxed(Ok(SessionRegister::new(initial))),
    },
    ModelEntry {
        name: "set",
        description: "members: add, remove, contains, read; --initial MEMBERS (#{})",
        make: |initial| boxed(Set::with_initial(&initial)),
    },
    ModelEntry {
        name: "stack",
        description: "last in, first out: push, pop; --initial VALUES ([])",
        make: |initial| boxed(Stack::with_initial(&initial)),
    },
];

/// There is no such model.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ModelChoiceError {
    /// None of that name.
    #[error("there is no model {name:?}; there are {}", known_names())]
    UnknownModel {
        /// The name that was asked for.
        name: String,
    },
    /// None with that initial value.
    #[error("the initial value of the model {model}: {wrong}")]
    WrongInitial {
        /// The name that was asked for.
        model: String,
        /// What is wrong.
        wrong: WrongInitial,
    },
}

fn known_names() -> String {
    MODELS.iter().map(|entry| entry.name).collect::<Vec<_>>().join(", ")
}

/// The model called `name`, with the initial value given or nil.
///
/// # Errors
/// If there is none of that name, or not with that initial value.
pub fn find(name: &str, initial: Option<Value>) -> Result<Box<dyn JudgedByModel>, ModelChoiceError> {
    match MODELS.iter().find(|entry| entry.name == name) {
        Some(entry) => (entry.make)(initial.unwrap_or_default())
            .map_err(|wrong| ModelChoiceError::WrongInitial { model: name.to_owned(), wrong }),
        None => Err(ModelChoiceError::UnknownModel { name: name.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_of_names_and_each_line_makes_the_model_that_it_names() {
        assert!(MODELS.is_sorted_by(|a, b| a.name < b.name));
        for entry in MODELS {
            assert_eq!(find(entry.name, None).unwrap().name(), entry.name);
        }
    }
}
