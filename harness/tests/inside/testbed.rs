//! The testbed of network namespaces and its hosts.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use labrys_harness::isolation::Enclosure;
use labrys_harness::testbed::{
    LocalHost, NetnsTestbed, NetnsTestbedConfig, TestbedError, TestbedIdentity, hosts_from, lifecycle,
};
use labrys_nemesis::{DaemonSpec, Host, HostError, ProcessState, Signal};

use super::Case;
use super::scenario::{Body, FLAG, Identity, Scenario, contains, eventually, open_folder, same, text};

pub const CASES: &[Case] = &[
    ("five_nodes_hear_each_other", |identity| in_folder(identity, "five_nodes")),
    ("a_rule_in_a_node_cuts_one_direction_of_one_link", |identity| in_folder(identity, "cut")),
    ("a_daemon_is_started_stopped_continued_and_killed", |identity| in_folder(identity, "daemon")),
    ("an_end_that_nobody_intended_is_told_from_a_kill", |identity| in_folder(identity, "unexpected_end")),
    ("another_process_has_the_same_hosts", |identity| in_folder(identity, "share")),
    ("a_full_disk_is_named_and_leaves_no_daemon", |identity| in_folder(identity, "full_disk")),
    ("a_number_of_nodes_that_does_not_fit_is_refused", |identity| in_folder(identity, "node_count")),
    ("a_command_that_does_not_end_is_killed_with_its_children", |identity| in_folder(identity, "endless")),
];

pub const BODIES: &[Body] = &[
    ("five_nodes", five_nodes),
    ("cut", cut),
    ("daemon", daemon),
    ("unexpected_end", unexpected_end),
    ("share", share),
    ("share_as_nemesis", share_as_nemesis),
    ("full_disk", full_disk),
    ("node_count", node_count),
    ("endless", endless),
];

fn in_folder(identity: Identity, scenario: &str) -> Result<(), String> {
    let folder = open_folder()?;
    Scenario::new(identity, scenario, &[&folder.path().to_string_lossy()]).succeed().map(|_| ())
}

fn folder_of(arguments: &[String]) -> Result<&Path, String> {
    arguments.first().map(Path::new).ok_or("no folder".to_owned())
}

fn build(enclosure: &Enclosure, count: usize, arguments: &[String]) -> Result<NetnsTestbed, String> {
    NetnsTestbed::build(enclosure, count, &folder_of(arguments)?.join("nodes")).map_err(text)
}

fn shell(folder: &Path, script: &str) -> DaemonSpec {
    DaemonSpec {
        program: "/bin/sh".into(),
        args: vec!["-c".to_owned(), script.to_owned()],
        env: vec![("GREETING".to_owned(), "hello".to_owned())],
        directory: folder.join("data"),
        log_file: folder.join("logs/daemon.log"),
        clock: None,
        commands: None,
        data_directory: None,
        disk_file: None,
    }
}

fn five_nodes(enclosure: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let begin = Instant::now();
    let testbed = build(enclosure, 5, arguments)?;
    println!("built in {} ms", begin.elapsed().as_millis());
    let hosts = testbed.hosts();
    same("hosts", hosts.len(), 5)?;
    for (host, node) in hosts.iter().zip(&testbed.config().nodes) {
        same("address", host.address(), node.address.into())?;
        let addresses = host.run("ip", &["-oneline", "address", "show"]).map_err(text)?.stdout;
        contains(&addresses, &format!("eth0    inet {}/24", node.address))?;
        same("IPv6 outside the loopback device", addresses.matches("inet6 fe80").count(), 0)?;
    }
    let failed = hosts[0].run("sh", &["-c", "echo why >&2; exit 3"]).expect_err("exit status 3");
    contains(&text(failed), "n1: `sh -c echo why >&2; exit 3` failed: exit status: 3: why")?;
    let missing = hosts[0].run("no-such-program", &[]).expect_err("no such program");
    contains(&text(missing), "n1: `no-such-program` failed: ")?;
    Ok(0)
}

