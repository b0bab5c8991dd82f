//! One thing that the standard library's queue has only from Rust 1.93 on. O(1).

use std::collections::VecDeque;

/// Takes the front of `queue` if `is_wanted` says so.
pub(crate) fn pop_front_if<T>(queue: &mut VecDeque<T>, is_wanted: impl FnOnce(&T) -> bool) -> Option<T> {
    if queue.front().is_some_and(is_wanted) { queue.pop_front() } else { None }
}
