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
use nix::sys::termios::{FlowArg, FlushArg, tcflow, tcflush};
use nix::sys::uio::{readv, writev};

use super::Settings;
use super::unheard_linux::Unheard;
use crate::outlet::descriptor::shut_terminal;

/// A pseudo-terminal. Dropping it hangs up on the programs that have it open.
pub(super) struct Pty {
    master: OwnedFd,
    node: PathBuf,
    /// The modes that the kernel gave it, for the special characters among them.
    first: termios2,
    /// What a program set without EXTPROC.
    pub(super) unheard: Unheard,
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
        let node = PathBuf::from(ptsname_r(&master)?);
        // For nobody, until it is granted to those who may open it; nobody can open one that is locked.
        shut_terminal(&node)?;
        unlockpt(&master)?;
        let master = OwnedFd::from(master);
        let on: c_int = 1;
        // SAFETY: TIOCPKT reads one int, which outlives the call, and the descriptor is open.
        unsafe { raw::tiocpkt(master.as_raw_fd(), &on) }?;
        let first = get(&master)?;
        let pty = Self { master, node, first, unheard: Unheard::default() };
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

    /// Whether no program has it open, and none that has left wrote or set anything that was not read yet.
    pub(super) fn is_untouched(&self) -> bool {
        self.revents() & (PollFlags::POLLHUP | PollFlags::POLLPRI | PollFlags::POLLIN) == PollFlags::POLLHUP
    }

    /// Bytes that programs wrote and that can be read now.
    pub(super) fn readable(&self) -> usize {
        // It is poll(2) that moves bytes to where they are counted.
        if !self.revents().contains(PollFlags::POLLIN) {
            return 0;
        }
        count(&self.master).unwrap_or(0)
    }

    fn revents(&self) -> PollFlags {
        let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::POLLPRI | PollFlags::POLLIN)];
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

    /// Prepares it for the next program after the last one has closed it: nothing of that one is left, neither bytes
    /// that it did not read, nor modes, nor a lock.
    ///
    /// # Errors
    /// EBUSY where a program made the terminal exclusive (TIOCEXCL), except for root.
    pub(super) fn renew(&self, settings: Settings) -> io::Result<()> {
        let program_side = self.open()?;
        let fd = program_side.as_raw_fd();
        let discipline: c_int = N_TTY;
        let no_size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: TIOCNXCL has no argument, and the descriptor is open.
        unsafe { raw::tiocnxcl(fd) }?;
        // SAFETY: TIOCSETD reads one int, which outlives the call, and the descriptor is open.
        unsafe { raw::tiocsetd(fd, &discipline) }?;
        // SAFETY: TIOCSWINSZ reads one winsize, which outlives the call, and the descriptor is open.
        unsafe { raw::tiocswinsz(fd, &no_size) }?;
        tcflow(&program_side, FlowArg::TCOON)?;
        tcflush(&program_side, FlushArg::TCIFLUSH)?;
        self.unheard.forget();
        self.set_up(settings)
    }

    /// Has programs that read find the end of file, also those that are waiting. Closing the master alone ends a read
    /// that waits with EIO.
    ///
    /// # Errors
    /// EPERM without CAP_SYS_ADMIN: the kernel lets nobody else do this.
    pub(super) fn hang_up(&self) -> io::Result<()> {
        let program_side = self.open()?;
        // SAFETY: TIOCVHANGUP has no argument, and the descriptor is open.
        unsafe { raw::tiocvhangup(program_side.as_raw_fd()) }?;
        Ok(())
    }

    /// Makes it raw, with these settings, for programs that will open it.
    ///
    /// # Errors
    /// Those of ioctl_tty(2).
    pub(super) fn set_up(&self, settings: Settings) -> io::Result<()> {
        self.put(&settings.into_raw(self.first))?;
        // That these were set is no news.
        self.news();
        Ok(())
    }

    /// Bytes that programs could read now and have not.
    ///
    /// # Errors
    /// EBUSY where a program made the terminal exclusive, except for root.
    pub(super) fn unread(&self) -> io::Result<usize> {
        count(&self.open()?)
    }

    /// The end that programs have, whatever stands at its path by now.
    fn open(&self) -> io::Result<OwnedFd> {
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        // SAFETY: TIOCGPTPEER takes flags, and the descriptor is open.
        let fd = unsafe { raw::tiocgptpeer(self.master.as_raw_fd(), flags.bits()) }?;
        // SAFETY: the request has just opened this descriptor, and nothing else knows of it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    pub(super) fn put(&self, modes: &termios2) -> io::Result<()> {
        // SAFETY: TCSETS2 reads one termios2, which outlives the call, and the descriptor is open.
        unsafe { raw::tcsets2(self.master.as_raw_fd(), modes) }?;
        Ok(())
    }

    pub(super) fn get(&self) -> io::Result<termios2> {
        get(&self.master)
    }
}

