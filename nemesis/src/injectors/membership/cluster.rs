//! The cluster at arm's length: looking at it, and taking one step after the other.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use super::super::application::run;
use super::super::kill::{is_held_down, wait_until_gone};
use super::super::resource::stands_still;
use super::super::{InjectError, Scope, StepReport, living_daemon};
use super::steps::{self, Change, Members, Node, Standing, Step};
use crate::commands::{CommandLine, MembershipCommands};
use crate::evidence::{Effect, Observation};
use crate::host::{DaemonSpec, Host, Signal};
use crate::journal::Entry;
use crate::poll::Patience;

/// What came of the attempt to have the members that are wanted.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// What the cluster said first.
    pub before: Option<Members>,
    /// And last.
    pub after: Option<Members>,
    /// What was missing in the end.
    pub missing: Option<String>,
}

impl Outcome {
    /// This one, and what came next.
    pub(super) fn then(self, next: Outcome) -> Outcome {
        Outcome { before: self.before, after: next.after.or(self.after), missing: next.missing }
    }
}

pub(super) struct Cluster<'a> {
    scope: &'a Scope<'a>,
    nodes: BTreeMap<&'a str, (&'a dyn Host, &'a MembershipCommands)>,
    patience: Patience,
    /// The processes that were started anew here: which member each is, and how it is started from now on.
    started: RefCell<BTreeMap<String, (u64, DaemonSpec)>>,
}

