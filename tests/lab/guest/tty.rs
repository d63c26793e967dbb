//! The far ends of serial lines in the guest: of an ACM gadget, and of QEMU's FTDI chip. Refuses to interpret what goes
//! over them.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};

use super::gadget::Gadget;
use crate::common::read_exactly;

/// What a program on the gadget's side has open: `/dev/ttyGS0`, or any other terminal, raw.
pub struct FarEnd(pub File);

impl FarEnd {
    /// Opens the far end of a gadget's ACM function.
    pub fn of(gadget: &Gadget) -> Self {
        let number = gadget.read("functions/acm.0/port_num");
        Self::open(Path::new(&format!("/dev/ttyGS{number}")))
    }

    pub fn open(path: &Path) -> Self {
        let tty = OpenOptions::new().read(true).write(true).open(path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        if let Ok(mut settings) = tcgetattr(&tty) {
            cfmakeraw(&mut settings);
            tcsetattr(&tty, SetArg::TCSANOW, &settings).unwrap();
        }
        Self(tty)
    }

    pub fn say(&self, bytes: impl AsRef<[u8]>) {
        (&self.0).write_all(bytes.as_ref()).unwrap();
    }

    /// The next `n` bytes that come.
    pub fn hear(&self, n: usize) -> Vec<u8> {
        read_exactly(self.0.try_clone().unwrap(), n).1
    }

    /// Sends back whatever comes, until the other side goes.
    pub fn echo(&self) {
        let mut end = self.0.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n) = end.read(&mut bytes) {
                if n == 0 || end.write_all(&bytes[..n]).is_err() {
                    return;
                }
            }
        });
    }
}
