//! [`Target`]: whom a fault is aimed at, symbolically, and how a person writes that.
//!
//! ```text
//! target   = part { ("+" | "&" | "without") part }      from left to right
//! part     = quantity "of" part | word | name | "#" number | "(" target ")"
//! quantity = "one" | "minority" | "majority" | "all"
//! word     = quantity | "leader" | "followers" | "not-leader" | "primaries"
//! ```
//!
//! `leader + one of followers`, `minority without leader`, `n1 + n2`, `#3` (the third node). What each means is told at
//! [`crate::resolve`], which decides at the moment of the fault.
//!
//! In files, what is nothing but names or numbers is also written `{ named = ["n1"] }` and `{ numbers = [1] }`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Which nodes a fault is aimed at; decided at the moment of the fault.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "Written", try_from = "Written")]
pub enum Target {
    /// One random node.
    One,
    /// A random minority: at least one node, less than half.
    Minority,
    /// A random majority, not all.
    Majority,
    /// Every node.
    All,
    /// Whoever leads now; one random node if nobody is known to.
    Leader,
    /// Everybody who does not believe to lead.
    Followers,
    /// Everybody but the one that [`Target::Leader`] is: also others that believe to lead.
    NotLeader,
    /// Everybody who believes to lead; one random node if nobody does.
    Primaries,
    /// These.
    Named(Vec<String>),
    /// Those with these numbers, counted from 1, in the order in which people list them.
    Numbers(Vec<usize>),
    /// So many random ones of some.
    Of(Quantity, Box<Target>),
    /// What two targets make together.
    Combined(Box<Target>, Operator, Box<Target>),
}

/// How many of some nodes. A minority and a majority are those of the cluster: as many of the given nodes as make one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quantity {
    /// One.
    One,
    /// At least one, less than half of the cluster.
    Minority,
    /// More than half of the cluster, or all if these are fewer.
    Majority,
    /// All of them.
    All,
}

/// How two targets are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// Those in either.
    Union,
    /// Those in both.
    Intersection,
    /// Those in the first, but not in the second.
    Without,
}

/// A text that is no target.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "`{text}` is no target: {problem} (for example: leader, one of followers, minority without leader, n1 + n2)"
)]
pub struct NoTarget {
    /// What was given.
    pub text: String,
    /// What is wrong.
    pub problem: String,
}

const WORDS: [(&str, Target); 8] = [
    ("one", Target::One),
    ("minority", Target::Minority),
    ("majority", Target::Majority),
    ("all", Target::All),
    ("leader", Target::Leader),
    ("followers", Target::Followers),
    ("not-leader", Target::NotLeader),
    ("primaries", Target::Primaries),
];

const QUANTITIES: [(&str, Quantity); 4] = [
    ("one", Quantity::One),
    ("minority", Quantity::Minority),
    ("majority", Quantity::Majority),
    ("all", Quantity::All),
];

const OPERATORS: [(&str, Operator); 3] =
    [("+", Operator::Union), ("&", Operator::Intersection), ("without", Operator::Without)];

/// Whether a node must not be called so, because the word has a meaning of its own where faults are aimed.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    WORDS.iter().any(|(word, _)| *word == name)
        || OPERATORS.iter().any(|(word, _)| *word == name)
        || ["of", crate::fault::CLIENTS].contains(&name)
}

/// No target has more parts in parentheses within each other.
const DEEPEST: usize = 20;

impl Target {
    /// The names in it, in order.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        match self {
            Target::Named(names) => names.iter().map(String::as_str).collect(),
            Target::Of(_, inner) => inner.names(),
            Target::Combined(first, _, second) => [first.names(), second.names()].concat(),
            _ => Vec::new(),
        }
    }

    /// The largest number in it; 0 if there is none.
    #[must_use]
    pub fn largest_number(&self) -> usize {
        match self {
            Target::Numbers(numbers) => numbers.iter().copied().max().unwrap_or(0),
            Target::Of(_, inner) => inner.largest_number(),
            Target::Combined(first, _, second) => first.largest_number().max(second.largest_number()),
            _ => 0,
        }
    }

    /// Whether it is so written that it cannot be anybody.
    #[must_use]
    pub fn is_nobody(&self) -> bool {
        match self {
            Target::Named(names) => names.is_empty(),
            Target::Numbers(numbers) => numbers.is_empty(),
            Target::Of(_, inner) => inner.is_nobody(),
            _ => false,
        }
    }

    /// Whether it needs parentheses where one part is expected.
    fn is_composite(&self) -> bool {
        match self {
            Target::Named(names) => names.len() != 1,
            Target::Numbers(numbers) => numbers.len() != 1,
            Target::Combined(..) => true,
            _ => false,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |target: &Target| match target.is_composite() {
            true => format!("({target})"),
            false => target.to_string(),
        };
        let text = match self {
            Target::Named(names) => names.join(" + "),
            Target::Numbers(numbers) => {
                numbers.iter().map(|number| format!("#{number}")).collect::<Vec<_>>().join(" + ")
            }
            Target::Of(quantity, inner) => format!("{} of {}", word_of(&QUANTITIES, quantity), part(inner)),
            Target::Combined(first, operator, second) => {
                format!("{first} {} {}", word_of(&OPERATORS, operator), part(second))
            }
            word => word_of(&WORDS, word).to_owned(),
        };
        formatter.write_str(&text)
    }
}

