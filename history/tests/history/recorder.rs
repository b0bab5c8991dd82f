//! What the recorder promises while its process lives; `crash` has the rest.

use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use labrys_history::{
    Clock, Draft, Event, EventKind, ManualClock, MonotonicClock, Problem, Process, ReadOptions, RecordError,
    Recorder, Sink, Value, read_history,
};

fn read(path: &Path) -> Vec<Event> {
    let report = read_history(path, ReadOptions::default()).expect("what the recorder wrote can be read");
    assert_eq!(report.warnings, []);
    report.history.into_events()
}

fn write_of(process: u64, number: i64) -> Draft {
    Draft::invoke(process, "write", Value::Int(number))
}

/// Nothing that these tests wait for takes this long; it makes a test that would hang a test that fails.
const HANGS_AFTER: Duration = Duration::from_secs(60);

/// A sink in memory, which a test can make slow or broken, and wait for.
#[derive(Clone, Default)]
struct Memory {
    inner: Arc<(Mutex<Contents>, Condvar)>,
    closed: Arc<AtomicBool>,
}

#[derive(Default)]
struct Contents {
    bytes: Vec<u8>,
    room_bytes: Option<usize>,
    syncs: u32,
}

impl Memory {
    fn with_room_for(bytes: usize) -> Memory {
        let memory = Memory::default();
        memory.inner.0.lock().unwrap().room_bytes = Some(bytes);
        memory
    }

    /// Waits until `condition` holds of what was written. A test that hangs here has failed.
    fn wait_for(&self, condition: impl Fn(&Contents) -> bool) {
        let (contents, written) = &*self.inner;
        let waited = written.wait_timeout_while(contents.lock().unwrap(), HANGS_AFTER, |c| !condition(c));
        assert!(!waited.unwrap().1.timed_out(), "the sink never came to what the test waits for");
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (contents, written) = &*self.inner;
        let mut contents = contents.lock().unwrap();
        let room = contents.room_bytes.map_or(usize::MAX, |room| room - contents.bytes.len());
        written.notify_all();
        if room == 0 {
            self.closed.store(true, Ordering::SeqCst);
            return Err(io::ErrorKind::StorageFull.into());
        }
        let taken = bytes.len().min(room);
        contents.bytes.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Memory {
    fn sync(&mut self) -> io::Result<()> {
        self.inner.0.lock().unwrap().syncs += 1;
        Ok(())
    }
}

#[test]
fn an_event_gets_the_next_index_and_the_time_of_the_clock() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.jsonl");
    let clock = Arc::new(ManualClock::at(5));
    let recorder = Recorder::create(&path, Arc::clone(&clock)).unwrap();
    let invocation = recorder.record(write_of(3, 1).with_key(Some(Value::Int(7)))).unwrap();
    clock.advance(10);
    let completion = Draft::completion(&invocation, EventKind::Info, Value::Nil)
        .with_error(Some(Value::keyword("timed-out")))
        .with_extra("node", Value::string("n1"));
    let completion = recorder.record(completion).unwrap();
    assert_eq!((invocation.index, invocation.time_ns), (0, 5));
    assert_eq!((completion.index, completion.time_ns), (1, 15));
    let recording = recorder.finish().unwrap();
    assert_eq!((recording.events, recording.last_time_ns), (2, 15));
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(
        text,
        "{\"index\":0,\"time_ns\":5,\"process\":3,\"kind\":\"invoke\",\"f\":\"write\",\"key\":7,\"value\":1}\n\
         {\"index\":1,\"time_ns\":15,\"process\":3,\"kind\":\"info\",\"f\":\"write\",\"key\":7,\"value\":null,\
         \"error\":{\"$keyword\":\"timed-out\"},\"node\":\"n1\"}\n"
    );
    assert_eq!(read(&path), [invocation, completion]);
}

#[test]
fn time_never_decreases_even_if_the_clock_does() {
    let clock = Arc::new(ManualClock::at(100));
    let recorder = Recorder::with_sink("memory", Box::new(Memory::default()), Arc::clone(&clock)).unwrap();
    assert_eq!(recorder.record(write_of(0, 0)).unwrap().time_ns, 100);
    clock.set(40);
    assert_eq!(recorder.record(write_of(1, 0)).unwrap().time_ns, 100);
    clock.set(101);
    assert_eq!(recorder.record(write_of(2, 0)).unwrap().time_ns, 101);
}

#[test]
fn the_order_of_lines_is_that_of_indices_and_times_whoever_records() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.jsonl");
    let recorder = Recorder::create(&path, MonotonicClock::start()).unwrap();
    const EACH: i64 = 2_000;
    std::thread::scope(|scope| {
        for process in 0..8 {
            let recorder = &recorder;
            scope.spawn(move || {
                for number in 0..EACH {
                    let invocation = recorder.record(write_of(process, number)).unwrap();
                    recorder.record(Draft::completion(&invocation, EventKind::Ok, Value::Nil)).unwrap();
                }
            });
        }
    });
    assert_eq!(recorder.finish().unwrap().events, 8 * 2 * EACH as u64);
    // The reader refuses anything out of order, unmatched or repeated.
    let events = read(&path);
    assert!(events.iter().map(|event| event.index).eq(0..8 * 2 * EACH as u64));
}

