//! [`Watcher`]: a task for each node that asks it for its status again and again, and notes what is new.
//!
//! Digests are asked for at an index common to all nodes, which moves on with the slowest node that answers: two replicas can
//! only be compared at the same index.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use labrys_nemesis::ProcessIdentity;
use labrys_store::client::NodeStatus;
use labrys_store::raft::Role;
use tokio::task::JoinSet;

use super::offset::ClockOffset;
use super::status_client;
use crate::db::{ClusterSignals, DbError, Observation, Processes, logs};

/// Between two looks at a node.
const INTERVAL: Duration = Duration::from_millis(100);

/// How long a node may take to answer before the look counts as missed.
const TIMEOUT: Duration = Duration::from_millis(400);

/// Between two common indices at which digests are compared.
const DIGEST_INTERVAL: Duration = Duration::from_millis(500);

/// A node that has applied nothing for so long, while others have, is not waited for with a comparison: it may have been removed from the
/// cluster.
const STALLED_AFTER: Duration = Duration::from_millis(2000);

/// How old an answer may be and still count for whom a fault hits that is aimed at a leader, though the look after it was missed. Whether
/// anybody leads is another question: who did not answer the last time is not known to.
const FRESH_FOR: Duration = Duration::from_millis(1000);

/// The digest of a node at an index, as it is recorded.
pub(super) fn digest(node: &str, applied: u64, digest: u64) -> Observation {
    Observation::Digest { node: node.to_owned(), applied, digest: format!("{digest:016x}") }
}

/// The last answer of a node.
#[derive(Clone, Copy, Debug)]
struct View {
    at: Instant,
    leads: bool,
    term: u64,
    applied: u64,
    /// When it had applied more than before.
    moved_at: Instant,
    /// No look has been missed since.
    answers: bool,
}

/// What the tasks share.
struct Shared {
    views: Mutex<Vec<Option<View>>>,
    /// The first and the last index of the nodes' logs, as they were when they answered last.
    logs: Mutex<Vec<(u64, u64)>>,
    /// The newest term in which anybody was known to lead, by himself or by others.
    newest_term_led: AtomicU64,
    seen: Mutex<Vec<Observation>>,
    failure: Mutex<Option<DbError>>,
    /// The common index; 0: none yet.
    compare_at: AtomicU64,
    compare_at_moved: Mutex<Instant>,
    /// Of which nodes' daemons the end is known: node, number, start.
    exits_reported: Mutex<BTreeSet<(usize, i32, u64)>>,
}

impl Shared {
    fn note_exits(&self, node: usize, exits: Vec<(ProcessIdentity, Observation)>) {
        let mut reported = lock(&self.exits_reported);
        for (process, exit) in exits {
            if reported.insert((node, process.pid, process.start_ticks)) {
                lock(&self.seen).push(exit);
            }
        }
    }
}

