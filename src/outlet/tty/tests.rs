//! Terminals as programs meet them: each test opens the link as a program would.

use std::fs::{File, OpenOptions};
use std::future::{Future, pending, poll_fn};
use std::io::{IoSlice, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::termios::{
    ControlFlags, FlushArg, LocalFlags, OutputFlags, SetArg, Termios, cfmakeraw, tcflush, tcgetattr, tcsendbreak,
    tcsetattr,
};
use tempfile::TempDir;
use tokio::time::timeout;

use super::pty_linux::Pty;
use super::*;
use crate::outlet::{Access, Dir, Sink, Source, Watcher};

/// A link and who waits behind it.
struct Port {
    listener: TtyListener,
    temp: TempDir,
}

impl Port {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let listener = listener(&temp, Access::default()).unwrap();
        Self { listener, temp }
    }

    fn open(&self) -> File {
        open(&self.temp)
    }

    async fn accept(&mut self) -> Tty {
        within(self.listener.accept()).await.unwrap()
    }

    /// A program and the terminal that it has opened; the next one waits already.
    async fn opened(&mut self) -> (File, Tty) {
        let program = self.open();
        let mut tty = self.accept().await;
        assert!(timeout(Duration::ZERO, self.listener.accept()).await.is_err());
        tty.idle().await;
        (program, tty)
    }
}

impl Tty {
    /// What the program did, one after the other.
    async fn next(&mut self) -> Change {
        within(self.news.next()).await
    }

    /// Nothing more is to be told.
    async fn idle(&mut self) {
        assert!(timeout(Duration::from_millis(20), self.news.next()).await.is_err());
    }

    async fn read(&mut self) -> Vec<u8> {
        let mut buffer = vec![0; 9000];
        let n = within(poll_fn(|cx| self.source.poll_read(cx, &mut buffer))).await.unwrap();
        buffer.truncate(n);
        buffer
    }

    /// Until `n` bytes are there.
    async fn hear(&mut self, n: usize) -> Vec<u8> {
        let mut heard = Vec::new();
        while heard.len() < n {
            heard.extend(self.read().await);
        }
        heard
    }

    async fn is_silent(&mut self) -> bool {
        let mut buffer = [0; 100];
        timeout(Duration::from_millis(20), poll_fn(|cx| self.source.poll_read(cx, &mut buffer))).await.is_err()
    }

    async fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        within(poll_fn(|cx| self.sink.poll_write(cx, &[IoSlice::new(bytes)]))).await
    }

    /// Writes until nothing more goes in: until the program has all that it may leave unread, as the kernel passes it on by
    /// and by, and after that no more is taken.
    async fn fill(&mut self, program: &File) -> usize {
        let (mut total, mut is_passed_on) = (0, false);
        let chunk = [b'.'; 1000];
        loop {
            let written = poll_fn(|cx| self.sink.poll_write(cx, &[IoSlice::new(&chunk)]));
            match timeout(Duration::from_millis(50), written).await {
                Ok(Ok(n)) => (total, is_passed_on) = (total + n, false),
                Err(_) if unread(program) == MOST_UNREAD && is_passed_on => return total,
                Err(_) => is_passed_on = unread(program) == MOST_UNREAD,
                Ok(Err(e)) => panic!("the terminal is gone: {e}"),
            }
        }
    }
}

/// Bytes that the program could read.
fn unread(program: &File) -> usize {
    let mut bytes = 0;
    // SAFETY: FIONREAD writes one int, which outlives the call, and the descriptor is open.
    unsafe { fionread(program.as_raw_fd(), &raw mut bytes) }.unwrap();
    bytes.try_into().unwrap()
}

nix::ioctl_read_bad!(fionread, libc::FIONREAD, libc::c_int);

/// What a terminal in raw mode keeps for who reads it: N_TTY_BUF_SIZE less one.
const MOST_UNREAD: usize = 4095;

fn listener(temp: &TempDir, access: Access) -> Result<TtyListener, crate::outlet::DirError> {
    let dir = Dir::open_or_create(temp.path()).unwrap().0;
    TtyListener::new(Place { dir, name: "serial.tty".into(), access }, FIRST, &Watcher::new().unwrap())
}

