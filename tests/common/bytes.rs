//! Bytes to send, and what to hold what comes back against.

use std::fs::File;
use std::io::{Read, Write};

/// Bytes without a pattern, the same for the same seed (xorshift64).
pub fn random(n: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(n + 8);
    while bytes.len() < n {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(n);
    bytes
}

/// `n` bytes of gadget zero's pattern 1: n mod 63, counted from the start of each packet of 512.
pub fn pattern(n: usize) -> Vec<u8> {
    (0..n).map(|at| (at % 512 % 63) as u8).collect()
}

/// Consecutive numbers, eight bytes each.
pub fn records(first: u64, count: u64) -> Vec<u8> {
    (first..first + count).flat_map(u64::to_le_bytes).collect()
}

/// CRC-32 as in zip and Ethernet.
pub fn crc32(bytes: &[u8]) -> u32 {
    let table: [u32; 256] = std::array::from_fn(|n| {
        (0..8).fold(n as u32, |crc, _| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 })
    });
    !bytes.iter().fold(!0, |crc, &byte| table[usize::from(crc as u8 ^ byte)] ^ (crc >> 8))
}

/// Writes all of it, by writes of these sizes in turn.
pub fn write_in_chunks(mut to: &File, mut bytes: &[u8], sizes: &[usize]) {
    for &size in sizes.iter().cycle() {
        if bytes.is_empty() {
            return;
        }
        let (chunk, rest) = bytes.split_at(size.min(bytes.len()));
        to.write_all(chunk).unwrap();
        bytes = rest;
    }
}

/// Reads `n` bytes by reads of at most these sizes in turn, and calls `check` with the offset and what came.
pub fn read_in_chunks(mut from: &File, n: usize, sizes: &[usize], mut check: impl FnMut(usize, &[u8])) {
    let mut buffer = vec![0; sizes.iter().copied().max().unwrap()];
    let mut offset = 0;
    for &size in sizes.iter().cycle() {
        if offset == n {
            return;
        }
        let got = from.read(&mut buffer[..size.min(n - offset)]).unwrap();
        assert!(got > 0, "end of file after {offset} of {n} bytes");
        check(offset, &buffer[..got]);
        offset += got;
    }
}

/// Fails with the place of the first difference, not with megabytes of output.
pub fn assert_same(expected: &[u8], got: &[u8], offset: usize) {
    if expected != got {
        let at = expected.iter().zip(got).position(|(a, b)| a != b).unwrap_or(expected.len().min(got.len()));
        panic!(
            "the bytes differ at {}: expected {:?}…, got {:?}…; {} and {} bytes",
            offset + at,
            &expected[at..expected.len().min(at + 8)],
            &got[at..got.len().min(at + 8)],
            expected.len(),
            got.len()
        );
    }
}