/// Watches the nodes until it is dropped.
pub(super) struct Watcher {
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

impl Watcher {
    /// Starts the tasks, on the runtime of the caller.
    ///
    /// It asks from `observer_address`, if one is given, and notes the nodes' clocks where they are to be observed.
    pub(super) fn start(
        processes: &Arc<Processes>,
        names: &[String],
        addresses: &[String],
        observer_address: Option<IpAddr>,
        observes_clocks: bool,
    ) -> Watcher {
        let shared = Arc::new(Shared {
            views: Mutex::new(vec![None; names.len()]),
            logs: Mutex::new(vec![(0, 0); names.len()]),
            newest_term_led: AtomicU64::new(0),
            seen: Mutex::default(),
            failure: Mutex::default(),
            compare_at: AtomicU64::new(0),
            compare_at_moved: Mutex::new(Instant::now()),
            exits_reported: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        for (node, (name, address)) in names.iter().zip(addresses).enumerate() {
            let watch = Watch {
                node,
                name: name.clone(),
                processes: Arc::clone(processes),
                shared: Arc::clone(&shared),
                compared_at: 0,
                clock: observes_clocks.then(ClockOffset::default),
            };
            tasks.spawn(watch.run(address.clone(), observer_address));
        }
        Watcher { shared, _tasks: tasks }
    }

    /// What is new since the last call.
    pub(super) fn take_seen(&self) -> Result<Vec<Observation>, DbError> {
        match lock(&self.shared.failure).take() {
            Some(failure) => Err(failure),
            None => Ok(std::mem::take(&mut *lock(&self.shared.seen))),
        }
    }

    /// Notes ends of daemons that somebody else has looked up.
    pub(super) fn note_exits(&self, node: usize, exits: Vec<(ProcessIdentity, Observation)>) {
        self.shared.note_exits(node, exits);
    }

    /// What the cluster is doing.
    pub(super) fn signals(&self, names: &[String]) -> ClusterSignals {
        let now = Instant::now();
        ClusterSignals {
            newest_term_led: self.shared.newest_term_led.load(Ordering::Relaxed),
            ..signals_among(&lock(&self.shared.views), &lock(&self.shared.logs), names, now)
        }
    }

    /// Who claims to lead, the newest term first.
    pub(super) fn primaries(&self, names: &[String]) -> Vec<String> {
        primaries_among(&lock(&self.shared.views), names, Instant::now())
    }
}

/// What faults can wait for, as the nodes say that answered when they were asked last. A follower whose log ends before the leader's begins is sent a snapshot.
fn signals_among(
    views: &[Option<View>],
    logs: &[(u64, u64)],
    names: &[String],
    now: Instant,
) -> ClusterSignals {
    let is_fresh = |view: &View| view.answers && now.saturating_duration_since(view.at) <= FRESH_FOR;
    let fresh = || {
        views
            .iter()
            .enumerate()
            .filter_map(|(node, view)| Some((node, (*view)?)))
            .filter(|(_, view)| is_fresh(view))
    };
    let leading = fresh().filter(|(_, view)| view.leads).max_by_key(|(_, view)| view.term);
    let Some((leader, view)) = leading else { return ClusterSignals::default() };
    let begins = logs[leader].0;
    ClusterSignals {
        leader: Some((names[leader].clone(), view.term)),
        snapshot_in_flight: fresh().any(|(node, _)| logs[node].1 + 1 < begins),
        ..ClusterSignals::default()
    }
}

fn primaries_among(views: &[Option<View>], names: &[String], now: Instant) -> Vec<String> {
    let is_fresh = |view: &View| now.saturating_duration_since(view.at) <= FRESH_FOR;
    let known = views.iter().zip(names).filter_map(|(view, name)| Some((view.as_ref()?, name)));
    let mut leading: Vec<(&View, &String)> = known.filter(|(view, _)| view.leads && is_fresh(view)).collect();
    leading.sort_by_key(|(view, name)| (std::cmp::Reverse(view.term), *name));
    leading.into_iter().map(|(_, name)| name.clone()).collect()
}

/// What the slowest node has applied of those that answer, but for those that have stood still while others went on.
fn slowest_among(views: &[Option<View>], now: Instant) -> Option<u64> {
    let age = |moment: Instant| now.saturating_duration_since(moment);
    let fresh = || views.iter().flatten().filter(|view| age(view.at) <= FRESH_FOR);
    let furthest = fresh().map(|view| view.applied).max()?;
    let goes_on = |view: &&View| view.applied == furthest || age(view.moved_at) <= STALLED_AFTER;
    fresh().filter(goes_on).map(|view| view.applied).min()
}

/// The watch over one node.
struct Watch {
    node: usize,
    name: String,
    processes: Arc<Processes>,
    shared: Arc<Shared>,
    compared_at: u64,
    /// Where clocks are observed.
    clock: Option<ClockOffset>,
}

impl Watch {
    async fn run(mut self, address: String, observer_address: Option<IpAddr>) {
        let mut client = match status_client(&address, observer_address) {
            Ok(client) => client,
            Err(error) => return self.fail(DbError::Interrupted(error.to_string())),
        };
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let compare_at = self.shared.compare_at.load(Ordering::Relaxed);
            let asked = (compare_at > self.compared_at).then_some(compare_at);
            match client.status(asked, TIMEOUT).await {
                Ok(status) => self.note(&status, asked),
                Err(_) => self.note_missed(),
            }
            let processes = Arc::clone(&self.processes);
            let node = self.node;
            let looked = tokio::task::spawn_blocking(move || exits_with_log(&processes, node)).await;
            match looked {
                Ok(Ok(exits)) => self.shared.note_exits(self.node, exits),
                Ok(Err(error)) => return self.fail(error),
                // The runtime is going down.
                Err(_) => return,
            }
        }
    }

    fn note_missed(&self) {
        if let Some(view) = &mut lock(&self.shared.views)[self.node] {
            view.answers = false;
        }
    }

    fn note(&mut self, status: &NodeStatus, asked: Option<u64>) {
        let leads = status.role == Role::Leader;
        let (at, applied) = (Instant::now(), status.applied_index);
        {
            let mut views = lock(&self.shared.views);
            let stands_since =
                views[self.node].filter(|last| last.applied == applied).map(|last| last.moved_at);
            let moved_at = stands_since.unwrap_or(at);
            views[self.node] = Some(View { at, leads, term: status.term, applied, moved_at, answers: true });
        }
        self.shared.newest_term_led.fetch_max(newest_term_led(status), Ordering::Relaxed);
        lock(&self.shared.logs)[self.node] = (status.storage.first_index, status.last_index);
        let mut seen = Vec::new();
        let offset_us = self.clock.as_mut().and_then(|clock| clock.see(at, status.uptime_ms));
        seen.extend(offset_us.map(|offset_us| Observation::Clock { node: self.name.clone(), offset_us }));
        if leads {
            seen.push(self.leader(status.term));
        }
        // Leaderships that were over before we looked.
        let own = status.leader_changes.iter().filter(|change| change.leader == Some(status.node));
        seen.extend(own.map(|change| self.leader(change.term)));
        if let (Some(index), Some(found)) = (asked, status.digest_at_index) {
            seen.push(digest(&self.name, index, found));
            self.compared_at = index;
        }
        lock(&self.shared.seen).extend(seen);
        self.move_common_index();
    }

    fn leader(&self, term: u64) -> Observation {
        Observation::Leader { node: self.name.clone(), term }
    }

    /// To where the slowest of the nodes that answer is.
    fn move_common_index(&self) {
        let mut moved = lock(&self.shared.compare_at_moved);
        if moved.elapsed() < DIGEST_INTERVAL {
            return;
        }
        if let Some(slowest) = slowest_among(&lock(&self.shared.views), Instant::now()) {
            self.shared.compare_at.fetch_max(slowest, Ordering::Relaxed);
            *moved = Instant::now();
        }
    }

    fn fail(&self, error: DbError) {
        lock(&self.shared.failure).get_or_insert(error);
    }
}

/// The newest term of which a node knows that somebody leads it, or led it; 0: none.
fn newest_term_led(status: &NodeStatus) -> u64 {
    let now = status.leader.map(|_| status.term);
    let led = status.leader_changes.iter().filter_map(|change| change.leader.map(|_| change.term));
    led.chain(now).max().unwrap_or(0)
}

/// The ends of a node's daemons. The log is read only if there are any, and its end shown only for those not intended.
pub(super) fn exits_with_log(
    processes: &Processes,
    node: usize,
) -> Result<Vec<(ProcessIdentity, Observation)>, DbError> {
    let exits = processes.exits(node)?;
    let is_any_unexpected = exits.iter().any(|exit| !exit.expected);
    let log = if is_any_unexpected { processes.log(node)? } else { Vec::new() };
    let name = processes.nodes()[node].host.name();
    let observation = |exit: &crate::testbed::lifecycle::DaemonExit| Observation::Exit {
        node: name.to_owned(),
        status: exit.status(),
        expected: exit.expected,
        environment: processes.environments_fault(exit),
        log: if exit.expected { Vec::new() } else { logs::last_lines(&log, logs::SHOWN_LINES) },
    };
    Ok(exits.iter().map(|exit| (exit.process, observation(exit))).collect())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_claim_to_lead_comes_first_and_old_answers_do_not_count() {
        let now = Instant::now();
        let view = |leads, term, age_ms| {
            let at = now - Duration::from_millis(age_ms);
            Some(View { at, leads, term, applied: 0, moved_at: at, answers: age_ms != 200 })
        };
        let views = [view(true, 3, 100), None, view(true, 5, 200), view(true, 9, 60_000), view(false, 5, 0)];
        let names: Vec<String> = (1..=5).map(|number| format!("n{number}")).collect();
        assert_eq!(primaries_among(&views, &names, now), ["n3", "n1"]);
    }

    #[test]
    fn digests_are_compared_where_the_slowest_is_that_has_not_stood_still_while_others_went_on() {
        let now = Instant::now();
        let ago = |ms| now - Duration::from_millis(ms);
        let view = |applied, age_ms, stands_ms| {
            let (at, moved_at) = (ago(age_ms), ago(stands_ms));
            Some(View { at, leads: false, term: 1, applied, moved_at, answers: true })
        };
        let slow = [view(90, 0, 100), view(70, 0, 1_900), None];
        assert_eq!(slowest_among(&slow, now), Some(70));
        let removed = [view(90, 0, 100), view(85, 0, 100), view(70, 0, 2_100), view(10, 5_000, 100)];
        assert_eq!(slowest_among(&removed, now), Some(85));
        let idle = [view(90, 0, 60_000), view(90, 0, 60_000)];
        assert_eq!(slowest_among(&idle, now), Some(90));
        assert_eq!(slowest_among(&[None], now), None);
    }

    #[test]
    fn a_snapshot_is_in_flight_while_a_follower_ends_before_the_leader_begins() {
        let now = Instant::now();
        let view =
            |leads, term| Some(View { at: now, leads, term, applied: 0, moved_at: now, answers: true });
        let names: Vec<String> = (1..=3).map(|number| format!("n{number}")).collect();
        let views = [view(true, 4), view(false, 4), view(true, 3)];
        let of = |logs: [(u64, u64); 3]| signals_among(&views, &logs, &names, now);
        let lacking = of([(100, 120), (1, 40), (100, 120)]);
        assert_eq!(lacking.leader, Some(("n1".to_owned(), 4)));
        assert!(lacking.snapshot_in_flight);
        assert!(!of([(100, 120), (1, 99), (100, 120)]).snapshot_in_flight);
        assert_eq!(signals_among(&[None, None, None], &[(0, 0); 3], &names, now), ClusterSignals::default());
    }

    #[test]
    fn nobody_leads_as_soon_as_the_one_who_did_does_not_answer_any_more() {
        let now = Instant::now();
        let view =
            |leads, answers| Some(View { at: now, leads, term: 4, applied: 0, moved_at: now, answers });
        let names = ["n1".to_owned(), "n2".to_owned()];
        let of =
            |answers| signals_among(&[view(true, answers), view(false, true)], &[(0, 0); 2], &names, now);
        assert_eq!(of(true).leader, Some(("n1".to_owned(), 4)));
        assert_eq!(of(false).leader, None);
        // A fault that is aimed at a leader hits the one who led a moment ago.
        assert_eq!(primaries_among(&[view(true, false), view(false, true)], &names, now), ["n1"]);
    }
}
