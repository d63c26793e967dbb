//! Reset sequences of development boards, as steps. It plays none: that takes a device.
//!
//! Timings are those of avrdude (arduino, wiring) and esptool (esp, the reset into the application).

use std::time::Duration;

/// One step of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Set both lines in one request.
    Lines {
        /// Data Terminal Ready.
        dtr: bool,
        /// Request To Send.
        rts: bool,
    },
    /// Let time pass.
    Wait(Duration),
    /// What the board sends from here on is of the program that begins.
    Begin,
}

/// The steps of the profile with this name. A board that had DTR on before keeps it on after `arduino` and `wiring`,
/// because lowering and raising it once more would be another reset.
pub fn profile(name: &str, dtr_was_on: bool) -> Option<Vec<Step>> {
    let lines = |dtr, rts| Step::Lines { dtr, rts };
    let pulse = |released: u64| {
        let released = Step::Wait(Duration::from_millis(released));
        let mut steps = vec![lines(false, false), released, lines(true, true), Step::Begin];
        if !dtr_was_on {
            steps.extend([Step::Wait(Duration::from_micros(100)), lines(false, false)]);
        }
        steps
    };
    match name {
        "arduino" => Some(pulse(250)),
        "wiring" => Some(pulse(50)),
        "esp" => {
            Some(vec![lines(false, true), Step::Wait(Duration::from_millis(100)), Step::Begin, lines(false, false)])
        }
        _ => None,
    }
}

/// What the kernel's port does to a board when an uploader opens it, and for `esp` what the uploader does then: the board
/// is in its bootloader afterwards. DTR stays on, except for `esp`.
pub fn upload(name: &str) -> Vec<Step> {
    let lines = |dtr, rts| Step::Lines { dtr, rts };
    match name {
        "esp" => vec![
            lines(false, true),
            Step::Wait(Duration::from_millis(100)),
            lines(true, false),
            Step::Wait(Duration::from_millis(50)),
            lines(false, false),
        ],
        other => profile(other, true).unwrap_or_default(),
    }
}

/// How the bootloader of an ESP is started by its lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EspBridge {
    /// A UART bridge whose lines reach EN and GPIO0 through two transistors.
    Uart,
    /// The chip's own USB-Serial-JTAG.
    UsbSerialJtag,
}

/// The steps that start the bootloader of an ESP, with the timings of esptool.
pub fn esp_bootloader(bridge: EspBridge) -> Vec<Step> {
    let lines = |dtr, rts| Step::Lines { dtr, rts };
    let wait = Step::Wait(Duration::from_millis(100));
    match bridge {
        EspBridge::Uart => upload("esp"),
        EspBridge::UsbSerialJtag => {
            vec![lines(false, false), wait, lines(true, false), wait, lines(false, true), wait, lines(false, false)]
        }
    }
}

/// The speed that asks a board with native USB for its bootloader once DTR is off.
pub const TOUCH_BAUD: u32 = 1200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PROFILES;

    #[test]
    fn every_profile_that_the_configuration_knows_has_steps() {
        for name in PROFILES {
            let steps = profile(name, false).unwrap_or_default();
            assert_eq!(steps.iter().filter(|step| **step == Step::Begin).count(), 1, "{name}");
        }
    }

    #[test]
    fn a_reset_raises_dtr_exactly_once() {
        for (name, was_on) in [("arduino", false), ("arduino", true), ("wiring", false), ("wiring", true)] {
            let mut dtr = was_on;
            let mut raised = 0;
            for step in profile(name, was_on).unwrap() {
                assert!(step != Step::Begin || raised == 1, "it begins when DTR goes on");
                if let Step::Lines { dtr: next, .. } = step {
                    raised += u32::from(next && !dtr);
                    dtr = next;
                }
            }
            assert_eq!(raised, 1);
            assert_eq!(dtr, was_on);
        }
    }
}
