//! Runs the scenario files of `tests/scenarios`: prose and pictures in comments, then a command, `----`, and what happens.
//!
//! `REWRITE=1 cargo test -p labrys-raft --test raft scenario` records anew what happens; read the difference before
//! committing it. The oracle looks on: a violation fails the test, or is part of the output if a defect is switched on.
//!
//! | verb | what it does |
//! | --- | --- |
//! | `cluster nodes=N` | a new cluster, all up; `down=(…)` not started; `voters=M`: nodes above M do not belong to it yet; `pre-vote=no`, `check-quorum=no`, `lease-reads=yes`, `batch=`, `batch-bytes=`, `inflight=`, `pending=`, `kept=`, `chunk=`, `defect=` configure it; `watch-disk=no` makes the oracle blind for broken promises; `disk=manual`, `apply=manual` leave syncing and applying to the script. Input lines `2: log=1,1,3 term=4 vote=1` say what is on a disk |
//! | `automatic` | `disk=yes`, `disk=no`, `apply=…` from now on |
//! | `timeout node=N` | two election timeouts pass for it at once |
//! | `tick by=MS` | time passes, for `node=` or all |
//! | `deliver`, `drop`, `duplicate` | the messages on their way that match `from=`, `to=`, `kind=`; the first `count=` of them; `latest` begins with the newest |
//! | `settle` | delivers, syncs and applies until nothing moves; `quiet` leaves messages and writes out of the output |
//! | `sync`, `apply` | the disk, the state machine of `node=` or all; `count=` batches or entries |
//! | `change node=N` | an operator asks for `add=ID`, `promote=ID`, `remove=ID`; `joint` takes lists: `promote=(…) remove=(…) demote=(…)` |
//! | `snapshot` | `node=` takes a snapshot of what it has applied |
//! | `work` | the disk of `node=` does `count=` of its jobs with snapshots: store, read, write |
//! | `damage` | the next snapshot that `node=` receives arrives with a wrong bit |
//! | `propose node=N command=TEXT`, `read node=N` | what a client does; `mode=log`, `follower`, `lease`, `local` in place of ReadIndex. A paused node that reads was stopped within a step |
//! | `transfer node=N to=M` | an operator wants M to lead |
//! | `crash`, `start` | `node=` loses all that is not synced; starts from its disk; `applied=` survives |
//! | `wipe` | the disk of `node=`, which is down, is emptied |
//! | `pause`, `resume` | `node=` is stopped; goes on, `by=` ms later |
//! | `partition a=(1,2) b=(3)` | nothing passes between the two sides any more; `one-way`: not from a to b |
//! | `reconnect` | all links are whole |
//! | `status`, `logs`, `disks`, `members`, `network` | a look at `node=` or all |

use std::fmt::Write;

use bytes::Bytes;
use datadriven::{DataDrivenError, TestCase, walk};
use labrys_raft::{
    Change, Config, Defect, Defects, Entry, HardState, LogIndex, Membership, NodeId, Payload, ReadMode, Term,
};

use crate::cluster::{Cluster, config};
use crate::disk::Disk;
use crate::oracle::{Property, Violation, violated};
use crate::render;

#[test]
fn scenario_files_happen_as_written() {
    walk(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scenarios"), |file| {
        let mut script = Script::new();
        file.run(|case| -> Result<String, DataDrivenError> {
            let mut case = case.clone();
            let output = script.run(&mut case)?;
            case.expect_empty()?;
            Ok(output)
        });
    });
}

/// A scenario that needs more than this to come to rest never does.
const MOST_MESSAGES: usize = 10_000;

/// A script in progress.
struct Script {
    cluster: Cluster,
    automatic_disk: bool,
    automatic_apply: bool,
    cut: Vec<(NodeId, NodeId)>,
}

impl Script {
    fn new() -> Script {
        let cluster = Cluster::new([]);
        Script { cluster, automatic_disk: true, automatic_apply: true, cut: Vec::new() }
    }

