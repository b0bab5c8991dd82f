//! Healing from the journal alone: what `labrys heal` does when the nemesis of a run died before it could.

use std::path::Path;
use std::sync::Arc;

use thiserror::Error;

use crate::engine::Engine;
use crate::host::Host;
use crate::journal::{Journal, JournalError};
use crate::poll::Patience;
use crate::protocol::{Failure, FaultReport};

/// A run could not be healed, or not wholly.
#[derive(Debug, Error)]
pub enum HealError {
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Something is still there.
    #[error("{0}")]
    LeftBehind(Failure),
}

/// Undoes, with verification, everything that the journal has outstanding, and journals that. Idempotent: where nothing is
/// outstanding it does nothing. The hosts are those of the run ([`crate::read_journal`] says which testbed that was).
///
/// # Errors
/// The journal cannot be used or is in use by a living nemesis; or something could not be undone, and stays outstanding.
pub fn heal(
    hosts: Vec<Arc<dyn Host>>,
    journal: &Path,
    patience: Patience,
) -> Result<Vec<FaultReport>, HealError> {
    let (journal, state) = Journal::open_existing(journal)?;
    let Some(run) = state.run.clone() else { return Ok(Vec::new()) };
    Engine::new(run.run_tag, hosts, patience, (journal, state)).undo_all().map_err(HealError::LeftBehind)
}
