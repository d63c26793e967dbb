//! Requests to `serial.ctl`: line control as text. Touches no line itself.

use std::fmt;
use std::time::Duration;

use super::RequestError;
use super::words::Words;
use crate::config::{Flow, PROFILES, SerialMode};

/// One request to a serial function. Printing a parsed request parses back to the same request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SerialRequest {
    /// Speed in bits a second, never 0.
    Baud(u32),
    /// Data bits, parity and stop bits.
    Mode(SerialMode),
    /// Flow control.
    Flow(Flow),
    /// Data Terminal Ready.
    Dtr(Line),
    /// Request To Send.
    Rts(Line),
    /// Send a break of this length, whole milliseconds from 1 ms to 1 min.
    Break(Duration),
    /// Reset the board by its lines, the way of the named profile or of the configured one.
    Reset(Option<String>),
    /// Open and close at 1200 baud, which sends some boards into their bootloader.
    Touch,
    /// Tell the state of the lines.
    Lines,
    /// Let go of the port until [`SerialRequest::Reclaim`].
    Release,
    /// Take the port back.
    Reclaim,
}

/// What to do with a control line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// Assert it.
    On,
    /// Deassert it.
    Off,
    /// Assert it for this long, whole milliseconds from 1 ms to 1 min, then deassert it.
    Pulse(Duration),
}

impl SerialRequest {
    /// Reads one line; its line end and blanks around words do not matter.
    ///
    /// # Errors
    /// `invalid`, with the column where it is about one word.
    pub fn parse(line: &str) -> Result<Self, RequestError> {
        let mut words = Words::new(line);
        let verb = words.next().ok_or_else(|| RequestError::invalid(format!("empty line; write {VERBS}")))?;
        let request = match verb {
            "baud" => Self::Baud(parse_baud(&mut words)?),
            "mode" => Self::Mode(parse_mode(&mut words)?),
            "flow" => Self::Flow(parse_flow(&mut words)?),
            "dtr" => Self::Dtr(parse_line(&mut words, "dtr on, dtr off or dtr pulse MS")?),
            "rts" => Self::Rts(parse_line(&mut words, "rts on, rts off or rts pulse MS")?),
            "break" => Self::Break(parse_time(&mut words, "break MS")?),
            "reset" => Self::Reset(parse_profile(&mut words)?),
            "touch" => Self::Touch,
            "lines" => Self::Lines,
            "release" => Self::Release,
            "reclaim" => Self::Reclaim,
            _ => return Err(words.refuse(format!("no such request; write {VERBS}"))),
        };
        words.end().map(|()| request)
    }
}

impl fmt::Display for SerialRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Baud(baud) => write!(f, "baud {baud}"),
            Self::Mode(mode) => write!(f, "mode {mode}"),
            Self::Flow(flow) => write!(f, "flow {flow}"),
            Self::Dtr(line) => write!(f, "dtr {line}"),
            Self::Rts(line) => write!(f, "rts {line}"),
            Self::Break(time) => write!(f, "break {}", time.as_millis()),
            Self::Reset(None) => f.write_str("reset"),
            Self::Reset(Some(profile)) => write!(f, "reset {profile}"),
            Self::Touch => f.write_str("touch"),
            Self::Lines => f.write_str("lines"),
            Self::Release => f.write_str("release"),
            Self::Reclaim => f.write_str("reclaim"),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::On => f.write_str("on"),
            Self::Off => f.write_str("off"),
            Self::Pulse(time) => write!(f, "pulse {}", time.as_millis()),
        }
    }
}

fn parse_baud(words: &mut Words<'_>) -> Result<u32, RequestError> {
    words.expect_form("baud N");
    match words.number("the speed", u64::from(u32::MAX))? {
        0 => Err(words.refuse("the speed must be at least 1; write for example baud 115200")),
        baud => Ok(baud),
    }
}

fn parse_mode(words: &mut Words<'_>) -> Result<SerialMode, RequestError> {
    words.expect_form("mode 8N1");
    let word = words.word("the mode")?;
    word.parse::<SerialMode>().map_err(|why| words.refuse(why))
}

fn parse_flow(words: &mut Words<'_>) -> Result<Flow, RequestError> {
    words.expect_form(FLOW);
    match words.word("the flow control")? {
        "none" => Ok(Flow::None),
        "rtscts" => Ok(Flow::RtsCts),
        "xonxoff" => Ok(Flow::XonXoff),
        _ => Err(words.refuse(format!("write {FLOW}"))),
    }
}

fn parse_line(words: &mut Words<'_>, form: &'static str) -> Result<Line, RequestError> {
    words.expect_form(form);
    match words.word("what to do")? {
        "on" => Ok(Line::On),
        "off" => Ok(Line::Off),
        "pulse" => parse_time(words, form).map(Line::Pulse),
        _ => Err(words.refuse(format!("write {form}"))),
    }
}

