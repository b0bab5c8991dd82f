//! Every kind of fault that a user can name, and what it draws from the random stream.

use labrys_seed::Rng;
use rand::Rng as _;
use rand::seq::IndexedRandom;

use crate::commands::OrderName;
use crate::fault::{
    ClockChange, DiskTrouble, Fault, LinkTrouble, MembershipChange, PartitionShape, PowerLoss,
    ResourceTrouble, RestartData, Target,
};

/// A row of the table.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) summary: &'static str,
    /// `None`: this cluster size has no such fault.
    pub(super) generate: fn(&mut Rng, usize) -> Option<Fault>,
}

/// The table. Order: general names first, then those that fix the shape or the target.
pub(super) const TABLE: &[Row] = &[
    Row { name: "none", summary: "no faults", generate: |_, _| None },
    Row { name: "partition", summary: "partitions of every shape", generate: any_partition },
    Row { name: "pause", summary: "SIGSTOP and SIGCONT, any targets", generate: any_pause },
    Row { name: "kill", summary: "SIGKILL and restart, any targets", generate: any_kill },
    Row {
        name: "partition-halves",
        summary: "two random halves",
        generate: |_, nodes| partition(PartitionShape::Halves, nodes),
    },
    Row {
        name: "partition-one",
        summary: "one random node alone",
        generate: |_, nodes| partition(PartitionShape::One, nodes),
    },
    Row {
        name: "partition-majority-minority",
        summary: "a random minority apart from the majority",
        generate: |_, nodes| partition(PartitionShape::MajorityMinority, nodes),
    },
    Row {
        name: "partition-leader",
        summary: "the leader alone",
        generate: |_, nodes| partition(PartitionShape::Leader, nodes),
    },
    Row {
        name: "partition-bridge",
        summary: "two halves that share one node",
        generate: |_, nodes| partition(PartitionShape::Bridge, nodes),
    },
    Row {
        name: "partition-ring",
        summary: "every node sees a majority, no two the same one",
        generate: |_, nodes| partition(PartitionShape::MajoritiesRing, nodes),
    },
    Row {
        name: "partition-one-way",
        summary: "one side does not hear the other, but is heard",
        generate: |_, nodes| partition(PartitionShape::OneWay, nodes),
    },
    Row {
        name: "partition-minority-third",
        summary: "less than a third of the nodes apart from the others",
        generate: |_, nodes| partition(PartitionShape::MinorityThird, nodes),
    },
    Row {
        name: "partition-leader-minority",
        summary: "the leader with a minority apart from the majority",
        generate: |_, nodes| partition(PartitionShape::LeaderMinority, nodes),
    },
    Row {
        name: "partition-deaf-leader",
        summary: "the leader is heard, but hears nobody",
        generate: |_, nodes| partition(PartitionShape::Deaf(Target::Leader), nodes),
    },
    Row {
        name: "partition-muffled-leader",
        summary: "the leader hears nothing that is said, but bare acknowledgements",
        generate: |_, nodes| partition(PartitionShape::Muffled(Target::Leader), nodes),
    },
    Row {
        name: "partition-mute-leader",
        summary: "the leader hears, but is heard by nobody",
        generate: |_, nodes| partition(PartitionShape::Mute(Target::Leader), nodes),
    },
    Row {
        name: "partition-client-requests",
        summary: "requests of clients to some nodes are lost",
        generate: |rng, nodes| of_clients(PartitionShape::ClientRequests, rng, nodes),
    },
    Row {
        name: "partition-client-replies",
        summary: "replies of some nodes to clients are lost: what was asked for takes effect unheard",
        generate: |rng, nodes| of_clients(PartitionShape::ClientReplies, rng, nodes),
    },
    Row {
        name: "partition-client-links",
        summary: "clients and some nodes do not hear each other",
        generate: |rng, nodes| of_clients(PartitionShape::ClientLinks, rng, nodes),
    },
    Row {
        name: "pause-one",
        summary: "pause one random node",
        generate: |_, nodes| pause(Target::One, nodes),
    },
    Row {
        name: "pause-minority",
        summary: "pause a random minority",
        generate: |_, nodes| pause(Target::Minority, nodes),
    },
    Row {
        name: "pause-majority",
        summary: "pause a random majority",
        generate: |_, nodes| pause(Target::Majority, nodes),
    },
    Row { name: "pause-all", summary: "pause every node", generate: |_, nodes| pause(Target::All, nodes) },
    Row {
        name: "pause-leader",
        summary: "pause the leader",
        generate: |_, nodes| pause(Target::Leader, nodes),
    },
    Row {
        name: "pause-followers",
        summary: "pause everybody but the leader",
        generate: |_, nodes| pause(Target::Followers, nodes),
    },
    Row { name: "kill-one", summary: "kill one random node", generate: |_, nodes| kill(Target::One, nodes) },
    Row {
        name: "kill-minority",
        summary: "kill a random minority",
        generate: |_, nodes| kill(Target::Minority, nodes),
    },
    Row {
        name: "kill-majority",
        summary: "kill a random majority",
        generate: |_, nodes| kill(Target::Majority, nodes),
    },
    Row { name: "kill-all", summary: "kill every node", generate: |_, nodes| kill(Target::All, nodes) },
    Row { name: "kill-leader", summary: "kill the leader", generate: |_, nodes| kill(Target::Leader, nodes) },
    Row {
        name: "kill-followers",
        summary: "kill everybody but the leader",
        generate: |_, nodes| kill(Target::Followers, nodes),
    },
    Row {
        name: "power-cut",
        summary: "lose power and what was not synced, any targets",
        generate: any_power_cut,
    },
    Row {
        name: "power-cut-one",
        summary: "one random node loses power",
        generate: |_, _| power_cut(Target::One, PowerLoss::Reordered),
    },
    Row {
        name: "power-cut-all",
        summary: "every node loses power",
        generate: |_, _| power_cut(Target::All, PowerLoss::Reordered),
    },
    Row {
        name: "power-cut-minority",
        summary: "a random minority loses power at once",
        generate: |_, _| power_cut(Target::Minority, PowerLoss::Reordered),
    },
    Row {
        name: "power-cut-majority",
        summary: "a random majority loses power at once",
        generate: |_, _| power_cut(Target::Majority, PowerLoss::Reordered),
    },
    Row {
        name: "power-cut-leader",
        summary: "the leader loses power",
        generate: |_, _| power_cut(Target::Leader, PowerLoss::Reordered),
    },
    Row {
        name: "power-cut-torn",
        summary: "lose power, and of what was not synced all but the beginning, any targets",
        generate: |rng, nodes| power_cut(targets(nodes).choose(rng)?.clone(), PowerLoss::Torn),
    },
    Row {
        name: "power-cut-plain",
        summary: "lose power, and all that was not synced, any targets",
        generate: |rng, nodes| power_cut(targets(nodes).choose(rng)?.clone(), PowerLoss::Everything),
    },
    Row { name: "network", summary: "messages late, lost, doubled, overtaken", generate: any_network },
    Row {
        name: "network-loss",
        summary: "1 to 30 % of messages lost",
        generate: |rng, nodes| {
            let loss_permille = rng.random_range(10..=300);
            in_trouble(LinkTrouble { loss_permille, ..LinkTrouble::default() }, rng, nodes)
        },
    },
    Row {
        name: "network-delay",
        summary: "messages 5 to 500 ms late",
        generate: |rng, nodes| {
            let delay_ms = rng.random_range(5..=500);
            in_trouble(LinkTrouble { delay_ms, ..LinkTrouble::default() }, rng, nodes)
        },
    },
    Row {
        name: "network-duplicate",
        summary: "1 to 30 % of messages doubled",
        generate: |rng, nodes| {
            let duplicate_permille = rng.random_range(10..=300);
            in_trouble(LinkTrouble { duplicate_permille, ..LinkTrouble::default() }, rng, nodes)
        },
    },
    Row {
        name: "network-reorder",
        summary: "1 to 50 % of messages overtaken",
        generate: |rng, nodes| {
            let reorder_permille = rng.random_range(10..=500);
            in_trouble(LinkTrouble { reorder_permille, ..LinkTrouble::default() }, rng, nodes)
        },
    },
    Row {
        name: "network-corrupt",
        summary: "a bit flipped in 1 to 30 % of packets",
        generate: |rng, nodes| {
            let corrupt_permille = rng.random_range(10..=300);
            in_trouble(LinkTrouble { corrupt_permille, ..LinkTrouble::default() }, rng, nodes)
        },
    },
    Row {
        name: "network-reset",
        summary: "0.2 to 5 % of packets answered with a reset of their connection",
        generate: |rng, nodes| {
            let reset_permille = rng.random_range(2..=50);
            in_trouble(LinkTrouble { reset_permille, ..LinkTrouble::default() }, rng, nodes)
        },
    },
    Row {
        name: "network-bandwidth",
        summary: "64 to 2,048 kbit/s to each node",
        generate: |rng, nodes| {
            let bandwidth_kbit = rng.random_range(64..=2_048);
            in_trouble(LinkTrouble { bandwidth_kbit, ..LinkTrouble::default() }, rng, nodes)
        },
    },
    Row {
        name: "clock",
        summary: "clocks run at rates that differ by less than a tenth",
        generate: any_clock,
    },
    Row {
        name: "clock-jump",
        summary: "clocks leap ahead by up to 5 s, which no lease bears",
        generate: clock_jump,
    },
    Row {
        name: "clock-leap",
        summary: "clocks leap ahead by one to three hours, which no lease bears",
        generate: clock_leap,
    },
    Row {
        name: "clock-skew",
        summary: "the leader's clock runs at half its speed or less, which no lease bears",
        generate: clock_skew,
    },
    Row { name: "disk", summary: "disks slow, full, failing a sync", generate: any_disk },
    Row {
        name: "disk-slow",
        summary: "syncs 5 to 300 ms slower",
        generate: |rng, nodes| {
            let slow_ms = rng.random_range(5..=300);
            disk(targets(nodes).choose(rng)?.clone(), DiskTrouble::SlowSyncMs(slow_ms))
        },
    },
    Row {
        name: "disk-full",
        summary: "no space left on a minority's disks",
        generate: |_, nodes| disk(few(nodes), DiskTrouble::Full),
    },
    Row {
        name: "disk-sync-fails",
        summary: "one sync of each of a minority's disks fails, and those after it pretend",
        generate: |_, nodes| disk(few(nodes), DiskTrouble::SyncFails),
    },
    Row {
        name: "disk-errors",
        summary: "writes or syncs of a minority's disks fail",
        generate: |rng, nodes| {
            let trouble = *[DiskTrouble::WritesFail, DiskTrouble::SyncsFail].choose(rng)?;
            disk(few(nodes), trouble)
        },
    },
    Row {
        name: "disk-read-errors",
        summary: "reads of a minority's disks fail, one or all (not in the simulator)",
        generate: |rng, nodes| {
            let trouble = *[DiskTrouble::ReadsFail, DiskTrouble::NextReadFails].choose(rng)?;
            disk(few(nodes), trouble)
        },
    },
    Row {
        name: "disk-rot",
        summary: "a bit of one node's disk is flipped; never a majority's in one run",
        generate: |_, _| Some(Fault::Disk { target: Target::One, trouble: DiskTrouble::FlipBit }),
    },
    Row {
        name: "disk-decay",
        summary: "bits flipped, chunks stale or swapped on one node's disk; never a majority's in one run",
        generate: |rng, _| {
            let troubles = [DiskTrouble::FlipBit, DiskTrouble::StaleChunk, DiskTrouble::SwapChunks];
            disk(Target::One, *troubles.choose(rng)?)
        },
    },
    Row {
        name: "disk-truncate",
        summary: "a file of one node cut short, which nobody need bear; never a majority's in one run",
        generate: |_, _| disk(Target::One, DiskTrouble::Truncate),
    },
    Row {
        name: "application",
        summary: "snapshots, compactions and defragmentations on demand, any targets (real nodes only)",
        generate: any_order,
    },
    Row {
        name: "application-snapshot",
        summary: "nodes take a snapshot (real nodes only)",
        generate: |rng, nodes| order(OrderName::Snapshot, rng, nodes),
    },
    Row {
        name: "application-compact",
        summary: "past states are forgotten (real nodes only)",
        generate: |_, _| Some(Fault::Application { target: Target::One, order: OrderName::Compact }),
    },
    Row {
        name: "application-defrag",
        summary: "nodes take a snapshot and drop the log before it (real nodes only)",
        generate: |rng, nodes| order(OrderName::Defrag, rng, nodes),
    },
    Row {
        name: "application-command",
        summary: "commands of your own: see --commands (real nodes only)",
        generate: |rng, nodes| order(OrderName::AnyCommand, rng, nodes),
    },
    Row {
        name: "application-failpoint",
        summary: "processes pause, fail or end at named places in them, any targets (real nodes only)",
        generate: |rng, nodes| order(OrderName::AnyFailpoint, rng, nodes),
    },
    Row {
        name: "membership",
        summary: "members removed, demoted, replaced and brought back, leadership transferred (real nodes only)",
        generate: any_membership,
    },
    Row {
        name: "membership-remove",
        summary: "one member or a minority are removed, and come back as new ones (real nodes only)",
        generate: |rng, nodes| membership(MembershipChange::Remove, rng, nodes),
    },
    Row {
        name: "membership-demote",
        summary: "one member or a minority lose their votes (real nodes only)",
        generate: |rng, nodes| membership(MembershipChange::Demote, rng, nodes),
    },
    Row {
        name: "membership-replace",
        summary: "one member or a minority are replaced at once (real nodes only)",
        generate: |rng, nodes| membership(MembershipChange::Replace, rng, nodes),
    },
    Row {
        name: "membership-transfer",
        summary: "another node leads (real nodes only)",
        generate: |rng, nodes| membership(MembershipChange::Transfer, rng, nodes),
    },
    Row {
        name: "resource",
        summary: "processes run short of file descriptors (real nodes only)",
        generate: descriptors,
    },
    Row {
        name: "resource-descriptors",
        summary: "processes can open no file and accept no connection any more (real nodes only)",
        generate: descriptors,
    },
    Row {
        name: "resource-processor",
        summary: "processes get 2 to 20 % of a processor, any targets (real nodes only)",
        generate: |rng, nodes| {
            let target = targets(nodes).choose(rng)?.clone();
            let trouble = ResourceTrouble::ProcessorPercent(rng.random_range(2..=20));
            Some(Fault::Resource { target, trouble })
        },
    },
    Row {
        name: "resource-memory",
        summary: "processes of a minority may have 1 to 16 MiB more memory, and may end of it (real nodes only)",
        generate: |rng, nodes| {
            let trouble = ResourceTrouble::MemoryMarginKib(rng.random_range(1_024..=16_384));
            Some(Fault::Resource { target: few(nodes), trouble })
        },
    },
    Row {
        name: "restart-wiped",
        summary: "one node is started again without its data, which nobody need bear; never a majority in one run (real nodes only)",
        generate: |_, _| restart(RestartData::Wiped),
    },
    Row {
        name: "restart-old",
        summary: "one node is started again on old data, which nobody need bear; never a majority in one run (real nodes only)",
        generate: |_, _| restart(RestartData::Old),
    },
];

