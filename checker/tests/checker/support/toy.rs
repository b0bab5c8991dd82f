//! Small objects, made for a test: a model of each for the checker, which may keep to itself of which class it is, and the same for
//! the oracle.

use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;

use labrys_checker::linearizable::{Completed, Decision, Interval, decide};
use labrys_checker::{Class, Context, Meaning, Model, ModelError, Role};
use labrys_history::{Completion, Operation, Value};
use labrys_seed::{Rng, Seed};
use rand::Rng as _;

use super::brute_force::{Timed, is_linearizable_by};
use super::histories;

/// An object.
pub trait Toy: Copy + Send + Sync + 'static {
    type Call: Copy + Eq + Hash + fmt::Debug + Send + Sync;
    type State: Clone + Eq + Hash + fmt::Debug + Send + 'static;
    /// The class that it is of.
    const CLASS: Class;

    fn init() -> Self::State;
    fn step(state: Self::State, call: Self::Call) -> Option<Self::State>;
    /// The values that the call is about.
    fn values(call: Self::Call) -> Vec<Value>;
    /// What it does with them.
    fn role(call: Self::Call, values: &[Value]) -> Role<'_>;
    fn is_pure(call: Self::Call) -> bool;
    /// What an operation of a history calls, for tests that come with one.
    fn call(operation: &Operation) -> Self::Call;

    /// What the oracle says.
    fn is_linearizable(ops: &[Timed<Self::Call>]) -> bool {
        is_linearizable_by(Self::step, ops, Self::init())
    }
}

/// A model of it, and whether it says of which class it is.
#[derive(Clone, Copy)]
pub struct ToyModel<T> {
    is_told: bool,
    toy: PhantomData<T>,
}

impl<T: Toy> ToyModel<T> {
    /// One that says it.
    pub fn told(_: T) -> ToyModel<T> {
        ToyModel { is_told: true, toy: PhantomData }
    }

    /// One that does not.
    pub fn untold(_: T) -> ToyModel<T> {
        ToyModel { is_told: false, toy: PhantomData }
    }
}

/// A call in the model's words, which roles borrow from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ToyCall<C>(C, Vec<Value>);

/// The state in which a call was not possible.
pub struct NotPossible(String);

impl fmt::Display for NotPossible {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "it is {}", self.0)
    }
}

impl<T: Toy> Model for ToyModel<T> {
    type State = T::State;
    type Call = ToyCall<T::Call>;
    type Refusal = NotPossible;

    fn name(&self) -> &str {
        "toy"
    }

    fn init(&self) -> T::State {
        T::init()
    }

    fn meaning(&self, operation: &Operation) -> Result<Meaning<Self::Call>, ModelError> {
        let call = T::call(operation);
        let call = ToyCall(call, T::values(call));
        let has_crashed = matches!(operation.completion(), Completion::Info { .. });
        Ok(if has_crashed { Meaning::Crashed(call) } else { Meaning::Completed(call) })
    }

    fn step(&self, state: &T::State, call: &Self::Call) -> Result<T::State, NotPossible> {
        T::step(state.clone(), call.0).ok_or_else(|| NotPossible(format!("{state:?}")))
    }

    fn is_pure(&self, call: &Self::Call) -> bool {
        T::is_pure(call.0)
    }

    fn class(&self) -> Option<Class> {
        self.is_told.then_some(T::CLASS)
    }

    fn role<'c>(&self, call: &'c Self::Call) -> Option<Role<'c>> {
        Some(T::role(call.0, &call.1))
    }

    fn describe_call(&self, call: &Self::Call) -> String {
        format!("{:?}", call.0)
    }

    fn describe_state(&self, state: &T::State) -> String {
        format!("{state:?}")
    }
}

/// What the checker says of a history.
pub fn decision_on<T: Toy>(model: &ToyModel<T>, ops: &[Timed<T::Call>]) -> Decision {
    let interval = |(position, op): (usize, &Timed<T::Call>)| Interval {
        call: ToyCall(op.call, T::values(op.call)),
        operation: position as u64,
        invoked_ns: op.invoked,
        completed: (!op.optional)
            .then(|| Completed { time_ns: op.completed, index: 1_000 + position as u64 }),
    };
    let intervals: Vec<_> = ops.iter().enumerate().map(interval).collect();
    decide(model, &intervals, &Context::default())
}