fn parse_time(words: &mut Words<'_>, form: &'static str) -> Result<Duration, RequestError> {
    words.expect_form(form);
    match words.number("the time in milliseconds", MAX_MS)? {
        0 => Err(words.refuse(format!("the time must be 1 to {MAX_MS} milliseconds"))),
        ms => Ok(Duration::from_millis(ms)),
    }
}

fn parse_profile(words: &mut Words<'_>) -> Result<Option<String>, RequestError> {
    words.expect_form("reset [PROFILE]");
    match words.next() {
        Some(word) if !PROFILES.contains(&word) => {
            Err(words.refuse(format!("no such profile; write {}", PROFILES.join(", "))))
        }
        word => Ok(word.map(str::to_owned)),
    }
}

/// A minute: longer than any board needs, short enough not to look like a hang.
const MAX_MS: u64 = 60_000;
const FLOW: &str = "flow none, flow rtscts or flow xonxoff";
const VERBS: &str = "baud, mode, flow, dtr, rts, break, reset, touch, lines, release or reclaim";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(line: &str) -> SerialRequest {
        SerialRequest::parse(line).unwrap()
    }

    fn refusal(line: &str) -> String {
        SerialRequest::parse(line).unwrap_err().text
    }

    #[test]
    fn every_request_of_the_contract_is_understood() {
        assert_eq!(parse("baud 115200\r\n"), SerialRequest::Baud(115_200));
        assert_eq!(parse("mode 8N1"), SerialRequest::Mode("8N1".parse().unwrap()));
        assert_eq!(parse("flow none"), SerialRequest::Flow(Flow::None));
        assert_eq!(parse("flow rtscts"), SerialRequest::Flow(Flow::RtsCts));
        assert_eq!(parse("flow xonxoff"), SerialRequest::Flow(Flow::XonXoff));
        assert_eq!(parse("dtr on"), SerialRequest::Dtr(Line::On));
        assert_eq!(parse("rts off"), SerialRequest::Rts(Line::Off));
        assert_eq!(parse("dtr pulse 50"), SerialRequest::Dtr(Line::Pulse(Duration::from_millis(50))));
        assert_eq!(parse("break 250"), SerialRequest::Break(Duration::from_millis(250)));
        assert_eq!(parse("reset"), SerialRequest::Reset(None));
        assert_eq!(parse("reset esp"), SerialRequest::Reset(Some("esp".into())));
        assert_eq!(parse("touch"), SerialRequest::Touch);
        assert_eq!(parse(" lines "), SerialRequest::Lines);
        assert_eq!(parse("release"), SerialRequest::Release);
        assert_eq!(parse("reclaim"), SerialRequest::Reclaim);
    }

    #[test]
    fn times_and_speeds_have_limits() {
        for line in ["baud 0", "baud 4294967296", "break 0", "break 60001", "dtr pulse 0", "rts pulse 60001"] {
            assert!(refusal(line).contains("must be"), "{line}: {}", refusal(line));
        }
        parse("baud 4294967295");
        parse("break 60000");
    }

    #[test]
    fn a_speed_of_zero_in_hex_is_refused_too() {
        assert!(refusal("baud 0x0").contains("at least 1"));
    }

    #[test]
    fn refusals_show_the_form() {
        assert_eq!(refusal("dtr"), "what to do is missing; write dtr on, dtr off or dtr pulse MS");
        assert_eq!(refusal("rts high"), "column 5: `high`: write rts on, rts off or rts pulse MS");
        assert_eq!(refusal("flow hard"), "column 6: `hard`: write flow none, flow rtscts or flow xonxoff");
        assert!(refusal("reset uno").contains("arduino, wiring, esp"));
        assert!(refusal("mode 9N1").contains("8N1"));
        assert!(refusal("touch me").contains("too much"));
        assert!(refusal("").contains("baud, mode"));
    }

    proptest! {
        #[test]
        fn any_line_parses_or_fails_and_what_parses_prints_back(
            line in prop_oneof![
                any::<String>(),
                "(baud|break) [0-9]{0,11}",
                "(dtr|rts) (on|off|pulse|high)( [0-9]{1,6})?",
                "mode [4-9][NOEMSX](1|1.5|2)",
                "flow (none|rtscts|xonxoff|x)?",
                "(reset|touch|lines|release|reclaim)( arduino| wiring| esp| x)?",
            ],
        ) {
            if let Ok(request) = SerialRequest::parse(&line) {
                prop_assert_eq!(SerialRequest::parse(&request.to_string()), Ok(request));
            }
        }
    }
}
