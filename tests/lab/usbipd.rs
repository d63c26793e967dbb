//! The kernel's own USB/IP server as the peer of the `usbip` backend.

use crate::common::bytes::{assert_same, pattern, random, read_in_chunks, write_in_chunks};
use crate::common::{Daemon, usbpipe, wait_for};
use crate::guest::{Function, Guest};

const SIZE: usize = 8 << 20;

#[test]
fn the_source_that_usbipd_exports_follows_its_pattern_and_the_sink_finds_it_right() {
    let Some(guest) = Guest::here() else { return };
    let gadget = guest.gadget("0525:a4a0", &[Function::source_sink()]);
    let device = gadget.plug();
    let (source, sink) = device.pair();
    let server = guest.usbip_server();
    let exported = server.export(&device);
    let daemon = Daemon::run(&format!("[[device]]\nname = \"zero\"\n{}", exported.remote()));

    let expected = pattern(512 + 65536);
    read_in_chunks(&daemon.reader(&format!("zero/{source}")), SIZE, &[65536], |offset, got| {
        assert_same(&expected[offset % 512..offset % 512 + got.len()], got, offset);
    });
    write_in_chunks(&daemon.writer(&format!("zero/{sink}")), &pattern(SIZE), &[65536]);
    daemon.wait_count("zero", &sink, "bytes", SIZE as u64);
    assert_eq!(daemon.count("zero", &sink, "stalls"), 0);
}

#[test]
fn what_goes_into_the_loopback_that_usbipd_exports_comes_back_equal() {
    let Some(guest) = Guest::here() else { return };
    let gadget = guest.gadget("0525:a4a1", &[Function::loopback()]);
    let device = gadget.plug();
    let (back, out) = device.pair();
    let server = guest.usbip_server();
    let exported = server.export(&device);
    let daemon = Daemon::run(&format!("[[device]]\nname = \"loop\"\n{}", exported.remote()));

    let sent = random(SIZE, 7);
    let (back, out) = (daemon.reader(&format!("loop/{back}")), daemon.writer(&format!("loop/{out}")));
    std::thread::scope(|scope| {
        scope.spawn(|| write_in_chunks(&out, &sent, &[4096]));
        read_in_chunks(&back, SIZE, &[65536], |offset, got| {
            assert_same(&sent[offset..offset + got.len()], got, offset)
        });
    });
}

#[test]
fn a_source_that_is_opened_and_closed_again_and_again_goes_on_and_the_server_survives() {
    let Some(guest) = Guest::here() else { return };
    let gadget = guest.gadget("0525:a4a0", &[Function::source_sink()]);
    let device = gadget.plug();
    let (source, _) = device.pair();
    let server = guest.usbip_server();
    let exported = server.export(&device);
    let daemon = Daemon::run(&format!("[[device]]\nname = \"zero\"\n{}", exported.remote()));
    let expected = pattern(512 + 65536);
    for round in 0..20 {
        // Where the last reader stopped the next one goes on, so that each begins somewhere else in a packet.
        let read = 100_001;
        read_in_chunks(&daemon.reader(&format!("zero/{source}")), read, &[4096], |offset, got| {
            let start = (round * read + offset) % 512;
            assert_same(&expected[start..start + got.len()], got, offset);
        });
        daemon.wait_pipe("zero", &source, |pipe| pipe["open"] == false);
    }
    assert_eq!(daemon.status("zero")["sessions"], 1);
    let kernel = guest.must(&["dmesg"]);
    let fault =
        kernel.lines().find(|line| ["BUG:", "Oops", "protection fault", "WARNING:"].iter().any(|f| line.contains(f)));
    assert_eq!(fault, None);
}

#[test]
fn bridge_takes_a_device_once_so_that_the_server_does_not_reset_it_in_between() {
    let Some(guest) = Guest::here() else { return };
    let gadget = guest.gadget("0525:a4a0", &[Function::source_sink()]);
    let device = gadget.plug();
    let (source, _) = device.pair();
    let server = guest.usbip_server();
    let _exported = server.export(&device);
    let resets = || guest.must(&["dmesg"]).lines().filter(|line| line.contains("reset high-speed USB device")).count();
    let before = resets();
    let temp = tempfile::TempDir::new().unwrap();
    let dir = temp.path().join("run");
    let mut command = usbpipe();
    command.arg("--dir").arg(&dir).args(["bridge", &format!("usbip://127.0.0.1/{}", device.busid)]);
    let mut daemon = Daemon::start(command, &dir);
    daemon.wait_said("ready");
    let line = daemon.wait_said("attach: ");
    let name = line.split_whitespace().find(|word| word.starts_with("0525-a4a0")).unwrap();
    let name = name.trim_end_matches(':').to_owned();
    daemon.wait_status(&name, |status| status["state"] == "attached");
    read_in_chunks(&daemon.reader(&format!("{name}/{source}")), 1 << 20, &[65536], |_, _| {});
    assert_eq!(resets(), before);
    // The server resets the device when its client has gone: that is seen.
    assert!(daemon.end().success());
    wait_for(|| (resets() == before + 1).then_some(()), || format!("{} resets, {before} before", resets()));
}
