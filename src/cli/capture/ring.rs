//! A capture file that never grows over a size: when it is full, its older half goes. Whoever opens it finds a whole
//! capture at any moment.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::super::Failure;
use super::output::create;
use crate::capture::Kind;

/// The file.
pub(super) struct Ring {
    path: PathBuf,
    file: BufWriter<File>,
    size: u64,
    /// What every capture begins with.
    header: Vec<u8>,
    length: u64,
    /// Where the first block of the newer half begins, once there is one.
    middle: Option<u64>,
}

impl Ring {
    /// An empty file, in place of one that may be there.
    pub(super) fn create(path: &Path, size: u64) -> Result<Self, Failure> {
        let file = BufWriter::with_capacity(BUFFER, create(path)?);
        Ok(Self { path: path.to_owned(), file, size, header: Vec::new(), length: 0, middle: None })
    }

    /// Adds a block, for which the older half may have to go.
    pub(super) fn push(&mut self, kind: Kind, block: &[u8]) -> Result<(), Failure> {
        let result = self.try_push(kind, block);
        result.map_err(|e| self.failed(&e))
    }

    /// Makes what was added visible.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        let result = self.file.flush();
        result.map_err(|e| self.failed(&e))
    }

    fn try_push(&mut self, kind: Kind, block: &[u8]) -> io::Result<()> {
        if kind == Kind::Header {
            self.header.extend(block);
        } else if self.length + block.len() as u64 > self.size {
            self.forget_older_half()?;
        }
        if self.middle.is_none() && self.length >= self.size / 2 {
            self.middle = Some(self.length);
        }
        self.length += block.len() as u64;
        self.file.write_all(block)
    }

    /// The newer half goes into a new file, which then takes the place of this one.
    fn forget_older_half(&mut self) -> io::Result<()> {
        self.file.flush()?;
        let keep = self.middle.take().unwrap_or(self.length);
        let mut new_path = self.path.clone().into_os_string();
        new_path.push(".new");
        let new_path = PathBuf::from(new_path);
        let mut new = create(&new_path).map_err(|e| io::Error::other(e.message))?;
        new.write_all(&self.header)?;
        let mut old = File::open(&self.path)?;
        old.seek(SeekFrom::Start(keep))?;
        io::copy(&mut old.take(self.length - keep), &mut new)?;
        self.length = self.header.len() as u64 + self.length - keep;
        // This closes the old one: Windows lets nothing take the place of a file that is open.
        self.file = BufWriter::with_capacity(BUFFER, new);
        fs::rename(&new_path, &self.path)
    }

    fn failed(&self, error: &io::Error) -> Failure {
        Failure::run_time(format!("{}: writing the capture failed: {error}", self.path.display()))
    }
}

const BUFFER: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEADER: &[u8] = b"HEAD";

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn it_holds_the_newest_records_whole_and_never_more_than_its_size(
            lengths in prop::collection::vec(1usize..100, 1..200),
        ) {
            const SIZE: u64 = 512;
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("ring");
            let mut ring = Ring::create(&path, SIZE).unwrap();
            ring.push(Kind::Header, HEADER).unwrap();
            let records: Vec<Vec<u8>> = lengths.iter().enumerate().map(|(n, &length)| vec![n as u8; length]).collect();
            for (n, record) in records.iter().enumerate() {
                ring.push(Kind::Record { dropped: 0 }, record).unwrap();
                ring.flush().unwrap();
                let kept = fs::read(&path).unwrap();
                prop_assert!(kept.len() as u64 <= SIZE);
                let body = kept.strip_prefix(HEADER).unwrap();
                let so_far = records[..=n].concat();
                let from = (0..=n).find(|&from| records[from..=n].concat() == body);
                prop_assert!(from.is_some(), "not whole records up to the newest");
                prop_assert!(body.len() == so_far.len() || body.len() as u64 >= SIZE / 2 - 200);
            }
            prop_assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
    }
}
