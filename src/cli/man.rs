//! `man`: the manual, made of the same words as `--help`. Formats nothing for a terminal: that is man(1)'s job.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::CommandFactory;

use super::args::Args;
use super::status::print_line;
use super::{Failure, Outcome};

/// `usbpipe man [--out DIR]`.
pub(super) fn man(out: Option<PathBuf>) -> Outcome {
    match out {
        Some(dir) => {
            let fail = |e| Failure::run_time(format!("{}: cannot write the manual: {e}", dir.display()));
            pages(&dir).map(|()| 0).map_err(fail)
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Args::command()).render(&mut page).map_err(Failure::run_time)?;
            print_line(String::from_utf8_lossy(&page).trim_end())?;
            Ok(0)
        }
    }
}

/// A page for the program and one for each command.
fn pages(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    clap_mangen::generate_to(Args::command(), dir)
}
