//! One of several generators: [`mix`] decides by lot, [`any`] by who is ready first.
//!
//! O(children) per peek of `any`, O(1) of `mix`.

use labrys_history::Event;
use labrys_seed::{Rng, Seed};
use rand::Rng as _;

use super::{BoxGenerator, Context, Generator, Peek, Taken};

/// The next operation is one of a random child, each with the same probability; children that are exhausted drop out.
///
/// The lot is drawn once per operation. If the child that was drawn is pending, so is the mix: mix what runs on the same
/// threads, and use [`any`] otherwise.
#[must_use]
pub fn mix(seed: Seed, children: Vec<BoxGenerator>) -> Mix {
    mix_weighted(seed, children.into_iter().map(|child| (1, child)).collect())
}

/// [`mix`] with probabilities in proportion to weights; a weight of 0 counts as 1.
#[must_use]
pub fn mix_weighted(seed: Seed, children: Vec<(u32, BoxGenerator)>) -> Mix {
    let mut mix = Mix { rng: seed.rng(), children, drawn: 0 };
    mix.draw();
    mix
}

/// See [`mix`].
pub struct Mix {
    rng: Rng,
    children: Vec<(u32, BoxGenerator)>,
    drawn: usize,
}

impl Mix {
    fn draw(&mut self) {
        let total: u64 = self.children.iter().map(|(weight, _)| u64::from((*weight).max(1))).sum();
        if total == 0 {
            return;
        }
        let mut lot = self.rng.random_range(0..total);
        for (position, (weight, _)) in self.children.iter().enumerate() {
            let weight = u64::from((*weight).max(1));
            if lot < weight {
                self.drawn = position;
                return;
            }
            lot -= weight;
        }
    }
}

impl Generator for Mix {
    fn peek(&mut self, context: &Context<'_>) -> Peek {
        while let Some((_, child)) = self.children.get_mut(self.drawn) {
            match child.peek(context) {
                Peek::Exhausted => {
                    self.children.remove(self.drawn);
                    self.draw();
                }
                ready => return ready,
            }
        }
        Peek::Exhausted
    }

    fn take(&mut self, context: &Context<'_>) -> Taken {
        let taken = self.children[self.drawn].1.take(context);
        self.draw();
        taken
    }

    fn update(&mut self, context: &Context<'_>, event: &Event) {
        for (_, child) in &mut self.children {
            child.update(context, event);
        }
    }
}

/// Whichever child is ready first. Among those that are ready at the same time (the past counts as now) it draws lots, so
/// that nobody starves; exhausted when all are.
#[must_use]
pub fn any(children: Vec<BoxGenerator>) -> Any {
    Any { children, chosen: None }
}

/// See [`any`].
pub struct Any {
    children: Vec<BoxGenerator>,
    chosen: Option<usize>,
}

impl Generator for Any {
    fn peek(&mut self, context: &Context<'_>) -> Peek {
        let inner = context.descended();
        let mut soonest = Soonest::new(context);
        self.children.retain_mut(|child| soonest.offer(child.peek(&inner), 1));
        self.chosen = soonest.chosen();
        soonest.answer()
    }

    fn take(&mut self, context: &Context<'_>) -> Taken {
        let chosen = self.chosen.take().expect("an operation is only taken after a peek that found it");
        self.children[chosen].take(&context.descended())
    }

    fn update(&mut self, context: &Context<'_>, event: &Event) {
        for child in &mut self.children {
            child.update(context, event);
        }
    }
}

/// Which of several answers to a peek is the soonest, ties broken by weighted lots (reservoir sampling of one element;
/// Vitter, "Random sampling with a reservoir", 1985).
///
/// Candidates are counted from 0 without those that are exhausted, as in a list from which those are dropped.
pub(super) struct Soonest<'c, 'a> {
    context: &'c Context<'a>,
    candidates: usize,
    best: Option<(u64, usize)>,
    weight: u64,
}

impl<'c, 'a> Soonest<'c, 'a> {
    pub(super) fn new(context: &'c Context<'a>) -> Self {
        Soonest { context, candidates: 0, best: None, weight: 0 }
    }

    /// Takes the answer of the next candidate into account; whether it is still alive.
    pub(super) fn offer(&mut self, answer: Peek, weight: u64) -> bool {
        let position = self.candidates;
        match answer {
            Peek::Exhausted => return false,
            Peek::Pending => {}
            Peek::At(at_ns) => self.consider(at_ns, position, weight.max(1)),
        }
        self.candidates += 1;
        true
    }

    fn consider(&mut self, at_ns: u64, position: usize, weight: u64) {
        match self.best {
            Some((best_ns, _)) if at_ns > best_ns => return,
            Some((best_ns, _)) if at_ns == best_ns => self.weight += weight,
            _ => self.weight = weight,
        }
        if self.weight == weight || self.context.draw(position as u64) % self.weight < weight {
            self.best = Some((at_ns, position));
        }
    }

    pub(super) fn chosen(&self) -> Option<usize> {
        self.best.map(|(_, position)| position)
    }

    pub(super) fn answer(&self) -> Peek {
        match self.best {
            Some((at_ns, _)) => Peek::At(at_ns),
            None if self.candidates > 0 => Peek::Pending,
            None => Peek::Exhausted,
        }
    }
}
