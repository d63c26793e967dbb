//! Words and paths as people write them on Windows: blanks, quotes, backslashes, and slashes the other way.

use std::fs;
use std::io::Read;
use std::os::windows::io::AsRawHandle;
use std::path::{Path, PathBuf};
use std::process::Output;

use firmware_mock::DeviceKind::{Knob, Regs, Uno, Zero};
use tempfile::TempDir;
use windows_sys::Win32::Foundation::{HANDLE_FLAG_INHERIT, SetHandleInformation};

use crate::common::{Bus, Daemon, outlet, output, start_child, usbpipe, wait_for};
use crate::plain::client;

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap().replace("\r\n", "\n")
}

/// The C program at a path with blanks and other letters.
fn client_at(folder: &Path) -> PathBuf {
    fs::create_dir_all(folder).unwrap();
    let path = folder.join("the client.exe");
    fs::copy(client().get_program(), &path).unwrap();
    path
}

fn exec(daemon: &Daemon, words: &[&str]) -> Output {
    daemon.ask(&[&["exec"], words].concat())
}

#[test]
fn execs_command_gets_its_words_as_they_were_typed() {
    let bus = Bus::with(&[Knob]);
    let daemon = Daemon::run(&bus.device("knob", ""));
    let temp = TempDir::new().unwrap();
    let program = client_at(&temp.path().join("Meßgeräte & more (neu)"));
    let words = ["a b", "c\"d", r"\\server\share\", r"ends with \ ", "", "%PATH%", "^&|<>", r#"a\"b"#, "日本"];
    for program in [program.to_str().unwrap().to_owned(), program.to_str().unwrap().replace('\\', "/")] {
        let command = ["knob", "--in", "ep_81", "--", &program, "words"];
        let output = exec(&daemon, &[&command[..], &words].concat());
        assert!(output.status.success(), "{output:?}");
        assert_eq!(text(&output.stdout), words.map(|word| format!("{word}\n")).concat());
    }
}

#[test]
fn execs_command_inherits_nothing_that_was_left_open_for_usbpipe() {
    let bus = Bus::with(&[Knob]);
    let daemon = Daemon::run(&bus.device("knob", ""));
    let (mut reader, writer) = std::io::pipe().unwrap();
    // SAFETY: the handle is open.
    assert_ne!(unsafe { SetHandleInformation(writer.as_raw_handle(), HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT) }, 0);
    let number = (writer.as_raw_handle() as usize).to_string();
    let alone = output(client().args(["leak", &number]));
    assert!(alone.status.success(), "a program that is started directly has it: {alone:?}");
    let program = client();
    let words = ["knob", "--in", "ep_81", "--", program.get_program().to_str().unwrap(), "leak", &number];
    let given = exec(&daemon, &words);
    assert_eq!(given.status.code(), Some(1), "there is none: {given:?}");
    drop(writer);
    let mut line = [0; 7];
    reader.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"leaked\n");
}

#[test]
fn execs_command_has_the_board_as_its_stdin_and_stdout() {
    let bus = Bus::with(&[Uno]);
    let daemon = Daemon::run(&bus.device("uno", "[device.serial]\n"));
    let temp = TempDir::new().unwrap();
    let file = temp.path().join("what was heard.txt");
    let heard = || fs::read_to_string(&file).unwrap_or_default();
    let mut command = usbpipe();
    command.arg("--dir").arg(&daemon.dir).args(["exec", "uno", "--serial", "--"]);
    let mut child = start_child(command.arg(client().get_program()).arg("logger").arg(&file));
    let answer = || {
        // What it asked while the board booted was heard by nobody.
        std::io::Write::write_all(&mut daemon.writer("uno/serial.tx"), b"PING 1\n").unwrap();
        heard().contains("PONG 1\n").then_some(())
    };
    wait_for(answer, heard);
    let clients = daemon.pipe("uno", "serial.rx")["clients"].to_string();
    assert!(clients.contains("client.exe"), "{clients}");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn the_configuration_is_found_in_appdata_then_in_programdata_and_named_with_any_slashes() {
    let bus = Bus::with(&[Knob]);
    let temp = TempDir::new().unwrap();
    let folders = ["Roaming", "ProgramData"].map(|name| temp.path().join(name));
    let check = |words: &[&str]| {
        let mut command = usbpipe();
        command.current_dir(temp.path()).env("APPDATA", &folders[0]).env("PROGRAMDATA", &folders[1]).args(words);
        output(&mut command)
    };
    let none = check(&["config", "check"]);
    let said = text(&none.stderr);
    assert_eq!(none.status.code(), Some(2));
    assert!(
        said.contains(r"Roaming\usbpipe\usbpipe.toml") && said.contains(r"ProgramData\usbpipe\usbpipe.toml"),
        "{said}"
    );
    for (folder, name) in folders.iter().zip(["mine", "everybody's"]).rev() {
        fs::create_dir_all(folder.join("usbpipe")).unwrap();
        fs::write(folder.join(r"usbpipe\usbpipe.toml"), format!("[[device]]\nname = \"{name}\"\nmatch = 5\n")).unwrap();
        let said = text(&check(&["config", "check"]).stderr);
        assert!(said.contains(&format!(r"{}\usbpipe\usbpipe.toml:3:9", folder.display())), "{said}");
    }
    let file = temp.path().join("elsewhere.toml");
    fs::write(&file, bus.device("knob", "")).unwrap();
    let file = file.to_str().unwrap();
    for written in [file.to_owned(), file.replace('\\', "/"), "elsewhere.toml".into(), r".\elsewhere.toml".into()] {
        let good = check(&["config", "check", "-c", &written]);
        assert!(good.status.success(), "{written}: {good:?}");
    }
}

#[test]
fn the_names_of_pipes_are_taken_with_any_slashes_and_letters() {
    let bus = Bus::with(&[Regs, Zero]);
    let daemon = Daemon::run(&[bus.device("regs", ""), bus.device("zero", "")].concat());
    let dir = daemon.dir.to_str().unwrap();
    for written in [dir.replace('\\', "/"), dir.to_uppercase(), format!(r"{dir}\")] {
        let answer = |words: &[&str]| {
            let output = output(usbpipe().arg("--dir").arg(&written).arg("control").args(words));
            text(&[output.stdout, output.stderr].concat())
        };
        assert_eq!(answer(&["regs", "out 0x40 1 0 0 cafe"]), "ok\n", "{written}");
        assert_eq!(answer(&["regs", "in", "0xc0", "2", "0", "0", "2"]), "ok cafe\n", "{written}");
    }
    let pipe = outlet(Path::new(&dir.to_uppercase()), "ZERO/EP_81");
    assert_eq!(crate::common::read_exactly(fs::File::open(pipe).unwrap(), 512).1.len(), 512);
}
