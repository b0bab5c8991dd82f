//! How fast: [`Stagger`] and [`Delay`].
//!
//! O(1) per operation.

use std::time::Duration;

use labrys_history::Event;
use labrys_seed::{Rng, Seed};
use rand::Rng as _;

use super::bounds::nanoseconds;
use super::{Context, Generator, Peek, Taken};

/// How the gaps of a [`stagger`](super::GeneratorExt::stagger) are distributed around their mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gaps {
    /// Exponentially: operations arrive as a Poisson process does, in clusters and lulls.
    Exponential,
    /// Uniformly between nothing and twice the mean.
    Uniform,
    /// Always the mean.
    Constant,
}

impl Gaps {
    /// A gap. Of an exponential distribution by inversion: `-mean · ln(u)` for uniform u in (0, 1].
    fn draw_ns(self, mean_ns: u64, rng: &mut Rng) -> u64 {
        match self {
            Gaps::Constant => mean_ns,
            Gaps::Uniform => rng.random_range(0..=mean_ns.saturating_mul(2)),
            Gaps::Exponential => {
                let uniform = 1.0 - rng.random::<f64>();
                (-(mean_ns as f64) * portable_ln(uniform)) as u64
            }
        }
    }
}

/// The natural logarithm of a normal number in (0, 1], to about 1e-10, by additions, multiplications and one division only: the
/// one of the standard library is the platform's, and its last bit, hence a run, differs from machine to machine.
///
/// x = m·2^e with m in [1, 2); ln m = 2·artanh((m − 1)/(m + 1)), whose series converges with ((m − 1)/(m + 1))² ≤ 1/9.
fn portable_ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as i32 - 1023;
    let mantissa = f64::from_bits((bits & ((1 << 52) - 1)) | (1023 << 52));
    let t = (mantissa - 1.0) / (mantissa + 1.0);
    let square = t * t;
    let series = (0..10).rev().fold(0.0, |sum, k| sum * square + 1.0 / f64::from(2 * k + 1));
    f64::from(exponent) * std::f64::consts::LN_2 + 2.0 * t * series
}

/// How far a stagger may fall behind its plan and still catch up. Timers of an operating system wake up a millisecond or
/// so late, which must not slow a fast stagger down; but after a second in which every thread was stuck there must not
/// follow a second's worth of operations at once.
const CATCH_UP_NS: u64 = 10_000_000;

/// See [`GeneratorExt::stagger`](super::GeneratorExt::stagger). The first operation, too, comes after a gap. An operation that
/// comes late does not put the following ones off, up to 10 ms; beyond that the time lost is lost.
pub struct Stagger<G> {
    inner: G,
    mean_ns: u64,
    gaps: Gaps,
    rng: Rng,
    next_ns: Option<u64>,
}

impl<G> Stagger<G> {
    pub(super) fn new(inner: G, mean: Duration, gaps: Gaps, seed: Seed) -> Self {
        Stagger { inner, mean_ns: nanoseconds(mean), gaps, rng: seed.rng(), next_ns: None }
    }

    fn after(&mut self, time_ns: u64) -> u64 {
        time_ns.saturating_add(self.gaps.draw_ns(self.mean_ns, &mut self.rng))
    }
}

impl<G: Generator> Generator for Stagger<G> {
    fn peek(&mut self, context: &Context<'_>) -> Peek {
        let next_ns = match self.next_ns {
            Some(next_ns) => next_ns,
            None => {
                let next_ns = self.after(context.time_ns);
                self.next_ns = Some(next_ns);
                next_ns
            }
        };
        match self.inner.peek(context) {
            Peek::At(at_ns) => Peek::At(at_ns.max(next_ns)),
            answer => answer,
        }
    }

    fn take(&mut self, context: &Context<'_>) -> Taken {
        let planned_ns = self.next_ns.unwrap_or(context.time_ns);
        self.next_ns = Some(self.after(planned_ns.max(context.time_ns.saturating_sub(CATCH_UP_NS))));
        self.inner.take(context)
    }

    fn update(&mut self, context: &Context<'_>, event: &Event) {
        self.inner.update(context, event);
    }
}

/// See [`GeneratorExt::delay`](super::GeneratorExt::delay).
pub struct Delay<G> {
    inner: G,
    gap_ns: u64,
    next_ns: u64,
}

impl<G> Delay<G> {
    pub(super) fn new(inner: G, gap: Duration) -> Self {
        Delay { inner, gap_ns: nanoseconds(gap), next_ns: 0 }
    }
}

impl<G: Generator> Generator for Delay<G> {
    fn peek(&mut self, context: &Context<'_>) -> Peek {
        match self.inner.peek(context) {
            Peek::At(at_ns) => Peek::At(at_ns.max(self.next_ns)),
            answer => answer,
        }
    }

    fn take(&mut self, context: &Context<'_>) -> Taken {
        self.next_ns = context.time_ns.saturating_add(self.gap_ns);
        self.inner.take(context)
    }

    fn update(&mut self, context: &Context<'_>, event: &Event) {
        self.inner.update(context, event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_portable_logarithm_is_the_logarithm() {
        for numerator in 1..=10_000 {
            let x = f64::from(numerator) / 10_000.0;
            assert!((portable_ln(x) - x.ln()).abs() < 1e-9, "{x}: {} {}", portable_ln(x), x.ln());
        }
        let smallest = f64::EPSILON / 2.0;
        assert!((portable_ln(smallest) - smallest.ln()).abs() < 1e-9);
    }
}
