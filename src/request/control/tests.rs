//! The grammar of the control pipe by example and by arbitrary input.

use super::*;
use crate::request::ErrorName;
use proptest::prelude::*;

fn parse(line: &str) -> ControlRequest {
    ControlRequest::parse(line).unwrap()
}

fn refusal(line: &str) -> RequestError {
    ControlRequest::parse(line).unwrap_err()
}

fn get_device_descriptor() -> ControlRequest {
    ControlRequest::In { request_type: 0x80, request: 6, value: 0x100, index: 0, length: 18 }
}

fn write_register() -> ControlRequest {
    ControlRequest::Out { request_type: 0x40, request: 1, value: 0, index: 2, data: vec![0xab, 0xcd] }
}

#[test]
fn numbers_are_decimal_or_hex() {
    assert_eq!(parse("in 0x80 6 0x0100 0 18\r\n"), get_device_descriptor());
    assert_eq!(parse("  in 128 0x6 256 0x0 0x12"), get_device_descriptor());
}

#[test]
fn out_data_may_be_absent_or_have_blanks() {
    assert_eq!(parse("out 0x40 1 0 2 abCD"), write_register());
    assert_eq!(parse("out 0x40 1 0 2 ab cd"), write_register());
    let empty = ControlRequest::Out { request_type: 0x40, request: 2, value: 0, index: 0, data: vec![] };
    assert_eq!(parse("out 0x40 2 0 0"), empty);
}

#[test]
fn setup_takes_what_a_bus_analyser_prints() {
    assert_eq!(parse("setup 80 06 00 01 00 00 12 00"), get_device_descriptor());
    assert_eq!(parse("setup 8006000100001200"), get_device_descriptor());
    assert_eq!(parse("setup 4001000002000200 abcd"), write_register());
    assert_eq!(parse("setup 40 01 00 00 02 00 02 00 ab cd"), write_register());
}

#[test]
fn setup_data_must_be_as_long_as_it_says() {
    assert_eq!(refusal("setup 4001000002000300 abcd").text, "wLength is 3, but 2 bytes of data follow");
    assert!(refusal("setup 8006000100001200 00").text.contains("IN transfer"));
    assert!(refusal("setup 800600").text.contains("a setup packet has 8"));
    assert_eq!(refusal("setup").text, "0 bytes; a setup packet has 8");
}

#[test]
fn the_other_requests_are_understood() {
    assert_eq!(parse("descriptor device"), ControlRequest::Descriptor(DescriptorKind::Device));
    assert_eq!(parse("descriptor config"), ControlRequest::Descriptor(DescriptorKind::Config(0)));
    assert_eq!(parse("descriptor config 1"), ControlRequest::Descriptor(DescriptorKind::Config(1)));
    assert_eq!(parse("descriptor string 3"), ControlRequest::Descriptor(DescriptorKind::String(3)));
    assert_eq!(parse("clear-halt 0x81"), ControlRequest::ClearHalt(0x81));
    assert_eq!(parse("alt 1 2"), ControlRequest::Alt { interface: 1, setting: 2 });
    assert_eq!(parse("reset"), ControlRequest::Reset);
    assert_eq!(parse("status\n"), ControlRequest::Status);
}

#[test]
fn the_direction_bit_must_match_the_verb() {
    for line in ["in 0x40 1 0 0 1", "out 0xc0 1 0 0"] {
        assert_eq!(refusal(line).name, ErrorName::Invalid);
        assert!(refusal(line).text.contains("direction bit"), "{}", refusal(line));
    }
}

#[test]
fn address_and_configuration_are_denied_however_they_are_written() {
    for line in
        ["out 0 5 7 0", "out 0x00 9 1 0", "setup 0005070000000000", "setup 00 09 01 00 00 00 00 00", "out 1 9 1 0"]
    {
        assert_eq!(refusal(line).name, ErrorName::Denied, "{line}");
    }
    let binary = ControlRequest::parse_binary(&[0, 9, 1, 0, 0, 0, 0, 0]);
    assert_eq!(binary.unwrap_err().name, ErrorName::Denied);
}

