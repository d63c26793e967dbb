//! Isochronous endpoints of this machine's own USB as files: sound in real time, every packet accounted for.

use std::fs;
use std::io::Write;
use std::thread;

use firmware_mock::DeviceKind;

use crate::common::bytes::{assert_same, crc32, random};
use crate::common::witness::Witness;
use crate::common::{Bus, Daemon, read_exactly, wait_for};
use crate::guest::{Attached, Guest, UsbDevice};

const SECONDS: usize = 10;
/// How often sound is tried where the machine stands still.
const ATTEMPTS: u64 = 3;
/// Bytes of a packet, which is a millisecond: 48 samples of two channels of two bytes.
const PACKET: usize = 192;

/// The sound device of the mock as hardware, and a daemon that bridges it.
fn tone(guest: &Guest) -> (Bus, Attached, Daemon) {
    UsbDevice::wait_gone(TONE);
    let bus = Bus::with(&[DeviceKind::Tone]);
    let tone = guest.attach(&bus, "tone", TONE);
    let match_it = "[[device]]\nname = \"tone\"\nmatch = { vid = 0x1209, pid = 0x0003 }\nbackend = \"libusb\"\n";
    let daemon = Daemon::run(&format!(
        "{match_it}[[device.pipe]]\nendpoint = 0x83\nqueue = 64\n[[device.pipe]]\nendpoint = 0x03\nqueue = 64\n"
    ));
    (bus, tone, daemon)
}

/// What the device says it received: packets, bytes, gaps, and the CRC of the bytes.
fn received(daemon: &Daemon) -> [u32; 4] {
    let answer = daemon.answer(&["control", "tone", "in", "0xc0", "1", "0", "0", "16"]);
    let hex = answer.strip_prefix("ok ").unwrap_or_else(|| panic!("{answer}"));
    [0, 8, 16, 24].map(|at| u32::from_str_radix(&hex[at..at + 8], 16).unwrap().swap_bytes())
}

#[test]
fn ten_seconds_of_sound_both_ways_lose_nothing() {
    let Some(guest) = Guest::here() else { return };
    undisturbed("ten_seconds_of_sound_both_ways_lose_nothing", |attempt| {
        let (_bus, _tone, daemon) = tone(&guest);
        assert_eq!(daemon.answer(&["control", "tone", "out", "0x40", "2", "0", "0"]), "ok");
        let (sound, mut out) = (daemon.reader("tone/ep_83"), daemon.writer("tone/ep_03"));
        let played = random(SECONDS * 1000 * PACKET, attempt);
        let witness = Witness::start();
        let recorded = thread::scope(|scope| {
            scope.spawn(|| {
                out.write_all(&played).unwrap();
                drop(out);
            });
            read_exactly(sound, SECONDS * 1000 * PACKET).1
        });
        daemon.wait_pipe("tone", "ep_03", |pipe| pipe["open"] == false && pipe["opens"] == 1);
        let counters = [("ep_83", "lost_packets"), ("ep_03", "lost_packets"), ("ep_03", "underruns")];
        let lost = counters.iter().map(|(outlet, counter)| daemon.count("tone", outlet, counter)).sum();
        if witness.explains_loss(lost) {
            return false;
        }
        assert_counts(&recorded);
        let expected = [(SECONDS * 1000) as u32, played.len() as u32, 0, crc32(&played)];
        assert_eq!(received(&daemon), expected, "packets, bytes, gaps, CRC");
        true
    });
}

/// Repeats an attempt that is given its number, from 1, until one returns that the machine let it compare all samples.
/// Without such an attempt the test counts as skipped.
fn undisturbed(test: &str, mut attempt: impl FnMut(u64) -> bool) {
    if !(1..=ATTEMPTS).any(&mut attempt) {
        println!(
            "skipped: {test}: this machine stood still in each of {ATTEMPTS} attempts, so no samples were compared"
        );
    }
}

/// QEMU's sound card, with the driver that the kernel has for it.
fn card() -> UsbDevice {
    let card = UsbDevice::wait("46f4:0002");
    wait_driver(&card);
    card
}

/// It holds two interfaces, which it takes together.
fn wait_driver(card: &UsbDevice) {
    let drivers = || [card.driver(0), card.driver(1)];
    let is_it = |driver: &Option<String>| driver.as_deref() == Some("snd-usb-audio");
    wait_for(|| drivers().iter().all(is_it).then_some(()), || format!("{:?}", drivers()));
}

