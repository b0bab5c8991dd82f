//! The isolation itself: what is inside, what is relayed, and that nothing is left.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use labrys_harness::doctor::{Diagnosis, ProbeStatus, examine};
use labrys_harness::isolation::{
    Enclosure, MARKER_VARIABLE, Namespaces, ORPHANS_FILE, OrphanExit, namespace_inode,
};
use labrys_harness::testbed::{Liveness, NetnsTestbed, TestbedIdentity};
use labrys_nemesis::DaemonSpec;
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::unistd::{Pid, getpgrp};
use serde::{Deserialize, Serialize};

use super::Case;
use super::scenario::{Body, Identity, Scenario, contains, eventually, open_folder, same, text};

pub const CASES: &[Case] = &[
    ("exit_codes_are_relayed", exit_codes_are_relayed),
    ("inside_everything_is_new_and_root_is_the_user", inside_everything_is_new),
    ("a_harness_killed_by_a_signal_is_an_environment_failure", a_killed_harness_is_255),
    ("ctrl_c_reaches_the_harness_once", ctrl_c_reaches_the_harness_once),
    ("an_ignored_hangup_is_not_forwarded", an_ignored_hangup_is_not_forwarded),
    ("a_false_marker_is_refused", a_false_marker_is_refused),
    ("the_doctor_tries_things_and_leaves_nothing_of_them", the_doctor_tries_things),
    ("orphans_are_reaped_and_noted", orphans_are_reaped_and_noted),
    ("kill_9_of_the_supervisor_leaves_nothing", |identity| kill_leaves_nothing(identity, Victim::Supervisor)),
    ("kill_9_of_init_leaves_nothing", |identity| kill_leaves_nothing(identity, Victim::Init)),
    ("kill_9_of_the_harness_leaves_nothing", |identity| kill_leaves_nothing(identity, Victim::Harness)),
    ("a_testbed_can_be_ended_from_outside_any_number_of_times", a_testbed_can_be_ended_from_outside),
];

/// What root has no need of.
pub const CASES_OF_ORDINARY_USERS: &[Case] =
    &[("forbidden_user_namespaces_are_explained", forbidden_user_namespaces_are_explained)];

pub const BODIES: &[Body] = &[
    ("exit", |_, arguments| arguments.first().and_then(|code| code.parse().ok()).ok_or("no code".to_owned())),
    ("look_around", look_around),
    ("die", die),
    ("count_signals", count_signals),
    ("without_user_namespaces", without_user_namespaces),
    ("examine_twice", examine_twice),
    ("leave_orphans", leave_orphans),
    ("park", park),
];

fn exit_codes_are_relayed(identity: Identity) -> Result<(), String> {
    for code in [0, 1, 2, 254, 255] {
        let finished = Scenario::new(identity, "exit", &[&code.to_string()]).run()?;
        same("exit code", finished.code, Some(code))?;
        same("standard error", finished.stderr.as_str(), "")?;
    }
    Ok(())
}

fn inside_everything_is_new(identity: Identity) -> Result<(), String> {
    let printed = Scenario::new(identity, "look_around", &["two words", "ünïcode"]).succeed()?;
    contains(&printed, "two words|ünïcode")?;
    contains(
        &printed,
        if identity == Identity::Root { "user namespace: false" } else { "user namespace: true" },
    )
}

fn look_around(enclosure: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let here = Namespaces::of_this_process().map_err(text)?;
    let outside = enclosure.outside();
    same("inside", &here, enclosure.inside())?;
    for (name, inner, outer) in [
        ("network", here.network, outside.network),
        ("mount", here.mount, outside.mount),
        ("PID", here.pid, outside.pid),
    ] {
        if inner == outer {
            return Err(format!("the {name} namespace is the one outside"));
        }
    }
    same("user namespace is new", here.user != outside.user, enclosure.has_user_namespace())?;
    same("user", nix::unistd::geteuid().is_root(), true)?;
    same("/proc is of this PID namespace", processes()?.iter().all(|pid| *pid < 1000), true)?;
    same("parent", nix::unistd::getppid().as_raw(), 1)?;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(text)?;
    std::net::TcpStream::connect(listener.local_addr().map_err(text)?)
        .map_err(|e| format!("loopback: {e}"))?;
    std::fs::write("/run/ours", "ours").map_err(|error| format!("/run: {error}"))?;
    println!("{}", arguments.join("|"));
    println!("user namespace: {}", enclosure.has_user_namespace());
    Ok(0)
}

