//! From configuration and descriptors to what is bridged, and in transfers of which size.
//!
//! It computes; nothing is opened here.

use std::time::Duration;

use crate::bridge::{IsoShape, Sizes};
use crate::config::{DEFAULT_QUEUE, DeviceConfig, EndpointDefaults, Framing, PipeConfig, SerialConfig};
use crate::serial::{Function, find_functions};
use crate::usb::descriptors::{AltSetting, Descriptors, Endpoint, Speed, TransferType};

/// What a device without `[[device.pipe]]` and `[device.serial]` gets: everything it has.
pub(super) fn bridges_everything(config: &DeviceConfig) -> bool {
    config.pipes.is_empty() && config.serial_lines().next().is_none()
}

/// The serial functions to bridge that are there, each with the number of its line, counted from 0. A line whose
/// configuration names an interface gets that; the others get what is left, in order.
pub(super) fn serial_functions(config: &DeviceConfig, descriptors: &Descriptors) -> Vec<(usize, Function)> {
    let mut left = find_functions(descriptors);
    if bridges_everything(config) {
        let has = |f: &Function, i: u8| i == f.control_interface || i == f.data_interface;
        left.retain(|f| config.endpoints.interface.is_none_or(|i| has(f, i)));
        return left.into_iter().enumerate().collect();
    }
    let mut chosen = Vec::new();
    let (named, others): (Vec<_>, Vec<_>) = config.serial_lines().partition(|(_, serial)| serial.interface.is_some());
    for (nth, serial) in named {
        if let Some(at) = left.iter().position(|f| Some(f.control_interface) == serial.interface) {
            chosen.push((nth, left.remove(at)));
        }
    }
    let alone = others.len() == 1 && config.serial_lines().count() == 1;
    // `serial-2` without `serial` is the second function all the same.
    let skipped = if alone { others[0].0 } else { 0 };
    chosen.extend(others.into_iter().map(|(nth, _)| nth).zip(left.into_iter().skip(skipped)));
    chosen.sort_by_key(|(nth, _)| *nth);
    chosen
}

/// The first serial function to bridge.
pub(super) fn serial_function(config: &DeviceConfig, descriptors: &Descriptors) -> Option<Function> {
    serial_functions(config, descriptors).first().map(|(_, function)| *function)
}

/// The settings of the serial line with this number.
pub(super) fn serial(config: &DeviceConfig, nth: usize) -> SerialConfig {
    let said = config.serial_lines().find(|(known, _)| *known == nth);
    let unsaid = || SerialConfig { outlets: config.outlets.clone(), ..SerialConfig::default() };
    said.map_or_else(unsaid, |(_, serial)| serial.clone())
}

/// Endpoints to bridge as they are: the configured ones, or all that do not belong to the serial function.
pub(super) fn pipes(config: &DeviceConfig, descriptors: &Descriptors, serial: &[(usize, Function)]) -> Vec<PipeConfig> {
    if !bridges_everything(config) {
        return config.pipes.clone();
    }
    let is_serial = |i: u8| serial.iter().any(|(_, f)| i == f.control_interface || i == f.data_interface);
    let settings = settings(&config.endpoints, descriptors).into_iter().filter(|s| !is_serial(s.interface));
    let mut pipes: Vec<PipeConfig> = Vec::new();
    for setting in settings {
        for endpoint in setting.endpoints.iter().filter(|e| e.transfer_type != TransferType::Control) {
            if pipes.iter().all(|p| p.endpoint != endpoint.address) {
                pipes.push(pipe(config, setting, endpoint));
            }
        }
    }
    pipes
}

/// An endpoint of which the configuration says nothing by itself.
fn pipe(config: &DeviceConfig, setting: &AltSetting, endpoint: &Endpoint) -> PipeConfig {
    let framing = match config.endpoints.framing {
        Framing::Jsonl if !endpoint.is_in() => Framing::Stream,
        framing => framing,
    };
    PipeConfig {
        interface: Some(setting.interface),
        alt: Some(setting.setting),
        outlets: config.outlets.clone(),
        framing,
        ..PipeConfig::new(endpoint.address)
    }
}

