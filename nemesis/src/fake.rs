//! A host in memory, for tests: a packet filter with the semantics of `iptables-restore --noflush`, one daemon, a record of
//! what was done, and failures on demand.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::faketime::ClockMeans;
use crate::host::{CommandOutput, DaemonSpec, Host, HostError, ProcessIdentity, ProcessState, Signal};

/// Called with each thing that is about to be done, before it is.
type Witness = Box<dyn Fn(&str) + Send + Sync>;

pub(crate) struct FakeHost {
    name: String,
    address: IpAddr,
    state: Mutex<FakeState>,
}

#[derive(Default)]
struct FakeState {
    daemon: Option<ProcessIdentity>,
    processes: BTreeMap<i32, ProcessState>,
    /// Per program family (`iptables`, `ip6tables`): the rules of each chain, with the packets they have counted.
    filters: BTreeMap<String, Chains>,
    done: Vec<String>,
    /// What fails (by a part of its text) and how many times more.
    failures: Vec<(String, u32)>,
    /// Signals that are accepted and have no effect.
    deaf_to: Vec<Signal>,
    /// Started daemons are dead at once.
    stillborn: bool,
    files: BTreeMap<PathBuf, Vec<u8>>,
    clock: FakeClock,
    /// What orders count.
    count: u64,
    forgets_orders: bool,
    failpoints: BTreeMap<String, FakeFailpoint>,
    witness: Option<Witness>,
}

/// What happens at a place in the daemon, and how often it has.
#[derive(Default)]
struct FakeFailpoint {
    action: Option<String>,
    struck: u64,
}

/// The machine's clock, which goes on by [`BETWEEN_ORDERS_NS`] with each order, and the daemon's.
#[derive(Default)]
struct FakeClock {
    machine_ns: u64,
    daemon_ns: u64,
    rate_permille: Option<u64>,
    jumped: BTreeSet<u64>,
    /// It takes no orders.
    is_deaf: bool,
    /// The daemon has just begun: the next order is its first, whose leaps are its predecessors'.
    is_new: bool,
}

const BETWEEN_ORDERS_NS: u64 = 50_000_000;

type Chains = BTreeMap<String, Vec<(String, u64)>>;

/// Node number `number`, running.
pub(crate) fn fake_host(number: u8) -> Arc<FakeHost> {
    let host = FakeHost {
        name: format!("n{number}"),
        address: IpAddr::from([10, 0, 0, number]),
        state: Mutex::new(FakeState::default()),
    };
    host.start_daemon(&daemon_spec()).unwrap();
    Arc::new(host)
}

/// A node with an address of version 6.
pub(crate) fn fake_host_version_6(number: u16) -> Arc<FakeHost> {
    let address = IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, number]);
    Arc::new(FakeHost { name: format!("n{number}"), address, state: Mutex::new(FakeState::default()) })
}

pub(crate) fn as_hosts(hosts: &[Arc<FakeHost>]) -> Vec<Arc<dyn Host>> {
    hosts.iter().map(|host| Arc::clone(host) as Arc<dyn Host>).collect()
}

const CLOCK_FILE: &str = "/var/store/clock.json";

pub(crate) fn daemon_spec() -> DaemonSpec {
    DaemonSpec {
        program: PathBuf::from("/bin/store"),
        args: Vec::new(),
        env: Vec::new(),
        directory: PathBuf::from("/var/store"),
        log_file: PathBuf::from("/var/store/log"),
        clock: Some(ClockMeans::Orders(PathBuf::from(CLOCK_FILE))),
        commands: None,
        data_directory: None,
        disk_file: None,
    }
}