fn a_killed_harness_is_255(identity: Identity) -> Result<(), String> {
    for (signal, name) in [("9", "SIGKILL"), ("6", "SIGABRT")] {
        let finished = Scenario::new(identity, "die", &[signal]).run()?;
        same("exit code", finished.code, Some(255))?;
        contains(&finished.stderr, &format!("the harness was killed by {name}"))?;
        same("lines of explanation", finished.stderr.lines().count(), 1)?;
    }
    Ok(())
}

fn die(_: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let number: i32 = arguments.first().and_then(|number| number.parse().ok()).ok_or("no signal")?;
    kill(nix::unistd::getpid(), Signal::try_from(number).map_err(text)?).map_err(text)?;
    Err("survived".to_owned())
}

fn ctrl_c_reaches_the_harness_once(identity: Identity) -> Result<(), String> {
    let mut running = Scenario::new(identity, "count_signals", &[]).start()?;
    let group = running.line()?;
    // A group that is led by a process outside would be 0.
    same("the harness's process group, led by init", group, "1".to_owned())?;
    // What the terminal does: the signal goes to every process of the group in the foreground, the supervisor's.
    killpg(Pid::from_raw(running.pid()), Signal::SIGINT).map_err(text)?;
    same("first signal", running.line()?, "SIGINT".to_owned())?;
    running.signal(Signal::SIGTERM)?;
    same("second signal", running.line()?, "SIGTERM".to_owned())?;
    same("exit code", running.finish()?.code, Some(7))
}

/// Prints the process group, then each signal that arrives, and ends with 7 at SIGTERM.
fn count_signals(_: &Enclosure, _: &[String]) -> Result<u8, String> {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    signals.thread_block().map_err(text)?;
    println!("{}", getpgrp());
    loop {
        let signal = signals.wait().map_err(text)?;
        println!("{signal}");
        if signal == Signal::SIGTERM {
            return Ok(7);
        }
    }
}

fn an_ignored_hangup_is_not_forwarded(identity: Identity) -> Result<(), String> {
    // Scenarios inherit what is ignored, as from `nohup`.
    let mut running = Scenario::new(identity, "count_signals", &[]).ignoring_hangup().start()?;
    running.line()?;
    running.signal(Signal::SIGHUP)?;
    running.signal(Signal::SIGTERM)?;
    same("first signal", running.line()?, "SIGTERM".to_owned())?;
    same("exit code", running.finish()?.code, Some(7))
}

fn a_false_marker_is_refused(identity: Identity) -> Result<(), String> {
    let honest = Namespaces::of_this_process().map_err(text)?;
    let outside = serde_json::to_string(&honest).map_err(text)?;
    let same_namespaces = format!(r#"{{"supervisor_pid":1,"user_namespace":true,"outside":{outside}}}"#);
    for marker in ["yes", "{}", &same_namespaces] {
        let finished = Scenario::new(identity, "exit", &["0"]).env(MARKER_VARIABLE, marker).run()?;
        same("exit code", finished.code, Some(255))?;
        contains(&finished.stderr, "Unset it")?;
    }
    Ok(())
}

fn forbidden_user_namespaces_are_explained(identity: Identity) -> Result<(), String> {
    let printed = Scenario::new(identity, "without_user_namespaces", &[]).succeed()?;
    contains(&printed, "code 255")?;
    contains(&printed, "user.max_user_namespaces is 0")?;
    contains(&printed, "sudo sysctl -w user.max_user_namespaces=")
}

/// The limit is per user namespace, so it can be set to 0 in ours; a process there without capabilities is an ordinary user.
fn without_user_namespaces(_: &Enclosure, _: &[String]) -> Result<u8, String> {
    std::fs::write("/proc/sys/user/max_user_namespaces", "0").map_err(text)?;
    let output = Command::new("setpriv")
        .args([
            "--bounding-set",
            "-all",
            "--inh-caps",
            "-all",
            "/proc/self/fd/0",
            super::scenario::FLAG,
            "exit",
            "0",
        ])
        .stdin(std::fs::File::open("/proc/self/exe").map_err(text)?)
        .env_remove(MARKER_VARIABLE)
        .output()
        .map_err(|error| format!("setpriv: {error}"))?;
    println!("code {:?}: {}", output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr));
    Ok(0)
}

