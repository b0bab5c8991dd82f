//! [`LeasesLast`]: a lease lasts as long as it was promised to, and its key with it; and it ends when nobody keeps it alive.
//!
//! What the operations are, [`crate::models::Lease`] says; what can be said without a clock, that model judges. This one looks at time.
//!
//! # Too early
//!
//! A grant or a keep-alive that was answered `ok` is a *promise*: its lease is there until its time to live after the **invocation**, less
//! [`DRIFT_PERCENT`]. Something that shows that a lease is not there (a read of nil, or the error `lease-unknown`) and has completed
//! before the end of a promise that was invoked before that is a violation, unless
//!
//! - the lease was revoked: a `revoke` of it that did not fail was invoked by then; or
//! - for a read of nil: no put with the lease had succeeded before the read was invoked, or the key was (perhaps) put with another lease.
//!
//! *Why that is sound.* The system says that a lease which it grants or renews at some moment ends no sooner than its time to live after that
//! moment, as its clocks count. The moment is after the invocation. By its end the observation has happened: it completed. Suppose that the
//! promised grant or renewal took effect before what was observed: then less than the time to live lies between the two. Or it took effect
//! behind it: then the lease was there afterwards, hence, as none comes back, at that moment as well. In either case it was there when it
//! was seen not to be. Its key was, too: it had been put with it, by a put that was over, and with no other, and nothing else deletes
//! keys. An answer that came late, after a retry or after what was observed, changes nothing of this; one that never came promises nothing.
//!
//! *Which clocks.* Times of invocations and completions are read from one clock, the harness's monotonic one. The system counts by
//! its nodes' own clocks. Between them may be a drift of [`DRIFT_PERCENT`]: a clock that ntpd or systemd-timesyncd disciplines drifts by at most a
//! twentieth of one per cent, the crystal under it by a hundredth; chrony may slew it by eight per cent unless `maxslewrate` says less, which
//! matters where nodes are machines of their own (docs/workloads.md says so). In a run in which a clock was *made* to run wrong, what is promised holds no more from
//! the first such fault on, to the end: what a clock has gained stays, and a node that has not looked at the log since then brings it in much
//! later, when it leads. So nothing that completed after the beginning of that fault is judged here; that
//! replicas end a lease at the same entry, and that what is gone stays gone, is judged all the same, by others. (One more clock: where the machine of the harness
//! is suspended in a run, its monotonic clock stands still, and what is seen thereafter may look early.)
//!
//! # Never
//!
//! How late a lease ends, few systems promise: a new leader may begin its time anew. But when nothing goes wrong it ends. Before the first
//! fault of a run, and [`LATE`] after all that can have renewed it (every keep-alive that was answered) and after the last leader appeared, a lease
//! that nobody keeps alive must be over: two reads, [`APART`] apart, that see its key are a violation. Two, because a whole
//! machine may stand still: the first answer after that can come before the leader has looked at its clock. And only if something else than a
//! read was asked for after the lease was due, and succeeded before the first of them: an end must be agreed on like every change, and a
//! system of which all disks stand still may go on answering reads, but agrees on nothing. Nothing is said of
//! a lease of which a keep-alive has an unknown end: it may take effect at any time.
//!
//! Without operations on leases it is valid, with the statistic `leases` at 0. O(n log n) for n operations.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use labrys_history::{Completion, History, Operation, Process, Value};

use super::EVIDENCE_LIMIT;
use crate::check::{CheckError, Checker, Context};
use crate::models::lease::{granted, is_unknown, lease_of};
use crate::verdict::{CheckVerdict, Evidence, Validity};

/// How far apart the clocks of the harness and of the nodes may drift.
pub const DRIFT_PERCENT: u64 = 1;

/// How long a lease may outlive its time while nothing goes wrong.
pub const LATE: Duration = Duration::from_secs(10);

/// Two reads that are so far apart prove that a lease outlives its time.
pub const APART: Duration = Duration::from_secs(2);

