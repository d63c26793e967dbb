//! The `libusb` backend by itself, on devices of the mock that the kernel takes for hardware.

use std::fs;
use std::io::Write;
use std::time::Duration;

use firmware_mock::DeviceKind;
use nix::libc::ENOMEM;
use usbpipe::usb::descriptors::Endpoint;
use usbpipe::usb::libusb::{LibusbDevice, open};
use usbpipe::usb::local::{self, LocalDevice};
use usbpipe::usb::{OpenError, Pipe, Setup, Transfer, TransferError, UsbDevice as _, complete, drain};

use crate::common::bytes::{assert_same, crc32, pattern, random};
use crate::common::{Bus, Daemon, PATIENCE, read_exactly, wait_for};
use crate::guest::{Attached, Function, Guest, UsbDevice};
use crate::vitals::switches;

/// Runs a story on one thread, as the daemon does; nothing may take long.
fn in_guest<T>(story: impl AsyncFnOnce(Guest) -> T) -> Option<T> {
    let guest = Guest::here()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let limit = 3 * PATIENCE;
    Some(runtime.block_on(async { tokio::time::timeout(limit, story(guest)).await.expect("the story hangs") }))
}

/// A device of the mock, opened. Pulled out last.
struct Fixture {
    device: LibusbDevice,
    plugged: Attached,
    bus: Bus,
}

/// Plugs in a device, opens it and takes its interfaces from whoever has them.
async fn claimed(guest: &Guest, kind: DeviceKind) -> Fixture {
    let fixture = opened(guest, kind).await;
    for setting in fixture.device.descriptors().default_settings() {
        fixture.device.claim(setting.interface, true).await.unwrap();
    }
    fixture
}

async fn opened(guest: &Guest, kind: DeviceKind) -> Fixture {
    let (bus, plugged) = plugged(guest, kind);
    let device = open(&found(&plugged.device)).await.unwrap();
    Fixture { device, plugged, bus }
}

fn plugged(guest: &Guest, kind: DeviceKind) -> (Bus, Attached) {
    let ids = match kind {
        DeviceKind::Zero => "0525:a4a0",
        DeviceKind::Knob => "1209:0002",
        DeviceKind::Tone => "1209:0003",
        DeviceKind::Regs => "1209:0004",
        _ => "2341:0043",
    };
    UsbDevice::wait_gone(ids);
    let bus = Bus::with(&[kind]);
    let plugged = guest.attach(&bus, kind.name(), ids);
    (bus, plugged)
}

/// The device as the program under test finds it.
fn found(plugged: &UsbDevice) -> LocalDevice {
    local::list().unwrap().into_iter().find(|device| device.place == plugged.busid).unwrap()
}

impl Fixture {
    fn endpoint(&self, address: u8) -> Endpoint {
        self.device.descriptors().find_endpoint(address, None, None).unwrap().1
    }

    fn pipe(&self, address: u8) -> Box<dyn Pipe> {
        self.device.open_pipe(&self.endpoint(address)).unwrap()
    }

    async fn vendor(&self, request_type: u8, request: u8, value: u16, length: u16) -> Result<Vec<u8>, TransferError> {
        self.request(request_type, request, value, length, Vec::new()).await
    }

    async fn request(
        &self,
        request_type: u8,
        request: u8,
        value: u16,
        length: u16,
        data: Vec<u8>,
    ) -> Result<Vec<u8>, TransferError> {
        let setup = Setup { request_type, request, value, index: 0, length };
        self.device.control(setup, data, Duration::from_millis(500)).await
    }
}

#[test]
fn a_device_describes_itself_and_answers_control_requests() {
    in_guest(async |guest| {
        let regs = opened(&guest, DeviceKind::Regs).await;
        let told = regs.device.descriptors();
        assert_eq!((told.vendor_id, told.product_id), (0x1209, 0x0004));
        assert_eq!(told.product.as_deref(), Some("regs"));
        assert_eq!(regs.request(0x40, 1, 0, 3, vec![1, 2, 3]).await, Ok(vec![]));
        assert_eq!(regs.vendor(0xc0, 2, 0, 4).await, Ok(vec![1, 2, 3, 0]));
        assert_eq!(regs.vendor(0xc0, 3, 0, 4).await, Err(TransferError::Stall));
        assert_eq!(regs.vendor(0xc0, 4, 2000, 0).await, Err(TransferError::Timeout));
        assert_eq!(regs.vendor(0xc0, 2, 0, 2).await, Ok(vec![1, 2]), "after a request that was given up");
    });
}

