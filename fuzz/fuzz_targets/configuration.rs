//! See `usbpipe::fuzzing::configuration`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| usbpipe::fuzzing::configuration(data));