    /// Runs a command; its output is what happened.
    fn run(&mut self, case: &mut TestCase) -> Result<String, DataDrivenError> {
        self.cluster.trace = Some(Vec::new());
        let quiet = case.take_flag("quiet")?;
        let shown = match case.directive.as_str() {
            "cluster" => self.set_up(case)?,
            "status" | "logs" | "disks" | "members" | "network" => self.show(case)?,
            _ => {
                if let Err(violation) = self.act(case)? {
                    // Only a defect excuses a violation; without one, not even REWRITE records it.
                    if self.cluster.servers.iter().all(|server| server.config.defects.is_empty()) {
                        return Err(DataDrivenError::Argument(violation.to_string()));
                    }
                    self.cluster.note(|| format!("VIOLATION: {violation}"));
                }
                String::new()
            }
        };
        let lines = self.cluster.trace.take().unwrap_or_default();
        let lines =
            lines.into_iter().filter(|line| !quiet || !(line.contains(" -> ") || line.contains(" writes ")));
        let output = lines.fold(shown, |mut output, line| {
            output.push_str(&line);
            output.push('\n');
            output
        });
        Ok(if output.is_empty() { "(nothing)\n".to_owned() } else { output })
    }

    fn set_up(&mut self, case: &mut TestCase) -> Result<String, DataDrivenError> {
        let count: u64 = case.take_arg("nodes")?;
        let template = self.template(case, count)?;
        let voters: u64 = case.try_take_arg("voters")?.unwrap_or(count);
        let configs = (1..=count).map(|id| {
            let initial = if id <= voters { config(1, voters).initial } else { Membership::default() };
            Config { id: NodeId(id), initial, ..template.clone() }
        });
        *self = Script { cluster: Cluster::new(configs), ..Script::new() };
        self.cluster.oracle.trusts_assertions = template.defects.is_empty();
        self.cluster.oracle.watches_disk = yes(case, "watch-disk")?.unwrap_or(true);
        self.automatic_disk = case.try_take_arg::<String>("disk")?.as_deref() != Some("manual");
        self.automatic_apply = case.try_take_arg::<String>("apply")?.as_deref() != Some("manual");
        for line in case.input.lines() {
            self.fill_disk(line)?;
        }
        let down: Vec<u64> = case.try_take_args("down")?.unwrap_or_default();
        for place in (0..count as usize).filter(|place| !down.contains(&(*place as u64 + 1))) {
            self.start(place, 0)?;
        }
        self.show_status(&self.all())
    }

    fn start(&mut self, place: usize, applied: u64) -> Result<(), DataDrivenError> {
        let started = self.cluster.start(place, LogIndex(applied));
        started.map_err(|violation| DataDrivenError::Argument(violation.to_string()))
    }

    fn template(&self, case: &mut TestCase, count: u64) -> Result<Config, DataDrivenError> {
        let mut template = config(1, count);
        template.pre_vote = yes(case, "pre-vote")?.unwrap_or(true);
        template.check_quorum = yes(case, "check-quorum")?.unwrap_or(true);
        template.lease_reads = yes(case, "lease-reads")?.unwrap_or(false);
        let limits = [
            ("batch", &mut template.max_batch_entries),
            ("batch-bytes", &mut template.max_batch_bytes),
            ("inflight", &mut template.max_inflight_batches),
            ("pending", &mut template.max_pending),
        ];
        for (name, limit) in limits {
            *limit = case.try_take_arg(name)?.unwrap_or(*limit);
        }
        template.kept_entries = case.try_take_arg("kept")?.unwrap_or(template.kept_entries);
        template.snapshot_chunk_bytes = case.try_take_arg("chunk")?.unwrap_or(template.snapshot_chunk_bytes);
        let defect = case.try_take_arg::<Defect>("defect")?;
        template.defects = defect.map_or(Defects::NONE, |defect| Defects::NONE.with(defect));
        Ok(template)
    }

    /// `2: log=1,1,3 term=4 vote=1`
    fn fill_disk(&mut self, line: &str) -> Result<(), DataDrivenError> {
        let bad = || DataDrivenError::Parse(format!("not a disk: {line}"));
        let (id, rest) = line.split_once(':').ok_or_else(bad)?;
        let place = id.trim().parse::<usize>().map_err(|_| bad())? - 1;
        let disk = &mut self.cluster.servers.get_mut(place).ok_or_else(bad)?.disk;
        for word in rest.split_whitespace() {
            let (name, value) = word.split_once('=').ok_or_else(bad)?;
            let numbers: Result<Vec<u64>, _> = value.split(',').map(str::parse).collect();
            let numbers = numbers.map_err(|_| bad())?;
            match name {
                "log" => disk.fill(entries_of(&numbers)),
                "term" => disk.hard_state.term = Term(numbers[0]),
                "vote" => disk.hard_state.voted_for = Some(NodeId(numbers[0])),
                _ => return Err(bad()),
            }
        }
        let last_term = disk.entries.last().map_or(Term(0), |entry| entry.term);
        disk.hard_state = HardState { term: disk.hard_state.term.max(last_term), ..disk.hard_state };
        Ok(())
    }

