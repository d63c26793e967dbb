//! Bulk endpoints of this machine's own USB as files: everything arrives, once and in order.

use std::io::Write;

use crate::common::Daemon;
use crate::common::bytes::{assert_same, pattern, random, read_in_chunks, write_in_chunks};
use crate::guest::{Function, Gadget, Guest};

/// What the host's storage benchmarks move, too.
const SIZE: usize = 256 << 20;

/// A gadget with one bulk endpoint each way, a daemon that bridges it as `g`, and the outlets of IN and OUT.
fn bridged(guest: &Guest, function: Function) -> (Gadget, Daemon, String, String) {
    let gadget = guest.gadget("1209:f001", &[function]);
    let (source, sink) = gadget.plug().pair();
    let daemon = Daemon::run("[[device]]\nname = \"g\"\nmatch = { vid = 0x1209, pid = 0xf001 }\n");
    (gadget, daemon, source, sink)
}

#[test]
fn what_the_source_sends_follows_its_pattern_over_256_mebibytes() {
    let Some(guest) = Guest::here() else { return };
    let (_gadget, daemon, source, _) = bridged(&guest, Function::source_sink());
    let expected = pattern(512 + 65536);
    read_in_chunks(&daemon.reader(&format!("g/{source}")), SIZE, &[65536], |offset, got| {
        assert_same(&expected[offset % 512..offset % 512 + got.len()], got, offset);
    });
    assert_eq!(daemon.count("g", &source, "lost_bytes"), 0);
}

#[test]
fn the_sink_finds_256_mebibytes_right() {
    let Some(guest) = Guest::here() else { return };
    let (_gadget, daemon, _, sink) = bridged(&guest, Function::source_sink());
    let outlet = daemon.writer(&format!("g/{sink}"));
    let mebibyte = pattern(1 << 20);
    (0..SIZE >> 20).for_each(|_| write_in_chunks(&outlet, &mebibyte, &[65536]));
    daemon.wait_count("g", &sink, "bytes", SIZE as u64);
    assert_eq!(daemon.count("g", &sink, "stalls"), 0);
}

#[test]
fn a_wrong_byte_stalls_the_sink_which_is_counted_and_cleared() {
    let Some(guest) = Guest::here() else { return };
    let (_gadget, daemon, _, sink) = bridged(&guest, Function::source_sink());
    let outlet = daemon.writer(&format!("g/{sink}"));
    // Each write ends in a short packet, for the gadget looks at its data when a request of its own ends.
    let right = pattern(7 * 512 + 100);
    let mut wrong = right.clone();
    wrong[7 * 512] ^= 1;
    write_in_chunks(&outlet, &wrong, &[wrong.len()]);
    daemon.wait_count("g", &sink, "bytes", wrong.len() as u64);
    write_in_chunks(&outlet, &right, &[right.len()]);
    daemon.wait_count("g", &sink, "stalls", 1);
    write_in_chunks(&outlet, &right, &[right.len()]);
    daemon.wait_count("g", &sink, "bytes", 2 * right.len() as u64);
    assert_eq!(daemon.count("g", &sink, "stalls"), 1);
}

#[test]
fn what_goes_into_the_loopback_comes_back_equal_over_256_mebibytes() {
    let Some(guest) = Guest::here() else { return };
    let (_gadget, mut daemon, back, out) = bridged(&guest, Function::loopback());
    let (back, mut out) = (daemon.reader(&format!("g/{back}")), daemon.writer(&format!("g/{out}")));
    // A round of an odd length, so that no boundary of the transfers comes again at the same place of it.
    let round = random((1 << 20) + 13, 11);
    let expected = [&round[..], &round[..65536]].concat();
    std::thread::scope(|scope| {
        // Writes until the daemon ends: the gadget sends a request back when it is full, which the last need not be.
        scope.spawn(|| while out.write_all(&round).is_ok() {});
        read_in_chunks(&back, SIZE, &[65536], |offset, got| {
            let at = offset % round.len();
            assert_same(&expected[at..at + got.len()], got, offset);
        });
        daemon.end();
    });
}

#[test]
fn a_reset_on_request_is_a_new_session_in_which_the_same_reader_goes_on() {
    let Some(guest) = Guest::here() else { return };
    let (_gadget, daemon, source, _) = bridged(&guest, Function::source_sink());
    let outlet = daemon.reader(&format!("g/{source}"));
    let expected = pattern(512 + 65536);
    let check = |offset: usize, got: &[u8]| assert_same(&expected[offset % 512..offset % 512 + got.len()], got, offset);
    read_in_chunks(&outlet, 1 << 20, &[65536], check);
    assert_eq!(daemon.answer(&["control", "g", "reset"]), "ok");
    daemon.wait_status("g", |device| device["sessions"] == 2 && device["state"] == "attached");
    // More than can have waited since before the reset.
    read_in_chunks(&outlet, 16 << 20, &[65536], check);
}
