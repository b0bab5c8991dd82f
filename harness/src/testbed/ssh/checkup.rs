//! [`examine_machines`]: whether machines have what a campaign needs, for `labrys doctor --hosts`.
//!
//! One connection per machine, on which its shell tries each thing itself and tells in a line each what came of it. Nothing is sent there, and
//! nothing stays but the empty folder of Labrys.

use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::at_once;
use super::command::{SSH, arguments, explain};
use super::inventory::{Inventory, Login};
use crate::agent::KEEPERS;
use crate::db::REFERENCE_STORE_PORT;
use crate::doctor::{Diagnosis, Lack, Look, NOBODYS_ADDRESS, Probe, ProbeStatus, degraded, missing, probe};

const ENOUGH_MIB: u64 = 1024;
const TOO_LITTLE_MIB: u64 = 256;

/// Further apart, logs of several machines are hard to read together. Nothing is judged by these clocks.
const CLOCKS_AGREE_WITHIN: Duration = Duration::from_millis(500);

/// What is looked at on each machine but the connection: its name, what it is good for, whether a campaign cannot do without, and the look at what
/// the machine has told.
type Row = (&'static str, &'static str, bool, fn(&Told<'_>) -> Look);

const ROWS: &[Row] = &[
    ("processor", "running labrys there", true, processor),
    ("programs", "checking what is sent there", true, programs),
    ("root", "partitions and network faults", false, root),
    ("iptables", "partitions and network faults", false, iptables),
    ("packet-modules", "some network faults each", false, modules),
    ("clock", "comparing logs", false, clock),
    ("real-clock", "moving the machine's own clock, if hosts.toml asks for it", false, real_clock),
    ("disk-space", "programs, logs and the nodes' data", true, disk_space),
    ("port", "the node", true, port),
    ("fuse", "faults of the disk", false, fuse),
];

/// The modules of the packet filter that faults need, each with what for, its table and a rule that needs it.
const MODULES: &[(&str, &str, &str, &str)] = &[
    (
        "xt_length",
        "partitions that muffle a node",
        "filter",
        "-p tcp -m tcp ! --tcp-flags SYN SYN -m length --length 53:65535 -j DROP",
    ),
    ("xt_statistic", "loss of packets", "filter", "-m statistic --mode random --probability 0.5 -j DROP"),
    ("ipt_REJECT", "resets of connections", "filter", "-p tcp -j REJECT --reject-with tcp-reset"),
    ("xt_TEE", "duplication of packets", "mangle", "-j TEE --gateway NOBODY"),
    (
        "xt_NFQUEUE",
        "delay, reordering, corruption and bandwidth",
        "mangle",
        "-j NFQUEUE --queue-num 1 --queue-bypass",
    ),
];

/// What a machine has told, and when.
struct Told<'a> {
    login: &'a Login,
    text: &'a str,
    asked_at: SystemTime,
    answered_at: SystemTime,
    /// `real-clock` in hosts.toml.
    is_real_clock_asked_for: bool,
}

impl Told<'_> {
    /// What follows a word at the beginning of a line.
    fn about(&self, word: &str) -> Option<&str> {
        self.text.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(' ')).map(str::trim)
    }
}

/// Looks at all machines, at once.
#[must_use]
pub fn examine_machines(inventory: &Inventory) -> Diagnosis {
    let script = script(inventory);
    let logins: Vec<Login> = inventory.machines.iter().map(|machine| inventory.login(machine)).collect();
    let examined = at_once(&logins, &logins, |login, _| Ok(examine(login, &script, inventory.real_clock)));
    Diagnosis { probes: examined.into_iter().flatten().flatten().collect() }
}