#[test]
fn a_device_that_went_before_it_was_opened_is_not_found() {
    in_guest(async |guest| {
        let regs = opened(&guest, DeviceKind::Regs).await;
        let place = found(&regs.plugged.device);
        regs.bus.command("unplug regs 60000");
        regs.device.gone().await;
        until(|| !local::node(place.bus, place.address).exists()).await;
        let Err(OpenError::NotFound(text)) = open(&place).await else { panic!("it was opened") };
        assert!(text.contains(&place.place), "{text}");
    });
}

/// Receives `n` bytes by `queue` transfers of `size` in flight that go round.
async fn receive(pipe: &mut dyn Pipe, n: usize, size: usize, queue: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(n);
    (0..queue).for_each(|_| pipe.submit(Transfer::new(size)));
    while bytes.len() < n {
        let transfer = complete(pipe).await;
        transfer.status.unwrap();
        bytes.extend_from_slice(transfer.received());
        pipe.submit(transfer);
    }
    drain(pipe, |_| {}).await;
    bytes.truncate(n);
    bytes
}

/// Sends all of it by `queue` transfers of at most `size` in flight.
async fn send(pipe: &mut dyn Pipe, bytes: &[u8], size: usize, queue: usize) {
    let mut chunks = bytes.chunks(size);
    let mut idle: Vec<Transfer> = (0..queue).map(|_| Transfer::new(size)).collect();
    loop {
        while let Some(mut transfer) = idle.pop() {
            let Some(chunk) = chunks.next() else { break };
            transfer.buffer[..chunk.len()].copy_from_slice(chunk);
            transfer.length = chunk.len();
            pipe.submit(transfer);
        }
        if pipe.in_flight() == 0 {
            return;
        }
        let transfer = complete(pipe).await;
        transfer.status.unwrap();
        assert_eq!(transfer.actual, transfer.length);
        idle.push(transfer);
    }
}

#[test]
fn bulk_goes_both_ways_with_several_transfers_in_flight() {
    const SIZE: usize = 4 << 20;
    in_guest(async |guest| {
        let zero = claimed(&guest, DeviceKind::Zero).await;
        let received = receive(&mut *zero.pipe(0x81), SIZE, 64 << 10, 8).await;
        assert_same(&pattern(SIZE), &received, 0);
        send(&mut *zero.pipe(0x01), &pattern(SIZE), 64 << 10, 8).await;
    });
}

#[test]
fn a_loopback_keeps_transfers_whole_and_in_order() {
    in_guest(async |guest| {
        let zero = claimed(&guest, DeviceKind::Zero).await;
        let (mut there, mut back) = (zero.pipe(0x02), zero.pipe(0x82));
        for (n, length) in [0, 1, 511, 512, 513, 4096, 20_000].into_iter().enumerate() {
            let sent = random(length, n as u64);
            back.submit(Transfer::new(32 << 10));
            there.submit(Transfer { buffer: sent.clone().into(), length, ..Transfer::new(0) });
            let received = complete(&mut *back).await;
            received.status.unwrap();
            assert_same(&sent, received.received(), 0);
            while there.in_flight() > 0 {
                complete(&mut *there).await.status.unwrap();
            }
        }
    });
}

#[test]
fn interrupt_reports_come_one_by_one() {
    in_guest(async |guest| {
        let knob = claimed(&guest, DeviceKind::Knob).await;
        let mut pipe = knob.pipe(0x81);
        (0..4).for_each(|_| pipe.submit(Transfer::new(8)));
        let mut counter = None;
        for _ in 0..50 {
            let report = complete(&mut *pipe).await;
            let now = u32::from_le_bytes(report.received()[..4].try_into().unwrap());
            assert_eq!(now, counter.map_or(now, |last: u32| last + 1));
            counter = Some(now);
            pipe.submit(report);
        }
    });
}