impl FakeHost {
    fn state(&self) -> MutexGuard<'_, FakeState> {
        // A test that panicked in a witness must not hide its message behind a poisoned lock.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub fn done(&self) -> Vec<String> {
        self.state().done.clone()
    }

    pub fn fail_next(&self, what: &str, times: u32) {
        self.state().failures.push((what.to_owned(), times));
    }

    pub fn repair(&self) {
        let mut state = self.state();
        state.failures.clear();
        state.deaf_to.clear();
        state.stillborn = false;
    }

    pub fn be_deaf_to(&self, signal: Signal) {
        self.state().deaf_to.push(signal);
    }

    pub fn bear_dead_daemons(&self) {
        self.state().stillborn = true;
    }

    pub fn watch(&self, witness: impl Fn(&str) + Send + Sync + 'static) {
        self.state().witness = Some(Box::new(witness));
    }

    /// The daemon runs its clock as it likes, though it goes on telling what that reads.
    pub fn be_deaf_to_clock_orders(&self) {
        self.state().clock.is_deaf = true;
    }

    /// The daemon has just begun, and has seen no order yet.
    pub fn begin_to_read_clock_orders(&self) {
        self.state().clock.is_new = true;
    }

    /// How far the daemon's clock is ahead of the machine's, in milliseconds, and its rate in thousandths.
    pub fn clock(&self) -> (i64, u64) {
        let clock = &self.state().clock;
        let ahead_ns = clock.daemon_ns.cast_signed() - clock.machine_ns.cast_signed();
        (ahead_ns / 1_000_000, clock.rate_permille.unwrap_or(1000))
    }

    /// The rate, in thousandths, at which a daemon is to run its clock that is started now.
    pub fn ordered_rate_permille(&self) -> u64 {
        let state = self.state();
        let order = state.files.get(Path::new(CLOCK_FILE));
        let order = order.map(|order| serde_json::from_slice::<serde_json::Value>(order).unwrap());
        order.map_or(1000, |order| order["rate_permille"].as_u64().unwrap())
    }

    /// What `count up` and `count down` have come to.
    pub fn count(&self) -> u64 {
        self.state().count
    }

    /// Somebody passes a place in the daemon, which dies if it is to.
    pub fn pass(&self, at: &str) {
        let mut state = self.state();
        let Some(failpoint) = state.failpoints.get_mut(at) else { return };
        let Some(action) = failpoint.action.clone() else { return };
        failpoint.struck += 1;
        if action == "exit" {
            state.failpoints.clear();
            let pid = state.daemon.map(|daemon| daemon.pid);
            state.processes.extend(pid.map(|pid| (pid, ProcessState::Gone)));
        }
    }

    /// What happens at a place in the daemon.
    pub fn failpoint(&self, at: &str) -> Option<String> {
        self.state().failpoints.get(at)?.action.clone()
    }

    /// From now on `count up` succeeds and does nothing.
    pub fn forget_orders(&self) {
        self.state().forgets_orders = true;
    }

    /// The daemon dies by itself.
    pub fn crash(&self) {
        let mut state = self.state();
        let daemon = state.daemon.expect("a daemon to crash");
        state.processes.insert(daemon.pid, ProcessState::Gone);
    }

    pub fn daemon_state(&self) -> ProcessState {
        let daemon = self.daemon().unwrap().expect("a daemon");
        self.process_state(daemon).unwrap()
    }

    /// Somebody else's rule at the very front of INPUT.
    pub fn insert_foreign_rule(&self, rule: &str) {
        let mut state = self.state();
        let chains = chains_of(&mut state, "iptables");
        chains.get_mut("INPUT").unwrap().insert(0, (rule.to_owned(), 0));
    }

    /// A packet from `source` arrives; whether it gets through. Counts it on the rule that drops it.
    pub fn receives_from(&self, source: IpAddr) -> bool {
        let mut state = self.state();
        let family = if source.is_ipv4() { "iptables" } else { "ip6tables" };
        let chains = chains_of(&mut state, family);
        let jumps = chains["INPUT"].iter().filter_map(|(rule, _)| rule.strip_prefix("-j "));
        let targets: Vec<String> = jumps.map(str::to_owned).collect();
        for target in targets {
            for (rule, packets) in chains.get_mut(&target).into_iter().flatten() {
                if rule.starts_with(&format!("-s {source}/")) && rule.ends_with("-j DROP") {
                    *packets += 1;
                    return false;
                }
            }
        }
        true
    }

    /// The filter as `iptables-save` would print it, without the lines that every machine has.
    pub fn filter_lines(&self) -> Vec<String> {
        let mut state = self.state();
        let mut lines = Vec::new();
        for family in ["iptables", "ip6tables"] {
            let saved = render(chains_of(&mut state, family));
            let is_ours = |line: &&str| line.contains("-A ") || line.contains("LABRYS");
            lines.extend(saved.lines().filter(is_ours).map(str::to_owned));
        }
        lines
    }

    fn begin(&self, what: String) -> Result<MutexGuard<'_, FakeState>, HostError> {
        let mut state = self.state();
        if let Some(witness) = &state.witness {
            witness(&what);
        }
        let failing =
            state.failures.iter_mut().find(|(part, times)| *times > 0 && what.contains(part.as_str()));
        if let Some((_, times)) = failing {
            *times -= 1;
            return Err(self.error(&what, "made to fail"));
        }
        state.done.push(what);
        Ok(state)
    }

    fn error(&self, command: &str, detail: &str) -> HostError {
        HostError::Command { host: self.name.clone(), command: command.to_owned(), detail: detail.to_owned() }
    }
}

