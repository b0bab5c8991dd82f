//! [`Commands`]: how the system under test is given orders on a node, as data: command lines that the nemesis runs there.
//!
//! So the nemesis knows nothing of any system. The harness knows the reference store's command lines; those of another system
//! are in the configuration of the test.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A program and its arguments, without a shell.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CommandLine(pub Vec<String>);

/// How something is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Look {
    /// What prints it.
    pub command: CommandLine,
    /// Where it is in the JSON that is printed (RFC 6901: `/nodes/0/answer/term`). Without it, all that is printed is it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
}

/// An order to the system under test.
///
/// In a file it is a table with these fields, or only the command line that gives it: `flush = ["redis-cli", "bgsave"]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "GivenOrder")]
pub struct Order {
    /// What gives it.
    pub run: CommandLine,
    /// What takes it back; it may be run several times. Without it nothing is taken back: the order is carried out once and for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<CommandLine>,
    /// What the order changes, if it has an effect. Without it, the order has had one if its command succeeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub look: Option<Look>,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a command line (a list of words), or a table with `run` and perhaps `undo` and `look`"
)]
enum GivenOrder {
    Line(CommandLine),
    Table(OrderTable),
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct OrderTable {
    run: CommandLine,
    undo: Option<CommandLine>,
    look: Option<Look>,
}

impl From<GivenOrder> for Order {
    fn from(given: GivenOrder) -> Order {
        match given {
            GivenOrder::Line(run) => Order { run, undo: None, look: None },
            GivenOrder::Table(OrderTable { run, undo, look }) => Order { run, undo, look },
        }
    }
}

/// The orders that a node understands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Commands {
    /// By name: those of [`OrderName`].
    #[serde(default)]
    pub orders: BTreeMap<String, Order>,
    /// How it is told that something is to happen at a named place in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failpoints: Option<Box<FailpointCommands>>,
    /// How its cluster's members are changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub membership: Option<Box<MembershipCommands>>,
}

/// How the members of a node's cluster are listed and changed. In the command lines stand `{id}` for a member and `{address}` for where
/// it is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MembershipCommands {
    /// Where the node is reached, as members are listed.
    pub address: String,
    /// Prints the members as the leader sees them, or this node, as a JSON object: `{"node":1,"leader":1,"members":[{"id":1,"address":
    /// "10.0.0.1:7000","role":"voter"}],"joint":false,"index":1,"committed":true,"last_id":1}`. A role is `voter`, `learner`, or something in between.
    pub list: CommandLine,
    /// Prints which member the node's process is.
    pub identify: Look,
    /// Adds a member without a vote.
    pub add: CommandLine,
    /// Gives it a vote.
    pub promote: CommandLine,
    /// Removes it.
    pub remove: CommandLine,
    /// Has it lead.
    pub transfer: CommandLine,
    /// Makes several changes by way of a joint configuration; the words below are added for those that there are.
    pub joint: CommandLine,
    /// With `{ids}`, separated by commas: those that get a vote.
    pub joint_promote: String,
    /// Those that are removed.
    pub joint_remove: String,
    /// Those that lose their vote.
    pub joint_demote: String,
    /// The arguments of a daemon that is to join as member `{id}`.
    pub joiner_args: Vec<String>,
    /// What it must find empty.
    pub data_directory: PathBuf,
}

/// Something that happens to whoever passes a named place in the system's process.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Failpoint {
    /// The place, by the system's name.
    pub at: String,
    /// What happens, in the system's words.
    pub action: String,
}

impl fmt::Display for Failpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.action, self.at)
    }
}

/// How a node's failpoints are ordered about. In the command lines stand `{failpoint}` for the place and `{action}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FailpointCommands {
    /// Has the action happen at the place until it is cleared. An earlier one there is forgotten.
    pub set: CommandLine,
    /// Nothing happens there any more. It may be run several times.
    pub clear: CommandLine,
    /// Prints all places, as a JSON array: `[{"name":"before-sync","action":"exit","struck":0}]`, with `null` for no action; `struck` is how
    /// often the latest action there has happened, also after it was cleared.
    pub list: Look,
    /// The places from which a fault draws one.
    pub places: Vec<String>,
    /// The actions from which it draws one.
    pub actions: Vec<String>,
}

impl FailpointCommands {
    /// Everything that a fault may draw.
    #[must_use]
    pub fn all(&self) -> Vec<Failpoint> {
        let at = |at: &String| {
            let failpoint = |action: &String| Failpoint { at: at.clone(), action: action.clone() };
            self.actions.iter().map(failpoint).collect::<Vec<_>>()
        };
        self.places.iter().flat_map(at).collect()
    }
}

