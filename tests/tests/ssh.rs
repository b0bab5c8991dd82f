//! The testbed `ssh` against five real `sshd`s, each in namespaces that play a machine: a whole campaign, and every way in which it can be
//! cut short, after which `labrys heal` leaves every machine clean.
//!
//! Needs root, for the namespaces, and `sshd` (`cargo xtask setup` installs openssh-server where nothing would start it).

use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use labrys_tests::{Finished, binary, eventually, finish, run_directory, whole_machine};

const SSHD: &str = "/usr/sbin/sshd";
const COUNT: usize = 5;

/// Why there are no machines here.
fn refusal() -> Option<&'static str> {
    use std::os::unix::fs::MetadataExt;
    if !Path::new(SSHD).is_file() {
        return Some("/usr/sbin/sshd is missing: sudo apt-get install openssh-server");
    }
    let is_root = fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0);
    (!is_root).then_some("only root can make machines out of namespaces")
}

/// Five machines and the one that reaches them; all end when this is dropped.
struct Machines {
    folder: tempfile::TempDir,
    keeper: Child,
    /// The first process of the namespaces, by its number here.
    inside: String,
}

impl Machines {
    fn start() -> Machines {
        let folder = tempfile::Builder::new().prefix("labrys-ssh").tempdir().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ssh_machines/machines.sh");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "sh"]);
        command.arg(script).arg(folder.path()).arg(COUNT.to_string()).arg(SSHD);
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        let mut keeper = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "the machines did not come up");
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", keeper.id())).unwrap();
        let machines = Machines { inside: children.trim().to_owned(), folder, keeper };
        machines.write_inventory();
        // What is sent five times is to be small.
        for program in ["labrys", "labrys-store"] {
            let copy = machines.path(program);
            let stripped = Command::new("strip").arg("-o").args([&copy, &binary(program)]).status();
            if !stripped.is_ok_and(|status| status.success()) {
                fs::copy(binary(program), copy).unwrap();
            }
        }
        machines
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The folder of Labrys on each machine.
    fn directory(&self) -> String {
        self.path("machine").display().to_string()
    }

    fn write_inventory(&self) {
        let mut text = format!(
            "user = \"root\"\nkey = \"user\"\nknown-hosts = \"known_hosts\"\ndirectory = \"{}\"\n",
            self.directory()
        );
        for number in 1..=COUNT {
            text.push_str(&format!("[[hosts]]\nname = \"n{number}\"\naddress = \"10.9.0.{number}\"\n"));
        }
        fs::write(self.path("hosts.toml"), text).unwrap();
    }