/// Every shape that cuts something in a cluster of this size without standing in for another one.
fn shapes(nodes: usize) -> &'static [PartitionShape] {
    use PartitionShape::{Bridge, Halves, Leader, MajoritiesRing, MajorityMinority, One, OneWay};
    match nodes {
        0 | 1 => &[],
        2 => &[Halves, OneWay],
        _ => &[Halves, One, MajorityMinority, Leader, Bridge, MajoritiesRing, OneWay],
    }
}

/// Every target that differs from the others in a cluster of this size.
fn targets(nodes: usize) -> &'static [Target] {
    use Target::{All, Followers, Leader, Majority, Minority, One};
    match nodes {
        0 => &[],
        1 => &[All],
        2 => &[One, All, Leader, Followers],
        _ => &[One, Minority, Majority, All, Leader, Followers],
    }
}

fn any_partition(rng: &mut Rng, nodes: usize) -> Option<Fault> {
    shapes(nodes).choose(rng).map(|shape| Fault::Partition { shape: shape.clone() })
}

fn any_pause(rng: &mut Rng, nodes: usize) -> Option<Fault> {
    targets(nodes).choose(rng).map(|target| Fault::Pause { target: target.clone() })
}

fn any_kill(rng: &mut Rng, nodes: usize) -> Option<Fault> {
    targets(nodes).choose(rng).map(|target| Fault::Kill { target: target.clone() })
}

