//! News that a device may have come, gone, or changed its permissions. Says neither which nor how: look again.
//!
//! It watches the nodes in `/dev` by inotify, because the kernel makes and removes them itself: that needs no udevd,
//! works in containers, and also tells when udev has set a node's permissions, which is later than its making.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt;
use inotify::{EventMask, Inotify, WatchMask, Watches};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Watches for plugging. Cheap to clone; starts at the first question, so that who never asks pays nothing.
#[derive(Clone, Default)]
pub struct Hotplug(Arc<Mutex<Option<Running>>>);

struct Running {
    news: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

/// What has happened since it was made.
pub struct News(watch::Receiver<u64>);

impl Hotplug {
    /// From now on. Needs a tokio runtime.
    ///
    /// # Errors
    /// Those of inotify(7): too many instances, for one.
    pub fn news(&self) -> io::Result<News> {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = &*running {
            let mut news = running.news.clone();
            news.mark_unchanged();
            return Ok(News(news));
        }
        let (sender, news) = watch::channel(0);
        let task = tokio::spawn(listen(Inotify::init()?, sender)?);
        *running = Some(Running { news: news.clone(), task });
        Ok(News(news))
    }
}

impl News {
    /// Resolves when something has changed since the last time.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            // The listener ends only with the runtime.
            std::future::pending().await
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn listen(inotify: Inotify, news: watch::Sender<u64>) -> io::Result<impl Future<Output = ()> + Send> {
    let mut watches = inotify.watches();
    watch_all(&mut watches);
    let mut events = inotify.into_event_stream([0; EVENT_BUFFER])?;
    Ok(async move {
        while let Some(Ok(event)) = events.next().await {
            let name = event.name.as_ref().and_then(|name| name.to_str());
            if event.mask.contains(EventMask::ISDIR) {
                watch_all(&mut watches);
            }
            if event.mask.contains(EventMask::Q_OVERFLOW) || name.is_some_and(is_of_interest) {
                news.send_modify(|count| *count += 1);
            }
        }
    })
}

/// Those that do not exist yet are watched when the folder above them says so. Twice is once.
fn watch_all(watches: &mut Watches) {
    let buses = std::fs::read_dir(USBFS).into_iter().flatten().flatten().map(|entry| entry.path());
    for folder in ["/dev", "/dev/bus", USBFS].map(PathBuf::from).into_iter().chain(buses) {
        let _ = watches.add(folder, WatchMask::CREATE | WatchMask::DELETE | WatchMask::ATTRIB | WatchMask::ONLYDIR);
    }
}

/// Nodes of usbfs and the folders above them, and serial ports.
fn is_of_interest(name: &str) -> bool {
    let is_number = !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit());
    is_number || matches!(name, "bus" | "usb") || SERIAL.iter().any(|prefix| name.starts_with(prefix))
}

const USBFS: &str = "/dev/bus/usb";
const SERIAL: [&str; 5] = ["ttyACM", "ttyUSB", "ttyS", "ttyAMA", "rfcomm"];
/// Bytes; an event has 16 and a name of at most 255.
const EVENT_BUFFER: usize = 4096;
