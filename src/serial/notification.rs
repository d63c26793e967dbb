//! What a serial function reports by itself: SERIAL_STATE, PSTN 1.2, 6.5.4.

/// The lines and conditions that a device reports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SerialState {
    /// Data Carrier Detect.
    pub dcd: bool,
    /// Data Set Ready.
    pub dsr: bool,
    /// A break was received.
    pub break_received: bool,
    /// Ring Indicator.
    pub ring: bool,
    /// A character came with a wrong stop bit.
    pub framing_error: bool,
    /// A character came with wrong parity.
    pub parity_error: bool,
    /// Characters were lost in the device.
    pub overrun: bool,
}

/// Reads a notification; `None` when it is another one, or none at all.
pub fn parse_notification(raw: &[u8]) -> Option<SerialState> {
    let (&[0xa1, 0x20, _, _, _, _, length, 0], data) = raw.split_first_chunk::<8>()? else { return None };
    let &[low, high] = data.first_chunk::<2>().filter(|_| length >= 2)?;
    let bits = u16::from_le_bytes([low, high]);
    Some(SerialState {
        dcd: bits & 0x01 != 0,
        dsr: bits & 0x02 != 0,
        break_received: bits & 0x04 != 0,
        ring: bits & 0x08 != 0,
        framing_error: bits & 0x10 != 0,
        parity_error: bits & 0x20 != 0,
        overrun: bits & 0x40 != 0,
    })
}

impl SerialState {
    /// What went wrong on the line, in words; empty when nothing did.
    pub fn complaints(&self) -> Vec<&'static str> {
        let all = [
            (self.break_received, "break received"),
            (self.framing_error, "framing error: check baud and mode"),
            (self.parity_error, "parity error: check mode"),
            (self.overrun, "overrun: the device lost characters"),
        ];
        all.iter().filter(|(set, _)| *set).map(|(_, words)| *words).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_serial_state_notification_is_read() {
        let state = parse_notification(&[0xa1, 0x20, 0, 0, 0, 0, 2, 0, 0x43, 0]).unwrap();
        assert!(state.dcd && state.dsr && state.overrun && !state.ring);
        assert_eq!(state.complaints(), ["overrun: the device lost characters"]);
        assert_eq!(parse_notification(&[0xa1, 0x20, 0, 0, 0, 0, 2, 0, 0x43]), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(raw in prop::collection::vec(any::<u8>(), 0..20)) {
            let _ = parse_notification(&raw);
        }
    }
}
