//! `cargo bench -p labrys-history`: how fast histories are read, written and recorded, on one core.
//!
//! Prints the best of a few rounds, in MB/s (10^6 bytes of the file) and events/s: the best, because everything else that
//! a machine does only ever makes it slower. What one thread does is measured by the time that the thread had a core; what
//! several do (recording), by the clock on the wall. The histories are made here, the same each time: `register` is a cas-register
//! with independent keys, `transactions` has lists of reads and appends, as Elle's workloads have.

use std::hint::black_box;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use labrys_history::{
    Clock, Draft, Event, EventKind, Format, History, MonotonicClock, Process, ReadOptions, Recorder, Sink,
    Value, read_bytes, read_history, write_history, write_json_lines,
};

const ROUNDS: u32 = 5;

fn main() {
    let events: usize = if std::env::args().any(|argument| argument == "--test") { 1_000 } else { 400_000 };
    measure_memory(events as u64 * 5 / 2);
    measure_stay_in_memory_at_leisure(events as u64 / 200);
    println!("{:<34} {:>9} {:>12}", "", "MB/s", "events/s");
    for (name, history) in [("register", register(events)), ("transactions", transactions(events / 4))] {
        let json = written(&history, Format::JsonLines);
        let count = history.events().len();
        for format in Format::ALL.iter().copied() {
            let text = written(&history, format);
            measure(&format!("{name}: read {format}"), text.len(), count, || read(&text, format));
            if Format::WRITABLE.contains(&format) {
                measure(&format!("{name}: write {format}"), text.len(), count, || written(&history, format));
            }
        }
        measure(&format!("{name}: operations"), json.len(), count, || history.operations());
        measure(&format!("{name}: operations by key"), json.len(), count, || history.by_key());
        for threads in [1, 4] {
            measure_stay_in_memory(&history, threads);
            measure_by(wall_ns, &format!("{name}: record, {threads} thread(s)"), json.len(), count, || {
                record(&history, threads)
            });
        }
    }
}

/// Prints the most memory that this process ever held while it read a JSON Lines file of so many operations. Must come first,
/// while the process is small.
fn measure_memory(operations: u64) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("history.jsonl");
    let mut file = io::BufWriter::new(std::fs::File::create(&path).expect("a new file"));
    let mut numbers = Numbers(1);
    for chunk in 0..operations.div_ceil(1_000) {
        let mut events = Vec::new();
        for operation in 1_000 * chunk..operations.min(1_000 * (chunk + 1)) {
            let pair = Value::vector(vec![numbers.small(), numbers.small()]);
            for (index, kind) in (2 * operation..).zip([EventKind::Invoke, EventKind::Ok]) {
                let process = Process::Client(operation % 10);
                let mut event = Event::new(index, 1_000 * index, process, kind, "cas", pair.clone());
                event.key = Some(Value::Int(operation as i64 % 100));
                events.push(event);
            }
        }
        write_json_lines(&mut file, &events).expect("there is room on the disk");
    }
    drop(file);
    let before_mb = peak_mb();
    let history = read_history(&path, ReadOptions::default()).expect("it was written by us").history;
    let text_mb = path.metadata().map_or(0, |metadata| metadata.len() / 1_000_000);
    println!(
        "read jsonl, {operations} operations: peak {} MB (before: {before_mb} MB), of which {text_mb} MB are the file; \
         {} bytes an event",
        peak_mb(),
        size_of_val(&history.events()[0]),
    );
}

/// The most memory that this process has held, in MB; 0 where the system does not say.
fn peak_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024 / 1_000_000
}

fn read(text: &[u8], format: Format) -> History {
    let options = ReadOptions { format: Some(format), ..ReadOptions::default() };
    read_bytes(text, "bench", options).expect("it was written by us").history
}

/// The history in that format; those that Labrys only reads are made here.
fn written(history: &History, format: Format) -> Vec<u8> {
    let mut text = Vec::new();
    match format {
        Format::Json => write_elle_cli(&mut text, history),
        Format::JepsenLog => write_log(&mut text, history),
        _ => write_history(&mut text, history, format).map(drop).expect("memory takes everything"),
    }
    text
}

