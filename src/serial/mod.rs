//! Serial functions: CDC ACM over any USB backend, and the lines and resets that go with it.
//!
//! Opening is silent: nothing here touches a line or the line coding unless it is asked to.

mod boards;
mod cdc_acm;
mod gate;
mod lines;
mod notification;
pub mod port;
mod reset;

pub use boards::{board_name, counterpart, is_bootloader};
pub use cdc_acm::{Function, LineCoding, find_function, find_functions};
pub use gate::{Gate, Hold};
pub use lines::{Lines, Wanted};
pub use notification::{SerialState, parse_notification};
pub use reset::{EspBridge, Step, TOUCH_BAUD, esp_bootloader, profile, upload};
