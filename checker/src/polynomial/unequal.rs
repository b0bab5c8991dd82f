//! Observations of inequality on a register with unique values: a compare-and-set that failed because the register held
//! something else than `a`.
//!
//! They change nothing, so a history with them is linearizable only if it is without them; and since each value is held for
//! one stretch of time, an observation asks no more than that its interval [x, y] is not strictly inside of the stretch of `a`. What
//! is known of the stretch does not depend on the order of blocks: let `a` be the value number i of its block.
//!
//! **Impossible.** It begins at tᵢ, which is at most the least of hᵢ…hₖ; if that is before x, the observation comes after it. Then the next value
//! must be written by y. Within the block that is not before max(l₁…lᵢ₊₁), and not before the block's latest invocation if `a` is its
//! last; and then it takes another block that begins with an operation invoked by y, and of which no operation
//! completes before one of this block is invoked (else it precedes this one), or an operation that never completed and was not needed so far: a
//! write, or a compare-and-set that expects `a`. If there is none, then the history cannot be linearized.
//!
//! **Possible.** For a given order of the other operations the observations are put in greedily, in order of invocation, each at the first
//! place that is behind everything that completed before it and where the register holds something else. If any way to put them in exists,
//! so does this one: each stands no later than in the other. Orders that are tried: every block as early as possible, every block as late as
//! possible, and both once more with operations that never completed put behind blocks whose last value is held for too long.
//!
//! **Between the two** the algorithm does not know. Which order of the blocks suits all observations at once may well be a hard problem (each is a
//! choice between "begins late" and "ends early"), so the general search has to decide.

use super::Answer;
use super::register::{Call, Clusters, INITIAL, Interval, NEVER, NONE, Zone};

/// An observation that a register held something else than a value.
#[derive(Clone, Copy, Debug)]
struct Observation {
    position: u32,
    value: u32,
    interval: Interval,
}

/// The answer, given the zones of the blocks, which are possible without the observations; `None` if it is not known.
pub(super) fn decide(clusters: &Clusters<'_>, zones: &mut [Zone]) -> Option<Answer> {
    let observations = observations(clusters);
    let spare = Spare::of(clusters);
    if !Stretches::of(clusters, zones, &spare).allow(&observations) {
        return Some(Answer::NonLinearizable);
    }
    let as_early_as_possible = zones.to_vec();
    zones.sort_unstable_by_key(|zone| (zone.end(), !zone.is_forward()));
    for blocks in [&as_early_as_possible, &*zones] {
        let order = Order::of(clusters, blocks);
        let order = match order.with(&observations) {
            Ok(order) => return Some(Answer::Linearizable(order)),
            Err(held_too_long) => Order::of(clusters, &spare.inserted(blocks, &order, held_too_long)),
        };
        if let Ok(order) = order.with(&observations) {
            return Some(Answer::Linearizable(order));
        }
    }
    None
}

/// Those that must be explained, in order of invocation.
fn observations(clusters: &Clusters<'_>) -> Vec<Observation> {
    let mut observations: Vec<Observation> = (0..)
        .zip(&clusters.register.calls)
        .filter_map(|(position, &call)| match (call, clusters.interval(position)) {
            (Call::CompareUnequal(value), interval) if interval.is_required() => {
                Some(Observation { position, value, interval })
            }
            _ => None,
        })
        .collect();
    observations.sort_by_key(|observation| observation.interval.invoked);
    observations
}

/// Operations that never completed and are not needed by anything but, perhaps, an observation.
struct Spare {
    /// Plain writes: invocation and value, in order of invocation.
    writes: Vec<(u32, u32)>,
    /// Compare-and-sets: the value expected, invocation and new value, in that order.
    compare_and_sets: Vec<(u32, u32, u32)>,
}

impl Spare {
    fn of(clusters: &Clusters<'_>) -> Spare {
        let mut spare = Spare { writes: Vec::new(), compare_and_sets: Vec::new() };
        for (value, cluster) in (0..).zip(&clusters.clusters) {
            let invoked = cluster.writer_interval.invoked;
            match cluster.expected {
                _ if cluster.takes_effect || cluster.writer == NONE => {}
                NONE => spare.writes.push((invoked, value)),
                expected => spare.compare_and_sets.push((expected, invoked, value)),
            }
        }
        spare.writes.sort_unstable();
        spare.compare_and_sets.sort_unstable();
        spare
    }

    /// Whether there is one that can follow `value` and was invoked by then.
    fn can_follow(&self, value: u32, by: u32) -> bool {
        self.writes.first().is_some_and(|&(invoked, _)| invoked <= by)
            || self.compare_and_set(value, by).is_some()
    }

