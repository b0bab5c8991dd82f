//! What the logs of the reference store say, and the ends of logs for error messages.

use serde::Deserialize;

use super::Observation;

/// How much of a log an error message shows.
pub(super) const SHOWN_LINES: usize = 20;

/// The lines that matter, as `labrys_store::logging` documents them; every other line fails to parse as this.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line {
    Leader { term: u64 },
    InvariantBroken { what: String },
}

/// What the log of `node` says of leaderships and broken invariants, in order. O(length of the log).
pub(super) fn observations(node: &str, log: &[u8]) -> Vec<Observation> {
    let lines = log.split(|byte| *byte == b'\n');
    let matters = |line: &&[u8]| contains(line, b"\"leader\"") || contains(line, b"\"invariant_broken\"");
    let parsed = lines.filter(matters).filter_map(|line| serde_json::from_slice::<Line>(line).ok());
    let node = || node.to_owned();
    let observation = |line| match line {
        Line::Leader { term } => Observation::Leader { node: node(), term },
        Line::InvariantBroken { what } => Observation::Invariant { node: node(), what },
    };
    parsed.map(observation).collect()
}

/// Spares most lines the parser.
fn contains(line: &[u8], part: &[u8]) -> bool {
    line.windows(part.len()).any(|window| window == part)
}

/// The last lines of a log, those that are not UTF-8 repaired.
pub(super) fn last_lines(log: &[u8], count: usize) -> Vec<String> {
    let text = String::from_utf8_lossy(log);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].iter().map(|line| (*line).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaderships_and_broken_invariants_are_found_among_other_lines_and_garbage() {
        let log = "{\"time\":\"…\",\"level\":\"INFO\",\"node\":2,\"event\":\"leader\",\"term\":7,\"message\":\"became leader\"}\n\
                   {\"event\":\"role\",\"term\":8,\"role\":\"follower\",\"leader\":3}\n\
                   thread 'main' panicked at \"leader\"\n\
                   {\"event\":\"invariant_broken\",\"node\":2,\"what\":\"two \\\"leaders\\\"\",\"fatal\":false}\n\
                   {\"event\":\"leader\",\"te";
        let found = observations("n2", log.as_bytes());
        let node = || "n2".to_owned();
        assert_eq!(
            found,
            [
                Observation::Leader { node: node(), term: 7 },
                Observation::Invariant { node: node(), what: "two \"leaders\"".to_owned() },
            ]
        );
    }

    #[test]
    fn the_end_of_a_log_is_shown_whatever_its_length_and_bytes() {
        assert_eq!(last_lines(b"", 3), Vec::<String>::new());
        assert_eq!(last_lines(b"a\nb\nc\nd\n", 2), ["c", "d"]);
        assert_eq!(last_lines(b"\xff", 2), ["\u{fffd}"]);
    }
}
