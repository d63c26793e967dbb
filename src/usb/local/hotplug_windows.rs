//! News that a device or a serial port may have come or gone, from Windows' own notifications through nusb and from its list
//! of ports. Says neither which nor how: look again.
//!
//! Parts of a device appear up to a tenth of a second after the device itself, without news of their own, so that each is
//! told a second time.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{BoxStream, pending};
use nusb::hotplug::HotplugEvent;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleW, GetProcAddress};
use windows_sys::{s, w};

use super::news::News;
use super::serial_port_changes;

/// Watches for plugging. Cheap to clone; starts at the first question, so that who never asks pays nothing.
#[derive(Clone, Default)]
pub struct Hotplug(Arc<Mutex<Option<Running>>>);

struct Running {
    news: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

impl Hotplug {
    /// From now on. Needs a tokio runtime.
    ///
    /// # Errors
    /// Those of CM_Register_Notification and of the registry.
    pub fn news(&self) -> io::Result<News> {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = &*running {
            return Ok(News::of(&running.news));
        }
        let devices = devices()?;
        let ports = serial_port_changes()?;
        let (sender, news) = watch::channel(0);
        let task = tokio::spawn(listen(devices, ports, sender));
        *running = Some(Running { news: news.clone(), task });
        Ok(News::of(&news))
    }

    /// The same: they are about all ports anyway.
    ///
    /// # Errors
    /// As above.
    pub fn news_of(&self, _path: &Path) -> io::Result<News> {
        self.news()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// News of devices; none under Wine, which has no devices here and ends programs that ask for such news.
fn devices() -> io::Result<BoxStream<'static, HotplugEvent>> {
    if is_wine() {
        return Ok(pending().boxed());
    }
    Ok(nusb::watch_devices().map_err(io::Error::from)?.boxed())
}

fn is_wine() -> bool {
    // SAFETY: both names end with a NUL, and every process has this library.
    unsafe { GetProcAddress(GetModuleHandleW(w!("ntdll.dll")), s!("wine_get_version")) }.is_some()
}

async fn listen(
    mut devices: BoxStream<'static, HotplugEvent>,
    mut ports: watch::Receiver<()>,
    news: watch::Sender<u64>,
) {
    let tell = || news.send_modify(|count| *count += 1);
    loop {
        tokio::select! {
            Some(_) = devices.next() => {}
            Ok(()) = ports.changed() => {}
            else => return,
        }
        tell();
        tokio::time::sleep(SETTLING).await;
        tell();
    }
}

/// Longer than parts of a device take to appear after it.
const SETTLING: Duration = Duration::from_millis(300);
