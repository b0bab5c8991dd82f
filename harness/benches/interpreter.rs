//! How many operations per second the interpreter carries out against a client that does nothing, with recording to a file;
//! and the same operations in a bare loop (client and recorder, no interpreter) for comparison.
//!
//! `cargo bench -p labrys-harness --bench interpreter [-- THREADS…]`

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use labrys_harness::interpreter::{Equipment, EventSink, Interpreter, InterpreterConfig, NoNemesis, Stop};
use labrys_history::{Draft, EventKind, MonotonicClock, Process, Recorder};
use labrys_workloads::clients::no_op::NoOp;
use labrys_workloads::generator::{BoxGenerator, Generator, Taken, Threads};
use labrys_workloads::workload::{self, WorkloadOptions};
use labrys_workloads::{ClientFactory, GeneratorExt, Outcome};

const OPERATIONS: u64 = 1_000_000;
const ROUNDS: usize = 3;

/// The register workload as `labrys test` runs it, without a time limit.
fn register(threads: usize) -> BoxGenerator {
    let options = WorkloadOptions {
        system: "no-op".to_owned(),
        concurrency: threads,
        key_count: threads.div_ceil(5),
        time_limit_ms: u64::MAX / 2_000_000,
        ..WorkloadOptions::default()
    };
    let workload = workload::build("register", &options).expect("the options are right");
    workload.generator.limit(OPERATIONS).boxed()
}

fn recorder(folder: &Path, clock: MonotonicClock) -> Recorder {
    let path = folder.join("history.jsonl");
    // Not there in the first round.
    let _ = std::fs::remove_file(&path);
    Recorder::create(path, clock).expect("the folder can be written")
}

/// Operations per second of the interpreter.
fn interpreted(runtime: &tokio::runtime::Runtime, folder: &Path, threads: usize) -> f64 {
    let clock = MonotonicClock::start();
    let recorder = Arc::new(recorder(folder, clock));
    let sink: Arc<dyn EventSink> = recorder.clone();
    let equipment =
        Equipment { clients: Arc::new(NoOp), nemesis: Arc::new(NoNemesis), sink, clock: Arc::new(clock) };
    let config = InterpreterConfig { client_threads: threads, ..InterpreterConfig::default() };
    let begun = Instant::now();
    let run = async move {
        let mut interpreter = Interpreter::new(&config, equipment);
        interpreter.run(&mut register(threads), &Stop::new()).await.expect("nothing goes wrong");
        assert_eq!(interpreter.counters().now().ok, OPERATIONS);
        interpreter.close().await;
    };
    // On a thread of the runtime: `block_on` itself would be a third thread, which every completion has to wake.
    runtime.block_on(async { tokio::spawn(run).await.expect("it does not panic") });
    recorder.finish().expect("the disk has room");
    per_second(begun.elapsed())
}

/// Operations per second of a loop in one thread: generator, client, recorder.
fn bare(runtime: &tokio::runtime::Runtime, folder: &Path) -> f64 {
    let clock = MonotonicClock::start();
    let recorder = recorder(folder, clock);
    let begun = Instant::now();
    runtime.block_on(async {
        let mut client = NoOp.open(0, 0).await.expect("it always opens");
        let mut generator = register(10);
        let threads = Threads::new(10, labrys_seed::Seed(0));
        for _ in 0..OPERATIONS {
            let context = threads.context(0);
            generator.peek(&context);
            let Taken::Invoke(invocation) = generator.take(&context) else { continue };
            let op = invocation.op;
            let draft = Draft::new(Process::Client(0), EventKind::Invoke, op.f.clone(), op.value.clone());
            let event = recorder.record(draft.with_key(op.key.clone())).expect("it can be recorded");
            let Outcome::Ok(value) = client.invoke(&op, Duration::from_secs(1)).await else { continue };
            recorder.record(Draft::completion(&event, EventKind::Ok, value)).expect("it can be recorded");
        }
    });
    recorder.finish().expect("the disk has room");
    per_second(begun.elapsed())
}

fn per_second(elapsed: Duration) -> f64 {
    OPERATIONS as f64 / elapsed.as_secs_f64()
}

fn best(round: impl FnMut(usize) -> f64) -> f64 {
    (0..ROUNDS).map(round).fold(0.0, f64::max)
}

fn main() {
    let asked: Vec<usize> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let threads = if asked.is_empty() { vec![1, 10, 100, 1000] } else { asked };
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let two = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let two = two.expect("a runtime starts");
    let baseline = best(|_| bare(&two, folder.path()));
    println!("bare loop (generator, client, recorder): {baseline:>9.0} operations/s");
    for threads in threads {
        let rate = best(|_| interpreted(&two, folder.path(), threads));
        println!(
            "interpreter, {threads:>4} threads:               {rate:>9.0} operations/s, {:.2} of the bare loop",
            rate / baseline
        );
    }
}
