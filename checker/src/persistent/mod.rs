//! Data that versions share: states of models that grow with the history.
//!
//! A search holds many states that differ by one call each. Here a clone is a counter, a changed version is a few nodes, and
//! the hash is kept along, so that a model with thousands of values in its state is still stepped and remembered cheaply.
//!
//! | structure | for | change | hash | equality |
//! | --- | --- | --- | --- | --- |
//! | [`Chain`] | lists, stacks, logs | O(1), at the end | O(1) | as far as the two differ from the end |
//! | [`Fifo`] | queues | O(1), amortised in one line of versions | O(1) | O(n) where hashes agree |
//! | [`Entries`] | sets, bags, maps | O(log n) | O(1) | O(n) where hashes agree |

mod chain;
mod entries;
mod fifo;

pub use chain::Chain;
pub use entries::Entries;
pub use fifo::Fifo;

use std::hash::{Hash, Hasher};

use rustc_hash::FxHasher;

/// The hash of one value.
fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = FxHasher::default();
    value.hash(&mut hasher);
    hasher.finish()
}
