//! The table: of every defect the smallest campaign that shows it in the simulator, or why there is none.

use crate::trials::Deaf;

/// A defect, and how it is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its name.
    pub defect: &'static str,
    /// How.
    pub search: Search,
}

/// How a defect is looked for.
#[derive(Clone, Copy, Debug)]
pub enum Search {
    /// By this.
    Campaign(Campaign),
    /// Not at all.
    NotExpressible {
        /// Because.
        why: &'static str,
    },
}

/// Faults and load under which a defect shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Campaign {
    /// Options of `labrys test`, besides those that all campaigns have.
    pub toml: &'static str,
    /// The properties and checkers that count; empty: all.
    pub counts: &'static [&'static str],
    /// Who hears nobody in the end, while the others must make progress.
    pub deaf: Option<Deaf>,
    /// How long a write to the log takes, if not as usual: in microseconds.
    pub log_write_us: Option<(u64, u64)>,
}

const fn of(toml: &'static str) -> Campaign {
    Campaign { toml, counts: &[], deaf: None, log_write_us: None }
}

const fn campaign(defect: &'static str, toml: &'static str) -> Row {
    Row { defect, search: Search::Campaign(of(toml)) }
}

const fn deaf(defect: &'static str, deaf: Deaf, toml: &'static str) -> Row {
    Row { defect, search: Search::Campaign(Campaign { deaf: Some(deaf), ..of(toml) }) }
}

const fn without(defect: &'static str, why: &'static str) -> Row {
    Row { defect, search: Search::NotExpressible { why } }
}

const MEMBERSHIP: &str = "needs a workload that changes the membership; the scenario `two-majorities` shows what `membership-two-at-once` does";
const TRANSACTIONS: &str = "needs a workload of interactive transactions over several keys";
/// A rotten disk can keep nodes from starting, whatever the store does: only what is lost or forked counts.
const HARM: &[&str] = &[
    "election-safety",
    "log-matching",
    "leader-completeness",
    "state-machine-safety",
    "nothing-acknowledged-is-lost",
    "linearizable",
];

/// Nothing happens but what happens in the end.
const QUIET: &str = r#"
            nemesis = ["none"]
            nodes = 3
            time-limit = "1s""#;

