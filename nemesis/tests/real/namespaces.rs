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

/// Runs `body`, which is the test called `name` (with its module), inside new namespaces; skips it, visibly, if there can be
/// none.
pub fn inside_namespaces(name: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let Some(mut unshare) = working_unshare() else {
        // Not by a macro, whose output the test runner would hide.
        let line = format!("SKIPPED {name}: no namespaces with iptables and veth can be made here\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
        return;
    };
    let test = std::env::current_exe().unwrap();
    let status = unshare.arg(test).args([name, "--exact", "--nocapture"]).env(INSIDE, "1").status().unwrap();
    assert!(status.success(), "inside the namespaces the test failed: {status}");
}

/// With a user namespace of our own, as an ordinary user must, or as root without one.
fn working_unshare() -> Option<Command> {
    let with_user = ["--user", "--map-root-user"];
    for user in [&with_user[..], &[]] {
        let unshare = || {
            let mut command = Command::new("unshare");
            command.args(user).args(NAMESPACES).stdin(Stdio::null());
            command
        };
        let probe = unshare().args(["sh", "-c", PROBE]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if probe.is_ok_and(|status| status.success()) {
            return Some(unshare());
        }
    }
    None
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