fn get(fd: &OwnedFd) -> io::Result<termios2> {
    // SAFETY: a termios2 is numbers, for which all zeros are values.
    let mut modes: termios2 = unsafe { zeroed() };
    // SAFETY: TCGETS2 writes one termios2, which outlives the call, and the descriptor is open.
    unsafe { raw::tcgets2(fd.as_raw_fd(), &mut modes) }?;
    Ok(modes)
}

/// Bytes that can be read.
fn count(fd: &OwnedFd) -> io::Result<usize> {
    let mut bytes: c_int = 0;
    // SAFETY: FIONREAD writes one int, which outlives the call, and the descriptor is open.
    unsafe { raw::fionread(fd.as_raw_fd(), &mut bytes) }?;
    Ok(usize::try_from(bytes).unwrap_or(0))
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
        Self {
            speed,
            two_stop_bits: modes.c_cflag & libc::CSTOPB != 0,
            rts_cts: modes.c_cflag & libc::CRTSCTS != 0,
            xon_xoff: modes.c_iflag & libc::IXON != 0,
        }
    }

    /// `modes` made raw, with this speed; the special characters stay for programs that switch line editing on.
    fn into_raw(self, mut modes: termios2) -> termios2 {
        let named = SPEEDS.iter().find(|(speed, _)| *speed == self.speed);
        let speed = named.map_or(libc::BOTHER, |(_, code)| *code);
        let stop_bits = if self.two_stop_bits { libc::CSTOPB } else { 0 };
        let flow_control = if self.rts_cts { libc::CRTSCTS } else { 0 };
        modes.c_iflag = if self.xon_xoff { libc::IXON } else { 0 };
        modes.c_oflag = 0;
        modes.c_lflag = libc::EXTPROC;
        modes.c_cflag = libc::CS8 | libc::CREAD | libc::CLOCAL | libc::HUPCL | stop_bits | flow_control | speed;
        (modes.c_ispeed, modes.c_ospeed) = (self.speed, self.speed);
        modes.c_cc[libc::VMIN] = 1;
        modes.c_cc[libc::VTIME] = 0;
        modes
    }
}

impl News {
    /// A program set something, as far as is known.
    pub(super) const SET: Self = Self(IOCTL);

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

    /// Without what a program set.
    pub(super) fn without_set(self) -> Self {
        Self(self.0 & !IOCTL)
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
    nix::ioctl_none_bad!(tiocnxcl, libc::TIOCNXCL);
    nix::ioctl_write_ptr_bad!(tiocsetd, libc::TIOCSETD, c_int);
    nix::ioctl_write_ptr_bad!(tiocswinsz, libc::TIOCSWINSZ, libc::winsize);
    nix::ioctl_none_bad!(tiocvhangup, super::TIOCVHANGUP);
}

/// The usual line discipline, of linux/tty.h.
const N_TTY: c_int = 0;
/// Of asm-generic/ioctls.h.
const TIOCVHANGUP: libc::c_ulong = 0x5437;
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