/// The alternate setting of each interface whose endpoints are bridged.
fn settings<'a>(wanted: &EndpointDefaults, descriptors: &'a Descriptors) -> Vec<&'a AltSetting> {
    let chosen = descriptors.default_settings().into_iter();
    let chosen = chosen.filter(|s| wanted.interface.is_none_or(|i| i == s.interface));
    let other = |s: &'a AltSetting| {
        let has_alt = |other: &&AltSetting| other.interface == s.interface && Some(other.setting) == wanted.alt;
        descriptors.alt_settings.iter().find(has_alt).unwrap_or(s)
    };
    chosen.map(other).collect()
}

/// What was asked for on the command line and the device does not have, in words.
///
/// # Errors
/// That, with what there is.
pub fn check_endpoints(config: &DeviceConfig, descriptors: &Descriptors) -> Result<(), String> {
    let EndpointDefaults { interface, alt, framing } = config.endpoints;
    let fits = |s: &&AltSetting| interface.is_none_or(|i| s.interface == i) && alt.is_none_or(|a| s.setting == a);
    if (interface, alt) != (None, None) && !descriptors.alt_settings.iter().any(|s| fits(&s)) {
        let one = |s: &AltSetting| format!("{} alt {}", s.interface, s.setting);
        let there: Vec<String> = descriptors.alt_settings.iter().map(one).collect();
        let interface = interface.map_or_else(String::new, |i| format!(" --interface {i}"));
        let alt = alt.map_or_else(String::new, |a| format!(" --alt {a}"));
        return Err(format!("the device has nothing for{interface}{alt}; its interfaces: {}", there.join(", ")));
    }
    let functions = serial_functions(config, descriptors);
    if framing != Framing::Stream && pipes(config, descriptors, &functions).is_empty() {
        return Err("--framing is for endpoints, of which none is bridged; a serial line has no framing".to_owned());
    }
    Ok(())
}

/// The pipe settings of one direction of a serial function. Each packet is a transfer: a board that ends an answer on a
/// full packet, without a ZLP, would otherwise keep its reader waiting.
pub(super) fn serial_pipe(config: &SerialConfig, address: u8) -> PipeConfig {
    let transfer = if address & 0x80 != 0 { SERIAL_IN_TRANSFER } else { SERIAL_OUT_TRANSFER };
    PipeConfig {
        transfer: Some(transfer),
        queue: Some(SERIAL_QUEUE),
        outlets: config.outlets.clone(),
        flush: config.flush,
        patience: config.patience,
        access: config.access.clone(),
        ..PipeConfig::new(address)
    }
}

/// Transfers of a bulk or interrupt endpoint. IN asks for whole packets; where nothing else is said, an interrupt
/// transfer is what one interval moves, so that each report of a packet arrives when it is made. A report of several
/// packets is one transfer with `transfer` as its length.
pub(super) fn sizes(config: &PipeConfig, endpoint: &Endpoint) -> Sizes {
    let packet = endpoint.max_packet_size.max(1);
    let longest = config.longest_transfer() as usize;
    let transfer = match (endpoint.transfer_type, config.framing) {
        _ if !endpoint.is_in() => longest,
        (TransferType::Interrupt, _) if config.transfer.is_none() => {
            endpoint.bytes_per_interval().next_multiple_of(packet)
        }
        (_, Framing::Packet) => (longest / packet).max(1) * packet,
        _ => longest.next_multiple_of(packet),
    };
    Sizes { transfer, max_packet: packet, queue: usize::from(config.queue.unwrap_or(DEFAULT_QUEUE)) }
}

/// The same for what programs write to a serial function: at least four packets. A port of the operating system, whose
/// packet is what a terminal holds, then wakes a program that waits for room once for all of them.
pub(super) fn serial_out_sizes(config: &PipeConfig, endpoint: &Endpoint) -> Sizes {
    let sizes = sizes(config, endpoint);
    Sizes { transfer: sizes.transfer.max(4 * sizes.max_packet), ..sizes }
}

/// Whether a message that fills its last packet is closed by a ZLP. The reports of an interrupt endpoint have lengths
/// that both sides know, and its firmware takes a ZLP for a report.
pub(super) fn closes_by_zlp(config: &PipeConfig, endpoint: &Endpoint) -> bool {
    config.zlp.unwrap_or(endpoint.transfer_type != TransferType::Interrupt)
}

