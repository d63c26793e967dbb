//! Who may make which request on `admin.sock`: the one table. Root and the daemon's user may make all requests; other users get
//! of a device what its outlets would give, see `session/admission`.

use super::Devices;
use super::protocol::Request;
use crate::outlet::Credentials;
use crate::session::{DeviceStatus, Need};

/// What a request takes.
enum Takes<'a> {
    /// Nothing: it shows the devices that [`SHOWN`] allows.
    Nothing,
    /// To be root or the daemon's user.
    Trust,
    /// That outlets of a device could be opened.
    Outlets(&'a str, Need<'a>),
}

impl<'a> Takes<'a> {
    fn of(request: &'a Request) -> Self {
        match request {
            Request::Status | Request::Events => Self::Nothing,
            Request::Tasks => Self::Trust,
            Request::Control { device, .. } => Self::Outlets(device, Need::Control),
            Request::Serial { device, .. } => Self::Outlets(device, Need::LineControl),
            // As requests of a serial line, which can be written to its `serial.ctl`.
            Request::Release { device, .. } | Request::Reclaim { device } => Self::Outlets(device, Need::LineControl),
            Request::Open { device, outlet, .. } => Self::Outlets(device, Need::Outlet(outlet)),
            Request::Capture { device, .. } => Self::Outlets(device, Need::All),
        }
    }
}

/// What it takes to see a device, in `status` and in events.
const SHOWN: Need<'_> = Need::Any;

impl Devices {
    /// Checks that this request may be made with these credentials; `None` where they are unknown.
    ///
    /// # Errors
    /// What it takes, in words for the user.
    pub(super) fn allow(&self, request: &Request, who: Option<&Credentials>) -> Result<(), String> {
        let (device, need) = match Takes::of(request) {
            _ if who.is_some_and(Credentials::is_trusted) => return Ok(()),
            Takes::Nothing => return Ok(()),
            Takes::Trust => {
                return Err("permission denied: this is for root and the user who runs the daemon".to_owned());
            }
            Takes::Outlets(device, need) => (device, need),
        };
        if !self.shows(device, who) {
            // The names of other devices stay hidden.
            return Err(format!("this daemon has no device {device:?} that you may use; {WHO_MAY}"));
        }
        let admitted = self.with(device, |handle| who.is_some_and(|who| handle.admits(need, who)))?;
        let what = match need {
            Need::Any | Need::All => "all outlets of it".to_owned(),
            Need::Control => "ep_00.request and ep_00.response, or ep_00.sock".to_owned(),
            Need::LineControl => "its serial.ctl, or without one ep_00.sock".to_owned(),
            Need::Outlet(outlet) => outlet.to_owned(),
        };
        if admitted { Ok(()) } else { Err(format!("{device}: permission denied: it takes {what}; {WHO_MAY}")) }
    }

    /// Whether this device is shown to a process with these credentials.
    pub(super) fn shows(&self, device: &str, who: Option<&Credentials>) -> bool {
        let Some(who) = who else { return false };
        who.is_trusted() || self.lock().get(device).is_some_and(|handle| handle.admits(SHOWN, who))
    }

    /// The state of the devices that are shown to a process with these credentials.
    pub(super) fn status_for(&self, who: Option<&Credentials>) -> Vec<DeviceStatus> {
        let mut all = self.status();
        if !who.is_some_and(Credentials::is_trusted) {
            all.retain(|device| self.shows(&device.name, who));
        }
        all
    }
}

/// Who may, in words that end an error.
const WHO_MAY: &str = "a request is granted to users who could open the outlets: see `owner`, `group` and `mode` in the \
                       configuration";
