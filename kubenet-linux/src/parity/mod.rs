//! The proof that model and kernel agree: the same packets through both, compared frame by frame.

mod capture;
pub mod client;
mod cold;
pub mod dice;
pub mod draw;
pub mod frames;
pub mod gaps;
pub mod generate;
mod likeness;
pub mod report;
pub mod rules;
pub mod site;
pub mod suite;

pub use self::capture::{Capture, Captured, devices};
pub use self::cold::forget;
pub use self::likeness::{Likeness, Ports, is_housekeeping};
