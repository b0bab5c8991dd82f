//! The journal: torn, damaged, foreign, in use.

use super::*;

fn tag() -> RunTag {
    "run-1".parse().unwrap()
}

fn intent(fault_id: u64) -> Entry {
    Entry::Intent { fault_id, resolved: Resolved::Pause { nodes: vec!["n1".to_owned()] } }
}

fn open(path: &Path) -> (Journal, JournalState) {
    Journal::open(path, &tag(), &serde_json::json!({"hosts": ["n1"]})).unwrap()
}

#[test]
fn a_fault_is_outstanding_from_its_intent_to_its_undoing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    let (mut journal, state) = open(&path);
    assert!(state.outstanding.is_empty());
    let ids = || read_journal(&path).unwrap().outstanding.into_keys().collect::<Vec<_>>();
    journal.append(&intent(0)).unwrap();
    journal.append(&intent(1)).unwrap();
    assert_eq!(ids(), [0, 1]);
    journal
        .append(&Entry::Applied { fault_id: 1, evidence: Evidence { bit: true, details: vec![] } })
        .unwrap();
    journal.append(&Entry::Undone { fault_id: 0 }).unwrap();
    assert_eq!(ids(), [1]);
    let state = read_journal(&path).unwrap();
    assert!(state.outstanding[&1].evidence.bit);
    assert_eq!(state.run.unwrap().testbed, serde_json::json!({"hosts": ["n1"]}));
    assert_eq!(state.undone, [0]);
}

#[test]
fn a_journal_that_was_cut_at_any_byte_says_no_less_than_its_whole_lines_and_can_be_continued() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    let (mut journal, _) = open(&path);
    journal.append(&intent(0)).unwrap();
    journal.append(&intent(1)).unwrap();
    drop(journal);
    let whole = std::fs::read(&path).unwrap();
    for length in 0..=whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        let whole_lines = whole[..length].iter().filter(|byte| **byte == b'\n').count();
        let (mut journal, state) = open(&path);
        assert_eq!(state.outstanding.len(), whole_lines.saturating_sub(1), "{length}");
        // Shorter than what was torn, of which nothing may remain behind it.
        journal.append(&Entry::Undone { fault_id: 9 }).unwrap();
        drop(journal);
        assert_eq!(read_journal(&path).unwrap().undone, [9], "{length}");
        assert!(std::fs::read(&path).unwrap().ends_with(b"}\n"), "{length}");
    }
}

#[test]
fn a_damaged_line_in_the_middle_is_an_error_with_its_number_and_never_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    drop(open(&path));
    let mut content = std::fs::read_to_string(&path).unwrap();
    content += "{\"entry\":\"inte\n{\"entry\":\"undone\",\"fault_id\":0}\n";
    std::fs::write(&path, content).unwrap();
    let error = read_journal(&path).unwrap_err().to_string();
    assert!(error.contains("journal.jsonl:2: "), "{error}");
    assert!(Journal::open_existing(&path).is_err());
}

#[test]
fn the_journal_of_another_run_or_version_or_of_no_run_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    drop(open(&path));
    let error = Journal::open(&path, &"run-2".parse().unwrap(), &serde_json::Value::Null).unwrap_err();
    assert!(error.to_string().contains("it belongs to run run-1"), "{error}");
    std::fs::write(&path, "{\"entry\":\"run\",\"version\":99,\"run_tag\":\"x\",\"testbed\":null}\n").unwrap();
    assert!(matches!(read_journal(&path), Err(JournalError::Foreign { .. })));
    std::fs::write(&path, "{\"entry\":\"undone\",\"fault_id\":0}\n").unwrap();
    assert!(matches!(read_journal(&path), Err(JournalError::Foreign { .. })));
    assert!(matches!(Journal::open_existing(&folder.path().join("no")), Err(JournalError::File { .. })));
}

#[test]
fn only_one_process_has_a_journal_open_and_others_can_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    let (journal, _) = open(&path);
    assert!(matches!(Journal::open_existing(&path), Err(JournalError::InUse { .. })));
    assert!(read_journal(&path).unwrap().run.is_some());
    drop(journal);
    Journal::open_existing(&path).unwrap();
}

#[test]
fn run_tags_fit_into_the_name_of_a_chain() {
    for good in ["a", "0123456789abcdefghij", "a-b_C"] {
        assert_eq!(good.parse::<RunTag>().unwrap().to_string(), good);
    }
    for bad in ["", "0123456789abcdefghijk", "a b", "ä", "a\n", "a;b"] {
        assert!(bad.parse::<RunTag>().is_err(), "{bad:?}");
    }
    assert!(serde_json::from_str::<RunTag>("\"a b\"").is_err());
}
