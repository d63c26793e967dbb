//! What somebody gets when something is wrong with a device: a message that says what was being done to which endpoint,
//! why it failed and what to do; and a daemon that goes on, with everything else at once, with this as soon as it can.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use firmware_mock::DeviceKind;
use serde_json::Value;

use crate::common::bytes::{assert_same, pattern, read_in_chunks, write_in_chunks};
use crate::common::witness::Witness;
use crate::common::{Bus, Daemon, ended, read_exactly, usbpipe, wait_for};
use crate::guest::{Function, Gadget, Guest, UsbDevice};
use crate::vitals::{Events, cpu_ticks};

/// Waits for an event whose text has all of these in it, and gives the text.
fn told(events: &mut Events, kind: &str, device: &str, parts: &[&str]) -> String {
    loop {
        let event = events.wait(kind, device);
        let text = event["text"].as_str().unwrap().to_owned();
        if parts.iter().all(|part| text.contains(part)) {
            return text;
        }
    }
}

/// Waits until the status gives a reason with all of these in it.
fn waits_because(daemon: &Daemon, device: &str, parts: &[&str]) {
    daemon.wait_status(device, |status| {
        let reason = status["reason"].as_str().unwrap_or_default();
        status["state"] == "searching" && parts.iter().all(|part| reason.contains(part))
    });
}

/// Waits until the status of an outlet names a problem with all of these in it.
fn has_problem(daemon: &Daemon, device: &str, outlet: &str, parts: &[&str]) {
    daemon.wait_pipe(device, outlet, |pipe| {
        let problem = pipe["problem"].as_str().unwrap_or_default();
        !problem.is_empty() && parts.iter().all(|part| problem.contains(part))
    });
}

fn device(name: &str, product: u16, rest: &str) -> String {
    format!("[[device]]\nname = \"{name}\"\nmatch = {{ vid = 0x1209, pid = {product:#06x} }}\n{rest}\n")
}

/// Reads so many bytes of the source's pattern.
fn expect_source(daemon: &Daemon, outlet: &str, size: usize) {
    let expected = pattern(512 + 65536);
    read_in_chunks(&daemon.reader(outlet), size, &[65536], |offset, got| {
        assert_same(&expected[offset % 512..offset % 512 + got.len()], got, offset);
    });
}

/// A gadget whose pipes must go on whatever happens to another device of the daemon.
fn bystander(guest: &Guest) -> (Gadget, String) {
    let gadget = guest.gadget("1209:f009", &[Function::source_sink()]);
    let (source, _) = gadget.plug().pair();
    (gadget, format!("other/{source}"))
}

#[test]
fn an_interface_of_a_kernel_driver_is_refused_by_its_name_and_taken_when_it_is_free() {
    let Some(guest) = Guest::here() else { return };
    let (_other, other) = bystander(&guest);
    let gadget = guest.gadget("1209:f001", &[Function::acm()]);
    let port = gadget.plug();
    port.wait_driver(1, "cdc_acm");
    let serial = device("g", 0xf001, "[device.serial]\ndriver = \"user\"\n");
    let mut daemon = Daemon::run_unattached(&(serial + &device("other", 0xf009, "")));
    let said = ["interface 0 is held by the kernel driver cdc_acm", "driver = \"kernel\"", "detach = true"];
    waits_because(&daemon, "g", &said);
    let line = daemon.wait_said("kernel driver cdc_acm");
    assert!(said.iter().all(|part| line.contains(part)), "{line}");
    daemon.wait_status("other", |status| status["state"] == "attached");
    expect_source(&daemon, &other, 1 << 20);
    assert_eq!(daemon.said().iter().filter(|line| line.contains("cdc_acm")).count(), 1, "said once, not at every look");

    fs::write("/sys/bus/usb/drivers/cdc_acm/unbind", format!("{}:1.0", port.busid)).unwrap();
    daemon.wait_attached();
}

