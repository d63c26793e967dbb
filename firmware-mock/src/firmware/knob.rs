//! `knob`: a turning knob with buttons that reports every 10 ms.
//!
//! One job: the contents and the schedule of its reports. It refuses to send two in one interval, and to count a
//! report that nobody fetched.
//!
//! The schedule is a grid of 10 ms. A report fetched late in its interval does not move the grid; after a pause
//! of a whole interval the grid begins anew with the next fetch.

use usb_device::Result;
use usb_device::class_prelude::{
    DescriptorWriter, EndpointIn, EndpointOut, EndpointType, InterfaceNumber, UsbBus, UsbBusAllocator, UsbClass,
};
use usb_device::device::UsbDevice;

use super::{CLASS_VENDOR, Firmware, Identity};

/// The firmware.
pub struct Knob<'a, B: UsbBus> {
    usb: UsbDevice<'a, B>,
    class: KnobClass<'a, B>,
    counter: u32,
    buttons: u8,
    /// When the next report may go, in milliseconds.
    due: u64,
    now: u64,
}

struct KnobClass<'a, B: UsbBus> {
    interface: InterfaceNumber,
    reports: EndpointIn<'a, B>,
    commands: EndpointOut<'a, B>,
}

impl<'a, B: UsbBus> Knob<'a, B> {
    /// The device at power-up.
    ///
    /// # Panics
    /// If the bus has no interrupt endpoint 1 in each direction.
    pub fn new(alloc: &'a UsbBusAllocator<B>, identity: Identity<'a>) -> Self {
        let interrupt = EndpointType::Interrupt;
        let class = KnobClass {
            interface: alloc.interface(),
            reports: alloc
                .alloc(Some(0x81.into()), interrupt, REPORT as u16, INTERVAL_MS as u8)
                .expect("endpoint 0x81 is free"),
            commands: alloc
                .alloc(Some(0x01.into()), interrupt, REPORT as u16, INTERVAL_MS as u8)
                .expect("endpoint 0x01 is free"),
        };
        Self { usb: identity.build(alloc), class, counter: 0, buttons: 0, due: 0, now: 0 }
    }

    fn report(&self) -> [u8; REPORT] {
        let mut report = [0; REPORT];
        report[..4].copy_from_slice(&self.counter.to_le_bytes());
        report[4..6].copy_from_slice(&position(self.counter).to_le_bytes());
        report[6] = self.buttons;
        report
    }
}

impl<B: UsbBus> Firmware for Knob<'_, B> {
    fn poll(&mut self, now: u64) {
        self.now = now;
        self.usb.poll(&mut [&mut self.class]);
        let mut command = [0; REPORT];
        while let Ok(count) = self.class.commands.read(&mut command) {
            if count > 0 {
                self.buttons = command[0];
            }
        }
        if now >= self.due && self.class.reports.write(&self.report()).is_ok() {
            self.counter = self.counter.wrapping_add(1);
            let on_schedule = now < self.due + INTERVAL_MS;
            self.due = if on_schedule { self.due } else { now } + INTERVAL_MS;
        }
    }

    fn deadline(&self) -> Option<u64> {
        (self.due > self.now).then_some(self.due)
    }
}

impl<B: UsbBus> UsbClass<B> for KnobClass<'_, B> {
    fn get_configuration_descriptors(&self, writer: &mut DescriptorWriter) -> Result<()> {
        writer.interface(self.interface, CLASS_VENDOR, 0, 0)?;
        writer.endpoint(&self.reports)?;
        writer.endpoint(&self.commands)
    }
}

/// A triangle between -500 and 500 with a period of 400 reports.
fn position(counter: u32) -> i16 {
    let phase = (counter % 400) as i16;
    if phase < 200 { phase * 5 - 500 } else { 1500 - phase * 5 }
}

/// Bytes in a report and in a packet of both endpoints.
const REPORT: usize = 8;
/// bInterval of both endpoints at full speed.
const INTERVAL_MS: u64 = 10;

#[cfg(test)]
mod tests {
    use super::position;

    #[test]
    fn the_knob_turns_without_jumping() {
        for counter in 0..1000 {
            assert!((position(counter) - position(counter + 1)).abs() <= 5);
            assert!(position(counter).abs() <= 500);
        }
    }
}
