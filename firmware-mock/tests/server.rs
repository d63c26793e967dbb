//! The server as any USB/IP client meets it.

#![cfg(unix)]

mod common;

use std::io::{Read, Write};

use common::{Data, Lab, NOTHING, PATIENCE, pattern};
use firmware_mock::DeviceKind;
use proptest::prelude::*;
use usbip_wire::{OpCode, OpHeader, Speed, status};

#[test]
fn the_device_list_has_the_ids_and_speeds_of_the_contract() {
    let lab = Lab::new(&DeviceKind::ALL);
    let seen: Vec<_> =
        lab.devlist().into_iter().map(|d| (d.busid, d.vendor_id, d.product_id, d.speed, d.num_interfaces)).collect();
    let expected = [
        ("1-1", 0x2341, 0x0043, Speed::Full, 2),
        ("1-2", 0x2341, 0x8036, Speed::Full, 2),
        ("1-3", 0x0525, 0xa4a0, Speed::High, 1),
        ("1-4", 0x1209, 0x0002, Speed::Full, 1),
        ("1-5", 0x1209, 0x0003, Speed::High, 2),
        ("1-6", 0x1209, 0x0005, Speed::Full, 2),
        ("1-7", 0x1209, 0x0004, Speed::Full, 1),
    ];
    assert_eq!(seen, expected.map(|(busid, vendor, product, speed, n)| (busid.to_owned(), vendor, product, speed, n)));
}

#[test]
fn twins_follow_the_fixed_ports_in_the_order_given() {
    use DeviceKind::{Uno, Zero};
    let lab = Lab::new(&[Zero, Uno, Zero, Uno]);
    let busids: Vec<String> = lab.devlist().into_iter().map(|d| d.busid).collect();
    assert_eq!(busids, ["1-3", "1-1", "1-8", "1-9"]);
    assert_eq!(string(&mut lab.import("1-9"), 3), "MOCK-UNO-2");
    lab.fault("unplug uno-2 60000");
    assert_eq!(lab.devlist().len(), 3);
}

#[test]
fn a_second_import_is_busy_until_the_first_one_ends() {
    let lab = Lab::new(&[DeviceKind::Zero]);
    let first = lab.import("1-3");
    assert_eq!(lab.try_import("1-3").err(), Some(2));
    assert_eq!(lab.devlist().len(), 1, "an imported device is still listed");
    drop(first);
    lab.import("1-3");
}

#[test]
fn a_bus_id_without_a_device_is_refused() {
    let lab = Lab::new(&[DeviceKind::Zero]);
    assert_eq!(lab.try_import("1-1").err(), Some(4));
    assert_eq!(lab.try_import("../../etc").err(), Some(4));
}

#[test]
fn list_and_import_may_share_a_connection() {
    let lab = Lab::new(&[DeviceKind::Zero]);
    let mut stream = lab.connect();
    for _ in 0..2 {
        stream.write_all(&OpHeader { code: OpCode::ReqDevlist, status: 0 }.encode()).unwrap();
        let mut reply = [0; 8 + 4 + 0x138 + 4];
        stream.read_exact(&mut reply).unwrap();
    }
}

