//! What systemd is told of a daemon, if it listens: sd_notify(3).

use sd_notify::NotifyState;

/// Outlets and commands work.
pub(super) fn ready() {
    notify(NotifyState::Ready);
}

/// The end has begun.
pub(super) fn stopping() {
    notify(NotifyState::Stopping);
}

fn notify(state: NotifyState<'_>) {
    if let Err(e) = sd_notify::notify(&[state]) {
        tracing::warn!("telling systemd failed: {e}");
    }
}
