//! [`Observation`]: what the harness saw of a node. The conventions are those of `labrys_checker`'s observer module.

use labrys_history::{Draft, EventKind, Process, Value};

/// What the harness saw of a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Observation {
    /// The node says that it leads, or led, a term.
    Leader {
        /// The node.
        node: String,
        /// The term.
        term: u64,
    },
    /// The node's state has this digest after this log index.
    Digest {
        /// The node.
        node: String,
        /// The index.
        applied: u64,
        /// The digest; of any form, as long as equal states have equal ones.
        digest: String,
    },
    /// The node's process ended.
    Exit {
        /// The node.
        node: String,
        /// `exit code 101`, `signal 6`.
        status: String,
        /// Whether the harness or the nemesis ended it.
        expected: bool,
        /// Why the environment is to blame for it, if it is.
        environment: Option<&'static str>,
        /// The last lines of its log.
        log: Vec<String>,
    },
    /// How far the node's clock is ahead of the machine's, as the node itself shows.
    Clock {
        /// The node.
        node: String,
        /// In microseconds; negative if it is behind.
        offset_us: i64,
    },
    /// The node's log says that an invariant of its own is broken.
    Invariant {
        /// The node.
        node: String,
        /// What the log says.
        what: String,
    },
}

impl Observation {
    /// The function of the event.
    #[must_use]
    pub fn f(&self) -> &'static str {
        match self {
            Observation::Leader { .. } => "leader",
            Observation::Digest { .. } => "digest",
            Observation::Exit { .. } => "exit",
            Observation::Clock { .. } => "clock",
            Observation::Invariant { .. } => "invariant",
        }
    }

    /// The value of the event.
    #[must_use]
    pub fn value(&self) -> Value {
        let text = |text: &str| Value::string(text);
        let fields = match self {
            Observation::Leader { node, term } => vec![("node", text(node)), ("term", integer(*term))],
            Observation::Digest { node, applied, digest } => {
                vec![("node", text(node)), ("applied", integer(*applied)), ("digest", text(digest))]
            }
            Observation::Exit { node, status, expected, environment, log } => {
                let mut fields = vec![
                    ("node", text(node)),
                    ("status", text(status)),
                    ("expected", Value::Bool(*expected)),
                    ("log", Value::Vector(log.iter().map(|line| text(line)).collect())),
                ];
                fields.extend(environment.map(|why| ("environment", text(why))));
                fields
            }
            Observation::Clock { node, offset_us } => {
                vec![("node", text(node)), ("offset-us", Value::Int(*offset_us))]
            }
            Observation::Invariant { node, what } => vec![("node", text(node)), ("what", text(what))],
        };
        Value::Map(fields.into_iter().map(|(name, value)| (Value::string(name), value)).collect())
    }

    /// The event, for the recorder.
    #[must_use]
    pub fn draft(&self) -> Draft {
        Draft::new(Process::observer(), EventKind::Info, self.f(), self.value())
    }
}

/// Terms and indices beyond 2^63 are not met.
fn integer(number: u64) -> Value {
    Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use labrys_checker::observer;
    use labrys_history::{Event, History};

    use super::*;

    #[test]
    fn the_checkers_read_what_is_observed() {
        let observations = [
            Observation::Leader { node: "n1".to_owned(), term: 5 },
            Observation::Digest { node: "n2".to_owned(), applied: 123, digest: "9f86".to_owned() },
            Observation::Exit {
                node: "n3".to_owned(),
                status: "exit code 101".to_owned(),
                expected: false,
                environment: None,
                log: vec!["panicked".to_owned()],
            },
            Observation::Exit {
                node: "n3".to_owned(),
                status: "exit code 6".to_owned(),
                expected: false,
                environment: Some("the disk is full"),
                log: Vec::new(),
            },
            Observation::Invariant { node: "n4".to_owned(), what: "two leaders".to_owned() },
        ];
        let event = |(index, observation): (usize, &Observation)| {
            let (kind, f, value) = (EventKind::Info, observation.f(), observation.value());
            Event::new(index as u64, index as u64, Process::observer(), kind, f, value)
        };
        let events: Vec<Event> = observations.iter().enumerate().map(event).collect();
        let history = History::new(events).expect("a history");
        let leader = &observer::leaders(&history).expect("the convention")[0];
        assert_eq!((leader.node.as_str(), leader.term), ("n1", 5));
        let digest = &observer::digests(&history).expect("the convention")[0];
        assert_eq!((digest.node.as_str(), digest.applied, digest.digest.as_str()), ("n2", 123, "9f86"));
        let exits = observer::exits(&history).expect("the convention");
        assert_eq!(
            (exits[0].status.as_str(), exits[0].expected, exits[0].log.len()),
            ("exit code 101", false, 1)
        );
        let blamed: Vec<Option<&str>> = exits.iter().map(|exit| exit.environment.as_deref()).collect();
        assert_eq!(blamed, [None, Some("the disk is full")]);
        assert_eq!(observer::invariants(&history).expect("the convention")[0].what, "two leaders");
    }
}
