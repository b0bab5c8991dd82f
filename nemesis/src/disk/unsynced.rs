//! What was written to a file since it was last synced, and what a loss of power leaves of it.
//!
//! The file itself has everything; here is, in order, how to take it back: for each change what it replaced. A sync forgets the list, in
//! O(1) per change; a loss of power takes all of it back, and then does again what has survived.
//!
//! A sync that *fails* leaves its changes readable, and no later sync writes them (Rebello et al., *Can Applications Recover from fsync
//! Failures?*, ATC 2020): they stay in the list as lost, and what is synced after them stays behind them as kept.
//!
//! Invariant: taking back all changes of the list, last first, gives what is durable but for the kept ones in the list.
//!
//! Besides it is known up to where a file is *settled*: what is before was durable before its last sync began, so that a program that finds
//! damage there can tell that no crash did it. What a sync made durable stays unsettled until a later one has made more so; and of a file
//! that was made shorter everything is, since what is last now may be what was synced last.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use labrys_seed::Rng;
use rand::Rng as _;

use crate::fault::PowerLoss;

/// The unit in which un-synced bytes are kept or lost.
pub(super) const SECTOR_BYTES: u64 = 512;

/// With more than this in its list, the oldest changes of a file are written back, as a kernel does with what has been dirty for long.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// How much of what synced changes replaced is remembered, to put stale chunks in their place.
const MOST_PAST_BYTES: usize = 256 * 1024;

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No sync has come yet.
    Pending,
    /// The sync that was to write it failed.
    Lost,
    /// It was synced, behind one that was lost.
    Kept,
}

#[derive(Debug)]
enum Change {
    Write { offset: u64, new: Vec<u8>, old: Vec<u8>, length_before: u64 },
    Resize { from: u64, to: u64, tail: Vec<u8> },
}

#[derive(Debug)]
struct Entry {
    number: u64,
    state: State,
    change: Change,
}

/// A synced change, and what was there before it; less than `length`: the file was that much shorter.
#[derive(Clone, Debug)]
pub(super) struct Past {
    pub offset: u64,
    pub length: u64,
    pub old: Vec<u8>,
}

/// What a loss of power did to a file, in bytes of un-synced changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Left {
    pub lost_bytes: u64,
    pub kept_bytes: u64,
}

/// Changes that were written back unasked: where the first of them begins, and the number of the last.
#[derive(Clone, Copy, Debug)]
struct WrittenBack {
    from: u64,
    last: u64,
}

/// What of a file is not durable.
#[derive(Debug, Default)]
pub(super) struct Unsynced {
    entries: VecDeque<Entry>,
    next_number: u64,
    bytes: usize,
    past: VecDeque<Past>,
    past_bytes: usize,
    written_back: Option<WrittenBack>,
    /// Where what the last sync made durable begins; `None`: no sync has yet.
    last_sync_from: Option<u64>,
}

impl Change {
    fn bytes(&self) -> usize {
        match self {
            Change::Write { new, old, .. } => new.len() + old.len(),
            Change::Resize { tail, .. } => tail.len(),
        }
    }

    /// From here on what is in the file may be what this change left at its end.
    fn unsettles_from(&self) -> u64 {
        match self {
            // What is between the old end and the beginning is new, too.
            Change::Write { offset, length_before, .. } => *offset.min(length_before),
            Change::Resize { from, to, .. } if to > from => *from,
            Change::Resize { .. } => 0,
        }
    }

    /// How much there is to lose.
    fn weight(&self) -> u64 {
        match self {
            Change::Write { new, .. } => new.len() as u64,
            Change::Resize { from, to, .. } => from.abs_diff(*to),
        }
    }

    fn take_back(&self, file: &File) -> io::Result<()> {
        match self {
            Change::Write { offset, new, old, length_before } => {
                if offset + new.len() as u64 > *length_before {
                    file.set_len(*length_before)?;
                }
                file.write_all_at(old, *offset)
            }
            Change::Resize { from, to, tail } => {
                file.set_len(*from)?;
                file.write_all_at(tail, *to.min(from))
            }
        }
    }

    fn redo(&self, file: &File) -> io::Result<()> {
        match self {
            Change::Write { offset, new, .. } => file.write_all_at(new, *offset),
            Change::Resize { to, .. } => file.set_len(*to),
        }
    }
}