/// The checker `leases-last`.
#[derive(Clone, Copy, Debug, Default)]
pub struct LeasesLast;

/// When an operation was invoked and when it completed, and by which events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    from_ns: u64,
    to_ns: u64,
    events: [u64; 2],
}

impl Span {
    fn of(operation: &Operation<'_>) -> Option<Span> {
        let completion = operation.completion();
        let events = [operation.invoke_index(), completion.index()?];
        Some(Span { from_ns: operation.invoke_time_ns(), to_ns: completion.time_ns()?, events })
    }
}

/// What is known of a lease.
#[derive(Debug, Default)]
struct Seen {
    /// Its time to live; `None`: its grant was not seen.
    ttl_ns: Option<u64>,
    /// Grants and keep-alives that were answered.
    promises: Vec<Span>,
    /// A keep-alive has an unknown end.
    is_unsure: bool,
    /// When it was first perhaps revoked.
    revoked_ns: Option<u64>,
    /// Answers that it is not there.
    unknown: Vec<Span>,
}

/// What is known of a key.
#[derive(Debug, Default)]
struct OnKey {
    leases: BTreeMap<i64, Seen>,
    /// With which leases it was perhaps put.
    put_with: BTreeSet<i64>,
    /// When the first put that succeeded was over.
    put_ns: Option<u64>,
    /// Reads of nil, and of something.
    gone: Vec<Span>,
    there: Vec<Span>,
}

fn least(least: &mut Option<u64>, ns: u64) {
    *least = Some(least.map_or(ns, |before| before.min(ns)));
}

impl OnKey {
    fn note(&mut self, operation: &Operation<'_>) {
        let completion = operation.completion();
        let has_failed = matches!(completion, Completion::Fail { .. });
        let is_ok = matches!(completion, Completion::Ok { .. });
        match (operation.f(), completion) {
            ("grant", Completion::Ok { value, .. }) => {
                let (Some((lease, ttl_ms)), Some(span)) = (granted(value), Span::of(operation)) else {
                    return;
                };
                let seen = self.leases.entry(lease).or_default();
                seen.ttl_ns = Some(u64::try_from(ttl_ms).unwrap_or(0).saturating_mul(1_000_000));
                seen.promises.push(span);
            }
            ("read", Completion::Ok { value, .. }) => {
                let reads = if value.is_nil() { &mut self.gone } else { &mut self.there };
                reads.extend(Span::of(operation));
            }
            _ => {}
        }
        let Some(lease) = lease_of(operation) else { return };
        if operation.f() == "put" && !has_failed {
            self.put_with.insert(lease);
            if let Some(span) = Span::of(operation).filter(|_| is_ok) {
                least(&mut self.put_ns, span.to_ns);
            }
        }
        let seen = self.leases.entry(lease).or_default();
        match operation.f() {
            _ if is_unknown(&completion) => seen.unknown.extend(Span::of(operation)),
            "keep-alive" if is_ok => seen.promises.extend(Span::of(operation)),
            "keep-alive" if !has_failed => seen.is_unsure = true,
            "revoke" if !has_failed => least(&mut seen.revoked_ns, operation.invoke_time_ns()),
            _ => {}
        }
    }

    /// The one lease that the key was put with, once it was there.
    fn sole_lease(&self) -> Option<i64> {
        match (self.put_with.len(), self.put_with.first()) {
            (1, Some(lease)) => Some(*lease),
            _ => None,
        }
    }

