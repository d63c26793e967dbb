//! What a fuzzer does with a device's descriptors: what would be bridged, and in transfers of which size.

use super::{passed_over, plan};
use crate::config::DeviceConfig;
use crate::usb::descriptors::{Descriptors, TransferType};

/// Plans the bridging of everything that the device has.
///
/// # Panics
/// When a plan has transfers or packets of no length.
pub(crate) fn plan(config: &DeviceConfig, descriptors: &Descriptors) {
    let functions = plan::serial_functions(config, descriptors);
    for pipe in plan::pipes(config, descriptors, &functions) {
        let Some((_, endpoint)) = descriptors.find_endpoint(pipe.endpoint, pipe.interface, pipe.alt) else { continue };
        if endpoint.unusable().is_some() {
            continue;
        }
        if endpoint.transfer_type == TransferType::Isochronous {
            let shape = plan::iso_shape(&pipe, &endpoint, descriptors.speed);
            assert!(shape.packet_size > 0 && shape.packets > 0 && shape.queue > 1, "{endpoint:?}: {shape:?}");
        } else {
            let sizes = plan::sizes(&pipe, &endpoint);
            assert!(sizes.transfer > 0 && sizes.max_packet > 0 && sizes.queue > 0, "{endpoint:?}: {sizes:?}");
        }
    }
    passed_over::settings(config, descriptors);
}