#[test]
fn every_device_answers_the_standard_requests() {
    let lab = Lab::new(&DeviceKind::ALL);
    for (record, kind) in lab.devlist().into_iter().zip(DeviceKind::ALL) {
        let mut client = lab.import(&record.busid);
        let device = client.control(0x80, 6, 0x0100, 0, Data::In(18));
        assert_eq!((device.status, device.data.len()), (0, 18), "{kind}");
        assert_eq!(device.data[8..10], record.vendor_id.to_le_bytes());
        assert_eq!(client.control(0x80, 6, 0x0100, 0, Data::In(8)).data, device.data[..8]);
        let short = client.control(0x80, 6, 0x0200, 0, Data::In(9));
        let total = u16::from_le_bytes([short.data[2], short.data[3]]);
        let whole = client.control(0x80, 6, 0x0200, 0, Data::In(4096));
        assert_eq!(whole.data.len(), usize::from(total), "{kind}");
        assert_eq!(client.control(0x80, 6, 0x0300, 0, Data::In(255)).data, [4, 3, 9, 4]);
        assert_eq!(string(&mut client, device.data[14]), "usbpipe");
        assert_eq!(string(&mut client, device.data[15]), kind.name());
        assert_eq!(client.control(0x80, 8, 0, 0, Data::In(1)).data, [1], "configured from the start");
        assert_eq!(client.control(0x00, 9, 1, 0, NOTHING).status, 0);
        assert_eq!(client.control(0x80, 0, 0, 0, Data::In(2)).data, [0, 0]);
        assert_eq!(client.control(0x81, 10, 0, 0, Data::In(1)).data, [0]);
        assert_eq!(client.control(0x01, 11, 0, 0, NOTHING).status, 0);
        assert_eq!(client.control(0x01, 11, 7, 0, NOTHING).status, status::EPIPE);
        assert_eq!(client.control(0x80, 6, 0x0600, 0, Data::In(10)).status, status::EPIPE, "device qualifier");
        assert_eq!(client.control(0x80, 99, 0, 0, Data::In(1)).status, status::EPIPE);
        assert_eq!(client.control(0x23, 3, 4, 1, NOTHING).status, 0, "port reset");
        assert_eq!(client.control(0x80, 8, 0, 0, Data::In(1)).data, [1], "configured again");
    }
}

#[test]
fn only_the_uno_has_a_serial_number() {
    let lab = Lab::new(&DeviceKind::ALL);
    assert_eq!(string(&mut lab.import("1-1"), 3), "MOCK-UNO-1");
    for port in 2..=7 {
        let reply = lab.import(&format!("1-{port}")).control(0x80, 6, 0x0303, 0x0409, Data::In(255));
        assert_eq!(reply.status, status::EPIPE, "1-{port}");
    }
}

#[test]
fn halting_an_endpoint_by_request_is_seen_and_undone() {
    let lab = Lab::new(&[DeviceKind::Zero, DeviceKind::Echo]);
    for (busid, endpoint) in [("1-3", 0x81u8), ("1-6", 0x82)] {
        let mut client = lab.import(busid);
        assert_eq!(client.control(0x02, 3, 0, endpoint.into(), NOTHING).status, 0);
        assert_eq!(client.control(0x82, 0, 0, endpoint.into(), Data::In(2)).data, [1, 0]);
        assert_eq!(client.read(endpoint, 64).status, status::EPIPE);
        assert_eq!(client.control(0x02, 1, 0, endpoint.into(), NOTHING).status, 0);
        assert_eq!(client.control(0x82, 0, 0, endpoint.into(), Data::In(2)).data, [0, 0]);
    }
}

#[test]
fn an_unlinked_transfer_gets_no_reply_of_its_own() {
    let lab = Lab::new(&[DeviceKind::Zero]);
    let mut client = lab.import("1-3");
    let waiting = client.submit_in(0x82, 512);
    let unlink = client.unlink(waiting);
    assert_eq!(client.next_reply().seqnum, unlink);
    let kept = client.submit_in(0x82, 512);
    let written = client.submit_out(0x02, b"later");
    let answered: Vec<u32> = (0..2).map(|_| client.next_reply().seqnum).collect();
    assert!(answered.contains(&kept) && answered.contains(&written));
}

#[test]
fn unlinking_answers_whether_it_was_in_time() {
    let lab = Lab::new(&[DeviceKind::Zero]);
    let mut client = lab.import("1-3");
    let waiting = client.submit_in(0x82, 512);
    let unlink = client.unlink(waiting);
    assert_eq!(client.reply_to(unlink).status, status::ECONNRESET);
    let done = client.submit_in(0x81, 512);
    let unlink = client.unlink(done);
    assert_eq!(client.reply_to(done).status, 0);
    assert_eq!(client.reply_to(unlink).status, 0);
    let unlink = client.unlink(4_000_000);
    assert_eq!(client.reply_to(unlink).status, 0);
}

