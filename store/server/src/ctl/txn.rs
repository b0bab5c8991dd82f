//! The conditions and steps of a transaction as text, one line each; the last word of a line may contain spaces.

use bytes::Bytes;

use crate::client::prefix;
use crate::machine::{Condition, LockToken, Operand, Operation, Relation, Revision, Step, Transaction};

/// A transaction from its lines.
///
/// # Errors
///
/// What is wrong with which line.
pub fn parse(conditions: &[String], then: &[String], otherwise: &[String]) -> Result<Operation, String> {
    Ok(Operation::Transaction(Transaction {
        conditions: conditions.iter().map(|line| condition(line)).collect::<Result<_, _>>()?,
        then: then.iter().map(|line| step(line)).collect::<Result<_, _>>()?,
        otherwise: otherwise.iter().map(|line| step(line)).collect::<Result<_, _>>()?,
    }))
}

/// The first `COUNT` words of a line, of which the last is all the rest.
fn words<const COUNT: usize>(line: &str) -> Option<[&str; COUNT]> {
    let words: Vec<&str> = line.splitn(COUNT, ' ').collect();
    words.try_into().ok()
}

fn number<T: std::str::FromStr>(text: &str, line: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` in `{line}` is not a number, or too large"))
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// A condition from its line.
fn condition(line: &str) -> Result<Condition, String> {
    if let Some(["locked", name, token]) = words(line) {
        return Ok(Condition::LockHeld { name: bytes(name), token: LockToken(number(token, line)?) });
    }
    let Some([what, key, relation, operand]) = words(line) else {
        return Err(format!("`{line}` is not a condition: `value KEY = TEXT`, `locked NAME TOKEN`, …"));
    };
    let relation = match relation {
        "=" => Relation::Equal,
        "!=" => Relation::NotEqual,
        "<" => Relation::Less,
        ">" => Relation::Greater,
        other => return Err(format!("`{other}` in `{line}` is none of = != < >")),
    };
    let operand = match what {
        "value" => Operand::Value(bytes(operand)),
        "version" => Operand::Version(number(operand, line)?),
        "created" => Operand::Created(Revision(number(operand, line)?)),
        "modified" => Operand::Modified(Revision(number(operand, line)?)),
        other => return Err(format!("`{other}` in `{line}` is none of value, version, created, modified")),
    };
    Ok(Condition::Key { key: bytes(key), relation, operand })
}

/// A step from its line.
fn step(line: &str) -> Result<Step, String> {
    let (what, rest) = line.split_once(' ').unwrap_or((line, ""));
    let two = || words::<2>(rest).ok_or_else(|| format!("`{line}` lacks something after `{rest}`"));
    let key = bytes(rest);
    Ok(match what {
        "get" => Step::Get { key },
        "delete" => Step::Delete { key },
        "prefix" => Step::Range(prefix(key)),
        "put" => {
            let [key, value] = two()?;
            Step::Put { key: bytes(key), value: bytes(value), lease: None }
        }
        "append" => {
            let [key, suffix] = two()?;
            Step::Append { key: bytes(key), suffix: bytes(suffix) }
        }
        "increment" => {
            let [key, by] = two()?;
            Step::Increment { key: bytes(key), by: number(by, line)? }
        }
        "cas" => {
            let Some([key, expected, value]) = words(rest) else {
                return Err(format!("`{line}` is not of the form `cas KEY EXPECTED VALUE`"));
            };
            Step::CompareAndSet { key: bytes(key), expected: Some(bytes(expected)), value: bytes(value) }
        }
        _ => {
            return Err(format!(
                "`{line}` is not a step: get, put, delete, append, increment, cas or prefix, and what it takes"
            ));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_and_steps_are_read_with_spaces_in_their_last_word() {
        let value = Operand::Value(bytes("a b"));
        let key = |relation, operand| Ok(Condition::Key { key: bytes("k"), relation, operand });
        assert_eq!(condition("value k != a b"), key(Relation::NotEqual, value));
        assert_eq!(condition("version k > 3"), key(Relation::Greater, Operand::Version(3)));
        assert_eq!(
            condition("locked l 7"),
            Ok(Condition::LockHeld { name: bytes("l"), token: LockToken(7) })
        );
        let put = Step::Put { key: bytes("k"), value: bytes("a b"), lease: None };
        assert_eq!(step("put k a b"), Ok(put));
        assert_eq!(step("increment k -2"), Ok(Step::Increment { key: bytes("k"), by: -2 }));
        assert_eq!(step("get k"), Ok(Step::Get { key: bytes("k") }));
        let swap = Step::CompareAndSet { key: bytes("k"), expected: Some(bytes("1")), value: bytes("2 3") };
        assert_eq!(step("cas k 1 2 3"), Ok(swap));
    }

    #[test]
    fn what_is_neither_is_named_with_its_line() {
        for (line, named) in [
            ("", "not a condition"),
            ("value k", "not a condition"),
            ("value k ~ 1", "none of ="),
            ("size k = 1", "none of value"),
            ("version k = x", "not a number"),
            ("locked l x", "not a number"),
        ] {
            let error = condition(line).unwrap_err();
            assert!(error.contains(named) && error.contains(line), "{line}: {error}");
        }
        for (line, named) in [
            ("", "not a step"),
            ("set k 1", "not a step"),
            ("put k", "lacks something"),
            ("increment k one", "not a number"),
            ("cas k 1", "cas KEY"),
        ] {
            let error = step(line).unwrap_err();
            assert!(error.contains(named) && error.contains(line), "{line}: {error}");
        }
    }
}
