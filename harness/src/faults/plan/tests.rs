//! A schedule as operations of the nemesis thread.

use labrys_nemesis::{Fault, Target};
use labrys_seed::Seed;
use labrys_workloads::generator::Threads;

use super::*;

fn schedule() -> Schedule {
    let fault = |id, at_ms, duration_ms| Scheduled {
        id,
        at_ms,
        duration_ms,
        fault: Fault::Kill { target: Target::One },
        trigger: None,
    };
    Schedule { faults: vec![fault(0, 10, 20), fault(1, 15, 100), fault(2, 30, 5)] }
}

#[test]
fn every_fault_is_applied_and_undone_at_its_time_and_an_undo_comes_before_an_apply_of_the_same_time() {
    let mut generator = PlannedFaults::new(&schedule(), 0, Arc::new(ClusterSignals::default)).boxed();
    let mut threads = Threads::new(1, Seed(1));
    let mut seen = Vec::new();
    let mut now_ns = 0;
    while let Peek::At(at_ns) = generator.peek(&threads.context(now_ns)) {
        now_ns = at_ns;
        generator.peek(&threads.context(now_ns));
        let Taken::Invoke(invocation) = generator.take(&threads.context(now_ns)) else {
            panic!("no log lines here")
        };
        threads.occupy(invocation.thread);
        assert_eq!(generator.peek(&threads.context(now_ns)), Peek::Pending);
        threads.release(invocation.thread, false);
        let value = &invocation.op.value;
        let event = Event::new(0, now_ns, Process::nemesis(), EventKind::Info, "kill", value.clone());
        generator.update(&threads.context(now_ns), &event);
        let action = value.get("action").and_then(Value::as_text).expect("an action").to_owned();
        seen.push((
            now_ns / 1_000_000,
            action,
            value.get("fault").and_then(Value::as_int).expect("a number"),
        ));
    }
    let expected = [
        (10, "apply", 0),
        (15, "apply", 1),
        (30, "undo", 0),
        (30, "apply", 2),
        (35, "undo", 2),
        (115, "undo", 1),
    ];
    assert_eq!(generator.peek(&threads.context(now_ns)), Peek::Exhausted);
    assert_eq!(seen, expected.map(|(at_ms, action, fault)| (at_ms, action.to_owned(), fault)));
}

fn run(
    generator: BoxGenerator,
    leader: &Arc<Mutex<Led>>,
    changes: &[(u64, Told)],
) -> Vec<(u64, String, i64)> {
    run_for(300, generator, leader, changes, |_, _| false)
}

/// The generator's only thread takes its steps for so long, in which it is told of these completions of clients; what it did, when.
/// `fails` says, of a time and a fault, whether that cannot be undone.
fn run_for(
    ends_ms: u64,
    mut generator: BoxGenerator,
    leader: &Arc<Mutex<Led>>,
    changes: &[(u64, Told)],
    fails: impl Fn(u64, i64) -> bool,
) -> Vec<(u64, String, i64)> {
    let mut threads = Threads::new(1, Seed(1));
    let mut changes: VecDeque<(u64, Told)> = changes.iter().copied().collect();
    let mut seen = Vec::new();
    for now_ms in 0..ends_ms {
        let now_ns = now_ms * NANOSECONDS_PER_MILLISECOND;
        while let Some((_, told)) = changes.pop_front_if(|(at_ms, _)| *at_ms <= now_ms) {
            match told {
                Told::Leader(term) => {
                    let mut leader = lock(leader);
                    (leader.seen, leader.newest) = (term, leader.newest.max(term.unwrap_or(0)));
                }
                Told::Completed(kind) => {
                    let event = Event::new(0, now_ns, Process::Client(0), kind, "write", Value::Nil);
                    generator.update(&threads.context(now_ns), &event);
                }
            }
        }
        while generator.peek(&threads.context(now_ns)) == Peek::At(now_ns) {
            let Taken::Invoke(invocation) = generator.take(&threads.context(now_ns)) else {
                panic!("no log lines here")
            };
            let value = invocation.op.value.clone();
            threads.occupy(invocation.thread);
            threads.release(invocation.thread, false);
            let action = value.get("action").and_then(Value::as_text).expect("an action").to_owned();
            let fault = value.get("fault").and_then(Value::as_int).expect("a number");
            let error = (action == "undo" && fails(now_ms, fault)).then(|| Value::from("it holds"));
            let event = Event::new(0, now_ns, Process::nemesis(), EventKind::Info, "kill", value);
            generator.update(&threads.context(now_ns), &event.with_error(error));
            seen.push((now_ms, action, fault));
        }
    }
    seen
}

