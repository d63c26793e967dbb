//! Which kinds of outlets there are on Windows, one, and what the names of devices are there.

use super::OutletKind;

/// Of a device, and of its serial function.
pub(super) fn of_device() -> Vec<OutletKind> {
    vec![OutletKind::Pipe]
}

/// Of an endpoint that is configured by itself.
pub(super) fn of_endpoint() -> Vec<OutletKind> {
    of_device()
}

/// What is one for all devices of a name: pipes have no capital letters of their own.
pub(super) fn identity(name: &str) -> String {
    name.to_ascii_lowercase()
}
