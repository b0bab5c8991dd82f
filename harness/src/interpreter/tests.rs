//! What the interpreter promises, with clients made for the purpose. Times are tokio's: paused, unless threads are real.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use async_trait::async_trait;
use labrys_history::{Draft, Event, ManualClock, MonotonicClock, Process, Recorder, Value};
use labrys_workloads::clients::in_memory::{InMemory, InMemoryOptions};
use labrys_workloads::clients::no_op::NoOp;
use labrys_workloads::generator::{any, clients, from_iter, log, nemesis, nothing, phases, repeat};
use labrys_workloads::workload::{self, WorkloadOptions};
use labrys_workloads::{BoxGenerator, Client, GeneratorExt, Op, OpenError, Outcome};

use super::*;

/// Tokio's clock, so that paused time passes in the history, too.
struct TokioClock(tokio::time::Instant);

impl Clock for TokioClock {
    fn now_ns(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).expect("a test does not last so long")
    }
}

type Answer = Pin<Box<dyn Future<Output = Outcome> + Send>>;
/// What a client does with an operation of a process.
type Behaviour = Arc<dyn Fn(Op, u64) -> Answer + Send + Sync>;

/// Opens clients of that behaviour, and counts.
#[derive(Clone)]
struct Scripted {
    behaviour: Behaviour,
    opened: Arc<Mutex<Vec<(u64, usize)>>>,
    closed: Arc<AtomicUsize>,
    dropped: Arc<AtomicUsize>,
}

impl Scripted {
    fn new<F, A>(behaviour: F) -> Scripted
    where
        F: Fn(Op, u64) -> A + Send + Sync + 'static,
        A: Future<Output = Outcome> + Send + 'static,
    {
        Scripted {
            behaviour: Arc::new(move |op, process| Box::pin(behaviour(op, process))),
            opened: Arc::default(),
            closed: Arc::default(),
            dropped: Arc::default(),
        }
    }

    fn opened(&self) -> Vec<(u64, usize)> {
        self.opened.lock().expect("no test panics with it").clone()
    }
}

struct ScriptedClient {
    script: Scripted,
    process: u64,
}

#[async_trait]
impl ClientFactory for Scripted {
    async fn open(&self, process: u64, node: usize) -> Result<Box<dyn Client>, OpenError> {
        self.opened.lock().expect("no test panics with it").push((process, node));
        Ok(Box::new(ScriptedClient { script: self.clone(), process }))
    }
}

#[async_trait]
impl Client for ScriptedClient {
    async fn invoke(&mut self, op: &Op, _: Duration) -> Outcome {
        (self.script.behaviour)(op.clone(), self.process).await
    }

