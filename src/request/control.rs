//! Requests to the control pipe: the text of `ep_00.request` and the messages of `ep_00.sock`. Sends nothing itself.

use std::fmt;

use super::words::Words;
use super::{RequestError, hex};

/// One request to the default control pipe. Printing a parsed request parses back to the same request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlRequest {
    /// A control transfer from the device, its fields as in USB 2.0 §9.3. Bit 7 of `request_type` is set.
    In {
        /// bmRequestType.
        request_type: u8,
        /// bRequest.
        request: u8,
        /// wValue.
        value: u16,
        /// wIndex.
        index: u16,
        /// wLength: the most bytes that the device may answer.
        length: u16,
    },
    /// A control transfer to the device. Bit 7 of `request_type` is clear.
    Out {
        /// bmRequestType.
        request_type: u8,
        /// bRequest.
        request: u8,
        /// wValue.
        value: u16,
        /// wIndex.
        index: u16,
        /// The data stage, at most 65535 bytes; its length is wLength.
        data: Vec<u8>,
    },
    /// Read a descriptor.
    Descriptor(DescriptorKind),
    /// End the halt of the endpoint with this address, on both sides.
    ClearHalt(u8),
    /// Choose an alternate setting.
    Alt {
        /// bInterfaceNumber.
        interface: u8,
        /// bAlternateSetting.
        setting: u8,
    },
    /// Reset the device's port.
    Reset,
    /// Tell the state of the device and its pipes.
    Status,
}

/// Which descriptor to read, USB 2.0 §9.6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DescriptorKind {
    /// The device descriptor.
    Device,
    /// The configuration descriptor with this index, counted from 0, with all that belongs to it.
    Config(u8),
    /// The string descriptor with this index; 0 is the list of languages.
    String(u8),
}

/// Longest accepted line in bytes: OUT data of 65535 bytes with a blank after each, and the words before it.
pub const MAX_LINE: usize = 3 * 65535 + 256;

impl ControlRequest {
    /// Reads one line; its line end and blanks around words do not matter.
    ///
    /// # Errors
    /// `invalid` with the column where it is about one word, and `denied` for SET_ADDRESS and SET_CONFIGURATION.
    pub fn parse(line: &str) -> Result<Self, RequestError> {
        if line.len() > MAX_LINE {
            return Err(RequestError::invalid(format!("line of {} bytes; at most {MAX_LINE} are taken", line.len())));
        }
        let mut words = Words::new(line);
        let verb = words.next().ok_or_else(|| RequestError::invalid(format!("empty line; write {VERBS}")))?;
        let request = match verb {
            "in" => parse_in(&mut words)?,
            "out" => parse_out(&mut words)?,
            "setup" => parse_setup(&mut words)?,
            "descriptor" => parse_descriptor(&mut words)?,
            "clear-halt" => parse_clear_halt(&mut words)?,
            "alt" => parse_alt(&mut words)?,
            "reset" => plain(&mut words, "reset", Self::Reset)?,
            "status" => plain(&mut words, "status", Self::Status)?,
            _ => return Err(words.refuse(format!("no such request; write {VERBS}"))),
        };
        request.permitted()
    }

    /// Reads one message of `ep_00.sock`: the 8-byte setup packet and, for OUT, wLength bytes of data.
    ///
    /// # Errors
    /// As [`ControlRequest::parse`].
    pub fn parse_binary(message: &[u8]) -> Result<Self, RequestError> {
        from_setup(message)?.permitted()
    }

    /// The setup packet of a transfer, USB 2.0 §9.3; `None` for requests that are not one transfer.
    pub fn setup_packet(&self) -> Option<[u8; 8]> {
        let (request_type, request, value, index, length) = match *self {
            Self::In { request_type, request, value, index, length } => (request_type, request, value, index, length),
            Self::Out { request_type, request, value, index, ref data } => {
                (request_type, request, value, index, u16::try_from(data.len()).ok()?)
            }
            _ => return None,
        };
        let [v, i, l] = [value, index, length].map(u16::to_le_bytes);
        Some([request_type, request, v[0], v[1], i[0], i[1], l[0], l[1]])
    }