fn any_power_cut(rng: &mut Rng, nodes: usize) -> Option<Fault> {
    power_cut(targets(nodes).choose(rng)?.clone(), PowerLoss::Reordered)
}

fn any_network(rng: &mut Rng, nodes: usize) -> Option<Fault> {
    let target = targets(nodes).choose(rng)?.clone();
    let mut trouble = LinkTrouble::default();
    // At least one of them; each of the others in one case of four.
    let first = rng.random_range(0..4);
    let mut has = |position: u32| position == first || rng.random_range(0..4) == 0;
    let kinds = [has(0), has(1), has(2), has(3)];
    if kinds[0] {
        trouble.loss_permille = rng.random_range(10..=300);
    }
    if kinds[1] {
        trouble.duplicate_permille = rng.random_range(10..=300);
    }
    if kinds[2] {
        trouble.reorder_permille = rng.random_range(10..=500);
    }
    if kinds[3] {
        trouble.delay_ms = rng.random_range(5..=500);
    }
    (nodes > 1).then_some(Fault::Network { target, trouble })
}

/// A single node has no messages of peers.
fn in_trouble(trouble: LinkTrouble, rng: &mut Rng, nodes: usize) -> Option<Fault> {
    let target = targets(nodes).choose(rng)?.clone();
    (nodes > 1).then_some(Fault::Network { target, trouble })
}

