//! Bytes that go wrong by themselves: where, how, and back again.
//!
//! Rot sets in where data has been durable for a while: uniformly over all such bytes of all files, and never in what a file's last sync
//! wrote or in what no sync has written yet. A log without a second copy cannot tell damage there from a write that a crash interrupted
//! (Alagappan et al., *Protocol-Aware Recovery for Consensus-Based Storage*, FAST 2018), so nobody could be blamed for what follows.
//!
//! Rot is mended where it still is: what a program has written over, cut off or removed since then is its own.

use std::io;
use std::os::unix::fs::FileExt;

use labrys_seed::Rng;
use rand::Rng as _;
use rand::seq::IndexedRandom;

use super::names::Ino;
use super::unsynced::{Past, SECTOR_BYTES};
use super::volume::Volume;
use crate::fault::DiskTrouble;

/// How often other chunks are chosen if those chosen are equal.
const TRIES: usize = 32;

/// A place at which a file has gone wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub ino: Ino,
    pub offset: u64,
    /// What should be there.
    pub was: Vec<u8>,
    /// What is there. Nothing: the file ends here.
    pub is: Vec<u8>,
}

impl Piece {
    /// Whether a reader of these bytes meets it.
    pub fn is_met(&self, ino: Ino, offset: u64, length: u64) -> bool {
        let end = if self.is.is_empty() { u64::MAX } else { self.offset + self.is.len() as u64 };
        ino == self.ino && offset < end && self.offset < offset.saturating_add(length)
    }
}

/// Makes something go wrong: where. Nothing, if there is nothing that could.
pub(super) fn set_in(volume: &mut Volume, trouble: DiskTrouble, rng: &mut Rng) -> io::Result<Vec<Piece>> {
    let sound: Vec<(Ino, u64)> = volume
        .files()
        .into_iter()
        .map(|(ino, length)| (ino, settled_length(volume, ino, length)))
        .filter(|(_, length)| *length > 0)
        .collect();
    let Ok(&(ino, length)) = sound.choose_weighted(rng, |(_, length)| *length) else { return Ok(Vec::new()) };
    let pieces = match trouble {
        DiskTrouble::FlipBit => flip(volume, ino, length, rng)?,
        DiskTrouble::Truncate => cut_short(volume, ino, length, rng)?,
        DiskTrouble::StaleChunk => stale(volume, &sound, rng)?,
        DiskTrouble::SwapChunks => swap(volume, ino, length, rng)?,
        _ => Vec::new(),
    };
    for piece in &pieces {
        let (file, _) = volume.file(piece.ino)?;
        match piece.is.is_empty() {
            true => file.set_len(piece.offset)?,
            false => file.write_all_at(&piece.is, piece.offset)?,
        }
    }
    Ok(pieces)
}

/// Puts back what should be there, where nobody has written since; how many bytes that are.
pub(super) fn mend(volume: &mut Volume, pieces: &[Piece]) -> io::Result<u64> {
    let mut mended = 0;
    for piece in pieces {
        if volume.unsynced(piece.ino).is_none() {
            // The file is gone.
            continue;
        }
        let (file, _) = volume.file(piece.ino)?;
        let is_there = match piece.is.is_empty() {
            true => file.metadata()?.len() == piece.offset,
            false => {
                let mut found = vec![0; piece.is.len()];
                file.read_exact_at(&mut found, piece.offset).is_ok() && found == piece.is
            }
        };
        if is_there {
            file.write_all_at(&piece.was, piece.offset)?;
            mended += piece.was.len() as u64;
        }
    }
    Ok(mended)
}

/// Up to here a file has been durable for a while.
fn settled_length(volume: &Volume, ino: Ino, length: u64) -> u64 {
    let Some(unsynced) = volume.unsynced(ino) else { return 0 };
    let synced_last = unsynced.past().next().map(|past| past.offset);
    [unsynced.first_offset(), synced_last].into_iter().flatten().fold(length, u64::min)
}

fn flip(volume: &mut Volume, ino: Ino, length: u64, rng: &mut Rng) -> io::Result<Vec<Piece>> {
    let (offset, bit) = (rng.random_range(0..length), rng.random_range(0..8));
    let was = volume.read(ino, offset, 1)?;
    let is = was.iter().map(|byte| byte ^ (1 << bit)).collect();
    Ok(vec![Piece { ino, offset, was, is }])
}

fn cut_short(volume: &mut Volume, ino: Ino, length: u64, rng: &mut Rng) -> io::Result<Vec<Piece>> {
    if volume.unsynced(ino).is_none_or(|unsynced| !unsynced.is_empty()) {
        // What is taken back at a loss of power would be taken back at the wrong place.
        return Ok(Vec::new());
    }
    let offset = rng.random_range(0..length);
    let rest = volume.metadata(ino)?.len() - offset;
    let was = volume.read(ino, offset, usize::try_from(rest).map_err(io::Error::other)?)?;
    Ok(vec![Piece { ino, offset, was, is: Vec::new() }])
}

/// A chunk of what a sync has written, as it was before; of any file, if there is one.
fn stale(volume: &mut Volume, sound: &[(Ino, u64)], rng: &mut Rng) -> io::Result<Vec<Piece>> {
    let mut candidates: Vec<(Ino, Past)> = Vec::new();
    for (ino, length) in sound {
        let past = volume.unsynced(*ino).into_iter().flat_map(|unsynced| unsynced.past());
        let settled = past.filter(|past| past.length > 0 && past.offset + past.length <= *length);
        candidates.extend(settled.map(|past| (*ino, past.clone())));
    }
    for _ in 0..TRIES {
        let Some((ino, past)) = candidates.choose(rng) else { break };
        let sector =
            rng.random_range(past.offset / SECTOR_BYTES..=(past.offset + past.length - 1) / SECTOR_BYTES);
        let from = past.offset.max(sector * SECTOR_BYTES);
        let to = (past.offset + past.length).min((sector + 1) * SECTOR_BYTES);
        let was = volume.read(*ino, from, usize::try_from(to - from).map_err(io::Error::other)?)?;
        let before =
            |at: u64| usize::try_from(at - past.offset).ok().and_then(|at| past.old.get(at)).copied();
        let is: Vec<u8> = (from..to).map(|at| before(at).unwrap_or(0)).collect();
        if was != is {
            return Ok(vec![Piece { ino: *ino, offset: from, was, is }]);
        }
    }
    Ok(Vec::new())
}

fn swap(volume: &mut Volume, ino: Ino, length: u64, rng: &mut Rng) -> io::Result<Vec<Piece>> {
    let sectors = length / SECTOR_BYTES;
    if sectors < 2 {
        return Ok(Vec::new());
    }
    for _ in 0..TRIES {
        let (one, other) = (rng.random_range(0..sectors), rng.random_range(0..sectors));
        let mut read = |sector: u64| volume.read(ino, sector * SECTOR_BYTES, SECTOR_BYTES as usize);
        let (first, second) = (read(one)?, read(other)?);
        if first != second {
            let piece = |sector, was: &Vec<u8>, is: &Vec<u8>| Piece {
                ino,
                offset: sector * SECTOR_BYTES,
                was: was.clone(),
                is: is.clone(),
            };
            return Ok(vec![piece(one, &first, &second), piece(other, &second, &first)]);
        }
    }
    Ok(Vec::new())
}
