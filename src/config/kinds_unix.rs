//! Which kinds of outlets there are on Unix, and which a device has if nobody says.

use super::OutletKind;

/// Of a device, and of its serial function.
pub(super) fn of_device() -> Vec<OutletKind> {
    vec![OutletKind::Fifo, OutletKind::Tty]
}

/// Of an endpoint that is configured by itself.
pub(super) fn of_endpoint() -> Vec<OutletKind> {
    vec![OutletKind::Fifo]
}