fn the_doctor_tries_things(identity: Identity) -> Result<(), String> {
    let printed = Scenario::new(identity, "examine_twice", &[]).succeed()?;
    let diagnosis: Diagnosis = serde_json::from_str(&printed).map_err(text)?;
    let status =
        |name: &str| diagnosis.probes.iter().find(|probe| probe.name == name).map(|probe| probe.status);
    for name in ["namespaces", "network-namespaces"] {
        same(name, status(name), Some(ProbeStatus::Ok))?;
    }
    let are_any_untried = diagnosis.probes.iter().any(|probe| probe.status == ProbeStatus::Untried);
    same("something was not tried inside", are_any_untried, false)?;
    // The testbed's tests need it, too, so it is there where these are run.
    same("iptables", status("iptables"), Some(ProbeStatus::Ok))
}

/// What a look leaves behind, a second look would stumble over.
fn examine_twice(enclosure: &Enclosure, _: &[String]) -> Result<u8, String> {
    let first = examine(Ok(enclosure), Path::new("/tmp"));
    let second = examine(Ok(enclosure), Path::new("/tmp"));
    let statuses = |diagnosis: &Diagnosis| -> Vec<_> {
        diagnosis.probes.iter().map(|probe| (probe.name.clone(), probe.status)).collect()
    };
    same("the second look", statuses(&second), statuses(&first))?;
    println!("{}", serde_json::to_string(&first).map_err(text)?);
    Ok(0)
}

fn orphans_are_reaped_and_noted(identity: Identity) -> Result<(), String> {
    Scenario::new(identity, "leave_orphans", &[]).succeed().map(|_| ())
}

fn leave_orphans(_: &Enclosure, _: &[String]) -> Result<u8, String> {
    // The shell in the middle ends at once; its child waits until the shell is gone, and then ends with 7.
    let script = "sh -c 'while [ -e /proc/$0 ]; do :; done; exit 7' $$ & exit 0";
    let status = Command::new("sh").args(["-c", script]).status().map_err(text)?;
    same("the shell's exit", status.code(), Some(0))?;
    eventually("the orphan's end is noted", || {
        let notes = std::fs::read_to_string(ORPHANS_FILE).unwrap_or_default();
        notes
            .lines()
            .filter_map(|line| serde_json::from_str::<OrphanExit>(line).ok())
            .any(|exit| exit.exit_code == Some(7) && exit.start_ticks > 0)
    })?;
    eventually("nothing but init and this process is left", || processes().is_ok_and(|all| all.len() == 2))?;
    Ok(0)
}

/// Which process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Supervisor,
    Init,
    Harness,
}

/// What a parked scenario tells: which testbed it has, and who it is inside.
#[derive(Serialize, Deserialize)]
struct Parked {
    identity: TestbedIdentity,
    harness_pid_inside: i32,
    daemon_pid_inside: i32,
}

