//! A device controller as [`usb_device`] sees it, and the wire to the simulated host behind it.
//!
//! One job: the endpoint buffers between firmware and host. It refuses to move a packet by itself: the host side
//! puts packets in, takes packets out and offers IN tokens; the firmware side is [`UsbBus`].
//!
//! ```text
//!  OUT buffer:  empty ──host put_out / put_setup──▶ full ──firmware read──▶ empty
//!                                                    └──host withdraw (NAK)──▶ empty
//!  IN buffer:   idle ──host offers a token──▶ token ──firmware write──▶ full ──host take_in──▶ idle
//! ```
//!
//! There is no IN buffer without a token: firmware that writes while nobody asks is told `WouldBlock`, so nothing
//! stale waits for a later reader. Endpoint 0 always has a token; its state machine needs no more.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use usb_device::bus::{PollResult, UsbBus};
use usb_device::endpoint::{EndpointAddress, EndpointType};
use usb_device::{Result, UsbDirection, UsbError};

/// The host's end of the wire.
#[derive(Clone, Default)]
pub(super) struct Wire(Arc<Mutex<State>>);

/// The firmware's end of the wire.
pub(super) struct Bus(Wire);

#[derive(Default)]
struct State {
    out: [Buffer; ENDPOINTS],
    into: [Buffer; ENDPOINTS],
    /// Endpoint 0 holds a setup packet rather than data.
    setup: bool,
    /// IN packets taken since the last poll, one bit per endpoint.
    taken: u16,
    reset: bool,
    detached: bool,
    /// The firmware's clock, and when it next wants to run: milliseconds since power-up.
    now: u64,
    deadline: Option<u64>,
}

#[derive(Default)]
struct Buffer {
    /// wMaxPacketSize; 0 for an endpoint that does not exist.
    max: u16,
    len: usize,
    bytes: PacketBytes,
    full: bool,
    token: bool,
    stalled: bool,
}

struct PacketBytes([u8; PACKET]);

impl Default for PacketBytes {
    fn default() -> Self {
        Self([0; PACKET])
    }
}

impl Wire {
    /// The other end.
    pub(super) fn bus(&self) -> Bus {
        Bus(self.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> u64 {
        self.state().now
    }

    pub(super) fn set_now(&self, now: u64) {
        self.state().now = now;
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        self.state().deadline
    }

    pub(super) fn set_deadline(&self, deadline: Option<u64>) {
        self.state().deadline = deadline;
    }

    /// Signals a bus reset.
    pub(super) fn reset(&self) {
        self.state().reset = true;
    }

    /// Whether the firmware has let go of the bus.
    pub(super) fn detached(&self) -> bool {
        self.state().detached
    }

    /// wMaxPacketSize.
    pub(super) fn max_packet(&self, endpoint: u8) -> usize {
        self.state().buffer(endpoint).max.into()
    }

    pub(super) fn stalled(&self, endpoint: u8) -> bool {
        self.state().buffer(endpoint).stalled
    }

    pub(super) fn stall(&self, endpoint: u8) {
        self.state().buffer(endpoint).stalled = true;
    }

    /// A setup packet: endpoint 0 forgets what was before (USB 2.0 section 8.5.3.4).
    pub(super) fn put_setup(&self, bytes: &[u8; 8]) {
        let mut state = self.state();
        for buffer in [0x00, 0x80] {
            let buffer = state.buffer(buffer);
            (buffer.stalled, buffer.full) = (false, false);
        }
        state.out[0].put(bytes);
        state.setup = true;
    }

    /// A data packet; it must not be longer than [`Wire::max_packet`].
    pub(super) fn put_out(&self, endpoint: u8, bytes: &[u8]) {
        self.state().out[number(endpoint)].put(bytes);
    }

    /// Takes an OUT packet back; false when the firmware has read it.
    pub(super) fn withdraw(&self, endpoint: u8) -> bool {
        let mut state = self.state();
        if endpoint == 0 {
            state.setup = false;
        }
        std::mem::take(&mut state.out[number(endpoint)].full)
    }

    pub(super) fn offer_token(&self, endpoint: u8, offered: bool) {
        self.state().into[number(endpoint)].token = offered;
    }

    /// Appends the packet that the firmware wrote; answers its length.
    pub(super) fn take_in(&self, endpoint: u8, into: &mut Vec<u8>) -> Option<usize> {
        let mut state = self.state();
        let buffer = &mut state.into[number(endpoint)];
        if !buffer.full {
            return None;
        }
        (buffer.full, buffer.token) = (false, false);
        let len = buffer.len;
        into.extend_from_slice(&buffer.bytes.0[..len]);
        state.taken |= 1 << number(endpoint);
        Some(len)
    }
}

impl State {
    fn buffer(&mut self, endpoint: u8) -> &mut Buffer {
        let side = if endpoint & 0x80 == 0 { &mut self.out } else { &mut self.into };
        &mut side[number(endpoint)]
    }
}

impl Buffer {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes.0[..bytes.len()].copy_from_slice(bytes);
        self.len = bytes.len();
        self.full = true;
    }
}

impl UsbBus for Bus {
    fn alloc_ep(
        &mut self,
        direction: UsbDirection,
        address: Option<EndpointAddress>,
        _kind: EndpointType,
        max_packet_size: u16,
        _interval: u8,
    ) -> Result<EndpointAddress> {
        let mut state = self.0.state();
        if usize::from(max_packet_size) > PACKET {
            return Err(UsbError::EndpointMemoryOverflow);
        }
        let free = |number: &usize, state: &mut State| {
            state.buffer(EndpointAddress::from_parts(*number, direction).into()).max == 0
        };
        let number = match address {
            Some(address) => {
                free(&address.index(), &mut state).then(|| address.index()).ok_or(UsbError::InvalidEndpoint)
            }
            None => (1..ENDPOINTS).find(|number| free(number, &mut state)).ok_or(UsbError::EndpointOverflow),
        }?;
        let address = EndpointAddress::from_parts(number, direction);
        state.buffer(address.into()).max = max_packet_size;
        Ok(address)
    }

