//! What this machine can do, and how to mend what it cannot: `labrys doctor`.
//!
//! Every probe tries the thing itself, inside the isolation, so that nothing of it stays: a rule is really added, a queueing
//! discipline really attached. Data; the command line shows it. What it is not: a list of versions and kernel options, from
//! which one would have to guess.

use std::fmt;
use std::net::{AddrParseError, IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use labrys_nemesis::{DiskKind, Host, find_libfaketime, try_muffled_partition, try_partition};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::statvfs;
use serde::{Deserialize, Serialize};

use crate::db::find_store_binary;
use crate::isolation::{Enclosure, IsolationError};
use crate::runner::disk_program;
use crate::testbed::LocalHost;
use crate::testbed::disks::{self, Disks};

/// How a probe came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeStatus {
    /// It works.
    Ok,
    /// It works, with less than one would wish.
    Degraded,
    /// It does not work.
    Missing,
    /// It could not be tried, since something before it is missing.
    Untried,
}

impl fmt::Display for ProbeStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            ProbeStatus::Ok => "ok",
            ProbeStatus::Degraded => "degraded",
            ProbeStatus::Missing => "missing",
            ProbeStatus::Untried => "untried",
        })
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// What.
    pub name: String,
    /// What it is good for.
    pub purpose: String,
    /// Whether `labrys test` with its defaults cannot do without.
    pub needed: bool,
    /// How it came out.
    pub status: ProbeStatus,
    /// What was seen.
    pub detail: String,
    /// What to do, if anything is to be done.
    pub mend: Option<String>,
}

/// All that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// In the order of looking.
    pub probes: Vec<Probe>,
}

impl Diagnosis {
    /// Whether everything is there that `labrys test` with its defaults needs.
    #[must_use]
    pub fn is_fit(&self) -> bool {
        let fails = |probe: &Probe| matches!(probe.status, ProbeStatus::Missing | ProbeStatus::Untried);
        !self.probes.iter().any(|probe| probe.needed && fails(probe))
    }

    /// 0 if it is, 255 (the environment is at fault) if not.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if self.is_fit() { 0 } else { 255 }
    }
}

/// What a look at something gave: a detail if it works, or how it is lacking.
pub(crate) type Look = Result<String, Lack>;

pub(crate) struct Lack {
    pub(crate) status: ProbeStatus,
    pub(crate) detail: String,
    pub(crate) mend: String,
}

pub(crate) fn missing(detail: impl Into<String>, mend: impl Into<String>) -> Lack {
    Lack { status: ProbeStatus::Missing, detail: detail.into(), mend: mend.into() }
}

pub(crate) fn degraded(detail: impl Into<String>, mend: impl Into<String>) -> Lack {
    Lack { status: ProbeStatus::Degraded, detail: detail.into(), mend: mend.into() }
}

pub(crate) fn probe(name: &str, purpose: &str, needed: bool, look: Look) -> Probe {
    let (status, detail, mend) = match look {
        Ok(detail) => (ProbeStatus::Ok, detail, None),
        Err(Lack { status, detail, mend }) => (status, detail, Some(mend).filter(|mend| !mend.is_empty())),
    };
    Probe { name: name.to_owned(), purpose: purpose.to_owned(), needed, status, detail, mend }
}

/// Looks at everything. `isolation` is what entering it gave: inside, or why not; `out` is where runs would be kept.
#[must_use]
pub fn examine(isolation: Result<&Enclosure, &IsolationError>, out: &Path) -> Diagnosis {
    let mut probes =
        vec![probe("namespaces", "everything that labrys test does", true, namespaces(isolation))];
    for trial in TRIALS {
        let look = match isolation {
            Ok(_) => (trial.look)(),
            Err(_) => Err(Lack {
                status: ProbeStatus::Untried,
                detail: "tried only inside the isolation".to_owned(),
                mend: String::new(),
            }),
        };
        probes.push(probe(trial.name, trial.purpose, trial.needed, look));
    }
    probes.extend([
        probe("ssh", "nodes on other machines", false, ssh()),
        probe("cgroup-v2", "nothing so far: no fault limits processor or memory", false, cgroup_v2()),
        probe("disk-space", "logs, histories and the nodes' data", true, disk_space(out)),
        probe("open-files", "many clients and nodes", true, open_files()),
        probe("labrys-store", "the system under test of the defaults", true, store()),
    ]);
    Diagnosis { probes }
}

/// Something that is tried with programs, inside.
struct Trial {
    name: &'static str,
    purpose: &'static str,
    needed: bool,
    look: fn() -> Look,
}

