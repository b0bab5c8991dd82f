//! [`Step`]: one line of a script, and how it is read.
//!
//! | step | what happens |
//! | --- | --- |
//! | `start all` | every process starts |
//! | `elect n2` | the election timeout of n2 passes, by its own clock; nothing else is done to anybody |
//! | `timeout n2` | the same, without waiting for what comes of it |
//! | `client c1 at n1: write x 1` | c1, whose node is n1, begins an operation (`read x`, `cas x 1 2`) |
//! | `wait for c1` | until its operation is over |
//! | `cut n1 -> n2`, `cut off n1`, `cut n1 n2 \| n3` | messages on that link, from and to that node, or from side to side, are lost |
//! | `heal` | nothing is cut, held or slow any more |
//! | `hold n1 -> n2`, `deliver n1 -> n2` | messages on that link wait, and go on |
//! | `pause n1`, `resume n1`, `kill n1`, `power-cut n1`, `restart n1` | what befalls a process; power takes with it what is not synced |
//! | `pause n1 in its next step` | it is stopped when it has decided what to do, and before it does it |
//! | `slow-disk n1 500ms` | every sync takes so much longer |
//! | `lose the reply to c1` | the next reply to c1 is lost |
//! | `clock n1 +5s`, `drift n1 -20%` | its clock leaps ahead; runs slower from now on |
//! | `transfer n1 -> n2` | the leader n1 is asked to hand over to n2 |
//! | `remove n5 at n1` | the leader n1 is asked to remove n5 from the cluster |
//! | `expect n1 to lead` | if it does not, that is what is wrong with the run: it is *unavailable* |
//! | `advance 100ms` | time passes |
//! | `settle` | all faults end, and all processes run; until all follow one leader and have applied what it has committed |
//!
//! Nodes and clients are counted from 0 in here, from 1 in scripts.

use std::time::Duration;

use labrys_history::Value;
use labrys_workloads::Op;

/// One line of a script.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Every process starts.
    StartAll,
    /// A node's election timeout passes.
    Elect(usize),
    /// The same, and nobody waits for what comes of it.
    Timeout(usize),
    /// A client begins an operation.
    Client {
        /// Which.
        client: usize,
        /// Whom it asks first.
        node: usize,
        /// What it wants.
        op: Op,
    },
    /// Until a client's operation is over.
    WaitFor(usize),
    /// Messages on a link are lost.
    Cut(usize, usize),
    /// Messages from and to a node are lost.
    CutOff(usize),
    /// Messages from one side to the other are lost, both ways.
    Split(Vec<usize>, Vec<usize>),
    /// Nothing is cut, held or slow any more.
    Heal,
    /// Messages on a link wait.
    Hold(usize, usize),
    /// Those that wait go on, and later ones do not wait.
    Deliver(usize, usize),
    /// A process is stopped.
    Pause(usize),
    /// A process is stopped between deciding what to do and doing it, in its next step that has something to do.
    PauseInStep(usize),
    /// It goes on.
    Resume(usize),
    /// A process is ended.
    Kill(usize),
    /// So is its machine: what was not synced is lost.
    PowerCut(usize),
    /// A process is started.
    Restart(usize),
    /// Every sync of a node takes so much longer, in milliseconds.
    SlowDisk(usize, u64),
    /// The next reply to a client is lost.
    LoseReply(usize),
    /// A clock leaps ahead by so many milliseconds.
    Clock(usize, u64),
    /// A clock gains so many percent on the world's, or loses them, from now on.
    Drift(usize, i32),
    /// A leader is asked to hand over.
    Transfer(usize, usize),
    /// A leader is asked to remove a member.
    Remove {
        /// Whom.
        member: usize,
        /// Who is asked.
        leader: usize,
    },
    /// The run is unavailable if this node does not lead now.
    ExpectLeader(usize),
    /// So many milliseconds pass.
    Advance(u64),
    /// All is well again.
    Settle,
}

