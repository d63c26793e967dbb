//! Which kinds of outlets there are on Unix, which a device has if nobody says, and what the names of devices are there.

use super::OutletKind;

/// Of a device, and of its serial function.
pub(super) fn of_device() -> Vec<OutletKind> {
    vec![OutletKind::Fifo, OutletKind::Tty]
}

/// Of an endpoint that is configured by itself.
pub(super) fn of_endpoint() -> Vec<OutletKind> {
    vec![OutletKind::Fifo]
}

/// What is one for all devices of a name.
pub(super) fn identity(name: &str) -> String {
    name.to_owned()
}