const TRIALS: &[Trial] = &[
    Trial {
        name: "network-namespaces",
        purpose: "a network for each node",
        needed: true,
        look: network_namespaces,
    },
    Trial { name: "fuse", purpose: "power cuts and faults of the disk", needed: false, look: fuse },
    Trial {
        name: "ext4",
        purpose: "power cuts on a real file system (--disk ext4)",
        needed: false,
        look: ext4,
    },
    Trial { name: "iptables", purpose: "partitions", needed: true, look: || partition(try_partition) },
    Trial {
        name: "xt_length",
        purpose: "partitions that muffle a node",
        needed: false,
        look: || partition(try_muffled_partition),
    },
    Trial {
        name: "iptables-nft",
        purpose: "the back end for new kernels",
        needed: false,
        look: || rule("iptables-nft", DROP),
    },
    Trial {
        name: "iptables-legacy",
        purpose: "the back end for old kernels",
        needed: false,
        look: || rule("iptables-legacy", DROP),
    },
    Trial {
        name: "xt_statistic",
        purpose: "loss of packets",
        needed: false,
        look: || {
            rule("iptables", &["-m", "statistic", "--mode", "random", "--probability", "0.5", "-j", "DROP"])
        },
    },
    Trial {
        name: "xt_TEE",
        purpose: "duplication of packets",
        needed: false,
        look: || rule("iptables", &["-t", "mangle", "-j", "TEE", "--gateway", NOBODYS_ADDRESS]),
    },
    Trial {
        name: "nfqueue",
        purpose: "delay, reordering, corruption and bandwidth",
        needed: false,
        look: queue,
    },
    Trial {
        name: "ipt_REJECT",
        purpose: "resets of connections",
        needed: false,
        look: || rule("iptables", &["-p", "tcp", "-j", "REJECT", "--reject-with", "tcp-reset"]),
    },
    Trial {
        name: "netem",
        purpose: "nothing so far: packets are delayed by way of NFQUEUE",
        needed: false,
        look: || discipline(&["netem", "delay", "1ms"], "kernel module sch_netem, if you want it"),
    },
    Trial {
        name: "tbf",
        purpose: "nothing so far: bandwidth is limited by way of NFQUEUE",
        needed: false,
        look: || {
            discipline(
                &["tbf", "rate", "1mbit", "burst", "32kbit", "latency", "400ms"],
                "kernel module sch_tbf",
            )
        },
    },
    Trial {
        name: "htb",
        purpose: "nothing so far, likewise",
        needed: false,
        look: || discipline(&["htb"], "kernel module sch_htb"),
    },
    Trial {
        name: "prlimit",
        purpose: "processes that run short of file descriptors",
        needed: false,
        look: || attempt("prlimit", &["--nofile=64:", "true"], "Debian package util-linux"),
    },
    Trial {
        name: "libfaketime",
        purpose: "clock faults of dynamically linked programs (--clock-by libfaketime)",
        needed: false,
        look: libfaketime,
    },
    Trial {
        name: "time-namespaces",
        purpose: "shifted monotonic clocks",
        needed: false,
        look: time_namespaces,
    },
];

const DROP: &[&str] = &["-j", "DROP"];

/// Of the networks that are for documentation only (RFC 5737).
pub(crate) const NOBODYS_ADDRESS: &str = "192.0.2.1";

fn namespaces(isolation: Result<&Enclosure, &IsolationError>) -> Look {
    match isolation {
        Ok(enclosure) if enclosure.has_user_namespace() => Ok("made as an ordinary user".to_owned()),
        Ok(_) => Ok("made as root".to_owned()),
        Err(IsolationError::Namespaces { errno, why, mend }) => Err(missing(format!("{errno}: {why}"), mend)),
        Err(error) => Err(missing(error.to_string(), "")),
    }
}

