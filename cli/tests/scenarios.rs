//! `labrys scenario`, on the built binary, from a folder in which there is nothing; and what the documentation says of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const USAGE: i32 = 254;

fn scenario(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_labrys"));
    command.arg("scenario").args(arguments).current_dir(folder).output().expect("labrys runs")
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn listed(folder: &Path) -> Vec<serde_json::Value> {
    let output = scenario(folder, &["list", "--json"]);
    serde_json::from_slice(&output.stdout).expect("a list in JSON")
}

fn documentation() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

#[test]
fn the_list_is_in_the_binary_and_an_unknown_name_is_answered_with_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = scenario(folder.path(), &["run", "figure-9"]);
    assert_eq!(output.status.code(), Some(USAGE), "{}", errors(&output));
    let list = scenario(folder.path(), &["list"]);
    for known in listed(folder.path()) {
        let name = known["name"].as_str().expect("a name");
        assert!(errors(&output).contains(name) && errors(&list).contains(name), "{name}");
    }
    assert!(errors(&list).contains("--defect commit-prior-term-by-count"));
}

#[test]
fn the_exit_code_of_a_scenario_is_that_of_its_verdict_and_it_leaves_a_picture() {
    let folder = tempfile::tempdir().expect("a folder");
    let clean = scenario(folder.path(), &["run", "figure-8"]);
    assert_eq!(clean.status.code(), Some(0), "{}", errors(&clean));
    assert!(errors(&clean).contains("VALID, as expected"), "{}", errors(&clean));
    let defect = "--defect=commit-prior-term-by-count";
    let broken = scenario(folder.path(), &["run", "figure-8", defect, "--svg", "8.svg", "--out", "8"]);
    assert_eq!(broken.status.code(), Some(1), "{}", errors(&broken));
    assert!(errors(&broken).contains("commit-of-own-term"), "{}", errors(&broken));
    let drawn = fs::read_to_string(folder.path().join("8.svg")).expect("a picture");
    assert!(drawn.contains("figure-8 with commit-prior-term-by-count"));
    for file in ["history.jsonl", "verdict.json", "messages.svg"] {
        assert!(folder.path().join("8").join(file).exists(), "{file}");
    }
}

#[test]
fn exploring_says_how_much_there_is_and_draws_the_way_to_a_violation() {
    let folder = tempfile::tempdir().expect("a folder");
    let explore = |arguments: &[&str]| scenario(folder.path(), &[&["explore"], arguments].concat());
    let clean = explore(&["--nodes", "2"]);
    assert_eq!(clean.status.code(), Some(0), "{}", errors(&clean));
    assert!(errors(&clean).contains("there is no other state within these bounds"), "{}", errors(&clean));
    let broken = explore(&["--terms", "1", "--defect", "quorum-off-by-one", "--svg", "found.svg", "--json"]);
    assert_eq!(broken.status.code(), Some(1), "{}", errors(&broken));
    let found: serde_json::Value = serde_json::from_slice(&broken.stdout).expect("JSON");
    assert_eq!(found["violation"]["property"], "election-safety");
    let drawn = fs::read_to_string(folder.path().join("found.svg")).expect("a picture");
    assert!(drawn.contains("election-safety violated with quorum-off-by-one, in 2 steps"));
    let stopped = explore(&["--states", "100"]);
    assert_eq!(stopped.status.code(), Some(2), "{}", errors(&stopped));
    let refused = explore(&["--nodes", "5"]);
    assert_eq!(refused.status.code(), Some(USAGE));
    assert!(errors(&refused).contains("2 or 3 can"), "{}", errors(&refused));
}

#[test]
fn the_shortest_way_to_figure_8_is_drawn_as_in_the_documentation() {
    let folder = tempfile::tempdir().expect("a folder");
    let options =
        "explore --terms 4 --timeouts 5 --from-leader --defect commit-prior-term-by-count --svg found.svg";
    let output = scenario(folder.path(), &options.split(' ').collect::<Vec<_>>());
    assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
    let drawn = fs::read_to_string(folder.path().join("found.svg")).expect("a picture");
    let committed =
        fs::read_to_string(documentation().join("images/explored-figure-8.svg")).expect("a picture");
    assert!(drawn == committed, "draw docs/images/explored-figure-8.svg again: labrys scenario {options}");
}

#[test]
fn a_file_of_ones_own_is_played_and_a_step_that_is_none_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let play = |script: &str| {
        let head = "name = \"mine\"\ntitle = \"mine\"\nexpected = \"valid\"\nexplanation = []\n";
        fs::write(folder.path().join("mine.toml"), format!("{head}script = {script:?}\n")).expect("written");
        scenario(folder.path(), &["run", "mine.toml"])
    };
    let played = play(
        "start all\nelect n2\nclient c1 at n2: write x 1\nwait for c1\nclient c1 at n2: read x\nwait for c1",
    );
    assert_eq!(played.status.code(), Some(0), "{}", errors(&played));
    let refused = play("start all\nelect n4");
    assert_eq!(refused.status.code(), Some(USAGE));
    assert!(errors(&refused).contains("step 2: `n4` is none of the nodes n1 to n3"), "{}", errors(&refused));
}

#[test]
fn the_pictures_of_the_documentation_are_those_that_the_command_draws_today() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = scenario(folder.path(), &["pictures", "drawn"]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let pictures = |folder: &Path| -> BTreeMap<String, String> {
        let files = fs::read_dir(folder).expect("pictures").flatten();
        let text = |file: &fs::DirEntry| fs::read_to_string(file.path()).expect("a picture");
        files.map(|file| (file.file_name().to_string_lossy().into_owned(), text(&file))).collect()
    };
    let drawn = pictures(&folder.path().join("drawn"));
    let committed = pictures(&documentation().join("images/scenarios"));
    assert_eq!(drawn.keys().collect::<Vec<_>>(), committed.keys().collect::<Vec<_>>());
    for (name, picture) in drawn {
        let is_same = committed[&name] == picture;
        assert!(
            is_same,
            "{name}: draw again with `labrys scenario pictures docs/images/scenarios`, and look at it"
        );
    }
}

#[test]
fn the_documentation_has_every_scenario_with_its_title_its_defects_and_its_picture() {
    let text = fs::read_to_string(documentation().join("scenarios.md")).expect("docs/scenarios.md");
    let folder = tempfile::tempdir().expect("a folder");
    for known in listed(folder.path()) {
        let name = known["name"].as_str().expect("a name");
        let row = text.lines().find(|line| line.starts_with(&format!("| [`{name}`](")));
        let row = row.unwrap_or_else(|| panic!("docs/scenarios.md has no row for {name}"));
        assert!(row.contains(&format!("(images/scenarios/{name}.svg)")), "{row}");
        assert!(row.contains(known["title"].as_str().expect("a title")), "{row}");
        for defect in known["defects"].as_array().expect("defects") {
            let seen_by = defect["seen-by"].as_array().expect("who sees it").iter();
            for named in seen_by.chain([&defect["name"]]) {
                let named = named.as_str().expect("a name");
                assert!(row.contains(&format!("`{named}`")), "{name}: {named} is missing in\n{row}");
            }
        }
    }
}
