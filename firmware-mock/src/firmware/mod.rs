//! The application code of the devices that run real firmware: `uno`, `leonardo` and its bootloader, `echo`, `knob`.
//!
//! One job: what such a device does, written against [`usb_device`]'s `UsbBus` alone, so that the same code would
//! run on a board: no allocation, no threads, time as a number of milliseconds. It refuses to know that the bus
//! is simulated.

mod bootloader;
mod echo;
mod fifo;
mod knob;
mod line;
mod serial;
mod sketch;

use usb_device::{
    bus::{UsbBus, UsbBusAllocator},
    device::{StringDescriptors, UsbDevice, UsbDeviceBuilder, UsbRev, UsbVidPid},
};

pub use self::{bootloader::Bootloader, echo::Echo, knob::Knob, serial::Serial, serial::Wiring};

/// A program in its main loop.
pub trait Firmware {
    /// One turn of the main loop at `now` milliseconds after power-up. Called after every bus event.
    fn poll(&mut self, now: u64);

    /// When a turn is due although nothing happens on the bus, in milliseconds after power-up; later than the
    /// last `now`.
    fn deadline(&self) -> Option<u64>;
}

/// Who a device says it is.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    /// idVendor and idProduct.
    pub ids: (u16, u16),
    /// bDeviceClass.
    pub class: u8,
    /// The product string.
    pub product: &'a str,
    /// The serial number, if it has one.
    pub serial: Option<&'a str>,
}

impl<'a> Identity<'a> {
    /// Builds the device; the classes must have been allocated before.
    fn build<B: UsbBus>(self, alloc: &'a UsbBusAllocator<B>) -> UsbDevice<'a, B> {
        let mut strings = StringDescriptors::default().manufacturer("usbpipe").product(self.product);
        if let Some(serial) = self.serial {
            strings = strings.serial_number(serial);
        }
        UsbDeviceBuilder::new(alloc, UsbVidPid(self.ids.0, self.ids.1))
            .strings(&[strings])
            .expect("one language is less than the limit of 16")
            .max_packet_size_0(64)
            .expect("64 is a packet size for endpoint 0")
            .usb_rev(UsbRev::Usb200)
            .device_class(self.class)
            .device_release(0x0100)
            .build()
    }
}

/// bDeviceClass of a CDC device.
pub const CLASS_CDC: u8 = 0x02;
/// bDeviceClass of a vendor-specific device.
pub const CLASS_VENDOR: u8 = 0xff;
/// wMaxPacketSize of the bulk endpoints at full speed.
const BULK_PACKET: usize = 64;