    /// The verbs that move something.
    fn act(&mut self, case: &mut TestCase) -> Result<Result<(), Violation>, DataDrivenError> {
        let places = self.places(case)?;
        let count: usize = case.try_take_arg("count")?.unwrap_or(usize::MAX);
        let by_ms: u64 = case.try_take_arg("by")?.unwrap_or(0);
        match case.directive.as_str() {
            "automatic" => {
                self.automatic_disk = yes(case, "disk")?.unwrap_or(self.automatic_disk);
                self.automatic_apply = yes(case, "apply")?.unwrap_or(self.automatic_apply);
                Ok(self.settle_servers())
            }
            "timeout" => Ok(self.on_each(&places, |cluster, place| cluster.tick(place, 200))),
            "tick" => Ok(self.on_each(&places, |cluster, place| cluster.tick(place, by_ms))),
            "deliver" | "drop" | "duplicate" => self.move_messages(case, count),
            "settle" => Ok(self.settle()),
            "sync" => Ok(self.on_each(&places, |cluster, place| cluster.sync(place, count))),
            "apply" => Ok(self.on_each(&places, |cluster, place| cluster.apply(place, count))),
            "snapshot" => {
                for place in places {
                    let taken = self.cluster.take_snapshot(place);
                    let what = taken.map_or("nothing new".to_owned(), |taken| render::snapshot(&taken));
                    self.cluster.note(|| format!("{} takes {what}", place + 1));
                }
                Ok(self.settle_servers())
            }
            "work" => Ok(self.on_each(&places, |cluster, place| cluster.work(place, count))),
            "damage" => {
                places.iter().for_each(|place| self.cluster.servers[*place].disk.damages_next = true);
                Ok(Ok(()))
            }
            "propose" => {
                let command = Bytes::from(case.take_arg::<String>("command")?);
                Ok(self.on_each(&places, |cluster, place| {
                    cluster.propose(place, Some(command.clone())).map(drop)
                }))
            }
            "change" => {
                let change = take_change(case)?;
                Ok(self.on_each(&places, |cluster, place| cluster.change(place, change.clone()).map(drop)))
            }
            "read" => {
                let mode = take_read_mode(case)?;
                Ok(self.on_each(&places, |cluster, place| cluster.read(place, mode).map(drop)))
            }
            "transfer" => {
                let target = case.try_take_arg::<u64>("to")?.map(NodeId);
                Ok(self.on_each(&places, |cluster, place| cluster.transfer(place, target).map(drop)))
            }
            "crash" => {
                for place in places {
                    self.cluster.stop(place);
                    self.cluster.servers[place].disk.crash_losing_everything_unsynced();
                }
                Ok(Ok(()))
            }
            "wipe" => {
                self.cluster.oracle.has_lost_logs = true;
                places.iter().for_each(|place| self.cluster.servers[*place].disk = Disk::default());
                Ok(Ok(()))
            }
            "start" => {
                let applied: u64 = case.try_take_arg("applied")?.unwrap_or(0);
                Ok(places.iter().try_for_each(|place| self.cluster.start(*place, LogIndex(applied))))
            }
            "pause" => {
                places.iter().for_each(|place| self.cluster.servers[*place].paused = true);
                Ok(Ok(()))
            }
            "resume" => {
                places.iter().for_each(|place| self.cluster.servers[*place].paused = false);
                Ok(self.on_each(&places, |cluster, place| cluster.tick(place, by_ms)))
            }
            "partition" => {
                let one_way = case.take_flag("one-way")?;
                let (a, b): (Vec<u64>, Vec<u64>) = (case.take_args("a")?, case.take_args("b")?);
                for (x, y) in a.iter().flat_map(|x| b.iter().map(move |y| (NodeId(*x), NodeId(*y)))) {
                    self.cut.push((x, y));
                    self.cut.extend((!one_way).then_some((y, x)));
                }
                Ok(Ok(()))
            }
            "reconnect" => {
                self.cut.clear();
                Ok(Ok(()))
            }
            verb => Err(DataDrivenError::Argument(format!("there is no verb `{verb}`"))),
        }
    }