fn script(inventory: &Inventory) -> String {
    let directory = inventory.directory().display();
    let port = REFERENCE_STORE_PORT;
    // As /proc/net/tcp has it: address:PORT in hexadecimal digits, and 0A for listening.
    let listening = format!(":{port:04X} [0-9A-F:]* 0A ");
    let modules = modules_script();
    let keepers = KEEPERS.join(" ");
    format!(
        "PATH=$PATH:/usr/sbin:/sbin; s=SUDO; echo \"machine $(uname -s) $(uname -m)\"; \
         echo \"user $(id -un)\"; echo \"root $($s id -u 2>&1 | tail -n 1)\"; echo \"now $(date +%s%N)\"; \
         for p in sha256sum head cut mv; do command -v $p > /dev/null || echo \"lacks $p\"; done; \
         if e=$($s iptables -w -N LABRYS-doctor 2>&1 && $s iptables -w -X LABRYS-doctor 2>&1); then echo 'iptables works'; \
         else echo \"iptables: $e\" | head -n 1; fi; {modules}\
         if e=$(mkdir -p '{directory}' 2>&1 && [ -w '{directory}' ]); then echo \"free $(df -Pk '{directory}' | tail -n 1 | tr -s ' ' | cut -d ' ' -f 4)\"; \
         else echo \"unwritable $e\" | head -n 1; fi; \
         if cat /proc/net/tcp /proc/net/tcp6 2> /dev/null | grep -q '{listening}'; then echo 'port taken'; else echo 'port free'; fi; \
         echo \"capabilities $($s sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status 2> /dev/null)\"; \
         k=; for u in {keepers}; do systemctl is-active --quiet $u 2> /dev/null && k=\"$k $u\"; done; echo \"keepers${{k:- none}}\"; \
         if [ -c /dev/fuse ]; then echo 'fuse there'; fi; echo 'end .'"
    )
}

/// Tries a rule of each module, in a chain that nothing jumps to.
fn modules_script() -> String {
    let mut script = "c=LABRYS-doctor; m=; try() { n=$1; i=\"$s iptables -w -t $2\"; shift 2; $i -N $c; $i -A $c \"$@\" || m=\"$m $n\"; \
         $i -F $c; $i -X $c; } > /dev/null 2>&1; "
        .to_owned();
    for (name, _, table, rule) in MODULES {
        script.push_str(&format!("try {name} {table} {}; ", rule.replace("NOBODY", NOBODYS_ADDRESS)));
    }
    script + "echo \"modules${m:- all}\"; "
}

/// One machine: the connection, and everything behind it.
fn examine(login: &Login, script: &str, is_real_clock_asked_for: bool) -> Vec<Probe> {
    let script = script.replace("s=SUDO", if login.sudo { "s='sudo -n --'" } else { "s=" });
    let asked_at = SystemTime::now();
    let mut command = Command::new(SSH);
    let answered = command.args(arguments(login, &script)).stdin(Stdio::null()).output();
    let answered_at = SystemTime::now();
    let (text, connection) = match answered {
        Err(error) => {
            (String::new(), Err(missing(format!("ssh: {error}"), "sudo apt-get install openssh-client")))
        }
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let look = if text.lines().any(|line| line == "end .") {
                Ok(format!("connected to {}, whose key is known", login.target))
            } else {
                // The sentence says how to mend it, too.
                Err(missing(explain(login, &String::from_utf8_lossy(&output.stderr)).0, ""))
            };
            (text, look)
        }
    };
    let told = Told { login, text: &text, asked_at, answered_at, is_real_clock_asked_for };
    probes(connection, &told)
}

fn probes(connection: Look, told: &Told<'_>) -> Vec<Probe> {
    let named = |name: &str| format!("{}: {name}", told.login.name);
    let is_connected = connection.is_ok();
    let mut probes = vec![probe(&named("ssh"), "everything", true, connection)];
    for (name, purpose, needed, look) in ROWS {
        let look = if is_connected { look(told) } else { Err(untried("not reached")) };
        probes.push(probe(&named(name), purpose, *needed, look));
    }
    probes
}

fn untried(detail: &str) -> Lack {
    Lack { status: ProbeStatus::Untried, detail: detail.to_owned(), mend: String::new() }
}

fn processor(told: &Told<'_>) -> Look {
    let machine = told.about("machine").unwrap_or("unknown");
    let ours = format!("Linux {}", std::env::consts::ARCH);
    if machine == ours {
        return Ok(machine.to_owned());
    }
    let mend = format!("run a labrys that was built for {machine}, from a machine of that kind");
    Err(missing(format!("{machine}, and this labrys is for {ours}"), mend))
}

fn programs(told: &Told<'_>) -> Look {
    match told.about("lacks") {
        None => Ok("sha256sum, head, cut and mv".to_owned()),
        Some(program) => Err(missing(format!("`{program}` is missing"), "install coreutils there")),
    }
}

fn root(told: &Told<'_>) -> Look {
    let user = told.about("user").unwrap_or("unknown");
    match (told.about("root"), told.login.sudo) {
        (Some("0"), true) => Ok(format!("{user} becomes root by sudo, without a password")),
        (Some("0"), false) => Ok(format!("logged in as {user}")),
        (_, false) => {
            Err(missing(format!("logged in as {user}"), "say sudo = true in hosts.toml, or user = \"root\""))
        }
        (said, true) => Err(missing(
            format!("sudo -n: {}", said.unwrap_or("no answer")),
            format!(
                "allow it without a password: `{user} ALL=(ALL) NOPASSWD: ALL` in /etc/sudoers.d/labrys there"
            ),
        )),
    }
}