    /// The new value of a compare-and-set that expects `value` and was invoked by then.
    fn compare_and_set(&self, value: u32, by: u32) -> Option<u32> {
        let first = self.compare_and_sets.partition_point(|&(expected, ..)| expected < value);
        let &(expected, invoked, new) = self.compare_and_sets.get(first)?;
        (expected == value && invoked <= by).then_some(new)
    }

    /// The blocks and, behind those whose last value is held for too long, something spare, as far as there is. Those that
    /// need it soonest are served first: what suits them suits the others too.
    fn inserted(
        &self,
        blocks: &[Zone],
        order: &Order<'_, '_>,
        mut held_too_long: Vec<Observation>,
    ) -> Vec<Zone> {
        held_too_long.sort_by_key(|observation| observation.interval.completed);
        let mut writes = self.writes.iter().peekable();
        let mut behind = vec![NONE; order.clusters.clusters.len()];
        for Observation { value, interval, .. } in held_too_long {
            let by = interval.completed;
            if behind[value as usize] == NONE {
                behind[value as usize] = self
                    .compare_and_set(value, by)
                    .or_else(|| writes.next_if(|&&(invoked, _)| invoked <= by).map(|&(_, value)| value))
                    .unwrap_or(NONE);
            }
        }
        let mut inserted = Vec::with_capacity(blocks.len());
        for &zone in blocks {
            inserted.push(zone);
            let spare = behind[order.last_of(zone) as usize];
            if spare != NONE {
                inserted.push(Zone { first: spare, ..zone });
            }
        }
        inserted
    }
}

/// What is known of the time for which a value is held, whatever the order of the blocks.
#[derive(Clone, Copy)]
struct Stretch {
    begins_by: u32,
    ends_from: u32,
    /// Whether the next block ends it.
    is_last: bool,
    /// The latest invocation in its block.
    block: (u32, u32),
}

/// The same for all values that are held.
struct Stretches<'s> {
    /// By number of the value.
    of_value: Vec<Option<Stretch>>,
    /// By the invocation of their first write: the two blocks so far whose earliest completions are the latest, as
    /// (completion, first value).
    latest: Vec<(u32, [(u32, u32); 2])>,
    spare: &'s Spare,
}

impl<'s> Stretches<'s> {
    fn of(clusters: &Clusters<'_>, zones: &[Zone], spare: &'s Spare) -> Stretches<'s> {
        let mut of_value = vec![None; clusters.clusters.len()];
        let mut latest: Vec<(u32, [(u32, u32); 2])> = Vec::with_capacity(zones.len());
        let mut chain = Vec::new();
        for &zone in zones {
            let first_write = clusters.clusters[zone.first as usize].writer_interval.invoked;
            latest.push((first_write, [(zone.earliest_completion, zone.first), (0, NONE)]));
            chain.clear();
            let mut value = zone.first;
            while value != NONE {
                chain.push(value);
                value = clusters.clusters[value as usize].next;
            }
            stretch(clusters, zone, &chain, &mut of_value);
        }
        latest.sort_unstable();
        let mut best = [(0, NONE); 2];
        for (_, two) in &mut latest {
            let new = two[0];
            best = if new > best[0] { [new, best[0]] } else { [best[0], best[1].max(new)] };
            *two = best;
        }
        Stretches { of_value, latest, spare }
    }

    /// Whether none of the observations is impossible.
    fn allow(&self, observations: &[Observation]) -> bool {
        observations.iter().all(|observation| {
            let Some(stretch) = self.of_value[observation.value as usize] else { return true };
            let Interval { invoked, completed } = observation.interval;
            stretch.begins_by >= invoked
                || stretch.ends_from <= completed
                    && (!stretch.is_last
                        || self.spare.can_follow(observation.value, completed)
                        || self.can_be_followed(stretch, completed))
        })
    }

    /// Whether another block can come behind this one and begin by then.
    fn can_be_followed(&self, stretch: Stretch, by: u32) -> bool {
        let (block, latest_invocation) = stretch.block;
        let begun = self.latest.partition_point(|&(first_write, _)| first_write <= by);
        let Some(&(_, two)) = begun.checked_sub(1).and_then(|last| self.latest.get(last)) else {
            return false;
        };
        two.iter()
            .any(|&(completion, first)| first != NONE && first != block && completion >= latest_invocation)
    }
}