#[derive(Clone, Copy)]
enum Told {
    Leader(Option<u64>),
    Completed(EventKind),
}

/// The term of who is seen to lead, and the newest in which anybody was known to.
struct Led {
    seen: Option<u64>,
    newest: u64,
}

fn waiting(trigger: Trigger) -> (BoxGenerator, Arc<Mutex<Led>>, Unmet) {
    let fault = |id, at_ms, duration_ms, trigger| Scheduled {
        id,
        at_ms,
        duration_ms,
        fault: Fault::Kill { target: Target::One },
        trigger,
    };
    let schedule = Schedule { faults: vec![fault(1, 50, 20, None), fault(2, 30, 100, Some(trigger))] };
    let leader = Arc::new(Mutex::new(Led { seen: Some(1), newest: 1 }));
    let shared = Arc::clone(&leader);
    let signals: Signals = Arc::new(move || {
        let led = lock(&shared);
        ClusterSignals {
            leader: led.seen.map(|term| ("n1".to_owned(), term)),
            newest_term_led: led.newest,
            snapshot_in_flight: false,
        }
    });
    let planned = PlannedFaults::new(&schedule, 250, signals);
    let unmet = planned.unmet();
    (planned.boxed(), leader, unmet)
}

/// The steps of the fault that waits, which is the second one.
fn steps(trigger: Trigger, changes: &[(u64, Told)]) -> (Vec<(u64, String)>, usize) {
    let (generator, leader, unmet) = waiting(trigger);
    let seen = run(generator, &leader, changes);
    let first: Vec<u64> = seen.iter().filter(|step| step.2 == 1).map(|step| step.0).collect();
    assert_eq!(first, [50, 70], "the other fault keeps its times");
    let of_second = seen.into_iter().filter(|step| step.2 == 2);
    (of_second.map(|(at_ms, action, _)| (at_ms, action)).collect(), unmet.faults().len())
}

fn applied_and_undone(from_ms: u64, to_ms: u64) -> (Vec<(u64, String)>, usize) {
    (vec![(from_ms, "apply".to_owned()), (to_ms, "undo".to_owned())], 0)
}

#[test]
fn a_fault_that_waits_begins_at_the_next_look_after_its_event_and_lasts_its_time() {
    use Told::{Completed, Leader};
    let after_leader = Trigger::After(Happening::NewLeader);
    // What happens before it waits does not count.
    assert_eq!(
        steps(after_leader, &[(10, Leader(Some(2))), (83, Leader(Some(3)))]),
        applied_and_undone(90, 190)
    );
    // Nor does a leader who was only out of sight, when it began to wait or afterwards.
    let hidden = [(10, Leader(None)), (40, Leader(Some(1))), (60, Leader(None)), (70, Leader(Some(1)))];
    assert_eq!(steps(after_leader, &hidden), (vec![], 1));
    let failed = Trigger::After(Happening::OperationsFailed(2));
    let ends = [
        (10, Completed(EventKind::Fail)),
        (41, Completed(EventKind::Fail)),
        (42, Completed(EventKind::Ok)),
        (111, Completed(EventKind::Info)),
    ];
    assert_eq!(steps(failed, &ends), applied_and_undone(120, 220));
    assert_eq!(steps(Trigger::After(Happening::OperationsCompleted(2)), &ends), applied_and_undone(50, 150));
    assert_eq!(steps(Trigger::After(Happening::FaultUndone(1)), &[]), applied_and_undone(80, 180));
    assert_eq!(steps(Trigger::After(Happening::FaultApplied(1)), &[]), applied_and_undone(60, 160));
}

#[test]
fn a_fault_that_is_there_while_something_is_so_ends_with_it_or_after_its_time() {
    let no_leader = Trigger::While(Condition::NoLeader);
    let short = [(61, Told::Leader(None)), (95, Told::Leader(Some(2)))];
    assert_eq!(steps(no_leader, &short), applied_and_undone(70, 100));
    assert_eq!(steps(no_leader, &short[..1]), applied_and_undone(70, 170));
}

