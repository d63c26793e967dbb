//! The bootloader of the leonardo: a CDC ACM port for two seconds.
//!
//! One job: answer `?` with `BOOT` and leave. It refuses everything else by ignoring it.

use usb_device::bus::{UsbBus, UsbBusAllocator};
use usb_device::device::UsbDevice;
use usbd_serial::CdcAcmClass;

use super::{BULK_PACKET, Firmware, Identity};

/// The firmware.
pub struct Bootloader<'a, B: UsbBus> {
    usb: UsbDevice<'a, B>,
    cdc: CdcAcmClass<'a, B>,
    /// Answers owed.
    owed: usize,
    now: u64,
}

impl<'a, B: UsbBus> Bootloader<'a, B> {
    /// The bootloader as it starts.
    pub fn new(alloc: &'a UsbBusAllocator<B>, identity: Identity<'a>) -> Self {
        let cdc = CdcAcmClass::new(alloc, BULK_PACKET as u16);
        Self { usb: identity.build(alloc), cdc, owed: 0, now: 0 }
    }
}

impl<B: UsbBus> Firmware for Bootloader<'_, B> {
    fn poll(&mut self, now: u64) {
        self.now = now;
        self.usb.poll(&mut [&mut self.cdc]);
        let mut packet = [0; BULK_PACKET];
        if self.owed == 0
            && let Ok(count) = self.cdc.read_packet(&mut packet)
        {
            self.owed = packet[..count].iter().filter(|&&byte| byte == b'?').count();
        }
        if self.owed > 0 && self.cdc.write_packet(b"BOOT\n").is_ok() {
            self.owed -= 1;
        }
        if now >= WINDOW_MS {
            // A bus that cannot let go leaves the board in its bootloader.
            let _ = self.usb.force_reset();
        }
    }

    fn deadline(&self) -> Option<u64> {
        (self.now < WINDOW_MS).then_some(WINDOW_MS)
    }
}

/// How long the bootloader waits before it starts the application.
const WINDOW_MS: u64 = 2000;
