//! One pseudo-terminal as its master sees it: raw, silent, and with news of what programs do to it.
//!
//! Packet mode (ioctl_tty(2), TIOCPKT) puts a byte before what is read; EXTPROC makes each tcsetattr(3) of a program
//! show in it, and keeps the kernel from echoing, editing and raising signals, whatever a program asks for. It refuses
//! to wait and to know who reads and writes.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::zeroed;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc::{self, c_int, speed_t, termios2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::uio::{readv, writev};

use super::Settings;

/// A pseudo-terminal. Dropping it hangs up on the programs that have it open.
pub(super) struct Pty {
    master: OwnedFd,
    node: PathBuf,
}

/// What a read brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// So many bytes that a program wrote.
    Bytes(usize),
    /// Something was done to the terminal.
    News(News),
}

/// What programs did since the last time, as packet mode tells it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct News(u8);

impl Pty {
    /// A fresh one: nobody has it open, and it says so (POLLHUP) until a program does.
    ///
    /// # Errors
    /// Those of posix_openpt(3) and ioctl_tty(2): no more pseudo-terminals, for one.
    pub(super) fn new(settings: Settings) -> io::Result<Self> {
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let master = posix_openpt(flags)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let node = ptsname_r(&master)?.into();
        let pty = Self { master: master.into(), node };
        let on: c_int = 1;
        // SAFETY: TIOCPKT reads one int, which outlives the call, and the descriptor is open.
        unsafe { raw::tiocpkt(pty.master.as_raw_fd(), &on) }?;
        pty.set_up(settings)?;
        // Only after a first time does the kernel tell that nobody has it open.
        drop(pty.open()?);
        Ok(pty)
    }

    /// Where programs open it.
    pub(super) fn node(&self) -> &Path {
        &self.node
    }

    /// Whether a program has it open.
    pub(super) fn is_open(&self) -> bool {
        !self.revents().contains(PollFlags::POLLHUP)
    }

    /// Whether nobody has it open, nor did anything to it that is still to be told.
    pub(super) fn is_untouched(&self) -> bool {
        self.revents() & (PollFlags::POLLHUP | PollFlags::POLLPRI) == PollFlags::POLLHUP
    }

    fn revents(&self) -> PollFlags {
        let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::POLLPRI)];
        match poll(&mut fds, PollTimeout::ZERO) {
            Ok(_) => fds[0].revents().unwrap_or(PollFlags::empty()),
            Err(_) => PollFlags::empty(),
        }
    }

    /// Bytes that programs wrote into `buffer`, or news, whichever is first.
    ///
    /// # Errors
    /// `WouldBlock`; EIO when nobody has it open and everything was read.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let mut head = [0];
        let n = readv(&self.master, &mut [IoSliceMut::new(&mut head), IoSliceMut::new(buffer)])?;
        match (head[0], n) {
            (_, 0) => Err(Errno::EIO.into()),
            (DATA, n) => Ok(Received::Bytes(n - 1)),
            (news, _) => Ok(Received::News(News(news))),
        }
    }

    /// News alone; bytes stay where they are.
    pub(super) fn news(&self) -> News {
        let mut head = [0];
        match nix::unistd::read(&self.master, &mut head) {
            Ok(1) => News(head[0]),
            _ => News::default(),
        }
    }

    /// Writes as much of `slices` as there is room for, for programs to read.
    ///
    /// # Errors
    /// Those of writev(2), `WouldBlock` among them.
    pub(super) fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(writev(&self.master, slices)?)
    }

    /// What programs have set.
    ///
    /// # Errors
    /// Those of ioctl_tty(2).
    pub(super) fn settings(&self) -> io::Result<Settings> {
        Ok(Settings::of(&self.get()?))
    }

    /// Goes on hearing of settings, also after a program has switched that off together with the local modes. Says what
    /// else there was to hear meanwhile.
    ///
    /// # Errors
    /// Those of ioctl_tty(2).
    pub(super) fn keep_listening(&self) -> io::Result<News> {
        let mut modes = self.get()?;
        if modes.c_lflag & libc::EXTPROC != 0 {
            return Ok(News::default());
        }
        modes.c_lflag |= libc::EXTPROC;
        self.put(&modes)?;
        Ok(self.news())
    }

    /// Makes it raw, with these settings, for programs that will open it.
    ///
    /// # Errors
    /// Those of ioctl_tty(2).
    pub(super) fn set_up(&self, settings: Settings) -> io::Result<()> {
        self.put(&settings.into_raw(self.get()?))?;
        // That these were set is no news.
        self.news();
        Ok(())
    }

    /// Bytes that programs could read now and have not.
    ///
    /// # Errors
    /// EBUSY where a program made the terminal exclusive, except for root.
    pub(super) fn unread(&self) -> io::Result<usize> {
        let program_side = self.open()?;
        let mut bytes: c_int = 0;
        // SAFETY: FIONREAD writes one int, which outlives the call, and the descriptor is open.
        unsafe { raw::fionread(program_side.as_raw_fd(), &mut bytes) }?;
        Ok(usize::try_from(bytes).unwrap_or(0))
    }

    /// The end that programs have, whatever stands at its path by now.
    fn open(&self) -> io::Result<OwnedFd> {
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        // SAFETY: TIOCGPTPEER takes flags, and the descriptor is open.
        let fd = unsafe { raw::tiocgptpeer(self.master.as_raw_fd(), flags.bits()) }?;
        // SAFETY: the request has just opened this descriptor, and nothing else knows of it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    fn put(&self, modes: &termios2) -> io::Result<()> {
        // SAFETY: TCSETS2 reads one termios2, which outlives the call, and the descriptor is open.
        unsafe { raw::tcsets2(self.master.as_raw_fd(), modes) }?;
        Ok(())
    }

    fn get(&self) -> io::Result<termios2> {
        // SAFETY: a termios2 is numbers, for which all zeros are values.
        let mut modes: termios2 = unsafe { zeroed() };
        // SAFETY: TCGETS2 writes one termios2, which outlives the call, and the descriptor is open.
        unsafe { raw::tcgets2(self.master.as_raw_fd(), &mut modes) }?;
        Ok(modes)
    }
}