    /// Address and configuration belong to the host: changed behind its back, every other pipe would die.
    ///
    /// Some firmware looks at neither direction nor recipient of a standard request, so neither does this check.
    fn permitted(self) -> Result<Self, RequestError> {
        let Some([request_type, request, ..]) = self.setup_packet() else { return Ok(self) };
        match (request_type & TYPE_MASK, request) {
            (TYPE_STANDARD, SET_ADDRESS) => Err(RequestError::denied("SET_ADDRESS is the operating system's alone")),
            (TYPE_STANDARD, SET_CONFIGURATION) => Err(RequestError::denied(
                "SET_CONFIGURATION would end the other pipes; alternate settings change by `alt`",
            )),
            _ => Ok(self),
        }
    }
}

impl fmt::Display for ControlRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::In { request_type, request, value, index, length } => {
                write!(f, "in {request_type:#04x} {request:#04x} {value:#06x} {index:#06x} {length}")
            }
            Self::Out { request_type, request, value, index, data } => {
                write!(f, "out {request_type:#04x} {request:#04x} {value:#06x} {index:#06x}")?;
                if data.is_empty() { Ok(()) } else { write!(f, " {}", hex::encode(data)) }
            }
            Self::Descriptor(DescriptorKind::Device) => f.write_str("descriptor device"),
            Self::Descriptor(DescriptorKind::Config(index)) => write!(f, "descriptor config {index}"),
            Self::Descriptor(DescriptorKind::String(index)) => write!(f, "descriptor string {index}"),
            Self::ClearHalt(endpoint) => write!(f, "clear-halt {endpoint:#04x}"),
            Self::Alt { interface, setting } => write!(f, "alt {interface} {setting}"),
            Self::Reset => f.write_str("reset"),
            Self::Status => f.write_str("status"),
        }
    }
}

fn parse_in(words: &mut Words<'_>) -> Result<ControlRequest, RequestError> {
    words.expect_form("in <bmRequestType> <bRequest> <wValue> <wIndex> <wLength>");
    let request = ControlRequest::In {
        request_type: request_type(words, true)?,
        request: words.number("bRequest", 0xff)?,
        value: words.number("wValue", 0xffff)?,
        index: words.number("wIndex", 0xffff)?,
        length: words.number("wLength", 0xffff)?,
    };
    words.end().map(|()| request)
}

fn parse_out(words: &mut Words<'_>) -> Result<ControlRequest, RequestError> {
    words.expect_form("out <bmRequestType> <bRequest> <wValue> <wIndex> [<hex data>]");
    let request = ControlRequest::Out {
        request_type: request_type(words, false)?,
        request: words.number("bRequest", 0xff)?,
        value: words.number("wValue", 0xffff)?,
        index: words.number("wIndex", 0xffff)?,
        data: words.bytes()?,
    };
    match &request {
        ControlRequest::Out { data, .. } if data.len() > 0xffff => {
            Err(RequestError::invalid(format!("data of {} bytes; a control transfer has at most 65535", data.len())))
        }
        _ => Ok(request),
    }
}

/// Takes bmRequestType and holds its direction bit against the verb.
fn request_type(words: &mut Words<'_>, is_in: bool) -> Result<u8, RequestError> {
    let number: u8 = words.number("bmRequestType", 0xff)?;
    match (is_in, number & DIRECTION_IN != 0) {
        (true, false) => Err(RequestError::invalid(format!(
            "bmRequestType {number:#04x} has the direction bit of OUT; write out, or {:#04x}",
            number | DIRECTION_IN
        ))),
        (false, true) => Err(RequestError::invalid(format!(
            "bmRequestType {number:#04x} has the direction bit of IN; write in, or {:#04x}",
            number & !DIRECTION_IN
        ))),
        _ => Ok(number),
    }
}

