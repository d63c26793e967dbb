//! Devices that were named on the command line: each gets a name and a keeper once it is there and says who it is.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::options::BridgeArgs;
use crate::config::{Backend, DeviceConfig, Match, SerialConfig};
use crate::name;
use crate::selector::Selector;
use crate::serial::find_functions;
use crate::session::{Arrivals, Own, fits, locate};
use crate::usb::local::{self, LocalDevice};

/// Waits for devices.
pub(super) struct Appearing {
    found: mpsc::Receiver<DeviceConfig>,
    sender: mpsc::Sender<DeviceConfig>,
    own: Own,
    tasks: JoinSet<()>,
}

impl Appearing {
    /// Waits for none yet. `own` is what the daemon's keepers share.
    pub(super) fn new(own: Own) -> Self {
        let (sender, found) = mpsc::channel(1);
        Self { found, sender, own, tasks: JoinSet::new() }
    }

    /// Waits for what this selector names: one remote device, one serial port, or any number of devices of this machine.
    pub(super) fn wait_for(&mut self, selector: Selector, options: BridgeArgs) {
        let (sender, own) = (self.sender.clone(), self.own.clone());
        let wanted = device_of(&selector, &options);
        match selector {
            Selector::Usbip(_) => self.tasks.spawn(remote_device(wanted, own, sender)),
            Selector::Tty(_) => self.tasks.spawn(async move {
                let _ = sender.send(wanted).await;
            }),
            Selector::Id { .. } | Selector::Product(_) | Selector::Serial(_) | Selector::Port(_) => {
                self.tasks.spawn(own_devices(wanted, options, own, sender))
            }
        };
    }

    /// The next device that is there; never ready when none comes.
    pub(super) async fn next(&mut self) -> DeviceConfig {
        match self.found.recv().await {
            Some(config) => config,
            None => std::future::pending().await,
        }
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

async fn remote_device(config: DeviceConfig, own: Own, sender: mpsc::Sender<DeviceConfig>) {
    let mut told = Told::default();
    loop {
        match locate(&config, &own).await {
            Ok(found) => {
                let d = found.device.descriptors();
                let name = name::from_ids(d.vendor_id, d.product_id, d.serial_number.as_deref());
                let _ = sender.send(DeviceConfig { name, ..config }).await;
                return;
            }
            Err(error) => told.tell(error.to_string()),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Each device that fits and that no keeper waits for already gets one.
async fn own_devices(wanted: DeviceConfig, options: BridgeArgs, own: Own, sender: mpsc::Sender<DeviceConfig>) {
    let mut arrivals = Arrivals::new(&wanted, &own);
    let mut kept = 0;
    let mut told = Told::default();
    loop {
        let present = local::list().unwrap_or_default();
        let fitting: Vec<&LocalDevice> = present.iter().filter(|d| fits(d, &wanted.matches)).collect();
        if fitting.is_empty() && kept == 0 {
            told.tell(format!("{} is not plugged in", wanted.matches));
        }
        let is_twin = fitting.len() > 1;
        for device in fitting.iter().filter(|d| !own.taken.contains(&d.place)) {
            if kept >= fitting.len() {
                break;
            }
            kept += 1;
            let _ = sender.send(named(device, &wanted, &options, is_twin)).await;
        }
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
    fn tell(&mut self, reason: String) {
        if self.0.as_ref() != Some(&reason) {
            tracing::warn!("waiting for a device: {reason}");
            self.0 = Some(reason);
        }
    }
}

/// How often a remote device that is awaited is looked for.
const RETRY: Duration = Duration::from_millis(500);