impl Step {
    /// Reads a line, for a cluster of `nodes`.
    ///
    /// # Errors
    /// What is wrong with it, and what would be right.
    pub fn parse(line: &str, nodes: usize) -> Result<Step, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let node = |word: &str| match numbered(word, 'n') {
            Some(node) if node < nodes => Ok(node),
            _ => Err(format!("`{word}` is none of the nodes n1 to n{nodes}")),
        };
        let client = |word: &str| {
            numbered(word, 'c')
                .filter(|client| *client < 64)
                .ok_or_else(|| format!("`{word}` is no client: c1"))
        };
        Ok(match words[..] {
            ["start", "all"] => Step::StartAll,
            ["elect", one] => Step::Elect(node(one)?),
            ["timeout", one] => Step::Timeout(node(one)?),
            ["client", who, "at", whom, ref what @ ..] => {
                let whom = whom
                    .strip_suffix(':')
                    .ok_or("a colon is missing after the node: client c1 at n1: read x")?;
                Step::Client { client: client(who)?, node: node(whom)?, op: operation(what)? }
            }
            ["wait", "for", who] => Step::WaitFor(client(who)?),
            ["cut", "off", one] => Step::CutOff(node(one)?),
            ["cut", from, "->", to] => Step::Cut(node(from)?, node(to)?),
            ["cut", ref sides @ ..] if sides.contains(&"|") => {
                let side = |words: &[&str]| {
                    words.iter().map(|word| node(word)).collect::<Result<Vec<usize>, String>>()
                };
                let mut sides = sides.split(|word| *word == "|").map(side);
                match (sides.next(), sides.next(), sides.next()) {
                    (Some(one), Some(other), None) => Step::Split(one?, other?),
                    _ => return Err("there are two sides to a cut: cut n1 n2 | n3".to_owned()),
                }
            }
            ["heal"] => Step::Heal,
            ["hold", from, "->", to] => Step::Hold(node(from)?, node(to)?),
            ["deliver", from, "->", to] => Step::Deliver(node(from)?, node(to)?),
            ["pause", one] => Step::Pause(node(one)?),
            ["pause", one, "in", "its", "next", "step"] => Step::PauseInStep(node(one)?),
            ["resume", one] => Step::Resume(node(one)?),
            ["kill", one] => Step::Kill(node(one)?),
            ["power-cut", one] => Step::PowerCut(node(one)?),
            ["restart", one] => Step::Restart(node(one)?),
            ["slow-disk", one, by] => Step::SlowDisk(node(one)?, milliseconds(by)?),
            ["lose", "the", "reply", "to", who] => Step::LoseReply(client(who)?),
            ["clock", one, by] => Step::Clock(
                node(one)?,
                milliseconds(by.strip_prefix('+').ok_or("clocks leap ahead only: +5s")?)?,
            ),
            ["drift", one, by] => Step::Drift(node(one)?, percent(by)?),
            ["remove", member, "at", leader] => Step::Remove { member: node(member)?, leader: node(leader)? },
            ["expect", one, "to", "lead"] => Step::ExpectLeader(node(one)?),
            ["transfer", from, "->", to] => Step::Transfer(node(from)?, node(to)?),
            ["advance", by] => Step::Advance(milliseconds(by)?),
            ["settle"] => Step::Settle,
            _ => {
                return Err(format!(
                    "`{line}` is no step; simulation/src/scenario/step.rs has the table of them"
                ));
            }
        })
    }
}

fn numbered(word: &str, letter: char) -> Option<usize> {
    word.strip_prefix(letter)?.parse::<usize>().ok()?.checked_sub(1)
}

/// `100ms`, `5s`.
fn milliseconds(word: &str) -> Result<u64, String> {
    let (digits, unit) = word.split_at(word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len()));
    let duration = match (digits.parse::<u32>(), unit) {
        (Ok(number), "ms") => Duration::from_millis(u64::from(number)),
        (Ok(number), "s") => Duration::from_secs(u64::from(number)),
        _ => return Err(format!("`{word}` is no time: 100ms, 5s")),
    };
    Ok(duration.as_millis() as u64)
}

/// `-20%`, `+5%`.
fn percent(word: &str) -> Result<i32, String> {
    let number = word.strip_suffix('%').and_then(|number| number.parse().ok());
    let possible = number.filter(|percent| (-100..=1000).contains(percent));
    possible.ok_or_else(|| format!("`{word}` is no drift: -20%, +5%"))
}

fn operation(words: &[&str]) -> Result<Op, String> {
    let number = |word: &str| {
        word.parse::<i64>()
            .map(Value::Int)
            .map_err(|_| format!("`{word}` is no number, as values of registers are"))
    };
    let (f, key, value) = match words {
        ["read", key] => ("read", key, Value::Nil),
        ["write", key, value] => ("write", key, number(value)?),
        ["cas", key, from, to] => {
            ("cas", key, Value::Vector([number(from)?, number(to)?].into_iter().collect()))
        }
        _ => return Err(format!("`{}` is no operation: read x, write x 1, cas x 1 2", words.join(" "))),
    };
    Ok(Op { f: f.into(), key: Some(Value::from(*key)), value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read_and_what_is_none_is_refused_with_the_reason() {
        assert_eq!(Step::parse("cut n1 -> n3", 3), Ok(Step::Cut(0, 2)));
        assert_eq!(Step::parse("slow-disk n2 500ms", 3), Ok(Step::SlowDisk(1, 500)));
        assert_eq!(Step::parse("clock n2 +5s", 3), Ok(Step::Clock(1, 5_000)));
        assert_eq!(Step::parse("cut n1 n2 | n3", 3), Ok(Step::Split(vec![0, 1], vec![2])));
        assert_eq!(Step::parse("drift n1 -20%", 3), Ok(Step::Drift(0, -20)));
        assert_eq!(Step::parse("pause n1 in its next step", 3), Ok(Step::PauseInStep(0)));
        assert_eq!(Step::parse("remove n3 at n1", 3), Ok(Step::Remove { member: 2, leader: 0 }));
        let op = Op { f: "write".into(), key: Some(Value::from("x")), value: Value::Int(1) };
        assert_eq!(Step::parse("client c1 at n2: write x 1", 3), Ok(Step::Client { client: 0, node: 1, op }));
        let refused = |line: &str| Step::parse(line, 3).unwrap_err();
        assert!(refused("kill n4").contains("n1 to n3"));
        assert!(refused("kill n0").contains("n1 to n3"));
        assert!(refused("client c1 at n2: increment x").contains("read x"));
        assert!(refused("client c1 at n2 read x").contains("colon"));
        assert!(refused("advance 5").contains("100ms"));
        assert!(refused("cut n1 | n2 | n3").contains("two sides"));
        assert!(refused("drift n1 -200%").contains("-20%"));
        assert!(refused("panic").contains("no step"));
    }
}
