//! What a backend provides: a device with control transfers, and pipes with transfers in flight.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::descriptors::{Descriptors, Endpoint};
use super::{OpenError, Setup, Transfer, TransferError};

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An opened device. It stays usable, with every request failing as disconnected, after the device has gone.
pub trait UsbDevice: Send + Sync {
    /// What the device said of itself when it was opened.
    fn descriptors(&self) -> &Arc<Descriptors>;

    /// One control transfer: `data` is sent for OUT and ignored for IN; the answer is what was received.
    fn control(&self, setup: Setup, data: Vec<u8>, timeout: Duration) -> BoxFuture<'_, Result<Vec<u8>, TransferError>>;

    /// Takes an interface for this daemon alone, before its setting is selected or a pipe to it is opened. With
    /// `detach` a kernel driver that holds it is sent away. Twice is once. A backend whose devices are exclusive as a
    /// whole has nothing to do.
    ///
    /// # Errors
    /// [`OpenError::Busy`] with the name of the driver that holds it, [`OpenError::NotFound`] after the device has gone.
    fn claim(&self, interface: u8, detach: bool) -> BoxFuture<'_, Result<(), OpenError>> {
        let _ = (interface, detach);
        Box::pin(async { Ok(()) })
    }

    /// Gives every claimed interface back, to the kernel driver that was sent away from it. All pipes are closed by
    /// then. A device that has gone needs nothing.
    fn give_back(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    /// The daemon ends: after this time no transfer may be in flight any more, whatever the far end does. A backend whose
    /// transfers the operating system cancels has nothing to do.
    fn end_within(&self, time: Duration) {
        let _ = time;
    }

    /// A pipe to this endpoint, whose alternate setting has been selected. One pipe an endpoint at a time.
    ///
    /// # Errors
    /// [`OpenError::NotFound`] after the device has gone.
    fn open_pipe(&self, endpoint: &Endpoint) -> Result<Box<dyn Pipe>, OpenError>;

    /// Selects an alternate setting: SET_INTERFACE, USB 2.0, 9.4.10.
    fn set_alt_setting(&self, interface: u8, setting: u8) -> BoxFuture<'_, Result<(), TransferError>>;

    /// Ends a halt on both sides: CLEAR_FEATURE(ENDPOINT_HALT), USB 2.0, 9.4.5.
    fn clear_halt(&self, endpoint: u8) -> BoxFuture<'_, Result<(), TransferError>>;

    /// Resets the device's port and configures it as before: USB 2.0, 7.1.7.5.
    fn reset(&self) -> BoxFuture<'_, Result<(), TransferError>>;

    /// The modem lines of the serial function with this control interface, where the host can tell. CDC has no request
    /// that reads them back, so that only ports of the operating system know.
    fn modem_lines(&self, interface: u8) -> BoxFuture<'_, Option<ModemLines>> {
        let _ = interface;
        Box::pin(async { None })
    }

    /// Sets the flow control of its serial function. CDC has no request for it, so that only ports of the operating system
    /// can.
    ///
    /// # Errors
    /// [`TransferError::Invalid`] where there is none.
    fn set_flow_control(&self, flow: FlowControl) -> BoxFuture<'_, Result<(), TransferError>> {
        Box::pin(async move { if flow == FlowControl::None { Ok(()) } else { Err(TransferError::Invalid) } })
    }

    /// Resolves when the device has gone, with the reason in words for people.
    fn gone(&self) -> BoxFuture<'_, String>;
}

/// The flow control of a serial function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FlowControl {
    /// None.
    #[default]
    None,
    /// By the lines RTS and CTS.
    RtsCts,
    /// By the bytes XON and XOFF, in both directions.
    XonXoff,
}

/// The modem lines of a serial function as they are: V.24.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModemLines {
    /// Data Terminal Ready, to the device.
    pub dtr: bool,
    /// Request To Send, to the device.
    pub rts: bool,
    /// Clear To Send.
    pub cts: bool,
    /// Data Set Ready.
    pub dsr: bool,
    /// Data Carrier Detect.
    pub dcd: bool,
    /// Ring Indicator.
    pub ring: bool,
}

/// The host's end of one endpoint: transfers go in and come out in order.
pub trait Pipe: Send {
    /// A transfer with room for `size` bytes, in the memory that suits this pipe best. Others do as well, and it may be used
    /// with other pipes and after this one has gone.
    fn allocate(&self, size: usize) -> Transfer {
        Transfer::new(size)
    }

    /// Starts a transfer. What cannot be started comes out of [`Pipe::poll_complete`] as failed.
    fn submit(&mut self, transfer: Transfer);

    /// The next transfer that has ended. Pending while none has, also when none is in flight.
    fn poll_complete(&mut self, cx: &mut Context<'_>) -> Poll<Transfer>;

    /// Whether it is in [`Pipe::poll_complete`] that bytes move. They are best passed on before that is asked again, for
    /// the far end goes on meanwhile.
    fn moves_when_polled(&self) -> bool {
        false
    }

    /// How many were submitted and did not come out yet.
    fn in_flight(&self) -> usize;

    /// Asks for the end of all that are in flight; each still comes out, complete, partial or cancelled.
    fn cancel_all(&mut self);
}

/// The next transfer that has ended; waits forever if none is in flight.
pub async fn complete(pipe: &mut dyn Pipe) -> Transfer {
    poll_fn(|cx| pipe.poll_complete(cx)).await
}

/// Cancels what is in flight and hands each transfer to `take` as it comes out.
pub async fn drain(pipe: &mut dyn Pipe, mut take: impl FnMut(Transfer)) {
    pipe.cancel_all();
    while pipe.in_flight() > 0 {
        take(complete(pipe).await);
    }
}

/// The next transfer that has ended, or after `timeout` what becomes of the one in flight when it is cancelled: one that
/// ends just as its time is up counts as done.
pub(super) async fn complete_within(pipe: &mut dyn Pipe, timeout: Duration) -> Transfer {
    if let Ok(transfer) = tokio::time::timeout(timeout, complete(pipe)).await {
        return transfer;
    }
    let mut last = Transfer::new(0).fail(TransferError::Timeout);
    drain(pipe, |transfer| last = transfer).await;
    if last.status == Err(TransferError::Cancelled) {
        last.status = Err(TransferError::Timeout);
    }
    last
}