fn open(temp: &TempDir) -> File {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK);
    options.open(temp.path().join("serial.tty")).unwrap()
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(10), work).await.expect("it takes too long")
}

/// What there is for the program to read by now, at least one byte unless it is a hang-up.
async fn take(program: &File) -> Vec<u8> {
    let mut bytes = vec![0; 5000];
    let mut program = program;
    let n = within(async {
        loop {
            match program.read(&mut bytes) {
                Ok(n) => return n,
                Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    });
    let n = n.await;
    bytes.truncate(n);
    bytes
}

fn has_nothing(mut program: &File) -> bool {
    program.read(&mut [0; 100]).is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock)
}

fn set(program: &File, change: impl FnOnce(&mut Termios)) {
    let mut settings = tcgetattr(program).unwrap();
    change(&mut settings);
    tcsetattr(program, SetArg::TCSANOW, &settings).unwrap();
}

fn set_speed(program: &File, speed: u32) {
    // SAFETY: a termios2 is numbers, for which all zeros are values.
    let mut settings: libc::termios2 = unsafe { std::mem::zeroed() };
    // SAFETY: TCGETS2 writes one termios2, which outlives the call, and the descriptor is open.
    unsafe { raw::tcgets2(program.as_raw_fd(), &mut settings) }.unwrap();
    settings.c_cflag = settings.c_cflag & !libc::CBAUD | libc::BOTHER;
    (settings.c_ispeed, settings.c_ospeed) = (speed, speed);
    // SAFETY: TCSETS2 reads one termios2, which outlives the call, and the descriptor is open.
    unsafe { raw::tcsets2(program.as_raw_fd(), &settings) }.unwrap();
}

fn speed(speed: u32) -> Change {
    Change::Set(Settings { speed, ..FIRST })
}

#[allow(unreachable_pub, reason = "the macros write `pub`")]
mod raw {
    use nix::libc::{self, termios2};

    nix::ioctl_read!(tcgets2, b'T', 0x2a, termios2);
    nix::ioctl_write_ptr!(tcsets2, b'T', 0x2b, termios2);
    nix::ioctl_none_bad!(tiocexcl, libc::TIOCEXCL);
}

const FIRST: Settings = Settings { speed: 115_200, two_stop_bits: false, rts_cts: false, xon_xoff: false };

#[tokio::test]
async fn a_program_finds_a_raw_terminal_at_the_first_speed() {
    let port = Port::new();
    let settings = tcgetattr(port.open()).unwrap();
    let mut raw = settings.clone();
    cfmakeraw(&mut raw);
    assert!(!settings.local_flags.intersects(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG));
    assert_eq!(settings.input_flags, raw.input_flags);
    assert_eq!(settings.output_flags, OutputFlags::empty());
    assert_eq!(nix::sys::termios::cfgetospeed(&settings), nix::sys::termios::BaudRate::B115200);
}

#[tokio::test]
async fn every_byte_goes_both_ways_and_none_comes_back() {
    let mut port = Port::new();
    let (mut program, mut tty) = port.opened().await;
    let every: Vec<u8> = (0..=255).collect();
    tty.write(&every).await.unwrap();
    assert_eq!(take(&program).await, every);
    program.write_all(&every).unwrap();
    assert_eq!(tty.hear(256).await, every);
    assert!(tty.is_silent().await && has_nothing(&program));
}

#[tokio::test]
async fn nothing_is_echoed_even_if_a_program_switches_all_of_it_on() {
    let mut port = Port::new();
    let (program, mut tty) = port.opened().await;
    // As `stty sane` does, which clears EXTPROC as well.
    set(&program, |settings| {
        settings.local_flags = LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG | LocalFlags::IEXTEN;
    });
    // Not even what comes before anybody has asked for news, once the reactor knows.
    assert!(timeout(Duration::from_millis(5), pending::<()>()).await.is_err());
    tty.write(b"one\n\x03\n").await.unwrap();
    assert_eq!(take(&program).await, b"one\n\x03\n");
    assert_eq!(tty.next().await, speed(115_200));
    tty.idle().await;
    assert!(tty.is_silent().await);
    set_speed(&program, 9600);
    assert_eq!(tty.next().await, speed(9600), "and what is set afterwards is heard of");
}

#[tokio::test]
async fn speeds_are_told_also_those_without_a_name_and_bytes_wait_for_them() {
    let mut port = Port::new();
    let (mut program, mut tty) = port.opened().await;
    for wanted in [57_600, 250_000, 1200, 3_999_999, 0] {
        set_speed(&program, wanted);
        program.write_all(b"at the new speed").unwrap();
        assert_eq!(tty.next().await, speed(wanted));
        assert!(tty.is_silent().await, "it is not dealt with yet");
        tty.idle().await;
        assert_eq!(tty.hear(16).await, b"at the new speed");
    }
    set(&program, |settings| settings.control_flags.insert(ControlFlags::CSTOPB));
    assert_eq!(tty.next().await, Change::Set(Settings { speed: 0, two_stop_bits: true, ..FIRST }));
}

#[tokio::test]
async fn a_source_that_is_read_first_sees_what_was_set_all_the_same() {
    let mut port = Port::new();
    let (mut program, mut tty) = port.opened().await;
    set_speed(&program, 4800);
    program.write_all(b"late").unwrap();
    assert!(tty.is_silent().await);
    assert_eq!(tty.next().await, speed(4800));
    tty.idle().await;
    assert_eq!(tty.read().await, b"late");
}

#[tokio::test]
async fn a_flush_throws_away_what_did_not_fit_as_well_and_nothing_that_comes_later() {
    let mut port = Port::new();
    let (program, mut tty) = port.opened().await;
    tty.fill(&program).await;
    tcflush(&program, FlushArg::TCIFLUSH).unwrap();
    tty.idle().await;
    // As the pump does: a look at who is there, and then what waits.
    let mut cx = Context::from_waker(Waker::noop());
    assert!(tty.sink.poll_closed(&mut cx).is_pending());
    assert!(matches!(tty.sink.poll_write(&mut cx, &[IoSlice::new(b"did not fit")]), Poll::Ready(Ok(11))));
    assert!(tty.sink.poll_closed(&mut cx).is_pending());
    tty.write(b"later").await.unwrap();
    assert_eq!(take(&program).await, b"later");
}

#[tokio::test]
async fn a_flush_of_a_terminal_with_room_costs_nothing_that_is_on_its_way() {
    let mut port = Port::new();
    let (program, mut tty) = port.opened().await;
    tty.write(b"unwanted").await.unwrap();
    tcflush(&program, FlushArg::TCIFLUSH).unwrap();
    tty.idle().await;
    let mut cx = Context::from_waker(Waker::noop());
    assert!(tty.sink.poll_closed(&mut cx).is_pending());
    tty.write(b"wanted").await.unwrap();
    assert_eq!(take(&program).await, b"wanted");
}

/// As pyserial does when it opens a port.
#[tokio::test]
async fn a_flush_at_opening_throws_away_what_was_kept_for_the_program_and_nothing_that_comes_later() {
    for is_noticed_first in [true, false] {
        let mut port = Port::new();
        let (program, mut tty) = port.opened().await;
        tcflush(&program, FlushArg::TCIFLUSH).unwrap();
        if is_noticed_first {
            tty.idle().await;
        }
        let mut cx = Context::from_waker(Waker::noop());
        assert!(tty.sink.poll_closed(&mut cx).is_pending());
        // The reactor may not know of the flush yet.
        assert!(timeout(Duration::from_millis(5), pending::<()>()).await.is_err());
        assert!(matches!(tty.sink.poll_write(&mut cx, &[IoSlice::new(b"kept")]), Poll::Ready(Ok(4))));
        assert!(tty.sink.poll_closed(&mut cx).is_pending());
        tty.write(b"later").await.unwrap();
        assert_eq!(take(&program).await, b"later", "noticed first: {is_noticed_first}");
    }
}

#[tokio::test]
async fn a_break_is_nothing_that_could_be_seen() {
    let mut port = Port::new();
    let (program, mut tty) = port.opened().await;
    tcsendbreak(&program, 0).unwrap();
    tty.idle().await;
    assert!(tty.is_silent().await);
}

#[tokio::test]
async fn the_next_program_finds_nothing_of_the_last_one_however_fast_it_comes() {
    let mut port = Port::new();
    for _ in 0..20 {
        let (program, mut tty) = port.opened().await;
        tty.write(b"stale").await.unwrap();
        set_speed(&program, 1200);
        set(&program, |settings| settings.local_flags.insert(LocalFlags::ECHO));
        // SAFETY: TIOCEXCL has no argument, and the descriptor is open.
        unsafe { raw::tiocexcl(program.as_raw_fd()) }.unwrap();
        drop(program);
        let (program, mut tty) = port.opened().await;
        assert!(has_nothing(&program));
        let settings = tcgetattr(&program).unwrap();
        assert_eq!(nix::sys::termios::cfgetospeed(&settings), nix::sys::termios::BaudRate::B115200);
        assert!(!settings.local_flags.contains(LocalFlags::ECHO));
        tty.idle().await;
    }
}

#[tokio::test]
async fn programs_at_the_same_time_have_a_terminal_each() {
    let mut port = Port::new();
    let (first, mut one) = port.opened().await;
    assert!(one.news.is_alone());
    let (second, mut two) = port.opened().await;
    assert!(!one.news.is_alone() && !two.news.is_alone());
    one.write(b"1").await.unwrap();
    two.write(b"2").await.unwrap();
    assert_eq!((take(&first).await, take(&second).await), (b"1".to_vec(), b"2".to_vec()));
    drop(first);
    assert!(two.news.is_alone(), "before anybody was told");
    assert_eq!(one.next().await, Change::Closed);
    two.idle().await;
}

#[tokio::test]
async fn what_a_program_said_and_set_just_before_it_left_counts() {
    let mut port = Port::new();
    let mut program = port.open();
    set_speed(&program, 57_600);
    program.write_all(b"last words").unwrap();
    drop(program);
    let mut tty = port.accept().await;
    assert_eq!(tty.next().await, speed(57_600));
    assert_eq!(tty.next().await, Change::Closed);
    within(poll_fn(|cx| tty.sink.poll_closed(cx))).await;
    assert_eq!(tty.read().await, b"last words");
    assert_eq!(tty.read().await, b"");
    assert_eq!(tty.write(b"to nobody").await.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn the_sink_ends_also_where_the_source_was_the_first_to_see_the_end() {
    let mut port = Port::new();
    let (program, tty) = port.opened().await;
    let Tty { mut sink, mut source, mut news } = tty;
    drop(program);
    assert_eq!(within(poll_fn(|cx| source.poll_read(cx, &mut [0; 10]))).await.unwrap(), 0);
    drop(source);
    assert_eq!(within(news.next()).await, Change::Closed);
    drop(news);
    within(poll_fn(|cx| sink.poll_closed(cx))).await;
}

#[tokio::test]
async fn a_program_that_does_not_read_is_waited_for_until_it_does_or_leaves() {
    let mut port = Port::new();
    let (mut program, mut tty) = port.opened().await;
    let room = tty.fill(&program).await;
    assert!(room >= 4000, "{room}");
    let mut taken = 0;
    while taken < room {
        taken += take(&program).await.len();
    }
    for _ in 0..4 {
        tty.write(&[0; 1000]).await.unwrap();
    }
    program.write_all(b"still here").unwrap();
    assert_eq!(tty.hear(10).await, b"still here");
    let blocked = tokio::spawn(async move {
        loop {
            if let Err(e) = tty.write(&[0; 1000]).await {
                return e.kind();
            }
        }
    });
    tokio::task::yield_now().await;
    drop(program);
    assert_eq!(blocked.await.unwrap(), std::io::ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn the_end_of_a_terminal_is_a_hang_up_after_what_was_delivered() {
    let mut port = Port::new();
    let (mut program, mut tty) = port.opened().await;
    let told = tty.fill(&program).await;
    let reader = program.try_clone().unwrap();
    let all = tokio::spawn(async move {
        let mut all = 0;
        loop {
            match take(&reader).await.len() {
                0 => return all,
                n => all += n,
            }
        }
    });
    let Tty { sink, source, mut news } = tty;
    drop(sink);
    assert_eq!(within(news.next()).await, Change::Abandoned);
    within(news.hang_up()).await;
    drop((source, news));
    assert_eq!(within(all).await.unwrap(), told);
    assert_eq!(program.write(b"x").unwrap_err().raw_os_error(), Some(libc::EIO));
    port.opened().await;
}

#[tokio::test]
async fn what_waits_can_be_set_up_anew_but_not_under_a_program() {
    let mut port = Port::new();
    port.listener.set_up(Settings { speed: 4800, ..FIRST });
    let (program, _tty) = port.opened().await;
    assert_eq!(nix::sys::termios::cfgetospeed(&tcgetattr(&program).unwrap()), nix::sys::termios::BaudRate::B4800);
    let quick = port.open();
    set_speed(&quick, 2400);
    port.listener.set_up(FIRST);
    let mut tty = port.accept().await;
    assert_eq!(tty.next().await, speed(2400));
    // Nor behind one that has set what it found.
    assert!(timeout(Duration::ZERO, port.listener.accept()).await.is_err());
    set_speed(&port.open(), 115_200);
    port.listener.set_up(Settings { speed: 300, ..FIRST });
    assert_eq!(port.accept().await.next().await, speed(115_200));
}

#[tokio::test]
async fn the_link_replaces_a_dangling_one_and_nothing_else() {
    let temp = tempfile::tempdir().unwrap();
    let link = temp.path().join("serial.tty");
    std::os::unix::fs::symlink("/dev/pts/4000000", &link).unwrap();
    drop(listener(&temp, Access::default()).unwrap());
    // Another test's terminal may have the number of this one for a moment.
    let until = Instant::now() + Duration::from_secs(60);
    while std::fs::metadata(&link).is_ok() {
        assert!(Instant::now() < until, "it dangles again");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let _listener = listener(&temp, Access { mode: Some(0o604), ..Access::default() }).unwrap();
    let node = std::fs::metadata(&link).unwrap();
    assert_eq!((node.mode() & 0o777, node.gid()), (0o604, nix::unistd::getegid().as_raw()));
    std::fs::remove_file(&link).unwrap();
    std::fs::write(&link, "precious").unwrap();
    let refused = listener(&temp, Access::default()).err().unwrap().to_string();
    assert!(refused.contains("is in the way: it is not a link"), "{refused}");
    assert_eq!(std::fs::read(&link).unwrap(), b"precious");
}

#[test]
fn a_speed_with_a_name_is_set_by_its_name() {
    let pty = Pty::new(Settings { speed: 250_000, two_stop_bits: true, ..FIRST }).unwrap();
    assert_eq!(pty.settings().unwrap(), Settings { speed: 250_000, two_stop_bits: true, ..FIRST });
    let named = Settings { speed: 19_200, ..FIRST };
    pty.set_up(named).unwrap();
    assert_eq!(pty.settings().unwrap(), named);
    assert!(pty.news().is_none() && !pty.is_open());
}

#[tokio::test]
async fn what_was_done_to_any_terminal_is_known_before_the_reactor_tells() {
    let mut port = Port::new();
    let settling = port.listener.settling();
    assert!(settling.is_settled());
    let (program, mut tty) = port.opened().await;
    assert!(settling.is_settled());
    set_speed(&program, 4800);
    assert!(!settling.is_settled());
    assert_eq!(tty.next().await, speed(4800));
    assert!(!settling.is_settled(), "it is told, and not dealt with yet");
    tty.idle().await;
    assert!(settling.is_settled());
    set_speed(&port.open(), 2400);
    assert!(!settling.is_settled(), "a program was there and has gone");
    let mut passer = port.accept().await;
    assert!(timeout(Duration::from_millis(20), settling.settled()).await.is_err());
    assert_eq!(passer.next().await, speed(2400));
    assert_eq!(passer.next().await, Change::Closed);
    within(settling.settled()).await;
    drop((program, tty, passer));
    assert!(settling.is_settled());
}
