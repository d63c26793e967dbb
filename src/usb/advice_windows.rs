//! What to do about what Windows refuses, on one line. Opens nothing and changes nothing.

use std::path::Path;

/// The end of a sentence about the device `vid:pid` that could not be opened: programs reach it by the WinUSB driver
/// alone. One line without a full stop.
pub fn permission_advice(vid: u16, pid: u16, _node: &Path) -> String {
    format!(
        "Windows lets programs use a device by its driver WinUSB alone; install that for {vid:04x}:{pid:04x}, for \
         example with Zadig, and end other programs that have the device open"
    )
}

/// The same for a serial port by its name, such as `COM5`.
pub fn port_permission_advice(node: &Path) -> String {
    format!("another program has {} open, or you may not use it; end that program", node.display())
}

/// The end of a sentence about transfers for which there was no memory.
pub(super) fn transfer_memory_advice() -> String {
    "the system is short of memory for transfers; lower `transfer` or `queue`, or end other programs".to_owned()
}
