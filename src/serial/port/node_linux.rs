//! Opens the node of a port: for this process alone, raw, and with its lines left as they are from then on.
//!
//! A port that is open and not yet raw echoes what its device sends. So whoever else may have it is looked for before,
//! and nothing that takes time comes between open(2) and the settings; what was echoed all the same and is not sent is
//! thrown away. What a driver receives while open(2) still runs is echoed where the port was never used before: the
//! kernel keeps the settings of the last opener, which were raw if that was this program.
//!
//! All of it may wait for the driver, so it belongs on a helper thread.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc::{
    BOTHER, CBAUD, CIBAUD, CLOCAL, CMSPAR, CREAD, CRTSCTS, CS5, CS6, CS7, CS8, CSIZE, CSTOPB, HUPCL, IXOFF, IXON,
    O_NOCTTY, O_NONBLOCK, PARENB, PARODD, VMIN, VTIME, tcflag_t, termios2,
};
use nix::sys::termios::{FlushArg, tcflush};

use crate::config::{Parity, SerialMode, StopBits};
use crate::processes::{Holder, Question, Seen, look_blocking};
use crate::usb::{FlowControl, OpenError, port_permission_advice};

use super::{FirstSettings, ioctl_linux, list, system};

/// Opens the port at `path`, unless another program has it, locks it and makes it raw, with these settings.
///
/// # Errors
/// [`OpenError::NotFound`] with the ports that there are, [`OpenError::Held`] with who has it, [`OpenError::Denied`]
/// with what to do.
pub(super) fn open(path: &Path, first: FirstSettings) -> Result<File, OpenError> {
    match fs::metadata(path) {
        Ok(node) if !system::is_terminal(&node) => return Err(no_port(path)),
        Ok(_) if others(path).is_some() => return Err(busy(path)),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(O_NOCTTY | O_NONBLOCK);
    // That somebody opens the port wakes others, and one of them would run in the middle of what follows, had this thread
    // used up its time. It begins anew after a pause.
    thread::sleep(BREATH);
    let port = options.open(path).map_err(|e| refusal(path, e))?;
    // Who has the lock that careful programs respect (flock) has its settings left as well. TIOCEXCL says nothing: it does
    // not keep root out, and the mark of a program that was killed may outlive it.
    if port.try_lock().is_err() {
        drop(port);
        return Err(busy(path));
    }
    match silence(&port, first) {
        Ok(()) => Ok(port),
        Err(Errno::ENOTTY) => Err(no_port(path)),
        Err(e) => Err(refusal(path, e.into())),
    }
}

/// Makes an open port raw, at once, and throws away what it was about to echo.
fn silence(port: &File, first: FirstSettings) -> nix::Result<()> {
    let settings = ioctl_linux::settings(port)?;
    ioctl_linux::set_settings(port, &raw(settings, first))?;
    tcflush(port, FlushArg::TCOFLUSH)
}

/// No echo, no line editing, no translation, no waiting for a carrier; and closing leaves DTR as it is. What `first` does
/// not name of speed and character format stays.
fn raw(mut settings: termios2, first: FirstSettings) -> termios2 {
    settings.c_iflag = if first.flow == FlowControl::XonXoff { IXON | IXOFF } else { 0 };
    settings.c_oflag = 0;
    settings.c_lflag = 0;
    settings.c_cflag &= !(HUPCL | CRTSCTS);
    settings.c_cflag |= CREAD | CLOCAL;
    if first.flow == FlowControl::RtsCts {
        settings.c_cflag |= CRTSCTS;
    }
    if let Some(mode) = first.mode {
        settings.c_cflag = settings.c_cflag & !FORMAT | format_bits(mode);
    }
    if let Some(baud) = first.baud {
        settings.c_cflag = settings.c_cflag & !(CBAUD | CIBAUD) | BOTHER;
        (settings.c_ispeed, settings.c_ospeed) = (baud, baud);
    }
    settings.c_cc[VMIN] = 1;
    settings.c_cc[VTIME] = 0;
    settings
}

/// What a port cannot do is refused later, when the same is asked for with an answer.
fn format_bits(mode: SerialMode) -> tcflag_t {
    let size = match mode.data_bits {
        5 => CS5,
        6 => CS6,
        7 => CS7,
        _ => CS8,
    };
    let parity = match mode.parity {
        Parity::None => 0,
        Parity::Odd => PARENB | PARODD,
        Parity::Even => PARENB,
        Parity::Mark => PARENB | PARODD | CMSPAR,
        Parity::Space => PARENB | CMSPAR,
    };
    let stop = if mode.stop_bits == StopBits::One { 0 } else { CSTOPB };
    size | parity | stop
}

/// Waits until what was written is sent, at most `patience`. What is not sent by then is thrown away, because close(2)
/// would go on waiting for it; the result says how many bytes that were.
pub(super) async fn finish(port: &File, patience: Duration) -> usize {
    let deadline = Instant::now() + patience;
    let mut pause = FIRST_LOOK;
    while ioctl_linux::unsent(port) > 0 && Instant::now() < deadline {
        // There is no event for an empty buffer, and tcdrain(3) cannot be called off.
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_LOOK);
    }
    discard_unsent(port)
}