fn endless(enclosure: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let testbed = build(enclosure, 1, arguments)?;
    let impatient = local_host(&testbed, 0)?.with_commands_ending_within(Duration::from_secs(2));
    // The child holds the pipes, too: to kill the shell alone would not do.
    let number = folder_of(arguments)?.join("number");
    let script = format!("sleep 100000 & echo $! > {}; wait", number.display());
    let error = impatient.run("sh", &["-c", &script]).expect_err("it sleeps");
    contains(&text(error), "it did not end within 2.0 s; it was killed")?;
    let child = std::fs::read_to_string(&number).map_err(text)?;
    eventually("the shell's child is gone, too", || !Path::new("/proc").join(child.trim()).exists())?;
    same("commands that end", impatient.run("echo", &["hello"]).map_err(text)?.stdout.as_str(), "hello\n")?;
    Ok(0)
}

/// The host of a node as its own type, which can open sockets in the node's network.
fn local_host(testbed: &NetnsTestbed, position: usize) -> Result<LocalHost, String> {
    let node = &testbed.config().nodes[position];
    let namespace = Path::new("/run/netns").join(&node.name);
    LocalHost::new(&node.name, node.address.into(), &namespace, &node.directory).map_err(text)
}

fn cut(enclosure: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let testbed = build(enclosure, 3, arguments)?;
    let first = local_host(&testbed, 0)?;
    let second = local_host(&testbed, 1)?;
    let third = local_host(&testbed, 2)?;
    let target = SocketAddr::new(first.address(), 7000);
    let _listener = first.in_network(|| TcpListener::bind(target)).map_err(text)?.map_err(text)?;
    let connect = |from: &LocalHost, patience: u64| {
        let tried = from.in_network(|| TcpStream::connect_timeout(&target, Duration::from_millis(patience)));
        tried.map_err(text).map(|connected| connected.map(|_| ()).map_err(|error| error.kind()))
    };
    same("before the cut", connect(&second, 5000)?, Ok(()))?;
    first.run("iptables", &["-w", "-A", "INPUT", "-s", "10.0.0.2", "-j", "DROP"]).map_err(text)?;
    same("across the cut", connect(&second, 200)?, Err(ErrorKind::TimedOut))?;
    same("beside the cut", connect(&third, 5000)?, Ok(()))?;
    let counters = first.run("iptables", &["-w", "-nvxL", "INPUT"]).map_err(text)?.stdout;
    let rule = counters.lines().find(|line| line.contains("10.0.0.2")).ok_or("no rule")?;
    let packets = rule.split_ascii_whitespace().next().and_then(|count| count.parse::<u64>().ok());
    same("the rule has counted packets", packets.is_some_and(|packets| packets > 0), true)?;
    let elsewhere = second.run("iptables", &["-w", "-nvxL", "INPUT"]).map_err(text)?.stdout;
    same("the rule is in one node only", elsewhere.contains("10.0.0.2"), false)?;
    first.run("iptables", &["-w", "-D", "INPUT", "-s", "10.0.0.2", "-j", "DROP"]).map_err(text)?;
    same("after the cut", connect(&second, 5000)?, Ok(()))?;
    Ok(0)
}

