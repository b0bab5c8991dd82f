//! [`Trigger`]: what a fault waits for, if not for a time alone, and how a person writes that.
//!
//! `after = "new leader elected"`: the fault begins when that has happened. `while = "snapshot in flight"`: it begins when that is so,
//! and ends when it no longer is, or after its time, whichever is first. Both count from the fault's `at-ms` on: what was before is of
//! no interest. What is happening the harness and the simulator know; here is only what there is to wait for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What a fault waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// It begins when this has happened.
    After(Happening),
    /// It is there while this is so.
    While(Condition),
}

/// Something that happens at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Happening {
    /// Somebody leads in a newer term than anybody was known to before.
    NewLeader,
    /// So many operations of clients ended without success: failed, or nobody knows.
    OperationsFailed(u64),
    /// So many operations of clients ended, in whatever way.
    OperationsCompleted(u64),
    /// Another fault was applied: its number, which is its place in the list from 1.
    FaultApplied(u64),
    /// Another fault was undone.
    FaultUndone(u64),
}

/// Something that is so for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Condition {
    /// A follower lacks what the leader's log no longer has: it is being sent a snapshot, or will be.
    SnapshotInFlight,
    /// Nobody is known to lead.
    NoLeader,
}

/// A text that is nothing to wait for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{text}` is nothing that a fault can wait for; expected {expected}")]
pub struct NoTrigger {
    /// What was given.
    pub text: String,
    /// What would do.
    pub expected: &'static str,
}

const HAPPENINGS: &str = "`new leader elected`, `100 operations failed`, `100 operations completed`, `fault 1 applied` or `fault 1 undone`";
const CONDITIONS: &str = "`snapshot in flight` or `no leader`";

impl fmt::Display for Happening {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Happening::NewLeader => formatter.write_str("new leader elected"),
            Happening::OperationsFailed(number) => write!(formatter, "{number} operations failed"),
            Happening::OperationsCompleted(number) => write!(formatter, "{number} operations completed"),
            Happening::FaultApplied(number) => write!(formatter, "fault {number} applied"),
            Happening::FaultUndone(number) => write!(formatter, "fault {number} undone"),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Condition::SnapshotInFlight => "snapshot in flight",
            Condition::NoLeader => "no leader",
        })
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trigger::After(happening) => write!(formatter, "after {happening}"),
            Trigger::While(condition) => write!(formatter, "while {condition}"),
        }
    }
}

impl FromStr for Happening {
    type Err = NoTrigger;

    fn from_str(text: &str) -> Result<Happening, NoTrigger> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let number = |word: &str| word.parse().ok().filter(|number| *number > 0);
        let happening = match words[..] {
            ["new", "leader", "elected"] => Some(Happening::NewLeader),
            [many, "operations", "failed"] => number(many).map(Happening::OperationsFailed),
            [many, "operations", "completed"] => number(many).map(Happening::OperationsCompleted),
            ["fault", which, "applied"] => number(which).map(Happening::FaultApplied),
            ["fault", which, "undone"] => number(which).map(Happening::FaultUndone),
            _ => None,
        };
        happening.ok_or_else(|| NoTrigger { text: text.to_owned(), expected: HAPPENINGS })
    }
}

impl FromStr for Condition {
    type Err = NoTrigger;

    fn from_str(text: &str) -> Result<Condition, NoTrigger> {
        let all = [Condition::SnapshotInFlight, Condition::NoLeader];
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let found = all.into_iter().find(|condition| condition.to_string() == words);
        found.ok_or_else(|| NoTrigger { text: text.to_owned(), expected: CONDITIONS })
    }
}

impl From<Happening> for String {
    fn from(happening: Happening) -> String {
        happening.to_string()
    }
}

impl TryFrom<String> for Happening {
    type Error = NoTrigger;

    fn try_from(text: String) -> Result<Happening, NoTrigger> {
        text.parse()
    }
}

impl From<Condition> for String {
    fn from(condition: Condition) -> String {
        condition.to_string()
    }
}

impl TryFrom<String> for Condition {
    type Error = NoTrigger;

    fn try_from(text: String) -> Result<Condition, NoTrigger> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_as_what_it_was() {
        for happening in [
            Happening::NewLeader,
            Happening::OperationsFailed(100),
            Happening::OperationsCompleted(1),
            Happening::FaultApplied(2),
            Happening::FaultUndone(3),
        ] {
            assert_eq!(happening.to_string().parse(), Ok(happening));
        }
        for condition in [Condition::SnapshotInFlight, Condition::NoLeader] {
            assert_eq!(condition.to_string().parse(), Ok(condition));
        }
    }

    #[test]
    fn what_cannot_be_waited_for_is_refused_with_what_can() {
        for text in ["leader elected", "0 operations failed", "-1 operations failed", "fault x undone", ""] {
            let error = text.parse::<Happening>().unwrap_err().to_string();
            assert!(
                error.contains("`new leader elected`") && error.contains(&format!("`{text}`")),
                "{error}"
            );
        }
        let error = "snapshot".parse::<Condition>().unwrap_err().to_string();
        assert!(error.contains("`snapshot in flight`"), "{error}");
    }
}