#[test]
fn what_was_recorded_reaches_the_sink_without_any_further_call() {
    let memory = Memory::default();
    let recorder = Recorder::with_sink("memory", Box::new(memory.clone()), ManualClock::default()).unwrap();
    recorder.record(write_of(0, 1)).unwrap();
    memory.wait_for(|contents| contents.bytes.ends_with(b"\n"));
    recorder.record(write_of(1, 2)).unwrap();
    memory.wait_for(|contents| contents.bytes.iter().filter(|byte| **byte == b'\n').count() == 2);
}

#[test]
fn dropping_a_recorder_writes_everything_and_finishing_it_syncs() {
    let memory = Memory::default();
    let recorder = Recorder::with_sink("memory", Box::new(memory.clone()), ManualClock::default()).unwrap();
    recorder.record(write_of(0, 1)).unwrap();
    drop(recorder);
    assert!(memory.inner.0.lock().unwrap().bytes.ends_with(b"\"value\":1}\n"));
    assert_eq!(memory.inner.0.lock().unwrap().syncs, 0);

    let recorder = Recorder::with_sink("memory", Box::new(memory.clone()), ManualClock::default()).unwrap();
    recorder.finish().unwrap();
    assert_eq!(memory.inner.0.lock().unwrap().syncs, 1);
}

#[test]
fn a_full_disk_is_an_error_of_every_later_call() {
    let memory = Memory::with_room_for(30);
    let recorder = Recorder::with_sink("the-file", Box::new(memory.clone()), ManualClock::default()).unwrap();
    recorder.record(write_of(0, 1)).expect("nobody knows yet that there is no room");
    let error = recorder.flush().unwrap_err();
    assert!(error.to_string().starts_with("cannot write the-file: "), "{error}");
    assert!(memory.closed.load(Ordering::SeqCst));
    for _ in 0..2 {
        assert!(matches!(recorder.record(write_of(1, 1)), Err(RecordError::Io { what: "write", .. })));
        assert!(matches!(recorder.finish(), Err(RecordError::Io { what: "write", .. })));
    }
    assert!(recorder.failure().is_some());
    assert_eq!(memory.inner.0.lock().unwrap().bytes.len(), 30, "nothing is written behind a torn line");
}

#[test]
fn a_full_disk_is_noticed_without_any_flush_by_the_caller() {
    // The device that is always full: a real file, a real error.
    let folder = tempfile::tempdir().unwrap();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let recorder = Recorder::with_sink(folder.path(), Box::new(full), MonotonicClock::start()).unwrap();
    let clock = MonotonicClock::start();
    recorder.record(write_of(0, 1)).expect("nobody knows yet that there is no room");
    while recorder.failure().is_none() {
        assert!(clock.now_ns() < HANGS_AFTER.as_nanos() as u64, "the error of the background never came");
        std::thread::yield_now();
    }
    let error = recorder.record(write_of(1, 1)).unwrap_err();
    assert!(
        matches!(&error, RecordError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull),
        "{error}"
    );
}

