//! Terminals of the guest: the far end of an ACM gadget, and the ports that the kernel makes of serial devices.
//! Refuses to interpret what goes over them.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};

use super::gadget::Gadget;
use super::must;
use super::sysfs::UsbDevice;
use crate::common::{read_exactly, wait_for};

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

impl UsbDevice {
    /// The serial port that the kernel makes of interface 0, once udev is done with it.
    pub fn port(&self) -> PathBuf {
        let interface = self.dir().join(format!("{}:1.0", self.busid));
        let find = || {
            let acm = fs::read_dir(interface.join("tty")).into_iter().flatten().flatten().map(|e| e.file_name());
            let usb = fs::read_dir(&interface).into_iter().flatten().flatten().map(|e| e.file_name());
            let name =
                acm.chain(usb).find(|name| name.to_str().is_some_and(|n| n.starts_with("tty") && n.len() > 3))?;
            Some(Path::new("/dev").join(name)).filter(|path| path.exists())
        };
        let port = wait_for(find, || format!("{} has no port", self.busid));
        must(&["udevadm", "settle"]);
        port
    }
}
