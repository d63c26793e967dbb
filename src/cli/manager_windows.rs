//! Who is told of a daemon's state: the service manager, if it is a service. A person in a console reads what it says.

pub(super) use super::service_windows::{ready, stopping};

/// Never ends: the service manager has no watchdog.
pub(super) async fn feed_watchdog() {
    std::future::pending().await
}
