//! Snapshot files: taking one, receiving one, reading parts of one, and finding the newest at the start.
//!
//! A file is written under a temporary name, synced, renamed, and the directory is synced: under its final name there is
//! either nothing or all of it. The name says what it contains: `snapshot-INDEX-TERM.snap`. The format is in `file`.
//!
//! # What is done with a damaged one
//!
//! A file with its final name had been durable, so damage means a failing medium. The newest snapshot stands for promises of
//! this node (it has acknowledged what is in it, and perhaps dropped the log). It is passed over, with a warning, only if the
//! log alone, or an older snapshot and the log, still reach to where it ended; otherwise the node refuses to start, as it does
//! for damage in the middle of the log (`docs/decisions/005-state-in-memory.md`).
//!
//! Complexity: O(bytes) for everything; no copy of the whole is in memory, apart from the state machine itself.

mod error;
mod file;
#[cfg(test)]
mod tests;

use std::io;

use bytes::Bytes;
use labrys_raft::{Defect, Defects, Entry, LogIndex, Snapshot, SnapshotPoint, Term};

pub use error::SnapshotError;

use crate::disk::Disk;
use crate::machine::{Machine, MachineOptions, MachineSnapshot};
use file::{Body, BodyReader};

/// The name of the file of a snapshot.
#[must_use]
pub fn snapshot_name(index: LogIndex, term: Term) -> String {
    format!("snapshot-{:020}-{:010}.snap", index.0, term.0)
}

/// The temporary name of one that is taken here.
const TAKING: &str = "snapshot-taking.tmp";
/// The temporary name of one that is being received.
const RECEIVING: &str = "snapshot-receiving.tmp";

/// The snapshot files of a node.
pub struct SnapshotStore {
    disk: Box<dyn Disk>,
    options: MachineOptions,
    defects: Defects,
    receiving: Option<Receiving>,
}

/// One that is being received.
struct Receiving {
    snapshot: Snapshot,
    body: Body,
}

/// What came of a part that was received.
pub enum Received {
    /// It is written up to this byte.
    Part {
        /// The byte after the last one.
        end: u64,
    },
    /// It is complete and durable: this is its state machine.
    Whole(Box<Machine>),
    /// It is complete, and not what was announced. It was dropped.
    Damaged,
}

/// What was found at the start.
pub struct Found {
    /// The newest snapshot that can be used, with its state machine.
    pub newest: Option<(Snapshot, Machine)>,
    /// What was passed over; to be logged as warnings.
    pub passed_over: Vec<SnapshotError>,
}

impl SnapshotStore {
    /// The snapshots on `disk`. Removes what is incomplete.
    pub fn open(
        disk: Box<dyn Disk>,
        options: MachineOptions,
        defects: Defects,
    ) -> Result<SnapshotStore, SnapshotError> {
        let mut store = SnapshotStore { disk, options, defects, receiving: None };
        store.remove_if_there(TAKING)?;
        store.remove_if_there(RECEIVING)?;
        Ok(store)
    }

    /// The newest snapshot that can be used beside a log with these entries.
    pub fn find_newest(&mut self, entries: &[Entry]) -> Result<Found, SnapshotError> {
        let mut passed_over = Vec::new();
        for (index, term) in self.listed()?.into_iter().rev() {
            let name = snapshot_name(index, term);
            match self.load(&name, index, term) {
                Ok(found) => {
                    self.check_passed_over(&passed_over, found.0.index(), entries)?;
                    let passed_over = passed_over.into_iter().map(|(_, error)| error).collect();
                    return Ok(Found { newest: Some(found), passed_over });
                }
                Err(error @ SnapshotError::Damaged { .. }) => passed_over.push(((index, term), error)),
                Err(error) => return Err(error),
            }
        }
        self.check_passed_over(&passed_over, LogIndex(0), entries)?;
        Ok(Found { newest: None, passed_over: passed_over.into_iter().map(|(_, error)| error).collect() })
    }