impl Host for FakeHost {
    fn name(&self) -> &str {
        &self.name
    }

    fn address(&self) -> IpAddr {
        self.address
    }

    fn run(&self, program: &str, args: &[&str]) -> Result<CommandOutput, HostError> {
        let command = format!("{program} {}", args.join(" "));
        let mut state = self.begin(command.clone())?;
        let stdout = match (program, args) {
            ("iptables-save" | "ip6tables-save", ["-c", "-t", "filter"]) => {
                let family = program.trim_end_matches("-save");
                render(chains_of(&mut state, family))
            }
            ("sh", ["-c", pipe, "sh", script]) => {
                let family = if pipe.contains("ip6tables-restore") { "ip6tables" } else { "iptables" };
                assert!(pipe.contains("--noflush -w"), "{pipe}");
                let mut changed = chains_of(&mut state, family).clone();
                restore(&mut changed, script).map_err(|detail| self.error(&command, &detail))?;
                state.filters.insert(family.to_owned(), changed);
                String::new()
            }
            ("mv", ["-f", "--", from, to]) => {
                let content =
                    state.files.remove(Path::new(from)).ok_or_else(|| self.error(&command, "no file"))?;
                state.files.insert(PathBuf::from(to), content);
                obey_clock_order(&mut state);
                String::new()
            }
            ("failpoint", words) => {
                let daemon =
                    state.daemon.filter(|daemon| state.processes[&daemon.pid] == ProcessState::Running);
                daemon.ok_or_else(|| self.error(&command, "nobody answers"))?;
                match words {
                    ["set", at, action] => {
                        let set = FakeFailpoint { action: Some((*action).to_owned()), struck: 0 };
                        state.failpoints.insert((*at).to_owned(), set);
                    }
                    ["clear", at] => state.failpoints.entry((*at).to_owned()).or_default().action = None,
                    _ => {}
                }
                let listed = state.failpoints.iter().map(|(name, failpoint)| {
                    serde_json::json!({ "name": name, "action": failpoint.action, "struck": failpoint.struck })
                });
                serde_json::Value::from_iter(listed).to_string()
            }
            ("count", [what]) => {
                match *what {
                    "up" if !state.forgets_orders => state.count += 1,
                    "down" => state.count = 0,
                    _ => {}
                }
                format!("{{\"count\":{}}}", state.count)
            }
            _ => return Err(self.error(&command, "no such program")),
        };
        Ok(CommandOutput { stdout, stderr: String::new() })
    }

    fn start_daemon(&self, _: &DaemonSpec) -> Result<ProcessIdentity, HostError> {
        let mut state = self.begin("start".to_owned())?;
        let is_alive = |process: ProcessIdentity| state.processes[&process.pid] != ProcessState::Gone;
        if state.daemon.is_some_and(is_alive) {
            return Err(self.error("start", "it is still alive"));
        }
        let pid = 100 + i32::try_from(state.processes.len()).unwrap();
        let process = ProcessIdentity { pid, start_ticks: 7 };
        let stillborn = state.stillborn;
        state.processes.insert(pid, if stillborn { ProcessState::Gone } else { ProcessState::Running });
        state.daemon = Some(process);
        Ok(process)
    }

    fn daemon(&self) -> Result<Option<ProcessIdentity>, HostError> {
        Ok(self.state().daemon)
    }

    fn process_state(&self, process: ProcessIdentity) -> Result<ProcessState, HostError> {
        Ok(self.state().processes[&process.pid])
    }

    fn signal(&self, process: ProcessIdentity, signal: Signal) -> Result<(), HostError> {
        let mut state = self.begin(format!("signal {signal:?} {}", process.pid))?;
        if state.processes[&process.pid] == ProcessState::Gone {
            return Err(self.error("signal", "no such process"));
        }
        if !state.deaf_to.contains(&signal) {
            let becomes = match signal {
                Signal::Stop => ProcessState::Stopped,
                Signal::Continue => ProcessState::Running,
                Signal::Kill | Signal::Terminate => ProcessState::Gone,
            };
            state.processes.insert(process.pid, becomes);
        }
        Ok(())
    }

    fn read_file(&self, path: &Path) -> Result<Vec<u8>, HostError> {
        let missing = || HostError::File {
            host: self.name.clone(),
            path: path.to_owned(),
            source: std::io::ErrorKind::NotFound.into(),
        };
        self.state().files.get(path).cloned().ok_or_else(missing)
    }

