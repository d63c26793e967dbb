//! docs/configuration.md is what the program's reference says, and man(1) can show the same as a page.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use usbpipe::config::reference::{manual, markdown};

/// `LOOK_ANEW=1` writes the document, as it writes screens.
#[test]
fn the_document_in_the_tree_is_the_one_that_is_generated() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    if std::env::var_os("LOOK_ANEW").is_some() {
        fs::write(&path, markdown()).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    let changed = there.lines().zip(markdown().lines()).find(|(old, new)| old != new).map(|(_, new)| new.to_owned());
    assert!(
        there == markdown(),
        "docs/configuration.md is not what src/config/reference/tables.rs says, first at {changed:?}; \
         `LOOK_ANEW=1 cargo test --test reference` writes it"
    );
}

#[test]
fn man_formats_the_page_without_a_warning() {
    let mut command = Command::new("groff");
    command
        .args(["-man", "-Tutf8", "-ww", "-rLL=100n"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let Ok(mut groff) = command.spawn() else {
        return println!("skipped: man_formats_the_page_without_a_warning: groff is not installed");
    };
    groff.stdin.take().unwrap().write_all(manual().as_bytes()).unwrap();
    let output = groff.wait_with_output().unwrap();
    let (shown, said) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success() && said.is_empty(), "{said}");
    for words in
        ["usbpipe.toml - configuration of usbpipe", "match = { vid = 0x1209, pid = 0x0001 }", "isochronous OUT"]
    {
        assert!(shown.contains(words), "{words:?} is not in {shown}");
    }
}
