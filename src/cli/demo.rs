//! `demo`: simulated devices and the daemon in one process.
//!
//! The devices sit behind a USB/IP server on a loopback port, on a thread of their own, so that the daemon does here
//! just what it does with a server elsewhere.

use std::io;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use firmware_mock::{DeviceKind, Mock};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::lifetime::Lifetime;
use super::own_place::{control, demo_outlets, demo_tour};
use super::signals::Signals;
use super::status::print_line;
use super::{Failure, Outcome, run_dir};
use crate::config::DeviceConfig;
use crate::daemon::{Beside, Daemon};
use crate::selector::Remote;

/// `usbpipe demo`.
pub(super) async fn demo(dir: Option<PathBuf>) -> Outcome {
    let mut signals = Signals::new()?;
    let mock = Mock::new(&DeviceKind::ALL);
    let busids = mock.busids();
    let listener = bind()?;
    let port = listener.local_addr().map_err(Failure::run_time)?.port();
    let mut configs = busids.into_iter().map(|(name, busid)| device(&name, busid, port));
    // The daemon makes the run dir, so it comes first. A demo needs no preparation, not even a place for run dirs.
    let daemon = match run_dir(dir) {
        Ok(dir) => Daemon::start(&dir, Vec::new(), None).await,
        Err(_) => Daemon::start_private("usbpipe-demo").await,
    };
    let mut daemon = daemon.map_err(Failure::run_time)?;
    let dir = daemon.dir();
    let control = daemon.listen_beside("mock.sock").map_err(io::Error::other);
    let devices = match control.and_then(|control| Devices::start(mock, listener, control)) {
        Ok(devices) => devices,
        Err(e) => {
            daemon.end().await;
            return Err(Failure::run_time(format!("the simulated devices cannot start: {e}")));
        }
    };
    // The boards are up before anybody listens, so that nobody finds their greeting before an answer.
    tokio::time::sleep(BOOT).await;
    if let Err(e) = configs.try_for_each(|config| daemon.start_device(config)) {
        daemon.end().await;
        devices.end();
        return Err(Failure::run_time(e));
    }
    let ready = tokio::select! {
        () = all_attached(&daemon) => true,
        () = tokio::time::sleep(PATIENCE) => false,
        _ = signals.next() => false,
    };
    let outcome = if ready {
        print_line(&introduction(&dir))?;
        let lifetime = Lifetime::listen(signals);
        lifetime.set_flush(daemon.longest_flush());
        lifetime.end().await;
        lifetime.finish(daemon).await
    } else {
        daemon.end().await;
        Err(Failure::run_time("the simulated devices did not appear; run it again with -v to see why"))
    };
    devices.end();
    outcome
}

fn device(name: &str, busid: String, port: u16) -> DeviceConfig {
    let remote = Remote { host: "127.0.0.1".to_owned(), port, busid: Some(busid) };
    DeviceConfig { remote: Some(remote), outlets: demo_outlets(), ..DeviceConfig::new(name) }
}

fn bind() -> Result<std::net::TcpListener, Failure> {
    let listen = || {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    listen().map_err(|e: io::Error| Failure::run_time(format!("no loopback port for the simulated devices: {e}")))
}

async fn all_attached(daemon: &Daemon) {
    while daemon.status().iter().any(|d| d.state != "attached") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The simulated devices on their thread.
struct Devices {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Devices {
    fn start(mock: Mock, listener: std::net::TcpListener, beside: Beside) -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let listener = TcpListener::from_std(listener)?;
        let control = control(beside)?;
        drop(entered);
        let thread = std::thread::Builder::new().name("devices".to_owned()).spawn(move || {
            let shutdown = async {
                let _ = stopped.await;
            };
            if let Err(e) = runtime.block_on(mock.serve(listener, Some(control), shutdown)) {
                tracing::error!("the simulated devices ended: {e}");
            }
        })?;
        Ok(Self { stop, thread })
    }

    fn end(self) {
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

/// Each command works exactly as printed.
fn introduction(dir: &Path) -> String {
    let program = std::env::current_exe().map_or_else(|_| "usbpipe".to_owned(), |p| p.display().to_string());
    format!(
        "Simulated USB devices are bridged in {}. Try, in another shell:\n\n{}\n\nCtrl-C ends it and leaves nothing behind.",
        dir.display(),
        demo_tour(dir, &program)
    )
}

/// The boards boot for 100 ms and greet whoever listens then; after this they only answer.
const BOOT: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(15);
