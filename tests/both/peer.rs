//! USB/IP servers and devices that lie, break off, or say nothing: an error is told, and others go on.

use std::io::Write;
use std::time::Duration;

use firmware_mock::DeviceKind::{Regs, Zero};
use tempfile::TempDir;
use usbip_wire::{OpCode, OpHeader};

use crate::common::events::Events;
use crate::common::witness::Witness;
use crate::common::{Bus, Daemon, open_reader, output, read_exactly, run_dir, usbpipe};
use crate::peer::{Behaviour, Fake, Peer, record, string_descriptor};

#[test]
fn a_server_that_breaks_the_protocol_is_left_and_tried_again_and_other_devices_go_on() {
    let bus = Bus::with(&[Zero, Zero]);
    let daemon = Daemon::run(&format!("{}{}", bus.device("zero", ""), bus.device("zero-2", "")));
    let (mut other_in, mut other_out) = (daemon.reader("zero-2/ep_82"), daemon.writer("zero-2/ep_02"));
    let mut reader = daemon.reader("zero/ep_81");
    let mut events = Events::of(&daemon);
    for round in 0..5 {
        for (lie, word) in [("length", "claims"), ("seqnum", "never made"), ("garbage", "broke USB/IP")] {
            bus.command(&format!("lie zero {lie}"));
            let bytes;
            (reader, bytes) = read_exactly(reader, 3000 * 512);
            assert!(bytes.iter().enumerate().all(|(n, &b)| usize::from(b) == n % 512 % 63), "{lie}");
            let detach = events.wait("detach", "zero");
            let text = detach["text"].as_str().unwrap();
            assert!(text.contains(word), "after {lie} in round {round}: {text}");
            events.wait("attach", "zero");
            other_out.write_all(b"ping").unwrap();
            let bytes;
            (other_in, bytes) = read_exactly(other_in, 4);
            assert_eq!(bytes, b"ping");
        }
    }
    assert_eq!(daemon.status("zero-2")["sessions"], 1);
}

#[test]
fn a_server_that_falls_silent_is_left_when_a_cancellation_stays_unanswered() {
    let bus = Bus::with(&[Zero, Regs]);
    let daemon = Daemon::run(&format!("{}{}", bus.device("zero", ""), bus.device("regs", "")));
    let mut events = Events::of(&daemon);
    let reader = daemon.reader("zero/ep_82");
    events.wait("open", "zero");
    bus.command("lie zero silence");
    drop(reader);
    let witness = Witness::start();
    assert!(daemon.answer(&["control", "regs", "status"]).starts_with("ok"));
    witness.assert_within(Duration::from_secs(1));
    let text = events.wait("detach", "zero")["text"].as_str().unwrap().to_owned();
    assert!(text.contains("did not answer"), "{text}");
    events.wait("attach", "zero");
    let source = daemon.reader("zero/ep_81");
    assert_eq!(read_exactly(source, 1000).1.len(), 1000);
}

#[test]
fn an_endless_device_list_ends() {
    let mut reply = OpHeader { code: OpCode::RepDevlist, status: 0 }.encode().to_vec();
    for count in [u32::MAX, 4000] {
        reply.truncate(8);
        reply.extend(count.to_be_bytes());
        let mut device = record(&Fake::with_strings(["", "", ""]));
        device.num_interfaces = 255;
        reply.extend(device.encode());
        reply.extend([0; 4 * 255]);
        let peer = Peer::new(Behaviour::Say { bytes: reply.clone(), forever: count == 4000 });
        let temp = TempDir::new().unwrap();
        let place = format!("127.0.0.1:{}", peer.port);
        let witness = Witness::start();
        let output = output(usbpipe().arg("--dir").arg(run_dir(&temp, "run")).args(["list", "--remote", &place]));
        witness.assert_within(Duration::from_secs(10));
        if count == u32::MAX {
            assert_eq!(output.status.code(), Some(1));
            assert!(String::from_utf8_lossy(&output.stderr).contains("4294967295"), "{output:?}");
        }
    }
}

