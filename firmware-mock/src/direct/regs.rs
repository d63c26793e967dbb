//! `regs`: 256 byte-wide registers behind vendor requests.
//!
//! One job: the meaning of four vendor requests. It refuses, with a stall, whatever reaches past the registers.

use std::time::Duration;

use usbip_wire::Speed;

use super::{Behaviour, descriptor::Description};
use crate::function::{Control, Setup};

/// The registers; all zero at power-up.
pub(crate) struct Regs([u8; REGISTERS]);

impl Default for Regs {
    fn default() -> Self {
        Self([0; REGISTERS])
    }
}

impl Behaviour for Regs {
    const SPEED: Speed = Speed::Full;

    fn description() -> Description {
        Description::new(0x1209, 0x0004, "regs").interface(0, 0, &[])
    }

    fn vendor(&mut self, setup: Setup, data: &[u8]) -> Control {
        let from = usize::from(setup.index);
        match (setup.request_type, setup.request) {
            (0x40, WRITE) if data.len() <= WRITE_LIMIT => {
                let Some(registers) = self.0.get_mut(from..from + data.len()) else { return Control::Stall };
                registers.copy_from_slice(data);
                Control::Done(Vec::new())
            }
            (0xc0, READ) => {
                let Some(registers) = self.0.get(from..from + usize::from(setup.length)) else { return Control::Stall };
                Control::Done(registers.to_vec())
            }
            (_, WAIT) => Control::After(Duration::from_millis(setup.value.into())),
            _ => Control::Stall,
        }
    }
}

const REGISTERS: usize = 256;
const WRITE_LIMIT: usize = 64;
const WRITE: u8 = 1;
const READ: u8 = 2;
/// bRequest 3 is reserved for a stall; nothing needs to be said for that.
const WAIT: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(request_type: u8, request: u8, index: u16, length: u16) -> Setup {
        Setup { request_type, request, value: 0, index, length }
    }

    #[test]
    fn what_is_written_reads_back_and_the_edge_stalls() {
        let mut regs = Regs::default();
        assert_eq!(regs.vendor(setup(0x40, 1, 250, 6), &[1, 2, 3, 4, 5, 6]), Control::Done(vec![]));
        assert_eq!(regs.vendor(setup(0xc0, 2, 252, 2), &[]), Control::Done(vec![3, 4]));
        assert_eq!(regs.vendor(setup(0x40, 1, 251, 6), &[0; 6]), Control::Stall);
        assert_eq!(regs.vendor(setup(0xc0, 2, 0xffff, 2), &[]), Control::Stall);
        assert_eq!(regs.vendor(setup(0x40, 1, 0, 65), &[0; 65]), Control::Stall);
        assert_eq!(regs.vendor(setup(0xc0, 3, 0, 1), &[]), Control::Stall);
    }
}