impl Unsynced {
    /// Of a file that was there when the disk was mounted: all of it is durable, and it may all have been synced last.
    pub fn found() -> Unsynced {
        Unsynced { last_sync_from: Some(0), ..Unsynced::default() }
    }

    /// Whether everything is durable.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What the file's next change will be called.
    pub fn mark(&self) -> u64 {
        self.next_number
    }

    /// What was synced last, newest first.
    pub fn past(&self) -> impl Iterator<Item = &Past> {
        self.past.iter().rev()
    }

    /// Up to here the file, which is so long, is settled.
    pub fn settled(&self, length: u64) -> u64 {
        let written_back = self.written_back.map(|written_back| written_back.from);
        let unsettled = self.entries.iter().map(|entry| entry.change.unsettles_from());
        unsettled.chain(written_back).chain(self.last_sync_from).fold(length, u64::min)
    }

    /// Writes to the file.
    pub fn write(&mut self, file: &File, offset: u64, data: &[u8]) -> io::Result<()> {
        let length_before = file.metadata()?.len();
        let end = offset.saturating_add(data.len() as u64).min(length_before);
        let mut old = vec![0; usize::try_from(end.saturating_sub(offset)).map_err(io::Error::other)?];
        file.read_exact_at(&mut old, offset)?;
        file.write_all_at(data, offset)?;
        self.push(Change::Write { offset, new: data.to_vec(), old, length_before });
        Ok(())
    }

    /// Cuts the file, or makes it longer with zeros.
    pub fn resize(&mut self, file: &File, to: u64) -> io::Result<()> {
        let from = file.metadata()?.len();
        if from == to {
            return Ok(());
        }
        let mut tail = vec![0; usize::try_from(from.saturating_sub(to)).map_err(io::Error::other)?];
        file.read_exact_at(&mut tail, to.min(from))?;
        file.set_len(to)?;
        self.push(Change::Resize { from, to, tail });
        Ok(())
    }

    fn push(&mut self, change: Change) {
        self.bytes += change.bytes();
        self.entries.push_back(Entry { number: self.next_number, state: State::Pending, change });
        self.next_number += 1;
        while self.bytes > MOST_BYTES
            && let Some(first) = self.entries.front()
        {
            let (from, last) = (first.change.unsettles_from(), first.number);
            let from = self.written_back.map_or(from, |before| before.from.min(from));
            self.written_back = Some(WrittenBack { from, last });
            self.forget_first();
        }
    }

    /// Everything before `mark` is durable, but for what was lost.
    pub fn sync(&mut self, mark: u64) {
        let mut from = self.written_back.take_if(|before| before.last < mark).map(|before| before.from);
        for entry in self.entries.iter_mut().take_while(|entry| entry.number < mark) {
            if entry.state == State::Pending {
                entry.state = State::Kept;
                let begins = entry.change.unsettles_from();
                from = Some(from.map_or(begins, |from| from.min(begins)));
            }
        }
        // One that found nothing to make durable changes nothing.
        self.last_sync_from = from.or(self.last_sync_from);
        while self.entries.front().is_some_and(|entry| entry.state == State::Kept) {
            self.forget_first();
        }
    }

    /// A sync has failed: what it was to write will never be written.
    pub fn fail_sync(&mut self) {
        for entry in self.entries.iter_mut().filter(|entry| entry.state == State::Pending) {
            entry.state = State::Lost;
        }
    }

    /// The first change is durable.
    fn forget_first(&mut self) {
        let Some(entry) = self.entries.pop_front() else { return };
        self.bytes -= entry.change.bytes();
        if let Change::Write { offset, new, old, .. } = entry.change {
            let past = Past { offset, length: new.len() as u64, old };
            self.past_bytes += past.old.len() + size_of::<Past>();
            self.past.push_back(past);
            while self.past_bytes > MOST_PAST_BYTES {
                let Some(oldest) = self.past.pop_front() else { break };
                self.past_bytes -= oldest.old.len() + size_of::<Past>();
            }
        }
    }

