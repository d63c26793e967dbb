//! `echo`: a CDC ACM port that sends back every byte.
//!
//! One job: bytes in, the same bytes out. It refuses to lose any: while its queue is full it does not read.

use usb_device::bus::{UsbBus, UsbBusAllocator};
use usb_device::device::UsbDevice;
use usbd_serial::CdcAcmClass;

use super::{BULK_PACKET, Firmware, Identity, fifo::Fifo};

/// The firmware.
pub struct Echo<'a, B: UsbBus> {
    usb: UsbDevice<'a, B>,
    cdc: CdcAcmClass<'a, B>,
    bytes: Fifo<4096>,
    /// The last packet was full: without a shorter one the host would go on waiting for more.
    zlp_due: bool,
}

impl<'a, B: UsbBus> Echo<'a, B> {
    /// The device at power-up.
    pub fn new(alloc: &'a UsbBusAllocator<B>, identity: Identity<'a>) -> Self {
        let cdc = CdcAcmClass::new(alloc, BULK_PACKET as u16);
        Self { usb: identity.build(alloc), cdc, bytes: Fifo::new(), zlp_due: false }
    }

    fn read(&mut self) {
        let mut packet = [0; BULK_PACKET];
        while self.bytes.room() >= BULK_PACKET {
            let Ok(count) = self.cdc.read_packet(&mut packet) else { return };
            self.bytes.push(&packet[..count]);
        }
    }

    /// Sends one packet if the bus takes one now.
    fn write(&mut self) {
        let mut packet = [0; BULK_PACKET];
        let count = self.bytes.peek(&mut packet);
        if (count > 0 || self.zlp_due) && self.cdc.write_packet(&packet[..count]).is_ok() {
            self.bytes.drop_front(count);
            self.zlp_due = count == BULK_PACKET;
        }
    }
}

impl<B: UsbBus> Firmware for Echo<'_, B> {
    fn poll(&mut self, _now: u64) {
        self.usb.poll(&mut [&mut self.cdc]);
        self.read();
        self.write();
    }

    fn deadline(&self) -> Option<u64> {
        None
    }
}