    async fn close(self: Box<Self>) {
        self.script.closed.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for ScriptedClient {
    fn drop(&mut self) {
        self.script.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

/// Everything that a test wants to look at after a run.
struct Ran {
    events: Vec<Event>,
    counts: Counts,
    end: Result<RunEnd, InterpreterError>,
}

struct Bench {
    config: InterpreterConfig,
    clients: Arc<dyn ClientFactory>,
    nemesis: Arc<dyn NemesisDriver>,
    stop: Stop,
}

impl Bench {
    fn new(client_threads: usize, clients: impl ClientFactory + 'static) -> Bench {
        Bench {
            config: InterpreterConfig { client_threads, ..InterpreterConfig::default() },
            clients: Arc::new(clients),
            nemesis: Arc::new(NoNemesis),
            stop: Stop::new(),
        }
    }

    async fn run(self, generator: impl GeneratorExt) -> Ran {
        let clock: Arc<dyn Clock> = Arc::new(TokioClock(tokio::time::Instant::now()));
        let sink = Arc::new(MemorySink::new(Arc::clone(&clock)));
        let recorder: Arc<dyn EventSink> = sink.clone();
        let equipment = Equipment { clients: self.clients, nemesis: self.nemesis, sink: recorder, clock };
        let mut interpreter = Interpreter::new(&self.config, equipment);
        let counters = interpreter.counters();
        let mut generator = generator;
        let end = interpreter.run(&mut generator, &self.stop).await;
        interpreter.close().await;
        Ran { events: sink.events(), counts: counters.now(), end }
    }
}

fn op(f: &str) -> Op {
    Op::new(f, Value::Nil)
}

fn reads(count: u64) -> BoxGenerator {
    clients(repeat(op("read")).limit(count)).boxed()
}

fn numbered(count: i64) -> BoxGenerator {
    clients(from_iter((0..count).map(|number| Op::new("write", Value::Int(number))))).boxed()
}

/// Kind, process and error of every event.
fn shape(events: &[Event]) -> Vec<(String, &'static str, String)> {
    let error = |event: &Event| event.error().map_or(String::new(), Value::to_string);
    events.iter().map(|event| (event.process.to_string(), event.kind.name(), error(event))).collect()
}

fn line(process: &str, kind: &'static str, error: &str) -> (String, &'static str, String) {
    (process.to_owned(), kind, error.to_owned())
}

// --- a run as a whole ---

fn register(options: &WorkloadOptions) -> labrys_workloads::Workload {
    workload::build("register", options).expect("the options are right")
}

fn register_options(seed: u64, concurrency: usize) -> WorkloadOptions {
    WorkloadOptions {
        system: "in-memory".to_owned(),
        concurrency,
        key_count: 1,
        time_limit_ms: 3_600_000,
        seed: Seed(seed),
        ..WorkloadOptions::default()
    }
}

/// Runs the register workload on a map in memory with errors of every kind, on two real threads, into a file.
fn run_into(file: &Path, operations: u64) -> Counts {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime starts").block_on(async {
        let clock = MonotonicClock::start();
        let recorder = Arc::new(Recorder::create(file, clock).expect("the file can be made"));
        let sink: Arc<dyn EventSink> = recorder.clone();
        let map = InMemoryOptions {
            maximum_delay: Duration::from_millis(2),
            refused_per_mille: 50,
            lost_per_mille: 50,
            open_failures_per_mille: 100,
            seed: Seed(3),
            ..InMemoryOptions::default()
        };
        let equipment = Equipment {
            clients: Arc::new(InMemory::new(map)),
            nemesis: Arc::new(NoNemesis),
            sink,
            clock: Arc::new(clock),
        };
        let mut workload = register(&register_options(3, 10));
        let mut interpreter = Interpreter::new(&InterpreterConfig::default(), equipment);
        let breaking = nemesis(repeat(op("break")).delay(Duration::from_millis(5)).limit(10)).boxed();
        let main = workload.generator.limit(operations).boxed();
        let end = interpreter.run(&mut any(vec![main, breaking]), &Stop::new()).await;
        assert_eq!(end.expect("nothing goes wrong"), RunEnd::Exhausted);
        let last = workload.final_generator.as_mut().expect("it has final reads");
        interpreter.run(last, &Stop::new()).await.expect("nothing goes wrong");
        let counts = interpreter.counters().now();
        interpreter.close().await;
        recorder.finish().expect("the disk has room");
        counts
    })
}

#[test]
fn what_a_run_against_a_map_in_memory_records_is_a_valid_history() {
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let file = folder.path().join("history.jsonl");
    let counts = run_into(&file, 2_000);
    assert!(counts.ok > 1_000 && counts.fail > 50 && counts.info > 50, "{counts:?}");
    assert_eq!((counts.invoked, counts.nemesis), (counts.completed(), 10));

    let options = labrys_history::ReadOptions::default();
    let loaded = labrys_history::read_history(&file, options).expect("the history is valid");
    let operations = loaded.history.operations();
    assert_eq!(operations.len() as u64, counts.invoked);
    assert!(operations.iter().all(|operation| operation.completion().index().is_some()));
    assert_eq!(loaded.history.named(Process::NEMESIS).count(), 20);
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_one_thread_the_same_operations() {
    let mut histories = Vec::new();
    for _ in 0..2 {
        let map =
            InMemoryOptions { refused_per_mille: 100, lost_per_mille: 50, ..InMemoryOptions::default() };
        let generator = register(&register_options(9, 1)).generator.limit(500).boxed();
        let ran = Bench::new(1, InMemory::new(map)).run(generator).await;
        assert_eq!(ran.counts.invoked, 500);
        histories.push(ran.events);
    }
    assert_eq!(histories[0], histories[1]);
}

#[tokio::test(start_paused = true)]
async fn generators_run_one_after_the_other_share_processes_and_clients() {
    let script = Scripted::new(|op, _| async move { Outcome::Ok(op.value) });
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(0));
    let sink = Arc::new(MemorySink::new(Arc::clone(&clock)));
    let recorder: Arc<dyn EventSink> = sink.clone();
    let clients = Arc::new(script.clone());
    let equipment = Equipment { clients, nemesis: Arc::new(NoNemesis), sink: recorder, clock };
    let config = InterpreterConfig { client_threads: 1, ..InterpreterConfig::default() };
    let mut interpreter = Interpreter::new(&config, equipment);
    for _ in 0..3 {
        interpreter.run(&mut reads(2), &Stop::new()).await.expect("nothing goes wrong");
    }
    interpreter.close().await;
    assert_eq!(sink.events().len(), 12);
    assert_eq!(script.opened(), [(0, 0)]);
    assert_eq!(script.closed.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn threads_are_bound_to_nodes_in_turn_also_after_a_retirement() {
    let script = Scripted::new(|_, _| async { Outcome::Info { error: Value::keyword("unknown") } });
    let mut bench = Bench::new(3, script.clone());
    bench.config.nodes = 2;
    bench.run(reads(60)).await;
    let opened: BTreeMap<u64, usize> = script.opened().into_iter().collect();
    assert!(opened.len() == 60 && opened.iter().all(|(process, node)| *node == (process % 3) as usize % 2));
}

// --- how operations end ---

#[tokio::test(start_paused = true)]
async fn an_info_retires_the_process_and_drops_the_client() {
    let script = Scripted::new(|op, process| async move {
        match process {
            0 => Outcome::Info { error: Value::keyword("lost") },
            _ => Outcome::Ok(op.value),
        }
    });
    let ran = Bench::new(1, script.clone()).run(reads(2)).await;
    let expected =
        [line("0", "invoke", ""), line("0", "info", ":lost"), line("1", "invoke", ""), line("1", "ok", "")];
    assert_eq!(shape(&ran.events), expected);
    assert_eq!(script.opened(), [(0, 0), (1, 0)]);
    assert_eq!(script.closed.load(Ordering::SeqCst), 1, "only that which was well");
    assert_eq!(script.dropped.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_fail_retires_nobody() {
    let script = Scripted::new(|_, _| async { Outcome::Fail { error: Value::keyword("refused") } });
    let ran = Bench::new(1, script.clone()).run(reads(3)).await;
    assert_eq!(ran.counts.fail, 3);
    assert_eq!(script.opened(), [(0, 0)]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_end_in_time_is_abandoned() {
    let script = Scripted::new(|op, process| async move {
        if process == 0 {
            std::future::pending::<()>().await;
        }
        Outcome::Ok(op.value)
    });
    let ran = Bench::new(1, script.clone()).run(reads(2)).await;
    let expected = [
        line("0", "invoke", ""),
        line("0", "info", ":timeout"),
        line("1", "invoke", ""),
        line("1", "ok", ""),
    ];
    assert_eq!(shape(&ran.events), expected);
    // One second and the grace; tokio's timers are exact to the millisecond.
    assert_eq!(ran.events[1].time_ns / 1_000_000, 1250);
    assert_eq!(ran.counts.timeouts, 1);
    assert_eq!(script.dropped.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_panics_ends_info_and_the_run_goes_on() {
    let script = Scripted::new(|op, process| async move {
        assert!(process != 0, "no such luck");
        Outcome::Ok(op.value)
    });
    let ran = Bench::new(1, script).run(reads(2)).await;
    let expected = [
        line("0", "invoke", ""),
        line("0", "info", "[:client-panicked \"no such luck\"]"),
        line("1", "invoke", ""),
        line("1", "ok", ""),
    ];
    assert_eq!(shape(&ran.events), expected);
    assert_eq!(ran.counts.panics, 1);
}

/// Refuses to open so many times, in the way of the number's remainder by three.
struct HardToOpen(AtomicU64);

#[async_trait]
impl ClientFactory for HardToOpen {
    async fn open(&self, process: u64, _: usize) -> Result<Box<dyn Client>, OpenError> {
        match self.0.fetch_add(1, Ordering::SeqCst) {
            0 => Err(OpenError { process, address: "n1:1".to_owned(), detail: "refused".to_owned() }),
            1 => panic!("no such luck"),
            2 => std::future::pending().await,
            _ => Ok(Box::new(NoOp)),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_cannot_be_opened_fails_the_operation_and_keeps_the_process() {
    let ran = Bench::new(1, HardToOpen(AtomicU64::new(0))).run(reads(4)).await;
    let refused = "[:cannot-open \"cannot open a client of process 0 at n1:1: refused\"]";
    let expected = [
        line("0", "invoke", ""),
        line("0", "fail", refused),
        line("0", "invoke", ""),
        line("0", "fail", "[:cannot-open \"panicked: no such luck\"]"),
        line("0", "invoke", ""),
        line("0", "fail", "[:cannot-open \"not within 1s\"]"),
        line("0", "invoke", ""),
        line("0", "ok", ""),
    ];
    assert_eq!(shape(&ran.events), expected);
    assert_eq!(ran.counts.open_failures, 3);
    // Pauses of 10 and 20 ms, the second followed by the second that the third attempt took.
    let times: Vec<u64> = ran.events.iter().step_by(2).map(|event| event.time_ns / 1_000_000).collect();
    assert!(times[1] >= 10 && times[2] >= times[1] + 20 + 1000 && times[3] >= times[2] + 40, "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn a_system_that_cannot_be_reached_is_not_asked_as_fast_as_possible() {
    let map = InMemoryOptions { open_failures_per_mille: 1000, ..InMemoryOptions::default() };
    let generator = reads(1_000_000).time_limit(Duration::from_secs(10));
    let ran = Bench::new(1, InMemory::new(map)).run(generator).await;
    assert_eq!(ran.end.expect("it ends"), RunEnd::Exhausted);
    assert!((10..40).contains(&ran.counts.open_failures), "{:?}", ran.counts);
}

// --- time ---

#[tokio::test(start_paused = true)]
async fn an_invocation_is_recorded_before_the_client_is_called_and_a_completion_after_it_answered() {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(0));
    let sink = Arc::new(MemorySink::new(Arc::clone(&clock)));
    let seen = Arc::clone(&sink);
    let script = Scripted::new(move |op, process| {
        let seen = Arc::clone(&seen);
        async move {
            let open = || {
                let mine = |event: &Event| event.process == Process::Client(process);
                let events = seen.events();
                events.iter().filter(|event| mine(event)).map(|event| event.kind).next_back()
            };
            assert_eq!(open(), Some(EventKind::Invoke));
            tokio::time::sleep(Duration::from_millis(3)).await;
            assert_eq!(open(), Some(EventKind::Invoke));
            Outcome::Ok(op.value)
        }
    });
    let recorder: Arc<dyn EventSink> = sink.clone();
    let clients = Arc::new(script);
    let equipment = Equipment { clients, nemesis: Arc::new(NoNemesis), sink: recorder, clock };
    let config = InterpreterConfig { client_threads: 4, ..InterpreterConfig::default() };
    let mut interpreter = Interpreter::new(&config, equipment);
    interpreter.run(&mut reads(40), &Stop::new()).await.expect("nothing goes wrong");
    let counts = interpreter.counters().now();
    assert_eq!((counts.ok, counts.panics), (40, 0));
    interpreter.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_does_not_delay_the_times_of_others() {
    let script = Scripted::new(|op, process| async move {
        tokio::time::sleep(Duration::from_millis(if process == 0 { 900 } else { 1 })).await;
        Outcome::Ok(op.value)
    });
    let ran = Bench::new(3, script).run(reads(500)).await;
    let mut begun = BTreeMap::new();
    for event in &ran.events {
        if event.kind == EventKind::Invoke {
            begun.insert(event.process.clone(), event.time_ns);
        } else {
            let latency_ms = (event.time_ns - begun[&event.process]) / 1_000_000;
            let expected = if event.process == Process::Client(0) { 900 } else { 1 };
            assert!((expected..=expected + 1).contains(&latency_ms), "{event:?}: {latency_ms}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn operations_begin_when_the_generator_says() {
    let generator = clients(repeat(op("read")).delay(Duration::from_millis(50)).limit(4));
    let ran = Bench::new(3, NoOp).run(generator).await;
    let begun = ran.events.iter().filter(|event| event.kind == EventKind::Invoke);
    let times: Vec<u64> = begun.map(|event| event.time_ns / 1_000_000).collect();
    let expected = [0, 50, 100, 150];
    assert!(times.iter().zip(expected).all(|(time, due)| (due..due + 5).contains(time)), "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn a_phase_begins_when_all_operations_of_the_one_before_have_completed() {
    let script = Scripted::new(|op, process| async move {
        tokio::time::sleep(Duration::from_millis(1 + 40 * process)).await;
        Outcome::Ok(op.value)
    });
    let ran = Bench::new(5, script).run(phases(vec![reads(20), numbered(5)])).await;
    let last_read = ran.events.iter().rposition(|event| *event.f == *"read");
    let first_write = ran.events.iter().position(|event| *event.f == *"write");
    assert!(last_read < first_write);
}

// --- the nemesis ---

struct Breaking;

#[async_trait]
impl NemesisDriver for Breaking {
    async fn invoke(&self, op: &Op) -> (Value, Option<Value>) {
        match &*op.f {
            "panic" => panic!("no such luck"),
            "hang" => std::future::pending().await,
            "refuse" => (op.value.clone(), Some(Value::keyword("refused"))),
            _ => (Value::from("n1 | n2"), None),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn operations_of_the_nemesis_are_pairs_of_info_events_whatever_becomes_of_them() {
    let ops = ["partition", "refuse", "partition"].map(op);
    let mut bench = Bench::new(2, NoOp);
    bench.nemesis = Arc::new(Breaking);
    let ran = bench.run(any(vec![nemesis(from_iter(ops)).boxed(), reads(10)])).await;
    let of_nemesis: Vec<Event> =
        ran.events.into_iter().filter(|event| event.process == Process::nemesis()).collect();
    let errors: Vec<String> = shape(&of_nemesis).into_iter().map(|(_, _, error)| error).collect();
    assert!(of_nemesis.iter().all(|event| event.kind == EventKind::Info));
    assert_eq!(errors, ["", "", "", ":refused", "", ""]);
    assert_eq!(of_nemesis[1].value, Value::from("n1 | n2"));
    assert_eq!((ran.counts.nemesis, ran.counts.ok), (3, 10));
}

#[tokio::test(start_paused = true)]
async fn a_nemesis_that_panics_or_hangs_ends_the_run_with_an_error_that_is_in_the_history() {
    for (f, error, what) in [
        ("panic", "[:nemesis-panicked \"no such luck\"]", "it panicked: no such luck"),
        ("hang", ":timeout", "it did not come to an end within 60 s"),
    ] {
        let mut bench = Bench::new(2, NoOp);
        bench.nemesis = Arc::new(Breaking);
        let ran = bench.run(nemesis(from_iter([op(f), op("partition")]))).await;
        assert_eq!(ran.counts.nemesis, 1, "{f}: nothing is asked of it afterwards");
        let last = shape(&ran.events).pop().expect("events");
        assert_eq!(last, line("nemesis", "info", error));
        assert_eq!(ran.end.expect_err(f).to_string(), format!("the nemesis failed: {what}"));
    }
}

#[tokio::test(start_paused = true)]
async fn clients_go_on_while_the_nemesis_is_at_work() {
    let mut bench = Bench::new(2, NoOp);
    bench.nemesis = Arc::new(Breaking);
    let hang = nemesis(from_iter([op("hang")])).boxed();
    let work = reads(1_000_000).delay(Duration::from_secs(1)).limit(20).boxed();
    let ran = bench.run(any(vec![hang, work])).await;
    let last = ran.events.last().expect("there are events");
    assert_eq!((last.process.clone(), ran.counts.ok), (Process::nemesis(), 20));
}

// --- the end ---

#[tokio::test(start_paused = true)]
async fn a_stop_begins_nothing_new_and_waits_for_what_is_in_flight() {
    let script = Scripted::new(|op, _| async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Outcome::Ok(op.value)
    });
    let bench = Bench::new(4, script);
    let stop = bench.stop.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(250)).await;
        stop.give();
    });
    let ran = bench.run(reads(1_000_000)).await;
    assert_eq!(ran.end.expect("it ends"), RunEnd::Stopped);
    let begun = |event: &&Event| event.kind == EventKind::Invoke;
    assert!(ran.events.iter().filter(begun).all(|event| event.time_ns < 251_000_000));
    assert_eq!((ran.counts.invoked, ran.counts.ok), (12, 12));
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_a_wait_for_a_time_and_one_for_a_client_that_hangs() {
    let hanging = Scripted::new(|_, _| std::future::pending());
    for generator in [reads(10), clients(repeat(op("read")).delay(Duration::from_secs(9999))).boxed()] {
        let bench = Bench::new(1, hanging.clone());
        let stop = bench.stop.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            stop.give();
        });
        let ran = bench.run(generator).await;
        assert_eq!(ran.end.expect("it ends"), RunEnd::Stopped);
        assert_eq!((ran.counts.invoked, ran.counts.timeouts), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_stopped_before_it_began_does_nothing() {
    let bench = Bench::new(1, NoOp);
    bench.stop.give();
    let ran = bench.run(reads(10)).await;
    assert_eq!((ran.end.expect("it ends"), ran.events.len()), (RunEnd::Stopped, 0));
}

#[tokio::test(start_paused = true)]
async fn a_generator_with_nothing_to_do_ends_at_once_and_its_messages_are_no_events() {
    let ran = Bench::new(1, NoOp).run(any(vec![nothing().boxed(), log("hello").boxed()])).await;
    assert_eq!((ran.end.expect("it ends"), ran.events.len()), (RunEnd::Exhausted, 0));
}

#[tokio::test(start_paused = true)]
async fn a_generator_that_waits_for_nothing_is_an_error_and_no_endless_wait() {
    let ran = Bench::new(1, NoOp).run(repeat(op("read")).on_threads(|_| false)).await;
    assert!(matches!(ran.end, Err(InterpreterError::Stuck)));
}

/// A sink that breaks, or panics, at an event.
struct Breaks {
    inner: MemorySink,
    at: u64,
    panics: bool,
}

impl EventSink for Breaks {
    fn record(&self, draft: Draft) -> Result<Event, RecordError> {
        if self.inner.events().len() as u64 == self.at {
            assert!(!self.panics, "no such luck");
            return Err(RecordError::Finished);
        }
        self.inner.record(draft)
    }
}

async fn run_into_breaking_sink(at: u64, panics: bool) -> Result<RunEnd, InterpreterError> {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(0));
    let sink = Arc::new(Breaks { inner: MemorySink::new(Arc::clone(&clock)), at, panics });
    let clients = Arc::new(NoOp);
    let equipment = Equipment { clients, nemesis: Arc::new(NoNemesis), sink, clock };
    let mut interpreter = Interpreter::new(&InterpreterConfig::default(), equipment);
    let end = interpreter.run(&mut reads(1000), &Stop::new()).await;
    interpreter.close().await;
    end
}

#[tokio::test(start_paused = true)]
async fn a_history_that_cannot_be_written_ends_the_run() {
    for at in [0, 1, 100, 101] {
        let end = run_into_breaking_sink(at, false).await;
        assert!(matches!(end, Err(InterpreterError::Record(RecordError::Finished))), "{at}: {end:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_dies_ends_the_run() {
    let end = run_into_breaking_sink(50, true).await;
    assert!(matches!(end, Err(InterpreterError::WorkerDied { .. })), "{end:?}");
}