/// Builds a testbed with a rule, a mount and a daemon, says so, and waits to be killed.
fn park(enclosure: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let folder = arguments.first().ok_or("no folder")?;
    let testbed = NetnsTestbed::build(enclosure, 3, &Path::new(folder).join("nodes")).map_err(text)?;
    let hosts = testbed.hosts();
    hosts[0].run("iptables", &["-w", "-A", "INPUT", "-s", "10.0.0.2", "-j", "DROP"]).map_err(text)?;
    let mount_point = Path::new(folder).join("mount");
    std::fs::create_dir_all(&mount_point).map_err(text)?;
    let none: Option<&str> = None;
    nix::mount::mount(Some("tmpfs"), &mount_point, Some("tmpfs"), nix::mount::MsFlags::empty(), none)
        .map_err(text)?;
    let spec = DaemonSpec {
        program: "sleep".into(),
        args: vec!["1000".to_owned()],
        env: Vec::new(),
        directory: folder.into(),
        log_file: Path::new(folder).join("sleep.log"),
        clock: None,
        commands: None,
        data_directory: None,
        disk_file: None,
    };
    let daemon = hosts[1].start_daemon(&spec).map_err(text)?;
    let parked = Parked {
        identity: testbed.config().identity.clone(),
        harness_pid_inside: std::process::id().cast_signed(),
        daemon_pid_inside: daemon.pid,
    };
    println!("{}", serde_json::to_string(&parked).map_err(text)?);
    std::io::stdout().flush().map_err(text)?;
    loop {
        nix::unistd::pause();
    }
}

/// A process by number and start time, and the namespaces that it holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    pid: i32,
    start_ticks: String,
    number_inside: i32,
}

fn kill_leaves_nothing(identity: Identity, victim: Victim) -> Result<(), String> {
    let folder = open_folder()?;
    let folder_name = folder.path().to_string_lossy().into_owned();
    let mut running = Scenario::new(identity, "park", &[&folder_name]).start()?;
    let parked: Parked = serde_json::from_str(&running.line()?).map_err(text)?;

    let before = members(&parked.identity)?;
    let inside: BTreeSet<i32> = before.iter().map(|seen| seen.number_inside).collect();
    for (what, number) in
        [("init", 1), ("the harness", parked.harness_pid_inside), ("the daemon", parked.daemon_pid_inside)]
    {
        same(&format!("{what} is seen from outside"), inside.contains(&number), true)?;
    }
    same("the host has none of the devices", host_devices()?, Vec::<String>::new())?;
    same("the host does not see the mount", mounts_below(&folder_name)?, 0)?;

    let pid_of = |number: i32| before.iter().find(|seen| seen.number_inside == number).map(|seen| seen.pid);
    let target = match victim {
        Victim::Supervisor => running.pid(),
        Victim::Init => pid_of(1).ok_or("no init")?,
        Victim::Harness => pid_of(parked.harness_pid_inside).ok_or("no harness")?,
    };
    kill(Pid::from_raw(target), Signal::SIGKILL).map_err(text)?;

    // First this: whoever were left would hold the pipes that are read to their end below.
    eventually("every process of the testbed is gone", || {
        before.iter().all(|seen| start_ticks(seen.pid).as_ref() != Some(&seen.start_ticks))
    })?;
    let finished = running.finish()?;
    match victim {
        Victim::Supervisor => same("exit code", finished.code, None)?,
        Victim::Init => {
            same("exit code", finished.code, Some(255))?;
            contains(&finished.stderr, "init process was killed by SIGKILL")?;
        }
        Victim::Harness => {
            same("exit code", finished.code, Some(255))?;
            contains(&finished.stderr, "the harness was killed by SIGKILL")?;
        }
    }
    eventually("the testbed is gone", || {
        parked.identity.liveness().is_ok_and(|state| state == Liveness::Gone)
    })?;
    eventually("nobody from that time holds its namespaces", || {
        holders(&parked.identity, &before).is_ok_and(|holders| holders.is_empty())
    })?;
    same("a mount is left", mounts_below(&folder_name)?, 0)?;
    same("a device is left", host_devices()?, Vec::<String>::new())
}