    fn write_file(&self, path: &Path, content: &[u8]) -> Result<(), HostError> {
        self.begin(format!("write {}", path.display()))?.files.insert(path.to_owned(), content.to_owned());
        Ok(())
    }
}

/// A running daemon takes the order in its clock file and answers it.
fn obey_clock_order(state: &mut FakeState) {
    let runs = state.daemon.is_some_and(|daemon| state.processes[&daemon.pid] == ProcessState::Running);
    let clock = &mut state.clock;
    clock.machine_ns += BETWEEN_ORDERS_NS;
    clock.daemon_ns += BETWEEN_ORDERS_NS * clock.rate_permille.unwrap_or(1000) / 1000;
    let Some(order) = state.files.get(Path::new(CLOCK_FILE)).filter(|_| runs) else { return };
    let order: serde_json::Value = serde_json::from_slice(order).unwrap();
    let before_ns = clock.daemon_ns;
    let is_first = std::mem::take(&mut clock.is_new);
    if is_first {
        let numbers = order["jumps_ms"].as_object().unwrap().keys();
        clock.jumped.extend(numbers.map(|number| number.parse::<u64>().unwrap()));
    }
    if !clock.is_deaf {
        clock.rate_permille = order["rate_permille"].as_u64();
        for (number, ms) in order["jumps_ms"].as_object().unwrap() {
            if clock.jumped.insert(number.parse().unwrap()) {
                clock.daemon_ns += ms.as_u64().unwrap() * 1_000_000;
            }
        }
    }
    let reading = serde_json::json!({
        "serial": order["serial"], "rate_permille": clock.rate_permille.unwrap_or(1000),
        "machine_ns": clock.machine_ns, "before_ns": before_ns, "after_ns": clock.daemon_ns,
        "is_first": is_first,
    });
    state.files.insert(PathBuf::from(format!("{CLOCK_FILE}.reading")), reading.to_string().into_bytes());
}

fn chains_of<'a>(state: &'a mut FakeState, family: &str) -> &'a mut Chains {
    let fresh = || Chains::from([("INPUT".to_owned(), Vec::new())]);
    state.filters.entry(family.to_owned()).or_insert_with(fresh)
}

fn render(chains: &Chains) -> String {
    let mut text = "*filter\n".to_owned();
    for name in chains.keys() {
        text += &format!(":{name} {} [0:0]\n", if name == "INPUT" { "ACCEPT" } else { "-" });
    }
    for (name, rules) in chains {
        for (rule, packets) in rules {
            text += &format!("[{packets}:{}] -A {name} {rule}\n", packets * 84);
        }
    }
    text + "COMMIT\n"
}

/// As `iptables-restore --noflush`: declaring a chain that exists empties it; any mistake and nothing is changed.
fn restore(chains: &mut Chains, script: &str) -> Result<(), String> {
    let body = script.strip_prefix("*filter\n").and_then(|rest| rest.strip_suffix("COMMIT\n"));
    for line in body.ok_or("no table")?.lines() {
        let mut words = line.splitn(3, ' ');
        let (command, chain, rest) =
            (words.next().unwrap(), words.next().unwrap_or(""), words.next().unwrap_or(""));
        if let Some(declared) = command.strip_prefix(':') {
            chains.insert(declared.to_owned(), Vec::new());
            continue;
        }
        let rules = chains.get_mut(chain).ok_or(format!("no chain {chain}"))?;
        match command {
            "-I" => rules.insert(0, (rest.strip_prefix("1 ").ok_or("position")?.to_owned(), 0)),
            "-A" => rules.push((with_mask(rest), 0)),
            "-D" => {
                let at = rules.iter().position(|(rule, _)| rule == rest).ok_or(format!("no rule {rest}"))?;
                rules.remove(at);
            }
            "-X" if rules.is_empty() => {
                let is_used = chains.values().flatten().any(|(rule, _)| *rule == format!("-j {chain}"));
                if is_used {
                    return Err("chain is used".to_owned());
                }
                chains.remove(chain);
            }
            _ => return Err(format!("cannot do {line}")),
        }
    }
    Ok(())
}

/// `-s 10.0.0.1 …` → `-s 10.0.0.1/32 …`, as it is printed.
fn with_mask(rule: &str) -> String {
    let words = rule.split(' ').map(|word| match word.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => format!("{address}/32"),
        Ok(IpAddr::V6(address)) => format!("{address}/128"),
        Err(_) => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}
