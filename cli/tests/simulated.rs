//! `labrys sim`, on the built binary: a run that failed leaves a picture of the messages before the violation, and a link to it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn sim(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_labrys"));
    command.args(["sim", "--seed", "1", "--time-limit", "3s"]).args(arguments);
    command.current_dir(folder).output().expect("labrys runs")
}

fn report(folder: &Path) -> String {
    fs::read_to_string(folder.join("labrys-runs/latest/report/index.html")).expect("a report")
}

#[test]
fn a_failed_run_has_a_picture_of_its_last_messages_and_a_valid_one_has_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let picture = folder.path().join("labrys-runs/latest/messages.svg");
    let failed = sim(folder.path(), &["--defect", "quorum-off-by-one"]);
    assert_eq!(failed.status.code(), Some(1), "{}", String::from_utf8_lossy(&failed.stderr));
    let drawn = fs::read_to_string(&picture).expect("a picture");
    assert!(drawn.contains("seed 1 with quorum-off-by-one: until "), "{drawn}");
    assert!(drawn.contains("leads term") && drawn.contains("ll-arrow\""), "{drawn}");
    assert!(report(folder.path()).contains("href=\"../messages.svg\""));
    let valid = sim(folder.path(), &[]);
    assert_eq!(valid.status.code(), Some(0), "{}", String::from_utf8_lossy(&valid.stderr));
    assert!(!picture.exists());
    assert!(!report(folder.path()).contains("messages.svg"));
}
