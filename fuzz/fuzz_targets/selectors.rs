//! See `usbpipe::fuzzing::selectors`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| usbpipe::fuzzing::selectors(data));
