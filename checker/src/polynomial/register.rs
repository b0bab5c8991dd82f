//! Registers in which every value is written at most once: Gibbons and Korach, "Testing shared memories", SIAM J. Comput.
//! 26(4), 1997, section 4 ("read-map" with unique writes), extended by compare-and-set, crashed operations and observations of
//! inequality.
//!
//! # Blocks
//!
//! Since a value is written once, the register holds it for one stretch of time. A *cluster* is a write with the reads of its
//! value; the initial value is a write before everything. A successful compare-and-set of a to b is a read of a and a write of b
//! in one, so that the cluster of b follows that of a at once, with nothing between them. Clusters that are so linked are a
//! *block*: a chain v₁ → v₂ → … → vₖ whose first value is written plainly or is the initial one. Two successful compare-and-sets
//! that expect the same value, a chain that returns to itself, and an observed value that nobody writes cannot be linearized.
//!
//! Operations that did not complete: a read saw nothing. A write or compare-and-set whose new value is observed (by
//! something that completed, or in turn by one that is observed) took effect, and completes at infinity. One whose value is not observed may be left out: the value
//! before it is then held in its stead, and nobody reads either. (Only an observation of *inequality* can tell; see [`unequal`].)
//!
//! # One block alone
//!
//! Let tᵢ be the moment at which vᵢ is written. It lies in the interval of the operation that writes it; it is not after any read of vᵢ completes,
//! and not before any read of vᵢ₋₁ is invoked. So lᵢ ≤ tᵢ ≤ hᵢ, with lᵢ the latest invocation among the writer of vᵢ and the
//! reads of vᵢ₋₁, and hᵢ the earliest completion among the writer and the reads of vᵢ; and t₁ ≤ t₂ ≤ … ≤ tₖ. Conversely, such moments put
//! every read of vᵢ somewhere between tᵢ and tᵢ₊₁. They exist if and only if max(l₁…lᵢ) ≤ hᵢ for every i: take the earliest ones.
//!
//! # All blocks
//!
//! Let f be the earliest completion in a block and s the latest invocation. The block begins (t₁) by f, and lasts until s at least;
//! and for every beginning b in [l₁, f] and every end e ≥ max(b, s) the moments tᵢ = max(b, l₁…lᵢ) fit, by the above. So blocks that
//! do not overlap linearize the history if and only if: a block with f < s covers [f, s] (a *forward* zone), and one with s ≤ f
//! has some moment of [s, f] (a *backward* zone; any will do, and nothing is gained by taking more). Intervals are closed and
//! blocks may touch in one instant, in either order. So the forward zones must not overlap but in their ends, and no backward zone may lie strictly inside
//! a forward one: if it does not, it has a moment in the inside of no forward zone, as a connected set is not covered by two
//! disjoint open ones. That is all.
//!
//! The blocks in order of where their zones begin (backward before forward at the same instant) are then a linearization: what begins
//! inside of a forward zone is a backward zone that reaches to its end, and comes behind it.
//!
//! O(n) and the sorting of the blocks, O(m log m) for m values, once moments are ranks.

use labrys_history::Value;

use super::ranks::{Ranked, Span};
use super::values::Values;
use super::{Answer, ByRank, Wanted, unequal};
use crate::class::Role;

/// No operation, no value.
pub(super) const NONE: u32 = u32::MAX;
/// The number of the initial value.
pub(super) const INITIAL: u32 = 0;
/// When the initial value is written: before all moments of the history, which are counted from 1.
const BEFORE_ALL: u32 = 0;
/// When an operation completes that does not.
pub(super) const NEVER: u32 = u32::MAX;

/// A call, with its values as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Read(u32),
    Write(u32),
    CompareAndSet { expected: u32, new: u32 },
    CompareUnequal(u32),
}

/// The interval of an operation in the part of a history that is looked at. Moments are [ranks](super::ranks), so that no two are
/// the same; which operations precede which is all that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interval {
    /// [`NEVER`] if it is not in that part.
    pub invoked: u32,
    /// [`NEVER`] if it may be left out.
    pub completed: u32,
}

impl Interval {
    const ABSENT: Interval = Interval { invoked: NEVER, completed: NEVER };

    fn of(ranked: &Ranked, position: u32) -> Interval {
        match ranked.span(position) {
            None => Interval::ABSENT,
            Some(Span { from, by }) => {
                Interval { invoked: from + 1, completed: if by < ranked.end { by + 1 } else { NEVER } }
            }
        }
    }

    pub fn is_required(self) -> bool {
        self.completed != NEVER
    }
}

/// A history of a register in which every value that is observed is written at most once.
#[derive(Debug)]
pub(super) struct Register {
    pub calls: Vec<Call>,
    /// Numbers of values: all are below.
    values: u32,
}