    /// A command on the machine that reaches the others.
    fn inside(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.inside, "--mount", "--net", "--pid", "--", "env", "-C"]);
        command.arg(self.folder.path()).arg(program).args(args).stdin(Stdio::null());
        command.env("LABRYS_STORE_BINARY", self.path("labrys-store")).env("HOME", self.folder.path());
        command
    }

    fn labrys(&self, args: &[&str]) -> Command {
        self.inside(&self.path("labrys").display().to_string(), args)
    }

    /// What a script prints on a machine.
    fn on(&self, number: usize, script: &str) -> Finished {
        let key = self.path("user").display().to_string();
        let known = format!("UserKnownHostsFile={}", self.path("known_hosts").display());
        let target = format!("root@10.9.0.{number}");
        finish(&mut self.inside("ssh", &["-n", "-i", &key, "-o", &known, &target, script]))
    }

    /// Whatever of Labrys there is on the machines but its programs and folders: processes, rules, mounts, control groups.
    fn traces_of(&self, numbers: &[usize]) -> String {
        let script = format!(
            "iptables-save | grep LABRYS; ip6tables-save | grep LABRYS; grep '{0}/' /proc/mounts; \
             find /sys/fs/cgroup -name 'labrys-*'; \
             for p in /proc/[0-9]*; do readlink $p/exe | grep '^{0}' && cat $p/status | grep State; done 2>/dev/null",
            self.directory()
        );
        numbers.iter().map(|number| self.on(*number, &script).stdout).collect()
    }

    fn traces(&self) -> String {
        self.traces_of(&(1..=COUNT).collect::<Vec<_>>())
    }

    fn assert_clean(&self, case: &str) {
        // An agent says that all is undone, and ends then.
        eventually(30, &format!("nothing is left behind: {case}"), || {
            let traces = self.traces();
            if traces.is_empty() { Ok(()) } else { Err(traces) }
        });
    }

    /// A run with faults of every kind that stay, once they all are there.
    fn run_with_faults(&self, case: &str) -> Run {
        fs::write(self.path("faults.toml"), FAULTS).unwrap();
        let out = self.path(case);
        let mut command = self.labrys(&["test", "--testbed", "ssh", "--hosts", "hosts.toml", "--rate", "50"]);
        command.args(["--time-limit", "60s", "--faults", "faults.toml", "--out"]).arg(&out);
        let told = self.path(&format!("{case}.stderr"));
        let supervisor =
            command.stdout(Stdio::null()).stderr(fs::File::create(&told).unwrap()).spawn().unwrap();
        let directory = out.join("latest");
        eventually(60, &format!("the faults are there: {case}"), || {
            let journal = fs::read_to_string(directory.join("nemesis-journal.jsonl")).unwrap_or_default();
            let applied = journal.matches("\"entry\":\"applied\"").count();
            if applied == 4 {
                return Ok(());
            }
            Err(format!("{applied} of them; {}", fs::read_to_string(&told).unwrap()))
        });
        Run { supervisor, directory }
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// One of each kind, on nodes of their own, from the second second on.
const FAULTS: &str = "faults = [
  { at-ms = 1000, lasts-ms = 60000, kind = \"partition\", shape = { links = [{ from = \"n1\", to = \"n2\" }] } },
  { at-ms = 1100, lasts-ms = 60000, kind = \"pause\", target = { named = [\"n3\"] } },
  { at-ms = 1200, lasts-ms = 60000, kind = \"kill\", target = { named = [\"n4\"] } },
  { at-ms = 1300, lasts-ms = 60000, kind = \"clock\", target = { named = [\"n5\"] }, change = { drift-percent = 50 } },
]
";

/// Nodes that begin anew, one at a time and never who leads, so that nothing acknowledged is lost; then processes that run short of something,
/// an order and a failpoint, on nodes of their own.
const FAULTS_OF_PROCESSES: &str = "faults = [
  { at-ms = 1000, lasts-ms = 1500, kind = \"restart\", target = \"one of followers\", data = \"wiped\" },
  { at-ms = 4500, lasts-ms = 1500, kind = \"restart\", target = \"one of followers\", data = \"old\" },
  { at-ms = 8000, lasts-ms = 3000, kind = \"resource\", target = { named = [\"n1\"] }, trouble = \"descriptors\" },
  { at-ms = 8000, lasts-ms = 3000, kind = \"resource\", target = { named = [\"n2\"] }, trouble = { processor-percent = 2 } },
  { at-ms = 8000, lasts-ms = 3000, kind = \"resource\", target = { named = [\"n3\"] }, trouble = { memory-margin-kib = 256 } },
  { at-ms = 8000, lasts-ms = 1000, kind = \"application\", target = { named = [\"n4\"] }, order = \"snapshot\" },
  { at-ms = 8000, lasts-ms = 3000, kind = \"application\", target = { named = [\"n5\"] }, order = { failpoint = { at = \"before-wal-sync\", action = \"pause 60000\" } } },
]
";

/// A run under way; killed when dropped.
struct Run {
    supervisor: Child,
    directory: PathBuf,
}

impl Run {
    /// Kills the harness itself, which `nsenter` has started.
    fn kill(&mut self) {
        let pid = self.supervisor.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let killed = Command::new("kill").arg("-KILL").args(children.split_ascii_whitespace()).status();
        assert!(killed.unwrap().success());
        self.supervisor.wait().unwrap();
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.supervisor.kill();
        let _ = self.supervisor.wait();
    }
}

/// The machines, unless there can be none, which is told.
fn machines() -> Option<Machines> {
    if let Some(reason) = refusal() {
        // Not the macro, whose words a test that passes keeps to itself.
        let _ = std::io::stderr().write_all(format!("SKIPPED: {reason}\n").as_bytes());
        return None;
    }
    Some(Machines::start())
}

#[test]
fn a_campaign_on_five_machines_by_one_command_survives_lost_connections_and_leaves_logs_and_nothing_else() {
    let _machine = whole_machine();
    let Some(machines) = machines() else { return };
    let doctor = finish(&mut machines.labrys(&["doctor", "--hosts", "hosts.toml"])).expect_code(0);
    assert_eq!(doctor.stderr.matches(": ssh: connected to 10.9.0.").count(), COUNT, "{doctor:?}");
    let args = [
        "test",
        "--testbed",
        "ssh",
        "--hosts",
        "hosts.toml",
        "--nemesis",
        // With disks that can fail where there can be such.
        if Path::new("/dev/fuse").exists() {
            "partition,pause,kill,clock,disk"
        } else {
            "partition,pause,kill,clock"
        },
        "--nemesis-interval",
        "3s",
        "--time-limit",
        "15s",
        "--rate",
        "200",
        "--seed",
        "7",
        "--json",
    ];
    let campaign = machines.labrys(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let history = machines.path("labrys-runs/latest/history.jsonl");
    eventually(60, "clients are at work", || {
        let count = fs::read_to_string(&history).unwrap_or_default().lines().count();
        if count > 200 { Ok(()) } else { Err(count) }
    });
    // Every connection breaks once; the agents wait for the next.
    let broken = finish(&mut machines.inside("pkill", &["-KILL", "-x", "ssh"]));
    assert_eq!(broken.code, Some(0), "{broken:?}");
    let finished: Finished = campaign.wait_with_output().unwrap().into();
    let finished = finished.expect_code(0);
    let run = run_directory(&finished);
    let schedule = fs::read_to_string(run.join("schedule.jsonl")).unwrap();
    for kind in ["partition", "pause", "kill", "clock"] {
        let has_bitten = |line: &str| {
            line.contains("\"bit\":true") && line.contains(&format!("\"resolved\":{{\"kind\":\"{kind}\""))
        };
        assert!(schedule.lines().any(has_bitten), "no {kind} that bit in\n{schedule}");
    }
    for number in 1..=COUNT {
        let node = run.join(format!("nodes/n{number}"));
        for file in ["labrys-store.log", "lifecycle.jsonl", "journal.jsonl", "agent.log"] {
            let length = fs::metadata(node.join(file)).map(|metadata| metadata.len()).unwrap_or(0);
            assert!(length > 0, "{file} of n{number} was not collected");
        }
        assert!(!node.join("data").exists(), "data of a valid run");
    }
    let log = fs::read_to_string(run.join("labrys.log")).unwrap();
    assert_eq!(log.matches("the connection was made again").count(), COUNT, "{log}");
    machines.assert_clean("a whole campaign");
    let folders = machines.on(1, &format!("ls {0} {0}/runs", machines.directory()));
    assert!(folders.stdout.contains("bin") && !folders.stdout.contains("n1"), "{folders:?}");
    // Of that folder alone: a program's name has its checksum, which may begin with a 7, too.
    let runs = machines.on(1, &format!("ls {}/runs", machines.directory()));
    assert!(!runs.stdout.contains("-7"), "the run's folder is still there: {runs:?}");
    let healed = finish(&mut machines.labrys(&["heal", "labrys-runs/latest"])).expect_code(0);
    assert_eq!(healed.stderr.matches(": clean").count(), COUNT, "{healed:?}");
}

#[test]
fn processes_on_machines_run_short_and_begin_anew_and_nothing_of_it_is_left() {
    let _machine = whole_machine();
    let Some(machines) = machines() else { return };
    fs::write(machines.path("faults.toml"), FAULTS_OF_PROCESSES).unwrap();
    let args = ["test", "--testbed", "ssh", "--hosts", "hosts.toml", "--faults", "faults.toml"];
    let mut campaign = machines.labrys(&args);
    campaign.args(["--time-limit", "13s", "--rate", "200", "--seed", "3", "--json"]);
    let finished = finish(&mut campaign).expect_code(0);
    let run = run_directory(&finished);
    let schedule = fs::read_to_string(run.join("schedule.jsonl")).unwrap();
    let bites = |kind: &str| {
        let has_bitten = |line: &&str| {
            line.contains("\"bit\":true") && line.contains(&format!("\"resolved\":{{\"kind\":\"{kind}\""))
        };
        schedule.lines().filter(has_bitten).count()
    };
    assert_eq!(bites("restart"), 2, "{schedule}");
    assert!(bites("resource") >= 2, "memory may not have been asked for meanwhile: {schedule}");
    assert_eq!(bites("application"), 2, "{schedule}");
    machines.assert_clean("processes that ran short and began anew");
    let copies = machines.on(1, &format!("ls {}/runs", machines.directory()));
    assert_eq!(copies.stdout, "", "a folder of the run is still there");
}

#[test]
fn after_whatever_cuts_a_run_short_heal_leaves_every_machine_clean() {
    let _machine = whole_machine();
    let Some(machines) = machines() else { return };
    let heal = |run: &Run, case: &str| {
        let directory = run.directory.display().to_string();
        let healed = finish(&mut machines.labrys(&["heal", &directory]));
        assert_eq!(healed.code, Some(0), "{case}: {healed:?}");
        machines.assert_clean(case);
        let again = finish(&mut machines.labrys(&["heal", &directory])).expect_code(0);
        assert_eq!(again.stderr.matches(": clean").count(), COUNT, "{case}: {again:?}");
        // A full disk has no room for the note that something is undone, which is then done once more.
        assert!(case == "disk-full" || !again.stderr.contains("undone"), "{case}: {again:?}");
    };

    let case = "harness-killed";
    let mut run = machines.run_with_faults(case);
    let traces = machines.traces();
    for trace in ["LABRYS-", "T (stopped)"] {
        assert!(traces.contains(trace), "no {trace} while the faults are there: {traces}");
    }
    let directory = run.directory.display().to_string();
    let refused = finish(&mut machines.labrys(&["heal", &directory])).expect_code(255);
    assert!(refused.stderr.contains("still under way"), "{refused:?}");
    run.kill();
    heal(&run, case);

    let case = "agents-killed";
    let mut run = machines.run_with_faults(case);
    run.kill();
    for number in 1..=COUNT {
        let killed = machines.on(number, "pkill -KILL -f 'agent serve'");
        assert_eq!(killed.code, Some(0), "n{number}: {killed:?}");
    }
    assert!(machines.traces().contains("T (stopped)"), "nobody is there who could have healed");
    heal(&run, case);

    let case = "disk-full";
    let mut run = machines.run_with_faults(case);
    for number in 1..=COUNT {
        let filled = machines.on(number, &format!("cat /dev/zero > {}/filling", machines.directory()));
        assert!(filled.stderr.contains("No space left"), "n{number}: {filled:?}");
    }
    run.kill();
    heal(&run, case);
    for number in 1..=COUNT {
        machines.on(number, &format!("rm {}/filling", machines.directory()));
    }

    let case = "connection-cut";
    let mut run = machines.run_with_faults(case);
    let switch = |state: &str| {
        for number in 1..=COUNT {
            let link = format!("to-vm{number}");
            finish(&mut machines.inside("ip", &["link", "set", &link, state])).expect_code(0);
        }
    };
    switch("down");
    // Nobody can reach the machines: it is their agents who heal. Seen from inside, by the namespaces themselves.
    eventually(60, "the agents have healed and gone", || {
        let agents = finish(&mut machines.inside("pgrep", &["-f", "agent serve"])).stdout;
        if agents.is_empty() { Ok(()) } else { Err(agents) }
    });
    switch("up");
    eventually(60, "the run has ended", || match run.supervisor.try_wait().unwrap() {
        Some(status) if status.code() == Some(255) => Ok(()),
        other => Err(other),
    });
    let told = fs::read_to_string(machines.path("connection-cut.stderr")).unwrap();
    assert!(told.contains("it had heard nothing for 10.0 s"), "{told}");
    machines.assert_clean("the agents have healed by themselves");
    heal(&run, case);
}

/// A pause that is to last for much longer than the agent that makes it.
const LONG_PAUSE: &str =
    "faults = [{ at-ms = 1000, lasts-ms = 12000, kind = \"pause\", target = { named = [\"n3\"] } }]\n";

#[test]
fn a_fault_that_ends_with_its_agent_says_so_in_the_schedule_and_the_run_goes_on() {
    let _machine = whole_machine();
    let Some(machines) = machines() else { return };
    fs::write(machines.path("pause.toml"), LONG_PAUSE).unwrap();
    let args = ["test", "--testbed", "ssh", "--hosts", "hosts.toml", "--rate", "50", "--time-limit", "14s"];
    let mut command = machines.labrys(&args);
    command.args(["--faults", "pause.toml", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let campaign = command.spawn().unwrap();
    let journal = machines.path("labrys-runs/latest/nemesis-journal.jsonl");
    eventually(60, "the node is paused", || {
        let text = fs::read_to_string(&journal).unwrap_or_default();
        if text.contains("\"entry\":\"applied\"") { Ok(()) } else { Err(text) }
    });
    let killed = machines.on(3, "pkill -KILL -f 'agent serve'");
    assert_eq!(killed.code, Some(0), "{killed:?}");
    let finished: Finished = campaign.wait_with_output().unwrap().into();
    let run = run_directory(&finished.expect_code(0));
    let schedule = fs::read_to_string(run.join("schedule.jsonl")).unwrap();
    for part in ["\"bit\":true", "\"effect\":\"process-stopped\"", "\"effect\":\"ended-early\"", "was dead"] {
        assert!(schedule.contains(part), "no {part} in {schedule}");
    }
    let history = fs::read_to_string(run.join("history.jsonl")).unwrap();
    assert!(history.contains("s early on n3 by the next agent"), "the report draws what is in the history");
    machines.assert_clean("an agent was killed in the midst of a run");
}

#[test]
fn a_machine_that_cannot_be_used_is_told_with_what_mends_it() {
    let _machine = whole_machine();
    let Some(machines) = machines() else { return };
    let known = fs::read_to_string(machines.path("known_hosts")).unwrap();
    let without_third =
        known.lines().filter(|line| !line.starts_with("10.9.0.3 ")).map(|line| format!("{line}\n"));
    fs::write(machines.path("known_hosts"), without_third.collect::<String>()).unwrap();
    let inventory = fs::read_to_string(machines.path("hosts.toml")).unwrap();
    fs::write(machines.path("hosts.toml"), inventory.replace("10.9.0.4", "10.9.0.99")).unwrap();
    let test = ["test", "--testbed", "ssh", "--hosts", "hosts.toml"];
    let refused = finish(&mut machines.labrys(&test)).expect_code(255);
    for expected in [
        "n3: the host key of 10.9.0.3 is not known. Add it with `ssh-keyscan",
        "n4: 10.9.0.99 cannot be reached",
    ] {
        assert!(refused.stderr.contains(expected), "{refused:?}");
    }
    assert!(!refused.stderr.contains("n1:"), "{refused:?}");
    let doctor =
        finish(&mut machines.labrys(&["doctor", "--hosts", "hosts.toml", "--json"])).expect_code(255);
    let diagnosis: serde_json::Value = serde_json::from_str(&doctor.stdout).unwrap();
    let missing: Vec<&str> = diagnosis["probes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|probe| probe["status"] == "missing")
        .filter_map(|probe| probe["name"].as_str())
        .collect();
    assert_eq!(missing, ["n3: ssh", "n4: ssh"]);
    let detail_of = |diagnosis: &serde_json::Value, name: &str| {
        let probes = diagnosis["probes"].as_array().unwrap();
        let probe = probes.iter().find(|probe| probe["name"] == name).unwrap();
        (probe["status"].as_str().unwrap().to_owned(), probe["detail"].as_str().unwrap().to_owned())
    };
    let (status, detail) = detail_of(&diagnosis, "n1: real-clock");
    assert_eq!((status.as_str(), detail.contains("is not touched")), ("ok", true), "{detail}");
    // Only looked at: no test moves a clock.
    let inventory = fs::read_to_string(machines.path("hosts.toml")).unwrap();
    fs::write(machines.path("clocks.toml"), format!("real-clock = true\n{inventory}")).unwrap();
    let doctor =
        finish(&mut machines.labrys(&["doctor", "--hosts", "clocks.toml", "--json"])).expect_code(255);
    let diagnosis: serde_json::Value = serde_json::from_str(&doctor.stdout).unwrap();
    let (status, detail) = detail_of(&diagnosis, "n1: real-clock");
    assert!(status == "ok" && detail.starts_with("may be set"), "{status}: {detail}");
    // Those that could be used were left as they were found.
    eventually(30, "no agent is left", || {
        let traces = machines.traces_of(&[1, 2, 5]);
        if traces.is_empty() { Ok(()) } else { Err(traces) }
    });
}
