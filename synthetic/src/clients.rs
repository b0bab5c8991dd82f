//! The clients, always busy, in simulated time: an agenda of moments, each of which may put others onto it.

use std::collections::BTreeMap;

use labrys_history::Event;
use labrys_seed::Rng;
use rand::Rng as _;

use crate::call::{Answer, Call, Fate, Scribe, Served};
use crate::recipe::Recipe;

/// Longest time between the completion of an operation and the next invocation of its client.
const PAUSE_NS: u64 = 10_000;
/// Longest time from an invocation to the effect, and from there to the completion.
const HALF_NS: u64 = 500_000;
/// How much longer an effect may take whose client has given up.
const LATE_FACTOR: u64 = 10;

/// What happens at a moment, to a client.
enum Moment {
    Invoke,
    Effect(Call),
    Complete(Call),
    /// The effect of a call whose client is elsewhere by now.
    LateEffect(Call),
}

/// A client of the object.
struct Client {
    process: u64,
    /// To the call that is open.
    answer: Option<Answer>,
}

pub(crate) struct Clients {
    rng: Rng,
    scribe: Scribe,
    clients: Vec<Client>,
    /// By time, then in the order in which they were put onto it.
    agenda: BTreeMap<(u64, u64), (usize, Moment)>,
    put: u64,
    invoked: usize,
    operations: usize,
    /// The time of the last event.
    last_ns: u64,
    next_process: u64,
}

impl Clients {
    pub fn new(recipe: &Recipe, rng: Rng) -> Clients {
        Clients {
            rng,
            scribe: Scribe::new(recipe.operations, recipe.keys > 1),
            clients: (0..recipe.clients as u64).map(|process| Client { process, answer: None }).collect(),
            agenda: BTreeMap::new(),
            put: 0,
            invoked: 0,
            operations: recipe.operations,
            last_ns: 0,
            next_process: recipe.clients as u64,
        }
    }

    /// Lets all clients work on `object`; the events, and whether the object gave the wrong answer that it was to give.
    pub fn work(mut self, mut object: impl Served) -> (Vec<Event>, bool) {
        self.call_first(&mut object);
        for client in 0..self.clients.len() {
            self.put(self.last_ns, PAUSE_NS, client, Moment::Invoke);
        }
        while let Some(((now_ns, _), (client, moment))) = self.agenda.pop_first() {
            match moment {
                Moment::Invoke if self.invoked == self.operations => {}
                Moment::Invoke => self.invoke(now_ns, client, &mut object),
                Moment::Effect(call) => self.clients[client].answer = Some(object.take_effect(&call)),
                Moment::LateEffect(call) => {
                    object.take_effect(&call);
                }
                Moment::Complete(call) => self.complete(now_ns, client, &call, &mut object),
            }
        }
        (self.scribe.into_events(), object.has_violation())
    }

    /// What comes before everything else, by the first client.
    fn call_first(&mut self, object: &mut impl Served) {
        for (function, key) in object.first_calls() {
            if self.invoked == self.operations {
                return;
            }
            self.invoked += 1;
            let call = Call { function, key, fate: Fate::Completes, number: self.invoked };
            let (invoked_ns, completed_ns) = (self.tick(0), self.tick(0));
            self.scribe.invoke(invoked_ns, 0, &call);
            let answer = object.take_effect(&call);
            self.scribe.complete(completed_ns, 0, &call, Some(answer));
            object.complete(&call);
        }
    }

    fn invoke(&mut self, now_ns: u64, client: usize, object: &mut impl Served) {
        self.invoked += 1;
        let call = object.invoke(self.invoked, &mut self.rng);
        let now_ns = self.tick(now_ns);
        self.scribe.invoke(now_ns, self.clients[client].process, &call);
        let effect_ns = now_ns + self.rng.random_range(1..=HALF_NS);
        match call.fate {
            Fate::Completes | Fate::CrashesAfterEffect => {
                self.put(effect_ns, 0, client, Moment::Effect(call));
            }
            Fate::CrashesBeforeEffect => {
                self.put(effect_ns + HALF_NS, LATE_FACTOR * HALF_NS, client, Moment::LateEffect(call));
            }
            Fate::CrashesWithoutEffect => {}
        }
        self.put(effect_ns, HALF_NS, client, Moment::Complete(call));
    }

    fn complete(&mut self, now_ns: u64, client: usize, call: &Call, object: &mut impl Served) {
        let now_ns = self.tick(now_ns);
        let Client { process, answer } = &mut self.clients[client];
        let heard = answer.take().filter(|_| call.fate == Fate::Completes);
        self.scribe.complete(now_ns, *process, call, heard);
        if call.fate != Fate::Completes {
            *process = self.next_process;
            self.next_process += 1;
        }
        object.complete(call);
        self.put(now_ns, PAUSE_NS, client, Moment::Invoke);
    }

    /// Up to `within_ns` after `from_ns`.
    fn put(&mut self, from_ns: u64, within_ns: u64, client: usize, moment: Moment) {
        let at_ns = if within_ns == 0 { from_ns } else { from_ns + self.rng.random_range(1..=within_ns) };
        self.put += 1;
        self.agenda.insert((at_ns, self.put), (client, moment));
    }

    /// The time of an event that is to be at `now_ns`: later than that of the event before.
    fn tick(&mut self, now_ns: u64) -> u64 {
        self.last_ns = now_ns.max(self.last_ns + 1);
        self.last_ns
    }
}
