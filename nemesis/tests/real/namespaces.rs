//! Running a test inside new namespaces, a second network namespace in them, and waiting for conditions.

use std::io::Write as _;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::local_host::LocalHost;

/// Set in the process that runs inside the namespaces.
const INSIDE: &str = "LABRYS_TEST_INSIDE_NAMESPACES";

const NAMESPACES: [&str; 6] = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];

/// What the tests need, tried once before the test proper: a packet filter and a pair of virtual links.
const PROBE: &str = "iptables-save -t filter >/dev/null && ip link add probe0 type veth peer name probe1";

/// What tests of real file systems need besides: one in a file is made, mounted and unmounted.
const EXT4_PROBE: &str = "d=$(mktemp -d) && truncate -s 8M $d/image && PATH=$PATH:/usr/sbin:/sbin && mkfs.ext4 -q -F $d/image && \
    mkdir $d/mount && mount -t ext4 -o loop $d/image $d/mount && umount $d/mount && rm -r $d";

/// Runs `body`, which is the test called `name` (with its module), inside new namespaces; skips it, visibly, if there can be
/// none.
pub fn inside_namespaces(name: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    match working_unshare() {
        Some(unshare) => run_inside(unshare, name),
        None => skip(name, "no namespaces with iptables and veth can be made here"),
    }
}

/// The same without a user namespace, where a real file system can be mounted. When it is over, no loop device has a file of the test's.
pub fn inside_namespaces_of_root(name: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let folder = tempfile::tempdir().unwrap();
    let mut unshare = unshare(&[]);
    unshare.env("TMPDIR", folder.path());
    if !works(&mut unshare, EXT4_PROBE) {
        return skip(name, "it takes root, mkfs.ext4 and loop devices to mount a real file system");
    }
    let mut inside = self::unshare(&[]);
    inside.env("TMPDIR", folder.path());
    run_inside(inside, name);
    wait_for("the loop devices to be free", || loop_files(folder.path()).is_empty().then_some(()));
}

/// The files below a folder that are the disks of loop devices.
pub fn loop_files(folder: &Path) -> Vec<String> {
    let devices = std::fs::read_dir("/sys/block").unwrap().map(|device| device.unwrap().path());
    let files = devices.filter_map(|device| std::fs::read_to_string(device.join("loop/backing_file")).ok());
    files.filter(|file| Path::new(file).starts_with(folder)).collect()
}

fn skip(name: &str, why: &str) {
    // Not by a macro, whose output the test runner would hide.
    let _ = std::io::stderr().write_all(format!("SKIPPED {name}: {why}\n").as_bytes());
}

fn run_inside(mut unshare: Command, name: &str) {
    let test = std::env::current_exe().unwrap();
    let status = unshare.arg(test).args([name, "--exact", "--nocapture"]).env(INSIDE, "1").status().unwrap();
    assert!(status.success(), "inside the namespaces the test failed: {status}");
}

fn unshare(user: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(user).args(NAMESPACES).stdin(Stdio::null());
    command
}

fn works(unshare: &mut Command, probe: &str) -> bool {
    let probe = unshare.args(["sh", "-c", probe]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    probe.is_ok_and(|status| status.success())
}

/// With a user namespace of our own, as an ordinary user must, or as root without one.
fn working_unshare() -> Option<Command> {
    let users: [&[&str]; 2] = [&["--user", "--map-root-user"], &[]];
    users.into_iter().find(|user| works(&mut unshare(user), PROBE)).map(unshare)
}

/// Two hosts: `n1` in this process's network namespace, `n2` in another, joined by a pair of virtual links.
pub struct TwoHosts {
    pub first: LocalHost,
    pub second: LocalHost,
    holder: Child,
}

impl TwoHosts {
    /// With addresses of version 4, or else 6. Call inside namespaces, once.
    pub fn new(folder: &Path, version_6: bool) -> TwoHosts {
        let (first, second) = if version_6 { ("fd77::1", "fd77::2") } else { ("10.77.0.1", "10.77.0.2") };
        let holder = Command::new("unshare").args(["--net", "sleep", "3600"]).spawn().unwrap();
        let other = holder.id();
        let own_namespace = std::fs::read_link("/proc/self/ns/net").unwrap();
        wait_for("the second network namespace", || {
            let theirs = std::fs::read_link(format!("/proc/{other}/ns/net")).ok()?;
            (theirs != own_namespace).then_some(())
        });
        let host = |name: &str, address: &str, namespace_of| LocalHost {
            name: name.to_owned(),
            address: address.parse::<IpAddr>().unwrap(),
            namespace_of,
            folder: folder.join(name),
        };
        let hosts =
            TwoHosts { first: host("n1", first, None), second: host("n2", second, Some(other)), holder };
        let (other, length) = (other.to_string(), if version_6 { "64" } else { "24" });
        ip(&hosts.first, &["link", "add", "left", "type", "veth", "peer", "name", "right", "netns", &other]);
        for (host, link) in [(&hosts.first, "left"), (&hosts.second, "right")] {
            let address = format!("{}/{length}", host.address);
            let mut arguments = vec!["address", "add", &address, "dev", link];
            if version_6 {
                arguments.push("nodad");
            }
            ip(host, &arguments);
            ip(host, &["link", "set", "lo", "up"]);
            ip(host, &["link", "set", link, "up"]);
        }
        hosts
    }
}

impl Drop for TwoHosts {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn ip(host: &LocalHost, arguments: &[&str]) {
    labrys_nemesis::Host::run(host, "ip", arguments).unwrap();
}

/// Looks until there is something to see; fails the test after a time that is far beyond what it can take.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "still waiting for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
