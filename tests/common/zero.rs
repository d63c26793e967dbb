//! Gadget zero behind a daemon: a source, a sink and a loopback. The bus that comes with a daemon must stay.

use firmware_mock::DeviceKind::Zero;

use super::{Bus, Daemon};

/// With these settings of the device.
pub fn zero(settings: &str) -> (Bus, Daemon) {
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", settings));
    (bus, daemon)
}

/// The loopback alone, with these settings of its two ends.
pub fn loopback(out: &str, back: &str) -> (Bus, Daemon) {
    zero(&(pipe("0x02", out) + &pipe("0x82", back)))
}

/// One `[[device.pipe]]`.
pub fn pipe(endpoint: &str, settings: &str) -> String {
    format!("[[device.pipe]]\nendpoint = {endpoint}\n{settings}\n")
}
