//! Options that stand in for a configuration, and selectors by strings of the device.

use std::io::Write;
use std::process::{Command, Output};

use firmware_mock::DeviceKind::{Echo, Regs, Tone, Uno, Zero};
use tempfile::TempDir;

use crate::common::{Bus, Daemon, ended, read_exactly, read_line, run_dir, usbpipe};

/// Where a device of the bus is.
fn selector(bus: &Bus, name: &str) -> String {
    format!("usbip://127.0.0.1:{}/{}", bus.port, bus.busid(name))
}

/// `usbpipe bridge` with these words, once the device of this name is attached.
fn bridge(words: &[&str], device: &str) -> (TempDir, Daemon) {
    let temp = TempDir::new().unwrap();
    let dir = run_dir(&temp, "run");
    let mut command = usbpipe();
    command.arg("--dir").arg(&dir).arg("bridge").args(words);
    let mut daemon = Daemon::start(command, &dir);
    daemon.wait_said("ready");
    daemon.wait_status(device, |s| s["state"] == "attached");
    (temp, daemon)
}

/// A command of the program in a run dir that no daemon has.
fn alone(temp: &TempDir, words: &[&str]) -> Command {
    let mut command = usbpipe();
    command.arg("--dir").arg(run_dir(temp, "none")).args(words);
    command
}

/// What was said with this status, and nothing on stdout.
fn refusal(command: &mut Command, status: i32) -> String {
    let output = ended(command);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(status), &b""[..]), "{said}");
    said
}

