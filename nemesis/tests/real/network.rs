//! Messages in trouble, seen from the packets: what is asserted is what arrives, how often and in which order.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;

use labrys_nemesis::{
    Effect, FaultReport, Host, LinkTrouble, Mechanism, Patience, Resolved, heal, hold_packets,
};

use crate::local_host::LocalHost;
use crate::namespaces::{TwoHosts, inside_namespaces, wait_for};
use crate::partition::{in_network_of, receive, send, udp_socket_on, with_nemesis};

/// Set in the process that holds packets: this program again, which would run a test.
const HOLDS_PACKETS: &str = "LABRYS_TEST_HOLDS_PACKETS";

/// How this program is started to hold packets; what it is given last is the file with the orders.
fn packet_program(test: &str) -> Vec<String> {
    let program = std::env::current_exe().unwrap();
    let program = program.to_str().unwrap();
    ["env", &format!("{HOLDS_PACKETS}=1"), program, test, "--exact", "--nocapture"].map(str::to_owned).into()
}

/// Runs `body`, the test called `name`, on two hosts inside namespaces.
fn on_two_hosts(name: &str, body: impl FnOnce(&Path, &TwoHosts)) {
    on_two_hosts_of(name, false, body);
}

/// The same with addresses of version 6, or of version 4.
fn on_two_hosts_of(name: &str, version_6: bool, body: impl FnOnce(&Path, &TwoHosts)) {
    if std::env::var_os(HOLDS_PACKETS).is_some() {
        let orders = std::env::args().next_back().unwrap();
        return hold_packets(Path::new(&orders)).unwrap();
    }
    inside_namespaces(name, || {
        let folder = tempfile::tempdir().unwrap();
        let hosts = TwoHosts::new(folder.path(), version_6);
        for host in [&hosts.first, &hosts.second] {
            std::fs::create_dir_all(&host.folder).unwrap();
        }
        body(folder.path(), &hosts);
        for host in [&hosts.first, &hosts.second] {
            assert_no_trace(host);
        }
    });
}

/// No rule, no queue, no process, no orders.
fn assert_no_trace(host: &LocalHost) {
    for (save, table) in [
        ("iptables-save", "filter"),
        ("iptables-save", "mangle"),
        ("ip6tables-save", "filter"),
        ("ip6tables-save", "mangle"),
    ] {
        let saved = host.run(save, &["-t", table]).unwrap().stdout;
        assert!(!saved.contains("LABRYS"), "{} {saved}", host.name);
    }
    assert_eq!(queues_of(host), Vec::<String>::new(), "{}", host.name);
    assert_eq!(holders_of(host), Vec::<i32>::new(), "{}", host.name);
    let orders = std::fs::read_dir(&host.folder).unwrap().filter_map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.ends_with(".json").then_some(name)
    });
    assert_eq!(orders.filter(|name| name.starts_with("packets-")).count(), 0);
}

fn queues_of(host: &LocalHost) -> Vec<String> {
    let listed = host.run("cat", &["/proc/self/net/netfilter/nfnetlink_queue"]).unwrap().stdout;
    listed.lines().map(str::to_owned).collect()
}

/// The processes of this test that hold a host's packets.
fn holders_of(host: &LocalHost) -> Vec<i32> {
    let folder = host.folder.to_str().unwrap();
    let pids = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        String::from_utf8_lossy(&line).split('\0').any(|word| word.starts_with(folder)).then_some(pid)
    });
    // Of the two the one that waits for the other is not there: `setsid` and `env` become what they start.
    pids.collect()
}

/// Trouble on the link between both.
fn trouble(trouble: LinkTrouble) -> Resolved {
    Resolved::Network { nodes: vec!["n2".to_owned()], trouble }
}

/// The packets of each kind on the way to `n2` that the rules have counted.
fn counted(report: &FaultReport) -> (u64, u64, u64) {
    let (mut dropped, mut doubled, mut held) = (0, 0, 0);
    for seen in report.evidence.details.iter().filter(|seen| seen.node == "n2") {
        match &seen.effect {
            Effect::PacketsDropped { packets, .. } => dropped += packets,
            Effect::PacketsDoubled { packets, .. } => doubled += packets,
            Effect::PacketsHeldBack { packets, .. } => held += packets,
            _ => {}
        }
    }
    (dropped, doubled, held)
}

