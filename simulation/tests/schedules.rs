//! Shrunk schedules, each of a run that showed a defect: it still does, and the correct store bears the same faults.
//!
//! A run is a function of its file and of the code: when the simulator or the store changes, other things may happen at the same times,
//! and a file may have to be found anew: `labrys defects --testbed sim --only NAME --no-clean --schedules simulation/tests/schedules`.

use std::path::{Path, PathBuf};

use labrys_checker::verdict::Validity;
use labrys_simulation::failure::Failure;
use labrys_simulation::schedule_file::ScheduleFile;
use labrys_simulation::shrink::simulate;

/// No file has more faults than these.
const MOST_STEPS: usize = 12;

/// Every file, with its text.
#[allow(clippy::disallowed_methods, reason = "a test reads its own files")]
fn files() -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schedules");
    let entries = std::fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<PathBuf> = entries.collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).expect("a file"))).collect()
}

#[test]
fn every_schedule_shows_its_defect_by_the_named_property_and_is_valid_without_it() {
    let files = files();
    assert!(files.len() >= 10, "{} files", files.len());
    for (path, text) in files {
        let name = path.file_stem().and_then(|stem| stem.to_str()).expect("a name");
        let ScheduleFile { config, violates } = ScheduleFile::parse(&text, &path).expect(name);
        let violates = violates.expect(name);
        assert_eq!(config.test.defect, [name]);
        let steps = config.schedule.as_ref().map_or(0, |schedule| schedule.faults.len());
        assert!((1..=MOST_STEPS).contains(&steps), "{name}: {steps} steps");
        assert!(text.starts_with("# "), "{name} does not say what happens");
        let defective = simulate(&config).expect(name);
        assert!(Failure::named(&defective, &violates).is_some(), "{name}: {:?}", Failure::all(&defective));
        let mut correct = config;
        correct.test.defect.clear();
        let correct = simulate(&correct).expect(name);
        let checks = correct.verdict.checks.iter();
        let reasons: Vec<&str> = checks.map(|check| check.reason.as_str()).collect();
        assert_eq!(correct.verdict.validity, Validity::Valid, "{name} without its defect: {reasons:#?}");
    }
}