fn a_testbed_can_be_ended_from_outside(identity: Identity) -> Result<(), String> {
    let folder = open_folder()?;
    let folder_name = folder.path().to_string_lossy().into_owned();
    let mut running = Scenario::new(identity, "park", &[&folder_name]).start()?;
    let parked: Parked = serde_json::from_str(&running.line()?).map_err(text)?;
    let Liveness::Alive { init, others } = parked.identity.liveness().map_err(text)? else {
        return Err("a living testbed is said to be gone".to_owned());
    };
    let names: Vec<&str> = others.iter().map(|other| other.name.as_str()).collect();
    same("the daemon is named among the others", names.contains(&"sleep"), true)?;
    same("init is a child of the supervisor", parent_of(init.pid)?, running.pid())?;

    // The same inode at another time, or in another boot, is another testbed.
    let later =
        TestbedIdentity { init_start_ticks: parked.identity.init_start_ticks + 1, ..parked.identity.clone() };
    let rebooted = TestbedIdentity { boot_id: "another".to_owned(), ..parked.identity.clone() };
    for other in [later, rebooted] {
        same("another testbed", other.liveness().map_err(text)?, Liveness::Gone)?;
        same("another testbed is ended", other.end().map_err(text)?, false)?;
    }
    same("first ending", parked.identity.end().map_err(text)?, true)?;
    same("exit code", running.finish()?.code, Some(255))?;
    same("second ending", parked.identity.end().map_err(text)?, false)?;
    same("liveness", parked.identity.liveness().map_err(text)?, Liveness::Gone)
}

fn processes() -> Result<Vec<i32>, String> {
    let entries = std::fs::read_dir("/proc").map_err(text)?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

fn start_ticks(pid: i32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19).map(str::to_owned)
}

fn status_line(pid: i32, name: &str) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(name).map(|rest| rest.trim().to_owned()))
}

fn parent_of(pid: i32) -> Result<i32, String> {
    status_line(pid, "PPid:").and_then(|parent| parent.parse().ok()).ok_or("no parent".to_owned())
}

/// The processes in the testbed's PID namespace.
fn members(identity: &TestbedIdentity) -> Result<BTreeSet<Seen>, String> {
    let mut members = BTreeSet::new();
    for pid in processes()? {
        let inode = namespace_inode(Path::new(&format!("/proc/{pid}/ns/pid")));
        if inode.is_ok_and(|inode| inode == identity.pid_namespace)
            && let (Some(start_ticks), Some(numbers)) = (start_ticks(pid), status_line(pid, "NSpid:"))
            && let Some(number_inside) =
                numbers.split_ascii_whitespace().last().and_then(|last| last.parse().ok())
        {
            members.insert(Seen { pid, start_ticks, number_inside });
        }
    }
    Ok(members)
}

/// Processes that hold one of the testbed's namespaces, as their own or as an open file. Those that started after the
/// testbed's last process are left out: the kernel uses inode numbers again.
fn holders(identity: &TestbedIdentity, before: &BTreeSet<Seen>) -> Result<Vec<i32>, String> {
    let ticks = |text: &str| text.parse::<u64>().unwrap_or(u64::MAX);
    let last_start = before.iter().map(|seen| ticks(&seen.start_ticks)).max().unwrap_or(0);
    let mut inodes = identity.network_namespaces.clone();
    inodes.push(identity.pid_namespace);
    let mut holders = Vec::new();
    for pid in processes()? {
        let started_before = start_ticks(pid).is_some_and(|start| ticks(&start) <= last_start);
        let mut links = Vec::new();
        for folder in ["ns", "fd"] {
            let entries = std::fs::read_dir(format!("/proc/{pid}/{folder}"));
            links.extend(
                entries.into_iter().flatten().flatten().filter_map(|entry| entry.path().read_link().ok()),
            );
        }
        let holds = links.iter().any(|link| {
            inodes.iter().any(|inode| link.to_string_lossy() == format!("net:[{inode}]"))
                || link.to_string_lossy() == format!("pid:[{}]", identity.pid_namespace)
        });
        if started_before && holds {
            holders.push(pid);
        }
    }
    Ok(holders)
}

/// The devices of a testbed, as far as they are in this process's own network.
fn host_devices() -> Result<Vec<String>, String> {
    let devices = std::fs::read_to_string("/proc/self/net/dev").map_err(text)?;
    let names =
        devices.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim().to_owned());
    Ok(names.filter(|name| name == "labrys" || name.starts_with("to-n")).collect())
}

fn mounts_below(folder: &str) -> Result<usize, String> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").map_err(text)?;
    Ok(mounts.lines().filter(|line| line.contains(folder)).count())
}