#[test]
fn a_bus_id_is_only_ever_data() {
    let mut reply = OpHeader { code: OpCode::RepDevlist, status: 0 }.encode().to_vec();
    let mut device = record(&Fake::with_strings(["", "", ""]));
    device.busid = "1-1\n\u{1b}[2J../x".into();
    device.num_interfaces = 0;
    reply.extend(1u32.to_be_bytes());
    reply.extend(device.encode());
    let peer = Peer::new(Behaviour::Say { bytes: reply, forever: false });
    let temp = TempDir::new().unwrap();
    let place = format!("127.0.0.1:{}", peer.port);
    let output = output(usbpipe().arg("--dir").arg(run_dir(&temp, "run")).args(["list", "--remote", &place]));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.lines().any(|l| l.contains("../x")), "{text:?}");
    assert!(!text.contains('\u{1b}'), "{text:?}");
}

#[test]
fn descriptors_that_lie_make_an_error_or_a_device_but_never_a_crash() {
    let honest = Fake::with_strings(["maker", "thing", "S1"]);
    let with = |change: &dyn Fn(&mut Fake)| {
        let mut fake = honest.clone();
        change(&mut fake);
        fake
    };
    let fakes = [
        with(&|f| f.device.truncate(8)),
        with(&|f| f.device[0] = 255),
        with(&|f| f.device[1] = 2),
        with(&|f| f.device.clear()),
        with(&|f| f.configuration.truncate(9)),
        with(&|f| f.configuration.truncate(20)),
        with(&|f| f.configuration.clear()),
        with(&|f| f.configuration[0] = 0),
        with(&|f| f.configuration[2..4].copy_from_slice(&[0xff, 0xff])),
        with(&|f| f.configuration[2..4].copy_from_slice(&[1, 0])),
        with(&|f| f.configuration[4] = 255),
        with(&|f| f.configuration[9] = 0),
        with(&|f| f.configuration[9] = 255),
        with(&|f| f.configuration[13] = 200),
        with(&|f| f.configuration[18] = 0),
        with(&|f| f.configuration[18] = 2),
        with(&|f| f.configuration[20] = 0x80),
        with(&|f| f.configuration[22..24].copy_from_slice(&[0, 0])),
        with(&|f| f.configuration[22..24].copy_from_slice(&[0xff, 0xff])),
        with(&|f| f.configuration[21] = 1),
        with(&|f| f.configuration[21] = 3),
        with(&|f| f.strings = vec![vec![255, 3, 65], vec![], vec![0, 3]]),
        with(&|f| f.strings = vec![vec![1], string_descriptor("x")[..3].to_vec(), vec![2, 9]]),
        with(&|f| f.strings.clear()),
    ];
    let peers: Vec<Peer> = fakes.iter().map(|f| Peer::new(Behaviour::Serve(f.clone()))).collect();
    let config: String = peers.iter().enumerate().map(|(n, p)| p.device(&format!("liar-{n}"), "")).collect();
    let mut daemon = Daemon::run_unattached(&config);
    for n in 0..peers.len() {
        let name = format!("liar-{n}");
        let status = daemon.wait_status(&name, |s| s["state"] == "attached" || s["reason"].is_string());
        if status["state"] == "attached" {
            for pipe in status["pipes"].as_array().unwrap() {
                // Whatever it claims, opening its outlets harms nobody.
                let outlet = pipe["outlet"].as_str().unwrap();
                drop(open_reader(&daemon.path(&format!("{name}/{outlet}"))).unwrap());
            }
        } else {
            assert!(status["reason"].as_str().unwrap().contains("descriptor"), "{n}: {status}");
        }
    }
    assert!(daemon.end().success(), "{:?}", daemon.said());
}

#[test]
fn a_device_that_answers_nothing_holds_up_no_end() {
    let mut fake = Fake::with_strings(["", "", ""]);
    fake.answer = None;
    let peers = [Peer::new(Behaviour::Serve(fake)), Peer::new(Behaviour::SilentAfterImport)];
    let config = format!("{}{}", peers[0].device("mute", ""), peers[1].device("silent", ""));
    let mut daemon = Daemon::run_unattached(&config);
    daemon.wait_status("mute", |s| s["state"] == "attached");
    let _reader = daemon.reader("mute/ep_81");
    daemon.wait_status("mute", |s| s["pipes"][0]["open"] == true);
    let witness = Witness::start();
    assert!(daemon.end().success());
    witness.assert_within(Duration::from_secs(2));
}