#[test]
fn what_is_written_to_a_sound_card_is_what_it_plays() {
    let Some(_guest) = Guest::here() else { return };
    let card = card();
    undisturbed("what_is_written_to_a_sound_card_is_what_it_plays", |attempt| {
        let mut daemon = Daemon::run(CARD);
        assert_eq!(daemon.status("card")["backend"], "auto");
        // SET_CUR of the volume of both channels to the maximum, where the card passes samples unchanged: Audio 1.0, 5.2.2.
        for channel in ["0x0201", "0x0202"] {
            assert_eq!(daemon.answer(&["control", "card", "out", "0x21", "1", channel, "0x0200", "0008"]), "ok");
        }
        // Other samples in each attempt: the file keeps those of the attempts before.
        let sound = random(SECONDS * 1000 * PACKET, 1 + attempt);
        // QEMU writes its file in blocks of 4096 bytes, so silence follows to push the last block out.
        let push = [0; 2 * 4096];
        let witness = Witness::start();
        daemon.writer("card/ep_01").write_all(&[&sound[..], &push].concat()).unwrap();
        daemon.wait_pipe("card", "ep_01", |pipe| pipe["open"] == false && pipe["opens"] == 1);
        let lost = ["underruns", "lost_packets"].iter().map(|counter| daemon.count("card", "ep_01", counter)).sum();
        let is_compared = !witness.explains_loss(lost);
        if is_compared {
            let played = || fs::read(WAV).ok().and_then(|wav| found_in(&wav, &sound));
            let length = || format!("{} bytes of WAV for {} of sound", fs::metadata(WAV).unwrap().len(), sound.len());
            assert_same(&sound, &wait_for(played, length), 0);
        }
        assert!(daemon.end().success());
        wait_driver(&card);
        is_compared
    });
}

/// As much of the file as there is sound, from the place where it begins; nothing before all of it is there.
fn found_in(wav: &[u8], sound: &[u8]) -> Option<Vec<u8>> {
    let start = wav.windows(PACKET).position(|window| window == &sound[..PACKET])?;
    Some(wav.get(start..start + sound.len())?.to_vec())
}

#[test]
fn a_sound_card_gets_its_driver_back_after_the_daemon_was_killed() {
    let Some(_guest) = Guest::here() else { return };
    let card = card();
    let dir = tempfile::tempdir().unwrap();
    let run_dir = dir.path().join("run");
    let mut daemon = Daemon::run_in(&run_dir, CARD);
    daemon.wait_attached();
    let mut out = daemon.writer("card/ep_01");
    out.write_all(&[0; 1000 * PACKET]).unwrap();
    daemon.wait_count("card", "ep_01", "packets", 100);
    daemon.child.kill().unwrap();
    daemon.wait_end();
    assert_eq!([card.driver(0), card.driver(1)], [None, None]);
    let _next = Daemon::run_in(&run_dir, "[[device]]\nname = \"none\"\nmatch = { vid = 0xffff }\n");
    wait_driver(&card);
}

#[test]
fn a_sound_device_that_is_pulled_out_while_it_plays_goes_on_when_it_is_back() {
    let Some(guest) = Guest::here() else { return };
    let (bus, tone, daemon) = tone(&guest);
    let sound = daemon.reader("tone/ep_83");
    let (sound, _) = read_exactly(sound, 500 * PACKET);
    drop((tone, bus));
    daemon.wait_status("tone", |status| status["state"] != "attached");
    let bus = Bus::with(&[DeviceKind::Tone]);
    UsbDevice::wait_gone(TONE);
    let _tone = guest.attach(&bus, "tone", TONE);
    let rest_of_the_first = 65_536 + 64 * 16 * PACKET;
    let (_, bytes) = read_exactly(sound, rest_of_the_first + 500 * PACKET);
    assert_counts(&bytes[rest_of_the_first..]);
}

/// Fails where the counter in the left channel jumps.
fn assert_counts(sound: &[u8]) {
    let left: Vec<u16> = sound.chunks_exact(4).map(|s| u16::from_le_bytes([s[0], s[1]])).collect();
    let jump = left.windows(2).position(|pair| pair[1] != pair[0].wrapping_add(1));
    assert_eq!(jump.map(|at| (at, left[at], left[at + 1])), None, "a sample and its neighbours' counters");
}

const TONE: &str = "1209:0003";
/// Long queues: the emulated machine may stand still for longer than a real one.
const CARD: &str = "[[device]]\nname = \"card\"\nmatch = { vid = 0x46f4, pid = 0x0002 }\ndetach = true\n\
    [[device.pipe]]\nendpoint = 0x01\ninterface = 1\nalt = 1\nqueue = 64\n";
/// What QEMU's sound card plays: a header, then samples as the card gets them.
const WAV: &str = "/run/lab/audio.wav";
