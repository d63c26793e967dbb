//! USB as the bridge sees it: devices, pipes and transfers, whatever carries them.
//!
//! The two traits here are what a backend implements. Nothing in this folder knows of outlets or of files.

pub mod advice;
#[cfg(target_os = "linux")]
#[path = "advice_linux.rs"]
mod advice_here;
#[cfg(windows)]
#[path = "advice_windows.rs"]
mod advice_here;
mod buffer;
pub mod descriptors;
mod device;
pub mod enumerate;
pub mod errno;
mod error;
mod guard;
pub mod libusb;
pub mod local;
pub mod nusb;
mod remarks;
pub mod standard;
mod transfer;
mod turn;
pub mod usbip;

pub use advice_here::{permission_advice, port_permission_advice};
pub use buffer::Buffer;
pub use device::{BoxFuture, FlowControl, ModemLines, Pipe, UsbDevice, complete, drain};
pub use error::{OpenError, TransferError};
pub use guard::caught;
pub use standard::Setup;
pub use transfer::{IsoPacket, Transfer};
pub use turn::{Prompt, take_turns};
