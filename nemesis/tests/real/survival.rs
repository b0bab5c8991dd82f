//! The nemesis outlives its parent and undoes everything.

use std::io::{BufReader, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use labrys_nemesis::{
    Host, Link, NemesisClient, Patience, ProcessState, Resolved, ServeConfig, outlive_the_terminal,
    read_journal, serve,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::local_host::{LocalHost, idle_daemon, stat_of};
use crate::namespaces::{TwoHosts, inside_namespaces, wait_for};

const NAME: &str =
    "survival::a_nemesis_whose_parent_was_killed_undoes_everything_and_no_signal_keeps_it_from_that";

/// Says which of the processes of this test a process is, and gives it its configuration.
const ROLE: &str = "LABRYS_TEST_ROLE";

#[derive(Serialize, Deserialize)]
enum Role {
    /// Starts the nemesis, has it apply faults, and waits to be killed.
    Harness(Setting),
    /// Is the nemesis, over its standard input, which is a socket.
    Nemesis(Setting),
}

#[derive(Clone, Serialize, Deserialize)]
struct Setting {
    hosts: Vec<LocalHost>,
    folder: PathBuf,
}

impl Setting {
    fn journal(&self) -> PathBuf {
        self.folder.join("journal.jsonl")
    }

    /// Where the harness writes the process number of the nemesis once the faults are there.
    fn ready_file(&self) -> PathBuf {
        self.folder.join("ready")
    }
}

fn start(role: &Role, stdin: Stdio) -> std::process::Child {
    let test = std::env::current_exe().unwrap();
    let role = serde_json::to_string(role).unwrap();
    let mut command = Command::new(test);
    command.args([NAME, "--exact", "--nocapture"]).env(ROLE, role).stdin(stdin).stdout(Stdio::null());
    command.spawn().unwrap()
}

#[test]
fn a_nemesis_whose_parent_was_killed_undoes_everything_and_no_signal_keeps_it_from_that() {
    match std::env::var(ROLE).ok().map(|role| serde_json::from_str(&role).unwrap()) {
        Some(Role::Harness(setting)) => be_the_harness(setting),
        Some(Role::Nemesis(setting)) => be_the_nemesis(setting),
        None => inside_namespaces(NAME, kill_the_harness),
    }
}

fn kill_the_harness() {
    let folder = tempfile::tempdir().unwrap();
    let two = TwoHosts::new(folder.path(), false);
    let hosts = vec![two.first.clone(), two.second.clone()];
    let setting = Setting { hosts, folder: folder.path().to_owned() };
    for host in &setting.hosts {
        host.start_daemon(&idle_daemon(&host.folder)).unwrap();
    }
    let mut harness = start(&Role::Harness(setting.clone()), Stdio::piped());
    let nemesis: i32 =
        wait_for("the faults", || std::fs::read_to_string(setting.ready_file()).ok()?.parse().ok());
    assert_eq!(state_of(&two.first), ProcessState::Stopped);
    assert_eq!(state_of(&two.second), ProcessState::Gone);
    assert!(filter_of(&two.second).contains("LABRYS-survival"));
    assert_eq!(read_journal(&setting.journal()).unwrap().outstanding.len(), 3);

    harness.kill().unwrap();
    harness.wait().unwrap();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // It may have done its work and be gone by now.
        let _ = kill(Pid::from_raw(nemesis), signal);
    }
    wait_for("the end of the nemesis", || match stat_of(nemesis) {
        None | Some(('Z', _)) => Some(()),
        Some(_) => None,
    });
    assert_eq!(state_of(&two.first), ProcessState::Running);
    assert_eq!(state_of(&two.second), ProcessState::Running);
    assert!(!filter_of(&two.second).contains("LABRYS"));
    assert!(read_journal(&setting.journal()).unwrap().outstanding.is_empty());
}

fn be_the_harness(setting: Setting) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut nemesis_process = start(&Role::Nemesis(setting.clone()), Stdio::from(OwnedFd::from(theirs)));
    let mut client = NemesisClient::new(BufReader::new(ours.try_clone().unwrap()), ours);
    // The first answer comes after the handlers are in place.
    client.status().unwrap();
    client.apply(0, Resolved::Pause { nodes: vec!["n1".to_owned()] }).unwrap();
    client.apply(1, Resolved::Kill { nodes: vec!["n2".to_owned()] }).unwrap();
    let links = vec![Link { from: "n1".to_owned(), to: "n2".to_owned() }];
    client
        .apply(2, Resolved::Partition { description: "n1 -x-> n2".to_owned(), links, content_only: false })
        .unwrap();
    let nemesis = i32::try_from(nemesis_process.id()).unwrap();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        kill(Pid::from_raw(nemesis), signal).unwrap();
        assert_eq!(client.status().unwrap().active.len(), 3, "{signal} ended the faults");
    }
    write_whole(&setting.ready_file(), &nemesis.to_string());
    // Until killed, or until the test itself is gone.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    drop(client);
    let _ = nemesis_process.wait();
}

fn be_the_nemesis(setting: Setting) {
    outlive_the_terminal().unwrap();
    let socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    let config = ServeConfig {
        run_tag: "survival".parse().unwrap(),
        journal: setting.journal(),
        testbed: serde_json::Value::Null,
        daemons: setting.hosts.iter().map(|host| (host.name.clone(), idle_daemon(&host.folder))).collect(),
        packet_program: Vec::new(),
        processor_program: Vec::new(),
        patience: Patience::default(),
    };
    let hosts = setting.hosts.into_iter().map(|host| Arc::new(host) as Arc<dyn Host>).collect();
    serve(config, hosts, socket.try_clone().unwrap(), socket).unwrap();
}

/// A file that is either not there or whole.
fn write_whole(path: &Path, content: &str) {
    let draft = path.with_extension("draft");
    std::fs::write(&draft, content).unwrap();
    std::fs::rename(draft, path).unwrap();
}

fn state_of(host: &LocalHost) -> ProcessState {
    host.process_state(host.daemon().unwrap().unwrap()).unwrap()
}

fn filter_of(host: &LocalHost) -> String {
    host.run("iptables-save", &["-t", "filter"]).unwrap().stdout
}