#[test]
fn sound_goes_both_ways_packet_by_packet() {
    const PACKET: usize = 192;
    const TRANSFERS: usize = 64;
    in_guest(async |guest| {
        let tone = claimed(&guest, DeviceKind::Tone).await;
        tone.device.set_alt_setting(1, 1).await.unwrap();
        let (mut sound, mut out) = (tone.pipe(0x83), tone.pipe(0x03));
        let played = random(TRANSFERS * 16 * PACKET, 7);
        for _ in 0..TRANSFERS {
            sound.submit(Transfer::isochronous(16, PACKET));
        }
        for chunk in played.chunks(16 * PACKET) {
            out.submit(Transfer { buffer: chunk.to_vec().into(), ..Transfer::isochronous(16, PACKET) });
        }
        let mut left = Vec::new();
        for n in 0..2 * TRANSFERS {
            let transfer = complete(&mut *sound).await;
            assert_eq!((transfer.status, transfer.actual), (Ok(()), 16 * PACKET), "transfer {n}");
            for (at, packet) in transfer.packets.iter().enumerate() {
                assert_eq!((packet.offset, packet.actual, packet.status), (at * PACKET, PACKET, Ok(())));
            }
            left.extend(transfer.received().chunks_exact(4).map(|s| u16::from_le_bytes([s[0], s[1]])));
            sound.submit(transfer);
        }
        assert!(left.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)), "a gap in what was recorded");
        while out.in_flight() > 0 {
            let transfer = complete(&mut *out).await;
            assert_eq!((transfer.status, transfer.actual), (Ok(()), 16 * PACKET));
            assert!(transfer.packets.iter().all(|p| p.actual == PACKET && p.status.is_ok()));
        }
        let told = tone.vendor(0xc0, 1, 0, 16).await.unwrap();
        let word = |n: usize| u32::from_le_bytes(told[4 * n..4 * n + 4].try_into().unwrap());
        let expected = ((TRANSFERS * 16) as u32, played.len() as u32, 0, crc32(&played));
        assert_eq!((word(0), word(1), word(2), word(3)), expected, "packets, bytes, gaps, CRC");
    });
}

#[test]
fn isochronous_packets_that_do_not_fit_are_refused_and_the_pipe_goes_on() {
    in_guest(async |guest| {
        let tone = claimed(&guest, DeviceKind::Tone).await;
        tone.device.set_alt_setting(1, 1).await.unwrap();
        let mut sound = tone.pipe(0x83);
        sound.submit(Transfer::new(192));
        let mut scattered = Transfer::isochronous(2, 192);
        scattered.packets[1].offset = 0;
        sound.submit(scattered);
        sound.submit(Transfer { buffer: vec![0; 10].into(), ..Transfer::isochronous(2, 192) });
        sound.submit(Transfer::isochronous(2, 192));
        for _ in 0..3 {
            assert_eq!(complete(&mut *sound).await.status, Err(TransferError::Invalid));
        }
        assert_eq!(complete(&mut *sound).await.status, Ok(()));
    });
}

#[test]
fn every_transfer_comes_out_when_all_are_cancelled() {
    in_guest(async |guest| {
        let zero = claimed(&guest, DeviceKind::Zero).await;
        let (mut there, mut back) = (zero.pipe(0x02), zero.pipe(0x82));
        for round in 0..20 {
            let size = |n: usize| 512 * (1 + n);
            (0..8).for_each(|n| back.submit(Transfer::new(size(n))));
            let mut lengths = Vec::new();
            drain(&mut *back, |transfer| {
                assert_eq!((transfer.status, transfer.actual), (Err(TransferError::Cancelled), 0), "round {round}");
                lengths.push(transfer.length);
            })
            .await;
            assert_eq!(lengths, [0, 1, 2, 3, 4, 5, 6, 7].map(size), "in order, in round {round}");
        }
        back.submit(Transfer::new(512));
        there.submit(Transfer::new(100));
        assert_eq!(complete(&mut *back).await.actual, 100, "the pipe still works");
    });
}