/// Transfers of an isochronous endpoint: as many packets as pass in [`ISO_TRANSFER_TIME`].
pub(super) fn iso_shape(config: &PipeConfig, endpoint: &Endpoint, speed: Speed) -> IsoShape {
    let packet_size = match config.packet {
        Some(bytes) if !endpoint.is_in() => (bytes as usize).min(endpoint.bytes_per_interval()),
        _ => endpoint.bytes_per_interval(),
    };
    let in_time = packets_in(ISO_TRANSFER_TIME, endpoint, speed);
    let in_size = config.longest_transfer() as usize / packet_size;
    let packets = in_time.min(in_size).clamp(1, MOST_ISO_PACKETS);
    let in_flight = if endpoint.is_in() { ISO_IN_FLIGHT } else { ISO_OUT_FLIGHT };
    let queue = match config.queue {
        Some(queue) => usize::from(queue),
        None => packets_in(in_flight, endpoint, speed).div_ceil(packets).min(MOST_ISO_TRANSFERS),
    };
    IsoShape { packet_size, packets, queue: queue.max(2) }
}

/// How many packets of this endpoint pass in `time`.
pub(super) fn packets_in(time: Duration, endpoint: &Endpoint, speed: Speed) -> usize {
    let packets = time.as_micros().div_ceil(endpoint.period(speed).as_micros().max(1));
    usize::try_from(packets).unwrap_or(usize::MAX)
}

/// Alternate settings to select, one an interface, in the order of the pipes.
pub(super) fn alt_settings(chosen: impl Iterator<Item = (u8, u8)>, descriptors: &Descriptors) -> Vec<(u8, u8)> {
    let mut settings: Vec<(u8, u8)> = Vec::new();
    for (interface, setting) in chosen {
        let has_choice = descriptors.alt_settings.iter().filter(|s| s.interface == interface).count() > 1;
        if has_choice && settings.iter().all(|(known, _)| *known != interface) {
            settings.push((interface, setting));
        }
    }
    settings
}

