//! Backend `serial`: the operating system's serial ports, whatever chip is behind them.
//!
//! A port is shown as what it most resembles, a USB device with one CDC ACM function: its bytes are the transfers of
//! two bulk endpoints, and the class requests act on its speed and its modem lines. So lines, pumps and sessions need
//! not know of it. There is no parity mark and no other line discipline here: bytes go through as they are, but XON and
//! XOFF where flow control by them is asked for.
//!
//! ```text
//!   Pipe 0x81 ◄─ read  ─┐                                     ┌─ class requests ◄─ Lines
//!   Pipe 0x01 ── write ─┴─ descriptor in the reactor ── Port ─┴─ one at a time, on helper threads
//! ```
//!
//! Opening raises DTR and RTS: the kernel does that inside open(2) and no program can keep it from doing so. Where
//! that matters, `driver = "user"` leaves the kernel's driver out.

mod device;
mod info;
#[cfg(target_os = "linux")]
mod ioctl_linux;
#[cfg(target_os = "linux")]
#[path = "node_linux.rs"]
mod node;
#[cfg(windows)]
#[path = "node_windows.rs"]
mod node;
#[cfg(unix)]
#[path = "opened_unix.rs"]
mod opened;
#[cfg(windows)]
#[path = "opened_windows.rs"]
mod opened;
#[cfg(windows)]
mod overlapped_windows;
mod pipe;
#[cfg(unix)]
#[path = "settings_unix.rs"]
mod settings;
#[cfg(windows)]
#[path = "settings_windows.rs"]
mod settings;
mod several;
#[cfg(target_os = "linux")]
#[path = "system_linux.rs"]
mod system;
#[cfg(windows)]
#[path = "system_windows.rs"]
mod system;
mod work;

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;

pub use device::{FirstSettings, SerialDevice, open};
pub use info::{PortInfo, UsbPort};
pub use node::{UNSEEN, others, permission_advice};
pub use settings::list;
pub use several::SeveralPorts;
