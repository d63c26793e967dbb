//! What this version cannot do on Windows.

use super::typed::TypedDevice;
use super::unsupported::{Gap, Places};

pub(super) const GAPS: &[Gap] = &[(run, "running a program at attach; leave `run` out")];

fn run(device: &TypedDevice) -> Places {
    device.serial.iter().filter_map(|serial| Some(serial.get_ref().run.as_ref()?.span())).collect()
}
