//! What systemd is told of a daemon, if it listens: sd_notify(3). Nothing here waits for systemd: what it does not take at
//! once is not sent.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Outlets and commands work.
pub(super) fn ready() {
    notify("READY=1");
}

/// The end has begun.
pub(super) fn stopping() {
    notify("STOPPING=1");
}

/// Reports that the reactor goes round, for as long as it does: with WatchdogSec= systemd ends a daemon that is silent. Never
/// ends.
pub(super) async fn feed_watchdog() {
    let Some(limit) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    feed(limit, || notify("WATCHDOG=1")).await
}

/// Twice in each time, as sd_watchdog_enabled(3) recommends.
async fn feed(limit: Duration, mut notify: impl FnMut()) {
    loop {
        notify();
        tokio::time::sleep(limit / 2).await;
    }
}

fn notify(state: &str) {
    let Some(socket) = env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) else { return };
    if let Err(e) = send(socket.as_bytes(), state) {
        tracing::warn!("telling systemd {state} failed: {e}");
    }
}

fn send(name: &[u8], state: &str) -> io::Result<()> {
    let address = match name.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_reactor_that_does_not_go_round_feeds_no_watchdog() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (fed, limit) = (Cell::new(0), Duration::from_millis(20));
        let until = |count: u32| {
            let fed = &fed;
            async move {
                while fed.get() < count {
                    tokio::task::yield_now().await;
                }
            }
        };
        runtime.block_on(async {
            tokio::select! {
                () = feed(limit, || fed.set(fed.get() + 1)) => {}
                () = async {
                    until(3).await;
                    let (before, blocked) = (fed.get(), Instant::now());
                    while blocked.elapsed() < 5 * limit {
                        std::thread::yield_now();
                    }
                    assert_eq!(fed.get(), before);
                    until(before + 1).await;
                } => {}
            }
        });
    }

    #[test]
    fn systemd_gets_it_by_a_path_or_an_abstract_name_and_nobody_waits_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let mut buffer = [0; 64];
        send(path.as_os_str().as_bytes(), "READY=1").unwrap();
        let n = manager.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..n], b"READY=1");
        let name = format!("usbpipe-test-{}", std::process::id());
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        send(format!("@{name}").as_bytes(), "WATCHDOG=1").unwrap();
        let n = manager.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..n], b"WATCHDOG=1");
        // One that reads nothing.
        let full = (0..100_000).find_map(|_| send(path.as_os_str().as_bytes(), "WATCHDOG=1").err());
        assert_eq!(full.unwrap().kind(), io::ErrorKind::WouldBlock);
    }
}