fn word_of<T: PartialEq>(words: &[(&'static str, T)], wanted: &T) -> &'static str {
    words.iter().find(|(_, meaning)| meaning == wanted).map_or("?", |(word, _)| word)
}

fn meaning_of<T: Clone>(words: &[(&'static str, T)], wanted: &str) -> Option<T> {
    words.iter().find(|(word, _)| *word == wanted).map(|(_, meaning)| meaning.clone())
}

impl FromStr for Target {
    type Err = NoTarget;

    fn from_str(text: &str) -> Result<Target, NoTarget> {
        let failed = |problem: String| NoTarget { text: text.to_owned(), problem };
        let mut tokens = Tokens { tokens: tokens_of(text).map_err(failed)?, depth: 0 };
        let target = tokens.target().map_err(failed)?;
        match tokens.tokens.pop() {
            None => Ok(target),
            Some(token) => Err(failed(format!("`{token}` is not expected there"))),
        }
    }
}

/// Words, operators and parentheses, the last one first.
fn tokens_of(text: &str) -> Result<Vec<String>, String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut is_in_word = false;
    for letter in text.chars() {
        let is_of_word = letter.is_alphanumeric() || matches!(letter, '-' | '_' | '.' | '#');
        match (letter, tokens.last_mut()) {
            (_, Some(word)) if is_of_word && is_in_word => word.push(letter),
            ('+' | '&' | '(' | ')', _) => tokens.push(letter.to_string()),
            _ if is_of_word => tokens.push(letter.to_string()),
            _ if letter.is_whitespace() => {}
            _ => return Err(format!("`{letter}` is in no word and no operator")),
        }
        is_in_word = is_of_word;
    }
    tokens.reverse();
    Ok(tokens)
}

struct Tokens {
    tokens: Vec<String>,
    depth: usize,
}

impl Tokens {
    fn next_is(&self, wanted: &str) -> bool {
        self.tokens.last().is_some_and(|token| token == wanted)
    }

    fn target(&mut self) -> Result<Target, String> {
        let mut target = self.part()?;
        while let Some(operator) = self.tokens.last().and_then(|token| meaning_of(&OPERATORS, token)) {
            self.tokens.pop();
            let second = self.part()?;
            target = match (target, operator, second) {
                (Target::Named(names), Operator::Union, Target::Named(more)) => {
                    Target::Named([names, more].concat())
                }
                (Target::Numbers(numbers), Operator::Union, Target::Numbers(more)) => {
                    Target::Numbers([numbers, more].concat())
                }
                (first, operator, second) => Target::Combined(Box::new(first), operator, Box::new(second)),
            };
        }
        Ok(target)
    }

    fn part(&mut self) -> Result<Target, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(format!("it goes deeper than {DEEPEST} parts in parts"));
        }
        let token = self.tokens.pop().ok_or("something is missing at the end")?;
        let target = match token.as_str() {
            "(" => {
                let inner = self.target()?;
                match self.tokens.pop().as_deref() {
                    Some(")") => inner,
                    _ => return Err("a parenthesis is not closed".to_owned()),
                }
            }
            ")" | "+" | "&" | "of" | "without" => return Err(format!("`{token}` is not expected there")),
            word => match meaning_of(&QUANTITIES, word).filter(|_| self.next_is("of")) {
                Some(quantity) => {
                    self.tokens.pop();
                    Target::Of(quantity, Box::new(self.part()?))
                }
                None => word_or_name(word)?,
            },
        };
        self.depth -= 1;
        Ok(target)
    }
}

fn word_or_name(word: &str) -> Result<Target, String> {
    if let Some(target) = meaning_of(&WORDS, word) {
        return Ok(target);
    }
    match word.strip_prefix('#') {
        None if word.contains('#') => Err(format!("`{word}` is no name")),
        None => Ok(Target::Named(vec![word.to_owned()])),
        Some(digits) => match digits.parse() {
            Ok(number) if number > 0 => Ok(Target::Numbers(vec![number])),
            _ => Err(format!("`{word}` is no number of a node, of which the first is #1")),
        },
    }
}

/// A target in a file.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a target, such as \"leader\" or { named = [\"n1\"] }")]
enum Written {
    Text(String),
    Named(Names),
    Numbers(NodeNumbers),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Names {
    named: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeNumbers {
    numbers: Vec<usize>,
}

impl From<Target> for Written {
    fn from(target: Target) -> Written {
        match target {
            Target::Named(named) => Written::Named(Names { named }),
            Target::Numbers(numbers) => Written::Numbers(NodeNumbers { numbers }),
            other => Written::Text(other.to_string()),
        }
    }
}

impl TryFrom<Written> for Target {
    type Error = NoTarget;

    fn try_from(written: Written) -> Result<Target, NoTarget> {
        match written {
            Written::Text(text) => text.parse(),
            Written::Named(names) => Ok(Target::Named(names.named)),
            Written::Numbers(numbers) => Ok(Target::Numbers(numbers.numbers)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Target {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    fn combined(first: Target, operator: Operator, second: Target) -> Target {
        Target::Combined(Box::new(first), operator, Box::new(second))
    }

    #[test]
    fn words_names_and_numbers_are_combined_from_left_to_right() {
        use Operator::{Intersection, Union, Without};
        let one_follower = Target::Of(Quantity::One, Box::new(Target::Followers));
        assert_eq!(parsed("leader+one of followers"), combined(Target::Leader, Union, one_follower));
        assert_eq!(
            parsed("minority without leader & n1"),
            combined(
                combined(Target::Minority, Without, Target::Leader),
                Intersection,
                Target::Named(vec!["n1".to_owned()])
            )
        );
        assert_eq!(parsed("not-leader"), Target::NotLeader);
        assert_eq!(
            parsed("n1 + db-2.example"),
            Target::Named(vec!["n1".to_owned(), "db-2.example".to_owned()])
        );
        assert_eq!(parsed("#1 + #3"), Target::Numbers(vec![1, 3]));
        assert_eq!(
            parsed("one of (primaries without n1)"),
            Target::Of(
                Quantity::One,
                Box::new(combined(Target::Primaries, Without, Target::Named(vec!["n1".to_owned()])))
            )
        );
    }

    #[test]
    fn what_is_no_target_is_refused_with_the_reason() {
        for (text, expected) in [
            ("", "missing at the end"),
            ("leader +", "missing at the end"),
            ("leader one", "`one` is not expected there"),
            ("+ leader", "`+` is not expected there"),
            ("(leader", "not closed"),
            ("leader)", "`)` is not expected there"),
            ("leader, one", "`,` is in no word"),
            ("#0", "the first is #1"),
            ("one of", "missing at the end"),
        ] {
            let error = text.parse::<Target>().unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains(&format!("`{text}`")), "{text}: {error}");
        }
        let deep = format!("{}leader{}", "(".repeat(100), ")".repeat(100));
        assert!(deep.parse::<Target>().unwrap_err().to_string().contains("deeper"));
    }

    #[test]
    fn files_have_words_texts_and_tables() {
        let json = |target: &Target| serde_json::to_string(target).unwrap();
        for (target, expected) in [
            (Target::Leader, r#""leader""#),
            (Target::Named(vec!["n1".to_owned()]), r#"{"named":["n1"]}"#),
            (Target::Numbers(vec![2]), r#"{"numbers":[2]}"#),
            (parsed("leader + one of followers"), r#""leader + one of followers""#),
        ] {
            assert_eq!(json(&target), expected);
            assert_eq!(serde_json::from_str::<Target>(expected).unwrap(), target);
        }
        let error = serde_json::from_str::<Target>(r#"{"name":["n1"]}"#).unwrap_err().to_string();
        assert!(error.contains("expected a target"), "{error}");
    }

    fn any_target() -> impl Strategy<Value = Target> {
        let leaf = prop_oneof![
            proptest::sample::select(WORDS.to_vec()).prop_map(|(_, target)| target),
            proptest::collection::vec("n[1-9]", 1..3).prop_map(Target::Named),
            proptest::collection::vec(1..9_usize, 1..3).prop_map(Target::Numbers),
        ];
        leaf.prop_recursive(4, 12, 2, |inner| {
            let quantities = proptest::sample::select(QUANTITIES.to_vec());
            let operators = proptest::sample::select(OPERATORS.to_vec());
            prop_oneof![
                (quantities, inner.clone())
                    .prop_map(|((_, quantity), of)| Target::Of(quantity, Box::new(of))),
                (inner.clone(), operators, inner)
                    .prop_map(|(first, (_, operator), second)| combined(first, operator, second)),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_and_read_again_it_is_the_same(target in any_target()) {
            let read = parsed(&target.to_string());
            prop_assert_eq!(&parsed(&read.to_string()), &read);
            prop_assert_eq!(read.names(), target.names());
            prop_assert_eq!(read.largest_number(), target.largest_number());
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}") {
            let _ = text.parse::<Target>();
        }
    }
}