impl<'a> Cluster<'a> {
    pub(super) fn new(scope: &'a Scope<'a>) -> Cluster<'a> {
        let commands = |(name, host): (&'a String, &'a std::sync::Arc<dyn Host>)| {
            let commands = scope.daemons.get(name)?.commands.as_ref()?.membership.as_deref()?;
            Some((name.as_str(), (host.as_ref(), commands)))
        };
        let nodes = scope.hosts.iter().filter_map(commands).collect();
        // Other faults have their times, too, and may have to end before the members can be changed.
        let patience = Patience { settle_ms: scope.patience.settle_ms / 2, ..scope.patience };
        Cluster { scope, nodes, patience, started: RefCell::default() }
    }

    /// How the daemons are started from now on that were started anew.
    pub(super) fn started(&self) -> BTreeMap<String, DaemonSpec> {
        let started = self.started.borrow();
        started.iter().map(|(node, (_, daemon))| (node.clone(), daemon.clone())).collect()
    }

    /// What a node is to the cluster, for people: `voter 3`, `no member`.
    pub(super) fn describe(&self, members: &Members, node: &str) -> String {
        let address = self.nodes.get(node).map_or("", |(_, commands)| commands.address.as_str());
        let member = members.member_at(address);
        member.map_or_else(|| "no member".to_owned(), |member| format!("{} {}", member.role, member.id))
    }

    /// Takes step after step until the nodes of `wanted` are what they are to be, or patience ends; the others are left as they are. `joint`: all changes are made by way of joint
    /// configurations, not only those that cannot be made otherwise. `at_once`: the first changes are all asked for at the same time, of
    /// everybody who believes to lead.
    pub(super) fn settle(&self, wanted: &BTreeMap<String, Standing>, joint: bool, at_once: bool) -> Outcome {
        let mut outcome = Outcome::default();
        let mut missing = String::new();
        let mut at_once = at_once;
        let settled = self.patience.wait_for(|| {
            let leaders = self.leaders();
            let Some((leader, members)) = leaders.first() else {
                "nobody leads, as far as the nodes say".clone_into(&mut missing);
                return Ok::<_, Infallible>(None);
            };
            outcome.before.get_or_insert_with(|| members.clone());
            outcome.after = Some(members.clone());
            let step = steps::next(members, &self.seen(members, wanted));
            if step == Step::Settled {
                return Ok(Some(()));
            }
            missing = format!("{step:?}");
            let taken = match &step {
                Step::Change(change) if at_once => {
                    at_once = false;
                    self.ask_all_at_once(&leaders, change)
                }
                step => self.take(leader, step, joint),
            };
            if let Err(error) = taken {
                missing = error.to_string();
            }
            Ok(None)
        });
        outcome.missing = matches!(settled, Ok(None)).then_some(missing);
        outcome
    }

    /// Whether the members are those that are wanted, within the time to settle; else what is missing.
    pub(super) fn look_settled(&self, wanted: &BTreeMap<String, Standing>) -> Result<(), String> {
        let mut missing = "nobody leads, as far as the nodes say".to_owned();
        let settled = self.patience.wait_for(|| {
            let leaders = self.leaders();
            let step = leaders.first().map(|(_, members)| steps::next(members, &self.seen(members, wanted)));
            missing = step.as_ref().map_or_else(|| missing.clone(), |step| format!("{step:?}"));
            Ok::<_, Infallible>((step == Some(Step::Settled)).then_some(()))
        });
        if matches!(settled, Ok(Some(()))) { Ok(()) } else { Err(missing) }
    }

    /// Has the fault's node lead, or another one if it does already.
    pub(super) fn transfer(&self) -> StepReport {
        let mut report = StepReport::default();
        let Some(target) = self.scope.resolved.nodes().first().copied() else { return report };
        let mut told = |effect| report.observations.push(Observation { node: target.to_owned(), effect });
        let leaders = self.leaders();
        let mut leading: BTreeSet<String> = leaders.iter().map(|(leader, _)| leader.clone()).collect();
        let Some((from, members)) = leaders.into_iter().next() else {
            told(Effect::MembershipPending { detail: "nobody leads, as far as the nodes say".to_owned() });
            return report;
        };
        let Some((host, commands)) = self.nodes.get(from.as_str()) else { return report };
        let of_target = self.nodes.get(target).and_then(|(_, commands)| members.member_at(&commands.address));
        let is_other_voter = |id: &u64| *id != members.node;
        let voters = members.members.iter().filter(|member| member.role == "voter").map(|member| member.id);
        let id = of_target
            .map(|member| member.id)
            .filter(is_other_voter)
            .or_else(|| voters.into_iter().find(is_other_voter));
        let Some(id) = id else {
            told(Effect::MembershipPending { detail: "there is nobody else who could lead".to_owned() });
            return report;
        };
        let ordered = run(*host, &commands.transfer.filled(&[("id", &id.to_string())]));
        // Whatever the command said: who leads now and did not? The old leader may not have heard of it yet, nor one before him.
        let look = || {
            let leaders: Vec<String> = self.leaders().into_iter().map(|(leader, _)| leader).collect();
            Ok::<_, Infallible>(steps::new_among(&mut leading, leaders))
        };
        let mut look = look;
        let to = if ordered.is_ok() { self.patience.wait_for(look) } else { look() };
        match (to, ordered) {
            (Ok(Some(to)), _) => told(Effect::LeadershipMoved { from, to }),
            (_, Err(error)) => told(Effect::MembershipPending { detail: error.to_string() }),
            (_, Ok(_)) => told(Effect::MembershipPending { detail: "nobody else leads".to_owned() }),
        }
        report
    }

    /// The nodes that say that they lead, with the members that they know: the most credible first.
    fn leaders(&self) -> Vec<(String, Members)> {
        let scope = self.scope;
        let list = |name: &str, (host, commands): &(&dyn Host, &MembershipCommands)| {
            let said = ask(scope, name, *host, &commands.list)?;
            let members: Members = serde_json::from_str(&said).ok()?;
            // A node may answer with what its leader told it.
            (members.leader == Some(members.node)).then_some(members)
        };
        let said: Vec<Members> = std::thread::scope(|threads| {
            let asked: Vec<_> =
                self.nodes.iter().map(|(name, node)| threads.spawn(move || list(name, node))).collect();
            asked.into_iter().filter_map(|thread| thread.join().ok().flatten()).collect()
        });
        let named = said.into_iter().filter_map(|members| Some((self.name_of(&members)?, members)));
        let mut leaders: Vec<(String, Members)> = named.collect();
        leaders.sort_by_key(|(_, members)| std::cmp::Reverse((members.committed, members.index)));
        let mut seen = BTreeSet::new();
        leaders.retain(|(name, _)| seen.insert(name.clone()));
        leaders
    }

    /// The node on which the member runs that says so.
    fn name_of(&self, members: &Members) -> Option<String> {
        let member = members.members.iter().find(|member| member.id == members.node)?;
        let is_there = |(_, (_, commands)): &(&&str, &(&dyn Host, &MembershipCommands))| {
            commands.address == member.address
        };
        self.nodes.iter().find(is_there).map(|(name, _)| (*name).to_owned())
    }

    /// The nodes that are to be something; those that have to change are asked who they are.
    fn seen(&self, members: &Members, wanted: &BTreeMap<String, Standing>) -> BTreeMap<String, Node> {
        let node = |(name, (host, commands)): (&&str, &(&dyn Host, &MembershipCommands))| {
            let wanted = *wanted.get(*name)?;
            let is_to_grow = members.standing_at(&commands.address) < wanted;
            let said = || ask(self.scope, name, *host, &commands.identify.command);
            let said =
                is_to_grow.then(said).flatten().and_then(|said| commands.identify.find(&said)?.parse().ok());
            // One that was started here a moment ago does not answer yet.
            let started = self.started.borrow().get(*name).map(|(id, _)| *id);
            let node = Node { address: commands.address.clone(), wanted, identity: said.or(started) };
            Some(((*name).to_owned(), node))
        };
        self.nodes.iter().filter_map(node).collect()
    }

    fn take(&self, leader: &str, step: &Step, joint: bool) -> Result<(), InjectError> {
        let Some((host, commands)) = self.nodes.get(leader) else { return Ok(()) };
        match step {
            Step::Settled | Step::Wait(_) => Ok(()),
            Step::Start { node, id } => self.start_anew(node, *id),
            Step::Add { node, id } => {
                let address =
                    self.nodes.get(node.as_str()).map_or("", |(_, commands)| commands.address.as_str());
                run(*host, &commands.add.filled(&[("id", &id.to_string()), ("address", address)]))?;
                Ok(())
            }
            Step::Change(change) => {
                run(*host, &line(commands, change, joint))?;
                Ok(())
            }
        }
    }

    /// Asks everybody who leads, as he believes, for every change by itself, all at the same moment. A correct cluster makes one
    /// after the other.
    fn ask_all_at_once(&self, leaders: &[(String, Members)], change: &Change) -> Result<(), InjectError> {
        let one = |remove: &u64| Change { remove: vec![*remove], ..Change::default() };
        let changes: Vec<Change> = change.remove.iter().map(one).collect();
        std::thread::scope(|threads| {
            for (host, commands) in leaders.iter().filter_map(|(leader, _)| self.nodes.get(leader.as_str())) {
                for change in &changes {
                    let line = line(commands, change, false);
                    // What came of it is seen by looking.
                    threads.spawn(move || run(*host, &line).map(drop));
                }
            }
        });
        Ok(())
    }

    /// Ends a node's process, empties its disk, and starts it as a new member that waits to be added.
    fn start_anew(&self, node: &str, id: u64) -> Result<(), InjectError> {
        let (Some((host, commands)), Some(daemon)) = (self.nodes.get(node), self.scope.daemons.get(node))
        else {
            return Ok(());
        };
        if is_held_down(self.scope, node) {
            return Err(InjectError::Unexpected(format!("{node} is held down by another fault")));
        }
        if let Some((process, _)) = living_daemon(*host)? {
            host.signal(process, Signal::Kill)?;
            wait_until_gone(self.scope, *host, process)?;
        }
        empty(*host, &commands.data_directory.to_string_lossy())?;
        let args = CommandLine(commands.joiner_args.clone()).filled(&[("id", &id.to_string())]).0;
        let daemon = DaemonSpec { args, ..daemon.clone() };
        // Before it is: whoever starts this node from now on must start this member.
        let daemons = BTreeMap::from([(node.to_owned(), daemon.clone())]);
        let journalled =
            self.scope.journal.lock().map(|mut journal| journal.append(&Entry::Daemons { daemons }));
        if !matches!(journalled, Ok(Ok(()))) {
            return Err(InjectError::Unexpected("the journal cannot be written".to_owned()));
        }
        self.started.borrow_mut().insert(node.to_owned(), (id, daemon.clone()));
        host.start_daemon(&daemon)?;
        Ok(())
    }
}