#[test]
fn transfers_on_endpoints_that_do_not_exist_fail() {
    let lab = Lab::new(&[DeviceKind::Zero, DeviceKind::Tone]);
    assert_eq!(lab.import("1-3").read(0x85, 512).status, status::EPROTO);
    let mut tone = lab.import("1-5");
    let without_setting = tone.submit_iso(0x83, 192, 8, &[]);
    assert_eq!(tone.reply_to(without_setting).status, status::EPROTO);
}

#[test]
fn lengths_beyond_the_limit_end_the_connection_and_nothing_else() {
    let lab = Lab::new(&[DeviceKind::Zero]);
    let mut client = lab.import("1-3");
    client.submit_in(0x81, (16 << 20) + 1);
    client.wait_for_end();
    let mut client = lab.import("1-3");
    let longest = client.read(0x81, 16 << 20);
    assert_eq!(longest.data.len(), 16 << 20);
    assert!(longest.data.iter().enumerate().all(|(n, &byte)| byte == pattern(n)));
}

#[test]
fn a_client_that_does_not_read_is_not_read_either() {
    let lab = Lab::new(&[DeviceKind::Zero]);
    let mut client = lab.import("1-3");
    let seqnums: Vec<u32> = (0..64).map(|_| client.submit_in(0x81, 1 << 20)).collect();
    assert_eq!(lab.devlist().len(), 1, "others are served meanwhile");
    for seqnum in seqnums {
        assert_eq!(client.next_reply().seqnum, seqnum);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn garbage_never_kills_the_server(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..4),
        import in any::<bool>(),
        code in 0u32..6,
    ) {
        let lab = Lab::new(&[DeviceKind::Zero]);
        let mut stream = if import { lab.import("1-3").stream } else { lab.connect() };
        let mut send = |bytes: &[u8]| stream.write_all(bytes).is_ok();
        if import {
            // Something that begins like a command goes further.
            send(&code.to_be_bytes());
        }
        for chunk in &chunks {
            send(chunk);
        }
        drop(stream);
        lab.import("1-3");
    }
}

#[test]
fn a_fresh_start_of_the_program_prints_where_it_listens_and_ends_with_status_0() {
    use std::io::BufRead;
    let control = std::env::temp_dir().join(format!("firmware-mock-cli-{}.sock", std::process::id()));
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_firmware-mock"))
        .args(["serve", "--listen", "127.0.0.1:0", "--fault", "unplug knob 60000", "uno", "zero*2", "knob"])
        .arg("--control")
        .arg(&control)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let first = lines.next().unwrap();
    let address = first.strip_prefix("firmware-mock: listening on ").expect("the line of the contract").to_owned();
    assert_eq!(lines.next().unwrap(), "  uno 1-1 2341:0043");
    assert_eq!(lines.next().unwrap(), "  zero 1-3 0525:a4a0");
    assert_eq!(lines.next().unwrap(), "  zero-2 1-8 0525:a4a0");
    let stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(control.exists());
    let kill = std::process::Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(kill.success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!control.exists(), "the control socket is removed");
}

#[test]
fn wrong_usage_and_failures_have_their_own_exit_status() {
    let run = |args: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_firmware-mock")).args(args).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, text) = run(&["serve", "due"]);
    assert!(code == Some(2) && text.contains("uno leonardo zero"), "{text}");
    let (code, text) = run(&["serve", "zero", "--fault", "stall zero 0x85"]);
    assert!(code == Some(2) && text.contains("0x81"), "{text}");
    let (code, text) = run(&["serve", "zero", "--listen", "127.0.0.1:0", "--control", "/nonexistent/mock.sock"]);
    assert!(code == Some(1) && text.contains("create it"), "{text}");
}

fn string(client: &mut common::Client, index: u8) -> String {
    let reply = client.control(0x80, 6, 0x0300 | u16::from(index), 0x0409, Data::In(255));
    assert_eq!(reply.status, 0);
    let units: Vec<u16> = reply.data[2..].chunks(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect();
    String::from_utf16(&units).expect("UTF-16")
}
