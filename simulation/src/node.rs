//! [`SimulatedNode`]: a machine with a disk and a clock, and the process that runs on it: the same code that the server runs, with
//! an inbox in the place of its queue, and a plan in the place of its threads.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

use labrys_nemesis::DiskTrouble;
use labrys_store::client::logic::RequestId;
use labrys_store::disk::{FailureKind, SimulatedDisk};
use labrys_store::raft::{LogIndex, NodeId, PersistBatch, Sequence, Token};
use labrys_store::server::snapshot_thread::SnapshotThread;
use labrys_store::server::{
    ClientRequest, Replica, ReplicaInput, ReplicaOutput, Restored, ServerOptions, SnapshotEvent, SnapshotJob,
    restore,
};
use labrys_store::snapshots::SnapshotStore;
use labrys_store::wal::{Wal, WalError};

use crate::clock::NodeClock;

/// A machine.
pub struct SimulatedNode {
    /// Its name: `n1`.
    pub name: String,
    /// What it has on disk, whoever runs.
    pub disk: SimulatedDisk,
    /// Its clock, which runs on whoever runs.
    pub clock: NodeClock,
    options: ServerOptions,
    /// How many processes have run on it.
    pub lives: u64,
    /// The one that runs.
    pub process: Option<Process>,
    /// The faults that hold it stopped.
    pub stopped_by: BTreeSet<u64>,
    /// The faults that keep it down.
    pub down_by: BTreeSet<u64>,
    /// How much longer a sync takes.
    pub slow_sync_ns: u64,
    /// Its disk has no space left.
    pub failing: BTreeMap<u64, DiskTrouble>,
}

/// Who waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The client's number.
    pub client: usize,
    /// Which of those with that number, one after the other.
    pub generation: u64,
    /// Which of its requests.
    pub request: RequestId,
    /// A compare-and-set is answered otherwise (see `Answered::of_write`).
    pub is_swap: bool,
}

/// A process: what the node loop, the disk thread and the snapshot thread of the server are.
pub struct Process {
    /// All that decides.
    pub replica: Replica,
    wal: Wal,
    snapshots: SnapshotStore,
    /// What has arrived and was not looked at.
    pub inbox: Vec<ReplicaInput>,
    /// A look at the inbox is planned.
    pub is_awake: bool,
    /// Batches that wait for the disk.
    queue: Vec<PersistBatch>,
    /// Those that are being written.
    pub writing: Option<Vec<PersistBatch>>,
    compact_up_to: LogIndex,
    /// Work with snapshot files; the first is being done.
    pub jobs: VecDeque<SnapshotJob>,
    /// Requests that are taken and not answered.
    pub waiting: BTreeMap<Token, Asker>,
    next_token: u64,
    /// What is still to be carried out of a step in whose middle the process was stopped.
    pub rest: Vec<ReplicaOutput>,
    /// What its clock read when it began.
    started_ns: u64,
}

/// Why a process ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Death {
    /// Its disk failed.
    Disk(String),
    /// It does not start with what is on disk.
    NotStarted(String),
    /// It panicked.
    Panicked(String),
    /// An invariant of its own is broken.
    Invariant(String),
}

impl SimulatedNode {
    /// A machine on which nothing has run yet.
    #[must_use]
    pub fn new(options: ServerOptions, clock: NodeClock) -> SimulatedNode {
        SimulatedNode {
            name: format!("n{}", options.id),
            disk: SimulatedDisk::new(),
            clock,
            options,
            lives: 0,
            process: None,
            stopped_by: BTreeSet::new(),
            down_by: BTreeSet::new(),
            slow_sync_ns: 0,
            failing: BTreeMap::new(),
        }
    }

    /// Its number in the cluster.
    #[must_use]
    pub fn id(&self) -> NodeId {
        NodeId(self.options.id)
    }

    /// Makes the disk fail as the faults on it want, and no otherwise. One sync that is to fail is no lasting matter.
    pub fn fail_as_told(&self) {
        self.disk.mend();
        for trouble in self.failing.values() {
            match trouble {
                DiskTrouble::Full => self.disk.fail_appends(FailureKind::NoSpace),
                DiskTrouble::WritesFail => self.disk.fail_appends(FailureKind::InputOutput),
                DiskTrouble::SyncsFail => self.disk.fail_syncs(FailureKind::InputOutput),
                _ => {}
            }
        }
    }

    /// Starts a process on what is on disk.
    ///
    /// # Errors
    /// Why it does not start.
    pub fn start(&mut self, world_ns: u64) -> Result<(), Death> {
        self.lives += 1;
        self.disk.start_process();
        self.fail_as_told();
        let options = ServerOptions { incarnation: self.lives, ..self.options.clone() };
        let (log, snapshots) = (Box::new(self.disk.clone()), Box::new(self.disk.clone()));
        let restored = quietly(|| restore(log, snapshots, &options))?;
        let Restored { wal, replica, store, .. } =
            restored.map_err(|error| Death::NotStarted(error.to_string()))?;
        self.process = Some(Process {
            replica,
            wal,
            snapshots: store,
            inbox: Vec::new(),
            is_awake: false,
            queue: Vec::new(),
            writing: None,
            compact_up_to: LogIndex(0),
            jobs: VecDeque::new(),
            waiting: BTreeMap::new(),
            next_token: 1,
            rest: Vec::new(),
            started_ns: self.clock.now_ns(world_ns),
        });
        Ok(())
    }