const SERIAL_QUEUE: u16 = 16;
/// Rounded up to one packet.
const SERIAL_IN_TRANSFER: u32 = 1;
const SERIAL_OUT_TRANSFER: u32 = 4096;
/// One wakeup for this much of a stream.
const ISO_TRANSFER_TIME: Duration = Duration::from_millis(16);
/// How long the daemon may be kept from running without a gap. For IN it costs nothing but memory; for OUT it is the
/// time from a write to the bus.
const ISO_IN_FLIGHT: Duration = Duration::from_millis(512);
const ISO_OUT_FLIGHT: Duration = Duration::from_millis(256);
const MOST_ISO_TRANSFERS: usize = 64;
/// The most packets that Linux takes in one URB (usbfs).
const MOST_ISO_PACKETS: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{OutletKind, PACKET_FIFO_MAX};
    use crate::usb::descriptors::Companion;

    fn endpoint(address: u8, transfer_type: TransferType, max_packet_size: usize, interval: u8) -> Endpoint {
        Endpoint { address, transfer_type, max_packet_size, packets_per_microframe: 1, interval, companion: None }
    }

    /// Interface 0 without endpoints, interface 1 with none in setting 0, one in setting 1 and both in setting 2, as sound.
    fn sound() -> Descriptors {
        let setting = |interface, setting, addresses: &[u8]| AltSetting {
            interface,
            setting,
            class: 0xff,
            subclass: 0,
            protocol: 0,
            endpoints: addresses.iter().map(|&a| endpoint(a, TransferType::Bulk, 512, 0)).collect(),
            union: None,
        };
        let alt_settings =
            vec![setting(0, 0, &[]), setting(1, 0, &[]), setting(1, 1, &[0x81]), setting(1, 2, &[0x81, 2])];
        Descriptors {
            vendor_id: 1,
            product_id: 2,
            device_version: 0,
            class: 0,
            speed: Speed::High,
            manufacturer: None,
            product: None,
            serial_number: None,
            configuration_value: 1,
            alt_settings,
            remarks: Vec::new(),
            associations: Vec::new(),
        }
    }

    fn config(interface: Option<u8>, alt: Option<u8>, framing: Framing) -> DeviceConfig {
        DeviceConfig { endpoints: EndpointDefaults { interface, alt, framing }, ..DeviceConfig::new("d") }
    }

    #[test]
    fn the_alternate_setting_and_the_interface_that_were_asked_for_are_bridged() {
        let chosen = |interface, alt| -> Vec<(u8, Option<u8>)> {
            let pipes = pipes(&config(interface, alt, Framing::Stream), &sound(), &[]);
            pipes.iter().map(|p| (p.endpoint, p.alt)).collect()
        };
        assert_eq!(chosen(None, None), [(0x81, Some(1))]);
        assert_eq!(chosen(None, Some(2)), [(0x81, Some(2)), (2, Some(2))]);
        assert_eq!(chosen(Some(1), Some(2)), [(0x81, Some(2)), (2, Some(2))]);
        assert_eq!(chosen(Some(1), Some(0)), []);
        assert_eq!(chosen(Some(0), None), []);
        for (interface, alt, words) in
            [(None, Some(3), "--alt 3"), (Some(2), None, "--interface 2"), (Some(0), Some(1), "--interface 0 --alt 1")]
        {
            let problem = check_endpoints(&config(interface, alt, Framing::Stream), &sound()).unwrap_err();
            assert!(problem.contains(words) && problem.contains("0 alt 0, 1 alt 0, 1 alt 1, 1 alt 2"), "{problem}");
        }
        assert_eq!(check_endpoints(&config(Some(1), Some(2), Framing::Hex), &sound()), Ok(()));
        assert!(check_endpoints(&config(Some(0), None, Framing::Hex), &sound()).unwrap_err().contains("--framing"));
    }

    #[test]
    fn a_framing_for_all_endpoints_fits_each() {
        let framings = |framing| -> Vec<Framing> {
            pipes(&config(None, Some(2), framing), &sound(), &[]).iter().map(|p| p.framing).collect()
        };
        assert_eq!(framings(Framing::Jsonl), [Framing::Jsonl, Framing::Stream]);
        assert_eq!(framings(Framing::Hex), [Framing::Hex, Framing::Hex]);
        let outlets = vec![OutletKind::Fifo];
        let packets = DeviceConfig { outlets, ..config(None, Some(2), Framing::Packet) };
        assert!(pipes(&packets, &sound(), &[]).iter().all(|p| p.longest_transfer() == PACKET_FIFO_MAX));
    }

    #[test]
    fn in_transfers_are_whole_packets_and_interrupt_transfers_are_one_or_a_report() {
        let interrupt = endpoint(0x81, TransferType::Interrupt, 8, 10);
        let config = PipeConfig { transfer: Some(1000), ..PipeConfig::new(0x81) };
        assert_eq!(sizes(&config, &endpoint(0x81, TransferType::Bulk, 512, 0)).transfer, 1024);
        assert_eq!(sizes(&config, &interrupt).transfer, 1000);
        assert_eq!(sizes(&PipeConfig { transfer: Some(63), ..config }, &interrupt).transfer, 64);
        assert_eq!(sizes(&PipeConfig::new(0x81), &interrupt).transfer, 8);
        let burst = Companion { burst: 3, streams: 0, bytes_per_interval: 3072 };
        let fast = Endpoint { max_packet_size: 1024, companion: Some(burst), ..interrupt };
        assert_eq!(sizes(&PipeConfig::new(0x81), &fast).transfer, 3072);
        let small = Companion { bytes_per_interval: 8, ..burst };
        assert_eq!(sizes(&PipeConfig::new(0x81), &Endpoint { companion: Some(small), ..fast }).transfer, 1024);
    }

    #[test]
    fn an_interrupt_out_message_is_one_transfer_without_a_zlp() {
        let interrupt = endpoint(0x01, TransferType::Interrupt, 8, 10);
        // What a FIFO takes at most, on every system.
        let outlets = vec![OutletKind::Fifo];
        let config = PipeConfig { framing: Framing::Packet, outlets, ..PipeConfig::new(0x01) };
        assert_eq!((sizes(&config, &interrupt).transfer, closes_by_zlp(&config, &interrupt)), (4096, false));
        assert!(closes_by_zlp(&config, &endpoint(0x01, TransferType::Bulk, 8, 0)));
        assert!(closes_by_zlp(&PipeConfig { zlp: Some(true), ..config }, &interrupt));
    }

    #[test]
    fn an_interval_of_superspeed_is_one_isochronous_packet() {
        let companion = Some(Companion { burst: 15, streams: 0, bytes_per_interval: 46_080 });
        let endpoint = Endpoint { companion, ..endpoint(0x83, TransferType::Isochronous, 1024, 1) };
        assert_eq!(iso_shape(&PipeConfig::new(0x83), &endpoint, Speed::Super).packet_size, 46_080);
    }

    #[test]
    fn what_goes_to_a_port_goes_in_transfers_of_several_packets() {
        let config = serial_pipe(&SerialConfig::default(), 0x02);
        assert_eq!(serial_out_sizes(&config, &endpoint(0x02, TransferType::Bulk, 64, 0)).transfer, 4096);
        assert_eq!(serial_out_sizes(&config, &endpoint(0x02, TransferType::Bulk, 4096, 0)).transfer, 16384);
    }

    #[test]
    fn packet_framing_keeps_transfers_within_what_a_fifo_keeps_whole() {
        let outlets = vec![OutletKind::Fifo];
        let config = PipeConfig { framing: Framing::Packet, outlets, ..PipeConfig::new(0x81) };
        assert_eq!(sizes(&config, &endpoint(0x81, TransferType::Bulk, 512, 0)).transfer, 4096);
        assert_eq!(sizes(&config, &endpoint(0x81, TransferType::Bulk, 1000, 0)).transfer, 4000);
    }

    /// Two serial functions: interfaces 0 and 1, and 2 and 3.
    fn two_functions() -> Descriptors {
        let mut raw = vec![9, 2, 0, 0, 4, 1, 0, 0x80, 50];
        for number in [0, 2] {
            raw.extend([9, 4, number, 0, 0, 2, 2, 1, 0, 9, 4, number + 1, 0, 2, 10, 0, 0, 0]);
            raw.extend([7, 5, 0x81 + number, 2, 64, 0, 0, 7, 5, 1 + number, 2, 64, 0, 0]);
        }
        raw[2] = raw.len() as u8;
        let device = [18, 1, 0, 2, 0xef, 2, 1, 64, 0x09, 0x12, 0x03, 0, 0, 1, 0, 0, 0, 1];
        Descriptors::parse(&device, &raw, Speed::Full).unwrap()
    }

    #[test]
    fn each_serial_line_gets_a_function_by_its_interface_or_in_order() {
        let line = |interface| SerialConfig { interface, ..SerialConfig::default() };
        let chosen = |serial: Option<Option<u8>>, second: Option<Option<u8>>| -> Vec<(usize, u8)> {
            let config = DeviceConfig {
                serial: serial.map(line),
                more_serial: second.map(|interface| (1, line(interface))).into_iter().collect(),
                ..DeviceConfig::new("d")
            };
            let functions = serial_functions(&config, &two_functions());
            functions.into_iter().map(|(nth, f)| (nth, f.control_interface)).collect()
        };
        assert_eq!(chosen(None, None), [(0, 0), (1, 2)], "everything");
        assert_eq!(chosen(Some(None), None), [(0, 0)]);
        assert_eq!(chosen(Some(Some(2)), None), [(0, 2)]);
        assert_eq!(chosen(Some(None), Some(None)), [(0, 0), (1, 2)]);
        assert_eq!(chosen(Some(Some(2)), Some(None)), [(0, 2), (1, 0)]);
        assert_eq!(chosen(None, Some(None)), [(1, 2)]);
        assert_eq!(chosen(Some(Some(7)), None), []);
    }

    #[test]
    fn isochronous_transfers_hold_a_few_milliseconds() {
        let config = PipeConfig::new(0x83);
        let shape = iso_shape(&config, &endpoint(0x83, TransferType::Isochronous, 192, 4), Speed::High);
        assert_eq!((shape.packet_size, shape.packets, shape.queue), (192, 16, 32));
        let fast = iso_shape(&config, &endpoint(0x83, TransferType::Isochronous, 1024, 1), Speed::High);
        assert_eq!(fast.packets, 64, "limited by `transfer`");
    }
}
