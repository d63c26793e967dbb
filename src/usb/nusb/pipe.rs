//! Hot path. One endpoint of a device opened by nusb: transfers go in and come out, their buffers unchanged.

use std::collections::VecDeque;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use ::nusb::transfer::{Buffer as NusbBuffer, BulkOrInterrupt, Completion, EndpointDirection};
use ::nusb::{Endpoint, Error};

use super::thread;
use crate::usb::errno;
use crate::usb::local::{Presence, lost_by};
use crate::usb::turn;
use crate::usb::{BoxFuture, Buffer, IsoPacket, Pipe, Transfer, TransferError};

/// An endpoint of any type and direction. The device shares it with the pipe, only to clear its halt.
pub(super) type SharedEndpoint = Box<dyn AnyEndpoint>;

/// What nusb's endpoints have in common.
pub(super) trait AnyEndpoint: Send {
    fn allocate(&self, size: usize) -> NusbBuffer;
    fn submit(&mut self, buffer: NusbBuffer);
    fn poll_next_complete(&mut self, cx: &mut Context<'_>) -> Poll<Completion>;
    fn pending(&self) -> usize;
    fn cancel_all(&mut self);
    fn clear_halt(&mut self) -> BoxFuture<'static, Result<(), Error>>;
}

impl<T: BulkOrInterrupt + 'static, D: EndpointDirection + 'static> AnyEndpoint for Endpoint<T, D> {
    fn allocate(&self, size: usize) -> NusbBuffer {
        Endpoint::allocate(self, size)
    }

