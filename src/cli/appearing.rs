//! Devices that were named on the command line: each gets a name and a keeper once it is there and says who it is.
//!
//! They come out in the order in which they were named, so that twins get the same names at each start, whichever of them
//! answers first. A device that is not there holds nobody up: it gets its name when it comes.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::options::BridgeArgs;
use crate::config::{Backend, DeviceConfig, Match, SerialConfig};
use crate::name;
use crate::selector::Selector;
use crate::serial::find_functions;
use crate::session::{Arrivals, Found, Own, fits, locate};
use crate::usb::local::{self, LocalDevice};

/// A device that is there, and the device itself if it had to be opened to know it.
pub(super) type Appeared = (DeviceConfig, Option<Found>);

/// Waits for devices.
pub(super) struct Appearing {
    reports: mpsc::Receiver<(usize, Report)>,
    sender: mpsc::Sender<(usize, Report)>,
    own: Own,
    tasks: JoinSet<()>,
    queue: Queue<Appeared>,
    /// When those that have not answered no longer hold up the others.
    deadline: Instant,
}

/// What has been heard of a selector, by its position.
enum Report {
    /// A device appeared.
    Appeared(Box<Appeared>),
    /// It has been looked for once, and all that was there has been reported.
    Looked,
}

/// Puts what comes for several positions in the order of the positions, for as long as some are waited for.
struct Queue<T> {
    /// By position and arrival.
    waiting: BTreeMap<(usize, usize), T>,
    arrivals: usize,
    /// Positions of which nothing is known yet.
    unknown: Vec<usize>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), arrivals: 0, unknown: Vec::new() }
    }
}

impl<T> Queue<T> {
    fn push(&mut self, position: usize, item: T) {
        self.arrivals += 1;
        self.waiting.insert((position, self.arrivals), item);
    }

    fn looked(&mut self, position: usize) {
        self.unknown.retain(|&unknown| unknown != position);
    }

    /// The first, unless one may still come before it.
    fn pop(&mut self) -> Option<T> {
        let (position, _) = *self.waiting.keys().next()?;
        let is_next = self.unknown.iter().all(|&unknown| unknown >= position);
        is_next.then(|| self.waiting.pop_first().map(|(_, item)| item)).flatten()
    }
}

impl Appearing {
    /// Waits for these: each names one remote device, one serial port, or any number of devices of this machine. `own` is
    /// what the daemon's keepers share.
    pub(super) fn new(own: Own, selectors: Vec<Selector>, options: BridgeArgs) -> Self {
        let (sender, reports) = mpsc::channel(1);
        let queue = Queue { unknown: (0..selectors.len()).collect(), ..Queue::default() };
        let deadline = Instant::now() + ORDER_PATIENCE;
        let mut appearing = Self { reports, sender, own, tasks: JoinSet::new(), queue, deadline };
        for (position, selector) in selectors.into_iter().enumerate() {
            appearing.wait_for(position, selector, options);
        }
        appearing
    }

    fn wait_for(&mut self, position: usize, selector: Selector, options: BridgeArgs) {
        let (reporter, own) = (Reporter { position, sender: self.sender.clone() }, self.own.clone());
        let wanted = device_of(&selector, &options);
        match selector {
            Selector::Usbip(_) => self.tasks.spawn(remote_device(selector, wanted, own, reporter)),
            Selector::Tty(_) => self.tasks.spawn(async move {
                reporter.appeared(wanted, None).await;
                reporter.looked().await;
            }),
            Selector::Id { .. } | Selector::Product(_) | Selector::Serial(_) | Selector::Port(_) => {
                self.tasks.spawn(own_devices(selector, options, own, reporter))
            }
        };
    }

    /// The next device that is there; never ready when none comes.
    pub(super) async fn next(&mut self) -> Appeared {
        loop {
            if let Some(appeared) = self.queue.pop() {
                return appeared;
            }
            let heard = match self.queue.unknown.is_empty() {
                true => self.reports.recv().await,
                false => match timeout_at(self.deadline, self.reports.recv()).await {
                    Ok(heard) => heard,
                    Err(_) => {
                        self.queue.unknown.clear();
                        continue;
                    }
                },
            };
            match heard {
                Some((position, Report::Appeared(appeared))) => self.queue.push(position, *appeared),
                Some((position, Report::Looked)) => self.queue.looked(position),
                None => std::future::pending().await,
            }
        }
    }
}

/// Reports what is heard of one selector.
struct Reporter {
    position: usize,
    sender: mpsc::Sender<(usize, Report)>,
}

impl Reporter {
    async fn appeared(&self, config: DeviceConfig, found: Option<Found>) {
        // Nobody waits any more when the daemon ends.
        let _ = self.sender.send((self.position, Report::Appeared(Box::new((config, found))))).await;
    }

    async fn looked(&self) {
        let _ = self.sender.send((self.position, Report::Looked)).await;
    }
}

