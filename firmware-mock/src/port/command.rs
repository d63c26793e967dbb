//! Faults applied to a port.
//!
//! One job: check a fault against the device it is meant for and let it happen. It refuses endpoints that the
//! device does not have, and says which it has.

use std::time::Instant;

use super::{Port, index};
use crate::fault::Fault;
use crate::function::Cause;
use crate::outbox::Outbox;

use usbip_wire::Direction;

impl Port {
    /// Lets the fault happen. `out` is the connection's outbox if there is one; lies wait for the next otherwise.
    ///
    /// # Errors
    /// A text for people when the device has no such endpoint.
    pub(crate) fn apply(&mut self, fault: Fault, now: Instant, out: Option<&mut Outbox>) -> Result<(), String> {
        self.advance(now);
        match fault {
            Fault::Unplug(time) => self.leave(now + time, Cause::Plug),
            Fault::Cut(time) => self.cut(now + time),
            Fault::Stall(0x00 | 0x80) => self.device.refusals += 1,
            Fault::Stall(endpoint) => {
                self.find(endpoint)?;
                self.device.function.halt(endpoint);
            }
            Fault::Delay(endpoint, time) => self.delay[self.find(endpoint)?] = time,
            Fault::Short(endpoint, bytes) => {
                let index = self.find(endpoint)?;
                if index != 0 && endpoint & 0x80 == 0 {
                    return Err(format!("{endpoint:#04x} is an OUT endpoint, and short cuts IN transfers"));
                }
                self.device.short[index] = bytes;
            }
            Fault::Babble(endpoint, count) => {
                let index = self.find(endpoint)?;
                if index == 0 || endpoint & 0x80 == 0 {
                    return Err(format!("{endpoint:#04x} is no IN endpoint with transfers that could be too long"));
                }
                self.device.babbles[index] = count;
            }
            Fault::Lie(lie) => match out {
                Some(out) => out.lie(lie),
                None => self.lies.push(lie),
            },
        }
        Ok(())
    }

    /// The index of an endpoint in any of the device's settings.
    fn find(&self, endpoint: u8) -> Result<usize, String> {
        let direction = if endpoint & 0x80 == 0 { Direction::Out } else { Direction::In };
        let endpoints = &self.device.info.endpoints;
        if endpoint & 0x7f == 0 || endpoints.iter().any(|known| known.address == endpoint) {
            return Ok(index(direction, endpoint));
        }
        let known: Vec<String> = endpoints.iter().map(|known| format!(", {:#04x}", known.address)).collect();
        Err(format!("no endpoint {endpoint:#04x}; there are 0x00{}", known.concat()))
    }
}
