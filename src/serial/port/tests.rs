//! A port that is a pseudo-terminal: the far end is its master. It has no modem lines.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::libc;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::termios::{ControlFlags, LocalFlags, tcgetattr};

use super::*;
use crate::config::SerialMode;
use crate::serial::{Function, LineCoding, Lines, Wanted, find_function};
use crate::usb::{OpenError, Pipe, Setup, Transfer, TransferError, UsbDevice, complete, drain};

/// What is at the other end of the cable.
struct FarEnd {
    master: File,
    path: PathBuf,
}

impl FarEnd {
    fn new() -> Self {
        // No program that another test starts may have it.
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let master = posix_openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = ptsname_r(&master).unwrap().into();
        Self { master: OwnedFd::from(master).into(), path }
    }

    async fn open(&self) -> SerialDevice {
        open(&PortInfo::of(self.path.clone()), true, FirstSettings::default()).await.unwrap()
    }

    fn say(&self, bytes: &[u8]) {
        (&self.master).write_all(bytes).unwrap();
    }

    /// Whatever has arrived.
    fn heard(&self) -> Vec<u8> {
        let mut bytes = vec![0; 65536];
        match (&self.master).read(&mut bytes) {
            Ok(n) => bytes.truncate(n),
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::WouldBlock);
                bytes.clear();
            }
        }
        bytes
    }

    /// The speed as the kernel has it, which is the same at both ends.
    fn speed(&self) -> (u32, u32) {
        // SAFETY: a termios2 is numbers, for which all zeros are values.
        let mut settings: libc::termios2 = unsafe { std::mem::zeroed() };
        // SAFETY: TCGETS2 writes one termios2, which outlives the call, and the descriptor is open.
        unsafe { tcgets2(self.master.as_raw_fd(), &mut settings) }.unwrap();
        (settings.c_ispeed, settings.c_ospeed)
    }
}

nix::ioctl_read!(tcgets2, b'T', 0x2a, libc::termios2);

fn function(port: &SerialDevice) -> Function {
    find_function(port.descriptors(), None).unwrap()
}

fn pipes(port: &SerialDevice) -> (Box<dyn Pipe>, Box<dyn Pipe>) {
    let function = function(port);
    (port.open_pipe(&function.bulk_in).unwrap(), port.open_pipe(&function.bulk_out).unwrap())
}

fn carrying(bytes: &[u8]) -> Transfer {
    let mut transfer = Transfer::new(bytes.len());
    transfer.buffer.copy_from_slice(bytes);
    transfer
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work).await.expect("it never came")
}

#[tokio::test]
async fn every_byte_goes_through_as_it_is_and_nothing_is_echoed() {
    let far = FarEnd::new();
    let port = far.open().await;
    let (mut from, mut to) = pipes(&port);
    let every: Vec<u8> = (0..=255).collect();
    far.say(&every);
    let mut came = Vec::new();
    while came.len() < every.len() {
        from.submit(Transfer::new(512));
        let transfer = within(complete(&mut *from)).await;
        assert_eq!(transfer.status, Ok(()));
        came.extend_from_slice(transfer.received());
    }
    assert_eq!(came, every);
    assert_eq!(far.heard(), b"", "an echo");
    to.submit(carrying(&every));
    assert_eq!(within(complete(&mut *to)).await.actual, 256);
    assert_eq!(far.heard(), every);
}

#[tokio::test]
async fn a_transfer_from_the_port_ends_with_what_is_there() {
    let far = FarEnd::new();
    let port = far.open().await;
    let (mut from, _to) = pipes(&port);
    (0..3).for_each(|_| from.submit(Transfer::new(512)));
    let early = tokio::time::timeout(Duration::ZERO, complete(&mut *from)).await;
    assert!(early.is_err(), "nothing was sent yet");
    far.say(b"one");
    assert_eq!(within(complete(&mut *from)).await.received(), b"one");
    far.say(b"two");
    assert_eq!(within(complete(&mut *from)).await.received(), b"two");
    assert_eq!(from.in_flight(), 1);
}

