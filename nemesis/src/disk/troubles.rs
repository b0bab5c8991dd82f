//! Which operations fail or are slow, how many were, and which processes met that.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;

use nix::errno::Errno;

use super::order::{DiskError, MetTrouble};
use crate::fault::DiskTrouble;

/// What a program wants of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Read,
    Write,
    /// To write what makes a file longer, or a new name.
    Grow,
    SyncFile,
    SyncDirectory,
}

/// What it gets instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// This error, and nothing is done.
    Error(Errno),
    /// Half of it is written.
    Half,
    /// This error, and what was to be synced never will be.
    LostSync(Errno),
}

#[derive(Debug)]
pub(super) struct Troubles {
    holding: BTreeMap<u64, DiskTrouble>,
    /// Those that happen once and have, or do their first part once.
    spent: BTreeSet<u64>,
    operations: BTreeMap<u64, u64>,
    met: BTreeSet<DiskError>,
    errors: File,
}

impl Troubles {
    /// None yet; who meets some is written to `errors`.
    pub fn new(errors: File) -> Troubles {
        Troubles {
            holding: BTreeMap::new(),
            spent: BTreeSet::new(),
            operations: BTreeMap::new(),
            met: BTreeSet::new(),
            errors,
        }
    }

    pub fn hold(&mut self, fault_id: u64, trouble: DiskTrouble) {
        self.holding.insert(fault_id, trouble);
    }

    pub fn end(&mut self, fault_id: u64) {
        self.holding.remove(&fault_id);
        self.spent.remove(&fault_id);
    }

    /// How many operations went otherwise, by fault.
    pub fn operations(&self) -> &BTreeMap<u64, u64> {
        &self.operations
    }

    /// Whether the disk is full.
    pub fn is_full(&self) -> bool {
        self.holding.values().any(|trouble| *trouble == DiskTrouble::Full)
    }

    /// By how much a sync is slower: by the longest of what is asked for.
    pub fn slower_ms(&mut self) -> u64 {
        let slow = |(id, trouble): (&u64, &DiskTrouble)| match trouble {
            DiskTrouble::SlowSyncMs(ms) => Some((*id, *ms)),
            _ => None,
        };
        let slow: Vec<(u64, u64)> = self.holding.iter().filter_map(slow).collect();
        slow.iter().for_each(|(id, _)| self.count(*id));
        slow.iter().map(|(_, ms)| *ms).max().unwrap_or(0)
    }

    /// Whether the operation fails, and how; `thread` is who wants it.
    pub fn failure(&mut self, operation: Operation, thread: u32) -> Option<Failure> {
        let failing = self.holding.iter().find(|(id, trouble)| {
            let is_spent = self.spent.contains(id);
            fails(**trouble, operation, is_spent).is_some()
        });
        let (id, trouble) = failing.map(|(id, trouble)| (*id, *trouble))?;
        let failure = fails(trouble, operation, self.spent.contains(&id))?;
        self.spent.insert(id);
        self.count(id);
        self.note(id, thread, MetTrouble::Failed);
        Some(failure)
    }

    /// Somebody reads what has gone wrong.
    pub fn read_rot(&mut self, fault_id: u64, thread: u32) {
        self.count(fault_id);
        self.note(fault_id, thread, MetTrouble::ReadRot);
    }

    fn count(&mut self, fault_id: u64) {
        *self.operations.entry(fault_id).or_default() += 1;
    }

    /// Written before the process sees the error, and so before it can end of it.
    fn note(&mut self, fault_id: u64, thread: u32, met: MetTrouble) {
        let error = DiskError { pid: process_of(thread), fault_id, met };
        if self.met.insert(error) {
            let line = serde_json::to_string(&error).unwrap_or_default() + "\n";
            if let Err(error) = self.errors.write_all(line.as_bytes()) {
                eprintln!("who met trouble could not be noted: {error}");
            }
        }
    }
}

fn fails(trouble: DiskTrouble, operation: Operation, is_spent: bool) -> Option<Failure> {
    use DiskTrouble::{Full, NextReadFails, NextWriteFails, ReadsFail, SyncFails, SyncsFail, WritesFail};
    use Operation::{Grow, Read, SyncDirectory, SyncFile, Write};
    let failed = Some(Failure::Error(Errno::EIO));
    match (trouble, operation) {
        (Full, Grow) if !is_spent => Some(Failure::Half),
        (Full, Grow) => Some(Failure::Error(Errno::ENOSPC)),
        (ReadsFail, Read) | (WritesFail, Write | Grow) | (SyncsFail, SyncDirectory) => failed,
        (NextReadFails, Read) | (NextWriteFails, Write | Grow) if !is_spent => failed,
        (SyncsFail, SyncFile) => Some(Failure::LostSync(Errno::EIO)),
        (SyncFails, SyncFile) if !is_spent => Some(Failure::LostSync(Errno::EIO)),
        _ => None,
    }
}

/// The process that a thread belongs to. It waits for our answer, so it is there.
fn process_of(thread: u32) -> i32 {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
    let group = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
    group.and_then(|group| group.trim().parse().ok()).unwrap_or(thread.cast_signed())
}