fn send_numbered(from: &UdpSocket, to: &UdpSocket, count: u32) {
    for number in 0..count {
        send(from, to, &number.to_string());
    }
}

/// What arrives until a packet that the receiver sent to itself: that one is in no trouble, and comes after all that were there.
fn received(socket: &UdpSocket) -> Vec<u32> {
    send(socket, socket, "end");
    let texts = std::iter::repeat_with(|| receive(socket)).take_while(|text| text != "end");
    texts.map(|text| text.parse().unwrap()).collect()
}

#[test]
fn messages_are_lost_by_chance_and_what_does_not_arrive_has_been_counted() {
    on_two_hosts(
        "network::messages_are_lost_by_chance_and_what_does_not_arrive_has_been_counted",
        |folder, hosts| {
            let (first, second) = (udp_socket_on(&hosts.first), udp_socket_on(&hosts.second));
            with_nemesis(folder, hosts, Vec::new(), |nemesis| {
                let half = LinkTrouble { loss_permille: 500, ..LinkTrouble::default() };
                let report = nemesis(0, Some(trouble(half)));
                let by_chance = Effect::LinkTroubled { from: "n1".to_owned(), by: Mechanism::Statistic };
                assert!(report.evidence.details.iter().any(|seen| seen.effect == by_chance));
                assert!(!report.evidence.bit, "nothing has been sent");
                send_numbered(&first, &second, 200);
                let arrived = received(&second).len() as u64;
                send_numbered(&second, &first, 200);
                assert!(received(&first).len() < 200, "the other direction, too");
                let report = nemesis(0, None);
                assert!(report.evidence.bit);
                assert_eq!(counted(&report), (200 - arrived, 0, 0));
                // Ten standard deviations from half of them.
                assert!((30..=170).contains(&arrived), "{arrived}");
            });
            send_numbered(&first, &second, 20);
            assert_eq!(received(&second), (0..20).collect::<Vec<_>>());
        },
    );
}

#[test]
fn messages_are_doubled_by_chance_and_each_copy_has_been_counted() {
    on_two_hosts(
        "network::messages_are_doubled_by_chance_and_each_copy_has_been_counted",
        |folder, hosts| {
            let (first, second) = (udp_socket_on(&hosts.first), udp_socket_on(&hosts.second));
            with_nemesis(folder, hosts, Vec::new(), |nemesis| {
                let third = LinkTrouble { duplicate_permille: 300, ..LinkTrouble::default() };
                nemesis(0, Some(trouble(third)));
                // So few that the receiver's buffer has room for all of them twice.
                send_numbered(&first, &second, 100);
                let mut times: BTreeMap<u32, u64> = BTreeMap::new();
                for number in received(&second) {
                    *times.entry(number).or_default() += 1;
                }
                assert_eq!(times.len(), 100, "none is lost");
                assert!(times.values().all(|times| *times <= 2), "{times:?}");
                let copies = times.values().sum::<u64>() - 100;
                assert!(copies > 0);
                assert_eq!(counted(&nemesis(0, None)), (0, copies, 0));
            });
            send_numbered(&first, &second, 20);
            assert_eq!(received(&second), (0..20).collect::<Vec<_>>());
        },
    );
}

