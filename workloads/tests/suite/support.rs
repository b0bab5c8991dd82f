//! What the tests share.

use labrys_history::{Event, Process, Text, Value};
use labrys_workloads::Op;
use labrys_workloads::generator::{BoxGenerator, GeneratorExt, from_iter, once, repeat};
use labrys_workloads::testing::Simulated;

pub const MILLISECOND_NS: u64 = 1_000_000;

/// An operation without argument.
pub fn op(f: &str) -> Op {
    Op::new(f, Value::Nil)
}

/// The same operation for ever.
pub fn forever(f: &str) -> BoxGenerator {
    repeat(op(f)).boxed()
}

/// The operation once.
pub fn just(f: &str) -> BoxGenerator {
    once(op(f)).boxed()
}

/// Operations `f 0`, `f 1`, … `f count-1`.
pub fn numbered(f: &str, count: i64) -> BoxGenerator {
    let f: Text = f.into();
    from_iter((0..count).map(move |number| Op::new(f.clone(), Value::Int(number)))).boxed()
}

/// Functions of the invocations, in order.
pub fn functions(simulated: &Simulated) -> Vec<String> {
    simulated.invocations().map(|event| event.f.to_string()).collect()
}

/// Times of the invocations in milliseconds.
pub fn times_ms(simulated: &Simulated) -> Vec<u64> {
    simulated.invocations().map(|event| event.time_ns / MILLISECOND_NS).collect()
}

/// Number of invocations of `f`.
pub fn count(simulated: &Simulated, f: &str) -> usize {
    simulated.invocations().filter(|event| *event.f == *f).count()
}

/// The thread of an event of a simulation with `client_count` threads; `None` for the nemesis.
pub fn thread(event: &Event, client_count: u64) -> Option<u64> {
    match event.process {
        Process::Client(number) => Some(number % client_count),
        Process::Named(_) => None,
    }
}
