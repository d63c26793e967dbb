//! The bridge: moves bytes between one USB pipe and its outlets, and does nothing else.
//!
//! ```text
//!   IN    Pipe ──completed transfers──► ring ──► each reader: framing ──► Sink       bulk_in, iso_in, readers
//!   OUT   each writer: Source ──► framing ──► in turn ──transfers──► Pipe            bulk_out, iso_out, writers
//! ```
//!
//! A pump exists while both of its ends do. It ends once, says which end stopped and why ([`Verdict`]), and never
//! retries; what it could not deliver stays in it for the next run. Waiting for readers and devices is the session's.

mod account;
pub mod alone;
mod bulk_in;
mod bulk_out;
mod counters;
mod cutter;
mod deframe;
mod frame;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod in_pump;
mod iso_in;
mod iso_out;
mod place;
mod readers;
mod ring;
mod unread;
mod verdict;
mod writers;

pub use account::{Account, Tally};
pub use bulk_in::BulkIn;
pub use bulk_out::{BulkOut, Sizes};
pub use counters::{Counters, Refusals, Snapshot};
pub use frame::Framing;
pub(crate) use in_pump::InPump;
pub use iso_in::{IsoIn, IsoShape};
pub use iso_out::{IsoOut, IsoOutSettings};
pub use readers::{Guest, NewReader, Readers, ReadersPolicy};
pub use unread::InputPolicy;
pub use verdict::Verdict;
pub use writers::{NewWriter, Writers};

#[cfg(test)]
mod fakes;