    fn submit(&mut self, buffer: NusbBuffer) {
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

/// What nusb does not carry of a transfer.
struct Shell {
    memory: Memory,
    length: usize,
    packets: Vec<IsoPacket>,
}

/// Where the bytes are while nusb has them.
enum Memory {
    /// In a vector of this capacity, taken out of the transfer.
    Heap(usize),
    /// In what is missing in the [`Mapped`] behind this.
    Mapped(Buffer),
}

/// Lends memory that host controller and kernel know, so that they move bytes to and from it without a copy.
struct Mapped {
    /// `None` while it is in flight. All its bytes count as initialised and used: nusb can only add to what a buffer has.
    whole: Option<NusbBuffer>,
    /// So what is shorter than the buffer goes OUT from here; the kernel copies it.
    short: Vec<u8>,
}

impl NusbPipe {
    pub(super) fn new(endpoint: Arc<Mutex<SharedEndpoint>>, is_in: bool, presence: Arc<Presence>) -> Self {
        Self { endpoint, is_in, presence, shells: VecDeque::new(), idle: None }
    }

    fn endpoint(&self) -> MutexGuard<'_, SharedEndpoint> {
        self.endpoint.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The oldest transfer, which nusb will never give back.
    fn lost(&mut self) -> Option<Transfer> {
        self.shells.pop_front().map(Shell::lose)
    }
}

impl Pipe for NusbPipe {
    fn allocate(&self, size: usize) -> Transfer {
        if size < WORTH_MAPPING {
            return Transfer::new(size);
        }
        let mut whole = self.endpoint().allocate(size);
        if !whole.is_zero_copy() {
            return Transfer::new(size);
        }
        let bytes = NonNull::from(whole.extend_fill(size, 0));
        let lender = Mapped { whole: Some(whole), short: Vec::new() };
        // SAFETY: the bytes were filled, and live until nusb's buffer is dropped, whose address never changes. While it is
        // in flight the transfer is in its shell.
        Transfer::with(unsafe { Buffer::lent(bytes, Box::new(lender)) })
    }

    fn submit(&mut self, transfer: Transfer) {
        let Transfer { buffer, length, packets, .. } = transfer;
        let (mut buffer, memory) = lend(buffer, length, self.is_in);
        if self.is_in {
            buffer.set_requested_len(length);
        }
        self.shells.push_back(Shell { memory, length, packets });
        self.endpoint().submit(buffer);
        if let Some(waker) = self.idle.take() {
            waker.wake();
        }
    }

    fn poll_complete(&mut self, cx: &mut Context<'_>) -> Poll<Transfer> {
        let waker = turn::waker(cx);
        let completion = {
            let mut endpoint = self.endpoint();
            match endpoint.pending() {
                0 => None,
                _ => Some(endpoint.poll_next_complete(&mut Context::from_waker(&waker))),
            }
        };
        match (completion, self.is_in) {
            (Some(Poll::Ready(completion)), _) => {
                let Some(shell) = self.shells.pop_front() else { return Poll::Pending };
                let transfer = shell.fill(completion);
                if let Some(reason) = transfer.status.err().and_then(lost_by) {
                    self.presence.set_lost(reason);
                }
                Poll::Ready(transfer)
            }
            (Some(Poll::Pending), _) if thread::has_ended() => self.lost().map_or(Poll::Pending, Poll::Ready),
            (Some(Poll::Pending), _) => Poll::Pending,
            (None, _) => match self.lost() {
                Some(lost) => Poll::Ready(lost),
                None => {
                    self.idle = Some(cx.waker().clone());
                    Poll::Pending
                }
            },
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
    /// The transfer as one of a device that has gone, in memory of its own: what nusb had stays with it.
    fn lose(self) -> Transfer {
        let size = match self.memory {
            Memory::Heap(size) => size,
            Memory::Mapped(buffer) => buffer.len(),
        };
        let transfer = Transfer { length: self.length, packets: self.packets, ..Transfer::new(size) };
        transfer.fail(TransferError::Disconnected)
    }

    fn fill(self, completion: Completion) -> Transfer {
        let Completion { buffer, actual_len, status } = completion;
        Transfer {
            buffer: self.memory.take_back(buffer),
            length: self.length,
            actual: actual_len,
            status: status.map_err(transfer_error),
            packets: self.packets,
        }
    }
}

/// Takes out of a buffer what nusb gets: `length` bytes to send, or all of its room.
fn lend(mut buffer: Buffer, length: usize, is_in: bool) -> (NusbBuffer, Memory) {
    let size = buffer.len();
    if let Some(mapped) = buffer.lender::<Mapped>() {
        if let Some(whole) = mapped.whole.take_if(|_| is_in || length == size) {
            return (whole, Memory::Mapped(buffer));
        }
        let mut short = std::mem::take(&mut mapped.short);
        short.clear();
        short.extend_from_slice(&buffer[..length]);
        return (short.into(), Memory::Mapped(buffer));
    }
    let mut bytes = buffer.into_vec();
    if !is_in {
        bytes.truncate(length);
    }
    (bytes.into(), Memory::Heap(size))
}

impl Memory {
    /// Puts what nusb had back where it was.
    fn take_back(self, lent: NusbBuffer) -> Buffer {
        match self {
            Self::Mapped(mut buffer) => {
                if let Some(mapped) = buffer.lender::<Mapped>() {
                    if lent.is_zero_copy() { mapped.whole = Some(lent) } else { mapped.short = lent.into_vec() }
                }
                buffer
            }
            Self::Heap(size) => {
                let mut bytes = lent.into_vec();
                debug_assert!(bytes.capacity() >= size);
                // SAFETY: the allocation is that of a boxed slice of `size` bytes, all of them initialised, which `lend`
                // took apart. nusb and the kernel only write into it, and neither makes it smaller. Filling it anew after
                // each short transfer would cost more than the transfer.
                unsafe { bytes.set_len(size) };
                bytes.into()
            }
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
        Theirs::Fault => TransferError::Io(errno::EPROTO),
        Theirs::InvalidArgument => TransferError::Invalid,
        Theirs::Unknown(code) => TransferError::Io(code as i32),
    }
}

/// Smaller transfers are copied: mapping takes whole pages, and copying them is cheap.
const WORTH_MAPPING: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usb::drain;
    use crate::usb::local::Hotplug;

    /// An endpoint that has forgotten what it was given.
    struct Forgetful;

    impl AnyEndpoint for Forgetful {
        fn allocate(&self, size: usize) -> NusbBuffer {
            NusbBuffer::new(size)
        }

        fn submit(&mut self, _: NusbBuffer) {}

        fn poll_next_complete(&mut self, _: &mut Context<'_>) -> Poll<Completion> {
            Poll::Pending
        }

        fn pending(&self) -> usize {
            0
        }

        fn cancel_all(&mut self) {}

        fn clear_halt(&mut self) -> BoxFuture<'static, Result<(), Error>> {
            Box::pin(async { Ok(()) })
        }
    }

    #[tokio::test]
    async fn transfers_that_nusb_does_not_have_come_back_as_disconnected() {
        let endpoint: SharedEndpoint = Box::new(Forgetful);
        let presence = Arc::new(Presence::new("/dev/null".into(), Hotplug::default()));
        let mut pipe = NusbPipe::new(Arc::new(Mutex::new(endpoint)), true, presence);
        for size in [64, 8192] {
            let transfer = pipe.allocate(size);
            pipe.submit(transfer);
        }
        let mut ends = Vec::new();
        drain(&mut pipe, |transfer| ends.push((transfer.buffer.len(), transfer.status))).await;
        assert_eq!(ends, [64, 8192].map(|size| (size, Err(TransferError::Disconnected))));
    }
}
