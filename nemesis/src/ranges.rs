//! What the numbers of an explicit fault may be: a fault that nothing can carry out as it says is refused before a run, and not when
//! its time comes.

use crate::fault::{ClockChange, DiskTrouble, Fault, LinkTrouble, PartitionShape, ResourceTrouble};
use crate::replay::FaultList;
use crate::trigger::Happening;

/// The reference store's clock runs a hundred times as fast at most.
const DRIFT_PERCENT: std::ops::RangeInclusive<i32> = -100..=9_900;
/// A leap year.
const LONGEST_JUMP_MS: u64 = 366 * 24 * 3_600_000;
/// Ten minutes: for a network, or a disk, that is for ever.
const LONGEST_DELAY_MS: u64 = 600_000;
/// A control group gives a thousandth of a second at least, in each tenth of one; a whole processor is no want for most.
const SHARE_PERCENT: std::ops::RangeInclusive<u32> = 1..=100;
/// From a few pages on, below which a control group cannot even hold what moves into it; up to a tebibyte, which nothing here has.
const MARGIN_KIB: std::ops::RangeInclusive<u64> = 64..=1 << 30;

impl FaultList {
    /// What is wrong with the first fault that cannot be carried out as it says: which one, which field, and what would be right.
    #[must_use]
    pub fn first_out_of_range(&self) -> Option<String> {
        let problem = |(position, timed): (usize, &crate::replay::TimedFault)| {
            let problem = timed.fault.out_of_range().or_else(|| self.waits_in_vain(position, timed))?;
            Some(format!("fault {position} ({} at {} ms): {problem}", timed.fault.family(), timed.at_ms))
        };
        (1..).zip(&self.0).find_map(problem)
    }
}

impl FaultList {
    /// Why what a fault waits for cannot come.
    fn waits_in_vain(&self, position: usize, timed: &crate::replay::TimedFault) -> Option<String> {
        if timed.after.is_some() && timed.during.is_some() {
            return Some("after, while: a fault waits for one of them only".to_owned());
        }
        let (Happening::FaultApplied(other) | Happening::FaultUndone(other)) = timed.after? else {
            return None;
        };
        let is_there = usize::try_from(other).is_ok_and(|other| other != position && other <= self.0.len());
        (!is_there).then(|| format!("after: there is no other fault {other} among the {}", self.0.len()))
    }
}

impl Fault {
    /// Which field of it nothing can carry out, and what would be right.
    #[must_use]
    pub fn out_of_range(&self) -> Option<String> {
        let own = match self {
            Fault::Partition {
                shape: PartitionShape::Links(links) | PartitionShape::MuffledLinks(links),
            } => {
                let to_itself = links.iter().find(|link| link.from == link.to);
                to_itself.map(|link| format!("links: {} is not cut off from itself", link.from))
            }
            Fault::Network { trouble, .. } => trouble.out_of_range(),
            Fault::Clock { change, .. } => change.out_of_range(),
            Fault::Disk { trouble: DiskTrouble::SlowSyncMs(ms), .. } => {
                not_in("slow-sync-ms", *ms, 1..=LONGEST_DELAY_MS)
            }
            Fault::Resource { trouble, .. } => trouble.out_of_range(),
            _ => None,
        };
        let nobody = self.target().filter(|target| target.is_nobody());
        own.or_else(|| nobody.map(|_| "target: it names nobody".to_owned()))
    }
}

impl LinkTrouble {
    fn out_of_range(&self) -> Option<String> {
        if *self == LinkTrouble::default() {
            return Some("trouble: there is none; give loss-permille or another of its fields".to_owned());
        }
        let permilles = [
            ("loss-permille", self.loss_permille),
            ("duplicate-permille", self.duplicate_permille),
            ("reorder-permille", self.reorder_permille),
            ("corrupt-permille", self.corrupt_permille),
            ("reset-permille", self.reset_permille),
        ];
        let mut problems =
            permilles.into_iter().filter_map(|(field, permille)| not_in(field, permille, 0..=1_000));
        problems.next().or_else(|| not_in("delay-ms", self.delay_ms, 0..=LONGEST_DELAY_MS))
    }
}