fn iptables(told: &Told<'_>) -> Look {
    match told.about("iptables:") {
        None if told.about("iptables").is_some() => Ok("made a chain and removed it".to_owned()),
        error => Err(missing(
            error.unwrap_or("no answer"),
            "sudo apt-get install iptables there, and be root (see the line above)",
        )),
    }
}

fn modules(told: &Told<'_>) -> Look {
    if told.about("iptables").is_none() {
        return Err(untried("tried only where iptables works"));
    }
    match told.about("modules") {
        Some("all") => Ok("all that faults need".to_owned()),
        Some(lacking) => {
            let words = lacking.split_ascii_whitespace().map(|name| {
                let purpose = MODULES.iter().find(|module| module.0 == name).map_or("?", |module| module.1);
                format!("{name} ({purpose})")
            });
            let detail = format!("the kernel has no {}", words.collect::<Vec<_>>().join(", "));
            Err(degraded(detail, "modprobe them there, or do without these faults"))
        }
        None => Err(missing("no answer", "")),
    }
}

fn clock(told: &Told<'_>) -> Look {
    let ns = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as i128;
    let there = told.about("now").and_then(|now| now.parse::<i128>().ok());
    let Some(there) = there else { return Err(degraded("it does not tell the time in nanoseconds", "")) };
    // Read at some moment between the two: what lies outside is wrong for certain.
    let off_ns = (there - ns(told.answered_at)).max(ns(told.asked_at) - there).max(0);
    let off_ms = off_ns / 1_000_000;
    if off_ms <= CLOCKS_AGREE_WITHIN.as_millis() as i128 {
        return Ok("agrees with this machine's".to_owned());
    }
    let direction = if there > ns(told.answered_at) { "ahead of" } else { "behind" };
    Err(degraded(format!("at least {off_ms} ms {direction} this machine's"), "run an NTP client there"))
}

/// Whether the clock could be moved; nothing is tried, as that would move it.
fn real_clock(told: &Told<'_>) -> Look {
    const CAP_SYS_TIME: u64 = 1 << 25;
    if !told.is_real_clock_asked_for {
        return Ok("not asked for: the machine's clock is not touched".to_owned());
    }
    let capabilities = told.about("capabilities").and_then(|text| u64::from_str_radix(text, 16).ok());
    if capabilities.is_none_or(|all| all & CAP_SYS_TIME == 0) {
        return Err(missing(
            "whoever runs labrys there may not set the clock (CAP_SYS_TIME)",
            "log in as root or say sudo = true; in a container the clock is the host's, and is not to be moved: leave `real-clock` out",
        ));
    }
    match told.about("keepers") {
        Some("none") | None => Ok("may be set; nothing that systemd knows keeps it right".to_owned()),
        Some(keepers) => Ok(format!("may be set; stopped for as long as it is wrong: {keepers}")),
    }
}

fn disk_space(told: &Told<'_>) -> Look {
    const MEND: &str = "make room there, or name another `directory` in hosts.toml";
    let Some(free_mib) = told.about("free").and_then(|free| free.parse::<u64>().ok()).map(|kib| kib >> 10)
    else {
        let why = told.about("unwritable").unwrap_or("no answer");
        return Err(missing(format!("the folder cannot be written to: {why}"), MEND));
    };
    let detail = format!("{free_mib} MiB free");
    match free_mib {
        ENOUGH_MIB.. => Ok(detail),
        TOO_LITTLE_MIB.. => Err(degraded(detail, MEND)),
        _ => Err(missing(detail, MEND)),
    }
}

fn port(told: &Told<'_>) -> Look {
    let port = REFERENCE_STORE_PORT;
    if told.about("port") == Some("free") {
        return Ok(format!("{port} is free"));
    }
    Err(missing(
        format!("somebody listens at {port}"),
        format!(
            "`ss -ltnp 'sport = :{port}'` there tells who; a run that was cut short: labrys heal RUN_DIR"
        ),
    ))
}

