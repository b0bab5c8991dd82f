//! [`Rows`] and [`Moments`]: which moment of a diagram is how far down, so that words do not cover each other.

use std::collections::BTreeMap;

/// Where the first moment may begin.
pub(super) const TOP_PX: f64 = 74.0;
/// The height of a line of words.
pub(super) const ROW_PX: f64 = 15.0;
/// From here on a pause is drawn as one.
pub(super) const PAUSE_NS: u64 = 20_000_000;
pub(super) const PAUSE_PX: f64 = 16.0;

/// The moments at which something happens, and how far down each is.
pub(super) struct Moments {
    /// Of each moment: where it begins, and how many rows it has.
    pub(super) rows: BTreeMap<u64, (f64, usize)>,
    /// Where the last one ends.
    pub(super) bottom: f64,
}

/// Gives out rows.
#[derive(Default)]
pub(super) struct Rows {
    taken: BTreeMap<(u64, usize), usize>,
    moments: BTreeMap<u64, usize>,
}

impl Rows {
    /// There is such a moment; its first row.
    pub(super) fn touch(&mut self, at_ns: u64) -> usize {
        self.moments.entry(at_ns).or_insert(1);
        0
    }

    /// The next free row at a moment in a gap; gap 1 is between line 0 and line 1.
    pub(super) fn take(&mut self, at_ns: u64, gap: usize) -> usize {
        let taken = self.taken.entry((at_ns, gap)).or_default();
        let row = *taken;
        *taken += 1;
        let rows = self.moments.entry(at_ns).or_insert(1);
        *rows = (*rows).max(row + 1);
        row
    }

    pub(super) fn laid_out(self) -> Moments {
        let mut y = TOP_PX + 6.0;
        let mut rows = BTreeMap::new();
        let mut last_ns = None;
        for (at_ns, count) in self.moments {
            if last_ns.is_some_and(|last_ns| at_ns - last_ns >= PAUSE_NS) {
                y += 2.0 * PAUSE_PX - 6.0;
            }
            rows.insert(at_ns, (y, count));
            y += count as f64 * ROW_PX + 5.0;
            last_ns = Some(at_ns);
        }
        Moments { rows, bottom: y + 8.0 }
    }
}

impl Moments {
    /// How far down a moment is; of one that nothing happens at, the next.
    pub(super) fn y(&self, at_ns: u64) -> f64 {
        self.rows.range(at_ns..).next().map_or(self.bottom, |(_, (y, _))| *y)
    }
}