fn answer(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

#[test]
fn bridge_with_a_framing_frames_all_endpoints() {
    let bus = Bus::with(&[Zero]);
    let (_temp, daemon) = bridge(&["--framing", "hex", "--detach", &selector(&bus, "zero")], "0525-a4a0");
    let reader = daemon.reader("0525-a4a0/ep_82");
    daemon.writer("0525-a4a0/ep_02").write_all(b"00 01 ff\n").unwrap();
    assert_eq!(read_line(&reader), "0001ff");
}

#[test]
fn with_jsonl_out_endpoints_take_bytes() {
    let bus = Bus::with(&[Zero]);
    let (_temp, daemon) = bridge(&[&selector(&bus, "zero"), "--framing=jsonl"], "0525-a4a0");
    let reader = daemon.reader("0525-a4a0/ep_82");
    daemon.writer("0525-a4a0/ep_02").write_all(b"abc").unwrap();
    let line: serde_json::Value = serde_json::from_str(&read_line(&reader)).unwrap();
    assert_eq!(line["data"], "616263");
}

#[test]
fn bridge_selects_the_alternate_setting_and_leaves_other_interfaces_alone() {
    let bus = Bus::with(&[Tone]);
    let (_temp, daemon) = bridge(&["--interface", "1", "--alt", "1", &selector(&bus, "tone")], "1209-0003");
    // 48 samples of two channels a millisecond: the left one counts on.
    let (_, sound) = read_exactly(daemon.reader("1209-0003/ep_83"), 192);
    let left: Vec<u16> = sound.chunks_exact(4).map(|s| u16::from_le_bytes([s[0], s[1]])).collect();
    assert!(left.windows(2).all(|two| two[1] == two[0].wrapping_add(1)), "{left:?}");
}

#[test]
fn the_setting_without_endpoints_has_none_and_one_that_is_not_there_is_said_so() {
    let bus = Bus::with(&[Tone]);
    let (_temp, mut daemon) = bridge(&["--alt", "0", &selector(&bus, "tone")], "1209-0003");
    assert_eq!(daemon.status("1209-0003")["pipes"], serde_json::json!([]));
    assert!(daemon.end().success());
    let temp = TempDir::new().unwrap();
    let exec = ["exec", &selector(&bus, "tone"), "--alt", "7", "--in", "ep_83", "--", "cat"];
    let said = refusal(&mut alone(&temp, &exec), 1);
    assert!(said.contains("--alt 7") && said.contains("1 alt 0, 1 alt 1"), "{said}");
    let (_temp, mut daemon) = bridge(&["--interface", "9", &selector(&bus, "tone")], "1209-0003");
    daemon.wait_said("nothing for --interface 9");
}

#[test]
fn an_interface_that_is_not_the_serial_lines_leaves_the_line_out() {
    let bus = Bus::with(&[Uno]);
    let name = "2341-0043-MOCK-UNO-1";
    let (_temp, daemon) = bridge(&["--interface", "1", &selector(&bus, "uno")], name);
    let outlets = |daemon: &Daemon| -> Vec<String> {
        let pipes = daemon.status(name)["pipes"].clone();
        pipes.as_array().unwrap().iter().map(|pipe| pipe["outlet"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(outlets(&daemon), ["serial.rx", "serial.tx"], "interface 1 is the line's data interface");
    drop(daemon);
    let (_temp, mut daemon) = bridge(&["--interface", "7", &selector(&bus, "uno")], name);
    daemon.wait_said("--interface 7");
    assert_eq!(outlets(&daemon), [""; 0]);
}

#[test]
fn control_takes_an_interface_and_its_setting_for_one_request() {
    let bus = Bus::with(&[Tone, Regs]);
    let temp = TempDir::new().unwrap();
    let (tone, regs) = (selector(&bus, "tone"), selector(&bus, "regs"));
    let control = |words: &[&str]| alone(&temp, &[&["control"], words].concat());
    // GET_INTERFACE: USB 2.0, 9.4.4.
    let current = "in 0x81 10 0 1 1";
    assert_eq!(answer(ended(&mut control(&[&tone, "--interface", "1", "--alt", "1", current]))), "ok 01");
    assert_eq!(answer(ended(&mut control(&["--detach", &tone, current]))), "ok 00");
    assert_eq!(answer(ended(&mut control(&["--detach", &regs, "out", "0x40", "1", "0", "7", "cafe"]))), "ok");
    assert_eq!(answer(ended(&mut control(&[&regs, "in", "0xc0", "2", "0", "7", "2"]))), "ok cafe");
    let said = refusal(&mut control(&[&regs, "--alt", "0", "status"]), 2);
    assert!(said.contains("--alt 0 needs --interface"), "{said}");
    let said = refusal(&mut control(&[&tone, "--interface", "1", "--alt", "5", "status"]), 1);
    assert!(said.contains("--interface 1 --alt 5"), "{said}");
}

#[test]
fn options_are_refused_where_they_have_no_meaning() {
    let bus = Bus::with(&[Zero, Echo]);
    let daemon = Daemon::run(&bus.device("zero", ""));
    let (zero, echo, temp) = (selector(&bus, "zero"), selector(&bus, "echo"), TempDir::new().unwrap());
    let of_daemon = |words: &[&str]| {
        let mut command = usbpipe();
        command.arg("--dir").arg(&daemon.dir).args(words);
        refusal(&mut command, 2)
    };
    for words in [
        &["control", "zero", "--detach", "status"][..],
        &["control", &zero, "--detach", "status"],
        &["serial", "zero", "--interface", "1", "lines"],
        &["exec", "zero", "--framing", "hex", "--in", "ep_81", "--", "cat"],
        &["exec", &zero, "--alt", "0", "--in", "ep_81", "--", "cat"],
        &["capture", "zero", "--socket", "-o", "-"],
    ] {
        let said = of_daemon(words);
        assert!(said.contains("for \"zero\", which is a device of the daemon"), "{words:?}: {said}");
    }
    for option in [["--framing", "hex"], ["--alt", "1"]] {
        let words = [&["exec", &echo][..], &option, &["--serial", "--", "cat"]].concat();
        let said = refusal(&mut alone(&temp, &words), 2);
        assert!(said.contains("a serial line alone"), "{said}");
    }
    for words in [
        &["control", &echo, "--framing", "hex", "status"][..],
        &["control", &echo, "status", "--detach"],
        &["serial", &echo, "--alt", "1", "lines"],
    ] {
        let said = refusal(&mut alone(&temp, words), 2);
        assert!(said.contains("cannot be used here") && said.contains("--detach"), "{said}");
    }
    for command in [&["bridge"][..], &["exec", "--serial"], &["serial"], &["capture", "-o", "-"]] {
        let rest: &[&str] = match command[0] {
            "exec" => &["--", "cat"],
            "serial" => &["lines"],
            _ => &[],
        };
        let words = [command, &["COM77", "--detach"], rest].concat();
        let said = refusal(&mut alone(&temp, &words), 2);
        assert!(said.contains("COM77 is a serial port of the system") && said.contains("--detach"), "{said}");
    }
    let said = refusal(&mut alone(&temp, &["bridge", &zero, "--framing", "lines"]), 2);
    assert!(said.contains("stream, packet, length, hex, jsonl"), "{said}");
}

#[test]
fn a_framing_that_nothing_has_a_use_for_is_said_so() {
    let bus = Bus::with(&[Echo]);
    let (_temp, mut daemon) = bridge(&["--framing", "hex", &selector(&bus, "echo")], "1209-0005");
    daemon.wait_said("a serial line has no framing");
}

#[test]
fn devices_of_a_daemon_are_selected_by_product_by_serial_number_and_by_place() {
    let bus = Bus::with(&[Zero, Uno]);
    let daemon = Daemon::run(&format!("{}[[device]]\nname = \"board\"\n{}", bus.device("zero", ""), bus.remote("uno")));
    let product = daemon.status("board")["product"].as_str().unwrap().to_owned();
    let by_product = format!("product:{product}");
    for text in [by_product.as_str(), "serial:MOCK-UNO-1", "2341:0043:MOCK-UNO-1", "2341:0043", &selector(&bus, "uno")]
    {
        let status = daemon.answer(&["control", text, "status"]);
        assert!(status.starts_with("ok state=attached vid=2341 pid=0043"), "{text}: {status}");
        let lines = daemon.answer(&["serial", text, "baud", "57600"]);
        assert_eq!(lines, "ok", "{text}");
    }
    // The daemon's own device was asked, and not another session of it.
    assert_eq!(daemon.status("board")["sessions"], 1);
}

#[test]
fn what_no_daemon_has_is_looked_for_on_this_machine_and_named_as_it_was_typed() {
    let temp = TempDir::new().unwrap();
    for text in ["product:No Such Thing", "serial:none-of-it", "fffe:0001", "fffe:0001:X", "255-7.7"] {
        let said = refusal(&mut alone(&temp, &["control", text, "status"]), 1);
        assert!(said.contains(&format!("{text} is not plugged in")), "{said}");
    }
    for text in ["product:", "serial:", "2341:", "usbip://pi", "/"] {
        let said = refusal(&mut alone(&temp, &["exec", text, "--serial", "--", "cat"]), 2);
        let forms = ["product:NAME", "serial:SERIAL"].iter().all(|form| said.contains(form));
        assert!(forms || said.contains("append its bus id"), "{said}");
    }
}

#[test]
fn a_captured_device_is_bridged_as_the_options_say() {
    let bus = Bus::with(&[Zero]);
    let temp = TempDir::new().unwrap();
    let dir = run_dir(&temp, "run");
    let file = temp.path().join("zero.pcapng");
    let mut command = usbpipe();
    command.arg("--dir").arg(&dir).args(["capture", &selector(&bus, "zero"), "--framing", "length", "-o"]).arg(&file);
    let mut capture = Daemon::start(command, &dir);
    capture.wait_said("is captured");
    capture.wait_status("0525-a4a0", |s| s["state"] == "attached");
    let reader = capture.reader("0525-a4a0/ep_82");
    capture.writer("0525-a4a0/ep_02").write_all(b"\x03\0\0\0abc").unwrap();
    assert_eq!(read_exactly(reader, 7).1, b"\x03\0\0\0abc");
    assert!(capture.end().success());
}