#[test]
fn commands_about_an_interface_of_a_kernel_driver_name_the_driver_at_once() {
    let Some(_guest) = Guest::here() else { return };
    let keyboard = UsbDevice::wait("0627:0001");
    keyboard.wait_driver(0, "usbhid");
    let temp = tempfile::TempDir::new().unwrap();
    let ask = |words: &[&str]| {
        let mut command = usbpipe();
        command.arg("--dir").arg(temp.path()).args(words);
        let output = ended(&mut command);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {output:?}");
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let holder = "interface 0 is held by the kernel driver usbhid; write detach = true";
    let text = ask(&["control", "0627:0001", "in", "0xa1", "1", "0x0100", "0", "8"]);
    assert!(text.starts_with(&format!("error io {holder}")), "{text}");
    let text = ask(&["exec", "0627:0001", "--in", "81", "--", "cat"]);
    assert!(text.contains(holder), "{text}");
    let text = ask(&["control", "0627:0001", "alt", "5", "0"]);
    assert!(text.contains("the device has no interface 5; it has 0"), "{text}");
}

#[test]
fn an_interface_of_another_program_is_refused_by_its_name_and_taken_when_that_ends() {
    let Some(guest) = Guest::here() else { return };
    let gadget = guest.gadget("1209:f001", &[Function::source_sink()]);
    let (source, _) = gadget.plug().pair();
    let mut first = Daemon::run(&device("g", 0xf001, ""));
    let mut daemon = Daemon::run_unattached(&device("g", 0xf001, "detach = true\n"));
    let holder = format!("interface 0 is held by usbpipe (process {})", first.child.id());
    waits_because(&daemon, "g", &[&holder, "end that program"]);
    daemon.wait_said(&holder);
    expect_source(&first, &format!("g/{source}"), 1 << 20);
    assert!(first.end().success());
    daemon.wait_attached();
    expect_source(&daemon, &format!("g/{source}"), 1 << 20);
}

#[test]
fn the_rest_of_a_device_is_bridged_while_another_program_has_a_part_of_it() {
    let Some(guest) = Guest::here() else { return };
    let gadget = guest.gadget("1209:f001", &[Function::source_sink(), Function::loopback()]);
    let plugged = gadget.plug();
    let (source, back) = (plugged.endpoint(0, true), plugged.endpoint(1, true));
    let mut first = Daemon::run(&device("g", 0xf001, &format!("[[device.pipe]]\nendpoint = 0x{}\n", &source[3..])));
    let daemon = Daemon::run(&device("g", 0xf001, ""));
    let mut events = Events::of(&daemon);
    has_problem(&daemon, "g", &source, &["interface 0 is held by usbpipe (process"]);
    assert_eq!(daemon.pipe("g", &back)["problem"], Value::Null);
    let out = plugged.endpoint(1, false);
    let (reader, writer) = (daemon.reader(&format!("g/{back}")), daemon.writer(&format!("g/{out}")));
    write_in_chunks(&writer, &pattern(65536), &[65536]);
    assert_eq!(read_exactly(reader, 65536).1, pattern(65536));

    assert!(first.end().success());
    told(&mut events, "attach", "g", &["interface 0 is free and bridged now"]);
    expect_source(&daemon, &format!("g/{source}"), 1 << 20);
    assert_eq!(daemon.pipe("g", &source)["problem"], Value::Null);
    assert_eq!(daemon.status("g")["sessions"], 1, "the other pipes were not interrupted");
}

#[test]
fn a_device_that_goes_while_it_is_opened_is_said_to_have_gone_and_comes_back() {
    let Some(guest) = Guest::here() else { return };
    let gadget = guest.gadget("1209:f001", &[Function::source_sink()]);
    gadget.plug();
    let mut daemon = Daemon::run(&device("g", 0xf001, ""));
    gadget.unplug();
    daemon.wait_status("g", |status| status["state"] == "searching");
    let before = open_files(&daemon);
    for round in 0..16 {
        gadget.plug_unawaited();
        // Pulled out at another moment of its being found and opened in each round.
        let node = UsbDevice::wait("1209:f001").node();
        if round % 2 == 0 {
            wait_for(|| is_open(&daemon, &node).then_some(()), || format!("{} is not opened", node.display()));
        }
        for _ in 0..round / 2 {
            let _ = is_open(&daemon, &node);
        }
        gadget.unplug();
        UsbDevice::wait_gone("1209:f001");
    }
    daemon.wait_status("g", |status| status["state"] == "searching");
    let now = || open_files(&daemon);
    wait_for(|| (now().len() <= before.len()).then_some(()), || format!("before {before:#?}, now {:#?}", now()));
    let (source, _) = gadget.plug().pair();
    daemon.wait_attached();
    expect_source(&daemon, &format!("g/{source}"), 1 << 20);
    for line in daemon.said() {
        let known =
            ["is not plugged in", "went while it was being opened", "has gone", "attach: ", "unplugged", "ready"];
        assert!(known.iter().any(|text| line.contains(text)), "{line}");
    }
}

fn is_open(daemon: &Daemon, node: &Path) -> bool {
    open_files(daemon).iter().any(|file| file == node)
}

fn open_files(daemon: &Daemon) -> Vec<PathBuf> {
    let entries = fs::read_dir(format!("/proc/{}/fd", daemon.child.id())).unwrap().flatten();
    entries.filter_map(|entry| fs::read_link(entry.path()).ok()).collect()
}

#[test]
fn a_device_that_goes_before_its_setting_is_selected_is_said_to_have_gone() {
    let Some(guest) = Guest::here() else { return };
    let bus = Bus::with(&[DeviceKind::Tone]);
    let plugged = guest.attach(&bus, "tone", "1209:0003");
    // Selecting an alternate setting takes this long, and the device goes meanwhile.
    bus.command("delay tone 0x00 60000");
    let pipe = "[[device.pipe]]\nendpoint = 0x83\n";
    let mut daemon = Daemon::run_unattached(&device("tone", 0x0003, pipe));
    let claimed = || (plugged.device.driver(1)? == "usbfs").then_some(());
    wait_for(claimed, || format!("{:?}", plugged.device.driver(1)));
    drop(plugged);
    bus.command("delay tone 0x00 0");
    let line = daemon.wait_said("tone");
    assert!(line.contains("1209:0003 at") && line.contains("went while it was being opened"), "{line}");
    let _plugged = guest.attach(&bus, "tone", "1209:0003");
    daemon.wait_attached();
}

const LIMIT: &str = "/sys/module/usbcore/parameters/usbfs_memory_mb";

/// The limit of usbfs in MiB, until it is dropped.
struct MemoryLimit(String);

impl MemoryLimit {
    fn set(mebibytes: u32) -> Self {
        let before = fs::read_to_string(LIMIT).unwrap();
        fs::write(LIMIT, mebibytes.to_string()).unwrap();
        Self(before)
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        fs::write(LIMIT, &self.0).unwrap();
    }
}

#[test]
fn transfers_beyond_the_memory_limit_of_usbfs_are_made_smaller_and_told_with_the_limit() {
    let Some(guest) = Guest::here() else { return };
    let gadget = guest.gadget("1209:f001", &[Function::source_sink()]);
    let (source, sink) = gadget.plug().pair();
    let limit = MemoryLimit::set(16);
    let pipe = |outlet: &str| format!("[[device.pipe]]\nendpoint = 0x{}\ntransfer = \"8M\"\nqueue = 8\n", &outlet[3..]);
    let daemon = Daemon::run(&device("g", 0xf001, &(pipe(&source) + &pipe(&sink))));
    let mut events = Events::of(&daemon);
    let outlet = format!("g/{source}");
    expect_source(&daemon, &outlet, 64 << 20);
    let asked = [&format!("reading from endpoint 0x{} of 1209:f001", &source[3..])[..], "lends 16 MiB", "`transfer`"];
    let text = told(&mut events, "warning", "g", &asked);
    assert!(text.contains("echo 128 | sudo tee /sys/module/usbcore/parameters/usbfs_memory_mb"), "{text}");

    write_in_chunks(&daemon.writer(&format!("g/{sink}")), &pattern(16 << 20), &[1 << 20]);
    daemon.wait_count("g", &sink, "bytes", 16 << 20);

    let raised = MemoryLimit::set(128);
    daemon.wait_pipe("g", &source, |pipe| pipe["open"] == false);
    let reader = daemon.reader(&outlet);
    daemon.wait_pipe("g", &source, |pipe| pipe["open"] == true && pipe["problem"].is_null());
    drop(read_exactly(reader, 32 << 20));
    assert_eq!(daemon.pipe("g", &source)["errors"], 0);
    drop((raised, limit));
}

#[test]
fn with_no_memory_at_all_it_tries_again_at_rest_and_goes_on_once_there_is_some() {
    let Some(guest) = Guest::here() else { return };
    let gadget = guest.gadget("1209:f001", &[Function::source_sink()]);
    let (source, _) = gadget.plug().pair();
    let limit = MemoryLimit::set(1);
    // A transfer of this framing is a record, which cannot be made smaller.
    let pipe = format!("[[device.pipe]]\nendpoint = 0x{}\nframing = \"length\"\ntransfer = \"2M\"\n", &source[3..]);
    let mut daemon = Daemon::run(&device("g", 0xf001, &pipe));
    let reader = daemon.reader(&format!("g/{source}"));
    daemon.wait_count("g", &source, "errors", 5);
    has_problem(&daemon, "g", &source, &["no memory for the transfer", "lends 1 MiB"]);
    let line = daemon.wait_said("trying again");
    assert!(line.contains("1209:f001") && line.contains("lends 1 MiB"), "{line}");
    let (ticks, errors) = (cpu_ticks(daemon.child.id()), daemon.count("g", &source, "errors"));
    let witness = Witness::start();
    daemon.wait_count("g", &source, "errors", errors + 4);
    let ticks = cpu_ticks(daemon.child.id()) - ticks;
    assert!(ticks < 100 + witness.kept_ticks(), "four tries, which are seconds apart, took {ticks} ticks");
    assert_eq!(daemon.said().iter().filter(|line| line.contains("trying again")).count(), 1);

    drop(limit);
    let (_, record) = read_exactly(reader, 4 + (2 << 20));
    assert_eq!(record[..4], (2u32 << 20).to_le_bytes());
    daemon.wait_pipe("g", &source, |pipe| pipe["problem"].is_null());
}

#[test]
fn a_halted_endpoint_is_told_with_its_device_and_the_other_direction_goes_on() {
    let Some(guest) = Guest::here() else { return };
    let gadget = guest.gadget("1209:f001", &[Function::source_sink()]);
    let (source, sink) = gadget.plug().pair();
    let daemon = Daemon::run(&device("g", 0xf001, ""));
    let mut events = Events::of(&daemon);
    let writer = daemon.writer(&format!("g/{sink}"));
    let mut wrong = pattern(100);
    wrong[50] ^= 1;
    // The sink looks at its data when a request of its own ends, and refuses the next transfer.
    write_in_chunks(&writer, &wrong, &[100]);
    daemon.wait_count("g", &sink, "bytes", 100);
    write_in_chunks(&writer, &pattern(100), &[100]);
    let text = told(&mut events, "stall", "g", &[&format!("endpoint 0x{} of 1209:f001", &sink[3..])]);
    assert!(text.contains("refuse") && text.contains("cleared") && text.contains("stall = \"stop\""), "{text}");
    expect_source(&daemon, &format!("g/{source}"), 1 << 20);
    assert_eq!(daemon.count("g", &sink, "lost_bytes"), 100);
    write_in_chunks(&writer, &pattern(100), &[100]);
    daemon.wait_count("g", &sink, "bytes", 200);
}

#[test]
fn a_source_that_halts_again_and_again_is_asked_ever_less_often_and_goes_on_in_the_end() {
    let Some(guest) = Guest::here() else { return };
    let bus = Bus::with(&[DeviceKind::Zero]);
    let _plugged = guest.attach(&bus, "zero", "0525:a4a0");
    let daemon = Daemon::run(ZERO);
    let reader = daemon.reader("zero/ep_82");
    let mut stalls = 0;
    for _ in 0..6 {
        bus.command("stall zero 0x82");
        stalls = daemon.wait_count("zero", "ep_82", "stalls", stalls + 1);
        let is_halted = || daemon.answer(&["control", "zero", "in 0x82 0 0 0x82 2"]);
        wait_for(|| (is_halted() == "ok 0000").then_some(()), is_halted);
    }
    write_in_chunks(&daemon.writer("zero/ep_02"), &pattern(4096), &[4096]);
    assert_eq!(read_exactly(reader, 4096).1, pattern(4096));
}

const ZERO: &str = "[[device]]\nname = \"zero\"\nmatch = { vid = 0x0525, pid = 0xa4a0 }\ndetach = true\n";

#[test]
fn babble_is_told_with_what_to_try_and_what_comes_after_it_arrives() {
    let Some(guest) = Guest::here() else { return };
    let bus = Bus::with(&[DeviceKind::Zero]);
    let _plugged = guest.attach(&bus, "zero", "0525:a4a0");
    let mut daemon = Daemon::run(ZERO);
    let source = daemon.reader("zero/ep_81");
    bus.command("babble zero 0x81 4000000000");
    let line = daemon.wait_said("babble");
    for part in ["zero/ep_81", "reading from endpoint 0x81 of 0525:a4a0", "cable", "wMaxPacketSize", "trying again"] {
        assert!(line.contains(part), "{part:?} is not in {line:?}");
    }
    let errors = daemon.wait_count("zero", "ep_81", "errors", 8);
    has_problem(&daemon, "zero", "ep_81", &["babble"]);
    let (ticks, witness) = (cpu_ticks(daemon.child.id()), Witness::start());
    let (back, out) = (daemon.reader("zero/ep_82"), daemon.writer("zero/ep_02"));
    write_in_chunks(&out, &pattern(4096), &[4096]);
    assert_eq!(read_exactly(back, 4096).1, pattern(4096), "the other pipes go on");
    daemon.wait_count("zero", "ep_81", "errors", errors + 3);
    let ticks = cpu_ticks(daemon.child.id()) - ticks;
    assert!(ticks < 150 + witness.kept_ticks(), "three tries, which are a second apart, took {ticks} ticks");

    // What the FIFO holds from before the babble goes on in the pattern.
    bus.command("babble zero 0x81 0");
    let expected = pattern(512 + 65536);
    read_in_chunks(&source, 4 << 20, &[65536], |offset, got| {
        assert_same(&expected[offset % 512..offset % 512 + got.len()], got, offset);
    });
    assert_eq!(daemon.pipe("zero", "ep_81")["problem"], Value::Null);
}

#[test]
fn single_bytes_are_read_from_packets_of_512_and_none_is_lost() {
    let Some(guest) = Guest::here() else { return };
    let gadget = guest.gadget("1209:f001", &[Function::source_sink()]);
    let (source, _) = gadget.plug().pair();
    let pipe = format!("[[device.pipe]]\nendpoint = 0x{}\ntransfer = 1\n", &source[3..]);
    let mut daemon = Daemon::run(&device("g", 0xf001, &pipe));
    let outlet = daemon.path(&format!("g/{source}"));
    let dd = |count: usize| {
        let mut command = Command::new("dd");
        command.args(["bs=1", "status=none"]).arg(format!("count={count}")).stderr(Stdio::inherit());
        command.arg(format!("if={}", outlet.display())).output().unwrap().stdout
    };
    let mut got = Vec::new();
    (0..20).for_each(|_| got.extend(dd(1)));
    got.extend(dd(1500));
    assert_same(&pattern(1520), &got, 0);
    let pipe = daemon.pipe("g", &source);
    assert_eq!((&pipe["errors"], &pipe["lost_bytes"], &pipe["problem"]), (&0.into(), &0.into(), &Value::Null));
    assert!(daemon.said().iter().all(|line| !line.contains("error") && !line.contains("WARN")));
}