fn daemon(enclosure: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let testbed = build(enclosure, 1, arguments)?;
    let host = &testbed.hosts()[0];
    let folder = folder_of(arguments)?;
    let log = folder.join("logs/daemon.log");
    same("before the first start", host.daemon().map_err(text)?, None)?;

    let spec = shell(folder, "echo $GREETING in $PWD; ip -oneline address show dev eth0; exec sleep 1000");
    let first = host.start_daemon(&spec).map_err(text)?;
    same("who it is", host.daemon().map_err(text)?, Some(first))?;
    same("state", host.process_state(first).map_err(text)?, ProcessState::Running)?;
    eventually("the daemon's output is in its log", || {
        let written = std::fs::read_to_string(&log).unwrap_or_default();
        written.contains(&format!("hello in {}", spec.directory.display())) && written.contains("10.0.0.1/24")
    })?;
    let session = nix::unistd::getsid(Some(nix::unistd::Pid::from_raw(first.pid))).map_err(text)?;
    same("it leads a session of its own", session.as_raw(), first.pid)?;
    contains(&text(host.start_daemon(&spec).expect_err("one is alive")), "still alive")?;

    host.signal(first, Signal::Stop).map_err(text)?;
    eventually("it is stopped", || {
        host.process_state(first).is_ok_and(|state| state == ProcessState::Stopped)
    })?;
    host.signal(first, Signal::Continue).map_err(text)?;
    eventually("it runs again", || {
        host.process_state(first).is_ok_and(|state| state == ProcessState::Running)
    })?;
    host.signal(first, Signal::Kill).map_err(text)?;
    eventually("it is gone", || host.process_state(first).is_ok_and(|state| state == ProcessState::Gone))?;
    contains(&text(host.signal(first, Signal::Continue).expect_err("it is gone")), "is gone")?;

    let second = host.start_daemon(&spec).map_err(text)?;
    same("the new one is another", first == second, false)?;
    same("who it is", host.daemon().map_err(text)?, Some(second))?;
    // A number that belongs to another process by now, told by its start.
    let earlier = labrys_nemesis::ProcessIdentity { pid: second.pid, start_ticks: second.start_ticks - 1 };
    same("an earlier process", host.process_state(earlier).map_err(text)?, ProcessState::Gone)?;
    host.signal(earlier, Signal::Kill).expect_err("another process has its number");
    same("the new one lives", host.process_state(second).map_err(text)?, ProcessState::Running)?;
    Ok(0)
}

fn exits(host: &Arc<dyn Host>, config: &NetnsTestbedConfig) -> Vec<(Option<i32>, Option<i32>, bool)> {
    let exits = lifecycle::exits(host.as_ref(), &config.nodes[0].directory).unwrap_or_default();
    exits.iter().map(|exit| (exit.exit_code, exit.killed_by, exit.expected)).collect()
}

fn unexpected_end(enclosure: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let testbed = build(enclosure, 1, arguments)?;
    let host = &testbed.hosts()[0];
    let folder = folder_of(arguments)?;
    let mut wanted = Vec::new();
    for (script, exit_code, killed_by) in
        [("exit 101", Some(101), None), ("kill -ABRT $$", None, Some(6)), ("kill -KILL $$", None, Some(9))]
    {
        host.start_daemon(&shell(folder, script)).map_err(text)?;
        wanted.push((exit_code, killed_by, false));
        eventually("the end is noted", || exits(host, testbed.config()) == wanted)?;
    }
    for (signal, number) in [(Signal::Kill, 9), (Signal::Terminate, 15)] {
        let daemon = host.start_daemon(&shell(folder, "exec sleep 1000")).map_err(text)?;
        host.signal(daemon, signal).map_err(text)?;
        wanted.push((None, Some(number), true));
        eventually("the end is noted as intended", || exits(host, testbed.config()) == wanted)?;
    }
    let missing = DaemonSpec { program: "/no/such/program".into(), ..shell(folder, "") };
    contains(
        &text(host.start_daemon(&missing).expect_err("no program")),
        "`/no/such/program -c ` failed: No such",
    )?;
    Ok(0)
}