fn write_elle_cli(text: &mut Vec<u8>, history: &History) {
    for (position, event) in history.events().iter().enumerate() {
        let separator = if position == 0 { '[' } else { ',' };
        let Event { index, time_ns, process, kind, f, .. } = event;
        write!(text, "{separator}{{\"index\":{index},\"time\":{time_ns},\"process\":{process},\"type\":\"{kind}\",\"f\":\"{f}\"")
            .expect("memory takes everything");
        let value = event.value.to_string().replace("nil", "null").replace(' ', ",");
        let value = value.replace(":append", "\"append\"").replace(":r", "\"r\"");
        writeln!(text, ",\"value\":{value}}}").expect("memory takes everything");
    }
    text.push(b']');
}

fn write_log(text: &mut Vec<u8>, history: &History) {
    for Event { process, kind, f, value, .. } in history.events() {
        writeln!(text, "INFO  jepsen.util - {process}\t:{kind}\t:{f}\t{value}")
            .expect("memory takes everything");
    }
}

/// Nanoseconds that this thread has had a core.
fn thread_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// Nanoseconds on the wall.
fn wall_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// Runs `work`, of one thread, some times and prints the best.
fn measure<T>(name: &str, bytes: usize, events: usize, work: impl FnMut() -> T) {
    measure_by(thread_ns, name, bytes, events, work);
}

/// Runs `work` some times and prints the best.
fn measure_by<T>(now_ns: fn() -> u64, name: &str, bytes: usize, events: usize, mut work: impl FnMut() -> T) {
    let mut best_ns = u64::MAX;
    for _ in 0..ROUNDS {
        let start_ns = now_ns();
        let result = black_box(work());
        best_ns = best_ns.min(now_ns() - start_ns);
        // Freeing is not what is measured.
        drop(result);
    }
    let seconds = best_ns.max(1) as f64 / 1e9;
    println!("{name:<34} {:>9.0} {:>12.0}", bytes as f64 / 1e6 / seconds, events as f64 / seconds);
}

/// Records all events into a file in the temporary folder, each thread those of its own processes.
fn record(history: &History, threads: u64) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let recorder =
        Recorder::create(folder.path().join("history.jsonl"), MonotonicClock::start()).expect("a new file");
    record_all(&Arc::new(recorder), history, threads);
}

/// Every thread records the events of its own processes; then the recording is finished.
fn record_all(recorder: &Arc<Recorder>, history: &History, threads: u64) {
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let recorder = Arc::clone(recorder);
            scope.spawn(move || {
                let of_thread =
                    |event: &&Event| event.process.client().is_some_and(|p| p % threads == thread);
                for event in history.events().iter().filter(of_thread) {
                    let Event { process, kind, f, key, value, .. } = event.clone();
                    let draft = Draft { process, kind, f, key, value, error: None, extra: Vec::new() };
                    recorder.record(draft).expect("there is room on the disk");
                }
            });
        }
    });
    recorder.finish().expect("there is room on the disk");
}

/// The same at a pace at which no buffer fills, and only time makes the recorder write: an event each millisecond.
fn measure_stay_in_memory_at_leisure(events: u64) {
    let clock = MonotonicClock::start();
    let oldest_ns = Arc::new(AtomicU64::new(0));
    let sink = AgeSink { clock, oldest_ns: Arc::clone(&oldest_ns) };
    let recorder = Recorder::with_sink("ages", Box::new(sink), clock).expect("a thread can be started");
    for number in 0..events {
        while clock.now_ns() < number * 1_000_000 {
            std::thread::yield_now();
        }
        recorder.record(Draft::invoke(number, "read", Value::Nil)).expect("the sink takes everything");
    }
    recorder.finish().expect("the sink takes everything");
    let oldest_ms = oldest_ns.load(Ordering::Relaxed) as f64 / 1e6;
    println!("record, at leisure: longest stay of an event in memory: {oldest_ms:.1} ms");
}