#[test]
fn what_had_come_is_kept_when_a_transfer_is_cancelled() {
    in_guest(async |guest| {
        let zero = claimed(&guest, DeviceKind::Zero).await;
        let (mut there, mut back) = (zero.pipe(0x02), zero.pipe(0x82));
        let sent = random(4096, 3);
        back.submit(Transfer::new(64 << 10));
        there.submit(Transfer { buffer: sent.clone().into(), ..Transfer::new(4096) });
        complete(&mut *there).await.status.unwrap();
        let mut kept = Vec::new();
        drain(&mut *back, |transfer| kept.extend_from_slice(transfer.received())).await;
        // Whether the loopback had passed it on by then is its own affair.
        back.submit(Transfer::new(64 << 10));
        there.submit(Transfer::new(1));
        while kept.len() < sent.len() {
            let transfer = complete(&mut *back).await;
            kept.extend_from_slice(transfer.received());
            back.submit(transfer);
        }
        assert_same(&sent, &kept[..sent.len()], 0);
    });
}

#[test]
fn a_halted_endpoint_goes_on_once_the_halt_is_cleared() {
    in_guest(async |guest| {
        let zero = claimed(&guest, DeviceKind::Zero).await;
        let mut pipe = zero.pipe(0x81);
        zero.bus.command("stall zero 0x81");
        pipe.submit(Transfer::new(512));
        assert_eq!(complete(&mut *pipe).await.status, Err(TransferError::Stall));
        zero.device.clear_halt(0x81).await.unwrap();
        pipe.submit(Transfer::new(512));
        assert_eq!(complete(&mut *pipe).await.status, Ok(()));
    });
}

#[test]
fn a_packet_that_is_longer_than_asked_for_is_babble() {
    in_guest(async |guest| {
        let gadget = guest.gadget("1d6b:0104", &[Function::source_sink()]);
        let plugged = gadget.plug();
        let device = open(&found(&plugged)).await.unwrap();
        device.claim(0, true).await.unwrap();
        let source = device.descriptors().default_settings()[0].endpoints.iter().find(|e| e.is_in()).copied().unwrap();
        let mut pipe = device.open_pipe(&source).unwrap();
        pipe.submit(Transfer::new(1));
        assert_eq!(complete(&mut *pipe).await.status, Err(TransferError::Overflow));
        pipe.submit(Transfer::new(512));
        assert_eq!(complete(&mut *pipe).await.actual, 512);
    });
}

#[test]
fn a_device_that_is_pulled_out_ends_its_transfers_and_says_so() {
    in_guest(async |guest| {
        let zero = claimed(&guest, DeviceKind::Zero).await;
        let (mut idle, mut busy) = (zero.pipe(0x82), zero.pipe(0x81));
        (0..8).for_each(|_| idle.submit(Transfer::new(4096)));
        (0..8).for_each(|_| busy.submit(Transfer::new(64 << 10)));
        complete(&mut *busy).await.status.unwrap();
        zero.bus.command("unplug zero 60000");
        let gone = zero.device.gone().await;
        assert_eq!(gone, "unplugged");
        while idle.in_flight() > 0 {
            assert_eq!(complete(&mut *idle).await.status, Err(TransferError::Disconnected));
        }
        while busy.in_flight() > 0 {
            complete(&mut *busy).await;
        }
        for pipe in [&mut idle, &mut busy] {
            pipe.submit(Transfer::new(512));
            assert_eq!(complete(&mut **pipe).await.status, Err(TransferError::Disconnected));
        }
        assert!(matches!(zero.device.open_pipe(&zero.endpoint(0x81)), Err(OpenError::NotFound(_))));
        assert_eq!(zero.vendor(0xc0, 1, 0, 1).await, Err(TransferError::Disconnected));
        assert!(matches!(zero.device.claim(0, false).await, Ok(()) | Err(OpenError::NotFound(_))));
        zero.device.give_back().await;
    });
}

#[test]
fn a_device_on_which_nothing_moves_says_that_it_was_pulled_out() {
    in_guest(async |guest| {
        let zero = opened(&guest, DeviceKind::Zero).await;
        zero.bus.command("unplug zero 60000");
        assert_eq!(zero.device.gone().await, "unplugged");
    });
}