/// The harness's part: another process, as the nemesis is, kills its daemon and starts another.
fn share(enclosure: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let testbed = build(enclosure, 2, arguments)?;
    let host = &testbed.hosts()[0];
    let folder = folder_of(arguments)?;
    let config = serde_json::to_string(testbed.config()).map_err(text)?;
    let mine = host.start_daemon(&shell(folder, "exec sleep 1000")).map_err(text)?;

    let as_nemesis = |config: &str| {
        let program = std::fs::File::open("/proc/self/exe").map_err(text)?;
        let mut command = Command::new("/proc/self/fd/0");
        command.args([FLAG, "share_as_nemesis", &folder.to_string_lossy(), config]).stdin(program);
        command.output().map_err(text)
    };
    let output = as_nemesis(&config)?;
    same(
        "the nemesis",
        (output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()),
        (Some(0), ""),
    )?;

    same("my daemon", host.process_state(mine).map_err(text)?, ProcessState::Gone)?;
    let theirs = host.daemon().map_err(text)?.ok_or("no daemon")?;
    same("the daemon is another", theirs == mine, false)?;
    eventually("the end of mine is noted as intended", || {
        exits(host, testbed.config()) == [(None, Some(9), true)]
    })?;

    // Theirs has lost its parent: only init sees how it ends.
    host.write_file(&folder.join("data/stop"), b"").map_err(text)?;
    eventually("the end of theirs is noted as not intended", || {
        exits(host, testbed.config()) == [(None, Some(9), true), (Some(42), None, false)]
    })?;

    let identity = &testbed.config().identity;
    let later = TestbedIdentity { init_start_ticks: identity.init_start_ticks + 1, ..identity.clone() };
    let other = NetnsTestbedConfig { identity: later, ..testbed.config().clone() };
    let refused = hosts_from(&other).err().ok_or("hosts of another testbed")?;
    same("refused", matches!(refused, TestbedError::AnotherTestbed { .. }), true)?;
    Ok(0)
}

fn share_as_nemesis(_: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let [folder, config] = arguments else { return Err("two arguments".to_owned()) };
    let config: NetnsTestbedConfig = serde_json::from_str(config).map_err(text)?;
    let hosts = hosts_from(&config).map_err(text)?;
    let found = hosts[0].daemon().map_err(text)?.ok_or("no daemon")?;
    hosts[0].signal(found, Signal::Kill).map_err(text)?;
    eventually("it is gone", || {
        hosts[0].process_state(found).is_ok_and(|state| state == ProcessState::Gone)
    })?;
    let script = "while [ ! -e stop ]; do sleep 0.01; done; exit 42";
    hosts[0].start_daemon(&shell(Path::new(folder), script)).map_err(text)?;
    Ok(0)
}

fn full_disk(enclosure: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let folder = folder_of(arguments)?;
    let nodes = folder.join("nodes");
    std::fs::create_dir_all(&nodes).map_err(text)?;
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(Some("tmpfs"), &nodes, Some("tmpfs"), flags, Some("size=64k")).map_err(text)?;
    let testbed = build(enclosure, 1, arguments)?;
    let host = &testbed.hosts()[0];
    // Until not a byte more fits.
    let full = std::fs::write(nodes.join("ballast"), vec![0_u8; 1 << 17]).expect_err("64 KiB");
    same("ballast", full.kind(), ErrorKind::StorageFull)?;
    let error = host.start_daemon(&shell(folder, "exec sleep 1000")).expect_err("a full disk");
    let HostError::File { ref path, ref source, .. } = error else { return Err(format!("{error:?}")) };
    same("reason", source.kind(), ErrorKind::StorageFull)?;
    same("place", path.starts_with(nodes.join("n1")), true)?;
    contains(&text(&error), "No space left on device")?;
    let sleepers = Command::new("ps").args(["-eo", "comm="]).output().map_err(text)?;
    same("a daemon is left", String::from_utf8_lossy(&sleepers.stdout).contains("sleep"), false)?;
    Ok(0)
}

fn node_count(enclosure: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    for count in [0, 251] {
        let refused = NetnsTestbed::build(enclosure, count, folder_of(arguments)?).err().ok_or("built")?;
        contains(&text(refused), &format!("1 to 250 nodes, not {count}"))?;
    }
    Ok(0)
}
