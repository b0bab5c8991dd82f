//! Time as small numbers: every event of a partition gets a rank of its own.
//!
//! At one instant invocations come before completions, so that closed intervals which touch overlap in ranks, too. An operation
//! precedes another if and only if its span ends before the other's begins; and because no two events have the same rank, no
//! completion has the rank of an invocation, on which the algorithms for containers rely.
//!
//! A *placement* of operations gives each a rank in its span and an order at equal ranks. Reading it off in that order respects
//! real time: if a precedes b, then every rank in a's span is less than every rank in b's. Conversely every order that respects
//! real time has a placement with the same order: put each operation at the latest invocation of it and those before it.

/// A closed interval of ranks: something happens not before one and by the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub from: u32,
    pub by: u32,
}

impl Span {
    /// Of an operation that is not there.
    pub const ABSENT: Span = Span { from: u32::MAX, by: u32::MAX };

    /// Whether it ends before `other` begins.
    pub fn precedes(self, other: Span) -> bool {
        self.by < other.from
    }
}

/// The spans of operations.
#[derive(Debug)]
pub(super) struct Ranked {
    /// By position. The span of an operation that did not complete ends with [`Ranked::end`].
    spans: Vec<Span>,
    /// After every event.
    pub end: u32,
    /// Whether the operations stand in order of invocation.
    pub is_sorted: bool,
}

impl Ranked {
    /// Ranks the events of `operations`, each a moment of invocation and perhaps one of completion. O(n log n).
    pub fn new(operations: impl ExactSizeIterator<Item = (u64, Option<u64>)> + Clone) -> Ranked {
        let length = operations.len();
        let mut events: Vec<(u64, bool, u32)> = Vec::with_capacity(2 * length);
        events.extend(
            (0..).zip(operations.clone()).map(|(position, (invoked_ns, _))| (invoked_ns, false, position)),
        );
        let is_sorted = events.is_sorted();
        let completion = |(position, (_, completed_ns))| Some((completed_ns?, true, position));
        events.extend((0..).zip(operations).filter_map(completion));
        // The stable sort finds the first half in order, as a rule. No two are equal.
        events.sort();
        let end = u32::try_from(events.len())
            .expect("positions are of 32 bits, and so are twice as many in practice");
        let mut spans = vec![Span { from: 0, by: end }; length];
        for (rank, (_, is_completion, position)) in (0..).zip(events) {
            let span = &mut spans[position as usize];
            *(if is_completion { &mut span.by } else { &mut span.from }) = rank;
        }
        Ranked { spans, end, is_sorted }
    }

    /// The same with only those operations that are there (by position), of which those that are not required did not complete.
    pub fn prefix(&self, is_there: impl Fn(u32) -> bool, is_required: impl Fn(u32) -> bool) -> Ranked {
        let in_prefix = (0..).zip(&self.spans).map(|(position, &span)| match span {
            _ if !is_there(position) => Span::ABSENT,
            span if !is_required(position) => Span { by: self.end, ..span },
            span => span,
        });
        Ranked { spans: in_prefix.collect(), ..*self }
    }

    /// The span of the operation at a position, if it is there.
    pub fn span(&self, position: u32) -> Option<Span> {
        Some(self.spans[position as usize]).filter(|&span| span != Span::ABSENT)
    }

    /// The span of the operation at a position, if it is there and completed.
    pub fn completed(&self, position: u32) -> Option<Span> {
        self.span(position).filter(|span| span.by < self.end)
    }
}

/// The numbers below `length` in order of their ranks, which are at most `end`. O(length + end).
pub(super) fn sorted_by_rank(length: usize, end: u32, rank: impl Fn(usize) -> u32) -> Vec<u32> {
    let mut next = vec![0_u32; end as usize + 2];
    for number in 0..length {
        next[rank(number) as usize + 1] += 1;
    }
    for position in 1..next.len() {
        next[position] += next[position - 1];
    }
    let mut sorted = vec![0; length];
    for number in 0..length {
        let place = &mut next[rank(number) as usize];
        sorted[*place as usize] = number as u32;
        *place += 1;
    }
    sorted
}
