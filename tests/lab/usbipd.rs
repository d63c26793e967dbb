//! The kernel's own USB/IP server as the peer of the `usbip` backend.

use crate::common::Daemon;
use crate::common::bytes::{assert_same, pattern, random, read_in_chunks, write_in_chunks};
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