    /// Whether it runs and is not stopped.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.process.is_some() && self.stopped_by.is_empty()
    }

    /// What its process's clock reads, in milliseconds since that began.
    #[must_use]
    pub fn process_ms(&self, world_ns: u64) -> u64 {
        let started_ns = self.process.as_ref().map_or(0, |process| process.started_ns);
        (self.clock.now_ns(world_ns) - started_ns) / 1_000_000
    }

    /// Looks at everything in the inbox.
    ///
    /// # Errors
    /// It panicked.
    pub fn step(&mut self, world_ns: u64) -> Result<Vec<ReplicaOutput>, Death> {
        let now_ms = self.process_ms(world_ns);
        let Some(process) = &mut self.process else { return Ok(Vec::new()) };
        process.is_awake = false;
        let mut outputs = Vec::new();
        let inputs = std::iter::once(ReplicaInput::Tick { now_ms }).chain(std::mem::take(&mut process.inbox));
        let replica = &mut process.replica;
        quietly(|| replica.handle(inputs, &mut outputs))?;
        Ok(outputs)
    }

    /// The process ends in the middle of whatever its disk is doing; `choose` says how far that has come. Gives those who waited.
    pub fn kill(&mut self, choose: &mut dyn FnMut(u64) -> u64) -> Vec<Asker> {
        let Some(mut process) = self.process.take() else { return Vec::new() };
        if let Some(group) = process.writing.take() {
            self.disk.kill_process_after(choose(3));
            let _ = process.wal.write(&group);
        }
        if let Some(job) = process.jobs.pop_front() {
            self.disk.kill_process_after(choose(6));
            let _ = quietly(|| {
                SnapshotThread::work(&mut process.snapshots, NodeId(self.options.id), job, &|| true)
            });
        }
        self.disk.start_process();
        process.waiting.into_values().collect()
    }
}

impl Process {
    /// A client asks for something.
    pub fn ask(&mut self, asker: Asker, request: ClientRequest) {
        let token = Token(self.next_token);
        self.next_token += 1;
        self.waiting.insert(token, asker);
        self.inbox.push(ReplicaInput::Request { token, request });
    }

    /// A batch is to be written. True: the disk has nothing else to do, and is to begin.
    pub fn persist(&mut self, batch: PersistBatch) -> bool {
        self.queue.push(batch);
        self.begin_write()
    }

    /// The log up to here is not needed any more.
    pub fn compact(&mut self, up_to: LogIndex) {
        self.compact_up_to = self.compact_up_to.max(up_to);
    }

    fn begin_write(&mut self) -> bool {
        if self.writing.is_some() || self.queue.is_empty() {
            return false;
        }
        self.writing = Some(std::mem::take(&mut self.queue));
        true
    }

    /// The write comes to its end: what is durable now. What waits is begun.
    ///
    /// # Errors
    /// The disk has failed.
    pub fn end_write(&mut self) -> Result<Option<Sequence>, Death> {
        let Some(group) = self.writing.take() else { return Ok(None) };
        let failed = |error: WalError| Death::Disk(error.to_string());
        self.wal.write(&group).map_err(failed)?;
        self.wal.compact(self.compact_up_to).map_err(failed)?;
        let sequence = group.last().map(|batch| batch.sequence);
        if let Some(sequence) = sequence {
            self.inbox.push(ReplicaInput::Persisted { sequence });
        }
        Ok(sequence)
    }

    /// Whether another write begins now.
    pub fn next_write(&mut self) -> bool {
        self.begin_write()
    }

    /// The first job comes to its end.
    ///
    /// # Errors
    /// The disk has failed.
    pub fn end_job(&mut self, id: NodeId) -> Result<Option<SnapshotEvent>, Death> {
        let Some(job) = self.jobs.pop_front() else { return Ok(None) };
        let snapshots = &mut self.snapshots;
        let done = quietly(|| SnapshotThread::work(snapshots, id, job, &|| true))?;
        done.map_err(|error| Death::Disk(error.to_string()))
    }
}

thread_local! {
    static IN_STORE: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is carrying out code of the simulated store, whose panics are findings and no bugs of ours: for a panic hook
/// that does not print them.
#[must_use]
pub fn is_in_store() -> bool {
    IN_STORE.get()
}

/// A panic of the store is an end of its process, and not ours.
fn quietly<T>(body: impl FnOnce() -> T) -> Result<T, Death> {
    IN_STORE.set(true);
    let ended = catch_unwind(AssertUnwindSafe(body));
    IN_STORE.set(false);
    ended.map_err(|panic| {
        let message = panic.downcast_ref::<String>().cloned();
        let message = message.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Death::Panicked(message.unwrap_or_else(|| "without a message".to_owned()))
    })
}
