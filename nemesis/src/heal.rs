//! Healing from the journal alone: what `labrys heal` does when the nemesis of a run died before it could.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::engine::Engine;
use crate::evidence::Effect;
use crate::host::Host;
use crate::journal::{Journal, JournalError, JournalState};
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

/// Removes the control groups that a journal has outstanding, of a run whose processes have all died with their namespaces; those that
/// there were. Idempotent. A path without the run's tag in its name is nobody's business here.
///
/// # Errors
/// One is there and cannot be removed: somebody is in it still after `within`.
pub fn remove_control_groups(state: &JournalState, within: Duration) -> std::io::Result<Vec<PathBuf>> {
    let Some(run) = &state.run else { return Ok(Vec::new()) };
    let ours = format!("labrys-{}-", run.run_tag);
    let effects = state.outstanding.values().flat_map(|fault| &fault.evidence.details);
    let groups = effects.filter_map(|seen| match &seen.effect {
        Effect::LimitPlanned { place, back_to: Some(_), .. } => Some(PathBuf::from(place)),
        _ => None,
    });
    let is_ours = |group: &PathBuf| {
        group.is_absolute()
            && group.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(&ours))
    };
    let settle_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
    let patience = Patience { settle_ms, ..Patience::default() };
    let mut removed = Vec::new();
    for group in groups.filter(is_ours) {
        let mut last = None;
        let gone = patience.wait_for(|| match std::fs::remove_dir(&group) {
            Ok(()) => Ok::<_, std::io::Error>(Some(true)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Some(false)),
            Err(error) => {
                // Processes that have just been killed are in it for a moment.
                last = Some(error);
                Ok(None)
            }
        })?;
        match (gone, last) {
            (Some(true), _) => removed.push(group),
            (None, Some(error)) => {
                return Err(std::io::Error::new(error.kind(), format!("{}: {error}", group.display())));
            }
            (Some(false) | None, _) => {}
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{Evidence, LimitMechanism, Observation};
    use crate::fault::{Resolved, ResourceTrouble};
    use crate::host::ProcessIdentity;
    use crate::journal::{Outstanding, RunIdentity};

    /// A journal in which a fault may have made these directories.
    fn state(places: &[&Path]) -> JournalState {
        let planned = |place: &&Path| Observation {
            node: "n1".to_owned(),
            effect: Effect::LimitPlanned {
                process: ProcessIdentity { pid: 7, start_ticks: 9 },
                by: LimitMechanism::CgroupV1,
                place: place.to_string_lossy().into_owned(),
                back_to: Some("/".to_owned()),
            },
        };
        let mut evidence = Evidence::default();
        evidence.extend(places.iter().map(planned));
        let trouble = ResourceTrouble::ProcessorPercent(5);
        let resolved = Resolved::Resource { nodes: vec!["n1".to_owned()], trouble };
        let run = RunIdentity {
            version: crate::journal::JOURNAL_VERSION,
            run_tag: "t".parse().unwrap(),
            testbed: serde_json::Value::Null,
        };
        let outstanding = Outstanding { fault_id: 3, resolved, evidence };
        JournalState { run: Some(run), outstanding: [(3, outstanding)].into(), ..JournalState::default() }
    }

    #[test]
    fn groups_of_the_run_are_removed_once_and_no_other_directory_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = (folder.path().join("labrys-t-n1-7-9"), folder.path().join("labrys-u-n1-7-9"));
        for group in [&ours, &theirs] {
            std::fs::create_dir(group).unwrap();
        }
        let state = state(&[&ours, &theirs]);
        assert_eq!(remove_control_groups(&state, Duration::ZERO).unwrap(), std::slice::from_ref(&ours));
        assert_eq!(remove_control_groups(&state, Duration::ZERO).unwrap(), Vec::<PathBuf>::new());
        assert!(theirs.exists());
        std::fs::create_dir(&ours).unwrap();
        std::fs::write(ours.join("somebody"), "").unwrap();
        let error = remove_control_groups(&state, Duration::ZERO).unwrap_err();
        assert!(error.to_string().contains("labrys-t-n1-7-9"), "{error}");
    }
}