#[test]
fn messages_are_late_so_that_others_come_first_and_none_is_lost_when_they_are_late_no_more() {
    const NAME: &str =
        "network::messages_are_late_so_that_others_come_first_and_none_is_lost_when_they_are_late_no_more";
    on_two_hosts(NAME, |folder, hosts| {
        let (first, second) = (udp_socket_on(&hosts.first), udp_socket_on(&hosts.second));
        with_nemesis(folder, hosts, packet_program(NAME), |nemesis| {
            // Longer than any wait of this test.
            let late = LinkTrouble { delay_ms: 600_000, ..LinkTrouble::default() };
            nemesis(0, Some(trouble(late)));
            assert_eq!((queues_of(&hosts.first).len(), holders_of(&hosts.second).len()), (1, 1));
            send_numbered(&first, &second, 50);
            assert_eq!(received(&second), Vec::<u32>::new(), "what was sent afterwards came first");
            let report = nemesis(0, None);
            assert_eq!(counted(&report), (0, 0, 50));
            assert!(report.evidence.bit);
            let mut arrived: Vec<u32> = (0..50).map(|_| receive(&second).parse().unwrap()).collect();
            arrived.sort_unstable();
            assert_eq!(arrived, (0..50).collect::<Vec<_>>(), "held packets go on when the fault ends");

            let soon = LinkTrouble { delay_ms: 20, ..LinkTrouble::default() };
            nemesis(1, Some(trouble(soon)));
            send_numbered(&first, &second, 50);
            let mut arrived: Vec<u32> = (0..50).map(|_| receive(&second).parse().unwrap()).collect();
            arrived.sort_unstable();
            assert_eq!(arrived, (0..50).collect::<Vec<_>>(), "they go on when their time has come");
            assert_eq!(counted(&nemesis(1, None)), (0, 0, 50));
        });
    });
}

#[test]
fn some_messages_are_overtaken_and_those_alone_have_been_held_back() {
    const NAME: &str = "network::some_messages_are_overtaken_and_those_alone_have_been_held_back";
    on_two_hosts(NAME, |folder, hosts| {
        let (first, second) = (udp_socket_on(&hosts.first), udp_socket_on(&hosts.second));
        with_nemesis(folder, hosts, packet_program(NAME), |nemesis| {
            let some = LinkTrouble { reorder_permille: 300, ..LinkTrouble::default() };
            nemesis(0, Some(trouble(some)));
            send_numbered(&first, &second, 200);
            let arrived: Vec<u32> = (0..200).map(|_| receive(&second).parse().unwrap()).collect();
            assert!(!arrived.is_sorted(), "{arrived:?}");
            let (dropped, doubled, held) = counted(&nemesis(0, None));
            assert_eq!((dropped, doubled), (0, 0));
            assert!((1..200).contains(&held), "{held}");
        });
        send_numbered(&first, &second, 20);
        assert_eq!(received(&second), (0..20).collect::<Vec<_>>());
    });
}

/// What the kernel of the second host counts of UDP: `InDatagrams`, `InCsumErrors`.
fn udp_counter(host: &LocalHost, name: &str) -> u64 {
    let table = host.run("cat", &["/proc/self/net/snmp"]).unwrap().stdout;
    let mut lines = table.lines().filter(|line| line.starts_with("Udp: "));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let position = names.split(' ').position(|word| word == name).unwrap();
    values.split(' ').nth(position).unwrap().parse().unwrap()
}

#[test]
fn corrupted_packets_are_seen_by_the_receivers_kernel_and_never_by_the_receiver() {
    const NAME: &str =
        "network::corrupted_packets_are_seen_by_the_receivers_kernel_and_never_by_the_receiver";
    on_two_hosts(NAME, |folder, hosts| {
        let (first, second) = (udp_socket_on(&hosts.first), udp_socket_on(&hosts.second));
        with_nemesis(folder, hosts, packet_program(NAME), |nemesis| {
            let half = LinkTrouble { corrupt_permille: 500, ..LinkTrouble::default() };
            let report = nemesis(0, Some(trouble(half)));
            let by_process = Effect::LinkTroubled { from: "n1".to_owned(), by: Mechanism::Queue };
            assert!(report.evidence.details.iter().any(|seen| seen.effect == by_process));
            send_numbered(&first, &second, 100);
            // Undoing lets go on what the process has.
            let report = nemesis(0, None);
            let arrived = received(&second);
            let corrupted: u64 = report
                .evidence
                .details
                .iter()
                .map(|seen| match &seen.effect {
                    Effect::PacketsCorrupted { packets, .. } if seen.node == "n2" => *packets,
                    _ => 0,
                })
                .sum();
            assert!(report.evidence.bit && corrupted > 0);
            assert_eq!(arrived.len() as u64 + corrupted, 100, "{arrived:?}");
            assert!(arrived.iter().all(|number| *number < 100), "{arrived:?}");
            // A flipped bit of the length is another error than one of the checksum.
            assert!((1..=corrupted).contains(&udp_counter(&hosts.second, "InCsumErrors")));
        });
        send_numbered(&first, &second, 20);
        assert_eq!(received(&second), (0..20).collect::<Vec<_>>());
    });
}

