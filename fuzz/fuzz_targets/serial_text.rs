//! See `usbpipe::fuzzing::serial_text`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| usbpipe::fuzzing::serial_text(data));