/// Records with `threads` threads into a sink that notes how old the oldest line of each write is, and prints the oldest:
/// what a SIGKILL at the worst moment would have cost. The promise is 100 ms.
fn measure_stay_in_memory(history: &History, threads: u64) {
    let clock = MonotonicClock::start();
    let oldest_ns = Arc::new(AtomicU64::new(0));
    let sink = AgeSink { clock, oldest_ns: Arc::clone(&oldest_ns) };
    let recorder = Recorder::with_sink("ages", Box::new(sink), clock).expect("a thread can be started");
    record_all(&Arc::new(recorder), history, threads);
    let oldest_ms = oldest_ns.load(Ordering::Relaxed) as f64 / 1e6;
    println!("record, {threads} thread(s): longest stay of an event in memory: {oldest_ms:.1} ms");
}

struct AgeSink {
    clock: MonotonicClock,
    oldest_ns: Arc<AtomicU64>,
}

impl Write for AgeSink {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let first = lines.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let event: Event = serde_json::from_slice(first)?;
        self.oldest_ns.fetch_max(self.clock.now_ns() - event.time_ns, Ordering::Relaxed);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for AgeSink {
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A small generator of numbers that look random (an LCG of Knuth's, MMIX), so that the text is not all alike.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn small(&mut self) -> Value {
        Value::Int(self.below(5) as i64)
    }
}

/// `count` events of ten processes, invocations and completions in turn, made by `operation`: function, key, argument,
/// result.
fn history(
    count: usize,
    mut operation: impl FnMut(&mut Numbers) -> (&'static str, Option<Value>, Value, Value),
) -> History {
    let mut numbers = Numbers(1);
    let mut open: Vec<Option<(&'static str, Option<Value>, Value)>> = vec![None; 10];
    let mut events = Vec::with_capacity(count);
    let mut time_ns = 0;
    for index in 0..count as u64 {
        time_ns += 1_000 + numbers.below(100_000);
        let process = numbers.below(10);
        let slot = &mut open[process as usize];
        let (kind, f, key, value) = match slot.take() {
            Some((f, key, result)) => {
                (if numbers.below(8) == 0 { EventKind::Fail } else { EventKind::Ok }, f, key, result)
            }
            None => {
                let (f, key, argument, result) = operation(&mut numbers);
                *slot = Some((f, key.clone(), result));
                (EventKind::Invoke, f, key, argument)
            }
        };
        let mut event = Event::new(index, time_ns, Process::Client(process), kind, f, value);
        event.key = key;
        events.push(event);
    }
    History::new(events).expect("made by the rules")
}

fn register(count: usize) -> History {
    history(count, |numbers| {
        let key = Some(Value::Int(numbers.below(100) as i64));
        match numbers.below(3) {
            0 => ("read", key, Value::Nil, numbers.small()),
            1 => {
                let value = numbers.small();
                ("write", key, value.clone(), value)
            }
            _ => {
                let pair = Value::vector(vec![numbers.small(), numbers.small()]);
                ("cas", key, pair.clone(), pair)
            }
        }
    })
}

fn transactions(count: usize) -> History {
    history(count, |numbers| {
        let (mut argument, mut result) = (Vec::new(), Vec::new());
        for _ in 0..1 + numbers.below(4) {
            let key = Value::Int(numbers.below(50) as i64);
            if numbers.below(2) == 0 {
                let list = (0..numbers.below(20)).map(|n| Value::Int(n as i64)).collect();
                argument.push(Value::vector(vec![Value::keyword("r"), key.clone(), Value::Nil]));
                result.push(Value::vector(vec![Value::keyword("r"), key, Value::Vector(list)]));
            } else {
                let append = Value::vector(vec![
                    Value::keyword("append"),
                    key,
                    Value::Int(numbers.below(1_000) as i64),
                ]);
                argument.push(append.clone());
                result.push(append);
            }
        }
        ("txn", None, Value::vector(argument), Value::vector(result))
    })
}
