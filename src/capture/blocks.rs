//! A capture's stream cut into its blocks, by whoever writes it to a file. It trusts no length.

use std::fmt;

use super::pcapng::{
    END_OF_OPTIONS, ENHANCED_PACKET, EPB_DROPCOUNT, INTERFACE_DESCRIPTION, INTERFACE_STATISTICS, ISB_IFDROP,
    ISB_IFRECV, MOST_CAPTURED, SECTION_HEADER,
};

/// Takes bytes as they come, and gives blocks.
#[derive(Debug, Default)]
pub struct Blocks {
    bytes: Vec<u8>,
    taken: usize,
}

/// One block, whole.
#[derive(Debug, PartialEq, Eq)]
pub struct Block<'a> {
    /// What it is.
    pub kind: Kind,
    /// All its bytes.
    pub bytes: &'a [u8],
}

/// What a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What stands at the beginning of a file: the section and its interface.
    Header,
    /// One record.
    Record {
        /// How many were left out right before it.
        dropped: u64,
    },
    /// What stands at the end.
    Statistics {
        /// Records there were, with those that were left out.
        seen: u64,
        /// How many of them were left out.
        dropped: u64,
    },
}

/// The stream is no capture.
#[derive(Debug, PartialEq, Eq)]
pub struct NoBlock;

impl Blocks {
    /// Takes more of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..std::mem::take(&mut self.taken));
        self.bytes.extend(bytes);
    }

    /// The next block that is there as a whole.
    ///
    /// # Errors
    /// [`NoBlock`] when what comes next cannot be one.
    #[expect(clippy::should_implement_trait, reason = "it lends what it gives")]
    pub fn next(&mut self) -> Result<Option<Block<'_>>, NoBlock> {
        let rest = &self.bytes[self.taken..];
        let Some(total) = word(rest, 4) else { return Ok(None) };
        let total = total as usize;
        if !(SMALLEST..=LARGEST).contains(&total) || !total.is_multiple_of(4) {
            return Err(NoBlock);
        }
        let Some(bytes) = rest.get(..total) else { return Ok(None) };
        let kind = kind(bytes)?;
        self.taken += total;
        Ok(Some(Block { kind, bytes }))
    }

    /// Bytes of a block that is not whole.
    pub fn rest(&self) -> usize {
        self.bytes.len() - self.taken
    }
}

fn kind(block: &[u8]) -> Result<Kind, NoBlock> {
    let body = &block[8..block.len() - 4];
    match word(block, 0) {
        Some(SECTION_HEADER | INTERFACE_DESCRIPTION) => Ok(Kind::Header),
        Some(ENHANCED_PACKET) => {
            let captured = word(body, PACKET_LENGTH).ok_or(NoBlock)? as usize;
            let options = body.get(PACKET_FIXED + captured.next_multiple_of(4)..).ok_or(NoBlock)?;
            Ok(Kind::Record { dropped: option(options, EPB_DROPCOUNT).unwrap_or(0) })
        }
        Some(INTERFACE_STATISTICS) => {
            let options = body.get(STATISTICS_FIXED..).ok_or(NoBlock)?;
            let get = |code| option(options, code).unwrap_or(0);
            Ok(Kind::Statistics { seen: get(ISB_IFRECV), dropped: get(ISB_IFDROP) })
        }
        _ => Err(NoBlock),
    }
}

/// An option of eight bytes.
fn option(mut options: &[u8], wanted: u16) -> Option<u64> {
    loop {
        let [c0, c1, l0, l1, rest @ ..] = options else { return None };
        let (code, length) = (u16::from_le_bytes([*c0, *c1]), usize::from(u16::from_le_bytes([*l0, *l1])));
        if code == wanted {
            return Some(u64::from_le_bytes(*rest.first_chunk()?));
        }
        if code == END_OF_OPTIONS {
            return None;
        }
        options = rest.get(length.next_multiple_of(4)..)?;
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|four| u32::from_le_bytes(*four))
}

impl fmt::Display for NoBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what came is no pcapng")
    }
}

impl std::error::Error for NoBlock {}

/// Type and length, and the length again.
const SMALLEST: usize = 12;
/// A record, and room for what a block has beside it.
const LARGEST: usize = MOST_CAPTURED as usize + 4096;
/// Where the captured length stands in a record, and where the record begins.
const PACKET_LENGTH: usize = 12;
const PACKET_FIXED: usize = 20;
/// Interface and time.
const STATISTICS_FIXED: usize = 12;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::pcapng;
    use super::*;
    use proptest::prelude::*;

    /// A capture of these records, in which `dropped` were left out before each.
    fn capture(records: &[Vec<u8>], dropped: u64) -> Vec<u8> {
        let mut stream = Vec::new();
        pcapng::begin(&mut stream, "uno", "", MOST_CAPTURED);
        for record in records {
            pcapng::packet(&mut stream, Duration::ZERO, dropped, |out| {
                out.extend(record);
                record.len()
            });
        }
        let seen = records.len() as u64 * (dropped + 1);
        pcapng::statistics(&mut stream, Duration::ZERO, Duration::ZERO, seen, seen - records.len() as u64);
        stream
    }

    proptest! {
        #[test]
        fn a_capture_in_pieces_gives_its_blocks(
            records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..10),
            dropped in 0u64..3,
            piece in 1usize..50,
        ) {
            let stream = capture(&records, dropped);
            let (mut blocks, mut kinds, mut bytes) = (Blocks::default(), Vec::new(), Vec::new());
            for piece in stream.chunks(piece) {
                blocks.push(piece);
                while let Some(block) = blocks.next().unwrap() {
                    kinds.push(block.kind);
                    bytes.extend(block.bytes);
                }
            }
            prop_assert_eq!((bytes, blocks.rest()), (stream, 0));
            let seen = records.len() as u64 * (dropped + 1);
            let end = Kind::Statistics { seen, dropped: seen - records.len() as u64 };
            let middle = vec![Kind::Record { dropped }; records.len()];
            prop_assert_eq!(kinds, [vec![Kind::Header; 2], middle, vec![end]].concat());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0u32..8) {
            let mut blocks = Blocks::default();
            let head = [kind.to_le_bytes(), ((bytes.len() + 12) as u32 / 4 * 4).to_le_bytes()].concat();
            blocks.push(&[head, bytes].concat());
            while let Ok(Some(_)) = blocks.next() {}
        }
    }
}