#[test]
fn a_narrow_line_delivers_in_order_and_loses_what_would_wait_for_too_long() {
    const NAME: &str = "network::a_narrow_line_delivers_in_order_and_loses_what_would_wait_for_too_long";
    on_two_hosts(NAME, |folder, hosts| {
        let (first, second) = (udp_socket_on(&hosts.first), udp_socket_on(&hosts.second));
        with_nemesis(folder, hosts, packet_program(NAME), |nemesis| {
            // A packet takes a second, and only the one that finds the line free, or nearly so, may wait.
            let narrow = LinkTrouble { bandwidth_kbit: 8, ..LinkTrouble::default() };
            nemesis(0, Some(trouble(narrow)));
            for number in 0..40 {
                send(&first, &second, &format!("{number:0>1000}"));
            }
            let report = nemesis(0, None);
            assert_eq!(counted(&report), (0, 0, 40));
            let arrived = received(&second);
            assert!(arrived.is_sorted() && arrived.first() == Some(&0), "{arrived:?}");
            assert!(arrived.len() < 40, "{arrived:?}");
        });
        send_numbered(&first, &second, 20);
        assert_eq!(received(&second), (0..20).collect::<Vec<_>>());
    });
}

#[test]
fn connections_are_reset_and_new_ones_are_made_afterwards() {
    const NAME: &str = "network::connections_are_reset_and_new_ones_are_made_afterwards";
    on_two_hosts(NAME, |folder, hosts| {
        let listener = in_network_of(&hosts.second, || TcpListener::bind((hosts.second.address, 0)).unwrap());
        let address = listener.local_addr().unwrap();
        let connect = || {
            let outgoing = in_network_of(&hosts.first, || TcpStream::connect(address).unwrap());
            (outgoing, listener.accept().unwrap().0)
        };
        let (mut outgoing, mut incoming) = connect();
        with_nemesis(folder, hosts, Vec::new(), |nemesis| {
            let all = LinkTrouble { reset_permille: 1000, ..LinkTrouble::default() };
            let report = nemesis(0, Some(trouble(all)));
            assert!(!report.evidence.bit, "nothing has been sent");
            outgoing.write_all(b"lost").unwrap();
            let error = outgoing.read(&mut [0; 10]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            let report = nemesis(0, None);
            let reset = report.evidence.details.iter().any(|seen| {
                matches!(&seen.effect, Effect::ConnectionsReset { from, packets: 1.. } if from == "n1")
            });
            assert!(reset && report.evidence.bit, "{report:?}");
        });
        // The other end learns of it when it sends.
        let unheard = incoming.write_all(b"?").and_then(|()| incoming.read(&mut [0; 10]));
        assert_eq!(unheard.unwrap_err().kind(), ErrorKind::ConnectionReset);
        let (mut outgoing, mut incoming) = connect();
        outgoing.write_all(b"heard").unwrap();
        let mut heard = [0; 5];
        incoming.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"heard");
    });
}

