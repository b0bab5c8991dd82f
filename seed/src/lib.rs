//! The one seed of a run and its named sub-streams.
//!
//! Every random choice that Labrys makes derives from one printed `u64`. Parts must not share one stream, or an
//! additional draw in one of them would change all the others; so each part forks a stream of its own by name. The
//! generator is ChaCha8, whose output is specified and therefore the same on every machine and in every version
//! (`StdRng` and `SmallRng` promise neither).
//!
//! What this crate is not: a source of entropy. Where a seed comes from is the command line's affair.

use std::fmt;
use std::str::FromStr;

use rand::SeedableRng;
use serde::{Deserialize, Serialize};

/// The random number generator of every deterministic part of Labrys.
pub type Rng = rand_chacha::ChaCha8Rng;

/// A seed, or a sub-seed that was forked from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seed(pub u64);

impl Seed {
    /// The sub-seed of the part called `name`. Equal names give equal sub-seeds; different names give independent ones.
    ///
    /// FNV-1a over the name, mixed with the seed by the finaliser of SplitMix64 (Steele, Lea and Flood, "Fast splittable
    /// pseudorandom number generators", OOPSLA 2014). O(length of the name).
    #[must_use]
    pub fn fork(self, name: &str) -> Seed {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in name.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Seed(mix(self.0 ^ mix(hash)))
    }

    /// The sub-seed number `index` of this one: for the n-th key, node or round.
    #[must_use]
    pub fn fork_index(self, index: u64) -> Seed {
        Seed(mix(self.0 ^ mix(index.wrapping_add(0x9e37_79b9_7f4a_7c15))))
    }

    /// A fresh generator at the start of this seed's stream.
    #[must_use]
    pub fn rng(self) -> Rng {
        Rng::seed_from_u64(self.0)
    }
}

/// The finaliser of SplitMix64: a bijection of `u64` in which every input bit changes every output bit half of the time.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl fmt::Display for Seed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)
    }
}

impl FromStr for Seed {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Seed)
    }
}

#[cfg(test)]
mod tests {
    use rand::RngCore;

    use super::*;

    #[test]
    fn a_fork_depends_on_the_seed_and_on_the_name_only() {
        assert_eq!(Seed(7).fork("nemesis"), Seed(7).fork("nemesis"));
        assert_ne!(Seed(7).fork("nemesis"), Seed(7).fork("clients"));
        assert_ne!(Seed(7).fork("nemesis"), Seed(8).fork("nemesis"));
        assert_ne!(Seed(7).fork_index(0), Seed(7).fork_index(1));
    }

    #[test]
    fn the_stream_of_a_seed_never_changes_between_versions() {
        // Recorded once: a change here breaks every committed seed of every user.
        let mut rng = Seed(42).fork("nemesis").rng();
        assert_eq!([rng.next_u64(), rng.next_u64()], [RECORDED_FIRST, RECORDED_SECOND]);
    }

    const RECORDED_FIRST: u64 = 4_437_230_975_704_790_393;
    const RECORDED_SECOND: u64 = 3_667_805_496_826_874_722;
}