#[test]
fn class_and_vendor_requests_with_the_same_numbers_pass() {
    parse("out 0x21 9 0x0200 0 00");
    parse("out 0x40 5 0 0");
}

#[test]
fn wrong_hex_is_refused_with_its_column() {
    assert_eq!(refusal("out 0x40 1 0 0 ab c").text, "column 19: a byte has two hex digits, here is one");
    assert!(refusal("out 0x40 1 0 0 0xab").text.starts_with("column 17: no hex digit"));
}

#[test]
fn wrong_words_are_refused_with_their_column() {
    assert!(refusal("in 0x80 6 70000 0 18").text.starts_with("column 11: `70000`: wValue"));
    assert!(refusal("in 0x80 6 0 0 18 19").text.starts_with("column 18: `19`: too much"));
    assert!(refusal("in 0x80 6").text.starts_with("wValue is missing; write in <bmRequestType>"));
    assert!(refusal("get descriptor").text.contains("no such request; write in, out"));
    for line in [
        "",
        " ",
        "descriptor",
        "descriptor bos",
        "descriptor string",
        "reset now",
        "alt 1",
        "clear-halt 0x80",
        "clear-halt 0x91",
    ] {
        assert_eq!(refusal(line).name, ErrorName::Invalid, "{line}");
    }
}

#[test]
fn the_longest_data_stage_fits_and_one_byte_more_does_not() {
    let head = "out 0x40 0x01 0x0000 0x0000";
    let longest = format!("{head}{}", " 00".repeat(65535));
    assert!(matches!(parse(&longest), ControlRequest::Out { data, .. } if data.len() == 65535));
    assert!(refusal(&format!("{longest} 00")).text.contains("at most 65535"));
    assert!(refusal(&" ".repeat(MAX_LINE + 1)).text.contains("at most"));
}

#[test]
fn a_message_is_a_setup_packet_and_its_data() {
    let message = [0x40, 1, 0, 0, 2, 0, 2, 0, 0xab, 0xcd];
    assert_eq!(ControlRequest::parse_binary(&message), Ok(write_register()));
    assert_eq!(ControlRequest::parse_binary(&message[..9]).unwrap_err().name, ErrorName::Invalid);
    assert_eq!(ControlRequest::parse_binary(&message[..7]).unwrap_err().name, ErrorName::Invalid);
    assert_eq!(ControlRequest::parse_binary(&[0x80, 6, 0, 1, 0, 0, 18, 0]), Ok(get_device_descriptor()));
    assert!(ControlRequest::parse_binary(&[0x80, 6, 0, 1, 0, 0, 1, 0, 9]).is_err());
}

proptest! {
    #[test]
    fn any_line_parses_or_fails_and_what_parses_prints_back(
        line in prop_oneof![
            any::<String>(),
            "(in|out|setup|descriptor|clear-halt|alt|reset|status)( [0-9a-fx]{1,6}| device| config){0,7}",
            "(in|out) (0x[0-9a-f]{2} ){2}([0-9]{1,5} ){2}([0-9a-f]{2} ?){0,6}",
            "setup ([0-9a-f]{2} ?){8}([0-9a-f]{2}){0,3}",
        ],
    ) {
        if let Ok(request) = ControlRequest::parse(&line) {
            prop_assert_eq!(ControlRequest::parse(&request.to_string()), Ok(request));
        }
    }

    #[test]
    fn any_message_parses_or_fails_and_what_parses_has_its_setup_packet(
        mut message in prop::collection::vec(any::<u8>(), 0..24),
        honest in any::<bool>(),
    ) {
        if honest && message.len() >= 8 {
            message[6] = (message.len() - 8) as u8;
            message[7] = 0;
        }
        if let Ok(request) = ControlRequest::parse_binary(&message) {
            prop_assert_eq!(&request.setup_packet().unwrap()[..], &message[..8]);
            prop_assert_eq!(ControlRequest::parse(&request.to_string()), Ok(request));
        }
    }
}
