//! The proof that model and kernel agree: the same packets through both, compared frame by frame.

mod calm;
mod capture;
pub mod client;
pub mod dice;
pub mod draw;
mod drops;
pub mod frames;
pub mod gaps;
pub mod generate;
mod judge;
mod learned;
mod likeness;
mod lists;
mod memory;
mod quiet;
mod received;
pub mod report;
pub mod rules;
pub mod site;
pub mod suite;

pub use self::capture::{Capture, Captured};
pub use self::likeness::{Likeness, Ports, is_housekeeping};
