//! Parquet, where it is built in. (What the round trips of all formats do, they do with it too.)

use labrys_history::{
    Event, EventKind, Format, History, Process, ReadOptions, Value, read_bytes, write_history,
};

fn written(events: Vec<Event>) -> Vec<u8> {
    let mut file = Vec::new();
    write_history(&mut file, &History::from_validated(events), Format::Parquet).unwrap();
    file
}

fn read(file: &[u8]) -> Result<History, String> {
    let report = read_bytes(file, "h.parquet", ReadOptions::default()).map_err(|error| error.to_string())?;
    assert_eq!(report.format, Format::Parquet);
    Ok(report.history)
}

#[test]
fn more_events_than_a_group_of_rows_are_kept() {
    let events: Vec<Event> = (0..150_000)
        .map(|index| {
            Event::new(index, u64::MAX, Process::Client(index), EventKind::Invoke, "read", Value::Nil)
        })
        .collect();
    assert_eq!(read(&written(events.clone())).unwrap().events(), events);
}

#[test]
fn a_broken_file_and_a_broken_history_are_refused() {
    let event = |index| Event::new(index, 0, Process::Client(7), EventKind::Invoke, "read", Value::Nil);
    let error = read(&written(vec![event(0), event(1)])).unwrap_err();
    assert!(
        error.starts_with("h.parquet:2:1: process 7 invokes `read` while its `read` of event 0"),
        "{error}"
    );
    let file = written(vec![event(0)]);
    for cut in 4..file.len() {
        let error = read(&file[..cut]).expect_err("a torn file has no footer");
        assert!(error.starts_with("h.parquet:1:1: expected a Parquet file"), "{error}");
    }
}
