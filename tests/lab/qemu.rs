//! USB devices of QEMU, which nobody here wrote, through their FIFOs: on this machine's own bus by usbfs, and behind the
//! kernel's own USB/IP server.

mod card;
mod disk;
mod files;

use std::fs;
use std::io::Write;
use std::path::Path;

use self::card::{Answer, Card, Reader};
use self::disk::Disk;
use self::files::{Files, Response};
use crate::common::bytes::{assert_same, random};
use crate::common::{Daemon, read_exactly};
use crate::guest::{FarEnd, Guest, UsbDevice};
use crate::hid;

/// Runs an exchange with a device, named `q` in the configuration, by the backend that usbpipe chooses itself.
fn locally(device: &UsbDevice, pipes: &str, exchange: impl FnOnce(&Daemon)) {
    let ids = device.ids();
    let (vid, pid) = ids.split_once(':').unwrap();
    let mut daemon = Daemon::run(&format!(
        "[[device]]\nname = \"q\"\nmatch = {{ vid = 0x{vid}, pid = 0x{pid} }}\ndetach = true\n{pipes}"
    ));
    descriptors_are_the_devices_own(&daemon, device);
    exchange(&daemon);
    assert!(daemon.end().success());
}

/// The same with the device behind the stock `usbipd`, by the backend `usbip`.
fn behind_usbipd(guest: &Guest, device: &UsbDevice, pipes: &str, exchange: impl FnOnce(&Daemon)) {
    let server = guest.usbip_server();
    let exported = server.export(device);
    let mut daemon = Daemon::run(&format!("[[device]]\nname = \"q\"\n{}{pipes}", exported.remote()));
    assert_eq!(daemon.status("q")["backend"], "usbip");
    descriptors_are_the_devices_own(&daemon, device);
    exchange(&daemon);
    assert!(daemon.end().success());
}

/// What the device answers, beside what the kernel read when it was plugged in. QEMU's devices stall a descriptor that is
/// asked for with more than 4,096 bytes.
fn descriptors_are_the_devices_own(daemon: &Daemon, device: &UsbDevice) {
    let raw = fs::read(device.dir().join("descriptors")).unwrap();
    let (own, configuration) = raw.split_at(18);
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    assert_eq!(daemon.answer(&["control", "q", "descriptor", "device"]), format!("ok {}", hex(own)));
    assert_eq!(daemon.answer(&["control", "q", "descriptor", "config"]), format!("ok {}", hex(configuration)));
}

#[test]
fn keys_pressed_on_a_keyboard_behind_usbipd_are_reports() {
    let Some(guest) = Guest::here() else { return };
    let keyboard = UsbDevice::wait(hid::KEYBOARD);
    keyboard.wait_driver(0, "usbhid");
    let reports = "[[device.pipe]]\nendpoint = 0x81\nframing = \"packet\"\n";
    behind_usbipd(&guest, &keyboard, reports, |daemon| hid::keys_are_reports(&guest, &mut daemon.reader("q/ep_81")));
    keyboard.wait_driver(0, "usbhid");
}

/// Bulk OUT of a disk: each record is one transfer, and data that fill their packets are not followed by an empty one.
const DISK: &str =
    "[[device.pipe]]\nendpoint = 0x81\n[[device.pipe]]\nendpoint = 0x02\nframing = \"length\"\nzlp = false\n";

#[test]
fn sectors_of_a_disk_are_those_of_its_image() {
    let Some(guest) = Guest::here() else { return };
    let image = random(SECTORS * disk::SECTOR, 11);
    let (disk, path) = guest.qemu_disk(&image);
    disk.device.wait_driver(0, "usb-storage");
    locally(&disk.device, DISK, |daemon| sectors_are_those_of(daemon, &image, &path));
}

#[test]
fn sectors_of_a_disk_behind_usbipd_are_those_of_its_image() {
    let Some(guest) = Guest::here() else { return };
    let image = random(SECTORS * disk::SECTOR, 12);
    let (disk, path) = guest.qemu_disk(&image);
    disk.device.wait_driver(0, "usb-storage");
    behind_usbipd(&guest, &disk.device, DISK, |daemon| sectors_are_those_of(daemon, &image, &path));
}

/// Of the image, 1 MiB.
const SECTORS: usize = 2048;

fn sectors_are_those_of(daemon: &Daemon, image: &[u8], path: &Path) {
    let mut disk = Disk::of(daemon, "q");
    let inquiry = disk.read(&[0x12, 0, 0, 0, 36, 0], 36);
    assert_eq!(&inquiry[8..32], b"QEMU    QEMU HARDDISK   ");
    disk.wait_ready();
    let capacity = disk.read(&[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], 8);
    assert_eq!(capacity, [[0, 0, 7, 255], [0, 0, 2, 0]].concat(), "the last sector, and bytes a sector");
    // One sector, more than a transfer, all that fits a whole number of transfers, and the last one.
    for (first, count) in [(0, 1), (3, 129), (256, 128), (SECTORS - 1, 1)] {
        let expected = &image[first * disk::SECTOR..][..count * disk::SECTOR];
        assert_same(expected, &disk.read_sectors(first, count), first * disk::SECTOR);
    }
    let written = random(17 * disk::SECTOR, 13);
    disk.write_sectors(100, &written);
    assert_same(&written, &disk.read_sectors(100, 17), 0);
    let stored = fs::read(path).unwrap();
    assert_same(&written, &stored[100 * disk::SECTOR..117 * disk::SECTOR], 100 * disk::SECTOR);
    assert_same(&image[117 * disk::SECTOR..], &stored[117 * disk::SECTOR..], 117 * disk::SECTOR);
}

