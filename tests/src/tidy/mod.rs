//! Reads the tree and says what is not as it should be.
//!
//! In: the files of the repository, as git knows them. Out: offences, one line each, with file and line. `tests/tidy.rs`
//! holds every list to be empty.

mod files;
mod layers;
mod links;
mod scan;
mod words;

pub use self::files::{File, Kind, files, root};
pub use self::layers::{LAYERS, layering, order};
pub use self::links::links;
pub use self::words::{banned_crates, dataplane_words, foreign_words, form, headers, length, unfinished};
