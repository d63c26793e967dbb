//! The command interpreter of the simulated Arduino boards.
//!
//! One job: one line in, one answer out. It refuses to know where lines come from and when answers leave.
//!
//! | line | answer |
//! |---|---|
//! | `PING x` | `PONG x` |
//! | `LED ON`, `LED OFF` | the same |
//! | `SUM a b …` | `SUM n` (64 bit, wrapping), `ERR not a number: a` |
//! | `STATUS` | `STATUS led=on\|off baud=N dtr=0\|1 resets=N` |
//! | anything else | `ERR unknown: …` |

use core::fmt::Write;

use super::{
    fifo::Fifo,
    line::{LINE_LIMIT, Line},
};

/// The most bytes an answer has: a whole line and a word before it.
pub(super) const ANSWER_LIMIT: usize = LINE_LIMIT + 32;

/// What `STATUS` tells of the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LineState {
    /// dwDTERate.
    pub(super) baud: u32,
    /// Data terminal ready.
    pub(super) dtr: bool,
}

/// What the board remembers between lines.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sketch {
    led: bool,
    resets: u32,
}

impl Sketch {
    /// The reset button, or DTR through the capacitor.
    pub(super) fn reset(&mut self) {
        self.led = false;
        self.resets = self.resets.wrapping_add(1);
    }

    /// Answers a line. `out` must have room for [`ANSWER_LIMIT`]; what does not fit is cut.
    pub(super) fn answer<const N: usize>(&mut self, line: &Line<'_>, state: LineState, out: &mut Fifo<N>) {
        let Line::Complete(line) = line else {
            out.push(b"ERR line too long\n");
            return;
        };
        let (word, rest) = match line.iter().position(|&b| b == b' ') {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (*line, &[][..]),
        };
        match (word, rest) {
            (b"PING", rest) => {
                out.push(b"PONG");
                if word.len() < line.len() {
                    out.push(b" ");
                }
                out.push(rest);
            }
            (b"LED", b"ON" | b"OFF") => {
                self.led = rest == b"ON";
                out.push(line);
            }
            (b"SUM", numbers) => sum(numbers, out),
            (b"STATUS", b"") => self.status(state, out),
            _ => {
                out.push(b"ERR unknown: ");
                push_printable(line, out);
            }
        }
        out.push(b"\n");
    }

    fn status<const N: usize>(&self, state: LineState, out: &mut Fifo<N>) {
        let led = if self.led { "on" } else { "off" };
        let LineState { baud, dtr } = state;
        // The caller left room, and an answer cut short is all that could happen otherwise.
        let _ = write!(out, "STATUS led={led} baud={baud} dtr={} resets={}", u8::from(dtr), self.resets);
    }
}

fn sum<const N: usize>(numbers: &[u8], out: &mut Fifo<N>) {
    let mut total = 0i64;
    for word in numbers.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
        match core::str::from_utf8(word).ok().and_then(|word| word.parse::<i64>().ok()) {
            Some(number) => total = total.wrapping_add(number),
            None => {
                out.push(b"ERR not a number: ");
                push_printable(word, out);
                return;
            }
        }
    }
    // As above: the caller left room.
    let _ = write!(out, "SUM {total}");
}

/// Echoes what a terminal can show; anything else becomes a question mark.
fn push_printable<const N: usize>(bytes: &[u8], out: &mut Fifo<N>) {
    for &byte in bytes {
        out.push(&[if byte == b' ' || byte.is_ascii_graphic() { byte } else { b'?' }]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STATE: LineState = LineState { baud: 115_200, dtr: true };

    fn ask(sketch: &mut Sketch, line: &[u8]) -> String {
        let mut out = Fifo::<{ ANSWER_LIMIT }>::new();
        sketch.answer(&Line::Complete(line), STATE, &mut out);
        let mut bytes = [0; ANSWER_LIMIT];
        let count = out.peek(&mut bytes);
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    }

    #[test]
    fn every_command_has_the_answer_of_the_contract() {
        let mut sketch = Sketch::default();
        for (line, answer) in [
            ("PING x y", "PONG x y\n"),
            ("PING", "PONG\n"),
            ("LED ON", "LED ON\n"),
            ("SUM 1 -2 40", "SUM 39\n"),
            ("SUM", "SUM 0\n"),
            ("SUM 9223372036854775807 1", "SUM -9223372036854775808\n"),
            ("SUM 1 x2", "ERR not a number: x2\n"),
            ("STATUS", "STATUS led=on baud=115200 dtr=1 resets=0\n"),
            ("LED OFF", "LED OFF\n"),
            ("LED BLUE", "ERR unknown: LED BLUE\n"),
            ("", "ERR unknown: \n"),
            ("ping", "ERR unknown: ping\n"),
        ] {
            assert_eq!(ask(&mut sketch, line.as_bytes()), answer);
        }
    }

    #[test]
    fn a_reset_turns_the_led_off_and_is_counted() {
        let mut sketch = Sketch::default();
        ask(&mut sketch, b"LED ON");
        sketch.reset();
        assert_eq!(ask(&mut sketch, b"STATUS"), "STATUS led=off baud=115200 dtr=1 resets=1\n");
    }

    proptest! {
        #[test]
        fn any_line_gets_exactly_one_answer_that_fits(line in prop::collection::vec(any::<u8>(), 0..=LINE_LIMIT)) {
            prop_assume!(!line.contains(&b'\n'));
            let mut out = Fifo::<{ ANSWER_LIMIT + 1 }>::new();
            Sketch::default().answer(&Line::Complete(&line), STATE, &mut out);
            let mut bytes = [0; ANSWER_LIMIT + 1];
            let count = out.peek(&mut bytes);
            prop_assert!(count <= ANSWER_LIMIT);
            prop_assert_eq!(bytes[..count].iter().filter(|&&b| b == b'\n').count(), 1);
            prop_assert_eq!(bytes[count - 1], b'\n');
        }
    }
}