#[test]
fn files_come_out_of_a_camera_on_ehci_byte_for_byte() {
    let Some(guest) = Guest::here() else { return };
    // A data phase of one full packet, one of several transfers, and none.
    let files = [("full", random(500, 1)), ("long", random(200_001, 2)), ("none", Vec::new())];
    let camera = guest.qemu_files(&files.each_ref().map(|(name, bytes)| (*name, &bytes[..])));
    assert_eq!(camera.device.attribute("speed").as_deref(), Some("480"));
    locally(&camera.device, "", |daemon| {
        let mut camera = Files::of(daemon, "q");
        let about = camera.fetch(files::GET_DEVICE_INFO, &[]);
        assert!(files::has_text(&about, "QEMU filesharing"), "{about:02x?}");
        assert_eq!(camera.ask(files::GET_OBJECT_HANDLES, &[!0, 0, 0]), Response::SESSION_NOT_OPEN);
        assert_eq!(camera.ask(files::OPEN_SESSION, &[1]), Response::OK);
        let handles = camera.numbers(files::GET_OBJECT_HANDLES, &[!0, 0, 0]);
        assert_eq!(handles.len(), files.len());
        let mut left = handles.clone();
        for (name, bytes) in &files {
            let found = left.iter().position(|&h| files::has_text(&camera.fetch(files::GET_OBJECT_INFO, &[h]), name));
            let handle = left.remove(found.unwrap_or_else(|| panic!("no {name} among {handles:?}")));
            assert_same(bytes, &camera.fetch(files::GET_OBJECT, &[handle]), 0);
        }
        assert_eq!(camera.ask(files::CLOSE_SESSION, &[]), Response::OK);
    });
}

#[test]
fn a_card_in_a_reader_behind_usbipd_is_announced_and_answers() {
    let Some(guest) = Guest::here() else { return };
    let (reader, port) = guest.qemu_card_reader(|port| Card::present(port));
    behind_usbipd(&guest, &reader.device, "", |daemon| {
        let mut slot = Reader::of(daemon, "q");
        let mut card = Card::of(&port);
        assert_eq!(slot.status(), Answer::status(card::NO_CARD));
        let notices = daemon.reader("q/ep_81");
        card.insert();
        assert_eq!(read_exactly(notices, 2).1, card::INSERTED);
        assert_eq!(slot.ask(card::POWER_ON, b""), Answer::data(card::ATR));
        assert_eq!(slot.status(), Answer::status(card::ACTIVE));
        // A command and its answer of less than a packet, of a full packet with the header, and of several.
        for (sent, length) in [(5, 2), (54, 54), (255, 258)] {
            let (command, response) = (random(sent, 21), random(length, 22));
            slot.say(card::TRANSFER, &command);
            assert_eq!(card.next_command(), command);
            card.answer(&response);
            assert_eq!(slot.hear(), Answer::data(&response));
        }
    });
}

#[test]
fn an_ftdi_chip_behind_usbipd_takes_vendor_requests_and_moves_bytes() {
    let Some(guest) = Guest::here() else { return };
    let chip = UsbDevice::wait("0403:6001");
    chip.port();
    let far = FarEnd::open(Path::new("/dev/virtio-ports/ftdi"));
    let packets = "[[device.pipe]]\nendpoint = 0x81\nframing = \"length\"\ntransfer = 64\n\
                   [[device.pipe]]\nendpoint = 0x02\n";
    behind_usbipd(&guest, &chip, packets, |daemon| {
        let control = |request: &[&str]| daemon.answer(&[&["control", "q"], request].concat());
        assert_eq!(control(&["out", "0x40", "9", "33", "0"]), "ok", "SET_LATENCY_TIMER");
        assert_eq!(control(&["in", "0xc0", "10", "0", "0", "1"]), "ok 21", "GET_LATENCY_TIMER");
        assert_eq!(control(&["out", "0x40", "3", "26", "0"]), "ok", "SET_BAUDRATE, 115200");
        let packets = daemon.reader("q/ep_81");
        far.say("from afar\n");
        let mut heard = Vec::new();
        while heard.len() < 10 {
            let header = read_exactly(packets.try_clone().unwrap(), 4).1;
            let length = u32::from_le_bytes(header.try_into().unwrap()) as usize;
            assert!((2..=64).contains(&length), "two bytes of line status begin a packet, not {length} in all");
            let packet = read_exactly(packets.try_clone().unwrap(), length).1;
            heard.extend_from_slice(&packet[2..]);
        }
        assert_eq!(heard, b"from afar\n");
        daemon.writer("q/ep_02").write_all(b"into the distance\n").unwrap();
        assert_eq!(far.hear(18), b"into the distance\n");
    });
    chip.port();
}
