//! See `usbpipe::fuzzing::admin`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| usbpipe::fuzzing::admin(data));
