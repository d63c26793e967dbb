//! The bytes n mod 63, n counted from the start of each packet of 512, as Linux's gadget zero with pattern 1.
//!
//! One job: the pattern as a constant, to be pointed at and compared with. It refuses to be generated per
//! transfer: that would cost more than sending it.

/// wMaxPacketSize of high-speed bulk endpoints; the pattern begins anew with each packet.
pub(crate) const PACKET: usize = 512;

/// `len` bytes of the pattern from position `from` on, as slices of one constant.
pub(crate) fn slices(from: usize, len: usize) -> impl Iterator<Item = &'static [u8]> {
    let mut at = from % BLOCK.len();
    let mut left = len;
    std::iter::from_fn(move || {
        let slice = &BLOCK[at..BLOCK.len().min(at + left)];
        left -= slice.len();
        at = 0;
        (!slice.is_empty()).then_some(slice)
    })
}

/// How many bytes of `data` match the pattern before the first that does not.
pub(crate) fn matching(data: &[u8]) -> usize {
    for (index, block) in data.chunks(BLOCK.len()).enumerate() {
        if block != &BLOCK[..block.len()] {
            let good = block.iter().zip(&BLOCK).take_while(|(a, b)| a == b).count();
            return index * BLOCK.len() + good;
        }
    }
    data.len()
}

/// A whole number of packets, small enough to stay in a core's cache while the kernel copies from it.
static BLOCK: [u8; 128 * PACKET] = block();

const fn block() -> [u8; 128 * PACKET] {
    let mut bytes = [0; 128 * PACKET];
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = (at % PACKET % 63) as u8;
        at += 1;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(n: usize) -> u8 {
        (n % 512 % 63) as u8
    }

    #[test]
    fn slices_from_anywhere_follow_the_rule_of_gadget_zero() {
        for (from, len) in [(0, 0), (0, 1), (500, 30), (65_000, 140_000), (65_536, 512)] {
            let bytes: Vec<u8> = slices(from, len).flatten().copied().collect();
            assert_eq!(bytes.len(), len);
            assert!(bytes.iter().enumerate().all(|(i, &b)| b == expected(from + i)), "from {from}");
        }
    }

    #[test]
    fn the_first_wrong_byte_is_found_wherever_it_is() {
        let mut data: Vec<u8> = (0..200_000).map(expected).collect();
        assert_eq!(matching(&data), 200_000);
        for wrong in [150_001, 65_536, 511, 0] {
            data[wrong] ^= 0x80;
            assert_eq!(matching(&data), wrong);
        }
    }
}
