//! How far a lab, or a run in it, has come: a bar on a terminal, a line for each machine elsewhere.

use std::io::{IsTerminal, Write};

use crate::output::clean;

/// Columns of the bar.
const BAR: usize = 24;

/// Says on standard error how far it is.
pub(crate) struct Progress {
    is_terminal: bool,
    what: &'static str,
    last: String,
}

impl Progress {
    /// Of what there are so many.
    pub(crate) fn new(what: &'static str) -> Self {
        Self { is_terminal: std::io::stderr().is_terminal(), what, last: String::new() }
    }

    pub(crate) fn step(&mut self, done: usize, of: usize, machine: &str) {
        let machine = clean(machine);
        let mut stderr = anstream::stderr();
        if self.is_terminal {
            let _gone = write!(stderr, "\r\x1b[K{}", bar(done, of, &machine));
        } else if !machine.is_empty() && machine != self.last {
            let _gone = writeln!(stderr, "{done} of {of} {}, now {machine}", self.what);
        }
        let _gone = stderr.flush();
        self.last = machine;
    }

    /// Takes the bar away.
    pub(crate) fn end(&self) {
        if self.is_terminal {
            let _gone = write!(anstream::stderr(), "\r\x1b[K");
        }
    }
}

fn bar(done: usize, of: usize, machine: &str) -> String {
    let full = (done * BAR).checked_div(of).unwrap_or(BAR).min(BAR);
    format!("[{}{}] {done}/{of} {machine}", "=".repeat(full), " ".repeat(BAR - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_never_fuller_than_full() {
        assert_eq!(bar(1, 2, "node-1"), "[============            ] 1/2 node-1");
        assert_eq!(bar(9, 2, ""), "[========================] 9/2 ");
        assert_eq!(bar(0, 0, ""), "[========================] 0/0 ");
    }
}
