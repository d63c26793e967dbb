//! A board at the far end of a COM port: the master of a pty whose other end Wine takes for the port.
//!
//! It answers `PING x` by `PONG x` and `BAUD` by the speed of its line. A pty has no modem lines, and neither has this.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::thread::{JoinHandle, spawn};

use nix::fcntl::OFlag;
use nix::libc::O_NOCTTY;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::termios::{SetArg, cfgetospeed, cfmakeraw, tcgetattr, tcsetattr};

pub(crate) struct ComPort {
    link: PathBuf,
    board: Option<Board>,
}

impl ComPort {
    /// Plugged in as this DOS device: `com5`.
    pub(crate) fn new(name: &str) -> Self {
        let prefix = std::env::var_os("WINEPREFIX").expect("WINEPREFIX says where Wine's devices are");
        let mut port = Self { link: PathBuf::from(prefix).join("dosdevices").join(name), board: None };
        port.plug();
        port
    }

    pub(crate) fn ask(&mut self, line: &str) -> String {
        match (line, &self.board) {
            ("unplug", _) => self.unplug(),
            ("plug", None) => self.plug(),
            ("baud", Some(board)) => return format!("ok {}", board.baud()),
            _ => return format!("error {line:?} is not for a port that is plugged in or not as this one"),
        }
        "ok".to_owned()
    }

    fn plug(&mut self) {
        let (board, path) = Board::new();
        drop(std::fs::remove_file(&self.link));
        std::os::unix::fs::symlink(path, &self.link).unwrap();
        self.board = Some(board);
    }

    /// The link goes first, so that nobody finds a port without a board.
    fn unplug(&mut self) {
        drop(std::fs::remove_file(&self.link));
        self.board = None;
    }
}

impl Drop for ComPort {
    fn drop(&mut self) {
        self.unplug();
    }
}

/// The board; dropping it hangs its line up.
struct Board {
    master: File,
    /// Kept open, so that the master is never hung up: what comes and goes at the port does not concern the board.
    _line: File,
    /// Its other end ends the thread.
    over: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Board {
    /// A board, and the path of its line.
    fn new() -> (Self, String) {
        let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = ptsname_r(&master).unwrap();
        let master = File::from(OwnedFd::from(master));
        let held = OpenOptions::new().read(true).write(true).custom_flags(O_NOCTTY).open(&path).unwrap();
        let mut settings = tcgetattr(&master).unwrap();
        cfmakeraw(&mut settings);
        tcsetattr(&master, SetArg::TCSANOW, &settings).unwrap();
        let (waits, over) = nix::unistd::pipe().unwrap();
        let line = master.try_clone().unwrap();
        let thread = Some(spawn(move || run(line, &waits)));
        (Self { master, _line: held, over: Some(over), thread }, path)
    }

    /// Bits per second.
    fn baud(&self) -> u32 {
        baud(&self.master)
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        drop(self.over.take());
        let _ = self.thread.take().unwrap().join();
    }
}

/// Answers lines until `over` is hung up.
fn run(line: File, over: &OwnedFd) {
    let (mut text, mut byte) = (Vec::new(), [0]);
    while wait(&line, over) {
        (&line).read_exact(&mut byte).unwrap();
        if byte != *b"\n" {
            text.extend(byte);
            continue;
        }
        let answer = answer(&line, String::from_utf8_lossy(&text).trim_end());
        text.clear();
        (&line).write_all(answer.as_bytes()).unwrap();
    }
}

/// Until there is something to read; `false` when it is over.
fn wait(line: &File, over: &OwnedFd) -> bool {
    let mut asked = [PollFd::new(line.as_fd(), PollFlags::POLLIN), PollFd::new(over.as_fd(), PollFlags::POLLIN)];
    poll(&mut asked, PollTimeout::NONE).unwrap();
    asked[1].revents().is_none_or(|events| events.is_empty())
}

fn answer(line: &File, asked: &str) -> String {
    match asked.split_once(' ').unwrap_or((asked, "")) {
        ("PING", rest) => format!("PONG {rest}\n"),
        ("BAUD", _) => format!("BAUD {}\n", baud(line)),
        _ => format!("ERR unknown: {asked}\n"),
    }
}

fn baud(line: &File) -> u32 {
    use nix::sys::termios::BaudRate::{B9600, B19200, B38400, B57600, B115200};
    match cfgetospeed(&tcgetattr(line).unwrap()) {
        B9600 => 9600,
        B19200 => 19200,
        B38400 => 38400,
        B57600 => 57600,
        B115200 => 115_200,
        other => other as u32,
    }
}
