//! [`FaultList`]: faults with their times, as a person writes them in a campaign, and as they are taken from the record of a run to be
//! replayed, on real nodes or in the simulator.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::fault::{CLIENTS, Fault, PartitionShape, Schedule, Scheduled, Target};
use crate::kinds::Family;
use crate::record::{InjectedFault, RecordError, read_schedule};
use crate::trigger::{Condition, Happening, Trigger};

/// A fault with its time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TimedFault {
    /// When it begins, in milliseconds since the start of the run.
    pub at_ms: u64,
    /// How long it lasts, in milliseconds.
    pub lasts_ms: u64,
    /// It begins when this has happened since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Happening>,
    /// It is there while this is so from then on.
    #[serde(default, rename = "while", skip_serializing_if = "Option::is_none")]
    pub during: Option<Condition>,
    /// What it is.
    #[serde(flatten)]
    pub fault: Fault,
}

impl TimedFault {
    /// A fault that waits for nothing but its time.
    #[must_use]
    pub fn at(at_ms: u64, lasts_ms: u64, fault: Fault) -> TimedFault {
        TimedFault { at_ms, lasts_ms, after: None, during: None, fault }
    }

    fn trigger(&self) -> Option<Trigger> {
        self.after.map(Trigger::After).or(self.during.map(Trigger::While))
    }
}

/// The faults of a run, instead of planned ones. In TOML:
///
/// ```toml
/// faults = [
///   { at-ms = 1200, lasts-ms = 300, kind = "kill", target = { named = ["n1"] } },
///   { at-ms = 2000, lasts-ms = 900, kind = "partition", shape = "leader" },
///   { at-ms = 0, lasts-ms = 500, after = "new leader elected", kind = "pause", target = "leader + one of followers" },
/// ]
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FaultList(pub Vec<TimedFault>);

/// A file from which no faults can be taken.
#[derive(Debug, Error)]
pub enum FaultListError {
    /// A record that cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A file that cannot be read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file without a list of faults.
    #[error(
        "{path}: {detail}; expected a run's schedule.jsonl, or TOML with `faults = [{{ at-ms = …, lasts-ms = …, kind = … }}, …]`"
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        detail: String,
    },
}

#[derive(Deserialize)]
struct File {
    faults: FaultList,
}

impl FaultList {
    /// Reads the faults of a file: of a run's `schedule.jsonl` those that struck, when and whom they did; of any TOML file its
    /// `faults`.
    ///
    /// # Errors
    /// [`FaultListError`].
    pub fn read(path: &Path) -> Result<FaultList, FaultListError> {
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            return Ok(FaultList::of_record(read_schedule(path)?));
        }
        let text = std::fs::read_to_string(path)
            .map_err(|source| FaultListError::File { path: path.to_owned(), source })?;
        let file: File = toml::from_str(&text).map_err(|error| FaultListError::Malformed {
            path: path.to_owned(),
            detail: error.to_string().trim_end().to_owned(),
        })?;
        Ok(file.faults)
    }

    /// The faults of a run as they struck: when, for how long, and whom. Those that were never applied are left out.
    #[must_use]
    pub fn of_record(faults: Vec<InjectedFault>) -> FaultList {
        let timed = faults.into_iter().filter_map(|fault| {
            let at_ms = fault.applied_at_ms?;
            let planned_ms = fault.planned.as_ref().map_or(1, |planned| planned.duration_ms);
            let lasts_ms = fault.undone_at_ms.map_or(planned_ms, |undone_ms| undone_ms.saturating_sub(at_ms));
            Some(TimedFault::at(at_ms, lasts_ms, fault.resolved.into()))
        });
        // They ended in another order.
        let mut timed: Vec<TimedFault> = timed.collect();
        timed.sort_by_key(|timed| timed.at_ms);
        FaultList(timed)
    }

    /// The families of these faults, each once, in the order of their first fault.
    #[must_use]
    pub fn families(&self) -> Vec<Family> {
        let mut families = Vec::new();
        for timed in &self.0 {
            let family = timed.fault.family();
            if !families.contains(&family) {
                families.push(family);
            }
        }
        families
    }

    /// The largest number of a node in a target; 0 if there is none.
    #[must_use]
    pub fn largest_number(&self) -> usize {
        let numbers = self.0.iter().filter_map(|timed| Some(timed.fault.target()?.largest_number()));
        numbers.max().unwrap_or(0)
    }

    /// Whether a link between clients and nodes is cut.
    #[must_use]
    pub fn is_about_clients(&self) -> bool {
        self.0.iter().any(|timed| matches!(&timed.fault, Fault::Partition { shape } if shape.is_of_clients()))
    }

    /// The nodes that are named, in order; symbolic targets (`leader`) and clients name nobody.
    #[must_use]
    pub fn named_nodes(&self) -> BTreeSet<&str> {
        let mut nodes = BTreeSet::new();
        for timed in &self.0 {
            nodes.extend(timed.fault.target().map(Target::names).unwrap_or_default());
            if let Fault::Partition {
                shape: PartitionShape::Links(links) | PartitionShape::MuffledLinks(links),
            } = &timed.fault
            {
                let names = links.iter().flat_map(|link| [link.from.as_str(), link.to.as_str()]);
                nodes.extend(names.filter(|name| *name != CLIENTS));
            }
        }
        nodes
    }
}

