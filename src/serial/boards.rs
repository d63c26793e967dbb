//! Development boards that are known by their ids, and under which other ids they run their bootloaders.
//!
//! Facts alone; what follows from them is decided elsewhere. Sources: `boards.txt` of the Arduino, Adafruit and SparkFun
//! cores, and the vendors' own lists of ids.

/// What a device with these ids is, if it is known: `Arduino Leonardo`, or `Arduino Leonardo (bootloader)`.
pub fn board_name(vendor_id: u16, product_id: u16) -> Option<String> {
    match known(vendor_id, product_id) {
        Some(name) => Some(name.to_owned()),
        None => application((vendor_id, product_id))
            .and_then(|(v, p)| known(v, p))
            .map(|name| format!("{name} (bootloader)")),
    }
}

/// The other ids of a board that is known to change them: those of its bootloader, or of its application.
pub fn counterpart(vendor_id: u16, product_id: u16) -> Option<(u16, u16)> {
    let ids = (vendor_id, product_id);
    application(ids).or_else(|| bootloader(ids))
}

/// Whether these ids are those of a bootloader that goes on to an application with other ids.
pub fn is_bootloader(vendor_id: u16, product_id: u16) -> bool {
    application((vendor_id, product_id)).is_some()
}

/// idVendor and idProduct.
type Ids = (u16, u16);

fn known(vendor_id: u16, product_id: u16) -> Option<&'static str> {
    BOARDS.iter().find(|(vid, pid, _)| (*vid, *pid) == (vendor_id, product_id)).map(|(.., name)| *name)
}

/// The bootloader's ids of an application that is known.
fn bootloader(ids: Ids) -> Option<Ids> {
    let other = PAIRS.iter().find(|(application, _)| *application == ids).map(|(_, bootloader)| *bootloader);
    let by_rule = || (is_paired(ids.0) && ids.1 & APPLICATION != 0).then_some((ids.0, ids.1 & !APPLICATION));
    known(ids.0, ids.1).and_then(|_| other.or_else(by_rule))
}

/// The application's ids of a bootloader that is known.
fn application(ids: Ids) -> Option<Ids> {
    let other = PAIRS.iter().find(|(_, bootloader)| *bootloader == ids).map(|(application, _)| *application);
    let by_rule = || (is_paired(ids.0) && ids.1 & APPLICATION == 0).then_some((ids.0, ids.1 | APPLICATION));
    other.or_else(by_rule).filter(|&(vid, pid)| bootloader((vid, pid)) == Some(ids))
}

/// Whether a vendor tells application and bootloader of its boards with native USB apart by one bit.
fn is_paired(vendor_id: u16) -> bool {
    matches!(vendor_id, 0x2341 | 0x2a03 | 0x239a)
}

/// The bit of idProduct that the applications of those vendors have, and the bootloaders have not.
const APPLICATION: u16 = 0x8000;

/// Application and bootloader where that rule does not hold. Bootloaders without a serial function are left out.
const PAIRS: &[(Ids, Ids)] = &[
    ((0x2341, 0x003e), (0x03eb, 0x6124)),
    ((0x1b4f, 0x9204), (0x1b4f, 0x9203)),
    ((0x1b4f, 0x9206), (0x1b4f, 0x9205)),
    ((0x1b4f, 0x9208), (0x1b4f, 0x9207)),
    ((0x1b4f, 0xf101), (0x1b4f, 0xf100)),
];