    /// The power is lost: the file has what is durable, and what of the rest survives. That is durable then, and no more settled than what
    /// was synced last: a program that finds it may not sync it again.
    pub fn lose_power(&mut self, file: &File, loss: PowerLoss, rng: &mut Rng) -> io::Result<Left> {
        self.last_sync_from = Some(self.settled(u64::MAX)).filter(|from| *from < u64::MAX);
        self.written_back = None;
        let entries = std::mem::take(&mut self.entries);
        self.bytes = 0;
        for entry in entries.iter().rev() {
            entry.change.take_back(file)?;
        }
        let pending = entries.iter().filter(|entry| entry.state == State::Pending).count();
        // Of so many the first ones survive, and one more in part.
        let whole = match loss {
            PowerLoss::Everything | PowerLoss::Reordered => 0,
            PowerLoss::Torn => rng.random_range(0..=pending),
        };
        let mut left = Left::default();
        let mut position = 0;
        for Entry { state, change, .. } in &entries {
            let survival = match state {
                State::Kept => Survival::Whole,
                State::Lost => Survival::None,
                State::Pending => {
                    position += 1;
                    survival(loss, position - 1, whole)
                }
            };
            let kept_bytes = survive(file, change, survival, rng)?;
            if *state != State::Kept {
                left.kept_bytes += kept_bytes;
                left.lost_bytes += change.weight() - kept_bytes;
            }
        }
        Ok(left)
    }
}

/// How a change survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Survival {
    Whole,
    /// Sectors from its beginning.
    Prefix,
    /// Each sector by chance.
    Subset,
    None,
}

fn survival(loss: PowerLoss, position: usize, whole: usize) -> Survival {
    match loss {
        PowerLoss::Everything => Survival::None,
        PowerLoss::Reordered => Survival::Subset,
        PowerLoss::Torn if position < whole => Survival::Whole,
        PowerLoss::Torn if position == whole => Survival::Prefix,
        PowerLoss::Torn => Survival::None,
    }
}

/// Does again what survives of a change; how many bytes of it that is.
fn survive(file: &File, change: &Change, survival: Survival, rng: &mut Rng) -> io::Result<u64> {
    let Change::Write { offset, new, .. } = change else {
        // A length is written in one piece.
        let survives = match survival {
            Survival::Whole => true,
            Survival::None => false,
            Survival::Prefix | Survival::Subset => rng.random(),
        };
        return if survives { change.redo(file).map(|()| change.weight()) } else { Ok(0) };
    };
    match survival {
        Survival::Whole => change.redo(file).map(|()| new.len() as u64),
        Survival::None => Ok(0),
        Survival::Prefix => {
            let pieces = sectors(*offset, new);
            let kept = rng.random_range(0..=pieces.len());
            write_pieces(file, pieces.into_iter().take(kept))
        }
        Survival::Subset => {
            let pieces = sectors(*offset, new);
            let kept: Vec<bool> = pieces.iter().map(|_| rng.random()).collect();
            let kept = pieces.into_iter().zip(kept).filter_map(|(piece, is_kept)| is_kept.then_some(piece));
            let kept_bytes = write_pieces(file, kept)?;
            // The length is none of the data, and may have reached the disk alone: zeros are what is read then.
            let end = offset + new.len() as u64;
            if rng.random() && file.metadata()?.len() < end {
                file.set_len(end)?;
            }
            Ok(kept_bytes)
        }
    }
}

fn write_pieces<'a>(file: &File, pieces: impl Iterator<Item = (u64, &'a [u8])>) -> io::Result<u64> {
    let mut bytes = 0;
    for (offset, piece) in pieces {
        file.write_all_at(piece, offset)?;
        bytes += piece.len() as u64;
    }
    Ok(bytes)
}

/// The parts of `data`, written at `offset`, that are in one sector each.
fn sectors(offset: u64, data: &[u8]) -> Vec<(u64, &[u8])> {
    let mut parts = Vec::new();
    let (mut at, mut rest) = (offset, data);
    while !rest.is_empty() {
        let room = usize::try_from(SECTOR_BYTES - at % SECTOR_BYTES).unwrap_or(usize::MAX).min(rest.len());
        let (part, further) = rest.split_at(room);
        parts.push((at, part));
        (at, rest) = (at + part.len() as u64, further);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_split_where_sectors_end() {
        let data = vec![7; 1300];
        let lengths: Vec<_> = sectors(500, &data).iter().map(|(at, part)| (*at, part.len())).collect();
        assert_eq!(lengths, [(500, 12), (512, 512), (1024, 512), (1536, 264)]);
        assert!(sectors(5, &[]).is_empty());
    }
}
