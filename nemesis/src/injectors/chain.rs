//! The packet filter as text: what `iptables-save -c` says about our chain in one of its tables, and what
//! `iptables-restore --noflush` must be told to change it. Pure.
//!
//! All rules of a run in a table are in one chain of its own, `LABRYS-<run tag>`, to which INPUT jumps before anything else, so
//! that packets of established connections are hit too. Each rule carries the id of its fault in a comment. Only rules with
//! that comment, that chain and the jump to it are ever deleted; nothing is flushed.
//!
//! `iptables-restore` applies the whole text or nothing. Declaring a chain (`:NAME - [0:0]`) that exists empties it, even
//! with `--noflush`; so a chain is declared only when it was not there.

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::journal::RunTag;

/// Our part of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    table: &'static str,
    chain_exists: bool,
    /// How many times INPUT jumps to our chain.
    jumps: usize,
    /// It does so before anything else.
    jump_is_first: bool,
    rules: Vec<Rule>,
}

/// What is to become of packets from somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub source: IpAddr,
    /// Which of them, if not all: ` -m …`, or nothing.
    pub matches: String,
    /// `DROP`.
    pub target: &'static str,
    /// What the target takes besides: ` --queue-num 7`, or nothing.
    pub options: String,
}

impl Wanted {
    /// All of them are dropped.
    pub fn drop(source: IpAddr) -> Wanted {
        Wanted { source, matches: String::new(), target: "DROP", options: String::new() }
    }
}

/// A rule of our chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// Whose packets it is about.
    pub source: Option<IpAddr>,
    /// What becomes of them: `DROP`.
    pub target: String,
    pub packets: u64,
    pub bytes: u64,
    /// The words after the chain's name, as they were printed.
    specification: String,
    comment: String,
}

/// The chain of a run.
pub(super) fn chain_name(run_tag: &RunTag) -> String {
    format!("LABRYS-{run_tag}")
}

fn comment_of(run_tag: &RunTag, fault_id: u64) -> String {
    format!("labrys-{run_tag}-{fault_id}")
}

impl Filter {
    /// Reads the output of `iptables-save -c -t TABLE`. Lines that do not concern us are skipped, whatever they are.
    pub fn parse(table: &'static str, saved: &str, run_tag: &RunTag) -> Filter {
        let chain = chain_name(run_tag);
        let jump = format!("INPUT -j {chain}");
        let mut filter = Filter { table, ..Filter::default() };
        let mut input_rules = 0_usize;
        for line in saved.lines() {
            if line.strip_prefix(':').and_then(|rest| rest.split(' ').next()) == Some(&chain) {
                filter.chain_exists = true;
            }
            let Some((counters, rule)) = split_rule(line) else { continue };
            if rule == jump {
                filter.jumps += 1;
                filter.jump_is_first |= input_rules == 0;
            }
            input_rules += usize::from(rule.starts_with("INPUT "));
            if let Some(specification) = rule.strip_prefix(&chain).and_then(|rest| rest.strip_prefix(' ')) {
                filter.rules.push(Rule::parse(specification, counters));
            }
        }
        filter
    }

    /// The rules of a fault.
    pub fn rules_of(&self, run_tag: &RunTag, fault_id: u64) -> impl Iterator<Item = &Rule> {
        let comment = comment_of(run_tag, fault_id);
        self.rules.iter().filter(move |rule| rule.comment == comment)
    }

    /// Whether what is wanted is what a rule of this fault does, before any other rule of the table sees the packet.
    pub fn does(&self, run_tag: &RunTag, fault_id: u64, wanted: &Wanted) -> bool {
        self.jump_is_first && self.has(run_tag, fault_id, wanted)
    }

    /// The same of several, as many rules as there are of them.
    pub fn does_all(&self, run_tag: &RunTag, fault_id: u64, wanted: &[Wanted]) -> bool {
        let is_one = |rule: &&Rule| {
            wanted.iter().any(|one| rule.source == Some(one.source) && rule.target == one.target)
        };
        let standing = self.rules_of(run_tag, fault_id).filter(is_one).count();
        standing >= wanted.len() && wanted.iter().all(|one| self.does(run_tag, fault_id, one))
    }