fn network_namespaces() -> Look {
    const INSTALL: &str = "sudo apt-get install iproute2";
    let name = "labrys-doctor";
    attempt("ip", &["netns", "add", name], INSTALL)?;
    let linked =
        attempt("ip", &["link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name], INSTALL);
    let bridged = attempt("ip", &["link", "add", "labrys-bridge", "type", "bridge"], INSTALL);
    // The namespace would go with the isolation; its name must be free for a second look.
    let tidied = attempt("ip", &["netns", "delete", name], INSTALL)
        .and_then(|_| attempt("ip", &["link", "delete", "labrys-bridge"], INSTALL));
    linked.and(bridged).and(tidied)?;
    Ok("made one with a link to it, and a bridge".to_owned())
}

const INSTALL_IPTABLES: &str =
    "sudo apt-get install iptables; the kernel needs nf_tables or ip_tables, and the module of the match";

/// Makes a partition as the nemesis does, and undoes it.
fn partition(trial: fn(&dyn Host, IpAddr) -> Result<(), String>) -> Look {
    let failed = |detail: String| missing(detail, INSTALL_IPTABLES);
    // Inside, `/run` is ours alone.
    let here = LocalHost::new(
        "this machine",
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        Path::new("/proc/self/ns/net"),
        Path::new("/run/labrys-doctor"),
    );
    let nobody = NOBODYS_ADDRESS.parse().map_err(|error: AddrParseError| failed(error.to_string()))?;
    here.map_err(|error| error.to_string()).and_then(|host| trial(&host, nobody)).map_err(failed)?;
    let version = attempt("iptables", &["--version"], INSTALL_IPTABLES)?;
    Ok(version.trim().to_owned())
}

fn fuse() -> Look {
    const MEND: &str = "modprobe fuse, or a kernel that has it (from 4.18 on for ordinary users); in a container /dev/fuse must be there";
    disk(DiskKind::Fuse).map_err(|detail| missing(detail, MEND))?;
    Ok("mounted a disk that can fail, and wrote a file to it".to_owned())
}

fn ext4() -> Look {
    const MEND: &str = "run it as root, outside of other namespaces; sudo apt-get install e2fsprogs; modprobe loop; in a container the loop devices must be there";
    disk(DiskKind::Ext4).map_err(|detail| missing(detail, MEND))?;
    Ok("made one in a file, mounted it by a loop device, and wrote a file to it".to_owned())
}

/// Mounts a disk as the runner does, writes to it, and takes it away; what went wrong.
fn disk(kind: DiskKind) -> Result<(), String> {
    let directory = PathBuf::from(format!("/run/labrys-doctor/{kind}"));
    let here = LocalHost::new(
        "this machine",
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        Path::new("/proc/self/ns/net"),
        &directory,
    );
    let host: Arc<dyn Host> = Arc::new(here.map_err(|error| error.to_string())?);
    let node = vec![(host, directory.clone())];
    let mut disks = Disks::start(node, &disk_program(), kind).map_err(|error| error.to_string())?;
    let written = std::fs::write(disks::mount_point(&directory).join("probe"), "x");
    let stopped = disks.stop();
    written.map_err(|error| error.to_string())?;
    stopped.first().map_or(Ok(()), |error| Err(error.to_string()))
}

/// Starts a program in another year.
fn libfaketime() -> Look {
    const INSTALL: &str = "sudo apt-get install faketime";
    let library = find_libfaketime().map_err(|places| {
        let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
        missing(format!("not found: {}", places.join(", ")), INSTALL)
    })?;
    let preload = format!("LD_PRELOAD={}", library.display());
    let ahead =
        attempt("env", &[&preload, "FAKETIME=@4102444800", "FAKETIME_FMT=%s", "date", "-u", "+%Y"], INSTALL)?;
    match ahead.trim() {
        "2100" => Ok(library.display().to_string()),
        year => Err(missing(format!("under it `date` says the year {year} instead of 2100"), INSTALL)),
    }
}

/// Adds a rule and removes it.
fn rule(program: &str, rest: &[&str]) -> Look {
    let with = |action: &str| {
        let mut args = vec!["-w", action, "OUTPUT", "-d", NOBODYS_ADDRESS];
        args.extend_from_slice(rest);
        attempt(program, &args, INSTALL_IPTABLES)
    };
    with("-A")?;
    with("-D")?;
    let version = attempt(program, &["--version"], INSTALL_IPTABLES)?;
    Ok(version.trim().to_owned())
}

/// Adds a rule as the nemesis does, and sees that the kernel lists queues, by which the nemesis knows theirs.
fn queue() -> Look {
    const QUEUES: &str = "/proc/self/net/netfilter/nfnetlink_queue";
    let mend = "kernel modules nfnetlink_queue and xt_NFQUEUE";
    let by_rule = rule("iptables", &["-t", "mangle", "-j", "NFQUEUE", "--queue-num", "1", "--queue-bypass"])?;
    std::fs::read(QUEUES).map_err(|error| missing(format!("{QUEUES}: {error}"), mend))?;
    Ok(by_rule)
}

/// Attaches a queueing discipline to the loopback device and removes it.
fn discipline(kind: &[&str], mend: &str) -> Look {
    let mut args = vec!["qdisc", "add", "dev", "lo", "root"];
    args.extend_from_slice(kind);
    attempt("tc", &args, mend)?;
    attempt("tc", &["qdisc", "delete", "dev", "lo", "root"], mend)?;
    Ok("attached to a device".to_owned())
}

fn time_namespaces() -> Look {
    let mend = "a kernel from 5.6 with CONFIG_TIME_NS, and the program unshare (util-linux)";
    attempt("unshare", &["--time", "--monotonic", "1000", "true"], mend)?;
    Ok("made one with another monotonic clock".to_owned())
}

fn ssh() -> Look {
    let output = run("ssh", &["-V"])
        .map_err(|error| missing(format!("ssh: {error}"), "sudo apt-get install openssh-client"))?;
    // It prints its version on standard error.
    Ok(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

fn cgroup_v2() -> Look {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let found = mounts.lines().find(|line| line.contains(" - cgroup2 "));
    let Some(mount_point) = found.and_then(|line| line.split_ascii_whitespace().nth(4)) else {
        return Err(missing("not mounted", "boot with systemd.unified_cgroup_hierarchy=1"));
    };
    let controllers =
        std::fs::read_to_string(Path::new(mount_point).join("cgroup.controllers")).unwrap_or_default();
    let has = |wanted: &str| controllers.split_ascii_whitespace().any(|controller| controller == wanted);
    if !(has("cpu") && has("memory")) {
        let detail = format!("{mount_point}, without the controllers cpu and memory");
        return Err(degraded(detail, "boot with systemd.unified_cgroup_hierarchy=1"));
    }
    Ok(format!("{mount_point}: {}", controllers.trim()))
}

fn disk_space(out: &Path) -> Look {
    const ENOUGH_MIB: u64 = 1024;
    const TOO_LITTLE_MIB: u64 = 64;
    let absolute = std::path::absolute(out).unwrap_or_else(|_| out.to_owned());
    // The folder is made by the first run.
    let existing = absolute.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
    let status = statvfs(existing).map_err(|errno| {
        missing(format!("{}: {errno}", existing.display()), "choose another folder with --out")
    })?;
    let free_mib = status.blocks_available().saturating_mul(status.fragment_size()) >> 20;
    let detail = format!("{free_mib} MiB free for {}", out.display());
    let mend = "remove old runs, or choose another folder with --out";
    match free_mib {
        ENOUGH_MIB.. => Ok(detail),
        TOO_LITTLE_MIB.. => Err(degraded(detail, mend)),
        _ => Err(missing(detail, mend)),
    }
}

fn open_files() -> Look {
    const ENOUGH: u64 = 1024;
    const TOO_FEW: u64 = 128;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|errno| missing(errno.to_string(), ""))?;
    let detail = format!("{soft} of at most {hard}");
    match soft {
        ENOUGH.. => Ok(detail),
        TOO_FEW.. => Err(degraded(detail, "ulimit -n 4096")),
        _ => Err(missing(detail, "ulimit -n 4096")),
    }
}

fn store() -> Look {
    match find_store_binary(None) {
        Ok(path) => Ok(path.display().to_string()),
        Err(error) => Err(missing(error.to_string(), "cargo build --release -p labrys-store")),
    }
}

fn run(program: &str, args: &[&str]) -> std::io::Result<std::process::Output> {
    Command::new(program)
        .args(args)
        .env("PATH", crate::process::path_with_system_folders())
        .stdin(Stdio::null())
        .output()
}

/// Runs a program that must end with 0; what it printed.
fn attempt(program: &str, args: &[&str], mend: &str) -> Look {
    let failed = |detail: String| missing(format!("`{program} {}`: {detail}", args.join(" ")), mend);
    let output = run(program, args).map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let printed = String::from_utf8_lossy(&output.stderr);
    // The first line says what is wrong, the others how to ask for help.
    let first = printed.lines().find(|line| !line.trim().is_empty()).unwrap_or("no reason given");
    Err(failed(first.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;

    fn find<'a>(diagnosis: &'a Diagnosis, name: &str) -> &'a Probe {
        diagnosis.probes.iter().find(|probe| probe.name == name).expect("probed")
    }

    #[test]
    fn a_machine_without_namespaces_is_unfit_and_nothing_is_tried_in_its_own() {
        let error = IsolationError::Namespaces {
            errno: Errno::EPERM,
            why: "forbidden".to_owned(),
            mend: "allow it".to_owned(),
        };
        let diagnosis = examine(Err(&error), Path::new("labrys-runs"));
        assert_eq!(find(&diagnosis, "namespaces").mend.as_deref(), Some("allow it"));
        for trial in TRIALS {
            assert_eq!(find(&diagnosis, trial.name).status, ProbeStatus::Untried);
        }
        assert_eq!((diagnosis.is_fit(), diagnosis.exit_code()), (false, 255));
    }

    #[test]
    fn what_is_not_needed_may_be_missing() {
        let lacking =
            |needed| Diagnosis { probes: vec![probe("x", "y", needed, Err(missing("gone", "mend")))] };
        assert_eq!(lacking(false).exit_code(), 0);
        assert_eq!(lacking(true).exit_code(), 255);
        let less = Diagnosis { probes: vec![probe("x", "y", true, Err(degraded("little", "mend")))] };
        assert_eq!(less.exit_code(), 0);
    }

    #[test]
    fn a_program_that_is_not_there_is_named_with_what_installs_it() {
        let lack = attempt("no-such-program", &["a"], "apt-get install it").expect_err("not there");
        assert!(lack.detail.starts_with("`no-such-program a`: "), "{}", lack.detail);
        assert_eq!(lack.mend, "apt-get install it");
    }
}
