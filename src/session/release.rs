//! Lends a device to another program and takes it back, while its outlets wait: nobody sees an end of file.
//!
//! It starts no program; who borrows says who that is.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::Own;
use super::keeper::Handle;
use super::shared::Shared;
use crate::request::{Answer, ErrorName};
use crate::serial::port;

/// A device that is lent. It is taken back when this is dropped.
pub struct Lease {
    shared: Arc<Shared>,
    /// `None` once it is lent until somebody asks for it.
    number: Option<u64>,
}

impl Lease {
    /// From now on it is lent until [`Handle::reclaim`].
    pub fn keep(mut self) {
        self.number = None;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.number.is_some() {
            self.shared.take_back(self.number);
        }
    }
}

impl Handle {
    /// Lets go of the device for `borrower`, in words for people. One that needs its `port` may find it away, as after a
    /// touch, so that it gets a moment to be there first. The future does not borrow the handle.
    ///
    /// # Errors
    /// Who has it already, or that it is held too long, in words for people.
    pub fn lend(&self, borrower: String, port: bool) -> impl Future<Output = Result<Lease, String>> + Send + use<> {
        let shared = self.shared.clone();
        async move {
            if port && shared.loan.borrower().is_none() {
                let _ = timeout(ATTACH_PATIENCE, shared.is_attached()).await;
            }
            shared.lend(&borrower, port).await
        }
    }

    /// The port of a device that is lent, as soon as there is one: the kernel's, else a terminal that passes on what goes
    /// over it.
    ///
    /// # Errors
    /// Why there is none, and what to do, in words for people.
    pub fn lent_port(&self) -> impl Future<Output = Result<PathBuf, String>> + Send + use<> {
        let (shared, own) = (self.shared.clone(), self.own.clone());
        async move { lent_port(&shared, &own).await }
    }

    /// Lets go of the device until somebody reclaims it.
    pub fn release(&self) -> impl Future<Output = Answer> + Send + use<> {
        let shared = self.shared.clone();
        async move { shared.release().await }
    }

    /// Takes the device back, from whoever has it.
    pub fn reclaim(&self) -> Answer {
        self.shared.reclaim()
    }
}

impl Shared {
    async fn lend(self: &Arc<Self>, borrower: &str, port: bool) -> Result<Lease, String> {
        let number = self.loan.lend(borrower, port).map_err(|other| {
            format!("{} is released already, to {other}; `usbpipe reclaim {0}` takes it back", self.name)
        })?;
        let lease = Lease { shared: self.clone(), number: Some(number) };
        self.tell("pause", format!("released to {borrower}: programs that have outlets open wait"));
        match timeout(LEND_PATIENCE, self.loan.is_free()).await {
            Ok(()) => Ok(lease),
            Err(_) => Err(format!("{} is not free after {} s; try again", self.name, LEND_PATIENCE.as_secs())),
        }
    }

    fn take_back(&self, number: Option<u64>) {
        if let Some(borrower) = self.loan.take_back(number) {
            self.tell("resume", format!("taken back from {borrower}: the bridge goes on when the device is there"));
        }
    }

    /// Lets go of the device until [`Shared::reclaim`]; again changes nothing.
    pub(super) async fn release(self: &Arc<Self>) -> Answer {
        if self.loan.borrower().as_deref() == Some(ANYBODY) {
            return Answer::Ok(String::new());
        }
        match self.lend(ANYBODY, false).await {
            Ok(lease) => {
                lease.keep();
                Answer::Ok(String::new())
            }
            Err(text) => Answer::Error { name: ErrorName::Denied, text },
        }
    }

    pub(super) fn reclaim(&self) -> Answer {
        self.take_back(None);
        Answer::Ok(String::new())
    }
}

async fn lent_port(shared: &Shared, own: &Own) -> Result<PathBuf, String> {
    let Some((backend, place, interface)) = shared.last_place() else {
        return Err(format!("{} was not there yet; plug it in", shared.name));
    };
    match backend {
        "serial" => Ok(PathBuf::from(place)),
        _ if shared.serial().is_none() => Err(format!("{} has no serial function, and so no port", shared.name)),
        USBIP => match timeout(PORT_PATIENCE, shared.loan.port()).await {
            Ok(Some(port)) => Ok(port),
            _ => Err(format!("no terminal could be made for {}; `usbpipe events` tells why", shared.name)),
        },
        _ => timeout(PORT_PATIENCE, port_at(&place, interface, own)).await.map_err(|_| {
            format!("the kernel made no serial port for {} at {place}; is its driver (cdc_acm) there?", shared.name)
        }),
    }
}

/// The port of the USB device at this place, which the kernel's driver makes when it has the interface back.
async fn port_at(place: &str, interface: Option<u8>, own: &Own) -> PathBuf {
    let mut news = own.hotplug.news().ok();
    loop {
        let ports = tokio::task::spawn_blocking(port::list).await.unwrap_or_default();
        let found = ports.into_iter().find(|port| {
            port.usb.as_ref().is_some_and(|usb| {
                usb.place.as_deref() == Some(place) && (interface.is_none() || usb.interface == interface)
            })
        });
        match (found, &mut news) {
            (Some(port), _) => return port.path,
            (None, Some(news)) => news.next().await,
            (None, None) => std::future::pending().await,
        }
    }
}

/// The backend of devices of which this machine's kernel knows nothing.
const USBIP: &str = "usbip";
/// The borrower of a device that was released until somebody reclaims it.
const ANYBODY: &str = "whoever wants it, until `usbpipe reclaim`";
/// Flushing and giving back take a second or two.
const LEND_PATIENCE: Duration = Duration::from_secs(10);
/// A bootloader with native USB is there within a second or two of a touch, and waits for eight.
const ATTACH_PATIENCE: Duration = Duration::from_secs(5);
/// A driver makes its port at once; udev sets the permissions a moment later.
const PORT_PATIENCE: Duration = Duration::from_secs(5);
