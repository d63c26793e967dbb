//! See `usbpipe::fuzzing::control_text`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| usbpipe::fuzzing::control_text(data));
