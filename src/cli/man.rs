//! `man`: the manual, made of the same words as `--help` and of the configuration's reference. Formats nothing for a terminal: that is man(1)'s job.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::CommandFactory;

use super::args::{Args, CONFIG_PAGE};
use super::status::print_line;
use super::{Failure, Outcome};
use crate::config::reference;

/// `usbpipe man [PAGE]` and `usbpipe man --out DIR`.
pub(super) fn man(page: &str, out: Option<PathBuf>) -> Outcome {
    match out {
        Some(dir) => {
            let fail = |e| Failure::run_time(format!("{}: cannot write the manual: {e}", dir.display()));
            pages(&dir).map(|()| 0).map_err(fail)
        }
        None if page == CONFIG_PAGE => print_line(reference::manual().trim_end()).map(|()| 0),
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Args::command()).render(&mut page).map_err(Failure::run_time)?;
            print_line(String::from_utf8_lossy(&page).trim_end())?;
            Ok(0)
        }
    }
}

/// A page for the program, one for each command, and one for the configuration.
fn pages(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    clap_mangen::generate_to(Args::command(), dir)?;
    fs::write(dir.join(format!("{CONFIG_PAGE}.5")), reference::manual())
}
