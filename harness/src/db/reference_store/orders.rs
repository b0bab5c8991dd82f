//! How a node of the reference store is given orders: the command lines of `labrys-store ctl`, as data for the nemesis.

use std::path::Path;

use labrys_nemesis::{CommandLine, Commands, Look, Order, OrderName};

/// How long a node may take for an order, and for being looked at: the nemesis waits for it, and has other faults to see to.
const WITHIN_MS: &str = "2000";
const LOOKED_AT_WITHIN_MS: &str = "1000";

/// How many states before the latest a compaction leaves: enough that a read of a moment ago is still answered.
const KEPT_REVISIONS: &str = "100";

/// The orders that the node at `address` understands.
pub(super) fn commands(program: &Path, address: &str) -> Commands {
    let line = |within_ms: &str, verb: &[&str]| {
        let program = program.to_string_lossy();
        let words =
            [&[&*program, "ctl", "--endpoints", address, "--only", "--timeout-ms", within_ms], verb].concat();
        CommandLine(words.into_iter().map(str::to_owned).collect())
    };
    let order = |verb: &[&str], look: &[&str], pointer: &str| {
        let look = Look { command: line(LOOKED_AT_WITHIN_MS, look), pointer: Some(pointer.to_owned()) };
        Order { run: line(WITHIN_MS, verb), undo: None, look: Some(look) }
    };
    let (status, snapshot_index) = (["status", "--json"], "/nodes/0/answer/storage/snapshot_index");
    let orders = [
        (OrderName::Snapshot, order(&["snapshot"], &status, snapshot_index)),
        (OrderName::Defrag, order(&["defrag"], &status, snapshot_index)),
        // Replicated; asked for at this node, and seen in what it has applied when it has caught up with its leader.
        (
            OrderName::Compact,
            order(
                &["compact", "--keep", KEPT_REVISIONS],
                &["get", "any", "--read-mode", "follower"],
                "/compacted",
            ),
        ),
    ];
    let orders = orders.into_iter().map(|(name, order)| (name.key().to_owned(), order));
    Commands { orders: orders.collect() }
}
