//! Pauses and kills, seen from the process table.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use labrys_nemesis::{Effect, Host, Patience, ProcessState, Resolved, ServeConfig, serve};

use crate::local_host::{LocalHost, idle_daemon, stat_of};

/// Kills what the test has started, whatever becomes of the test.
struct Cleanup(LocalHost);

impl Drop for Cleanup {
    fn drop(&mut self) {
        if let Ok(Some(process)) = self.0.daemon() {
            let _ = self.0.signal(process, labrys_nemesis::Signal::Kill);
        }
    }
}

#[test]
fn a_process_is_seen_to_stop_to_go_on_to_die_and_to_be_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let host = LocalHost {
        name: "n1".to_owned(),
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        namespace_of: None,
        folder: folder.path().join("n1"),
    };
    let spec = idle_daemon(&host.folder);
    let first = host.start_daemon(&spec).unwrap();
    let _cleanup = Cleanup(host.clone());
    let config = ServeConfig {
        run_tag: "real-test".parse().unwrap(),
        journal: folder.path().join("journal.jsonl"),
        testbed: serde_json::Value::Null,
        daemons: [("n1".to_owned(), spec)].into(),
        packet_program: Vec::new(),
        processor_program: Vec::new(),
        patience: Patience::default(),
    };
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let hosts: Vec<Arc<dyn Host>> = vec![Arc::new(host.clone())];
    let nemesis = std::thread::spawn(move || serve(config, hosts, theirs.try_clone().unwrap(), theirs));
    let reader = std::io::BufReader::new(ours.try_clone().unwrap());
    let mut client = labrys_nemesis::NemesisClient::new(reader, ours);

    assert!(client.apply(0, Resolved::Pause { nodes: vec!["n1".to_owned()] }).unwrap().evidence.bit);
    assert_eq!(stat_of(first.pid).unwrap().0, 'T');
    client.undo(0).unwrap();
    assert_ne!(stat_of(first.pid).unwrap().0, 'T');

    client.apply(1, Resolved::Pause { nodes: vec!["n1".to_owned()] }).unwrap();
    assert!(client.apply(2, Resolved::Kill { nodes: vec!["n1".to_owned()] }).unwrap().evidence.bit);
    assert_eq!(host.process_state(first).unwrap(), ProcessState::Gone);
    let report = client.undo(2).unwrap();
    let second = host.daemon().unwrap().unwrap();
    assert_ne!(second, first);
    assert!(report.evidence.details.iter().any(|seen| seen.effect == Effect::Restarted { process: second }));
    client.undo(1).unwrap();
    assert_eq!(host.process_state(second).unwrap(), ProcessState::Running);
    drop(client);
    nemesis.join().unwrap().unwrap();
}