/// Notes the stretches of a block, whose values are `chain`.
fn stretch(clusters: &Clusters<'_>, zone: Zone, chain: &[u32], of_value: &mut [Option<Stretch>]) {
    let mut ends_from = zone.latest_invocation;
    let mut begins_by = NEVER;
    let mut from = 0;
    // The earliest end of each stretch is the earliest beginning of the next.
    let mut ends = Vec::with_capacity(chain.len());
    for &value in chain {
        let cluster = &clusters.clusters[value as usize];
        from = cluster.writer_interval.invoked.max(from);
        ends.push(from);
        from = cluster.latest_invocation.max(from);
    }
    for (number, &value) in chain.iter().enumerate().rev() {
        let cluster = &clusters.clusters[value as usize];
        begins_by = begins_by.min(cluster.writer_interval.completed).min(cluster.earliest_completion);
        of_value[value as usize] = Some(Stretch {
            begins_by,
            ends_from,
            is_last: number + 1 == chain.len(),
            block: (zone.first, zone.latest_invocation),
        });
        ends_from = ends[number];
    }
}

/// The operations in the order of their blocks, to put observations in.
struct Order<'c, 'r> {
    clusters: &'c Clusters<'r>,
    operations: Vec<u32>,
    /// The value held before each operation, and behind the last.
    held: Vec<u32>,
    /// For each value the place where it is held no longer.
    held_until: Vec<u32>,
    /// The latest invocation up to and with each operation.
    invoked_by: Vec<u32>,
    /// The earliest completion from each operation on.
    completed_from: Vec<u32>,
}

impl<'c, 'r> Order<'c, 'r> {
    fn of(clusters: &'c Clusters<'r>, blocks: &[Zone]) -> Order<'c, 'r> {
        let operations = clusters.order(blocks);
        let mut held = Vec::with_capacity(operations.len() + 1);
        let mut invoked_by = Vec::with_capacity(operations.len());
        let mut held_until = vec![0; clusters.clusters.len()];
        let (mut value, mut latest) = (INITIAL, 0);
        for (place, &position) in (0..).zip(&operations) {
            held.push(value);
            held_until[value as usize] = place + 1;
            if let Call::Write(new) | Call::CompareAndSet { new, .. } =
                clusters.register.calls[position as usize]
            {
                value = new;
            }
            latest = clusters.interval(position).invoked.max(latest);
            invoked_by.push(latest);
        }
        held.push(value);
        held_until[value as usize] = operations.len() as u32 + 1;
        let mut completed_from = vec![NEVER; operations.len()];
        let mut earliest = NEVER;
        for (place, &position) in operations.iter().enumerate().rev() {
            earliest = clusters.interval(position).completed.min(earliest);
            completed_from[place] = earliest;
        }
        Order { clusters, operations, held, held_until, invoked_by, completed_from }
    }

    /// The last value of a block.
    fn last_of(&self, block: Zone) -> u32 {
        let mut value = block.first;
        while self.clusters.clusters[value as usize].next != NONE {
            value = self.clusters.clusters[value as usize].next;
        }
        value
    }

    /// The order with the observations in it, or those that have no place.
    fn with(&self, observations: &[Observation]) -> Result<Vec<u32>, Vec<Observation>> {
        let places = self.places(observations)?;
        let mut placed: Vec<(u32, u32)> =
            places.into_iter().zip(observations.iter().map(|observation| observation.position)).collect();
        // Stable: at one place they stand in order of invocation.
        placed.sort_by_key(|&(place, _)| place);
        let mut merged = Vec::with_capacity(self.operations.len() + observations.len());
        let mut placed = placed.into_iter().peekable();
        for place in 0..=self.operations.len() as u32 {
            while let Some((_, position)) = placed.next_if(|&(of_observation, _)| of_observation == place) {
                merged.push(position);
            }
            merged.extend(self.operations.get(place as usize));
        }
        Ok(merged)
    }

    /// The place of each observation: the number of operations before it.
    fn places(&self, observations: &[Observation]) -> Result<Vec<u32>, Vec<Observation>> {
        let mut places = Vec::with_capacity(observations.len());
        let mut without_place = Vec::new();
        let mut by_completion: Vec<usize> = (0..observations.len()).collect();
        by_completion.sort_by_key(|&number| observations[number].interval.completed);
        let mut completed = by_completion.into_iter().peekable();
        // The furthest place of an observation that completed.
        let mut furthest = 0;
        for &observation in observations {
            let Interval { invoked, completed: last } = observation.interval;
            while let Some(number) =
                completed.next_if(|&number| observations[number].interval.completed < invoked)
            {
                furthest = furthest.max(places[number]);
            }
            let from = self.completed_from.partition_point(|&completed| completed < invoked) as u32;
            let until = self.invoked_by.partition_point(|&invoked| invoked <= last) as u32;
            let mut place = from.max(furthest);
            if self.held[place as usize] == observation.value {
                place = self.held_until[observation.value as usize];
            }
            if place > until {
                without_place.push(observation);
            }
            places.push(place.min(until));
        }
        if without_place.is_empty() { Ok(places) } else { Err(without_place) }
    }
}
