//! The table of models by name. A new model is a new file and a line of [`MODELS`].

mod register;

use labrys_history::Value;
use thiserror::Error;

pub use register::{PRECONDITION_FAILED, Register, RegisterCall, RegisterRefusal};

use crate::linearizable::JudgedByModel;

/// A line of the table of models.
#[derive(Debug)]
pub struct ModelEntry {
    /// The name on the command line.
    pub name: &'static str,
    /// One line for `--help`.
    pub description: &'static str,
    /// Makes it; the value is the initial one.
    make: fn(Value) -> Box<dyn JudgedByModel>,
}

/// All models, by name.
pub static MODELS: &[ModelEntry] = &[
    ModelEntry {
        name: "cas-register",
        description: "one value: read, write, cas [expected new]; --initial VALUE (nil)",
        make: |initial| Box::new(Register::with_cas(initial)),
    },
    ModelEntry {
        name: "register",
        description: "one value: read, write; --initial VALUE (nil)",
        make: |initial| Box::new(Register::new(initial)),
    },
];

/// There is no model of that name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("there is no model {name:?}; there are {}", known_names())]
pub struct UnknownModel {
    /// The name that was asked for.
    pub name: String,
}

fn known_names() -> String {
    MODELS.iter().map(|entry| entry.name).collect::<Vec<_>>().join(", ")
}

/// The model called `name`, with the initial value given or nil.
///
/// # Errors
/// [`UnknownModel`].
pub fn find(name: &str, initial: Option<Value>) -> Result<Box<dyn JudgedByModel>, UnknownModel> {
    match MODELS.iter().find(|entry| entry.name == name) {
        Some(entry) => Ok((entry.make)(initial.unwrap_or_default())),
        None => Err(UnknownModel { name: name.to_owned() }),
    }
}