/// The configuration of a device that is only known by its selector: everything it has is bridged, as the options say.
pub(super) fn device_of(selector: &Selector, options: &BridgeArgs) -> DeviceConfig {
    let matches = Match::of(selector);
    let name = match selector {
        Selector::Usbip(remote) => remote.busid.as_ref().unwrap_or(&remote.host).clone(),
        Selector::Id { vid, pid, serial } => name::from_ids(*vid, *pid, serial.as_deref()),
        Selector::Product(name) | Selector::Serial(name) | Selector::Port(name) => name.clone(),
        Selector::Tty(path) => path.file_name().map_or_else(|| "serial".into(), |n| n.to_string_lossy().into_owned()),
    };
    let mut config = DeviceConfig { matches, ..DeviceConfig::new(&name) };
    match selector {
        Selector::Usbip(remote) => config.remote = Some(remote.clone()),
        Selector::Tty(_) => (config.backend, config.serial) = (Backend::Serial, Some(SerialConfig::default())),
        _ => {}
    }
    options.apply(&mut config);
    config
}

async fn remote_device(selector: Selector, config: DeviceConfig, own: Own, reporter: Reporter) {
    let selector = selector.to_string();
    let mut told = Told::default();
    loop {
        match locate(&config, &own).await {
            Ok(found) => {
                let d = found.device.descriptors();
                let name = name::from_ids(d.vendor_id, d.product_id, d.serial_number.as_deref());
                reporter.appeared(DeviceConfig { name, ..config }, Some(found)).await;
                return reporter.looked().await;
            }
            Err(error) => told.tell(&selector, error.to_string()),
        }
        reporter.looked().await;
        tokio::time::sleep(RETRY).await;
    }
}

/// Each device that fits and that no keeper waits for already gets one.
async fn own_devices(selector: Selector, options: BridgeArgs, own: Own, reporter: Reporter) {
    let wanted = device_of(&selector, &options);
    let text = selector.to_string();
    let mut arrivals = Arrivals::new(&wanted, &own);
    let mut kept = 0;
    let mut told = Told::default();
    loop {
        let present = local::list().unwrap_or_default();
        let fitting: Vec<&LocalDevice> = present.iter().filter(|d| fits(d, &wanted.matches)).collect();
        if fitting.is_empty() && kept == 0 {
            told.tell(&text, format!("no such device is plugged in; there is {}", local::in_words(&present)));
        }
        let is_twin = fitting.len() > 1;
        for device in fitting.iter().filter(|d| !own.taken.contains(&d.place)) {
            if kept >= fitting.len() {
                break;
            }
            kept += 1;
            reporter.appeared(named(device, &wanted, &options, is_twin), None).await;
        }
        reporter.looked().await;
        arrivals.next().await;
    }
}

/// The configuration of one device that is there. Twins are told apart by where they are plugged in.
fn named(device: &LocalDevice, wanted: &DeviceConfig, options: &BridgeArgs, is_twin: bool) -> DeviceConfig {
    let name = name::from_ids(device.vendor_id, device.product_id, device.serial_number.as_deref());
    let mut matches = wanted.matches.clone();
    if is_twin {
        matches.port = Some(device.place.clone());
    }
    let functions = if options.wants_usb() { 0 } else { kernel_ports(device) };
    let serial = (functions > 0).then(|| options.serial_line(wanted));
    // An interface that was asked for is the one line's alone.
    let others = if options.take.interface.is_some() { 0 } else { functions };
    let more_serial = (1..others).map(|nth| (nth, options.serial_line(wanted))).collect();
    DeviceConfig { name, matches, serial, more_serial, ..wanted.clone() }
}

/// The kernel makes a serial port of every CDC ACM function, and programs of this machine may use it as well.
fn kernel_ports(device: &LocalDevice) -> usize {
    device.descriptors().map_or(0, |d| find_functions(&d).len())
}

/// What people were told last, so that they are told only news.
#[derive(Default)]
struct Told(Option<String>);

impl Told {
    fn tell(&mut self, selector: &str, reason: String) {
        if self.0.as_ref() != Some(&reason) {
            tracing::warn!("waiting for a device: {selector}: {reason}");
            self.0 = Some(reason);
        }
    }
}

/// How often a remote device that is awaited is looked for.
const RETRY: Duration = Duration::from_millis(500);
/// How long a device that has not answered yet holds up those that were named after it: as long as a server may take.
const ORDER_PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_for_several_positions_comes_out_in_their_order_while_any_of_them_is_unknown() {
        let mut queue = Queue { unknown: vec![0, 1, 2], ..Queue::default() };
        queue.push(2, "last");
        queue.push(1, "middle");
        queue.push(1, "its twin");
        assert_eq!(queue.pop(), None);
        queue.looked(0);
        assert_eq!((queue.pop(), queue.pop()), (Some("middle"), Some("its twin")));
        assert_eq!(queue.pop(), None, "more may come for the one before");
        queue.looked(1);
        assert_eq!(queue.pop(), Some("last"));
        queue.push(0, "late");
        assert_eq!(queue.pop(), Some("late"), "it holds nobody up, and nobody holds it up");
    }
}
