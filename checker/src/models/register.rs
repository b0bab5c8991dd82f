//! A register that holds one value: `read` and `write`, and, as the model `cas-register`, `cas` too.
//!
//! | operation | completion | meaning |
//! | --- | --- | --- |
//! | `read` | `ok v` | the register held `v` |
//! | `read` | `fail`, `info` | nothing: nobody saw an answer |
//! | `write v` | `ok` | it holds `v` from then on |
//! | `write v` | `fail` | nothing: it did not happen |
//! | `write v` | `info` | it may hold `v` from some later time on |
//! | `cas [a b]` | `ok` | it held `a`, and holds `b` from then on |
//! | `cas [a b]` | `fail`, as an answer (see below) | it held something else than `a` |
//! | `cas [a b]` | `fail` otherwise | nothing |
//! | `cas [a b]` | `info` | if it holds `a` at some later time, it may hold `b` from then on |
//!
//! `r` and `w` are read as `read` and `write`. The initial value is nil unless given.
//!
//! # Where programs differ
//!
//! **Did a `cas` that failed compare unequal**, or was it just not executed? It is an answer about the state if its error is
//! `precondition-failed` (string or keyword; what Labrys's own clients write). With any other error it is none. Without an
//! error it is one if the completion still carries the pair (Jepsen's `:fail :cas [3 1]`), *unless* the history shows that it
//! does not tell the two apart: unless some read or write, which cannot compare unequal, failed without an error as well,
//! or nil was read where nil cannot be (next paragraph), since what is not there is not compared either.
//!
//! **Is a read of nil an observation?** Yes where nil can be: it is the initial value, or somebody writes it. A register
//! with another initial value never holds it, and programs that read nil from one (Knossos's recorded histories) mean "no
//! value known": such reads say nothing.
//!
//! These doubts are about histories of other programs. In one of Labrys's own format every nil that was read is an observation,
//! and every plain failure of a `cas` that still carries the pair compared unequal.
//!
//! Both are looked at once for the whole history ([`Model::adapted`]) and stand in the verdict ([`Model::conventions`]). Leaving
//! out an observation can hide a violation and never invents one.

use std::fmt;

use labrys_history::{Completion, Operation, Value};

use crate::class::{Class, Role};
use crate::model::{Meaning, Model, ModelError};

/// The error of a compare-and-set that failed because it compared unequal.
pub const PRECONDITION_FAILED: &str = "precondition-failed";

/// A call on a register, with its result.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RegisterCall {
    /// A read that returned this.
    Read(Value),
    /// A write of this.
    Write(Value),
    /// A compare-and-set that found the expected value and replaced it.
    Cas {
        /// What it expected and found.
        expected: Value,
        /// What it wrote.
        new: Value,
    },
    /// A compare-and-set that found something else than this.
    CasUnequal(Value),
}

/// Why a register refuses a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegisterRefusal {
    /// A read returned the wrong value.
    Read {
        /// What was read.
        read: Value,
        /// What is there.
        holds: Value,
    },
    /// A compare-and-set succeeded against the wrong value.
    Cas {
        /// What it compared with.
        expected: Value,
        /// What is there.
        holds: Value,
    },
    /// A compare-and-set failed though the value is the expected one.
    CasUnequal {
        /// What it compared with, and what is there.
        expected: Value,
    },
}

impl fmt::Display for RegisterRefusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RegisterRefusal::Read { read, holds } => {
                write!(formatter, "read {read}, but the register holds {holds}")
            }
            RegisterRefusal::Cas { expected, holds } => {
                write!(formatter, "compared equal to {expected}, but the register holds {holds}")
            }
            RegisterRefusal::CasUnequal { expected } => {
                write!(formatter, "compared unequal to {expected}, but the register holds {expected}")
            }
        }
    }
}

fn writes_nil(operation: &Operation) -> bool {
    match operation.f() {
        "write" | "w" => operation.value().is_nil(),
        "cas" => matches!(operation.value().as_sequence(), Some([_, Value::Nil])),
        _ => false,
    }
}

fn reads_nil(operation: &Operation) -> bool {
    let is_read = matches!(operation.f(), "read" | "r");
    is_read && matches!(operation.completion(), Completion::Ok { value: Value::Nil, .. })
}

fn fails_without_reason_or_comparison(operation: &Operation) -> bool {
    operation.f() != "cas" && matches!(operation.completion(), Completion::Fail { error: None, .. })
}

/// The models `register` and `cas-register`.
#[derive(Clone, Debug)]
pub struct Register {
    initial: Value,
    has_cas: bool,
    /// Whether a `cas` that failed without an error compared unequal.
    plain_failure_is_answer: bool,
    /// Whether a read of nil is an observation.
    nil_is_answer: bool,
}

impl Register {
    /// A register of reads and writes that holds `initial`.
    #[must_use]
    pub fn new(initial: Value) -> Register {
        Register { initial, has_cas: false, plain_failure_is_answer: true, nil_is_answer: true }
    }

    /// A register with compare-and-set that holds `initial`.
    #[must_use]
    pub fn with_cas(initial: Value) -> Register {
        Register { has_cas: true, ..Register::new(initial) }
    }

    /// Whether a `cas` with this completion compared unequal.
    fn compared_unequal(&self, invoked: &Value, completed: &Value, error: Option<&Value>) -> bool {
        match error {
            None => self.plain_failure_is_answer && invoked == completed,
            Some(error) => error.as_text() == Some(PRECONDITION_FAILED),
        }
    }

