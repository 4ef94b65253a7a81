//! The proof that model and kernel agree: the same packets through both, compared frame by frame.

mod capture;
pub mod client;
mod cold;
pub mod frames;
pub mod gaps;
pub mod generate;
mod likeness;
pub mod report;
pub mod rules;
pub mod site;

use kubenet_core::network::Question;

pub use self::capture::{Capture, Captured, devices};
pub use self::cold::forget;
pub use self::likeness::{Likeness, Ports, is_housekeeping};

/// The question that a flow asks the model.
pub fn question(flow: &generate::Flow) -> Question {
    let mut question = Question::new(flow.from.clone(), flow.to.clone());
    question.protocol = Some(flow.protocol);
    question.family = flow.family;
    question.sport = Some(flow.sport);
    question.payload = flow.payload;
    question
}