impl Register {
    /// Prepares a history of calls with these roles; `None` if it is not of that kind.
    pub fn new<'v>(
        initial: &'v Value,
        roles: impl ExactSizeIterator<Item = Option<Role<'v>>>,
    ) -> Option<Register> {
        let mut values = Values::new(initial);
        let mut calls = Vec::with_capacity(roles.len());
        for role in roles {
            calls.push(values.call(role?)?);
        }
        Some(Register { calls, values: values.unique()? })
    }
}

impl ByRank for Register {
    fn decide(&self, ranked: &Ranked, order: Wanted) -> Option<Answer> {
        let Some(clusters) = Clusters::of(self, ranked) else { return Some(Answer::NonLinearizable) };
        let Some(mut zones) = clusters.zones() else { return Some(Answer::NonLinearizable) };
        if !Zone::sort(&mut zones) {
            return Some(Answer::NonLinearizable);
        }
        if self.calls.iter().any(|call| matches!(call, Call::CompareUnequal(_))) {
            return unequal::decide(&clusters, &mut zones);
        }
        Some(Answer::Linearizable(match order {
            Wanted::Order => clusters.order(&zones),
            Wanted::Existence => Vec::new(),
        }))
    }
}

/// A value with the operation that writes it and the completed reads of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cluster {
    /// The position of the operation that writes it; [`NONE`] for the initial value, and if nobody does.
    pub writer: u32,
    pub writer_interval: Interval,
    /// The number of the value that the writer expected; [`NONE`] for a plain write.
    pub expected: u32,
    /// The number of the value that a compare-and-set replaces it by; [`NONE`] if none does.
    pub next: u32,
    /// Whether the register held it in every order.
    pub takes_effect: bool,
    reads: u32,
    /// Of the reads.
    pub earliest_completion: u32,
    pub latest_invocation: u32,
}

impl Cluster {
    const UNWRITTEN: Cluster = Cluster {
        writer: NONE,
        writer_interval: Interval::ABSENT,
        expected: NONE,
        next: NONE,
        takes_effect: false,
        reads: 0,
        earliest_completion: NEVER,
        latest_invocation: BEFORE_ALL,
    };
}

/// All clusters, linked into blocks.
pub(super) struct Clusters<'r> {
    pub register: &'r Register,
    ranked: &'r Ranked,
    /// By number of the value.
    pub clusters: Vec<Cluster>,
}

impl<'r> Clusters<'r> {
    /// The clusters of the part of the history that is there; `None` if they contradict one another.
    fn of(register: &'r Register, ranked: &'r Ranked) -> Option<Clusters<'r>> {
        let clusters = vec![Cluster::UNWRITTEN; register.values as usize];
        let mut clusters = Clusters { register, ranked, clusters };
        clusters.clusters[INITIAL as usize].writer_interval =
            Interval { invoked: BEFORE_ALL, completed: BEFORE_ALL };
        clusters.collect();
        clusters.link()?;
        Some(clusters)
    }

    /// The interval of the operation at a position.
    pub fn interval(&self, position: u32) -> Interval {
        Interval::of(self.ranked, position)
    }

    fn collect(&mut self) {
        for (position, &call) in (0..).zip(&self.register.calls) {
            let interval = self.interval(position);
            if interval == Interval::ABSENT {
                continue;
            }
            match call {
                Call::Read(value) if interval.is_required() => {
                    let cluster = &mut self.clusters[value as usize];
                    cluster.reads += 1;
                    cluster.earliest_completion = cluster.earliest_completion.min(interval.completed);
                    cluster.latest_invocation = cluster.latest_invocation.max(interval.invoked);
                }
                Call::Write(new) => self.write(new, position, interval, NONE),
                Call::CompareAndSet { expected, new } => self.write(new, position, interval, expected),
                Call::Read(_) | Call::CompareUnequal(_) => {}
            }
        }
    }

    fn write(&mut self, value: u32, writer: u32, writer_interval: Interval, expected: u32) {
        let cluster = &mut self.clusters[value as usize];
        (cluster.writer, cluster.writer_interval, cluster.expected) = (writer, writer_interval, expected);
    }

    /// Finds out what took effect, and links the clusters; `None` if that is impossible.
    fn link(&mut self) -> Option<()> {
        for value in 0..self.register.values {
            let cluster = &self.clusters[value as usize];
            if value == INITIAL || cluster.reads > 0 || cluster.writer_interval.is_required() {
                self.take_effect(value)?;
            }
        }
        Some(())
    }

    /// The register held `value`: somebody wrote it, and what that one expected was held before.
    fn take_effect(&mut self, mut value: u32) -> Option<()> {
        loop {
            let cluster = &mut self.clusters[value as usize];
            if std::mem::replace(&mut cluster.takes_effect, true) {
                return Some(());
            }
            if cluster.writer_interval == Interval::ABSENT {
                return None;
            }
            let expected = cluster.expected;
            if expected == NONE {
                return Some(());
            }
            if std::mem::replace(&mut self.clusters[expected as usize].next, value) != NONE {
                return None;
            }
            value = expected;
        }
    }

    /// The zones of all blocks, in whatever order; `None` if a block is impossible by itself.
    fn zones(&self) -> Option<Vec<Zone>> {
        let mut zones = Vec::new();
        let (mut in_blocks, mut in_all) = (0, 0);
        for (value, cluster) in (0..).zip(&self.clusters) {
            if cluster.takes_effect {
                in_all += 1;
                if cluster.expected == NONE {
                    zones.push(self.zone(value, &mut in_blocks)?);
                }
            }
        }
        // What no first value leads to, is linked in a circle.
        (in_blocks == in_all).then_some(zones)
    }

    /// The zone of the block that begins with `first`, counting its clusters.
    fn zone(&self, first: u32, clusters: &mut u32) -> Option<Zone> {
        let mut zone = Zone { earliest_completion: NEVER, latest_invocation: BEFORE_ALL, first };
        let mut value = first;
        while value != NONE {
            let cluster = &self.clusters[value as usize];
            zone.latest_invocation = zone.latest_invocation.max(cluster.writer_interval.invoked);
            let written_by = cluster.writer_interval.completed.min(cluster.earliest_completion);
            if zone.latest_invocation > written_by {
                return None;
            }
            zone.earliest_completion = zone.earliest_completion.min(written_by);
            zone.latest_invocation = zone.latest_invocation.max(cluster.latest_invocation);
            *clusters += 1;
            value = cluster.next;
        }
        Some(zone)
    }

    /// The operations of the blocks in their order.
    pub fn order(&self, zones: &[Zone]) -> Vec<u32> {
        let reads = Reads::of(self);
        let mut order = Vec::with_capacity(self.register.calls.len());
        for zone in zones {
            let mut value = zone.first;
            while value != NONE {
                let cluster = &self.clusters[value as usize];
                if cluster.writer != NONE {
                    order.push(cluster.writer);
                }
                order.extend_from_slice(reads.of_value(value));
                value = cluster.next;
            }
        }
        order
    }
}

