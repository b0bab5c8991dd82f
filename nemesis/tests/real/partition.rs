//! A partition, seen from the packets.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use labrys_nemesis::{
    FaultReport, Host, Link, NemesisClient, Patience, Resolved, ServeConfig, read_journal, serve,
};
use nix::sched::{CloneFlags, setns};

use crate::local_host::{LocalHost, idle_daemon};
use crate::namespaces::{TwoHosts, inside_namespaces, wait_for};

/// Far longer than a packet takes between two namespaces.
const PATIENCE: Duration = Duration::from_secs(30);

/// Does `work` in a thread that is in the host's network namespace. Sockets that it makes stay there.
pub fn in_network_of<T: Send>(host: &LocalHost, work: impl FnOnce() -> T + Send) -> T {
    let enter_and_work = || {
        if let Some(pid) = host.namespace_of {
            let namespace = std::fs::File::open(format!("/proc/{pid}/ns/net")).unwrap();
            setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
        }
        work()
    };
    std::thread::scope(|threads| threads.spawn(enter_and_work).join().unwrap())
}

pub fn udp_socket_on(host: &LocalHost) -> UdpSocket {
    let socket = in_network_of(host, || UdpSocket::bind(SocketAddr::new(host.address, 0)).unwrap());
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

pub fn send(from: &UdpSocket, to: &UdpSocket, text: &str) {
    from.send_to(text.as_bytes(), to.local_addr().unwrap()).unwrap();
}

pub fn receive(socket: &UdpSocket) -> String {
    let mut buffer = [0; 2_000];
    let length = socket.recv(&mut buffer).expect("a packet arrives");
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

fn assert_nothing_has_arrived(socket: &UdpSocket) {
    socket.set_nonblocking(true).unwrap();
    assert_eq!(socket.recv(&mut [0; 100]).unwrap_err().kind(), ErrorKind::WouldBlock);
    socket.set_nonblocking(false).unwrap();
}

/// How many packets the rules of a fault have dropped on a host by now.
fn dropped_on(host: &LocalHost, save: &str, comment: &str) -> u64 {
    let saved = host.run(save, &["-c"]).unwrap().stdout;
    let rules = saved.lines().filter(|line| line.split(' ').any(|word| word.trim_matches('"') == comment));
    rules.map(|line| line[1..line.find(':').unwrap()].parse::<u64>().unwrap()).sum()
}

/// The whole packet filter, without what changes by itself.
fn filter_of(host: &LocalHost, save: &str) -> Vec<String> {
    let saved = host.run(save, &["-t", "filter"]).unwrap().stdout;
    saved
        .lines()
        .filter(|line| line.starts_with("-A") || line.starts_with(":LABRYS"))
        .map(str::to_owned)
        .collect()
}

/// The nemesis, in a thread of this process.
pub fn with_nemesis(
    folder: &Path,
    hosts: &TwoHosts,
    packet_program: Vec<String>,
    body: impl FnOnce(&mut dyn FnMut(u64, Option<Resolved>) -> FaultReport),
) {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let local = [hosts.first.clone(), hosts.second.clone()];
    let config = ServeConfig {
        run_tag: "real-test".parse().unwrap(),
        journal: folder.join("journal.jsonl"),
        testbed: serde_json::Value::Null,
        daemons: local.iter().map(|host| (host.name.clone(), idle_daemon(&host.folder))).collect(),
        packet_program,
        processor_program: Vec::new(),
        patience: Patience::default(),
    };
    let local = local.map(|host| Arc::new(host) as Arc<dyn Host>).into();
    let nemesis = std::thread::spawn(move || serve(config, local, theirs.try_clone().unwrap(), theirs));
    let mut client = NemesisClient::new(std::io::BufReader::new(ours.try_clone().unwrap()), ours);
    body(&mut |fault_id, resolved| match resolved {
        Some(resolved) => client.apply(fault_id, resolved).unwrap(),
        None => client.undo(fault_id).unwrap(),
    });
    drop(client);
    nemesis.join().unwrap().unwrap();
    assert!(read_journal(&folder.join("journal.jsonl")).unwrap().outstanding.is_empty());
}

fn cut(from: &LocalHost, to: &LocalHost) -> Resolved {
    let link = Link { from: from.name.clone(), to: to.name.clone() };
    Resolved::Partition {
        description: format!("{} -x-> {}", from.name, to.name),
        links: vec![link],
        content_only: false,
    }
}

#[test]
fn packets_are_lost_in_the_cut_direction_only_and_the_counters_prove_it() {
    inside_namespaces(
        "partition::packets_are_lost_in_the_cut_direction_only_and_the_counters_prove_it",
        || {
            check_udp(false, "iptables-save", "iptables");
        },
    );
}

#[test]
fn packets_of_version_6_are_lost_as_well() {
    inside_namespaces("partition::packets_of_version_6_are_lost_as_well", || {
        if !Path::new("/proc/sys/net/ipv6").exists() {
            let _ = std::io::stderr().write_all(b"SKIPPED packets_of_version_6: this kernel has no IPv6\n");
            return;
        }
        check_udp(true, "ip6tables-save", "ip6tables");
    });
}

fn check_udp(version_6: bool, save: &str, tables: &str) {
    let folder = tempfile::tempdir().unwrap();
    let hosts = TwoHosts::new(folder.path(), version_6);
    let (first, second) = (udp_socket_on(&hosts.first), udp_socket_on(&hosts.second));
    send(&first, &second, "before");
    assert_eq!(receive(&second), "before");
    // Somebody's firewall lets all of this in, before any rule that comes after it.
    hosts.second.run(tables, &["-A", "INPUT", "-p", "udp", "-j", "ACCEPT"]).unwrap();
    let filters_before = [filter_of(&hosts.first, save), filter_of(&hosts.second, save)];

    with_nemesis(folder.path(), &hosts, Vec::new(), |nemesis| {
        nemesis(0, Some(cut(&hosts.first, &hosts.second)));
        nemesis(1, Some(cut(&hosts.first, &hosts.second)));
        for _ in 0..3 {
            send(&first, &second, "lost");
        }
        // A packet counts as lost when it has been seen to be dropped, not when it has not been seen for a while.
        wait_for("three dropped packets", || {
            (dropped_on(&hosts.second, save, "labrys-real-test-0") == 3).then_some(())
        });
        assert_nothing_has_arrived(&second);
        send(&second, &first, "the other way");
        assert_eq!(receive(&first), "the other way");

        let report = nemesis(0, None);
        assert!(report.evidence.bit);
        assert_eq!(report.evidence.packets_dropped(), 3);
        send(&first, &second, "lost by the second partition");
        wait_for("a fourth dropped packet", || {
            (dropped_on(&hosts.second, save, "labrys-real-test-1") == 1).then_some(())
        });
        assert_nothing_has_arrived(&second);

        assert_eq!(nemesis(1, None).evidence.packets_dropped(), 1);
        send(&first, &second, "after");
        assert_eq!(receive(&second), "after");
    });
    assert_eq!([filter_of(&hosts.first, save), filter_of(&hosts.second, save)], filters_before);
}

#[test]
fn a_muffled_host_hears_nothing_that_is_said_and_is_heard_for_as_long_as_it_speaks() {
    /// Far more than what a sender may have under way without an acknowledgement.
    const SPEECH_BYTES: usize = 32 << 20;
    const NAME: &str =
        "partition::a_muffled_host_hears_nothing_that_is_said_and_is_heard_for_as_long_as_it_speaks";
    inside_namespaces(NAME, || {
        let folder = tempfile::tempdir().unwrap();
        let hosts = TwoHosts::new(folder.path(), false);
        let listener = in_network_of(&hosts.second, || TcpListener::bind((hosts.second.address, 0)).unwrap());
        let address = listener.local_addr().unwrap();
        let mut first = in_network_of(&hosts.first, || TcpStream::connect(address).unwrap());
        let mut second = listener.accept().unwrap().0;
        with_nemesis(folder.path(), &hosts, Vec::new(), |nemesis| {
            let Resolved::Partition { description, links, .. } = cut(&hosts.first, &hosts.second) else {
                unreachable!("a cut is a partition")
            };
            nemesis(0, Some(Resolved::Partition { description, links, content_only: true }));
            lose_each_tenth(&hosts.first);
            first.set_read_timeout(Some(PATIENCE)).unwrap();
            second.set_write_timeout(Some(PATIENCE)).unwrap();
            first.write_all(b"unheard").unwrap();
            std::thread::scope(|threads| {
                threads.spawn(|| second.write_all(&vec![7; SPEECH_BYTES]).unwrap());
                let mut heard = vec![0; SPEECH_BYTES];
                first.read_exact(&mut heard).unwrap();
                assert!(heard.iter().all(|byte| *byte == 7));
            });
            second.set_nonblocking(true).unwrap();
            assert_eq!(second.read(&mut [0; 10]).unwrap_err().kind(), ErrorKind::WouldBlock);
            second.set_nonblocking(false).unwrap();
            let report = nemesis(0, None);
            assert!(report.evidence.bit && report.evidence.packets_dropped() > 0, "{report:?}");
        });
        let mut heard = [0; 7];
        second.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"unheard", "it is said again until it is heard");
    });
}

/// A machine that is short of a processor or of memory loses packets, and then says which it has instead of merely how far it has got.
fn lose_each_tenth(host: &LocalHost) {
    let each_tenth = ["-m", "statistic", "--mode", "nth", "--every", "10", "--packet", "5"];
    host.run("iptables", &[&["-A", "INPUT", "-p", "tcp"], &each_tenth[..], &["-j", "DROP"]].concat())
        .unwrap();
}

#[test]
fn a_connection_that_was_established_before_is_cut_and_recovers() {
    inside_namespaces("partition::a_connection_that_was_established_before_is_cut_and_recovers", || {
        let folder = tempfile::tempdir().unwrap();
        let hosts = TwoHosts::new(folder.path(), false);
        let at = SocketAddr::new(hosts.second.address, 0);
        let listener = in_network_of(&hosts.second, || TcpListener::bind(at).unwrap());
        let mut sender = TcpStream::connect_timeout(&listener.local_addr().unwrap(), PATIENCE).unwrap();
        let (mut receiver, _) = listener.accept().unwrap();
        receiver.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut buffer = [0; 6];
        sender.write_all(b"before").unwrap();
        receiver.read_exact(&mut buffer).unwrap();

        with_nemesis(folder.path(), &hosts, Vec::new(), |nemesis| {
            nemesis(0, Some(cut(&hosts.first, &hosts.second)));
            sender.write_all(b"during").unwrap();
            wait_for("a dropped segment", || {
                (dropped_on(&hosts.second, "iptables-save", "labrys-real-test-0") > 0).then_some(())
            });
            receiver.set_nonblocking(true).unwrap();
            assert_eq!(receiver.read(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
            receiver.set_nonblocking(false).unwrap();
            assert!(nemesis(0, None).evidence.bit);
            receiver.read_exact(&mut buffer).unwrap();
            assert_eq!(&buffer, b"during");
        });
        assert_eq!(filter_of(&hosts.second, "iptables-save"), Vec::<String>::new());
    });
}