/// Which order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OrderName {
    /// `snapshot`: write the state down.
    Snapshot,
    /// `compact`: forget what is not needed any more.
    Compact,
    /// `defrag`: give back the room that is not needed any more.
    Defrag,
    /// One of the commands of the configuration, by chance.
    AnyCommand,
    /// This command of the configuration.
    Command(String),
    /// That something is to happen at a place in the process, drawn by chance.
    AnyFailpoint,
    /// That this is to happen.
    Failpoint(Failpoint),
}

impl OrderName {
    /// The key in [`Commands::orders`].
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            OrderName::Snapshot => "snapshot",
            OrderName::Compact => "compact",
            OrderName::Defrag => "defrag",
            OrderName::AnyCommand => "any-command",
            OrderName::Command(name) => name,
            OrderName::AnyFailpoint => "any-failpoint",
            OrderName::Failpoint(_) => "failpoint",
        }
    }

    /// Whether it is that something is to happen at a place in the process.
    #[must_use]
    pub fn is_failpoint(&self) -> bool {
        matches!(self, OrderName::AnyFailpoint | OrderName::Failpoint(_))
    }

    /// Those that have a meaning of their own, which a system may understand or not.
    pub const OF_SYSTEMS: [OrderName; 3] = [OrderName::Snapshot, OrderName::Compact, OrderName::Defrag];
}

impl fmt::Display for OrderName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OrderName::Failpoint(failpoint) => write!(formatter, "{failpoint}"),
            other => formatter.write_str(other.key()),
        }
    }
}

impl CommandLine {
    /// The words with `{name}` replaced by its value, for each of `values`.
    #[must_use]
    pub fn filled(&self, values: &[(&str, &str)]) -> CommandLine {
        let fill = |word: &String| {
            values
                .iter()
                .fold(word.clone(), |word, (name, value)| word.replace(&format!("{{{name}}}"), value))
        };
        CommandLine(self.0.iter().map(fill).collect())
    }
}

impl Order {
    /// All of its command lines with `{name}` replaced by its value, for each of `values`.
    #[must_use]
    pub fn filled(&self, values: &[(&str, &str)]) -> Order {
        let look = |look: &Look| Look { command: look.command.filled(values), pointer: look.pointer.clone() };
        Order {
            run: self.run.filled(values),
            undo: self.undo.as_ref().map(|undo| undo.filled(values)),
            look: self.look.as_ref().map(look),
        }
    }
}

impl Look {
    /// What was looked for, in what the command has printed; `None` if it is not there.
    #[must_use]
    pub fn find(&self, printed: &str) -> Option<String> {
        let Some(pointer) = &self.pointer else { return Some(printed.trim_end().to_owned()) };
        let value: serde_json::Value = serde_json::from_str(printed).ok()?;
        value.pointer(pointer).map(ToString::to_string)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_a_line_or_a_table_and_is_filled_in_for_a_node() {
        let line: Order = serde_json::from_str(r#"["ask", "{address}:7", "{other}"]"#).unwrap();
        let table: Order = serde_json::from_str(r#"{"run": ["ask", "{address}:7", "{other}"]}"#).unwrap();
        assert_eq!(line, table);
        let filled = line.filled(&[("address", "10.0.0.1"), ("node", "n1")]);
        assert_eq!(filled.run.0, ["ask", "10.0.0.1:7", "{other}"]);
        assert_eq!(serde_json::from_str::<Order>(&serde_json::to_string(&line).unwrap()).unwrap(), line);
        assert!(serde_json::from_str::<Order>(r#"{"run": ["a"], "und": ["b"]}"#).is_err());
    }

    #[test]
    fn a_look_finds_what_its_pointer_names_or_takes_all() {
        let look = |pointer: Option<&str>| Look {
            command: CommandLine(Vec::new()),
            pointer: pointer.map(Into::into),
        };
        let printed = "{\"nodes\":[{\"index\":7}]}\n";
        assert_eq!(look(Some("/nodes/0/index")).find(printed).as_deref(), Some("7"));
        assert_eq!(look(Some("/nodes/1/index")).find(printed), None);
        assert_eq!(look(Some("/nodes")).find("no JSON"), None);
        assert_eq!(look(None).find("7\n").as_deref(), Some("7"));
    }
}
