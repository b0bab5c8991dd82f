//! Two trees over positions, each in an array where the children of i are 2 i and 2 i + 1: O(log n) for everything but making one.

/// Numbers, all 0 at first, and where in a range the greatest is.
#[derive(Debug)]
pub(super) struct Maxima {
    leaves: usize,
    /// The greatest number below each node.
    greatest: Vec<u32>,
}

impl Maxima {
    /// So many zeros.
    pub fn new(length: usize) -> Maxima {
        let leaves = length.next_power_of_two();
        Maxima { leaves, greatest: vec![0; 2 * leaves] }
    }

    /// Makes one of them `number`.
    pub fn set(&mut self, position: usize, number: u32) {
        let mut node = self.leaves + position;
        self.greatest[node] = number;
        while node > 1 {
            node /= 2;
            self.greatest[node] = self.greatest[2 * node].max(self.greatest[2 * node + 1]);
        }
    }

    /// Where the greatest of those from `from` on and before `to` is, unless all are 0.
    pub fn greatest(&self, from: usize, to: usize) -> Option<usize> {
        let (mut low, mut high) = (self.leaves + from, self.leaves + to);
        let mut best = 0;
        let better = |best: usize, node: usize| {
            if best == 0 || self.greatest[node] > self.greatest[best] { node } else { best }
        };
        while low < high {
            if low % 2 == 1 {
                best = better(best, low);
                low += 1;
            }
            if high % 2 == 1 {
                high -= 1;
                best = better(best, high);
            }
            low /= 2;
            high /= 2;
        }
        if best == 0 || self.greatest[best] == 0 {
            return None;
        }
        while best < self.leaves {
            best = if self.greatest[2 * best] == self.greatest[best] { 2 * best } else { 2 * best + 1 };
        }
        Some(best - self.leaves)
    }
}

/// How many intervals cover what is between each rank and the next. (Or any other numbers, if *covered* is read as: more than 0.)
#[derive(Debug)]
pub(super) struct Cover {
    leaves: usize,
    /// The least number below each node, but for what is to be added at nodes above it.
    least: Vec<i32>,
    /// What is to be added to all numbers below each node, and is in its `least` already.
    added: Vec<i32>,
}

impl Cover {
    /// From by how much the number changes at each rank.
    pub fn new(change: &[i32]) -> Cover {
        let leaves = change.len().next_power_of_two();
        let mut least = vec![0; 2 * leaves];
        let mut covering = 0;
        for (leaf, by) in least[leaves..].iter_mut().zip(change) {
            covering += by;
            *leaf = covering;
        }
        for node in (1..leaves).rev() {
            least[node] = least[2 * node].min(least[2 * node + 1]);
        }
        Cover { leaves, least, added: vec![0; 2 * leaves] }
    }

    /// Takes an interval away.
    pub fn uncover(&mut self, from: usize, to: usize) {
        let (mut low, mut high) = (self.leaves + from, self.leaves + to);
        let (first, last) = (low, high - 1);
        while low < high {
            if low % 2 == 1 {
                self.add(low, -1);
                low += 1;
            }
            if high % 2 == 1 {
                high -= 1;
                self.add(high, -1);
            }
            low /= 2;
            high /= 2;
        }
        self.mend(first);
        self.mend(last);
    }

    fn add(&mut self, node: usize, number: i32) {
        self.least[node] += number;
        self.added[node] += number;
    }

    fn mend(&mut self, mut node: usize) {
        while node > 1 {
            node /= 2;
            self.least[node] = self.least[2 * node].min(self.least[2 * node + 1]) + self.added[node];
        }
    }

    /// The first rank from `from` on that nothing covers up to the next; there is one, as nothing covers what is behind the end.
    pub fn first_gap(&self, from: u32) -> u32 {
        // What is added above `node`, for a number below it to be true.
        let mut node = self.leaves + from as usize;
        let mut above: i32 = std::iter::successors(Some(node / 2), |&up| Some(up / 2))
            .take_while(|&up| up > 0)
            .map(|up| self.added[up])
            .sum();
        // Up, to the first subtree not before `from` with a gap; each step to the right of what was looked at.
        while self.least[node] + above > 0 {
            while node % 2 == 1 {
                node /= 2;
                above -= self.added[node];
            }
            node += 1;
        }
        while node < self.leaves {
            above += self.added[node];
            node = if self.least[2 * node] + above <= 0 { 2 * node } else { 2 * node + 1 };
        }
        (node - self.leaves) as u32
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_greatest_of_a_range_is_the_one_that_looking_at_all_finds(
            numbers in proptest::collection::vec((0..40_usize, 0..50_u32), 0..60),
            ranges in proptest::collection::vec((0..=40_usize, 0..=40_usize), 1..20),
        ) {
            let mut tree = Maxima::new(40);
            let mut plain = [0; 40];
            for (position, number) in numbers {
                tree.set(position, number);
                plain[position] = number;
            }
            for (one, other) in ranges {
                let (from, to) = (one.min(other), one.max(other));
                let greatest = plain[from..to].iter().copied().max().filter(|&number| number > 0);
                let found = tree.greatest(from, to);
                prop_assert!(found.is_none_or(|position| (from..to).contains(&position)));
                prop_assert_eq!(found.map(|position| plain[position]), greatest);
            }
        }

        #[test]
        fn the_first_gap_is_the_one_that_counting_finds(
            intervals in proptest::collection::vec((0..40_usize, 1..20_usize), 0..30),
        ) {
            let mut change = vec![0; 61];
            for &(from, length) in &intervals {
                change[from] += 1;
                change[from + length] -= 1;
            }
            let mut tree = Cover::new(&change);
            for gone in 0..=intervals.len() {
                for rank in 0..=60 {
                    let remaining = &intervals[gone..];
                    let is_gap = |at: &usize| !remaining.iter().any(|&(from, length)| (from..from + length).contains(at));
                    let expected = (rank..=60).find(is_gap).unwrap();
                    prop_assert_eq!(tree.first_gap(rank as u32) as usize, expected);
                }
                if let Some(&(from, length)) = intervals.get(gone) {
                    tree.uncover(from, from + length);
                }
            }
        }
    }
}
