//! How a node of the reference store is given orders: the command lines of `labrys-store ctl`, as data for the nemesis.

use std::path::PathBuf;

use labrys_nemesis::{CommandLine, Commands, FailpointCommands, Look, MembershipCommands, Order, OrderName};
use labrys_store::server::failpoints::Point;

use super::ReferenceStoreOptions;

/// How long a node may take for an order, and for being looked at: the nemesis waits for it, and has other faults to see to.
const WITHIN_MS: &str = "2000";
const LOOKED_AT_WITHIN_MS: &str = "1000";

/// How many states before the latest a compaction leaves: enough that a read of a moment ago is still answered.
const KEPT_REVISIONS: &str = "100";

/// What nodes ask of clients, by the flags with which nodes are started.
const SECURITY_FLAGS: [&str; 4] = ["tls-certificate=", "tls-key=", "tls-ca=", "token-file="];

fn line(options: &ReferenceStoreOptions, address: &str, within_ms: &str, verb: &[&str]) -> CommandLine {
    let program = options.binary.to_string_lossy();
    let asked = [&*program, "ctl", "--endpoints", address, "--only", "--timeout-ms", within_ms];
    let is_needed = |flag: &&String| SECURITY_FLAGS.iter().any(|name| flag.starts_with(name));
    let security = options.flags.iter().filter(is_needed).map(|flag| format!("--{flag}"));
    let words = asked.iter().map(ToString::to_string).chain(security);
    CommandLine(words.chain(verb.iter().map(ToString::to_string)).collect())
}

/// The orders that the node at `address` understands.
pub(super) fn commands(
    options: &ReferenceStoreOptions,
    address: &str,
    membership: MembershipCommands,
) -> Commands {
    let order = |verb: &[&str], look: &[&str], pointer: &str| {
        let command = line(options, address, LOOKED_AT_WITHIN_MS, look);
        let look = Look { command, pointer: Some(pointer.to_owned()) };
        Order { run: line(options, address, WITHIN_MS, verb), undo: None, look: Some(look) }
    };
    let (status, snapshot_index) = (["status", "--json"], "/nodes/0/answer/storage/snapshot_index");
    let compact = ["compact", "--keep", KEPT_REVISIONS];
    let orders = [
        (OrderName::Snapshot, order(&["snapshot"], &status, snapshot_index)),
        (OrderName::Defrag, order(&["defrag"], &status, snapshot_index)),
        // Replicated; asked for at this node, and seen in what it has applied when it has caught up with its leader.
        (OrderName::Compact, order(&compact, &["get", "any", "--read-mode", "follower"], "/compacted")),
    ];
    let orders = orders.into_iter().map(|(name, order)| (name.key().to_owned(), order));
    let failpoints = options.failpoints.then(|| Box::new(failpoints(options, address)));
    Commands { orders: orders.collect(), failpoints, membership: Some(Box::new(membership)) }
}

/// What a fault draws: a thread that is a little slower for as long as it lasts, one that stands still for longer than others wait for a
/// leader, an end, and an error.
const DRAWN_ACTIONS: [&str; 4] = ["pause 20", "pause 1500", "exit", "error"];

/// How the node at `address` is told to pause, fail or end somewhere.
fn failpoints(options: &ReferenceStoreOptions, address: &str) -> FailpointCommands {
    let ask = |verb: &[&str]| line(options, address, LOOKED_AT_WITHIN_MS, &[&["failpoint"], verb].concat());
    let pointer = Some("/nodes/0/answer/failpoints".to_owned());
    FailpointCommands {
        set: ask(&["set", "{failpoint}", "{action}"]),
        clear: ask(&["clear", "{failpoint}"]),
        list: Look { command: ask(&["list"]), pointer },
        places: Point::ALL.iter().map(|point| point.name().to_owned()).collect(),
        actions: DRAWN_ACTIONS.map(str::to_owned).to_vec(),
    }
}

/// How the members are changed, asking the node at `address`.
pub(super) fn membership(
    options: &ReferenceStoreOptions,
    address: &str,
    joiner_args: Vec<String>,
    data_directory: PathBuf,
) -> MembershipCommands {
    let look = |verb: &[&str]| line(options, address, LOOKED_AT_WITHIN_MS, verb);
    let change = |verb: &[&str]| line(options, address, WITHIN_MS, verb);
    MembershipCommands {
        address: address.to_owned(),
        list: look(&["members", "list"]),
        identify: Look {
            command: look(&["status", "--json"]),
            pointer: Some("/nodes/0/answer/node".to_owned()),
        },
        add: change(&["members", "add", "{id}", "{address}"]),
        promote: change(&["members", "promote", "{id}"]),
        remove: change(&["members", "remove", "{id}"]),
        transfer: change(&["transfer-leader", "{id}"]),
        joint: change(&["members", "replace"]),
        joint_promote: "--promote={ids}".to_owned(),
        joint_remove: "--remove={ids}".to_owned(),
        joint_demote: "--demote={ids}".to_owned(),
        joiner_args,
        data_directory,
    }
}
