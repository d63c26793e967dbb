//! See `usbpipe::fuzzing::lines`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| usbpipe::fuzzing::lines(data));
