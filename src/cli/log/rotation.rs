//! A file of lines that is put aside when it is full: `FILE` is the newest, then `FILE.1`, `FILE.2` and so on, and the
//! oldest goes. No line is divided between two files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Where lines go.
pub(in crate::cli) struct Rotation {
    path: PathBuf,
    file: File,
    length: u64,
    /// Bytes of one file.
    limit: u64,
    /// Files beside the newest.
    keep: u32,
}

impl Rotation {
    /// Goes on with the file that is there, if one is.
    ///
    /// # Errors
    /// Those of open(2).
    pub(in crate::cli) fn open(path: &Path, limit: u64, keep: u32) -> io::Result<Self> {
        let file = append(path)?;
        let length = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, length, limit, keep })
    }

    /// Adds lines, each with its end; the file is put aside before one that would make it too long.
    ///
    /// # Errors
    /// Those of write(2) and rename(2).
    pub(in crate::cli) fn write(&mut self, line: &str) -> io::Result<()> {
        if self.length > 0 && self.length + line.len() as u64 > self.limit {
            self.rotate()?;
        }
        self.length += line.len() as u64;
        self.file.write_all(line.as_bytes())
    }

    /// Opens the file by its name again, after somebody else has put it aside.
    ///
    /// # Errors
    /// Those of open(2).
    pub(in crate::cli) fn reopen(&mut self) -> io::Result<()> {
        *self = Self::open(&self.path, self.limit, self.keep)?;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        for number in (0..self.keep).rev() {
            match fs::rename(self.numbered(number), self.numbered(number + 1)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        if self.keep == 0 {
            // Emptied, because Windows makes no file of this name while a removed one is open.
            File::create(&self.path)?;
        }
        self.reopen()
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        if number > 0 {
            name.push(format!(".{number}"));
        }
        name.into()
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_put_aside_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        for n in 0..7 {
            // As if it was started anew for each line.
            Rotation::open(&path, 10, 2).unwrap().write(&format!("line{n}\n")).unwrap();
        }
        assert_eq!([read("log"), read("log.1"), read("log.2")], ["line6\n", "line5\n", "line4\n"]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    }

    #[test]
    fn without_files_to_keep_it_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut rotation = Rotation::open(&path, 10, 0).unwrap();
        ["a longer line\n", "b\n"].iter().for_each(|line| rotation.write(line).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "b\n");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_somebody_else_put_aside_is_opened_again_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut rotation = Rotation::open(&path, 100, 2).unwrap();
        rotation.write("before\n").unwrap();
        fs::rename(&path, dir.path().join("old")).unwrap();
        rotation.reopen().unwrap();
        rotation.write("after\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "after\n");
    }
}