#[test]
fn what_is_dropped_in_flight_is_cancelled_and_closed() {
    in_guest(async |guest| {
        let (_bus, plugged) = plugged(&guest, DeviceKind::Zero);
        let place = found(&plugged.device);
        let known = place.descriptors().unwrap();
        let mut memory = 0;
        for round in 0..60 {
            let device = open(&place).await.unwrap();
            device.claim(0, true).await.unwrap();
            let endpoint = |address| known.find_endpoint(address, None, None).unwrap().1;
            let (mut idle, mut busy) =
                (device.open_pipe(&endpoint(0x82)).unwrap(), device.open_pipe(&endpoint(0x81)).unwrap());
            (0..8).for_each(|_| idle.submit(Transfer::new(64 << 10)));
            (0..8).for_each(|_| busy.submit(Transfer::new(64 << 10)));
            if round % 2 == 0 {
                complete(&mut *busy).await.status.unwrap();
            }
            drop((idle, busy, device));
            until(|| !holds(&place)).await;
            if round == 20 {
                memory = resident();
            }
        }
        let more = resident().saturating_sub(memory);
        assert!(more < 1024, "{more} KiB more after 40 rounds of 1 MiB each");
    });
}

#[test]
fn what_is_in_flight_when_the_runtime_ends_is_cancelled() {
    let story = in_guest(async |guest| {
        let zero = claimed(&guest, DeviceKind::Zero).await;
        let (mut pipe, mut dropped) = (zero.pipe(0x82), zero.pipe(0x81));
        (0..8).for_each(|_| pipe.submit(Transfer::new(4096)));
        (0..8).for_each(|_| dropped.submit(Transfer::new(4096)));
        (zero, pipe)
    });
    let Some((zero, pipe)) = story else { return };
    let place = found(&zero.plugged.device);
    assert!(holds(&place));
    let Fixture { device, plugged: _plugged, bus: _bus } = zero;
    drop((pipe, device));
    assert!(!holds(&place), "nothing is left to close it later");
}

