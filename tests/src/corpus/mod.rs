//! The corpus driver: runs every case below a folder, and says what each set came to.
//!
//! In: a folder laid out like `tests/corpus`. Out: a [`Report`] with the cases that failed, expected and got, and how many
//! passed, failed and are not supported in each set. The files named `SCHEMA*.md` in the corpus say what a case holds.
//!
//! A new case needs no code. A new set needs a line in [`sets`](self) that says how its files are cut into cases, and
//! a [`Handler`] that judges one case; until then it stands by name in [`UNSUPPORTED`]. A case that nobody has a name
//! for fails, as does a case that a finished set's handler cannot judge: nothing is passed over.

mod case;
mod facts;
mod find;
mod flow;
mod ipvs;
mod report;
mod services;
mod sets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

pub use self::case::{Case, Difference, Fault, Handler, Judgement, same};
pub use self::flow::{outcome, redirection};
pub use self::report::{Counts, Failure, Report};
pub use self::sets::UNSUPPORTED;

use self::sets::Support;

/// Runs every case below `root`.
pub fn run(root: &Path) -> Report {
    let mut report = Report::default();
    find::each_case(root, &mut |found| match found {
        Ok(case) => judge(&case, &mut report),
        Err(stray) => report.failed(&stray.set, stray.id, Fault::Malformed(stray.message)),
    });
    report
}

fn judge(case: &Case<'_>, report: &mut Report) {
    let handler = match sets::support(case.set) {
        Support::Handled(handler) => handler,
        Support::Listed(entry) => return report.listed(case.set, entry),
        Support::Unknown => {
            let why = format!("no set is named {:?}: add it to tests/src/corpus/sets.rs", case.set);
            return report.failed(case.set, case.id.clone(), Fault::Unsupported(why));
        }
    };
    // A panic in the library is a wrong answer to this case, not the end of the run.
    match catch_unwind(AssertUnwindSafe(|| handler.judge(case))) {
        Ok(Ok(())) => report.passed(case.set),
        Ok(Err(fault)) => report.failed(case.set, case.id.clone(), fault),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            let got = Difference::new("the run", "an answer", format_args!("a panic: {text}"));
            report.failed(case.set, case.id.clone(), Fault::Differs(vec![got]));
        }
    }
}