fn fuse(told: &Told<'_>) -> Look {
    match told.about("fuse") {
        Some(_) => Ok("/dev/fuse is there".to_owned()),
        None => Err(missing("there is no /dev/fuse", "modprobe fuse there")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: &str = "machine Linux PROCESSOR\nuser u\nroot 0\nnow 5000000000\ncapabilities 000001ffffffffff\nkeepers chrony\niptables works\nmodules all\nfree 4194304\nport free\nfuse there\nend .\n";

    fn login(sudo: bool) -> Login {
        Login {
            name: "n1".to_owned(),
            target: "10.0.0.1".to_owned(),
            user: None,
            key: None,
            port: None,
            sudo,
            known_hosts: None,
        }
    }

    fn looked(text: &str) -> Vec<Probe> {
        let text = text.replace("PROCESSOR", std::env::consts::ARCH);
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let login = login(true);
        probes(
            Ok("connected".to_owned()),
            &Told {
                login: &login,
                text: &text,
                asked_at: at(4),
                answered_at: at(6),
                is_real_clock_asked_for: true,
            },
        )
    }

    #[test]
    fn a_machine_that_has_everything_is_fit() {
        let probes = looked(WELL);
        assert!(probes.iter().all(|probe| probe.status == ProbeStatus::Ok), "{probes:?}");
        assert_eq!(probes.len(), ROWS.len() + 1);
        assert_eq!(probes[0].name, "n1: ssh");
    }

    #[test]
    fn whatever_is_lacking_is_told_with_the_machine_and_what_mends_it() {
        for (well, ill, name, is_fit) in [
            ("Linux PROCESSOR", "Linux riscv64", "n1: processor", false),
            ("iptables works", "lacks sha256sum\niptables works", "n1: programs", false),
            ("root 0", "root sudo: a password is required", "n1: root", true),
            ("iptables works", "iptables: Permission denied", "n1: iptables", true),
            ("modules all", "modules xt_length xt_TEE", "n1: packet-modules", true),
            ("1ffffffffff", "1fffdffffff", "n1: real-clock", true),
            ("now 5000000000", "now 9000000000", "n1: clock", true),
            ("free 4194304", "free 1024", "n1: disk-space", false),
            ("free 4194304", "unwritable Permission denied", "n1: disk-space", false),
            ("port free", "port taken", "n1: port", false),
            ("fuse there\n", "", "n1: fuse", true),
        ] {
            let diagnosis = Diagnosis { probes: looked(&WELL.replace(well, ill)) };
            let is_bad = |probe: &&Probe| !matches!(probe.status, ProbeStatus::Ok | ProbeStatus::Untried);
            let bad: Vec<&Probe> = diagnosis.probes.iter().filter(is_bad).collect();
            let [bad] = &bad[..] else { panic!("{ill}: {bad:?}") };
            assert_eq!((bad.name.as_str(), bad.mend.is_some()), (name, true), "{ill}");
            assert_eq!(diagnosis.is_fit(), is_fit, "{ill}");
        }
    }

    /// The script is run by the shell of this machine, with a program in place of iptables.
    #[test]
    fn a_module_that_is_lacking_is_named_and_no_chain_is_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        let fake = "#!/bin/sh\necho \"$@\" >> DONE\ncase \"$*\" in *length*|*TEE*) exit 2;; esac\n";
        std::fs::write(path("iptables"), fake.replace("DONE", &path("done"))).expect("written");
        let script =
            format!("chmod 755 {0}; PATH={1}:$PATH; s=; {2}", path("iptables"), path(""), modules_script());
        let output = Command::new("sh").args(["-c", &script]).output().expect("sh");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "modules xt_length xt_TEE\n");
        let done = std::fs::read_to_string(path("done")).expect("it was asked");
        for (action, times) in [("-N", 5), ("-A", 5), ("-F", 5), ("-X", 5)] {
            let count = done.matches(&format!(" {action} LABRYS-doctor")).count();
            assert_eq!(count, times, "{action} in\n{done}");
        }
        assert!(done.contains("-w -t mangle -A LABRYS-doctor -j TEE --gateway 192.0.2.1\n"), "{done}");
        let well = WELL.replace("modules all", "modules xt_length xt_TEE");
        let told = looked(&well).into_iter().find(|probe| probe.name == "n1: packet-modules");
        let detail = told.expect("looked at").detail;
        assert!(detail.contains("xt_length (partitions that muffle a node), xt_TEE"), "{detail}");
    }

    #[test]
    fn of_a_machine_that_is_not_reached_nothing_is_claimed() {
        let login = login(false);
        let told = Told {
            login: &login,
            text: "",
            asked_at: UNIX_EPOCH,
            answered_at: UNIX_EPOCH,
            is_real_clock_asked_for: false,
        };
        let probes = probes(Err(missing("n1: no", "")), &told);
        assert!(probes[1..].iter().all(|probe| probe.status == ProbeStatus::Untried));
        assert!(!Diagnosis { probes }.is_fit());
    }
}