#[test]
fn messages_of_version_6_get_into_the_same_trouble() {
    const NAME: &str = "network::messages_of_version_6_get_into_the_same_trouble";
    if !Path::new("/proc/sys/net/ipv6").exists() {
        let _ = std::io::stderr().write_all(b"SKIPPED messages_of_version_6: this kernel has no IPv6\n");
        return;
    }
    on_two_hosts_of(NAME, true, |folder, hosts| {
        let (first, second) = (udp_socket_on(&hosts.first), udp_socket_on(&hosts.second));
        let listener = in_network_of(&hosts.second, || TcpListener::bind((hosts.second.address, 0)).unwrap());
        let address = listener.local_addr().unwrap();
        let once: Vec<u32> = (0..20).collect();
        // So that each knows where the other is: what asks for that would get into trouble as well.
        for (from, to) in [(&first, &second), (&second, &first)] {
            send(from, to, "before");
            assert_eq!(receive(to), "before");
        }
        with_nemesis(folder, hosts, packet_program(NAME), |nemesis| {
            let all = LinkTrouble::default();
            nemesis(0, Some(trouble(LinkTrouble { loss_permille: 1000, ..all })));
            send_numbered(&first, &second, 20);
            assert_eq!(received(&second), Vec::<u32>::new());
            assert_eq!(counted(&nemesis(0, None)), (20, 0, 0));

            nemesis(1, Some(trouble(LinkTrouble { duplicate_permille: 1000, ..all })));
            send_numbered(&first, &second, 20);
            let mut arrived = received(&second);
            arrived.sort_unstable();
            assert_eq!(arrived, once.iter().flat_map(|number| [*number; 2]).collect::<Vec<_>>());
            assert_eq!(counted(&nemesis(1, None)), (0, 20, 0));

            // Longer than any wait of this test.
            nemesis(2, Some(trouble(LinkTrouble { delay_ms: 600_000, ..all })));
            send_numbered(&first, &second, 20);
            assert_eq!(received(&second), Vec::<u32>::new(), "what was sent afterwards came first");
            assert_eq!(counted(&nemesis(2, None)), (0, 0, 20));
            let mut arrived: Vec<u32> = (0..20).map(|_| receive(&second).parse().unwrap()).collect();
            arrived.sort_unstable();
            assert_eq!(arrived, once, "held packets go on when the fault ends");

            let mut outgoing = in_network_of(&hosts.first, || TcpStream::connect(address).unwrap());
            let _incoming = listener.accept().unwrap().0;
            nemesis(3, Some(trouble(LinkTrouble { reset_permille: 1000, ..all })));
            outgoing.write_all(b"lost").unwrap();
            assert_eq!(outgoing.read(&mut [0; 10]).unwrap_err().kind(), ErrorKind::ConnectionReset);
            assert!(nemesis(3, None).evidence.bit);
        });
        send_numbered(&first, &second, 20);
        assert_eq!(received(&second), once);
    });
}

#[test]
fn packets_pass_when_the_process_that_holds_them_has_died() {
    const NAME: &str = "network::packets_pass_when_the_process_that_holds_them_has_died";
    on_two_hosts(NAME, |folder, hosts| {
        let (first, second) = (udp_socket_on(&hosts.first), udp_socket_on(&hosts.second));
        with_nemesis(folder, hosts, packet_program(NAME), |nemesis| {
            nemesis(0, Some(trouble(LinkTrouble { delay_ms: 600_000, ..LinkTrouble::default() })));
            let holders = holders_of(&hosts.second);
            let [holder] = holders[..] else { panic!("{holders:?}") };
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(holder), nix::sys::signal::Signal::SIGKILL)
                .unwrap();
            wait_for("the end of the queue", || queues_of(&hosts.second).is_empty().then_some(()));
            send_numbered(&first, &second, 20);
            assert_eq!(received(&second), (0..20).collect::<Vec<_>>());
            nemesis(0, None);
        });
    });
}

#[test]
fn messages_in_every_trouble_are_healed_from_the_journal_alone() {
    const NAME: &str = "network::messages_in_every_trouble_are_healed_from_the_journal_alone";
    on_two_hosts(NAME, |folder, hosts| {
        with_nemesis(folder, hosts, packet_program(NAME), |nemesis| {
            let all = LinkTrouble {
                loss_permille: 100,
                duplicate_permille: 100,
                reorder_permille: 100,
                delay_ms: 600_000,
                corrupt_permille: 100,
                reset_permille: 100,
                bandwidth_kbit: 100,
            };
            nemesis(0, Some(trouble(all)));
            assert_eq!(holders_of(&hosts.first).len(), 1);
            // The nemesis itself has its journal open: this is what another process would find if it had died.
            let copy = folder.join("copy.jsonl");
            std::fs::copy(folder.join("journal.jsonl"), &copy).unwrap();
            let healed = || {
                let both = [&hosts.first, &hosts.second];
                let both = both.map(|host| std::sync::Arc::new(host.clone()) as std::sync::Arc<dyn Host>);
                heal(both.into(), &copy, Patience::default()).unwrap().len()
            };
            assert_eq!(healed(), 1);
            assert_no_trace(&hosts.first);
            assert_no_trace(&hosts.second);
            assert_eq!(healed(), 0, "once is enough");
            nemesis(0, None);
        });
    });
}
