//! Simulated devices in this process, on a thread of their own.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::thread::{JoinHandle, spawn};

use firmware_mock::{DeviceKind, Mock};
use tempfile::TempDir;

/// Simulated devices behind a USB/IP server on a loopback port, on a thread of this process.
pub struct Bus {
    pub port: u16,
    pub busids: Vec<(String, String)>,
    control: PathBuf,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _dir: TempDir,
}

impl Bus {
    /// Plugs in these devices.
    pub fn with(kinds: &[DeviceKind]) -> Self {
        Self::on_port(kinds, 0)
    }

    /// The same on a given port, as a server that was restarted.
    pub fn on_port(kinds: &[DeviceKind], port: u16) -> Self {
        let dir = TempDir::new().unwrap();
        let control = dir.path().join("mock.sock");
        let mock = Mock::new(kinds);
        let busids = mock.busids();
        let listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (ready, is_ready) = channel();
        let path = control.clone();
        let thread = spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let (control, _guard) = firmware_mock::os::bind_control(&path).unwrap();
                ready.send(()).unwrap();
                mock.serve(listener, Some(control), async { drop(stopped.await) }).await.unwrap();
            });
        });
        is_ready.recv().unwrap();
        Self { port, busids, control, stop: Some(stop), thread: Some(thread), _dir: dir }
    }

    /// Sends a fault command, such as `unplug zero 100`, and expects `ok`.
    pub fn command(&self, line: &str) {
        assert_eq!(self.answer(line), "ok\n", "to {line:?}");
    }

    /// Sends a fault command and gives the answer line.
    pub fn answer(&self, line: &str) -> String {
        let mut stream = UnixStream::connect(&self.control).unwrap();
        writeln!(stream, "{line}").unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        answer
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
