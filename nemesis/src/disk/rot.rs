//! Bytes that go wrong by themselves: where, how, and back again.
//!
//! Rot sets in where files are settled ([`super::unsynced`]): uniformly over all such bytes, and never in anything that a file's last sync
//! made durable or that no sync has yet. A log without a second copy cannot tell damage there from a write that a crash interrupted
//! (Alagappan et al., *Protocol-Aware Recovery for Consensus-Based Storage*, FAST 2018), so nobody could be blamed for what follows.
//! A file that is cut short begins to be so where it is settled; what the last sync made durable goes with the rest.
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
    /// Behind the last byte that it is about.
    fn end(&self) -> u64 {
        if self.is.is_empty() { u64::MAX } else { self.offset + self.is.len() as u64 }
    }

    fn overlaps(&self, other: &Piece) -> bool {
        self.ino == other.ino && self.offset < other.end() && other.offset < self.end()
    }

    /// Whether a reader of these bytes meets it.
    pub fn is_met(&self, ino: Ino, offset: u64, length: u64) -> bool {
        ino == self.ino && offset < self.end() && self.offset < offset.saturating_add(length)
    }
}

/// Makes something go wrong: where. Nothing, if there is nothing that could. Not where something has gone wrong already (`rotten`): what
/// should be there would not be known any more when the first of both is over.
pub(super) fn set_in(
    volume: &mut Volume,
    trouble: DiskTrouble,
    rotten: &[&Piece],
    rng: &mut Rng,
) -> io::Result<Vec<Piece>> {
    let sound: Vec<(Ino, u64)> = volume
        .files()
        .into_iter()
        .map(|(ino, length)| (ino, volume.unsynced(ino).map_or(0, |unsynced| unsynced.settled(length))))
        .filter(|(_, length)| *length > 0)
        .collect();
    let mut pieces = Vec::new();
    for _ in 0..TRIES {
        let Ok(&(ino, length)) = sound.choose_weighted(rng, |(_, length)| *length) else { break };
        pieces = match trouble {
            DiskTrouble::FlipBit => flip(volume, ino, length, rng)?,
            DiskTrouble::Truncate => cut_short(volume, ino, length, rng)?,
            DiskTrouble::StaleChunk => stale(volume, &sound, rng)?,
            DiskTrouble::SwapChunks => swap(volume, ino, length, rng)?,
            _ => Vec::new(),
        };
        if !pieces.iter().any(|piece| rotten.iter().any(|other| piece.overlaps(other))) {
            break;
        }
        pieces.clear();
    }
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

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use labrys_seed::Seed;

    use super::super::names::ROOT;
    use super::*;
    use crate::fault::PowerLoss;

    /// A disk with one file, and what was done to it.
    struct Bench {
        _folder: tempfile::TempDir,
        volume: Volume,
        ino: Ino,
    }

    impl Bench {
        fn new() -> Bench {
            let folder = tempfile::tempdir().unwrap();
            let mut volume = Volume::open(folder.path()).unwrap();
            let ino = volume.create(ROOT, OsStr::new("log"), 0o644).unwrap();
            Bench { _folder: folder, volume, ino }
        }

        fn write(&mut self, offset: u64, length: usize) {
            let (file, unsynced) = self.volume.file(self.ino).unwrap();
            unsynced.write(file, offset, &vec![1; length]).unwrap();
        }

        fn resize(&mut self, length: u64) {
            let (file, unsynced) = self.volume.file(self.ino).unwrap();
            unsynced.resize(file, length).unwrap();
        }

        fn sync(&mut self) {
            let (_, unsynced) = self.volume.file(self.ino).unwrap();
            unsynced.sync(unsynced.mark());
        }

        /// The first and the last place at which one of many bits flips, each flipped back at once.
        fn rots(&mut self) -> Option<(u64, u64)> {
            let mut places = Vec::new();
            for seed in 0..200 {
                let pieces = set_in(&mut self.volume, DiskTrouble::FlipBit, &[], &mut Seed(seed).rng());
                let pieces = pieces.unwrap();
                places.extend(pieces.iter().map(|piece| piece.offset));
                mend(&mut self.volume, &pieces).unwrap();
            }
            Some((*places.iter().min()?, *places.iter().max()?))
        }

        /// Rot sets in everywhere before `end`, which is more than a few bytes, and not behind it.
        fn expect_rot_before(&mut self, end: u64) {
            let (first, last) = self.rots().expect("rot");
            assert!(first < end / 20 && last < end && last > end - end / 20, "{first} to {last}, not {end}");
        }
    }

    #[test]
    fn everything_is_spared_that_the_last_sync_made_durable_and_what_no_sync_has() {
        let mut bench = Bench::new();
        (0..30).for_each(|number| bench.write(number * 100, 100));
        assert_eq!(bench.rots(), None, "no sync yet");
        bench.sync();
        assert_eq!(bench.rots(), None, "all of it was made durable by one sync");
        (30..40).for_each(|number| bench.write(number * 100, 100));
        assert_eq!(bench.rots(), None, "the sync before is still the last one");
        bench.sync();
        bench.expect_rot_before(3_000);
        bench.sync();
        bench.expect_rot_before(3_000);
        bench.write(1_000, 100);
        bench.expect_rot_before(1_000);
        bench.sync();
        bench.expect_rot_before(1_000);
        bench.write(5_000, 100);
        bench.sync();
        bench.expect_rot_before(4_000);
    }

    #[test]
    fn a_large_file_that_was_written_over_is_spared_from_where_that_began() {
        let mut bench = Bench::new();
        bench.write(0, 1 << 20);
        bench.sync();
        (128..256).for_each(|number| bench.write(number << 12, 1 << 12));
        bench.sync();
        bench.expect_rot_before(1 << 19);
    }

    #[test]
    fn what_was_written_back_unasked_is_spared_until_a_sync_after_the_next() {
        let mut bench = Bench::new();
        bench.write(0, 1_000);
        bench.sync();
        // More than is held in memory.
        bench.write(1_000, 65 << 20);
        assert!(bench.volume.unsynced(bench.ino).unwrap().is_empty(), "it was written back");
        assert_eq!(bench.rots(), None);
        bench.sync();
        bench.expect_rot_before(1_000);
        bench.write(2_000, 10);
        bench.sync();
        bench.expect_rot_before(2_000);
    }

    #[test]
    fn a_file_that_was_made_shorter_is_spared_as_its_end_may_have_been_synced_last() {
        let mut bench = Bench::new();
        (0..3).for_each(|number| {
            bench.write(number * 1_000, 1_000);
            bench.sync();
        });
        bench.expect_rot_before(2_000);
        bench.resize(2_000);
        assert_eq!(bench.rots(), None);
        bench.sync();
        assert_eq!(bench.rots(), None);
        bench.write(2_000, 1_000);
        bench.sync();
        bench.expect_rot_before(2_000);
        bench.resize(9_000);
        bench.sync();
        bench.expect_rot_before(3_000);
    }

    #[test]
    fn what_survived_a_loss_of_power_is_spared_with_what_was_synced_before() {
        for loss in [PowerLoss::Everything, PowerLoss::Torn, PowerLoss::Reordered] {
            let mut bench = Bench::new();
            bench.volume.sync_directory(ROOT).unwrap();
            (0..3).for_each(|number| {
                bench.write(number * 1_000, 1_000);
                bench.sync();
            });
            bench.write(3_000, 5_000);
            bench.volume.lose_power(loss, &mut Seed(5).rng()).unwrap();
            bench.expect_rot_before(2_000);
            // It ends somewhere; what is written there, or behind it, is what the next sync makes durable.
            bench.write(8_000, 1_000);
            bench.sync();
            let (_, last) = bench.rots().expect("rot");
            assert!((2_000..8_000).contains(&last), "{loss:?}: {last}");
        }
    }

    #[test]
    fn several_troubles_of_a_file_are_put_right_in_whatever_order_they_end() {
        for seed in 0..50 {
            let mut bench = Bench::new();
            for number in 0..6_u8 {
                let (file, unsynced) = bench.volume.file(bench.ino).unwrap();
                unsynced.write(file, u64::from(number) * 700, &[number + 1; 700]).unwrap();
                unsynced.sync(unsynced.mark());
            }
            let right = bench.volume.read(bench.ino, 0, 10_000).unwrap();
            let mut rng = Seed(seed).rng();
            let mut all: Vec<Vec<Piece>> = Vec::new();
            for trouble in
                [DiskTrouble::SwapChunks, DiskTrouble::FlipBit, DiskTrouble::StaleChunk, DiskTrouble::FlipBit]
            {
                let rotten: Vec<&Piece> = all.iter().flatten().collect();
                let pieces = set_in(&mut bench.volume, trouble, &rotten, &mut rng).unwrap();
                all.push(pieces);
            }
            assert!(bench.volume.read(bench.ino, 0, 10_000).unwrap() != right);
            // In the order in which they came, in which what overlaps would not be found as it was left.
            for pieces in all {
                mend(&mut bench.volume, &pieces).unwrap();
            }
            assert!(bench.volume.read(bench.ino, 0, 10_000).unwrap() == right, "seed {seed}");
        }
    }

    #[test]
    fn of_a_file_that_was_there_before_nobody_knows_what_was_synced_last() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("log"), [1; 1_000]).unwrap();
        let volume = Volume::open(folder.path()).unwrap();
        let ino = volume.lookup(ROOT, OsStr::new("log")).unwrap();
        let mut bench = Bench { _folder: folder, volume, ino };
        assert_eq!(bench.rots(), None);
        bench.write(1_000, 100);
        bench.sync();
        bench.expect_rot_before(1_000);
    }
}
