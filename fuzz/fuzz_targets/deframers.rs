//! See `usbpipe::fuzzing::deframers`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| usbpipe::fuzzing::deframers(data));