    fn has(&self, run_tag: &RunTag, fault_id: u64, wanted: &Wanted) -> bool {
        // A fault may send packets of one sender to two queues.
        let queue = wanted.options.split(" --queue-bypass").next().filter(|_| wanted.target == "NFQUEUE");
        let is_it = |rule: &Rule| {
            rule.source == Some(wanted.source)
                && rule.target == wanted.target
                && queue.is_none_or(|queue| format!("{} ", rule.specification).contains(&format!("{queue} ")))
        };
        self.rules_of(run_tag, fault_id).any(is_it)
    }

    /// Whether an empty chain or a jump to it was left behind.
    pub fn has_an_empty_chain(&self) -> bool {
        self.rules.is_empty() && (self.chain_exists || self.jumps > 0)
    }

    /// The text that makes the fault do what is wanted, in order; `None` if it does already. Those of one source and
    /// target, but for queues, are there all or none.
    pub fn script_to_add(&self, run_tag: &RunTag, fault_id: u64, all_wanted: &[Wanted]) -> Option<String> {
        let chain = chain_name(run_tag);
        let mut body = String::new();
        if !self.jump_is_first {
            if !self.chain_exists {
                let _ = writeln!(body, ":{chain} - [0:0]");
            }
            for _ in 0..self.jumps {
                let _ = writeln!(body, "-D INPUT -j {chain}");
            }
            let _ = writeln!(body, "-I INPUT 1 -j {chain}");
        }
        for wanted in all_wanted {
            if !self.has(run_tag, fault_id, wanted) {
                let comment = comment_of(run_tag, fault_id);
                let Wanted { source, matches, target, options } = wanted;
                let _ = writeln!(
                    body,
                    "-A {chain} -s {source}{matches} -m comment --comment {comment} -j {target}{options}"
                );
            }
        }
        self.script(&body)
    }

    /// The text that takes away all rules of the fault, and the chain if no rules remain; `None` if there is nothing to do.
    pub fn script_to_remove(&self, run_tag: &RunTag, fault_id: u64) -> Option<String> {
        let chain = chain_name(run_tag);
        let mut body = String::new();
        let mut removed = 0_usize;
        for rule in self.rules_of(run_tag, fault_id) {
            let _ = writeln!(body, "-D {chain} {}", rule.specification);
            removed += 1;
        }
        if removed == self.rules.len() {
            for _ in 0..self.jumps {
                let _ = writeln!(body, "-D INPUT -j {chain}");
            }
            if self.chain_exists {
                let _ = writeln!(body, "-X {chain}");
            }
        }
        self.script(&body)
    }

    fn script(&self, body: &str) -> Option<String> {
        (!body.is_empty()).then(|| format!("*{}\n{body}COMMIT\n", self.table))
    }
}

impl Rule {
    fn parse(specification: &str, (packets, bytes): (u64, u64)) -> Rule {
        let words: Vec<&str> = specification.split_ascii_whitespace().collect();
        let after =
            |option: &str| words.iter().position(|word| *word == option).and_then(|at| words.get(at + 1));
        let source = after("-s").and_then(|source| source.split('/').next()?.parse().ok());
        let comment =
            after("--comment").map(|comment| comment.trim_matches('"').to_owned()).unwrap_or_default();
        let target = after("-j").copied().unwrap_or_default().to_owned();
        Rule { source, target, packets, bytes, specification: specification.to_owned(), comment }
    }

    /// Whether it hands packets to this queue.
    pub fn names_queue(&self, number: u16) -> bool {
        let words: Vec<&str> = self.specification.split_ascii_whitespace().collect();
        words.windows(2).any(|pair| pair[0] == "--queue-num" && pair[1] == number.to_string())
    }
}