#[test]
fn an_impossible_event_is_refused_and_leaves_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.jsonl");
    let recorder = Recorder::create(&path, ManualClock::default()).unwrap();
    let first = recorder.record(write_of(0, 1)).unwrap();
    let again = recorder.record(write_of(0, 2));
    assert!(matches!(again, Err(RecordError::Problem(Problem::TwoOpenOperations { open_index: 0, .. }))));
    let unmatched = recorder.record(Draft::new(Process::Client(9), EventKind::Ok, "write", Value::Nil));
    assert!(matches!(unmatched, Err(RecordError::Problem(Problem::UnmatchedCompletion { process: 9, .. }))));
    let end = recorder.record(Draft::completion(&first, EventKind::Info, Value::Nil)).unwrap();
    let retired = recorder.record(write_of(0, 3));
    assert!(matches!(retired, Err(RecordError::Problem(Problem::RetiredProcess { process: 0, .. }))));
    recorder.finish().unwrap();
    assert!(matches!(recorder.record(write_of(1, 4)), Err(RecordError::Finished)));
    assert_eq!(recorder.finish().unwrap().events, 2);
    assert_eq!(read(&path), [first, end]);
}

#[test]
fn a_history_that_exists_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.jsonl");
    std::fs::write(&path, "precious").unwrap();
    let error = Recorder::create(&path, ManualClock::default()).unwrap_err();
    assert!(matches!(&error, RecordError::Io { what: "create", .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn recording_waits_for_a_slow_disk_instead_of_filling_the_memory() {
    // Until the gate opens nothing can be written, so 200 MiB can be recorded only by keeping them in memory. How long the
    // test watches decides how surely it sees a recorder that does so; one that waits can never fail it.
    const WATCHED: Duration = Duration::from_millis(500);
    let gate = Gate::default();
    let recorder = Recorder::with_sink("gate", Box::new(gate.clone()), ManualClock::default()).unwrap();
    let recorder = Arc::new(recorder);
    let (all_recorded, seen) = std::sync::mpsc::channel();
    // Not a scoped thread: one that waits for ever must not hide the failure of this test.
    let recording = std::thread::spawn({
        let recorder = Arc::clone(&recorder);
        move || {
            let big = Value::string("x".repeat(1 << 20));
            for process in 0..200 {
                recorder.record(Draft::invoke(process, "write", big.clone())).unwrap();
            }
            all_recorded.send(()).unwrap();
        }
    });
    gate.wait_until_a_write_has_begun();
    assert!(seen.recv_timeout(WATCHED).is_err(), "200 MiB were taken while nothing could be written");
    gate.open(None);
    seen.recv_timeout(HANGS_AFTER).expect("with the gate open, everything is recorded");
    recording.join().unwrap();
    assert_eq!(recorder.finish().unwrap().events, 200);
}

#[test]
fn what_was_recorded_during_a_write_that_failed_is_not_written_behind_its_torn_line() {
    let gate = Gate::default();
    let recorder = Recorder::with_sink("gate", Box::new(gate.clone()), ManualClock::default()).unwrap();
    recorder.record(write_of(0, 1)).unwrap();
    gate.wait_until_a_write_has_begun();
    recorder.record(write_of(1, 2)).expect("nobody knows yet how the write will end");
    gate.open(Some(io::ErrorKind::StorageFull));
    // By now there is room again, which must not help.
    assert!(matches!(recorder.finish(), Err(RecordError::Io { what: "write", .. })));
    assert_eq!(gate.state.0.lock().unwrap().written, 0);
}

#[derive(Clone, Default)]
struct Gate {
    state: Arc<(Mutex<GateState>, Condvar)>,
}

#[derive(Default)]
struct GateState {
    begun: bool,
    open: bool,
    /// How the next write ends, if not well.
    error: Option<io::ErrorKind>,
    written: usize,
}

impl Gate {
    fn wait_until_a_write_has_begun(&self) {
        let (state, changed) = &*self.state;
        let waited = changed.wait_timeout_while(state.lock().unwrap(), HANGS_AFTER, |state| !state.begun);
        if waited.unwrap().1.timed_out() {
            // The recorder writes when it is dropped, and that must not hang.
            self.open(None);
            panic!("nothing was ever written");
        }
    }

    /// Lets writes through, the first of them to this end.
    fn open(&self, error: Option<io::ErrorKind>) {
        let mut state = self.state.0.lock().unwrap();
        (state.open, state.error) = (true, error);
        self.state.1.notify_all();
    }
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (state, changed) = &*self.state;
        let mut state = state.lock().unwrap();
        state.begun = true;
        changed.notify_all();
        let mut state = changed.wait_while(state, |state| !state.open).unwrap();
        if let Some(error) = state.error.take() {
            return Err(error.into());
        }
        state.written += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Gate {
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}
