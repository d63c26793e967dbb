//! `tone`: an isochronous source of 48 kHz stereo samples and an isochronous sink that remembers a checksum.
//!
//! One job: the contents of one packet each way. It refuses to know time: frames, pacing and the discovery of
//! gaps belong to [`crate::port`].

use std::f64::consts::TAU;
use std::sync::OnceLock;

use usbip_wire::Speed;

use super::{Behaviour, descriptor::Description};
use crate::function::{Control, Setup};

/// Position of the source, record of the sink.
#[derive(Default)]
pub(crate) struct Tone {
    /// Samples since power-up; the left channel is its low half.
    sample: u64,
    received: Received,
}

#[derive(Default)]
struct Received {
    packets: u32,
    bytes: u32,
    gaps: u32,
    crc: crc32fast::Hasher,
}

impl Behaviour for Tone {
    const SPEED: Speed = Speed::High;

    fn description() -> Description {
        // bInterval 4 at high speed is every eighth microframe, one millisecond (USB 2.0 section 9.6.6).
        let endpoints = [(0x83, 0x05, PACKET as u16, 4), (0x03, 0x05, PACKET as u16, 4)];
        Description::new(0x1209, 0x0003, "tone").interface(0, 0, &[]).interface(1, 0, &[]).interface(1, 1, &endpoints)
    }

    fn vendor(&mut self, setup: Setup, _data: &[u8]) -> Control {
        match (setup.request_type, setup.request) {
            (0xc0, REPORT) => Control::Done(self.received.report()),
            (0x40, CLEAR) => {
                self.received = Received::default();
                Control::Done(Vec::new())
            }
            _ => Control::Stall,
        }
    }

    fn iso_in(&mut self, buffer: &mut Vec<u8>) {
        for _ in 0..SAMPLES {
            let left = self.sample as u16;
            let right = sine()[(self.sample % SAMPLES) as usize];
            buffer.extend(left.to_le_bytes());
            buffer.extend(right.to_le_bytes());
            self.sample += 1;
        }
    }

    fn iso_out(&mut self, data: &[u8]) {
        self.received.packets = self.received.packets.wrapping_add(1);
        self.received.bytes = self.received.bytes.wrapping_add(data.len() as u32);
        self.received.crc.update(data);
    }

    fn iso_gap(&mut self, endpoint: u8, frames: u64) {
        match endpoint {
            0x83 => self.sample += frames * SAMPLES,
            _ => self.received.gaps = self.received.gaps.saturating_add(u32::try_from(frames).unwrap_or(u32::MAX)),
        }
    }
}

impl Received {
    fn report(&self) -> Vec<u8> {
        [self.packets, self.bytes, self.gaps, self.crc.clone().finalize()]
            .into_iter()
            .flat_map(u32::to_le_bytes)
            .collect()
    }
}

/// One period of 1 kHz: exactly one frame long.
fn sine() -> &'static [i16; SAMPLES as usize] {
    static TABLE: OnceLock<[i16; SAMPLES as usize]> = OnceLock::new();
    TABLE.get_or_init(|| std::array::from_fn(|i| ((TAU * i as f64 / SAMPLES as f64).sin() * AMPLITUDE) as i16))
}

/// Bytes a frame: 48 samples of two channels of two bytes.
const PACKET: usize = 192;
/// Samples a frame at 48 kHz.
const SAMPLES: u64 = 48;
const AMPLITUDE: f64 = 16_000.0;
const REPORT: u8 = 1;
const CLEAR: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_frame_is_a_jump_of_48_samples() {
        let mut tone = Tone::default();
        let mut buffer = Vec::new();
        tone.iso_in(&mut buffer);
        tone.iso_gap(0x83, 2);
        tone.iso_in(&mut buffer);
        assert_eq!(buffer.len(), 2 * PACKET);
        assert_eq!(buffer[PACKET - 4..][..2], 47u16.to_le_bytes());
        assert_eq!(buffer[PACKET..][..2], 144u16.to_le_bytes());
    }

    #[test]
    fn the_sink_reports_what_it_got_until_it_is_cleared() {
        let mut tone = Tone::default();
        tone.iso_out(b"1234");
        tone.iso_out(b"56789");
        tone.iso_gap(0x03, 7);
        let ask = Setup { request_type: 0xc0, request: REPORT, value: 0, index: 0, length: 16 };
        let expected: Vec<u8> = [2u32, 9, 7, 0xcbf4_3926].into_iter().flat_map(u32::to_le_bytes).collect();
        assert_eq!(tone.vendor(ask, &[]), Control::Done(expected));
        tone.vendor(Setup { request_type: 0x40, request: CLEAR, ..ask }, &[]);
        assert_eq!(tone.vendor(ask, &[]), Control::Done(vec![0; 16]));
    }
}