    fn enable(&mut self) {}

    fn reset(&self) {
        let state = &mut *self.0.state();
        for buffer in state.out.iter_mut().chain(&mut state.into) {
            *buffer = Buffer { max: buffer.max, token: buffer.token, ..Buffer::default() };
        }
        (state.setup, state.taken) = (false, 0);
    }

    fn set_device_address(&self, _address: u8) {}

    fn write(&self, endpoint: EndpointAddress, bytes: &[u8]) -> Result<usize> {
        let mut state = self.0.state();
        let buffer = &mut state.into[endpoint.index()];
        if buffer.max == 0 {
            return Err(UsbError::InvalidEndpoint);
        }
        if buffer.full || buffer.stalled || !(buffer.token || endpoint.index() == 0) {
            return Err(UsbError::WouldBlock);
        }
        if bytes.len() > buffer.max.into() {
            return Err(UsbError::BufferOverflow);
        }
        buffer.put(bytes);
        Ok(bytes.len())
    }

    fn read(&self, endpoint: EndpointAddress, bytes: &mut [u8]) -> Result<usize> {
        let mut state = self.0.state();
        let buffer = &mut state.out[endpoint.index()];
        if buffer.max == 0 {
            return Err(UsbError::InvalidEndpoint);
        }
        if !buffer.full {
            return Err(UsbError::WouldBlock);
        }
        let len = buffer.len;
        bytes.get_mut(..len).ok_or(UsbError::BufferOverflow)?.copy_from_slice(&buffer.bytes.0[..len]);
        buffer.full = false;
        if endpoint.index() == 0 {
            state.setup = false;
        }
        Ok(len)
    }

    fn set_stalled(&self, endpoint: EndpointAddress, stalled: bool) {
        self.0.state().buffer(endpoint.into()).stalled = stalled;
    }

    fn is_stalled(&self, endpoint: EndpointAddress) -> bool {
        self.0.stalled(endpoint.into())
    }

    fn suspend(&self) {}

    fn resume(&self) {}

    fn poll(&self) -> PollResult {
        let mut state = self.0.state();
        if std::mem::take(&mut state.reset) {
            return PollResult::Reset;
        }
        let full = (0..ENDPOINTS).filter(|&n| state.out[n].full).fold(0u16, |bits, n| bits | 1 << n);
        let ep_setup = u16::from(state.setup);
        let (ep_out, ep_in_complete) = (full & !ep_setup, std::mem::take(&mut state.taken));
        if ep_out | ep_in_complete | ep_setup == 0 {
            return PollResult::None;
        }
        PollResult::Data { ep_out, ep_in_complete, ep_setup }
    }

    fn force_reset(&self) -> Result<()> {
        self.0.state().detached = true;
        Ok(())
    }
}

fn number(endpoint: u8) -> usize {
    usize::from(endpoint & 0x0f)
}

/// Endpoint numbers, USB 2.0 section 5.3.1.
const ENDPOINTS: usize = 16;
/// The largest packet of bulk and interrupt endpoints at full speed.
const PACKET: usize = 64;