fn parse_setup(words: &mut Words<'_>) -> Result<ControlRequest, RequestError> {
    from_setup(&words.bytes()?)
}

/// A setup packet and what follows it, from text or from a message.
fn from_setup(message: &[u8]) -> Result<ControlRequest, RequestError> {
    let Some((&[request_type, request, v0, v1, i0, i1, l0, l1], data)) = message.split_first_chunk::<8>() else {
        return Err(RequestError::invalid(format!("{} bytes; a setup packet has 8", message.len())));
    };
    let [value, index, length] = [[v0, v1], [i0, i1], [l0, l1]].map(u16::from_le_bytes);
    if request_type & DIRECTION_IN != 0 {
        return match data.len() {
            0 => Ok(ControlRequest::In { request_type, request, value, index, length }),
            extra => {
                Err(RequestError::invalid(format!("{extra} bytes of data after the setup packet of an IN transfer")))
            }
        };
    }
    if data.len() != usize::from(length) {
        return Err(RequestError::invalid(format!("wLength is {length}, but {} bytes of data follow", data.len())));
    }
    Ok(ControlRequest::Out { request_type, request, value, index, data: data.to_vec() })
}

fn parse_descriptor(words: &mut Words<'_>) -> Result<ControlRequest, RequestError> {
    words.expect_form("descriptor device, descriptor config [n] or descriptor string <n>");
    let kind = match words.word("the kind of descriptor")? {
        "device" => DescriptorKind::Device,
        "config" => DescriptorKind::Config(optional_index(words)?),
        "string" => DescriptorKind::String(words.number("the string's index", 0xff)?),
        _ => return Err(words.refuse("no such descriptor; write device, config [n] or string <n>")),
    };
    words.end().map(|()| ControlRequest::Descriptor(kind))
}

fn optional_index(words: &mut Words<'_>) -> Result<u8, RequestError> {
    if words.is_empty() { Ok(0) } else { words.number("the configuration's index", 0xff) }
}

fn parse_clear_halt(words: &mut Words<'_>) -> Result<ControlRequest, RequestError> {
    words.expect_form("clear-halt <endpoint>");
    let endpoint: u8 = words.number("the endpoint", 0xff)?;
    // Endpoint 0 has no halt that a host could clear (USB 2.0 §8.5.3.4); bits 4 to 6 are reserved.
    if endpoint & 0x0f == 0 || endpoint & 0x70 != 0 {
        return Err(RequestError::invalid(format!(
            "endpoint {endpoint:#04x} cannot be; write 0x01 to 0x0f or 0x81 to 0x8f"
        )));
    }
    words.end().map(|()| ControlRequest::ClearHalt(endpoint))
}

fn parse_alt(words: &mut Words<'_>) -> Result<ControlRequest, RequestError> {
    words.expect_form("alt <interface> <setting>");
    let interface = words.number("the interface", 0xff)?;
    let setting = words.number("the setting", 0xff)?;
    words.end().map(|()| ControlRequest::Alt { interface, setting })
}

fn plain(words: &mut Words<'_>, form: &'static str, request: ControlRequest) -> Result<ControlRequest, RequestError> {
    words.expect_form(form);
    words.end().map(|()| request)
}

const DIRECTION_IN: u8 = 0x80;
/// Bits 5 and 6 of bmRequestType: standard, class or vendor.
const TYPE_MASK: u8 = 0x60;
const TYPE_STANDARD: u8 = 0x00;
/// bRequest numbers of USB 2.0 table 9-4.
const SET_ADDRESS: u8 = 5;
const SET_CONFIGURATION: u8 = 9;
const VERBS: &str = "in, out, setup, descriptor, clear-halt, alt, reset or status";

#[cfg(test)]
mod tests;
