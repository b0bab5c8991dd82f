//! Tests of what happens inside the isolation: each trial starts this very program again as a *scenario*, which enters the
//! isolation as `labrys test` does, and looks at it from outside. Run as root, each trial is run twice: as root, and as an
//! ordinary user. Where the machine forbids namespaces to one of them, its trials are reported as ignored.

mod application;
mod clients;
mod clock;
mod disk;
mod isolation;
mod membership;
mod nemesis;
mod network;
mod resource;
mod scenario;
mod sequences;
mod store;
mod testbed;
mod triggers;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use scenario::Identity;

/// A trial's name, and what it does; an error is a failure.
type Case = (&'static str, fn(Identity) -> Result<(), String>);

fn main() -> ExitCode {
    let mut arguments = std::env::args();
    if let (Some(_), Some(first)) = (arguments.next(), arguments.next())
        && first == scenario::FLAG
    {
        return scenario::main(&arguments.collect::<Vec<_>>());
    }
    let mut trials = Vec::new();
    let no_store = store::refusal();
    if let Some(reason) = &no_store {
        eprintln!("skipped, all that need the store: {reason}");
    }
    let no_ext4 = disk::refusal_of_ext4();
    if let Some(reason) = &no_ext4 {
        eprintln!("skipped, all on ext4, which takes root, mkfs.ext4 and loop devices: {reason}");
    }
    for identity in scenario::identities() {
        let refusal = scenario::refusal(identity);
        if let Some(reason) = &refusal {
            eprintln!("skipped as {identity}: {reason}");
        }
        let ordinary = match identity {
            Identity::Root => &[][..],
            Identity::OrdinaryUser => isolation::CASES_OF_ORDINARY_USERS,
        };
        let mut add = |cases: &[Case], is_ignored: bool| {
            for (name, case) in cases.iter().copied() {
                let run = move || case(identity).map_err(Into::into);
                trials.push(Trial::test(format!("{name}_as_{identity}"), run).with_ignored_flag(is_ignored));
            }
        };
        for cases in [isolation::CASES, ordinary, testbed::CASES] {
            add(cases, refusal.is_some());
        }
        for cases in [
            store::CASES,
            clock::CASES,
            disk::CASES,
            network::CASES,
            clients::CASES,
            application::CASES,
            membership::CASES,
            resource::CASES,
            sequences::CASES,
            triggers::CASES,
        ] {
            add(cases, refusal.is_some() || no_store.is_some());
        }
        if identity == Identity::Root {
            add(disk::CASES_OF_ROOT, refusal.is_some() || no_store.is_some() || no_ext4.is_some());
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
