//! [`Names`]: one shared string for each function name of a history.
//!
//! A history has millions of events and a handful of functions; a reader that allocated a name per event would spend much
//! of its time there. O(length of the name) a look-up; memory proportional to the distinct names.

use rustc_hash::FxHashSet;

use crate::Text;

/// Interned names.
#[derive(Debug, Default)]
pub(crate) struct Names {
    known: FxHashSet<Text>,
}

impl Names {
    /// The shared string equal to `name`.
    pub(crate) fn intern(&mut self, name: &str) -> Text {
        if let Some(known) = self.known.get(name) {
            return known.clone();
        }
        let new: Text = name.into();
        self.known.insert(new.clone());
        new
    }
}
