//! A serial port of this machine whose far end is the test: a pseudo-terminal behind a link that can be pulled out.

#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used, reason = "each test uses its own part of it")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use tempfile::TempDir;

use crate::common::{PATIENCE, within};

/// A port and what hangs on it.
pub struct Cable {
    /// Where the port is, plugged in or not.
    pub port: PathBuf,
    far_end: Option<File>,
    dir: TempDir,
}

impl Cable {
    /// A port, plugged in.
    pub fn new() -> Self {
        Self::at("port")
    }

    /// The same under this name, in folders of its own if it has any, which come and go with it.
    pub fn at(name: &str) -> Self {
        // The daemon looks into every folder on the way, so it is not to be one in which everybody works.
        let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut cable = Self { port: dir.path().join(name), far_end: None, dir };
        cable.plug();
        cable
    }

    /// Plugs in a board that is rude: its terminal is cooked, as a fresh one is, and the moment that somebody opens the port
    /// it says this.
    pub fn plug_rude(&mut self, greeting: &'static [u8]) {
        // Only after a first time does the kernel tell that nobody has it open.
        let open = |port: &Path| drop(File::options().read(true).write(true).custom_flags(libc::O_NOCTTY).open(port));
        let mut end = self.plug_into(open);
        std::thread::spawn(move || {
            while is_hung_up(&end) {
                sleep(Duration::from_micros(50));
            }
            end.write_all(greeting)
        });
    }

    pub fn plug(&mut self) {
        self.plug_into(|_| {});
    }

    /// Plugs in, after this was done to the port; gives the far end.
    fn plug_into(&mut self, first: impl FnOnce(&Path)) -> File {
        // No program that is started meanwhile may keep the far end open.
        let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let node = PathBuf::from(ptsname_r(&master).unwrap());
        first(&node);
        fs::create_dir_all(self.port.parent().unwrap()).unwrap();
        symlink(node, &self.port).unwrap();
        self.far_end = Some(OwnedFd::from(master).into());
        self.far_end()
    }

    pub fn unplug(&mut self) {
        fs::remove_file(&self.port).unwrap();
        let folders = self.port.ancestors().skip(1).take_while(|folder| *folder != self.dir.path());
        folders.for_each(|folder| fs::remove_dir(folder).unwrap());
        self.far_end = None;
    }

    /// A `[[device]]` for it, named `board`, with this in `[device.serial]`.
    pub fn device(&self, general: &str, serial: &str) -> String {
        let port = self.port.display();
        format!(
            "[[device]]\nname = \"board\"\nbackend = \"serial\"\nmatch = {{ port = \"{port}\" }}\n{general}\n\
             [device.serial]\n{serial}\n"
        )
    }

    pub fn far_end(&self) -> File {
        self.far_end.as_ref().unwrap().try_clone().unwrap()
    }

    pub fn say(&self, bytes: &[u8]) {
        self.far_end().write_all(bytes).unwrap();
    }

    /// The next `n` bytes that come.
    pub fn hear(&self, n: usize) -> Vec<u8> {
        let mut end = Patient(self.far_end());
        within(PATIENCE, move || {
            let mut bytes = vec![0; n];
            end.read_exact(&mut bytes).unwrap();
            bytes
        })
    }

    /// Sends back whatever comes until the port is pulled out or closed.
    pub fn echo(&self) {
        let mut end = self.far_end();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n) = end.read(&mut bytes) {
                if n == 0 || end.write_all(&bytes[..n]).is_err() {
                    return;
                }
            }
        });
    }

    /// Whether nothing comes for a moment.
    pub fn is_silent(&self) -> bool {
        let end = self.far_end();
        let mut fds = [PollFd::new(end.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, 100u8).unwrap() == 0
    }

    /// The speed as the kernel has it, which is the same at both ends.
    pub fn speed(&self) -> u32 {
        self.settings().c_ospeed
    }

    /// Whether RTS and CTS, and whether XON and XOFF, control the flow.
    pub fn flow(&self) -> (bool, bool) {
        let settings = self.settings();
        (
            settings.c_cflag & libc::CRTSCTS != 0,
            settings.c_iflag & (libc::IXON | libc::IXOFF) == libc::IXON | libc::IXOFF,
        )
    }

    fn settings(&self) -> libc::termios2 {
        // SAFETY: a termios2 is numbers, for which all zeros are values.
        let mut settings: libc::termios2 = unsafe { std::mem::zeroed() };
        // SAFETY: TCGETS2 writes one termios2, which outlives the call, and the descriptor is open.
        unsafe { tcgets2(self.far_end().as_raw_fd(), &mut settings) }.unwrap();
        settings
    }
}

/// Whether nobody has the port open whose far end this is.
fn is_hung_up(end: &File) -> bool {
    let mut fds = [PollFd::new(end.as_fd(), PollFlags::empty())];
    poll(&mut fds, PollTimeout::ZERO).unwrap();
    fds[0].revents().unwrap().contains(PollFlags::POLLHUP)
}

/// A far end that waits while nobody has the port open, for which there is no event.
pub struct Patient(pub File);

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(e) if e.raw_os_error() == Some(libc::EIO) => sleep(Duration::from_millis(5)),
                result => return result,
            }
        }
    }
}

nix::ioctl_read!(tcgets2, b'T', 0x2a, libc::termios2);