/// Waits, and lets the one thread do other things meanwhile.
async fn until(mut done: impl FnMut() -> bool) {
    while !done() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Whether this process has the device open.
fn holds(device: &LocalDevice) -> bool {
    let node = local::node(device.bus, device.address);
    let open = fs::read_dir("/proc/self/fd").unwrap();
    open.flatten().any(|fd| fs::read_link(fd.path()).is_ok_and(|to| to == node))
}

/// KiB of memory in use.
fn resident() -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn an_interface_with_a_kernel_driver_is_refused_or_taken_and_given_back() {
    in_guest(async |guest| {
        let uno = opened(&guest, DeviceKind::Uno).await;
        let driver = |interface| uno.plugged.device.driver(interface);
        wait_for(|| driver(0).filter(|name| name == "cdc_acm"), || format!("{:?}", driver(0)));
        let Err(OpenError::Busy(text)) = uno.device.claim(0, false).await else { panic!("it was not refused") };
        assert!(text.contains("driver cdc_acm") && text.contains("detach = true"), "{text}");
        uno.device.claim(0, true).await.unwrap();
        uno.device.claim(0, true).await.unwrap();
        assert_eq!(driver(0).as_deref(), Some("usbfs"));

        let other = open(&found(&uno.plugged.device)).await.unwrap();
        let Err(OpenError::Busy(text)) = other.claim(0, true).await else { panic!("a program is no kernel driver") };
        assert!(text.contains("another program"), "{text}");
        other.claim(1, true).await.unwrap();

        other.give_back().await;
        uno.device.claim(1, true).await.unwrap();
        uno.device.give_back().await;
        assert_eq!(driver(0).as_deref(), Some("cdc_acm"));
        uno.device.claim(0, true).await.unwrap();
        drop(uno.device);
        until(|| driver(0).as_deref() == Some("cdc_acm")).await;
    });
}

#[test]
fn an_interface_without_a_driver_has_none_afterwards() {
    in_guest(async |guest| {
        let regs = opened(&guest, DeviceKind::Regs).await;
        regs.device.claim(0, true).await.unwrap();
        regs.device.give_back().await;
        assert_eq!(regs.plugged.device.driver(0), None);
        let Err(refused) = regs.device.claim(7, false).await else { panic!("there is no such interface") };
        assert!(refused.to_string().contains("no interface 7"), "{refused}");
    });
}

#[test]
fn two_handles_use_one_device_side_by_side() {
    in_guest(async |guest| {
        let tone = opened(&guest, DeviceKind::Tone).await;
        let other = open(&found(&tone.plugged.device)).await.unwrap();
        other.claim(1, false).await.unwrap();
        other.set_alt_setting(1, 1).await.unwrap();
        let mut sound = other.open_pipe(&tone.endpoint(0x83)).unwrap();
        (0..8).for_each(|_| sound.submit(Transfer::isochronous(16, 192)));
        tone.device.claim(0, false).await.unwrap();
        for _ in 0..8 {
            assert_eq!(tone.vendor(0xc0, 1, 0, 16).await.map(|told| told.len()), Ok(16));
            assert_eq!(complete(&mut *sound).await.status, Ok(()));
        }
    });
}

#[test]
fn a_reset_leaves_settings_and_claims_as_they_were() {
    in_guest(async |guest| {
        let tone = claimed(&guest, DeviceKind::Tone).await;
        tone.device.set_alt_setting(1, 1).await.unwrap();
        tone.device.reset().await.unwrap();
        assert_eq!(tone.plugged.device.driver(1).as_deref(), Some("usbfs"));
        let mut sound = tone.pipe(0x83);
        sound.submit(Transfer::isochronous(16, 192));
        let transfer = complete(&mut *sound).await;
        assert_eq!((transfer.status, transfer.actual), (Ok(()), 16 * 192));
    });
}

#[test]
fn more_memory_than_the_kernel_allows_is_told_as_such() {
    const LIMIT: &str = "/sys/module/usbcore/parameters/usbfs_memory_mb";
    in_guest(async |guest| {
        let before = fs::read_to_string(LIMIT).unwrap();
        fs::write(LIMIT, "1").unwrap();
        let tone = claimed(&guest, DeviceKind::Tone).await;
        tone.device.set_alt_setting(1, 1).await.unwrap();
        let mut sound = tone.pipe(0x83);
        (0..64).for_each(|_| sound.submit(Transfer::isochronous(128, 192)));
        assert!(statuses(&mut *sound).await.contains(&Err(TransferError::Io(ENOMEM))));
        let zero = claimed(&guest, DeviceKind::Zero).await;
        let mut back = zero.pipe(0x82);
        (0..20).for_each(|_| back.submit(Transfer::new(64 << 10)));
        assert!(statuses(&mut *back).await.contains(&Err(TransferError::Io(ENOMEM))));
        back.submit(Transfer::new(512));
        zero.pipe(0x02).submit(Transfer::new(1));
        assert_eq!(complete(&mut *back).await.status, Ok(()), "there is room again");
        fs::write(LIMIT, before).unwrap();
    });
}

#[test]
fn a_daemon_that_is_asked_for_libusb_moves_bulk_data_by_it() {
    const SIZE: usize = 1 << 20;
    let Some(guest) = Guest::here() else { return };
    let (_bus, _plugged) = plugged(&guest, DeviceKind::Zero);
    let daemon = Daemon::run(
        "[[device]]\nname = \"zero\"\nmatch = { vid = 0x0525, pid = 0xa4a0 }\nbackend = \"libusb\"\ndetach = true\n",
    );
    assert_eq!(daemon.status("zero")["backend"], "libusb");
    let (source, mut sink) = (daemon.reader("zero/ep_81"), daemon.writer("zero/ep_01"));
    let (_, received) = read_exactly(source, SIZE);
    assert_same(&pattern(SIZE), &received, 0);
    sink.write_all(&pattern(SIZE)).unwrap();
    daemon.wait_count("zero", "ep_01", "bytes", SIZE as u64);
    assert_eq!(daemon.count("zero", "ep_01", "stalls"), 0, "the sink checks what it gets");
}

/// How transfers end that are cancelled.
async fn statuses(pipe: &mut dyn Pipe) -> Vec<Result<(), TransferError>> {
    let mut ended = Vec::new();
    drain(pipe, |transfer| ended.push(transfer.status)).await;
    ended
}

#[test]
fn transfers_that_wait_wake_nobody() {
    const WATCHED: Duration = Duration::from_secs(3);
    in_guest(async |guest| {
        let zero = claimed(&guest, DeviceKind::Zero).await;
        let mut back = zero.pipe(0x82);
        (0..8).for_each(|_| back.submit(Transfer::new(4096)));
        let before = switches(std::process::id());
        tokio::time::sleep(WATCHED).await;
        let wakeups = switches(std::process::id()) - before;
        // This sleep ends with some, and a helper thread that opening needed goes after ten seconds.
        assert!(wakeups < 10, "{wakeups} switches in {WATCHED:?}");
    });
}
