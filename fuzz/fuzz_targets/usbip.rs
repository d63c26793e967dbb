//! See `usbpipe::fuzzing::usbip`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| usbpipe::fuzzing::usbip(data));