#[test]
fn a_fault_that_waits_ends_with_the_run_and_does_not_begin_when_there_is_no_time_left_for_it() {
    let no_leader = Trigger::While(Condition::NoLeader);
    let leader_goes = |at_ms| [(at_ms, Told::Leader(None))];
    assert_eq!(steps(no_leader, &leader_goes(150)), applied_and_undone(150, 250));
    assert_eq!(steps(no_leader, &leader_goes(151)), (vec![], 1));
    let fault = |trigger, duration_ms| Scheduled {
        id: 1,
        at_ms: 0,
        duration_ms,
        fault: Fault::Kill { target: Target::One },
        trigger: Some(trigger),
    };
    for trigger in [Trigger::After(Happening::OperationsCompleted(1)), no_leader] {
        for (came_at_ms, expected) in [(1_499, 2), (1_501, 0)] {
            let schedule = Schedule { faults: vec![fault(trigger, 60_000)] };
            let leader = Arc::new(Mutex::new(Led { seen: Some(1), newest: 1 }));
            let shared = Arc::clone(&leader);
            let signals: Signals = Arc::new(move || ClusterSignals {
                leader: lock(&shared).seen.map(|term| ("n1".to_owned(), term)),
                ..ClusterSignals::default()
            });
            let planned = PlannedFaults::new(&schedule, 2_500, signals);
            let (unmet, comes) = (planned.unmet(), came_at_ms);
            let changes = [(comes, Told::Leader(None)), (comes, Told::Completed(EventKind::Ok))];
            let seen = run_for(3_000, planned.boxed(), &leader, &changes, |_, _| false);
            let last = seen.last().map(|step| step.0);
            assert_eq!((seen.len(), unmet.faults().len()), (expected, 1 - expected / 2), "{trigger}");
            assert_eq!(last, (expected > 0).then_some(2_500), "{trigger}: it ends with the run");
        }
    }
}

#[test]
fn what_could_not_be_undone_is_tried_again_later_and_later_while_others_go_on() {
    let fault = |id, at_ms| Scheduled {
        id,
        at_ms,
        duration_ms: 100,
        fault: Fault::Kill { target: Target::One },
        trigger: None,
    };
    let run = |ends_ms, fails: &dyn Fn(u64, i64) -> bool| {
        let schedule = Schedule { faults: vec![fault(1, 100), fault(2, 2_150)] };
        let planned = PlannedFaults::new(&schedule, ends_ms, Arc::new(ClusterSignals::default));
        let leader = Arc::new(Mutex::new(Led { seen: None, newest: 0 }));
        let seen = run_for(20_000, planned.boxed(), &leader, &[], fails);
        seen.into_iter().map(|(at_ms, action, id)| format!("{at_ms} {action} {id}")).collect::<Vec<_>>()
    };
    let usual = ["100 apply 1", "200 undo 1", "2150 apply 2", "2250 undo 2"];
    assert_eq!(run(20_000, &|_, _| false), usual);
    let stubborn_until = |until_ms| move |now_ms, id| id == 1 && now_ms < until_ms;
    let retried = ["100 apply 1", "200 undo 1", "2150 apply 2", "2200 undo 1", "2250 undo 2", "6200 undo 1"];
    assert_eq!(run(20_000, &stubborn_until(5_000)), retried);
    assert_eq!(run(6_200, &stubborn_until(20_000)), retried[..5], "what is left is undone at the end");
}

#[test]
fn a_fault_whose_event_never_comes_ends_nothing_and_is_known() {
    let trigger = Trigger::After(Happening::NewLeader);
    let (seen, unmet) = steps(trigger, &[]);
    assert_eq!((seen, unmet), (vec![], 1));
    let (mut generator, _, unmet) = waiting(trigger);
    run_out(&mut generator);
    let text = Unmet::describe(&unmet.faults()[0]).to_string();
    assert!(text.contains("after new leader elected") && text.contains("kill"), "{text}");
}

/// Long after the end there is nothing to wait for.
fn run_out(generator: &mut BoxGenerator) {
    let mut threads = Threads::new(1, Seed(1));
    for now_ns in [1_000_000_000, 1_100_000_000] {
        while let Peek::At(_) = generator.peek(&threads.context(now_ns)) {
            let Taken::Invoke(invocation) = generator.take(&threads.context(now_ns)) else { continue };
            threads.occupy(invocation.thread);
            threads.release(invocation.thread, false);
            let value = invocation.op.value;
            let event = Event::new(0, now_ns, Process::nemesis(), EventKind::Info, "kill", value);
            generator.update(&threads.context(now_ns), &event);
        }
    }
    assert_eq!(generator.peek(&threads.context(2_000_000_000)), Peek::Exhausted);
}
