//! Hot path. Framing of OUT data: from the bytes that programs wrote to the messages that become transfers.
//!
//! A message that is too long or malformed is skipped as a whole and reported; what follows it is read normally.

/// Where the decoder stands between two calls.
pub(super) enum Decoder {
    /// u32 little-endian length, then the bytes.
    Length { header: [u8; 4], have: usize, left: Option<usize>, skipping: bool },
    /// Lines of hex.
    Hex { nibble: Option<u8>, started: bool, bad: bool, long: bool },
}

/// What became of the input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decoded {
    /// All of it is used up; the message goes on.
    More,
    /// A message is complete, with this many bytes.
    Message(usize),
    /// A message was refused: it is malformed.
    Bad,
    /// A message was refused: it is longer than there is room for.
    TooLong,
}

impl Decoder {
    pub(super) fn length() -> Self {
        Self::Length { header: [0; 4], have: 0, left: None, skipping: false }
    }

    pub(super) fn hex() -> Self {
        Self::Hex { nibble: None, started: false, bad: false, long: false }
    }

    /// Whether a message has begun and is not complete.
    pub(super) fn is_inside(&self) -> bool {
        match self {
            Self::Length { have, left, .. } => *have > 0 || left.is_some(),
            Self::Hex { started, .. } => *started,
        }
    }

    /// Decodes from `input` into `out[*filled..]`, one message at most, and says how much of `input` is used.
    pub(super) fn decode(&mut self, input: &[u8], out: &mut [u8], filled: &mut usize) -> (usize, Decoded) {
        let result = match self {
            Self::Length { header, have, left, skipping } => {
                decode_length(header, have, left, skipping, input, out, filled)
            }
            Self::Hex { nibble, started, bad, long } => decode_hex(nibble, started, (bad, long), input, out, filled),
        };
        if result.1 != Decoded::More {
            *filled = 0;
        }
        result
    }
}

fn decode_length(
    header: &mut [u8; 4],
    have: &mut usize,
    left: &mut Option<usize>,
    skipping: &mut bool,
    input: &[u8],
    out: &mut [u8],
    filled: &mut usize,
) -> (usize, Decoded) {
    let mut used = 0;
    while left.is_none() && used < input.len() {
        header[*have] = input[used];
        *have += 1;
        used += 1;
        if *have == 4 {
            let length = u32::from_le_bytes(*header) as usize;
            *skipping = length > out.len();
            *left = Some(length);
        }
    }
    let Some(rest) = left else { return (used, Decoded::More) };
    let n = (*rest).min(input.len() - used);
    if !*skipping {
        out[*filled..*filled + n].copy_from_slice(&input[used..used + n]);
        *filled += n;
    }
    *rest -= n;
    used += n;
    if *rest > 0 {
        return (used, Decoded::More);
    }
    *left = None;
    *have = 0;
    let refused = std::mem::take(skipping);
    (used, if refused { Decoded::TooLong } else { Decoded::Message(*filled) })
}

fn decode_hex(
    nibble: &mut Option<u8>,
    started: &mut bool,
    (bad, long): (&mut bool, &mut bool),
    input: &[u8],
    out: &mut [u8],
    filled: &mut usize,
) -> (usize, Decoded) {
    for (at, &byte) in input.iter().enumerate() {
        match byte {
            b'\n' => {
                let is_bad = std::mem::take(bad) | nibble.take().is_some();
                let is_long = std::mem::take(long);
                *started = false;
                let message = if is_long { Decoded::TooLong } else { Decoded::Message(*filled) };
                return (at + 1, if is_bad { Decoded::Bad } else { message });
            }
            b' ' | b'\t' | b'\r' => {}
            _ => {
                *started = true;
                let Some(digit) = (byte as char).to_digit(16) else {
                    *bad = true;
                    continue;
                };
                match nibble.take() {
                    None => *nibble = Some(digit as u8),
                    Some(high) if *filled < out.len() => {
                        out[*filled] = high << 4 | digit as u8;
                        *filled += 1;
                    }
                    Some(_) => *long = true,
                }
            }
        }
    }
    (input.len(), Decoded::More)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(mut decoder: Decoder, bytes: &[u8], chunk: usize, room: usize) -> Vec<Option<Vec<u8>>> {
        let mut out = vec![0; room];
        let mut filled = 0;
        let mut messages = Vec::new();
        for mut piece in bytes.chunks(chunk) {
            while !piece.is_empty() {
                let (used, decoded) = decoder.decode(piece, &mut out, &mut filled);
                piece = &piece[used..];
                match decoded {
                    Decoded::More => {}
                    Decoded::Message(n) => messages.push(Some(out[..n].to_vec())),
                    Decoded::Bad | Decoded::TooLong => messages.push(None),
                }
            }
        }
        messages
    }

    #[test]
    fn a_record_of_length_0_is_a_message_of_no_bytes() {
        assert_eq!(run(Decoder::length(), b"\0\0\0\0\x01\0\0\0a", 3, 8), [Some(vec![]), Some(b"a".to_vec())]);
    }

    #[test]
    fn a_record_that_is_too_long_is_skipped_and_the_next_one_read() {
        assert_eq!(run(Decoder::length(), b"\x03\0\0\0abc\x01\0\0\0z", 2, 2), [None, Some(b"z".to_vec())]);
    }

    #[test]
    fn hex_lines_ignore_blanks_and_bad_ones_are_skipped() {
        let lines = b"01 fe\r\n\nxy\n1\nAB\n";
        let expected = [Some(vec![1, 0xfe]), Some(vec![]), None, None, Some(vec![0xab])];
        for chunk in 1..9 {
            assert_eq!(run(Decoder::hex(), lines, chunk, 8), expected);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_decode_the_same_in_any_pieces(
            bytes in prop::collection::vec(prop_oneof![Just(0u8), Just(b'\n'), Just(b'a'), any::<u8>()], 0..200),
            chunk in 1usize..50,
        ) {
            prop_assert_eq!(run(Decoder::hex(), &bytes, chunk, 16), run(Decoder::hex(), &bytes, 1000, 16));
            prop_assert_eq!(run(Decoder::length(), &bytes, chunk, 16), run(Decoder::length(), &bytes, 1000, 16));
        }
    }
}