/// In order of time; each has for its number its place in the list, from 1. The numbers decide about what happens at the same time.
impl From<FaultList> for Schedule {
    fn from(FaultList(timed): FaultList) -> Schedule {
        let number = |(place, timed): (u64, TimedFault)| Scheduled {
            id: place,
            trigger: timed.trigger(),
            at_ms: timed.at_ms,
            // What ends comes before what begins: a fault of no length would be undone before it is applied.
            duration_ms: timed.lasts_ms.max(1),
            fault: timed.fault,
        };
        let mut faults: Vec<Scheduled> = (1..).zip(timed).map(number).collect();
        faults.sort_by_key(|fault| fault.at_ms);
        Schedule { faults }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Evidence;
    use crate::fault::Resolved;

    fn list() -> FaultList {
        let target = Target::Named(vec!["n1".to_owned()]);
        FaultList(vec![
            TimedFault::at(900, 7, Fault::Kill { target }),
            TimedFault::at(5, 80, Fault::Partition { shape: PartitionShape::Leader }),
        ])
    }

    #[test]
    fn a_list_is_read_from_toml_and_becomes_a_schedule_in_order_of_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("faults.toml");
        let text = r#"
            faults = [
              { at-ms = 900, lasts-ms = 7, kind = "kill", target = { named = ["n1"] } },
              { at-ms = 5, lasts-ms = 80, kind = "partition", shape = "leader" },
            ]"#;
        std::fs::write(&path, text).unwrap();
        assert_eq!(FaultList::read(&path).unwrap(), list());
        assert_eq!(list().named_nodes(), BTreeSet::from(["n1"]));
        assert_eq!(list().families(), [Family::Kill, Family::Partition]);
        let numbered: Vec<_> =
            Schedule::from(list()).faults.iter().map(|fault| (fault.id, fault.at_ms)).collect();
        assert_eq!(numbered, [(2, 5), (1, 900)]);
    }

    /// Every form that a plan can have, once; what is read is written again word for word.
    const PLAN: &str = r#"[[faults]]
at-ms = 100
lasts-ms = 50
kind = "kill"
target = "leader + one of followers"

[[faults]]
at-ms = 0
lasts-ms = 70
after = "new leader elected"
kind = "pause"

[faults.target]
named = ["n2"]

[[faults]]
at-ms = 10
lasts-ms = 70
after = "fault 1 undone"
kind = "partition"

[faults.shape]
client-replies = "primaries"

[[faults]]
at-ms = 5
lasts-ms = 70
while = "snapshot in flight"
kind = "clock"
target = "minority without leader"

[faults.change]
drift-percent = -50
"#;

    #[derive(Serialize, Deserialize)]
    struct Written {
        faults: FaultList,
    }

    #[test]
    fn every_form_of_a_plan_is_read_and_written_as_it_was() {
        let read: Written = toml::from_str(PLAN).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(toml::to_string(&read).unwrap(), PLAN);
        assert_eq!(read.faults.first_out_of_range(), None);
        let schedule = Schedule::from(read.faults);
        let in_words = |fault: &Scheduled| {
            let trigger = fault.trigger.map_or_else(String::new, |trigger| trigger.to_string());
            format!("{} at {}: {trigger}", fault.id, fault.at_ms)
        };
        let words: Vec<String> = schedule.faults.iter().map(in_words).collect();
        let expected = [
            "2 at 0: after new leader elected",
            "4 at 5: while snapshot in flight",
            "3 at 10: after fault 1 undone",
            "1 at 100: ",
        ];
        assert_eq!(words, expected, "in order of time, with the numbers that they have in the file");
    }

    #[test]
    fn of_a_record_only_what_struck_is_replayed_as_it_did() {
        let struck = |applied_at_ms| InjectedFault {
            id: 3,
            planned: None,
            resolved: Resolved::Kill { nodes: vec!["n1".to_owned()] },
            applied_at_ms,
            undone_at_ms: Some(907),
            bit: true,
            evidence: Evidence::default(),
            errors: Vec::new(),
        };
        let replayed = FaultList::of_record(vec![struck(None), struck(Some(900))]);
        assert_eq!(replayed.0, list().0[..1]);
    }

    #[test]
    fn a_file_without_faults_is_refused_with_its_name_and_what_was_expected() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("faults.toml");
        for text in ["seed = 7", "faults = [{ at-ms = 1, kind = \"kill\", target = \"all\" }]", "faults = ["]
        {
            std::fs::write(&path, text).unwrap();
            let error = FaultList::read(&path).unwrap_err().to_string();
            assert!(error.contains("faults.toml: ") && error.contains("schedule.jsonl"), "{error}");
        }
        assert!(
            FaultList::read(Path::new("/missing.jsonl")).unwrap_err().to_string().contains("/missing.jsonl")
        );
    }
}