/// The completed reads of each value, in order of invocation.
struct Reads {
    /// Those of value number v are `positions[starts[v]..starts[v + 1]]`.
    starts: Vec<u32>,
    positions: Vec<u32>,
}

impl Reads {
    fn of(clusters: &Clusters<'_>) -> Reads {
        let mut starts = Vec::with_capacity(clusters.clusters.len() + 1);
        let mut total = 0;
        starts.push(0);
        for cluster in &clusters.clusters {
            starts.push(total);
            total += cluster.reads;
        }
        let mut positions = vec![NONE; total as usize];
        // `starts[v + 1]` is where the next read of v goes, and ends as where they end.
        for (position, &call) in (0..).zip(&clusters.register.calls) {
            if let (Call::Read(value), true) = (call, clusters.interval(position).is_required()) {
                let place = &mut starts[value as usize + 1];
                positions[*place as usize] = position;
                *place += 1;
            }
        }
        let mut reads = Reads { starts, positions };
        if !clusters.ranked.is_sorted {
            for value in 0..clusters.clusters.len() {
                let range = reads.starts[value] as usize..reads.starts[value + 1] as usize;
                reads.positions[range].sort_by_key(|&position| clusters.interval(position).invoked);
            }
        }
        reads
    }

    fn of_value(&self, value: u32) -> &[u32] {
        &self.positions[self.starts[value as usize] as usize..self.starts[value as usize + 1] as usize]
    }
}

/// Where a block must or can be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Zone {
    pub earliest_completion: u32,
    pub latest_invocation: u32,
    /// Its first value.
    pub first: u32,
}

impl Zone {
    pub fn is_forward(&self) -> bool {
        self.earliest_completion < self.latest_invocation
    }

    pub fn begin(&self) -> u32 {
        self.earliest_completion.min(self.latest_invocation)
    }

    pub fn end(&self) -> u32 {
        self.earliest_completion.max(self.latest_invocation)
    }

    /// Puts zones into an order of their blocks; `false` if there is none.
    fn sort(zones: &mut [Zone]) -> bool {
        zones.sort_unstable_by_key(|zone| (zone.begin(), zone.is_forward()));
        // Where the last forward zone ends.
        let mut covered_until = BEFORE_ALL;
        for zone in zones {
            let fits = if zone.is_forward() { zone.begin() } else { zone.end() };
            if fits < covered_until {
                return false;
            }
            if zone.is_forward() {
                covered_until = zone.end();
            }
        }
        true
    }
}
