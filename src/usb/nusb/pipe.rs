//! Hot path. One endpoint of a device opened by nusb: transfers go in and come out, their buffers unchanged.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use ::nusb::transfer::{Buffer, BulkOrInterrupt, Completion, EndpointDirection};
use ::nusb::{Endpoint, Error};

use crate::usb::local::{Presence, UNPLUGGED};
use crate::usb::{BoxFuture, IsoPacket, Pipe, Transfer, TransferError};

/// An endpoint of any type and direction. The device shares it with the pipe, only to clear its halt.
pub(super) type SharedEndpoint = Box<dyn AnyEndpoint>;

/// What nusb's endpoints have in common.
pub(super) trait AnyEndpoint: Send {
    fn submit(&mut self, buffer: Buffer);
    fn poll_next_complete(&mut self, cx: &mut Context<'_>) -> Poll<Completion>;
    fn pending(&self) -> usize;
    fn cancel_all(&mut self);
    fn clear_halt(&mut self) -> BoxFuture<'static, Result<(), Error>>;
}

impl<T: BulkOrInterrupt + 'static, D: EndpointDirection + 'static> AnyEndpoint for Endpoint<T, D> {
    fn submit(&mut self, buffer: Buffer) {
        Endpoint::submit(self, buffer);
    }

    fn poll_next_complete(&mut self, cx: &mut Context<'_>) -> Poll<Completion> {
        Endpoint::poll_next_complete(self, cx)
    }

    fn pending(&self) -> usize {
        Endpoint::pending(self)
    }

    fn cancel_all(&mut self) {
        Endpoint::cancel_all(self);
    }

    fn clear_halt(&mut self) -> BoxFuture<'static, Result<(), Error>> {
        Box::pin(Endpoint::clear_halt(self).into_future())
    }
}

/// Ready to be used by a pipe.
pub(super) fn share<T, D>(endpoint: Endpoint<T, D>) -> Arc<Mutex<SharedEndpoint>>
where
    T: BulkOrInterrupt + 'static,
    D: EndpointDirection + 'static,
{
    Arc::new(Mutex::new(Box::new(endpoint)))
}

/// The host's end of one bulk or interrupt endpoint.
pub(super) struct NusbPipe {
    endpoint: Arc<Mutex<SharedEndpoint>>,
    is_in: bool,
    presence: Arc<Presence>,
    /// What nusb does not carry, oldest first.
    shells: VecDeque<Shell>,
    /// Who asked while nothing was in flight.
    idle: Option<Waker>,
}

/// A transfer without its buffer.
struct Shell {
    size: usize,
    length: usize,
    packets: Vec<IsoPacket>,
}

impl NusbPipe {
    pub(super) fn new(endpoint: Arc<Mutex<SharedEndpoint>>, is_in: bool, presence: Arc<Presence>) -> Self {
        Self { endpoint, is_in, presence, shells: VecDeque::new(), idle: None }
    }

    fn endpoint(&self) -> MutexGuard<'_, SharedEndpoint> {
        self.endpoint.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pipe for NusbPipe {
    fn submit(&mut self, transfer: Transfer) {
        let Transfer { buffer, length, packets, .. } = transfer;
        let size = buffer.len();
        let mut bytes = buffer.into_vec();
        if !self.is_in {
            bytes.truncate(length);
        }
        let mut buffer = Buffer::from(bytes);
        if self.is_in {
            buffer.set_requested_len(length);
        }
        self.shells.push_back(Shell { size, length, packets });
        self.endpoint().submit(buffer);
        if let Some(waker) = self.idle.take() {
            waker.wake();
        }
    }

    fn poll_complete(&mut self, cx: &mut Context<'_>) -> Poll<Transfer> {
        let completion = {
            let mut endpoint = self.endpoint();
            match endpoint.pending() {
                0 => None,
                _ => Some(endpoint.poll_next_complete(cx)),
            }
        };
        match (completion, self.is_in) {
            (Some(Poll::Ready(completion)), _) => {
                let Some(shell) = self.shells.pop_front() else { return Poll::Pending };
                let transfer = shell.fill(completion);
                if transfer.status == Err(TransferError::Disconnected) {
                    self.presence.set_lost(UNPLUGGED);
                }
                Poll::Ready(transfer)
            }
            (Some(Poll::Pending), _) => Poll::Pending,
            (None, _) => {
                self.idle = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn in_flight(&self) -> usize {
        self.shells.len()
    }

    fn cancel_all(&mut self) {
        self.endpoint().cancel_all();
    }
}

impl Shell {
    fn fill(self, completion: Completion) -> Transfer {
        let Completion { buffer, actual_len, status } = completion;
        let mut bytes = buffer.into_vec();
        debug_assert!(bytes.capacity() >= self.size);
        // SAFETY: the allocation is that of a boxed slice of `size` bytes, all of them initialised, which `submit` took
        // apart. nusb and the kernel only write into it, and neither makes it smaller. Filling it anew after each short
        // transfer would cost more than the transfer.
        unsafe { bytes.set_len(self.size) };
        let status = status.map_err(transfer_error);
        Transfer {
            buffer: bytes.into_boxed_slice(),
            length: self.length,
            actual: actual_len,
            status,
            packets: self.packets,
        }
    }
}

/// nusb's word for a failure as ours.
pub(super) fn transfer_error(error: ::nusb::transfer::TransferError) -> TransferError {
    use ::nusb::transfer::TransferError as Theirs;
    match error {
        Theirs::Cancelled => TransferError::Cancelled,
        Theirs::Stall => TransferError::Stall,
        Theirs::Disconnected => TransferError::Disconnected,
        Theirs::Fault => TransferError::Io(nix::libc::EPROTO),
        Theirs::InvalidArgument => TransferError::Invalid,
        Theirs::Unknown(code) => TransferError::Io(code as i32),
    }
}