    /// What shows that a lease is not there, in order of completion.
    fn ends(&self, lease: i64, seen: &Seen) -> Vec<(Span, &'static str)> {
        let unknown = seen.unknown.iter().map(|span| (*span, "was answered to be unknown"));
        let is_its_key = self.sole_lease() == Some(lease);
        let put_before = |read: &&Span| is_its_key && self.put_ns.is_some_and(|put_ns| put_ns < read.from_ns);
        let gone = self.gone.iter().filter(put_before).map(|span| (*span, "had no key any more"));
        let mut ends: Vec<(Span, &'static str)> = unknown.chain(gone).collect();
        ends.sort_by_key(|(span, _)| (span.to_ns, span.events));
        ends
    }
}

/// A lease that did not last as it should have.
struct Broken {
    what: String,
    events: Vec<u64>,
}

/// How long a lease lasts for sure after the invocation of its promise.
fn lasting_ns(ttl_ns: u64) -> u64 {
    ttl_ns - ttl_ns.saturating_mul(DRIFT_PERCENT) / 100
}

/// What was asked for and has changed something, whatever it was: what proves that the system agreed on something meanwhile.
struct Updates {
    /// When each was invoked, in order, and the first completion of those from there on.
    from_ns: Vec<u64>,
    first_to_ns: Vec<u64>,
}

impl Updates {
    fn of(history: &History) -> Updates {
        let is_update = |operation: &Operation<'_>| {
            operation.f() != "read" && matches!(operation.completion(), Completion::Ok { .. })
        };
        let updates = history.operations().into_iter().filter(is_update);
        let mut spans: Vec<Span> = updates.filter_map(|operation| Span::of(&operation)).collect();
        spans.sort_unstable();
        let mut first_to_ns: Vec<u64> = spans.iter().map(|span| span.to_ns).collect();
        for at in (1..first_to_ns.len()).rev() {
            first_to_ns[at - 1] = first_to_ns[at - 1].min(first_to_ns[at]);
        }
        Updates { from_ns: spans.iter().map(|span| span.from_ns).collect(), first_to_ns }
    }

    /// Whether one was invoked and has succeeded between two moments. O(log n).
    fn any_between(&self, after_ns: u64, before_ns: u64) -> bool {
        let first = self.from_ns.partition_point(|from_ns| *from_ns <= after_ns);
        self.first_to_ns.get(first).is_some_and(|to_ns| *to_ns < before_ns)
    }
}

fn milliseconds(ns: u64) -> u64 {
    ns / 1_000_000
}

/// The first end of a lease that came too early, and how many ends were looked at.
fn too_early(
    on_key: &OnKey,
    lease: i64,
    seen: &Seen,
    trusted_until_ns: u64,
    judged: &mut u64,
) -> Option<Broken> {
    let ttl_ns = seen.ttl_ns?;
    let mut promises = seen.promises.clone();
    promises.sort_unstable();
    let is_judged = |span: &Span| {
        span.to_ns < trusted_until_ns && seen.revoked_ns.is_none_or(|revoked_ns| revoked_ns > span.to_ns)
    };
    for (end, how) in on_key.ends(lease, seen).into_iter().filter(|(span, _)| is_judged(span)) {
        *judged += 1;
        let before = promises.partition_point(|promise| promise.from_ns <= end.to_ns);
        let Some(promise) = before.checked_sub(1).map(|last| promises[last]) else { continue };
        let passed_ns = end.to_ns - promise.from_ns;
        if passed_ns < lasting_ns(ttl_ns) {
            let what = format!(
                "lease {lease} {how} {} ms after it was promised for {} ms",
                milliseconds(passed_ns),
                milliseconds(ttl_ns)
            );
            return Some(Broken { what, events: promise.events.into_iter().chain(end.events).collect() });
        }
    }
    None
}

