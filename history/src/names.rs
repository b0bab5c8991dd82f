//! [`Names`]: one shared string for each function name of a history.
//!
//! A history has millions of events and a handful of functions; a reader that allocated a name per event would spend much
//! of its time there. O(length of the name) a look-up; memory proportional to the distinct names.

use std::sync::Arc;

use rustc_hash::FxHashSet;

/// Interned names.
#[derive(Debug, Default)]
pub(crate) struct Names {
    known: FxHashSet<Arc<str>>,
}

impl Names {
    /// The shared string equal to `name`.
    pub(crate) fn intern(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.known.get(name) {
            return Arc::clone(known);
        }
        let new: Arc<str> = name.into();
        self.known.insert(Arc::clone(&new));
        new
    }
}
