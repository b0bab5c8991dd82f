//! An agent that dies while a fault is applied, and the next one, which undoes it.

use std::io::{BufRead, BufReader};

use labrys_nemesis::{Effect, Evidence, Observation};

use super::slowness::{fake_agent, say};
use super::*;
use crate::agent::protocol::FromAgent;

fn on_n1(effect: Effect) -> Observation {
    Observation { node: "n1".to_owned(), effect }
}

fn report(effects: impl IntoIterator<Item = Effect>) -> FaultReport {
    let mut evidence = Evidence::default();
    evidence.extend(effects.into_iter().map(on_n1));
    FaultReport { fault_id: 1, evidence, failures: Vec::new() }
}

#[test]
fn a_fault_that_ended_with_its_agent_says_so_and_keeps_what_was_seen_of_it() {
    let cut = || Effect::LinkCut { from: "n2".to_owned() };
    let dropped = || Effect::PacketsDropped { from: "n2".to_owned(), packets: 7, bytes: 700 };
    let born = AtomicU64::new(0);
    let agent = fake_agent(move |stream| {
        let pid = born.fetch_add(1, Ordering::SeqCst);
        let undone = if pid == 0 { Vec::new() } else { vec![report([cut(), dropped()])] };
        let incarnation = ProcessIdentity { pid: i32::try_from(pid).expect("few"), start_ticks: 1 };
        say(&stream, &FromAgent::Welcome { incarnation, undone });
        for line in BufReader::new(&stream).lines().map_while(Result::ok) {
            let said: ToAgent = serde_json::from_str(&line).expect("it makes sense");
            let ToAgent::Request { id, work: Work::Nemesis(request) } = said else { continue };
            let (reply, dies) = match request {
                RequestBody::Apply { .. } => (Reply::Applied(report([cut()])), true),
                // Of what it has undone before an agent knows no more than that.
                RequestBody::Undo { .. } => (Reply::Undone(report([])), false),
                other => panic!("{other:?}"),
            };
            say(&stream, &FromAgent::Response { id, answer: Answer::Nemesis(reply) });
            if dies {
                return;
            }
        }
    });
    let connection = agent.connect(Pace::default()).expect("welcome");
    let journal = agent.setup.directory.join("journal.jsonl");
    let mut fleet =
        Fleet::new([connection.clone()], &agent.setup.run_tag, &journal, &serde_json::Value::Null)
            .expect("a fleet");
    let resolved = Resolved::Pause { nodes: vec!["n1".to_owned()] };
    assert!(!fleet.apply(1, &resolved).expect("applied").evidence.bit);
    eventually("another one has begun", || connection.ended_early(1).is_some());
    let report = fleet.undo(1).expect("undone");
    let effects: Vec<&Effect> = report.evidence.details.iter().map(|seen| &seen.effect).collect();
    let [first, second, Effect::EndedEarly { by, .. }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!((*first, *second, report.evidence.bit), (&cut(), &dropped(), true));
    assert!(by.contains("was dead"), "{by}");
    let words = report.evidence.to_string();
    assert!(words.starts_with("7 packets dropped, ended ") && words.contains("early on n1"), "{words}");
}