impl ClockChange {
    fn out_of_range(&self) -> Option<String> {
        match self {
            ClockChange::DriftPercent(0) => Some("drift-percent: 0 is no drift".to_owned()),
            ClockChange::DriftPercent(percent) => not_in("drift-percent", *percent, DRIFT_PERCENT),
            ClockChange::JumpMs(ms) => not_in("jump-ms", *ms, 1..=LONGEST_JUMP_MS),
            ClockChange::Freeze => None,
        }
    }
}

impl ResourceTrouble {
    fn out_of_range(self) -> Option<String> {
        match self {
            ResourceTrouble::Descriptors => None,
            ResourceTrouble::ProcessorPercent(percent) => not_in("processor-percent", percent, SHARE_PERCENT),
            ResourceTrouble::MemoryMarginKib(kib) => not_in("memory-margin-kib", kib, MARGIN_KIB),
        }
    }
}

fn not_in<N: PartialOrd + std::fmt::Display>(
    field: &str,
    number: N,
    range: std::ops::RangeInclusive<N>,
) -> Option<String> {
    let problem = || format!("{field}: {number} is not between {} and {}", range.start(), range.end());
    (!range.contains(&number)).then(problem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::{Link, Target};
    use crate::replay::TimedFault;

    fn clock(change: ClockChange) -> Fault {
        Fault::Clock { target: Target::One, change }
    }

    fn network(trouble: LinkTrouble) -> Fault {
        Fault::Network { target: Target::One, trouble }
    }

    fn resource(trouble: ResourceTrouble) -> Fault {
        Fault::Resource { target: Target::One, trouble }
    }

    #[test]
    fn what_cannot_be_carried_out_is_named_with_its_field() {
        let link = Link { from: "n1".to_owned(), to: "n1".to_owned() };
        for (fault, expected) in [
            (clock(ClockChange::DriftPercent(9_901)), "drift-percent: 9901 is not between -100 and 9900"),
            (clock(ClockChange::DriftPercent(-101)), "drift-percent: -101"),
            (clock(ClockChange::DriftPercent(0)), "drift-percent: 0 is no drift"),
            (clock(ClockChange::JumpMs(0)), "jump-ms: 0 is not between"),
            (clock(ClockChange::JumpMs(u64::MAX)), "jump-ms: "),
            (network(LinkTrouble::default()), "trouble: there is none"),
            (network(LinkTrouble { loss_permille: 1_001, ..LinkTrouble::default() }), "loss-permille: 1001"),
            (resource(ResourceTrouble::ProcessorPercent(0)), "processor-percent: 0 is not between 1 and 100"),
            (resource(ResourceTrouble::ProcessorPercent(101)), "processor-percent: 101"),
            (resource(ResourceTrouble::MemoryMarginKib(63)), "memory-margin-kib: 63"),
            (network(LinkTrouble { delay_ms: 600_001, ..LinkTrouble::default() }), "delay-ms: 600001"),
            (
                Fault::Partition { shape: PartitionShape::Links(vec![link]) },
                "links: n1 is not cut off from itself",
            ),
            (Fault::Kill { target: Target::Named(Vec::new()) }, "target: it names nobody"),
        ] {
            let problem = fault.out_of_range().unwrap_or_default();
            assert!(problem.contains(expected), "{fault:?}: {problem}");
        }
    }

    #[test]
    fn what_can_be_carried_out_is_not_objected_to_and_the_first_that_cannot_is_told_with_its_place() {
        let good = [
            clock(ClockChange::DriftPercent(-100)),
            clock(ClockChange::JumpMs(5_000)),
            clock(ClockChange::Freeze),
            network(LinkTrouble { loss_permille: 1_000, ..LinkTrouble::default() }),
            resource(ResourceTrouble::ProcessorPercent(1)),
            Fault::Pause { target: Target::Leader },
        ];
        let timed = |fault| TimedFault::at(70, 5, fault);
        let mut list = FaultList(good.into_iter().map(timed).collect());
        assert_eq!(list.first_out_of_range(), None);
        list.0.push(timed(clock(ClockChange::JumpMs(0))));
        let problem = list.first_out_of_range().unwrap();
        assert!(problem.starts_with("fault 7 (clock at 70 ms): jump-ms: "), "{problem}");
        list.0[6] =
            TimedFault { after: Some(Happening::FaultUndone(7)), ..timed(clock(ClockChange::Freeze)) };
        let problem = list.first_out_of_range().unwrap();
        assert!(problem.contains("after: there is no other fault 7 among the 7"), "{problem}");
    }
}
