//! The bridge: moves bytes between one USB pipe and its outlets, and does nothing else.
//!
//! ```text
//!   IN    Pipe ──completed transfers──► framing ──► Sink        bulk_in, iso_in
//!   OUT   Source ──► framing ──transfers──► Pipe                bulk_out, iso_out
//! ```
//!
//! A pump exists while both of its ends do. It ends once, says which end stopped and why ([`Verdict`]), and never
//! retries; what it could not deliver stays in it for the next run. Waiting for readers and devices is the session's.

mod bulk_in;
mod bulk_out;
mod counters;
mod deframe;
mod frame;
mod iso_in;
mod iso_out;
mod verdict;

pub use bulk_in::BulkIn;
pub use bulk_out::{BulkOut, Sizes};
pub use counters::{Counters, Snapshot};
pub use frame::Framing;
pub use iso_in::{IsoIn, IsoShape};
pub use iso_out::{IsoOut, IsoOutSettings};
pub use verdict::{Discard, Verdict};

#[cfg(test)]
mod fakes;
