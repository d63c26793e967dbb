//! See `usbpipe::fuzzing::descriptors`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| usbpipe::fuzzing::descriptors(data));