/// `[12:1008] -A CHAIN …` → `(12, 1008)` and `CHAIN …`; counters may be missing.
fn split_rule(line: &str) -> Option<((u64, u64), &str)> {
    if let Some(rule) = line.strip_prefix("-A ") {
        return Some(((0, 0), rule.trim_end()));
    }
    let (counters, rest) = line.strip_prefix('[')?.split_once("] ")?;
    let (packets, bytes) = counters.split_once(':')?;
    Some(((packets.parse().ok()?, bytes.parse().ok()?), rest.strip_prefix("-A ")?.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag() -> RunTag {
        "t".parse().unwrap()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// As printed by iptables v1.8.9 (both back ends), with rules of others around ours.
    const SAVED: &str = "\
# Generated by iptables-save v1.8.9 (nf_tables)
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:LABRYS-t - [0:0]
:LABRYS-t2 - [0:0]
[7:588] -A INPUT -j LABRYS-t
[5:420] -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
[3:252] -A LABRYS-t -s 10.0.0.1/32 -m comment --comment labrys-t-3 -j DROP
[0:0] -A LABRYS-t -s 10.0.0.2/32 -m comment --comment \"labrys-t-4\" -j DROP
[9:900] -A LABRYS-t2 -s 10.0.0.9/32 -m comment --comment labrys-t-3 -j DROP
COMMIT
";

    #[test]
    fn only_rules_of_our_chain_are_ours_and_each_belongs_to_the_fault_in_its_comment() {
        let filter = Filter::parse("filter", SAVED, &tag());
        let third: Vec<&Rule> = filter.rules_of(&tag(), 3).collect();
        assert_eq!(third.len(), 1);
        assert_eq!((third[0].source, third[0].packets, third[0].bytes), (Some(address("10.0.0.1")), 3, 252));
        assert_eq!(filter.rules_of(&tag(), 4).count(), 1);
        assert!(filter.does(&tag(), 4, &Wanted::drop(address("10.0.0.2"))));
        assert!(!filter.does(&tag(), 3, &Wanted::drop(address("10.0.0.2"))));
        assert!(!filter.has_an_empty_chain());
    }

    #[test]
    fn a_jump_that_is_not_first_is_moved_and_does_not_count_as_a_cut() {
        let moved = SAVED.replace("[7:588] -A INPUT -j LABRYS-t\n", "");
        let moved = moved.replace("-j ACCEPT\n", "-j ACCEPT\n[0:0] -A INPUT -j LABRYS-t\n");
        let filter = Filter::parse("filter", &moved, &tag());
        assert!(!filter.does(&tag(), 3, &Wanted::drop(address("10.0.0.1"))));
        assert_eq!(
            filter.script_to_add(&tag(), 3, &[Wanted::drop(address("10.0.0.1"))]).unwrap(),
            "*filter\n-D INPUT -j LABRYS-t\n-I INPUT 1 -j LABRYS-t\nCOMMIT\n"
        );
    }

    #[test]
    fn the_first_fault_declares_the_chain_and_the_second_must_not() {
        let sources = [address("10.0.0.7"), address("10.0.0.8")].map(Wanted::drop);
        let first = Filter::parse("filter", "", &tag()).script_to_add(&tag(), 5, &sources).unwrap();
        assert_eq!(
            first,
            "*filter\n:LABRYS-t - [0:0]\n-I INPUT 1 -j LABRYS-t\n\
             -A LABRYS-t -s 10.0.0.7 -m comment --comment labrys-t-5 -j DROP\n\
             -A LABRYS-t -s 10.0.0.8 -m comment --comment labrys-t-5 -j DROP\nCOMMIT\n"
        );
        let second = Filter::parse("filter", SAVED, &tag()).script_to_add(&tag(), 5, &sources[..1]).unwrap();
        assert_eq!(
            second,
            "*filter\n-A LABRYS-t -s 10.0.0.7 -m comment --comment labrys-t-5 -j DROP\nCOMMIT\n"
        );
        assert_eq!(
            Filter::parse("filter", SAVED, &tag()).script_to_add(
                &tag(),
                3,
                &[Wanted::drop(address("10.0.0.1"))]
            ),
            None
        );
    }

    #[test]
    fn a_fault_takes_its_own_rules_away_and_the_last_one_the_chain() {
        let filter = Filter::parse("filter", SAVED, &tag());
        assert_eq!(
            filter.script_to_remove(&tag(), 3).unwrap(),
            "*filter\n-D LABRYS-t -s 10.0.0.1/32 -m comment --comment labrys-t-3 -j DROP\nCOMMIT\n"
        );
        let without_third: String = SAVED
            .lines()
            .filter(|line| !line.contains("10.0.0.1/"))
            .map(|line| format!("{line}\n"))
            .collect();
        let script = Filter::parse("filter", &without_third, &tag()).script_to_remove(&tag(), 4).unwrap();
        assert!(script.ends_with("-j DROP\n-D INPUT -j LABRYS-t\n-X LABRYS-t\nCOMMIT\n"), "{script}");
        assert_eq!(filter.script_to_remove(&tag(), 99), None);
        assert_eq!(Filter::parse("filter", "", &tag()).script_to_remove(&tag(), 3), None);
    }

    #[test]
    fn an_empty_chain_that_was_left_behind_is_seen_and_removed_by_any_fault_of_the_run() {
        let empty = ":LABRYS-t - [0:0]\n[0:0] -A INPUT -j LABRYS-t\n";
        let filter = Filter::parse("filter", empty, &tag());
        assert!(filter.has_an_empty_chain());
        assert_eq!(
            filter.script_to_remove(&tag(), 1).unwrap(),
            "*filter\n-D INPUT -j LABRYS-t\n-X LABRYS-t\nCOMMIT\n"
        );
    }

    #[test]
    fn lines_that_make_no_sense_are_skipped() {
        let noise = "[x:y] -A LABRYS-t\n[1:2]\n[\n-A\n-A LABRYS-t -s nonsense --comment\n\u{0}\n";
        let filter = Filter::parse("filter", noise, &tag());
        assert_eq!(filter.rules.len(), 1);
        assert_eq!(filter.rules[0].source, None);
    }

    #[test]
    fn rules_of_one_source_with_other_targets_are_told_apart_and_each_table_has_its_own_text() {
        let source = address("10.0.0.1");
        let lost = Wanted {
            matches: " -m statistic --mode random --probability 0.25".to_owned(),
            ..Wanted::drop(source)
        };
        let queued = Wanted {
            target: "NFQUEUE",
            options: " --queue-num 7 --queue-bypass".to_owned(),
            ..Wanted::drop(source)
        };
        let script =
            Filter::parse("mangle", "", &tag()).script_to_add(&tag(), 1, &[lost.clone(), queued.clone()]);
        assert_eq!(
            script.unwrap(),
            "*mangle\n:LABRYS-t - [0:0]\n-I INPUT 1 -j LABRYS-t\n\
             -A LABRYS-t -s 10.0.0.1 -m statistic --mode random --probability 0.25 \
             -m comment --comment labrys-t-1 -j DROP\n\
             -A LABRYS-t -s 10.0.0.1 -m comment --comment labrys-t-1 -j NFQUEUE --queue-num 7 --queue-bypass\nCOMMIT\n"
        );
        // As iptables v1.8.9 prints it.
        let saved = ":LABRYS-t - [0:0]\n[3:1] -A INPUT -j LABRYS-t\n\
                     [3:1] -A LABRYS-t -s 10.0.0.1/32 -m comment --comment labrys-t-1 -j NFQUEUE --queue-num 7 --queue-bypass\n";
        let filter = Filter::parse("mangle", saved, &tag());
        assert!(filter.does(&tag(), 1, &queued) && !filter.does(&tag(), 1, &lost));
    }
}
