//! Lanes: which row of the timeline an operation is drawn in.
//!
//! A process is retired when an operation of it ends `info`, so that a long run has many more processes than threads. With
//! the number of threads known, process `p` has the lane of its thread, `p mod concurrency`. Without it, lifetimes
//! of processes are packed into lanes greedily in order of their beginning (interval partitioning: the fewest
//! lanes possible). O(n log n).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use labrys_history::Operation;

/// The rows of the client operations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lanes {
    /// The lane of each operation.
    pub of_operation: Vec<u32>,
    /// The processes of each lane, in order of appearance.
    pub processes: Vec<Vec<u64>>,
}

impl Lanes {
    /// The lanes of `operations`, which are in order of invocation.
    pub fn new(operations: &[Operation], concurrency: Option<u64>) -> Lanes {
        let of_process = match concurrency {
            Some(threads) if threads > 0 => by_thread(operations, threads),
            _ => packed(operations),
        };
        let mut lanes = Lanes::default();
        let mut seen = BTreeSet::new();
        for operation in operations {
            let lane = of_process[&operation.process()];
            lanes.of_operation.push(lane);
            if lanes.processes.len() <= lane as usize {
                lanes.processes.resize(lane as usize + 1, Vec::new());
            }
            if seen.insert(operation.process()) {
                lanes.processes[lane as usize].push(operation.process());
            }
        }
        lanes
    }

    /// The name of a lane: its processes, as many as fit.
    pub fn name(&self, lane: usize) -> String {
        let shown: Vec<String> = self.processes[lane].iter().take(3).map(u64::to_string).collect();
        let more = if self.processes[lane].len() > 3 { " …" } else { "" };
        format!("{}{more}", shown.join(" "))
    }
}

/// Lanes by thread, numbered without gaps in the order of the threads.
fn by_thread(operations: &[Operation], threads: u64) -> BTreeMap<u64, u32> {
    let used: BTreeSet<u64> = operations.iter().map(|operation| operation.process() % threads).collect();
    let lane_of_thread: BTreeMap<u64, u32> = used.into_iter().zip(0..).collect();
    operations
        .iter()
        .map(|operation| (operation.process(), lane_of_thread[&(operation.process() % threads)]))
        .collect()
}

fn packed(operations: &[Operation]) -> BTreeMap<u64, u32> {
    let mut end_ns_of: BTreeMap<u64, u64> = BTreeMap::new();
    for operation in operations {
        let end_ns = operation.completion().time_ns().unwrap_or(u64::MAX);
        end_ns_of.insert(operation.process(), end_ns);
    }
    let mut of_process = BTreeMap::new();
    let mut busy: BinaryHeap<Reverse<(u64, u32)>> = BinaryHeap::new();
    let mut free: BTreeSet<u32> = BTreeSet::new();
    let mut lane_count = 0;
    for operation in operations {
        if of_process.contains_key(&operation.process()) {
            continue;
        }
        while let Some(Reverse((end_ns, lane))) = busy.peek().copied() {
            if end_ns >= operation.invoke_time_ns() {
                break;
            }
            busy.pop();
            free.insert(lane);
        }
        let lane = free.pop_first().unwrap_or_else(|| {
            lane_count += 1;
            lane_count - 1
        });
        of_process.insert(operation.process(), lane);
        busy.push(Reverse((end_ns_of[&operation.process()], lane)));
    }
    of_process
}

#[cfg(test)]
mod tests {
    use labrys_history::{Event, EventKind, History, Process, Value};

    use super::*;

    /// A history of one read after the other: process, when it was invoked, and when its client gave up.
    fn history(operations: &[(u64, u64, Option<u64>)]) -> History {
        let mut events: Vec<Event> = Vec::new();
        for &(process, from_ns, to_ns) in operations {
            let event =
                |time_ns, kind| Event::new(0, time_ns, Process::Client(process), kind, "read", Value::Nil);
            events.push(event(from_ns, EventKind::Invoke));
            events.extend(to_ns.map(|to_ns| event(to_ns, EventKind::Info)));
        }
        History::from_validated(events)
    }

    #[test]
    fn processes_of_a_thread_share_its_lane() {
        let history = history(&[(0, 1, Some(2)), (1, 2, Some(4)), (10, 3, None)]);
        let lanes = Lanes::new(&history.operations(), Some(10));
        assert_eq!(lanes.of_operation, [0, 1, 0]);
        assert_eq!((lanes.name(0), lanes.name(1)), ("0 10".to_owned(), "1".to_owned()));
    }

    #[test]
    fn without_threads_a_process_takes_the_lane_of_one_that_is_gone() {
        let history = history(&[(7, 1, Some(2)), (8, 2, None), (9, 3, Some(5)), (11, 5, None)]);
        assert_eq!(Lanes::new(&history.operations(), None).of_operation, [0, 1, 0, 2]);
    }
}