/// Within what a correct store bears with leases on: no two rates differ by a tenth.
fn any_clock(rng: &mut Rng, nodes: usize) -> Option<Fault> {
    let target = targets(nodes).choose(rng)?.clone();
    let percent = rng.random_range(1..=4);
    let change = ClockChange::DriftPercent(if rng.random() { percent } else { -percent });
    Some(Fault::Clock { target, change })
}

fn clock_jump(rng: &mut Rng, nodes: usize) -> Option<Fault> {
    let target = targets(nodes).choose(rng)?.clone();
    Some(Fault::Clock { target, change: ClockChange::JumpMs(rng.random_range(50..=5_000)) })
}

fn clock_leap(rng: &mut Rng, nodes: usize) -> Option<Fault> {
    const HOUR_MS: u64 = 3_600_000;
    let target = targets(nodes).choose(rng)?.clone();
    Some(Fault::Clock { target, change: ClockChange::JumpMs(rng.random_range(HOUR_MS..=3 * HOUR_MS)) })
}

fn clock_skew(rng: &mut Rng, _: usize) -> Option<Fault> {
    let change = ClockChange::DriftPercent(-rng.random_range(50..=90));
    Some(Fault::Clock { target: Target::Leader, change })
}

/// At most a minority: a correct store ends a node whose disk fails, and needs the others.
fn any_disk(rng: &mut Rng, nodes: usize) -> Option<Fault> {
    let target = few(nodes);
    let trouble = match rng.random_range(0..3) {
        0 => DiskTrouble::SlowSyncMs(rng.random_range(5..=300)),
        1 => DiskTrouble::Full,
        _ => DiskTrouble::SyncFails,
    };
    Some(Fault::Disk { target, trouble })
}