/// To be called before the last close of a port: throws away what is not sent, for which close(2) would wait, up to
/// half a minute. A driver that cannot throw it away gets a thread to wait on, which closes the port after the result
/// was dropped.
pub(super) fn close_without_waiting(port: &File) -> Option<mpsc::Sender<()>> {
    if discard_unsent(port) == 0 || ioctl_linux::unsent(port) == 0 {
        return None;
    }
    let last = port.try_clone().ok()?;
    let (others, gone) = mpsc::channel();
    thread::spawn(move || {
        let _ = gone.recv();
        drop(last);
    });
    Some(others)
}

/// Says how many bytes there were.
fn discard_unsent(port: &File) -> usize {
    let unsent = ioctl_linux::unsent(port);
    if unsent > 0 {
        // Where this fails, the next question tells.
        let _ = tcflush(port, FlushArg::TCOFLUSH);
    }
    unsent
}

fn refusal(path: &Path, error: io::Error) -> OpenError {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EBUSY) => busy(path),
        Some(Errno::EACCES | Errno::EPERM) => denied(path),
        Some(Errno::ENOENT | Errno::ENOTDIR) => missing(path, &error),
        // The node is there, so that nothing will tell when the device behind it is, too.
        _ => OpenError::Unreachable(format!("opening {} failed", path.display()), error),
    }
}

fn busy(path: &Path) -> OpenError {
    let who = holders(path).names().unwrap_or_else(|| UNSEEN.to_owned());
    let text = format!("{} is in use by {who}; end that program, or let it close the port", path.display());
    OpenError::Held(text, path.to_owned())
}

/// The other programs that have the port at `path` open, as far as this user may see them, in words for people. One that
/// has it only for a moment does not count: it looks at ports, or has been started by this one and is not itself yet.
pub fn others(path: &Path) -> Option<String> {
    let now = holders(path);
    if now.processes().is_empty() {
        return None;
    }
    thread::sleep(MOMENT);
    let later = holders(path);
    let stayed = |holder: &&Holder| now.processes().iter().any(|before| before.pid == holder.pid);
    let names: Vec<String> = later.processes().into_iter().filter(stayed).map(ToString::to_string).collect();
    (!names.is_empty()).then(|| names.join(" and "))
}

fn holders(path: &Path) -> Seen {
    look_blocking(Question::Device(path.to_owned()))
}

fn denied(path: &Path) -> OpenError {
    OpenError::Denied(format!("no permission to open {}: {}", path.display(), permission_advice(path)))
}

/// What somebody can do who may not open the port at `path`.
pub fn permission_advice(path: &Path) -> String {
    port_permission_advice(path)
}

fn missing(path: &Path, why: &io::Error) -> OpenError {
    OpenError::NotFound(format!("{} cannot be opened ({why}); {}", path.display(), present()))
}

fn no_port(path: &Path) -> OpenError {
    OpenError::NotFound(format!("{} is no serial port; {}", path.display(), present()))
}

fn present() -> String {
    match list().as_slice() {
        [] => "this machine has no serial port now".to_owned(),
        some => format!("there are {}", some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    }
}

/// A program that this user may not see.
pub const UNSEEN: &str = "a program that this user may not see (`sudo fuser -v` with its path names it)";
const FORMAT: tcflag_t = CSIZE | PARENB | PARODD | CMSPAR | CSTOPB;
const BREATH: Duration = Duration::from_millis(1);
const MOMENT: Duration = Duration::from_millis(30);
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LONGEST_LOOK: Duration = Duration::from_millis(32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_will_be_told_of_is_waited_for() {
        let kind = |errno: Errno| match refusal(Path::new("/dev/ttyACM99"), errno.into()) {
            OpenError::NotFound(_) => "waits for news",
            OpenError::Denied(_) => "waits for a change of permissions",
            OpenError::Held(..) => "waits until it is closed",
            OpenError::Busy(_) => "looks again",
            OpenError::Unreachable(..) => "tries again",
            OpenError::Protocol(_) => "",
        };
        assert_eq!(kind(Errno::ENOENT), "waits for news");
        assert_eq!(kind(Errno::EACCES), "waits for a change of permissions");
        assert_eq!(kind(Errno::EBUSY), "waits until it is closed");
        // A port that is pulled out while it is opened has its node for a moment longer.
        for errno in [Errno::EIO, Errno::ENXIO, Errno::ENODEV] {
            assert_eq!(kind(errno), "tries again");
        }
    }
}
