//! Which kinds of outlets there are on Windows: one.

use super::OutletKind;

/// Of a device, and of its serial function.
pub(super) fn of_device() -> Vec<OutletKind> {
    vec![OutletKind::Pipe]
}

/// Of an endpoint that is configured by itself.
pub(super) fn of_endpoint() -> Vec<OutletKind> {
    of_device()
}
