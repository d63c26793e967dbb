//! USB/IP servers as they are found: replies after a cancellation, slow imports, twins, and servers that do not survive
//! many cancellations at once or a client that leaves in the middle of one.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use usbip_wire::status::{ECONNRESET, OK};

use crate::common::{Daemon, read_exactly, wait_for};
use crate::peer::{Behaviour, Fake, Peer, Seen};

/// A device whose bulk IN endpoint never answers by itself.
fn silent() -> Fake {
    Fake { answer: None, ..Fake::with_strings(["", "", ""]) }
}

fn server(fake: Fake) -> (Peer, Arc<Seen>) {
    let seen = fake.seen.clone();
    (Peer::new(Behaviour::Serve(fake)), seen)
}

/// A program reads for a moment, and gets nothing.
fn open_and_close(daemon: &Daemon) {
    let reader = daemon.reader("d/ep_81");
    daemon.wait_pipe("d", "ep_81", |pipe| pipe["open"] == true);
    drop(reader);
    daemon.wait_pipe("d", "ep_81", |pipe| pipe["open"] == false);
}

const TWO: &str = "[[device.pipe]]\nendpoint = 0x81\nqueue = 2";

#[test]
fn what_a_server_sends_after_a_cancellation_reaches_the_next_reader_and_ends_nothing() {
    for unlinked in [OK, ECONNRESET] {
        let (peer, seen) = server(Fake { unlinked, late: Some(b"late".to_vec()), ..silent() });
        let daemon = Daemon::run(&peer.device("d", TWO));
        for round in 1..4 {
            open_and_close(&daemon);
            assert_eq!(read_exactly(daemon.reader("d/ep_81"), 8).1, b"latelate", "round {round}, status {unlinked}");
            daemon.wait_pipe("d", "ep_81", |pipe| pipe["open"] == false);
        }
        assert_eq!(daemon.status("d")["sessions"], 1);
        assert!(seen.unlinks.load(SeqCst) >= 6);
    }
}

#[test]
fn transfers_are_cancelled_one_at_a_time_and_none_is_left_to_a_server_whose_client_goes() {
    let (peer, seen) = server(silent());
    let mut daemon = Daemon::run(&peer.device("d", ""));
    open_and_close(&daemon);
    assert_eq!((seen.unlinks.load(SeqCst), seen.unlinks_together.load(SeqCst)), (8, 1));
    let _reader = daemon.reader("d/ep_81");
    daemon.wait_pipe("d", "ep_81", |pipe| pipe["open"] == true);
    assert!(daemon.end().success());
    wait_for(|| (seen.ended.load(SeqCst) == 1).then_some(()), || "the client has gone, unseen".into());
    assert_eq!((seen.unlinks.load(SeqCst), seen.unlinks_together.load(SeqCst)), (16, 1));
    assert_eq!(seen.left.load(SeqCst), 0);
}
