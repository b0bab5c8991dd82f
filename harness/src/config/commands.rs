//! Commands of the user's own: how they are given, and what is checked about them.

use std::collections::BTreeMap;

use labrys_nemesis::{CommandLine, Failpoint, Fault, Order, OrderName};
use labrys_store::server::failpoints::{Action, Point};
use serde::{Deserialize, Serialize};

use super::{ConfigError, TestConfig, check, invalid};

/// Commands of the user's own, by name: what an application fault runs on a node. In them, `{node}` and `{address}` are the
/// node's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserCommands(pub BTreeMap<String, Order>);

impl UserCommands {
    /// The names of those that are not the system's own orders in other words.
    #[must_use]
    pub fn own_names(&self) -> Vec<String> {
        let is_own = |name: &&String| OrderName::OF_SYSTEMS.iter().all(|order| order.key() != name.as_str());
        self.0.keys().filter(is_own).cloned().collect()
    }

    /// As they are on a node.
    #[must_use]
    pub fn of_node(&self, name: &str, address: &str) -> BTreeMap<String, Order> {
        let filled = |order: &Order| order.filled(&[("node", name), ("address", address)]);
        self.0.iter().map(|(name, order)| (name.clone(), filled(order))).collect()
    }
}

pub(super) fn read_command(text: &str) -> Result<UserCommands, String> {
    let Some((name, command)) =
        text.split_once('=').filter(|(name, command)| !name.is_empty() && !command.is_empty())
    else {
        return Err(format!("`{text}` is not NAME=COMMAND"));
    };
    let run = CommandLine(["sh", "-c", command].map(String::from).to_vec());
    Ok(UserCommands(BTreeMap::from([(name.to_owned(), Order { run, undo: None, look: None })])))
}

impl TestConfig {
    /// The places and actions of explicit faults are such as the reference store has, which is the only system so far.
    fn check_failpoints(&self) -> Result<(), ConfigError> {
        for timed in &self.faults.0 {
            let Fault::Application { order: OrderName::Failpoint(Failpoint { at, action }), .. } =
                &timed.fault
            else {
                continue;
            };
            let point: Result<Point, _> = at.parse();
            point.map_err(|unknown| invalid("--faults", format!("at: {unknown}")))?;
            let action: Result<Action, _> = action.parse();
            action.map_err(|unknown| invalid("--faults", format!("action: {unknown}")))?;
        }
        Ok(())
    }

    /// Commands are such as can be run, and those that are to be run are there.
    pub(super) fn check_commands(&self) -> Result<(), ConfigError> {
        let kinds = self.fault_kinds()?;
        for (name, order) in &self.commands.0 {
            check(*name != OrderName::AnyCommand.key(), "--commands", || {
                format!("`{name}` means any of the commands, and cannot be the name of one")
            })?;
            let looked = order.look.as_ref().map(|look| &look.command);
            let lines = [Some(&order.run), order.undo.as_ref(), looked];
            check(lines.into_iter().flatten().all(|line| !line.0.is_empty()), "--commands", || {
                format!("`{name}` has a command line without a program")
            })?;
        }
        self.check_failpoints()?;
        let own = self.commands.own_names();
        let wants_any =
            |fault: &Fault| matches!(fault, Fault::Application { order: OrderName::AnyCommand, .. });
        let is_any_wanted = kinds.iter().any(|kind| kind.name() == "application-command")
            || self.faults.0.iter().any(|timed| wants_any(&timed.fault));
        check(!is_any_wanted || !own.is_empty(), "--commands", || {
            "there is no command that application-command could run: give one, or [commands] in a campaign file".to_owned()
        })?;
        let named = self.faults.0.iter().filter_map(|timed| match &timed.fault {
            Fault::Application { order: OrderName::Command(name), .. } => Some(name),
            _ => None,
        });
        let unknown = named.into_iter().find(|name| !self.commands.0.contains_key(*name));
        check(unknown.is_none(), "--faults", || {
            format!("there is no command `{}` in [commands]", unknown.map_or("", String::as_str))
        })
    }
}