    /// Whether the log, behind the snapshot of `base`, still has everything that the newest damaged snapshot had.
    fn check_passed_over(
        &self,
        passed_over: &[((LogIndex, Term), SnapshotError)],
        base: LogIndex,
        entries: &[Entry],
    ) -> Result<(), SnapshotError> {
        let Some(((index, term), SnapshotError::Damaged { file, detail, .. })) = passed_over.first() else {
            return Ok(());
        };
        let joins = entries.first().is_some_and(|first| first.index <= base.next());
        let reaches = entries.iter().any(|entry| (entry.index, entry.term) == (*index, *term));
        if joins && reaches {
            return Ok(());
        }
        Err(SnapshotError::Irreplaceable { file: file.clone(), detail: detail.clone(), index: *index })
    }

    /// Writes the state as it was at `point` and returns when it is durable. `go_on` is asked now and then; if it says no, the
    /// snapshot is given up (`None`).
    pub fn take(
        &mut self,
        point: SnapshotPoint,
        machine: &MachineSnapshot,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Option<Snapshot>, SnapshotError> {
        let name = snapshot_name(point.index, point.term);
        let mut temporary = TAKING;
        if self.defects.has(Defect::SnapshotNotAtomicFile) {
            self.drop_below(point.index)?;
            temporary = &name;
        }
        self.remove_if_there(temporary)?;
        let mut body = Body::begin(self.disk.as_mut(), temporary)?;
        let mut writer = file::BodyWriter::new(&mut body, self.disk.as_mut(), go_on);
        let written = machine.write_to(&mut writer).and_then(|()| writer.finish());
        if !go_on() {
            return Ok(None);
        }
        written.map_err(|source| SnapshotError::disk("write to", temporary, source))?;
        let snapshot = Snapshot { point, length_bytes: body.length(), checksum: body.checksum() };
        body.end(self.disk.as_mut(), &snapshot)?;
        self.give_name(temporary.to_owned(), &name)?;
        Ok(Some(snapshot))
    }

    /// Keeps a part of a snapshot that is being received. `offset` 0 begins it anew.
    pub fn receive(
        &mut self,
        snapshot: &Snapshot,
        offset: u64,
        data: &[u8],
    ) -> Result<Received, SnapshotError> {
        if offset == 0 {
            self.remove_if_there(RECEIVING)?;
            let body = Body::begin(self.disk.as_mut(), RECEIVING)?;
            self.receiving = Some(Receiving { snapshot: snapshot.clone(), body });
        }
        let expected = self
            .receiving
            .as_mut()
            .filter(|receiving| receiving.snapshot == *snapshot && receiving.body.length() == offset);
        let Some(receiving) = expected else {
            return Ok(Received::Damaged); // Never with a correct core; it sends all of it again.
        };
        receiving.body.append(self.disk.as_mut(), data)?;
        let end = receiving.body.length();
        if end < snapshot.length_bytes {
            return Ok(Received::Part { end });
        }
        self.complete()
    }

    /// All bytes of the snapshot that is being received are there.
    fn complete(&mut self) -> Result<Received, SnapshotError> {
        let Some(Receiving { snapshot, body }) = self.receiving.take() else { return Ok(Received::Damaged) };
        if (body.length(), body.checksum()) != (snapshot.length_bytes, snapshot.checksum) {
            self.remove_if_there(RECEIVING)?;
            return Ok(Received::Damaged);
        }
        body.end(self.disk.as_mut(), &snapshot)?;
        // It must be usable before it counts: the log may go because of it.
        let machine = self.restore(RECEIVING, &snapshot)?;
        self.give_name(RECEIVING.to_owned(), &snapshot_name(snapshot.index(), snapshot.term()))?;
        Ok(Received::Whole(Box::new(machine)))
    }

    /// A part of the durable snapshot of `index`; `None` if it was dropped. Before the first part, all of it is checked: what is
    /// damaged here would be refused there, after every byte of it had been sent.
    pub fn read(&self, index: LogIndex, offset: u64, length: u64) -> Result<Option<Bytes>, SnapshotError> {
        let Some((_, term)) = self.listed()?.into_iter().find(|(found, _)| *found == index) else {
            return Ok(None);
        };
        let name = snapshot_name(index, term);
        if offset == 0 {
            self.check(&name)?;
        }
        let bytes = self.disk.read_range(&name, file::HEAD_BYTES + offset, length);
        bytes
            .map(|bytes| Some(Bytes::from(bytes)))
            .map_err(|source| SnapshotError::disk("read", &name, source))
    }

    /// Whether a complete file is what was written.
    fn check(&self, name: &str) -> Result<(), SnapshotError> {
        let snapshot = file::describe(self.disk.as_ref(), name)?;
        let mut body = BodyReader::new(self.disk.as_ref(), name, snapshot.length_bytes);
        io::copy(&mut body, &mut io::sink()).map_err(|source| SnapshotError::disk("read", name, source))?;
        if body.checksum() == snapshot.checksum {
            return Ok(());
        }
        Err(SnapshotError::damaged(name, "its checksum is wrong".to_owned()))
    }

    /// Removes the snapshots below `index`. That this be durable does not matter.
    pub fn drop_below(&mut self, index: LogIndex) -> Result<(), SnapshotError> {
        for (old, term) in self.listed()?.into_iter().filter(|(found, _)| *found < index) {
            self.remove_if_there(&snapshot_name(old, term))?;
        }
        Ok(())
    }

    /// What there is by the files' names, oldest first.
    fn listed(&self) -> Result<Vec<(LogIndex, Term)>, SnapshotError> {
        let names = self.disk.list();
        let names = names.map_err(|source| SnapshotError::disk("list", "the data directory", source))?;
        let position = |name: &String| {
            let (index, term) = name.strip_prefix("snapshot-")?.strip_suffix(".snap")?.split_once('-')?;
            Some((LogIndex(index.parse().ok()?), Term(term.parse().ok()?)))
        };
        let mut listed: Vec<(LogIndex, Term)> = names.iter().filter_map(position).collect();
        listed.sort_unstable();
        Ok(listed)
    }

    fn load(
        &mut self,
        name: &str,
        index: LogIndex,
        term: Term,
    ) -> Result<(Snapshot, Machine), SnapshotError> {
        let snapshot = file::describe(self.disk.as_ref(), name)?;
        if (snapshot.index(), snapshot.term()) != (index, term) {
            return Err(SnapshotError::damaged(
                name,
                format!("it says that it is of entry {}", snapshot.index()),
            ));
        }
        let machine = self.restore(name, &snapshot)?;
        Ok((snapshot, machine))
    }

    /// The state machine in a complete file.
    fn restore(&self, name: &str, snapshot: &Snapshot) -> Result<Machine, SnapshotError> {
        let mut body = BodyReader::new(self.disk.as_ref(), name, snapshot.length_bytes);
        let restored = Machine::restore(&mut body, snapshot.index(), self.options, self.defects);
        // The checksum first: what a damaged snapshot decodes to says nothing.
        let rest = io::copy(&mut body, &mut io::sink());
        rest.map_err(|source| SnapshotError::disk("read", name, source))?;
        if body.checksum() != snapshot.checksum {
            return Err(SnapshotError::damaged(name, "its checksum is wrong".to_owned()));
        }
        restored
            .map_err(|source| SnapshotError::Unusable { file: name.to_owned(), detail: source.to_string() })
    }

    /// Gives a complete and synced file its final name, durably.
    fn give_name(&mut self, temporary: String, name: &str) -> Result<(), SnapshotError> {
        self.disk.sync(&temporary).map_err(|source| SnapshotError::sync(&temporary, source))?;
        if temporary != name {
            self.disk
                .rename(&temporary, name)
                .map_err(|source| SnapshotError::disk("rename", &temporary, source))?;
        }
        if self.defects.has(Defect::NoDirFsync) {
            return Ok(());
        }
        self.disk.sync_directory().map_err(|source| SnapshotError::sync("the data directory", source))
    }

    fn remove_if_there(&mut self, name: &str) -> Result<(), SnapshotError> {
        match self.disk.remove(name) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(SnapshotError::disk("remove", name, source))
            }
            _ => Ok(()),
        }
    }
}
