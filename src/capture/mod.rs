//! Captures: what crosses between the pumps and a device, as pcapng with the headers of Linux's usbmon (link type 220).
//!
//! ```text
//!   pump, control ─► tapped device ─► backend
//!                         │ only while somebody captures
//!                         ▼
//!                    Tap ─► a bounded spool for each capture ─► its reader
//! ```
//!
//! A capture never slows what it looks at: what its spool has no room for is left out, counted, and told in the stream.

mod blocks;
mod pcapng;
mod spool;
mod tap;
mod tapped;
mod usbmon;

pub use blocks::{Block, Blocks, Kind, NoBlock};
pub use pcapng::MOST_CAPTURED;
pub use tap::{Capture, Refused, Tap, introduce};
pub use usbmon::HEADER;
