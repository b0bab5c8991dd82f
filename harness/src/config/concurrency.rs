//! How many clients there are, as it is written on the command line and in a campaign file.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A number of client threads, absolute or for each node: `10`, `2n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "NumberOrText", into = "String")]
pub enum Concurrency {
    /// So many.
    Threads(usize),
    /// So many times the number of nodes.
    PerNode(usize),
}

impl Concurrency {
    /// The number of threads on a cluster of `nodes`.
    #[must_use]
    pub fn threads(self, nodes: usize) -> usize {
        match self {
            Concurrency::Threads(threads) => threads,
            Concurrency::PerNode(times) => times.saturating_mul(nodes),
        }
    }
}

impl fmt::Display for Concurrency {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Concurrency::Threads(threads) => write!(formatter, "{threads}"),
            Concurrency::PerNode(times) => write!(formatter, "{times}n"),
        }
    }
}

impl From<Concurrency> for String {
    fn from(concurrency: Concurrency) -> String {
        concurrency.to_string()
    }
}

impl FromStr for Concurrency {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (digits, per_node) = text.strip_suffix('n').map_or((text, false), |digits| (digits, true));
        let number: usize = digits
            .parse()
            .map_err(|_| format!("`{text}` is neither a number of threads (10) nor one per node (2n)"))?;
        Ok(if per_node { Concurrency::PerNode(number) } else { Concurrency::Threads(number) })
    }
}

/// In TOML, `concurrency = 10` and `concurrency = "2n"` are both natural.
#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(usize),
    Text(String),
}

impl TryFrom<NumberOrText> for Concurrency {
    type Error = String;

    fn try_from(value: NumberOrText) -> Result<Self, Self::Error> {
        match value {
            NumberOrText::Number(threads) => Ok(Concurrency::Threads(threads)),
            NumberOrText::Text(text) => text.parse(),
        }
    }
}
