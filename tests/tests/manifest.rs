//! The command line agrees with the known verdicts of other people's histories.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use labrys_tests::{finish, labrys};

#[test]
fn labrys_check_gives_the_manifests_verdict_on_every_register_history() {
    let histories = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/histories");
    let Ok(manifest) = fs::read_to_string(histories.join("MANIFEST.tsv")) else {
        // Not the macro, whose words a test that passes keeps to itself.
        let skipped = format!(
            "SKIPPED: {} is not there; this test needs the recorded histories\n",
            histories.display()
        );
        let _ = std::io::stderr().write_all(skipped.as_bytes());
        return;
    };
    let mut judged = 0;
    for row in manifest.lines().skip(1).map(|line| line.split('\t').collect::<Vec<_>>()) {
        let [file, _format, model, initial, against, verdict, ..] = row[..] else {
            panic!("a short row: {row:?}")
        };
        if !matches!(model, "cas-register" | "register") || against != "linearizable" {
            continue;
        }
        let path: PathBuf = histories.join(file);
        let code = match verdict {
            "valid" => 0,
            "invalid" => 1,
            other => panic!("{file}: the manifest says {other}"),
        };
        // Some of Knossos's files have no successful operation, one has none at all: linearizable, if it says little.
        let args =
            ["check", path.to_str().unwrap(), "--model", model, "--initial", initial, "--allow-vacuous"];
        let finished = finish(&mut labrys(&histories, &args));
        assert_eq!(finished.code, Some(code), "{file}: {verdict}\n{}\n{}", finished.stdout, finished.stderr);
        judged += 1;
    }
    assert!(judged >= 100, "only {judged} histories were judged");
}