/// A key that is still there long after its lease should be over, as reads before `trusted_until_ns` show; `leaders_ns`: when leaders
/// appeared, in order.
fn never(
    on_key: &OnKey,
    lease: i64,
    seen: &Seen,
    trusted_until_ns: u64,
    leaders_ns: &[u64],
    updates: &Updates,
) -> Option<Broken> {
    let ttl_ns = seen.ttl_ns.filter(|_| !seen.is_unsure && on_key.sole_lease() == Some(lease))?;
    let apart_ns = APART.as_nanos() as u64;
    let is_late = |read: &&Span| {
        let renewed =
            seen.promises.iter().filter(|promise| promise.from_ns <= read.to_ns).map(|promise| promise.to_ns);
        let leader_ns = leaders_ns[..leaders_ns.partition_point(|ns| *ns <= read.to_ns)].last().copied();
        let calm_ns = renewed.chain(leader_ns).max().unwrap_or(u64::MAX);
        let due_ns = calm_ns.saturating_add(ttl_ns);
        let over_ns = due_ns.saturating_add(LATE.as_nanos() as u64);
        read.to_ns < trusted_until_ns && read.from_ns > over_ns && updates.any_between(due_ns, read.from_ns)
    };
    let late: Vec<&Span> = on_key.there.iter().filter(is_late).collect();
    let first = late.iter().min_by_key(|read| (read.to_ns, read.events))?;
    let second = late
        .iter()
        .filter(|read| read.from_ns > first.to_ns.saturating_add(apart_ns))
        .min_by_key(|read| (read.to_ns, read.events))?;
    let what = format!(
        "the key of lease {lease} is still there more than {} s after the lease of {} ms should have been over",
        LATE.as_secs(),
        milliseconds(ttl_ns)
    );
    Some(Broken { what, events: first.events.into_iter().chain(second.events).collect() })
}

/// Until when the nodes' clocks were left alone, and until when everything was.
fn trusted(history: &History) -> (u64, u64) {
    let first_ns = |is_one: &dyn Fn(&str) -> bool| {
        let events = history.named(Process::NEMESIS).filter(|event| is_one(&event.f));
        events.map(|event| event.time_ns).min().unwrap_or(u64::MAX)
    };
    // The others are what Jepsen's nemesis of clocks calls its operations.
    let is_of_clocks = |f: &str| f.contains("clock") || ["bump", "strobe", "reset"].contains(&f);
    (first_ns(&is_of_clocks), first_ns(&|_| true))
}

impl Checker for LeasesLast {
    fn name(&self) -> &str {
        "leases-last"
    }

    fn check(&self, history: &History, _: &Context<'_>) -> Result<CheckVerdict, CheckError> {
        let mut keys: BTreeMap<Option<&Value>, OnKey> = BTreeMap::new();
        for operation in history.operations() {
            keys.entry(operation.key()).or_default().note(&operation);
        }
        let (clocks_until_ns, all_until_ns) = trusted(history);
        let leaders = history.named(Process::OBSERVER).filter(|event| &*event.f == "leader");
        let leaders_ns: Vec<u64> = leaders.map(|event| event.time_ns).collect();
        let updates = Updates::of(history);
        let (mut leases, mut promises, mut judged) = (0_u64, 0_u64, 0_u64);
        let mut broken: Vec<Broken> = Vec::new();
        for on_key in keys.values() {
            for (lease, seen) in &on_key.leases {
                leases += 1;
                promises += seen.promises.len() as u64;
                broken.extend(too_early(on_key, *lease, seen, clocks_until_ns, &mut judged));
                broken.extend(never(on_key, *lease, seen, all_until_ns, &leaders_ns, &updates));
            }
        }
        Ok(verdict(self.name(), broken, [("leases", leases), ("promises", promises), ("ends", judged)]))
    }
}

fn verdict(checker: &str, mut broken: Vec<Broken>, counts: [(&str, u64); 3]) -> CheckVerdict {
    // In the order in which they showed.
    broken.sort_by_key(|broken| broken.events.last().copied());
    let more = match broken.len() {
        0 | 1 => String::new(),
        several => format!(" (and {} more)", several - 1),
    };
    let counts = counts.into_iter().chain([("broken", broken.len() as u64)]);
    let statistics = counts.map(|(name, count)| (name.to_owned(), count.into())).collect();
    CheckVerdict {
        checker: checker.to_owned(),
        validity: if broken.is_empty() { Validity::Valid } else { Validity::Invalid },
        reason: broken.first().map(|broken| format!("{}{more}", broken.what)).unwrap_or_default(),
        partitions: Vec::new(),
        evidence: broken
            .into_iter()
            .take(EVIDENCE_LIMIT)
            .map(|Broken { what, events }| Evidence::Broken { what, events })
            .collect(),
        statistics,
    }
}