/// idVendor and idProduct of applications, by vendor.
const BOARDS: &[(u16, u16, &str)] = &[
    (0x2341, 0x0001, "Arduino Uno"),
    (0x2341, 0x0010, "Arduino Mega 2560"),
    (0x2341, 0x003d, "Arduino Due (programming port)"),
    (0x2341, 0x003e, "Arduino Due"),
    (0x2341, 0x003f, "Arduino Mega ADK"),
    (0x2341, 0x0042, "Arduino Mega 2560"),
    (0x2341, 0x0043, "Arduino Uno"),
    (0x2341, 0x0044, "Arduino Mega ADK"),
    (0x2341, 0x005e, "Arduino Nano RP2040 Connect"),
    (0x2341, 0x0062, "Arduino Uno Mini"),
    (0x2341, 0x006a, "Arduino Uno"),
    (0x2341, 0x0070, "Arduino Nano ESP32"),
    (0x2341, 0x0210, "Arduino Mega 2560"),
    (0x2341, 0x0242, "Arduino Mega 2560"),
    (0x2341, 0x0243, "Arduino Uno"),
    (0x2341, 0x1002, "Arduino Uno R4 WiFi"),
    (0x2341, 0x0069, "Arduino Uno R4 Minima"),
    (0x2341, 0x8036, "Arduino Leonardo"),
    (0x2341, 0x8037, "Arduino Micro"),
    (0x2341, 0x8038, "Arduino Robot Control"),
    (0x2341, 0x8039, "Arduino Robot Motor"),
    (0x2341, 0x803c, "Arduino Esplora"),
    (0x2341, 0x8041, "Arduino Yún"),
    (0x2341, 0x804d, "Arduino Zero"),
    (0x2341, 0x804e, "Arduino MKR1000"),
    (0x2341, 0x804f, "Arduino MKR Zero"),
    (0x2341, 0x8050, "Arduino MKR FOX 1200"),
    (0x2341, 0x8052, "Arduino MKR GSM 1400"),
    (0x2341, 0x8053, "Arduino MKR WAN 1300"),
    (0x2341, 0x8054, "Arduino MKR WiFi 1010"),
    (0x2341, 0x8055, "Arduino MKR NB 1500"),
    (0x2341, 0x8056, "Arduino MKR Vidor 4000"),
    (0x2341, 0x8057, "Arduino Nano 33 IoT"),
    (0x2341, 0x8059, "Arduino MKR WAN 1310"),
    (0x2341, 0x805a, "Arduino Nano 33 BLE"),
    (0x2341, 0x8237, "Arduino Micro"),
    (0x2341, 0x824d, "Arduino Zero"),
    (0x2341, 0x824e, "Arduino MKR1000"),
    (0x2a03, 0x0010, "Arduino Mega 2560"),
    (0x2a03, 0x003f, "Arduino Mega ADK"),
    (0x2a03, 0x0042, "Arduino Mega 2560"),
    (0x2a03, 0x0043, "Arduino Uno"),
    (0x2a03, 0x0044, "Arduino Mega ADK"),
    (0x2a03, 0x0057, "Arduino Uno WiFi"),
    (0x2a03, 0x8001, "Linino One"),
    (0x2a03, 0x8036, "Arduino Leonardo"),
    (0x2a03, 0x8037, "Arduino Micro"),
    (0x2a03, 0x8038, "Arduino Robot Control"),
    (0x2a03, 0x8039, "Arduino Robot Motor"),
    (0x2a03, 0x803c, "Arduino Esplora"),
    (0x2a03, 0x8040, "Arduino Leonardo ETH"),
    (0x2a03, 0x8041, "Arduino Yún"),
    (0x2a03, 0x804d, "Arduino M0"),
    (0x2a03, 0x804e, "Arduino M0"),
    (0x2a03, 0x804f, "Arduino M0 Pro"),
    (0x2a03, 0x8050, "Arduino Yún Mini"),
    (0x2a03, 0x8056, "Arduino Industrial 101"),
    (0x239a, 0x800b, "Adafruit Feather M0"),
    (0x239a, 0x800f, "Adafruit ItsyBitsy M0 Express"),
    (0x239a, 0x8013, "Adafruit Metro M0 Express"),
    (0x239a, 0x8018, "Adafruit Circuit Playground Express"),
    (0x239a, 0x801b, "Adafruit Feather M0 Express"),
    (0x239a, 0x801c, "Adafruit Gemma M0"),
    (0x239a, 0x801e, "Adafruit Trinket M0"),
    (0x239a, 0x8020, "Adafruit Metro M4"),
    (0x239a, 0x8022, "Adafruit Feather M4 Express"),
    (0x239a, 0x802b, "Adafruit ItsyBitsy M4"),
    (0x239a, 0x8031, "Adafruit Grand Central M4"),
    (0x239a, 0x8035, "Adafruit PyPortal"),
    (0x239a, 0x80cb, "Adafruit QT Py M0"),
    (0x1b4f, 0x9204, "SparkFun Pro Micro (3.3 V)"),
    (0x1b4f, 0x9206, "SparkFun Pro Micro (5 V)"),
    (0x1b4f, 0x9208, "LilyPad Arduino USB"),
    (0x1b4f, 0xf101, "SparkFun Fio v3"),
    (0x03eb, 0x2111, "Atmel EDBG debugger"),
    (0x03eb, 0x2157, "Arduino Zero (programming port)"),
    (0x03eb, 0x6124, "Atmel SAM-BA bootloader"),
    (0x2e8a, 0x0003, "Raspberry Pi RP2040 (bootloader)"),
    (0x2e8a, 0x0005, "Raspberry Pi Pico (MicroPython)"),
    (0x2e8a, 0x000a, "Raspberry Pi Pico"),
    (0x2e8a, 0x000c, "Raspberry Pi Debug Probe"),
    (0x303a, 0x1001, "Espressif USB JTAG/serial"),
    (0x16c0, 0x0483, "Teensy (serial)"),
    (0x0d28, 0x0204, "micro:bit or another DAPLink"),
    (0x0483, 0x374b, "ST-LINK/V2-1"),
    (0x0403, 0x6001, "FTDI FT232R serial adapter"),
    (0x0403, 0x6015, "FTDI FT230X serial adapter"),
    (0x10c4, 0xea60, "Silicon Labs CP210x serial adapter"),
    (0x1a86, 0x7523, "WCH CH340 serial adapter"),
    (0x1a86, 0x55d4, "WCH CH9102 serial adapter"),
    (0x067b, 0x2303, "Prolific PL2303 serial adapter"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_board_has_a_name_in_both_of_its_states() {
        assert_eq!(board_name(0x2341, 0x0043).as_deref(), Some("Arduino Uno"));
        assert_eq!(board_name(0x2341, 0x8036).as_deref(), Some("Arduino Leonardo"));
        assert_eq!(board_name(0x2341, 0x0036).as_deref(), Some("Arduino Leonardo (bootloader)"));
        assert_eq!(board_name(0x1b4f, 0x9205).as_deref(), Some("SparkFun Pro Micro (5 V) (bootloader)"));
        assert_eq!(board_name(0x1209, 0x0001), None);
    }

    #[test]
    fn every_pair_leads_there_and_back_and_only_boards_with_native_usb_have_one() {
        for (vid, pid, name) in BOARDS {
            if let Some((other_vid, other_pid)) = bootloader((*vid, *pid)) {
                assert!(is_bootloader(other_vid, other_pid), "{name}");
            }
        }
        assert_eq!(counterpart(0x2341, 0x8036), Some((0x2341, 0x0036)));
        assert_eq!(counterpart(0x2341, 0x0036), Some((0x2341, 0x8036)));
        assert_eq!(counterpart(0x2341, 0x003e), Some((0x03eb, 0x6124)));
        assert_eq!(counterpart(0x03eb, 0x6124), Some((0x2341, 0x003e)));
        for pid in [0x0043, 0x0001, 0x0042, 0x0010] {
            assert_eq!(counterpart(0x2341, pid), None, "an Uno or a Mega stays what it is: {pid:04x}");
        }
        assert_eq!(counterpart(0x0403, 0x6001), None);
    }

    #[test]
    fn no_ids_stand_twice() {
        for (n, (vid, pid, name)) in BOARDS.iter().enumerate() {
            assert!(BOARDS[..n].iter().all(|(v, p, _)| (v, p) != (vid, pid)), "{name}");
        }
    }
}
