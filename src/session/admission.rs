//! Who may ask for what: a process that could open the outlets of a device gets the same of it over `admin.sock`, and no other
//! process does. It looks at the outlets as they are in the device's directory, and refuses to know of configurations.

use crate::name::{is_serial_line, line_of_outlet};
use crate::outlet::{Credentials, Dir, Listener, Want};

use super::shared::Shared;
use super::terminals::TTY;

/// What a process must be able to open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need<'a> {
    /// Any outlet at all: to know that the device is there, and what happens to it.
    Any,
    /// All of them: to see all that crosses.
    All,
    /// The control pipe.
    Control,
    /// The line control of the first serial line, and of a device without one the control pipe.
    LineControl,
    /// An outlet by the name of its line: `ep_81`, `serial.rx`, or `serial` for both directions.
    Outlet(&'a str),
}

/// The directories that lead to a device's outlets.
pub(super) struct Directories {
    pub(super) run_dir: Dir,
    pub(super) dir: Dir,
}

impl Shared {
    /// Whether a process with these credentials could open what is needed.
    pub(super) fn admits(&self, need: Need<'_>, credentials: &Credentials) -> bool {
        if credentials.is_trusted() {
            return true;
        }
        let Some(Directories { run_dir, dir }) = self.directories.get() else { return false };
        let check = Check { dir, credentials };
        if !run_dir.lets_in(credentials) || !dir.lets_in(credentials) {
            return false;
        }
        let lines = self.lines();
        match need {
            Need::Any => check.control() || lines.iter().any(|(line, want)| check.outlet(line, *want)),
            Need::All => check.control() && lines.iter().all(|(line, want)| check.outlet(line, *want)),
            Need::Control => check.control(),
            Need::LineControl => match self.serial() {
                Some(serial) => check.opens(&serial.outlet("ctl"), Want::Write),
                None => check.control(),
            },
            Need::Outlet(wanted) => {
                let is_wanted = |line: &str| match is_serial_line(wanted) {
                    true => line_of_outlet(line) == Some(wanted),
                    false => line == wanted,
                };
                let mut wanted = lines.iter().filter(|(line, _)| is_wanted(line)).peekable();
                wanted.peek().is_some() && wanted.all(|(line, want)| check.outlet(line, *want))
            }
        }
    }
}

/// What a process could open in a device's directory.
struct Check<'a> {
    dir: &'a Dir,
    credentials: &'a Credentials,
}

impl Check<'_> {
    fn opens(&self, name: &str, want: Want) -> bool {
        self.dir.lets_open(name, want, self.credentials)
    }

    /// A line by any outlet that it has. A socket and a terminal go both ways.
    fn outlet(&self, line: &str, want: Want) -> bool {
        let common = line_of_outlet(line).unwrap_or(line);
        self.opens(line, want)
            || self.opens(&Listener::name_for(common), Want::Write)
            || self.opens(&format!("{common}.{TTY}"), want)
    }

    fn control(&self) -> bool {
        let both = self.opens("ep_00.request", Want::Write) && self.opens("ep_00.response", Want::Read);
        both || self.opens("ep_00.sock", Want::Write)
    }
}
