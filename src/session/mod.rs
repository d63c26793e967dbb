//! A session keeper for each device: it finds the device, gives its pipes to the lines, and starts over when it goes.
//!
//! ```text
//!                  found, descriptors read               link lost
//!   searching ───────────────────────────► attached ───────────────► searching (with backoff)
//!       │                                      │
//!       └──────────────── stop ────────────────┴──► lines flush and end ──► outlets removed
//! ```
//!
//! Outlets of configured endpoints are made at the start and stand until the end. A line (one endpoint and its outlet)
//! lives as long as its outlet; pipes come and go.

mod admission;
mod arrivals;
mod backoff;
mod claim;
mod coding;
mod control;
mod device_json;
mod doors;
mod entrance;
mod events;
mod follow;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod hub;
mod in_line;
mod journal;
mod keeper;
mod late;
mod lent;
mod limiter;
mod line;
mod loan;
mod locate;
mod lock;
mod losses;
mod network;
mod openings;
mod out_line;
mod paced;
mod pass;
mod passed_over;
mod plan;
mod port_watch;
mod problem;
mod program;
mod refused;
mod release;
mod serial;
mod shared;
mod sockets;
mod status;
mod tasks;
mod terminals;
mod text;
mod when_woken;

pub use admission::Need;
pub use arrivals::Arrivals;
pub use control::{addressed_interface, execute};
pub use events::{Event, Events};
pub use hub::Via;
pub use journal::Journal;
pub use keeper::{Handle, Keeper, Surroundings};
pub use line::Stop;
pub use locate::{Found, Own, Taken, fits, locate, uses_port};
#[cfg(unix)]
pub use pass::keep_descriptors;
#[cfg(windows)]
pub use pass::keep_handles;
pub use pass::{End as PassedEnd, Pass};
pub use plan::check_endpoints;
#[cfg(target_os = "linux")]
pub use program::guard;
pub use release::Lease;
pub use shared::Offers;
pub use status::{ClientStatus, DeviceStatus, PipeStatus};
pub use tasks::{TaskState, TaskStatus, Tasks};
pub use text::{Line as TextLine, TextReader};