/// What a command says on a node whose process runs, or is only short of its processor.
fn ask(scope: &Scope<'_>, node: &str, host: &dyn Host, line: &CommandLine) -> Option<String> {
    let living = living_daemon(host).ok()??;
    (!stands_still(scope, node, host, living)).then_some(())?;
    run(host, line).ok().map(|output| output.stdout)
}

/// Removes what is in a folder of a host, if it is there, but not the folder, on which something may be mounted.
pub(in super::super) fn empty(host: &dyn Host, folder: &str) -> Result<(), InjectError> {
    let script = "if [ -d \"$1\" ]; then find \"$1\" -mindepth 1 -delete; fi";
    host.run("sh", &["-c", script, "sh", folder])?;
    Ok(())
}

/// The command line of a change: a plain one if there is one for it, and a joint one otherwise or if that is asked for.
fn line(commands: &MembershipCommands, change: &Change, joint: bool) -> CommandLine {
    let list = |ids: &[u64]| ids.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
    let plain = match (&change.promote[..], &change.remove[..], &change.demote[..]) {
        ([id], [], []) => Some((&commands.promote, id)),
        ([], [id], []) => Some((&commands.remove, id)),
        _ => None,
    };
    match plain {
        Some((line, id)) if !joint => line.filled(&[("id", &id.to_string())]),
        _ => {
            let mut line = commands.joint.clone();
            let parts = [
                (&commands.joint_promote, &change.promote),
                (&commands.joint_remove, &change.remove),
                (&commands.joint_demote, &change.demote),
            ];
            let words = parts.into_iter().filter(|(_, ids)| !ids.is_empty());
            line.0.extend(words.map(|(word, ids)| word.replace("{ids}", &list(ids))));
            line
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::evidence::{Evidence, LimitMechanism};
    use crate::fake::fake_host;
    use crate::fault::{Resolved, ResourceTrouble};
    use crate::journal::Journal;

    #[test]
    fn a_node_that_is_short_of_its_processor_is_asked_and_one_that_stands_still_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let tag = "cluster".parse().unwrap();
        let journal =
            Journal::open(&folder.path().join("journal.jsonl"), &tag, &serde_json::Value::Null).unwrap();
        let journal = Mutex::new(journal.0);
        let host = fake_host(1);
        let process = host.daemon().unwrap().unwrap();
        let hosts = BTreeMap::from([("n1".to_owned(), Arc::clone(&host) as Arc<dyn Host>)]);
        let seen = |effect| {
            let mut evidence = Evidence::default();
            evidence.extend([Observation { node: "n1".to_owned(), effect }]);
            evidence
        };
        let nodes = || vec!["n1".to_owned()];
        let pause = Resolved::Pause { nodes: nodes() };
        let paused = seen(Effect::ProcessStopped { process });
        let trouble = ResourceTrouble::ProcessorPercent(5);
        let shortage = Resolved::Resource { nodes: nodes(), trouble };
        let place = "/var/store/processor.json".to_owned();
        let starved =
            seen(Effect::LimitPlanned { process, by: LimitMechanism::Signals, place, back_to: None });
        let is_asked = |others: Vec<(&Resolved, &Evidence)>| {
            let scope = Scope {
                hosts: &hosts,
                daemons: &BTreeMap::new(),
                run_tag: &tag,
                patience: Patience::default(),
                packet_program: &[],
                clock_program: &[],
                processor_program: &[],
                only: None,
                journal: &journal,
                fault_id: 3,
                is_cut_short: false,
                nodes_are_over: false,
                resolved: &pause,
                evidence: &Evidence::default(),
                others,
            };
            let line = CommandLine(["count", "look"].map(str::to_owned).to_vec());
            ask(&scope, "n1", host.as_ref(), &line).is_some()
        };
        assert!(is_asked(Vec::new()));
        host.signal(process, Signal::Stop).unwrap();
        assert!(!is_asked(Vec::new()), "nobody knows when it goes on");
        assert!(is_asked(vec![(&shortage, &starved)]), "it goes on in a moment");
        assert!(!is_asked(vec![(&shortage, &starved), (&pause, &paused)]), "not before the pause ends");
        host.crash();
        assert!(!is_asked(vec![(&shortage, &starved)]));
    }
}
