//! Backend `serial`: the operating system's serial ports, whatever chip is behind them.
//!
//! A port is shown as what it most resembles, a USB device with one CDC ACM function: its bytes are the transfers of
//! two bulk endpoints, and the class requests act on its speed and its modem lines. So lines, pumps and sessions need
//! not know of it. There is no parity mark, no flow control and no other line discipline here: bytes go through as
//! they are.
//!
//! ```text
//!   Pipe 0x81 ◄─ read  ─┐                                     ┌─ class requests ◄─ Lines
//!   Pipe 0x01 ── write ─┴─ descriptor in the reactor ── Port ─┴─ one at a time, on helper threads
//! ```
//!
//! Opening raises DTR and RTS: the kernel does that inside open(2) and no program can keep it from doing so. Where
//! that matters, `driver = "user"` leaves the kernel's driver out.

mod device;
mod holders_linux;
mod info;
mod ioctl_linux;
mod node_linux;
mod opened;
mod pipe;
mod settings;
mod sysfs_linux;
#[cfg(test)]
mod tests;

pub use device::{SerialDevice, open};
pub use info::{PortInfo, UsbPort};
pub use node_linux::{UNSEEN, others, permission_advice};
pub use settings::list;
