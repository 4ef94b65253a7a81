//! What benches hold: ratios of two things timed in turn, which a busy machine slows down alike.
//!
//! A gate runs behind the tables, in a second or so, and fails the bench. Goals leave room: they are well below what an idle
//! machine shows.

#![allow(clippy::print_stdout, clippy::disallowed_methods)]

use std::time::{Duration, Instant};

/// The best of so many rounds of each, taken in turn.
pub(crate) fn best_of<A, B>(
    rounds: u32,
    mut one: impl FnMut() -> A,
    mut other: impl FnMut() -> B,
) -> (Duration, Duration) {
    let mut best = (Duration::MAX, Duration::MAX);
    for _ in 0..rounds {
        best.0 = best.0.min(timed(&mut one));
        best.1 = best.1.min(timed(&mut other));
    }
    best
}

fn timed<T>(round: &mut impl FnMut() -> T) -> Duration {
    let start = Instant::now();
    let made = std::hint::black_box(round());
    let taken = start.elapsed();
    drop(made);
    taken
}

/// Holds that the first takes at least `goal` times as long as the second. Below 1, the second may take that much longer.
pub(crate) fn at_least(what: &str, goal: f64, (one, other): (Duration, Duration)) {
    let ratio = one.as_secs_f64() / other.as_secs_f64();
    println!("{what}: {one:.1?} against {other:.1?}, {ratio:.2} × (at least {goal} ×)");
    assert!(ratio >= goal, "{what}: {ratio:.2} ×, at least {goal} × is held");
}