/// Every defect of the store, in the order of the store's list.
pub const ROWS: &[Row] = &[
    campaign(
        "vote-not-persisted",
        r#"
            nemesis = ["kill-majority", "kill-all", "kill-leader"]
            nodes = 3"#,
    ),
    campaign(
        "election-no-log-check",
        r#"
            nemesis = ["partition-majority-minority", "partition-one", "kill-leader"]
            nemesis-interval = "500ms""#,
    ),
    campaign(
        "async-replication-ack",
        r#"
            nemesis = ["partition-leader"]
            nodes = 3"#,
    ),
    campaign(
        "commit-index-not-min",
        r#"
            nemesis = ["partition-leader", "kill-leader"]
            nodes = 3"#,
    ),
    campaign(
        "local-leader-read",
        r#"
            nemesis = ["partition-leader", "pause-leader"]
            nodes = 3
            check-quorum = false"#,
    ),
    campaign(
        "follower-read",
        r#"
            nemesis = ["partition"]
            nodes = 3"#,
    ),
    campaign(
        "election-compare-length-only",
        r#"
            nemesis = ["partition-leader", "partition-one"]
            nemesis-interval = "400ms"
            election-timeout = "100ms"
            nodes = 3
            check-quorum = false
            rate = 300.0
            concurrency = 50
            key-count = 5"#,
    ),
    campaign(
        "stale-vote-counted",
        r#"
            nemesis = ["network", "kill-leader", "disk"]
            nemesis-interval = "300ms"
            election-timeout = "60ms"
            nodes = 3
            pre-vote = false"#,
    ),
    deaf("no-check-quorum", Deaf::Leader, QUIET),
    deaf(
        "no-prevote-livelock",
        Deaf::Follower,
        r#"
            nemesis = ["none"]
            nodes = 3
            check-quorum = false
            time-limit = "1s""#,
    ),
    deaf("partial-partition-stuck-leader", Deaf::Leader, QUIET),
    without(
        "leadership-transfer-keeps-serving",
        "needs a workload that transfers leadership; the scenario `leader-transfer` shows it",
    ),
    campaign(
        "unclean-election",
        r#"
            nemesis = ["partition-majority-minority", "partition-halves"]
            nemesis-interval = "2s""#,
    ),
    campaign(
        "heartbeat-term-race",
        r#"
            nemesis = ["partition-leader", "pause-leader", "network"]
            nemesis-interval = "400ms"
            nodes = 3
            pre-vote = false
            check-quorum = false
            rate = 500.0"#,
    ),
    campaign(
        "commit-prior-term-by-count",
        r#"
            nemesis = ["kill-leader", "partition-leader"]
            nodes = 3
            nemesis-interval = "500ms""#,
    ),
    campaign(
        "truncate-committed",
        r#"
            nemesis = ["network", "partition-leader"]
            nodes = 3"#,
    ),
    campaign(
        "stale-append-reply-counted",
        r#"
            nemesis = ["network", "kill-leader"]
            nodes = 3"#,
    ),
    campaign(
        "heartbeat-skips-prev-check",
        r#"
            nemesis = ["partition-leader"]
            nodes = 3"#,
    ),
    campaign(
        "read-index-no-current-term-commit",
        r#"
            nemesis = ["partition-leader", "kill-leader"]
            nodes = 3"#,
    ),
    campaign(
        "read-index-reuse-on-retry",
        r#"
            nemesis = ["pause-leader", "partition-leader"]
            nemesis-interval = "600ms"
            nodes = 3
            check-quorum = false
            operation-timeout = "300ms"
            concurrency = 30
            key-count = 2"#,
    ),
    campaign(
        "read-index-not-waiting-apply",
        r#"
            nemesis = ["network", "kill-one"]
            read-mode = "follower"
            nodes = 3
            rate = 300.0"#,
    ),
    campaign(
        "lease-read-clock-skew",
        r#"
            nemesis = ["clock-skew", "partition-leader"]
            nodes = 3
            read-mode = "lease"
            store-option = ["max-clock-drift-percent=1000"]
            operation-timeout = "300ms"
            concurrency = 30
            key-count = 2"#,
    ),
    without(
        "lease-read-after-pause",
        "a simulated node reads its clock and takes what arrived in one go, so a read that is answered late is answered with what was current while it waited; real nodes have a failpoint between the two",
    ),
    without("removed-node-disrupts", MEMBERSHIP),
    campaign(
        "quorum-off-by-one",
        r#"
            nemesis = ["partition-halves", "kill-leader"]
            nodes = 4"#,
    ),
    without("membership-no-noop", MEMBERSHIP),
    without("membership-two-at-once", MEMBERSHIP),
    without("membership-applied-at-commit", MEMBERSHIP),
    without("joint-exit-lost", MEMBERSHIP),
    without("readded-node-same-id-empty-disk", MEMBERSHIP),
    campaign(
        "no-request-deduplication",
        r#"
            nemesis = ["pause-leader", "kill-leader"]
            nodes = 3
            key-count = 1
            rate = 500.0
            operation-timeout = "3s""#,
    ),
    campaign(
        "follower-acks-before-fsync",
        r#"
            nemesis = ["none"]
            nodes = 3"#,
    ),
    campaign(
        "leader-acks-before-fsync",
        r#"
            nemesis = ["none"]
            nodes = 3"#,
    ),
    campaign(
        "no-dir-fsync",
        r#"
            nemesis = ["power-cut"]
            nodes = 3
            store-option = ["segment-bytes=1024"]"#,
    ),
    Row {
        defect: "torn-tail-ignored",
        search: Search::Campaign(Campaign {
            // Power is to fail in the middle of a write.
            log_write_us: Some((5_000, 20_000)),
            ..of(r#"
            nemesis = ["power-cut-all"]
            nodes = 3
            nemesis-interval = "500ms"
            election-timeout = "100ms"
            rate = 300.0"#)
        }),
    },
    Row {
        defect: "mid-log-corruption-truncates",
        search: Search::Campaign(Campaign {
            counts: HARM,
            ..of(r#"nemesis = ["disk-rot", "kill-leader", "power-cut-one", "partition-leader"]
nemesis-interval = "500ms"
nodes = 3"#)
        }),
    },
    campaign(
        "hard-state-and-entries-not-atomic",
        r#"
            nemesis = ["kill", "partition", "network"]
            nodes = 3
            nemesis-interval = "400ms""#,
    ),
    campaign(
        "applied-index-nonatomic",
        r#"
            nemesis = ["kill"]
            nodes = 3
            store-option = ["snapshot-entries=20"]"#,
    ),
    campaign(
        "snapshot-not-atomic-file",
        r#"
            nemesis = ["power-cut", "kill"]
            nodes = 3
            store-option = ["snapshot-entries=5"]
            nemesis-interval = "300ms"
            rate = 300.0"#,
    ),
    campaign(
        "disk-full-swallowed",
        r#"
            nemesis = ["disk"]
            nodes = 3"#,
    ),
    campaign(
        "fsync-failure-retry",
        r#"
            nemesis = ["disk", "power-cut"]
            nodes = 3"#,
    ),
    campaign(
        "compaction-drops-live-entries",
        r#"
            nemesis = ["kill", "partition-one"]
            nodes = 3
            store-option = ["snapshot-entries=20", "segment-bytes=1024"]"#,
    ),
    campaign(
        "snapshot-install-keeps-log",
        r#"
            nemesis = ["partition-leader"]
            nodes = 3
            nemesis-interval = "1s"
            store-option = ["snapshot-entries=10", "kept-entries=0"]
            rate = 300.0"#,
    ),
    campaign(
        "snapshot-install-boundary-before-data",
        r#"
            nemesis = ["kill", "partition-one"]
            nodes = 3
            store-option = ["snapshot-entries=20", "kept-entries=0"]"#,
    ),
    campaign(
        "snapshot-index-off-by-one",
        r#"
            nemesis = ["kill"]
            nodes = 3
            store-option = ["snapshot-entries=20"]"#,
    ),
    campaign(
        "cas-evaluated-at-propose",
        r#"
            nemesis = ["none"]
            nodes = 3
            key-count = 1
            rate = 500.0"#,
    ),
    campaign(
        "dedup-not-replicated",
        r#"
            nemesis = ["none"]
            nodes = 3"#,
    ),
    campaign(
        "dedup-lost-in-snapshot",
        r#"
            nemesis = ["kill"]
            nodes = 3
            store-option = ["snapshot-entries=20"]"#,
    ),
    campaign(
        "dedup-expiry-clock",
        r#"
            nemesis = ["clock-leap"]
            nodes = 3"#,
    ),
    campaign(
        "nondeterministic-apply",
        r#"
            nemesis = ["none"]
            nodes = 3"#,
    ),
    without("txn-not-atomic", TRANSACTIONS),
    campaign(
        "txn-read-uncommitted",
        r#"
            nemesis = ["partition-leader"]
            nodes = 3"#,
    ),
    without("txn-commit-skips-write-check", TRANSACTIONS),
    without("txn-commit-skips-read-check", TRANSACTIONS),
    without("txn-reads-latest", TRANSACTIONS),
    campaign(
        "unacked-batch-reorder",
        r#"
            nemesis = ["none"]
            nodes = 3
            key-count = 1
            rate = 1000.0"#,
    ),
    without("watch-gap-on-reconnect", "needs a workload that watches keys"),
    without("lock-without-fencing", "needs a workload of locks"),
    campaign(
        "lease-revoked-by-old-leader",
        r#"
            workload = "lease"
            nemesis = ["pause-leader"]
            nemesis-interval = "2s"
            nodes = 3
            time-limit = "20s""#,
    ),
    campaign(
        "ttl-wall-clock",
        r#"
            workload = "lease"
            nemesis = ["none"]
            nodes = 3"#,
    ),
    without(
        "stepdown-keeps-pending",
        "the store's client does not believe a node that lost its leadership, whatever that says, so no history shows it",
    ),
];