/// Fails unless `order` is legal, respects real time, and has every operation that is not optional.
fn assert_witness<T: Toy>(ops: &[Timed<T::Call>], order: &[u64]) {
    let order: Vec<usize> = order.iter().map(|&operation| operation as usize).collect();
    let legal = order.iter().try_fold(T::init(), |state, &position| T::step(state, ops[position].call));
    assert!(legal.is_some(), "{order:?} is not legal: {ops:#?}");
    let mut is_done = vec![false; ops.len()];
    let mut last_invoked = 0;
    for &position in &order {
        assert!(!std::mem::replace(&mut is_done[position], true), "twice in {order:?}: {ops:#?}");
        last_invoked = last_invoked.max(ops[position].invoked);
        assert!(ops[position].completed >= last_invoked, "{position} is too late in {order:?}: {ops:#?}");
    }
    assert!((0..ops.len()).all(|op| ops[op].optional || is_done[op]), "{order:?} lacks some: {ops:#?}");
}

/// Whether it says "linearizable", and proves it.
pub fn is_valid<T: Toy>(model: &ToyModel<T>, ops: &[Timed<T::Call>]) -> bool {
    match decision_on(model, ops) {
        Decision::Linearizable(order) => {
            assert_witness::<T>(ops, &order);
            true
        }
        Decision::NonLinearizable(_) => false,
        Decision::Unknown(reason) => panic!("{reason}: {ops:#?}"),
    }
}

/// The class's algorithm and the general search agree with brute force on many histories, of which a fifth at least are valid,
/// and a fifth are not.
pub fn assert_agreement<T: Toy>(toy: T, history: impl Fn(Seed) -> Vec<Timed<T::Call>>) {
    let (mut valid, histories) = (0_u64, histories(15_000));
    for number in 0..histories {
        let ops = history(Seed(0xba6).fork(&format!("{:?}", T::CLASS)).fork_index(number));
        let expected = T::is_linearizable(&ops);
        for model in [ToyModel::told(toy), ToyModel::untold(toy)] {
            assert_eq!(is_valid(&model, &ops), expected, "told: {}; {ops:#?}", model.is_told);
        }
        valid += u64::from(expected);
    }
    println!("{:?}: {valid} of {histories} are valid", T::CLASS);
    assert!(valid.min(histories - valid) * 5 > histories, "{valid} of {histories} are valid: one-sided");
}

/// A history of calls that are legal one after another, the operations stretched, some crashed if they change anything, and then
/// perhaps spoilt: operations moved, and calls exchanged or doubled.
pub fn small_history<T: Toy>(
    seed: Seed,
    mut any_legal: impl FnMut(&T::State, &mut Rng) -> T::Call,
) -> Vec<Timed<T::Call>> {
    let mut rng = seed.rng();
    let mut state = T::init();
    let stretch = rng.random_range(1..12);
    let crashes = [0.0, 0.0, 0.1, 0.3][rng.random_range(0..4)];
    let mut ops = Vec::new();
    for number in 0..rng.random_range(3..=9_u64) {
        let call = any_legal(&state, &mut rng);
        state = T::step(state, call).expect("legal");
        let at = 10 + 3 * number;
        let invoked = at - rng.random_range(0..stretch).min(at);
        let optional = rng.random_bool(crashes);
        let completed = if optional { u64::MAX } else { at + rng.random_range(0..stretch) };
        ops.push(Timed { call, invoked, completed, optional });
    }
    for _ in 0..[0, 1, 2, 4][rng.random_range(0..4)] {
        let (one, other) = (rng.random_range(0..ops.len()), rng.random_range(0..ops.len()));
        match rng.random_range(0..8) {
            0 => ops[one].call = ops[other].call,
            1..4 => {
                let length = ops[one].completed.saturating_sub(ops[one].invoked);
                ops[one].invoked = rng.random_range(0..40);
                ops[one].completed = ops[one].invoked.saturating_add(length);
            }
            _ => (ops[one].call, ops[other].call) = (ops[other].call, ops[one].call),
        }
    }
    ops
}
