//! News that a device may have come, gone, or changed its permissions. Says neither which nor how: look again.
//!
//! It watches the nodes in `/dev` by inotify, because the kernel makes and removes them itself: that needs no udevd,
//! works in containers, and also tells when udev has set a node's permissions, which is later than its making.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::StreamExt;
use inotify::{EventMask, Inotify, Watches};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::news::News;
use super::paths_linux::{CHANGES, Paths};

/// Watches for plugging. Cheap to clone; starts at the first question, so that who never asks pays nothing.
#[derive(Clone, Default)]
pub struct Hotplug(Arc<Mutex<Option<Running>>>);

struct Running {
    news: watch::Receiver<u64>,
    watches: Watches,
    paths: Arc<Mutex<Paths>>,
    task: JoinHandle<()>,
}

impl Hotplug {
    /// From now on. Needs a tokio runtime.
    ///
    /// # Errors
    /// Those of inotify(7): too many instances, for one.
    pub fn news(&self) -> io::Result<News> {
        let mut running = lock(&self.0);
        if let Some(running) = &*running {
            return Ok(News::of(&running.news));
        }
        let (sender, news) = watch::channel(0);
        let (inotify, paths) = (Inotify::init()?, Arc::<Mutex<Paths>>::default());
        let watches = inotify.watches();
        let task = tokio::spawn(listen(inotify, paths.clone(), sender)?);
        *running = Some(Running { news: news.clone(), watches, paths, task });
        Ok(News::of(&news))
    }

    /// The same, and from now on they are also about whatever `path` leads to.
    ///
    /// # Errors
    /// As above.
    pub fn news_of(&self, path: &Path) -> io::Result<News> {
        let news = self.news()?;
        if let Some(running) = &mut *lock(&self.0) {
            lock(&running.paths).add(path, &mut running.watches);
        }
        Ok(news)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn listen(
    inotify: Inotify,
    paths: Arc<Mutex<Paths>>,
    news: watch::Sender<u64>,
) -> io::Result<impl Future<Output = ()> + Send> {
    let mut watches = inotify.watches();
    watch_buses(&mut watches);
    let mut events = inotify.into_event_stream([0; EVENT_BUFFER])?;
    Ok(async move {
        while let Some(Ok(event)) = events.next().await {
            let concerns_path = event.name.as_ref().is_some_and(|name| lock(&paths).are_concerned(name));
            let folder_gone = event.mask.contains(EventMask::IGNORED);
            if event.mask.contains(EventMask::ISDIR) || folder_gone || concerns_path {
                watch_buses(&mut watches);
                lock(&paths).watch(&mut watches);
            }
            let is_of_interest = event.name.as_ref().and_then(|name| name.to_str()).is_some_and(is_of_interest);
            if event.mask.contains(EventMask::Q_OVERFLOW) || is_of_interest || concerns_path || folder_gone {
                news.send_modify(|count| *count += 1);
            }
        }
    })
}

/// Those that do not exist yet are watched when the folder above them says so. Twice is once.
fn watch_buses(watches: &mut Watches) {
    let buses = std::fs::read_dir(USBFS).into_iter().flatten().flatten().map(|entry| entry.path());
    for folder in ["/dev", "/dev/bus", USBFS].map(PathBuf::from).into_iter().chain(buses) {
        let _ = watches.add(folder, CHANGES);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
