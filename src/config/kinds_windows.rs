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

/// Why there is none of this kind, and what there is instead.
pub(super) fn refusal(kind: OutletKind) -> Option<&'static str> {
    match kind {
        // Terminals are told of where other gaps are.
        OutletKind::Pipe | OutletKind::Tty => None,
        OutletKind::Fifo => Some("Windows has no FIFOs; write pipe, a named pipe, or leave `outlets` out"),
        OutletKind::Socket => {
            Some("Windows has no such sockets; write pipe: a named pipe takes several programs, as a socket does")
        }
    }
}