/// A minority, where there is one.
fn few(nodes: usize) -> Target {
    if nodes < 3 { Target::One } else { Target::Minority }
}

fn disk(target: Target, trouble: DiskTrouble) -> Option<Fault> {
    Some(Fault::Disk { target, trouble })
}

fn restart(data: RestartData) -> Option<Fault> {
    Some(Fault::Restart { target: Target::One, data })
}

fn power_cut(target: Target, loss: PowerLoss) -> Option<Fault> {
    Some(Fault::PowerCut { target, loss })
}

fn any_membership(rng: &mut Rng, nodes: usize) -> Option<Fault> {
    use MembershipChange::{Demote, Remove, Replace, Transfer};
    let change = *[Remove, Demote, Replace, Transfer].choose(rng)?;
    membership(change, rng, nodes)
}

/// At most a minority: a correct store may end a node that can open no file.
fn descriptors(_: &mut Rng, nodes: usize) -> Option<Fault> {
    let target = if nodes < 3 { Target::One } else { Target::Minority };
    Some(Fault::Resource { target, trouble: ResourceTrouble::Descriptors })
}

/// Never more than a minority: the others have to go on.
fn membership(change: MembershipChange, rng: &mut Rng, nodes: usize) -> Option<Fault> {
    let targets: &[Target] = match change {
        _ if nodes < 3 => return None,
        MembershipChange::Transfer => &[Target::One],
        _ => &[Target::One, Target::Minority, Target::Leader],
    };
    Some(Fault::Membership { target: targets.choose(rng)?.clone(), change })
}

/// What one node has is every node's where it is replicated, as compactions are.
fn any_order(rng: &mut Rng, nodes: usize) -> Option<Fault> {
    let name = OrderName::OF_SYSTEMS.choose(rng)?.clone();
    order(name, rng, nodes)
}

fn order(order: OrderName, rng: &mut Rng, nodes: usize) -> Option<Fault> {
    let target = if order == OrderName::Compact { Target::One } else { targets(nodes).choose(rng)?.clone() };
    Some(Fault::Application { target, order })
}

fn partition(shape: PartitionShape, nodes: usize) -> Option<Fault> {
    (nodes > 1).then_some(Fault::Partition { shape })
}

/// Of any nodes, as each has clients.
fn of_clients(shape: fn(Target) -> PartitionShape, rng: &mut Rng, nodes: usize) -> Option<Fault> {
    targets(nodes).choose(rng).map(|target| Fault::Partition { shape: shape(target.clone()) })
}

fn pause(target: Target, nodes: usize) -> Option<Fault> {
    (nodes > 1 || target != Target::Followers).then_some(Fault::Pause { target })
}

fn kill(target: Target, nodes: usize) -> Option<Fault> {
    (nodes > 1 || target != Target::Followers).then_some(Fault::Kill { target })
}