impl AsRawFd for Pty {
    fn as_raw_fd(&self) -> RawFd {
        self.master.as_raw_fd()
    }
}

impl AsFd for Pty {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.master.as_fd()
    }
}

impl Settings {
    fn of(modes: &termios2) -> Self {
        let hang_up = modes.c_cflag & libc::CBAUD == libc::B0;
        let speed = if hang_up { 0 } else { modes.c_ospeed };
        Self { speed, two_stop_bits: modes.c_cflag & libc::CSTOPB != 0 }
    }

    /// `modes` made raw, with this speed; the special characters stay for programs that switch line editing on.
    fn into_raw(self, mut modes: termios2) -> termios2 {
        let named = SPEEDS.iter().find(|(speed, _)| *speed == self.speed);
        let speed = named.map_or(libc::BOTHER, |(_, code)| *code);
        let stop_bits = if self.two_stop_bits { libc::CSTOPB } else { 0 };
        modes.c_iflag = 0;
        modes.c_oflag = 0;
        modes.c_lflag = libc::EXTPROC;
        modes.c_cflag = libc::CS8 | libc::CREAD | libc::CLOCAL | libc::HUPCL | stop_bits | speed;
        (modes.c_ispeed, modes.c_ospeed) = (self.speed, self.speed);
        modes.c_cc[libc::VMIN] = 1;
        modes.c_cc[libc::VTIME] = 0;
        modes
    }
}

impl News {
    pub(super) fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub(super) fn is_none(self) -> bool {
        self.0 == 0
    }

    /// A program set something (tcsetattr(3)).
    pub(super) fn is_set(self) -> bool {
        self.0 & IOCTL != 0
    }

    /// A program threw away what it had not read (tcflush(3), TCIFLUSH).
    pub(super) fn is_input_flushed(self) -> bool {
        self.0 & FLUSH_READ != 0
    }
}

#[allow(unreachable_pub, reason = "the macros write `pub`")]
mod raw {
    use nix::libc::{self, c_int, termios2};

    nix::ioctl_read!(tcgets2, b'T', 0x2a, termios2);
    nix::ioctl_write_ptr!(tcsets2, b'T', 0x2b, termios2);
    nix::ioctl_write_ptr_bad!(tiocpkt, libc::TIOCPKT, c_int);
    nix::ioctl_write_int_bad!(tiocgptpeer, libc::TIOCGPTPEER);
    nix::ioctl_read_bad!(fionread, libc::FIONREAD, c_int);
}

/// TIOCPKT_DATA, TIOCPKT_FLUSHREAD and TIOCPKT_IOCTL of asm-generic/ioctls.h.
const DATA: u8 = 0;
const FLUSH_READ: u8 = 1;
const IOCTL: u8 = 64;
/// Speeds that have a name, by which programs know them; any other is said in numbers (BOTHER).
const SPEEDS: [(u32, speed_t); 30] = [
    (50, libc::B50),
    (75, libc::B75),
    (110, libc::B110),
    (134, libc::B134),
    (150, libc::B150),
    (200, libc::B200),
    (300, libc::B300),
    (600, libc::B600),
    (1200, libc::B1200),
    (1800, libc::B1800),
    (2400, libc::B2400),
    (4800, libc::B4800),
    (9600, libc::B9600),
    (19_200, libc::B19200),
    (38_400, libc::B38400),
    (57_600, libc::B57600),
    (115_200, libc::B115200),
    (230_400, libc::B230400),
    (460_800, libc::B460800),
    (500_000, libc::B500000),
    (576_000, libc::B576000),
    (921_600, libc::B921600),
    (1_000_000, libc::B1000000),
    (1_152_000, libc::B1152000),
    (1_500_000, libc::B1500000),
    (2_000_000, libc::B2000000),
    (2_500_000, libc::B2500000),
    (3_000_000, libc::B3000000),
    (3_500_000, libc::B3500000),
    (4_000_000, libc::B4000000),
];