#[tokio::test]
async fn a_transfer_to_a_slow_port_goes_on_until_all_of_it_is_out() {
    let far = FarEnd::new();
    let port = far.open().await;
    let (_from, mut to) = pipes(&port);
    let much: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    to.submit(carrying(&much));
    let mut heard = Vec::new();
    let transfer = within(async {
        loop {
            if let Ok(transfer) = tokio::time::timeout(Duration::from_millis(1), complete(&mut *to)).await {
                return transfer;
            }
            heard.extend(far.heard());
        }
    });
    let transfer = transfer.await;
    assert_eq!((transfer.status, transfer.actual), (Ok(()), much.len()));
    within(async {
        while heard.len() < much.len() {
            heard.extend(far.heard());
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(heard == much, "{} bytes, in another order", heard.len());
}

#[tokio::test]
async fn cancelled_transfers_come_back_with_what_they_had_moved() {
    let far = FarEnd::new();
    let port = far.open().await;
    let (mut from, mut to) = pipes(&port);
    (0..2).for_each(|_| from.submit(Transfer::new(64)));
    to.submit(carrying(&[7; 200_000]));
    assert!(tokio::time::timeout(Duration::from_millis(1), complete(&mut *to)).await.is_err(), "nobody read so much");
    let mut sent = 0;
    drain(&mut *to, |transfer| {
        assert_eq!(transfer.status, Err(TransferError::Cancelled));
        sent = transfer.actual;
    })
    .await;
    assert!((1..200_000).contains(&sent));
    let mut count = 0;
    drain(&mut *from, |transfer| {
        assert_eq!((transfer.status, transfer.actual), (Err(TransferError::Cancelled), 0));
        count += 1;
    })
    .await;
    assert_eq!((count, from.in_flight()), (2, 0));
    far.say(b"later");
    from.submit(Transfer::new(64));
    assert_eq!(within(complete(&mut *from)).await.received(), b"later");
}

#[tokio::test]
async fn a_port_that_goes_ends_its_transfers_and_is_noticed_by_who_only_waits() {
    let far = FarEnd::new();
    let port = far.open().await;
    let (mut from, mut to) = pipes(&port);
    (0..2).for_each(|_| from.submit(Transfer::new(64)));
    assert!(tokio::time::timeout(Duration::ZERO, port.gone()).await.is_err());
    let path = far.path.clone();
    drop(far);
    assert!(within(port.gone()).await.contains(path.to_str().unwrap()));
    let mut ended = Vec::new();
    while from.in_flight() > 0 {
        ended.push(within(complete(&mut *from)).await.status);
    }
    assert_eq!(ended, [Err(TransferError::Disconnected); 2]);
    to.submit(carrying(b"hello?"));
    assert_eq!(within(complete(&mut *to)).await.status, Err(TransferError::Disconnected));
    let coding = function(&port).line_coding(&port).await;
    assert_eq!(coding, Err(TransferError::Disconnected));
    within(port.give_back()).await;
}

#[tokio::test]
async fn any_speed_can_be_set_and_read_back() {
    let far = FarEnd::new();
    let port = far.open().await;
    let function = function(&port);
    for (baud, mode) in [(250_000, "8N1"), (9600, "8N2"), (31_250, "8N1"), (12_000_000, "8N1"), (300, "8N1")] {
        let coding = LineCoding { baud, mode: mode.parse().unwrap() };
        assert_eq!(function.set_line_coding(&port, coding).await, Ok(()), "{baud} {mode}");
        assert_eq!(function.line_coding(&port).await, Ok(coding));
        assert_eq!(far.speed(), (baud, baud));
    }
}

#[tokio::test]
async fn what_the_port_does_not_take_is_refused() {
    let far = FarEnd::new();
    let port = far.open().await;
    let function = function(&port);
    let before = function.line_coding(&port).await.unwrap();
    let mode: SerialMode = "8N1".parse().unwrap();
    // The last two are good enough for a UART, but a pseudo-terminal has eight bits without parity only.
    let formats = ["8N1.5", "7N1", "8E1"].map(|mode| LineCoding { mode: mode.parse().unwrap(), ..before });
    for wrong in [LineCoding { baud: 0, mode }].iter().chain(&formats) {
        assert_eq!(function.set_line_coding(&port, *wrong).await, Err(TransferError::Invalid), "{wrong:?}");
    }
    assert_eq!(function.line_coding(&port).await, Ok(before));
    let ask = |request_type, request, index| {
        let setup = Setup { request_type, request, value: 0x0100, index, length: 18 };
        port.control(setup, Vec::new(), Duration::from_secs(5))
    };
    assert_eq!(ask(0x80, 6, 0).await, Err(TransferError::Invalid), "a descriptor");
    assert_eq!(ask(0xa1, 0x21, 1).await, Err(TransferError::Invalid), "the data interface");
    assert_eq!(port.reset().await, Err(TransferError::Invalid));
}

#[tokio::test]
async fn a_port_without_modem_lines_says_so_at_once_and_stays_usable() {
    let far = FarEnd::new();
    let port = far.open().await;
    assert_eq!(port.modem_lines(0).await, None);
    let mut lines = Lines::new(function(&port), Wanted::default());
    assert_eq!(lines.set_lines(&port, Some(true), None).await, Err(TransferError::Invalid));
    assert_eq!(lines.wanted(), Wanted::default());
    let (mut from, _to) = pipes(&port);
    from.submit(Transfer::new(64));
    far.say(b"still here");
    assert_eq!(within(complete(&mut *from)).await.received(), b"still here");
}

/// A pseudo-terminal takes a break and does nothing, so that only its length can be seen here.
#[tokio::test]
async fn a_break_takes_its_time_while_bytes_go_on() {
    let far = FarEnd::new();
    let port = far.open().await;
    let (mut from, _to) = pipes(&port);
    from.submit(Transfer::new(64));
    let began = std::time::Instant::now();
    let function = function(&port);
    let mut sending = pin!(function.send_break(&port, 200));
    assert!(tokio::time::timeout(Duration::from_millis(20), &mut sending).await.is_err());
    far.say(b"meanwhile");
    assert_eq!(within(complete(&mut *from)).await.received(), b"meanwhile");
    assert_eq!(within(sending).await, Ok(()));
    assert!(began.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_second_opener_is_told_who_has_the_port() {
    let far = FarEnd::new();
    let first = far.open().await;
    let refused = open(&PortInfo::of(far.path.clone()), true, FirstSettings::default()).await;
    let Err(OpenError::Held(text, _)) = refused else { panic!("{:?}", refused.err()) };
    assert!(text.contains(&format!("(process {})", std::process::id())), "{text}");
    within(first.give_back()).await;
    assert!(within(first.gone()).await.contains("closed"));
    far.open().await;
}

#[tokio::test]
async fn the_lock_of_another_program_is_respected_and_the_program_named() {
    let far = FarEnd::new();
    let mut other = std::process::Command::new("flock")
        .arg("--no-fork")
        .arg(&far.path)
        .args(["sh", "-c", "echo locked; exec cat"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut locked = [0; 7];
    other.stdout.as_mut().unwrap().read_exact(&mut locked).unwrap();
    let refused = open(&PortInfo::of(far.path.clone()), true, FirstSettings::default()).await;
    let Err(OpenError::Held(text, _)) = refused else { panic!("{:?}", refused.err()) };
    assert!(text.contains(&format!("(process {})", other.id())), "{text}");
    drop(other.stdin.take());
    other.wait().unwrap();
    far.open().await;
}

#[tokio::test]
async fn a_port_is_raw_keeps_its_lines_at_closing_and_is_exclusive_only_while_it_is_open() {
    let far = FarEnd::new();
    let held = std::fs::OpenOptions::new().read(true).write(true).open(&far.path).unwrap();
    let port = far.open().await;
    let settings = tcgetattr(&held).unwrap();
    assert!(!settings.local_flags.intersects(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG));
    assert!(!settings.control_flags.intersects(ControlFlags::HUPCL | ControlFlags::CRTSCTS));
    assert!(settings.control_flags.contains(ControlFlags::CLOCAL | ControlFlags::CREAD));
    assert!(ioctl_linux::is_exclusive(&held));
    drop(port);
    assert!(!ioctl_linux::is_exclusive(&held));
}

#[tokio::test]
async fn what_is_no_port_is_refused_with_the_ports_that_there_are() {
    for path in ["/dev/ttyACM99", "/dev/null", "/etc/passwd", "/dev"] {
        let refused = open(&PortInfo::of(path.into()), true, FirstSettings::default()).await;
        let Err(OpenError::NotFound(text)) = refused else { panic!("{path}: {:?}", refused.err()) };
        assert!(text.starts_with(path), "{text}");
        let listed = list().iter().all(|port| text.contains(port.path.to_str().unwrap()));
        assert!(listed && text.contains(if list().is_empty() { "no serial port now" } else { "there are" }), "{text}");
    }
}

#[tokio::test]
async fn a_link_to_a_port_is_as_good_as_the_port() {
    let far = FarEnd::new();
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("board");
    std::os::unix::fs::symlink(&far.path, &link).unwrap();
    let port = open(&PortInfo::of(link.clone()), true, FirstSettings::default()).await.unwrap();
    let (mut from, _to) = pipes(&port);
    far.say(b"hello");
    from.submit(Transfer::new(64));
    assert_eq!(within(complete(&mut *from)).await.received(), b"hello");
    assert!(matches!(
        open(&PortInfo::of(Path::new(&link).into()), true, FirstSettings::default()).await,
        Err(OpenError::Held(..))
    ));
}

#[tokio::test]
async fn the_ports_of_one_device_are_as_many_functions() {
    let far = [FarEnd::new(), FarEnd::new()];
    let usb = |interface| UsbPort {
        vid: 0x1209,
        pid: 1,
        serial: None,
        manufacturer: None,
        product: None,
        interface: Some(interface),
        place: None,
    };
    // Ports of one chip, whose interfaces follow one another.
    let info = |nth: usize| PortInfo { path: far[nth].path.clone(), usb: Some(usb(nth as u8)) };
    let device =
        SeveralPorts::open(&[info(0), info(1)], true, Duration::ZERO, |_| FirstSettings::default()).await.unwrap();
    let functions = crate::serial::find_functions(device.descriptors());
    let numbers: Vec<(u8, u8)> = functions.iter().map(|f| (f.control_interface, f.bulk_in.address)).collect();
    assert_eq!(numbers, [(0, 0x81), (1, 0x82)]);
    for (nth, function) in functions.iter().enumerate() {
        let (mut from, mut to) =
            (device.open_pipe(&function.bulk_in).unwrap(), device.open_pipe(&function.bulk_out).unwrap());
        far[nth].say(&[nth as u8]);
        from.submit(Transfer::new(512));
        assert_eq!(within(complete(&mut *from)).await.received(), [nth as u8]);
        to.submit(carrying(b"out"));
        within(complete(&mut *to)).await;
        assert_eq!((far[nth].heard(), far[1 - nth].heard()), (b"out".to_vec(), Vec::new()));
    }
    let coding = LineCoding { baud: 57_600, mode: "8N1".parse().unwrap() };
    functions[1].set_line_coding(&device, coding).await.unwrap();
    assert_eq!((far[1].speed().1, functions[1].line_coding(&device).await.unwrap().baud), (57_600, 57_600));
    assert_ne!(far[0].speed().1, 57_600);
}