    /// All places, or those of `node=`.
    fn places(&self, case: &mut TestCase) -> Result<Vec<usize>, DataDrivenError> {
        let ids: Option<Vec<u64>> = case.try_take_args("node")?;
        let places = ids.map(|ids| ids.into_iter().map(|id| id as usize - 1).collect());
        Ok(places.unwrap_or_else(|| self.all()))
    }

    fn all(&self) -> Vec<usize> {
        (0..self.cluster.servers.len()).collect()
    }

    fn on_each(
        &mut self,
        places: &[usize],
        action: impl Fn(&mut Cluster, usize) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        for place in places {
            action(&mut self.cluster, *place)?;
            self.settle_servers()?;
        }
        Ok(())
    }

    /// Disks and state machines do at once what they do by themselves. True if there was anything to do.
    fn settle_servers(&mut self) -> Result<(), Violation> {
        for place in self.all() {
            while self.automatic_disk && self.cluster.servers[place].disk.unsynced() > 0 {
                self.cluster.sync(place, usize::MAX)?;
            }
            while self.automatic_disk && self.cluster.servers[place].disk.jobs() > 0 {
                self.cluster.work(place, usize::MAX)?;
            }
            if self.automatic_apply {
                self.cluster.apply(place, usize::MAX)?;
            }
        }
        Ok(())
    }

    fn move_messages(
        &mut self,
        case: &mut TestCase,
        count: usize,
    ) -> Result<Result<(), Violation>, DataDrivenError> {
        let from = case.try_take_args::<u64>("from")?;
        let to = case.try_take_args::<u64>("to")?;
        let kind: Option<String> = case.try_take_arg("kind")?;
        let latest = case.take_flag("latest")?;
        let mut chosen = Vec::new();
        let mut others = Vec::new();
        let mut queue = std::mem::take(&mut self.cluster.network);
        if latest {
            queue.reverse();
        }
        for message in queue {
            let matches = from.as_ref().is_none_or(|from| from.contains(&message.from.0))
                && to.as_ref().is_none_or(|to| to.contains(&message.to.0))
                && kind.as_ref().is_none_or(|kind| kind == render::kind(&message));
            if matches && chosen.len() < count { chosen.push(message) } else { others.push(message) }
        }
        if latest {
            others.reverse();
        }
        self.cluster.network = others;
        match case.directive.as_str() {
            "drop" => chosen
                .iter()
                .for_each(|message| self.cluster.note(|| format!("lost: {}", render::message(message)))),
            "duplicate" => {
                let twice = chosen.iter().chain(&chosen).cloned();
                self.cluster.network.extend(twice);
            }
            _ => return Ok(chosen.into_iter().try_for_each(|message| self.deliver(message))),
        }
        Ok(Ok(()))
    }

    fn deliver(&mut self, message: labrys_raft::Message) -> Result<(), Violation> {
        let to = Cluster::place(message.to);
        let is_stuck =
            self.cut.contains(&(message.from, message.to)) || self.cluster.servers[to].node.is_none();
        if is_stuck {
            self.cluster.note(|| format!("lost: {}", render::message(&message)));
            return Ok(());
        }
        if self.cluster.servers[to].paused {
            self.cluster.network.push(message);
            return Ok(());
        }
        self.cluster.deliver(message)?;
        self.settle_servers()
    }

    /// Until nothing moves; what a paused server would receive stays on its way.
    fn settle(&mut self) -> Result<(), Violation> {
        for _ in 0..MOST_MESSAGES {
            self.settle_servers()?;
            let paused =
                |message: &labrys_raft::Message| self.cluster.servers[Cluster::place(message.to)].paused;
            let Some(position) = self.cluster.network.iter().position(|message| !paused(message)) else {
                return Ok(());
            };
            let message = self.cluster.network.remove(position);
            self.deliver(message)?;
        }
        violated(Property::Liveness, "without time passing, messages never end".to_owned())
    }

    fn show(&mut self, case: &mut TestCase) -> Result<String, DataDrivenError> {
        let places = self.places(case)?;
        match case.directive.as_str() {
            "status" => self.show_status(&places),
            "logs" => Ok(self.show_logs(&places)),
            "disks" => Ok(self.show_disks(&places)),
            "members" => Ok(self.show_members(&places)),
            _ => Ok(self.cluster.network.iter().map(|message| render::message(message) + "\n").collect()),
        }
    }