    fn cas_meaning(&self, operation: &Operation) -> Result<Meaning<RegisterCall>, ModelError> {
        let Some([expected, new]) = operation.value().as_sequence() else {
            return Err(ModelError::WrongShape {
                event: operation.invoke_index(),
                f: operation.f().to_string(),
                model: self.name().to_owned(),
                expected: "a pair [expected new]".to_owned(),
                found: operation.value().to_string(),
            });
        };
        let cas = || RegisterCall::Cas { expected: expected.clone(), new: new.clone() };
        Ok(match operation.completion() {
            Completion::Ok { .. } => Meaning::Completed(cas()),
            Completion::Fail { value, error, .. }
                if self.compared_unequal(operation.value(), value, error) =>
            {
                Meaning::Completed(RegisterCall::CasUnequal(expected.clone()))
            }
            Completion::Fail { .. } => Meaning::Nothing,
            Completion::Info { .. } => Meaning::Crashed(cas()),
        })
    }
}

impl Model for Register {
    type State = Value;
    type Call = RegisterCall;
    type Refusal = RegisterRefusal;

    fn name(&self) -> &str {
        if self.has_cas { "cas-register" } else { "register" }
    }

    fn init(&self) -> Value {
        self.initial.clone()
    }

    fn adapted(&self, operations: &[Operation]) -> Option<Register> {
        let can_be_nil = self.initial.is_nil() || operations.iter().any(writes_nil);
        let nil_was_read = operations.iter().any(reads_nil);
        let fails_plainly = operations.iter().any(fails_without_reason_or_comparison);
        Some(Register {
            nil_is_answer: can_be_nil,
            plain_failure_is_answer: !fails_plainly && (can_be_nil || !nil_was_read),
            ..self.clone()
        })
    }

    fn conventions(&self) -> Vec<(&'static str, &'static str)> {
        let nil = if self.nil_is_answer { "nothing there" } else { "not known" };
        let failed = if self.plain_failure_is_answer { "compared unequal" } else { "not executed" };
        let mut conventions = vec![("convention.read-nil", nil)];
        if self.has_cas {
            conventions.push(("convention.cas-failed-without-error", failed));
        }
        conventions
    }

    fn meaning(&self, operation: &Operation) -> Result<Meaning<RegisterCall>, ModelError> {
        match (operation.f(), operation.completion()) {
            ("read" | "r", Completion::Ok { value, .. }) if self.nil_is_answer || !value.is_nil() => {
                Ok(Meaning::Completed(RegisterCall::Read(value.clone())))
            }
            ("read" | "r", _) => Ok(Meaning::Nothing),
            ("write" | "w", Completion::Ok { .. }) => {
                Ok(Meaning::Completed(RegisterCall::Write(operation.value().clone())))
            }
            ("write" | "w", Completion::Fail { .. }) => Ok(Meaning::Nothing),
            ("write" | "w", Completion::Info { .. }) => {
                Ok(Meaning::Crashed(RegisterCall::Write(operation.value().clone())))
            }
            ("cas", _) if self.has_cas => self.cas_meaning(operation),
            _ => Err(ModelError::UnknownFunction {
                event: operation.invoke_index(),
                f: operation.f().to_string(),
                model: self.name().to_owned(),
                known: if self.has_cas { "read, write, cas" } else { "read, write" }.to_owned(),
            }),
        }
    }

    fn step(&self, holds: &Value, call: &RegisterCall) -> Result<Value, RegisterRefusal> {
        match call {
            RegisterCall::Read(read) if read == holds => Ok(holds.clone()),
            RegisterCall::Read(read) => {
                Err(RegisterRefusal::Read { read: read.clone(), holds: holds.clone() })
            }
            RegisterCall::Write(value) => Ok(value.clone()),
            RegisterCall::Cas { expected, new } if expected == holds => Ok(new.clone()),
            RegisterCall::Cas { expected, .. } => {
                Err(RegisterRefusal::Cas { expected: expected.clone(), holds: holds.clone() })
            }
            RegisterCall::CasUnequal(expected) if expected != holds => Ok(holds.clone()),
            RegisterCall::CasUnequal(expected) => {
                Err(RegisterRefusal::CasUnequal { expected: expected.clone() })
            }
        }
    }

    fn is_pure(&self, call: &RegisterCall) -> bool {
        match call {
            RegisterCall::Read(_) | RegisterCall::CasUnequal(_) => true,
            RegisterCall::Cas { expected, new } => expected == new,
            RegisterCall::Write(_) => false,
        }
    }

    fn is_finite(&self) -> bool {
        true
    }

    fn class(&self) -> Option<Class> {
        Some(Class::Register { initial: self.initial.clone() })
    }

    fn role<'c>(&self, call: &'c RegisterCall) -> Option<Role<'c>> {
        Some(match call {
            RegisterCall::Read(value) => Role::Read(value),
            RegisterCall::Write(value) => Role::Write(value),
            RegisterCall::Cas { expected, new } => Role::CompareAndSet { expected, new },
            RegisterCall::CasUnequal(expected) => Role::CompareUnequal(expected),
        })
    }

    fn describe_call(&self, call: &RegisterCall) -> String {
        match call {
            RegisterCall::Read(value) => format!("read → {value}"),
            RegisterCall::Write(value) => format!("write {value}"),
            RegisterCall::Cas { expected, new } => format!("cas {expected} → {new}"),
            RegisterCall::CasUnequal(expected) => format!("cas {expected} → unequal"),
        }
    }

    fn describe_state(&self, holds: &Value) -> String {
        format!("register = {holds}")
    }
}