    fn show_status(&self, places: &[usize]) -> Result<String, DataDrivenError> {
        let line = |place: &usize| match self.cluster.status(*place) {
            Some(status) => render::status(&status) + "\n",
            None => format!("{}: down\n", place + 1),
        };
        Ok(places.iter().map(line).collect())
    }

    /// The terms of the entries in memory; `|` follows the last one known to be committed.
    fn show_logs(&self, places: &[usize]) -> String {
        let mut output = String::new();
        for place in places {
            let Some(node) = &self.cluster.servers[*place].node else { continue };
            let _ = write!(output, "{}:", place + 1);
            let first = node.status().first_index.0;
            if first > 1 {
                let _ = write!(output, " [1..{}]", first - 1);
            }
            if node.status().commit.0 + 1 == first {
                output.push_str(" |");
            }
            for entry in (first..).map_while(|index| node.entry(LogIndex(index))) {
                let _ = write!(output, " {}", entry.term);
                if entry.index == node.status().commit {
                    output.push_str(" |");
                }
            }
            output.push('\n');
        }
        output
    }

    fn show_members(&self, places: &[usize]) -> String {
        let line = |place: &usize| {
            let node = self.cluster.servers[*place].node.as_ref();
            node.map(|node| format!("{}: {}\n", place + 1, node.membership())).unwrap_or_default()
        };
        places.iter().map(line).collect()
    }

    fn show_disks(&self, places: &[usize]) -> String {
        let line = |place: &usize| {
            let disk = &self.cluster.servers[*place].disk;
            let hard_state = render::hard_state(&disk.hard_state);
            let snapshots =
                disk.snapshots.iter().map(|(snapshot, _)| format!("{}; ", render::snapshot(snapshot)));
            format!(
                "{}: {hard_state}; {}log [{}]; {} unsynced\n",
                place + 1,
                snapshots.collect::<String>(),
                render::entries(&disk.entries),
                disk.unsynced()
            )
        };
        places.iter().map(line).collect()
    }
}

/// A log with these terms. Equal terms at equal places mean equal entries.
fn entries_of(terms: &[u64]) -> Vec<Entry> {
    let entry = |(offset, term): (usize, &u64)| Entry {
        term: Term(*term),
        index: LogIndex(offset as u64 + 1),
        payload: Payload::Noop,
    };
    terms.iter().enumerate().map(entry).collect()
}

/// `mode=`, ReadIndex without it.
fn take_read_mode(case: &mut TestCase) -> Result<ReadMode, DataDrivenError> {
    match case.try_take_arg::<String>("mode")?.as_deref() {
        None => Ok(ReadMode::ReadIndex),
        Some("log") => Ok(ReadMode::Log),
        Some("follower") => Ok(ReadMode::Follower),
        Some("lease") => Ok(ReadMode::Lease),
        Some("local") => Ok(ReadMode::Local),
        Some(other) => Err(DataDrivenError::Argument(format!("there is no mode {other}"))),
    }
}

/// The change that the arguments of `change` describe.
fn take_change(case: &mut TestCase) -> Result<Change, DataDrivenError> {
    let joint = case.take_flag("joint")?;
    let mut take = |name| case.try_take_args::<u64>(name);
    let (add, promote, remove, demote) = (take("add")?, take("promote")?, take("remove")?, take("demote")?);
    let ids = |list: Option<Vec<u64>>| list.into_iter().flatten().map(NodeId).collect::<Vec<_>>();
    let (add, promote, remove, demote) = (ids(add), ids(promote), ids(remove), ids(demote));
    match (&add[..], &promote[..], &remove[..]) {
        _ if joint => Ok(Change::Joint { promote, remove, demote }),
        ([id], [], []) => Ok(Change::AddLearner { id: *id, address: format!("host-{id}") }),
        ([], [id], []) => Ok(Change::Promote { id: *id }),
        ([], [], [id]) => Ok(Change::Remove { id: *id }),
        _ => Err(DataDrivenError::Argument("one of add, promote and remove, or joint".to_owned())),
    }
}

/// `name=yes`, `name=no`, or nothing.
fn yes(case: &mut TestCase, name: &str) -> Result<Option<bool>, DataDrivenError> {
    match case.try_take_arg::<String>(name)?.as_deref() {
        None => Ok(None),
        Some("yes") => Ok(Some(true)),
        Some("no") => Ok(Some(false)),
        Some(other) => Err(DataDrivenError::Argument(format!("{name} is yes or no, not {other}"))),
    }
}
