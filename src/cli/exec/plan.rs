//! Which pipes a command gets as which descriptors, with what its words ask for by `{…}`. It opens nothing.

use std::ffi::OsString;
use std::path::Path;

use super::inherit;
use super::wanted::{Descriptor, Name};
use crate::cli::args::ExecArgs;

/// What a command gets.
#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    pub(super) stdin: Option<Name>,
    pub(super) stdout: Option<Name>,
    pub(super) descriptors: Vec<Descriptor>,
    pub(super) program: OsString,
    arguments: Vec<OsString>,
}

impl Plan {
    /// What was asked for.
    ///
    /// # Errors
    /// That it makes no sense, in words for the user.
    pub(super) fn new(args: ExecArgs) -> Result<Self, String> {
        let ExecArgs { input, output, serial, fd: mut descriptors, command, .. } = args;
        let twice = |d: &Descriptor| descriptors.iter().filter(|other| other.number == d.number).count() > 1;
        if let Some(d) = descriptors.iter().find(|d| twice(d)) {
            return Err(format!("--fd {} is given twice; each descriptor is one pipe", d.number));
        }
        let mut words = command.into_iter();
        let program = words.next().ok_or("no command is given; write it behind --")?;
        let arguments = words.map(|word| filled(word, |name| inherit::number(name, &mut descriptors))).collect();
        let (stdin, stdout) = if serial { (Some(Name::Receive), Some(Name::Send)) } else { (input, output) };
        let plan = Self { stdin, stdout, descriptors, program, arguments };
        if plan.names().next().is_none() && !plan.wants_port() && plan.standing().is_empty() {
            return Err(NOTHING.to_owned());
        }
        Ok(plan)
    }

    /// Pipes that the command opens by itself.
    pub(super) fn standing(&self) -> Vec<Name> {
        let mut names = Vec::new();
        for word in &self.arguments {
            filled(word.clone(), |name| {
                names.push(name);
                None
            });
        }
        names
    }

    /// All pipes that it is given.
    pub(super) fn names(&self) -> impl Iterator<Item = Name> {
        let ends = [self.stdin, self.stdout].into_iter().flatten();
        ends.chain(self.descriptors.iter().map(|d| d.name))
    }

    /// Whether the command asks for the path of a serial port.
    pub(super) fn wants_port(&self) -> bool {
        self.arguments.iter().any(|word| word.to_str().is_some_and(|word| word.contains(PORT)))
    }

    /// The arguments, with this for the serial port, and the names of the pipes in the device's folder.
    pub(super) fn arguments(&self, port: Option<&Path>, folder: &Path) -> Vec<OsString> {
        let port = port.map_or_else(String::new, |port| port.display().to_string());
        let fill =
            |word: &OsString| word.to_str().map_or_else(|| word.clone(), |text| text.replace(PORT, &port).into());
        let named = |word| filled(word, |name| Some(folder.join(inherit::outlet(name)).display().to_string()));
        self.arguments.iter().map(fill).map(named).collect()
    }
}

/// The word with a path for each pipe that it names by `{…}`, unless there is none.
fn filled(word: OsString, mut path: impl FnMut(Name) -> Option<String>) -> OsString {
    let Some(text) = word.to_str() else { return word };
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        let (before, brace) = rest.split_at(at);
        filled.push_str(before);
        let end = brace.find('}').map_or(brace.len(), |end| end + 1);
        match named(&brace[..end]).and_then(&mut path) {
            Some(path) => {
                filled.push_str(&path);
                rest = &brace[end..];
            }
            None => {
                filled.push('{');
                rest = &brace[1..];
            }
        }
    }
    filled.push_str(rest);
    filled.into()
}

/// The pipe that `{ep_81}` and the like stand for.
fn named(braces: &str) -> Option<Name> {
    let inside = braces.strip_prefix('{')?.strip_suffix('}')?;
    let name: Name = inside.parse().ok()?;
    (name.to_string() == inside && inherit::has_path(name)).then_some(name)
}

/// What stands for the serial port in a command.
const PORT: &str = "{port}";
const NOTHING: &str = "no pipe is given; say which by --in, --out, --serial or --fd, or in CMD by {port} or {ep_81}";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cli::options::BridgeArgs;

    fn plan(fd: &[&str], command: &[&str]) -> Result<Plan, String> {
        Plan::new(ExecArgs {
            device: "d".to_owned(),
            input: None,
            output: None,
            serial: false,
            fd: fd.iter().map(|text| text.parse().unwrap()).collect(),
            options: BridgeArgs::default(),
            command: command.iter().map(OsString::from).collect(),
        })
    }

    #[test]
    fn the_port_is_filled_in_when_it_is_known() {
        let plan = plan(&[], &["tio", "-b", "{port}"]).unwrap();
        assert!(plan.wants_port() && plan.names().next().is_none());
        let arguments = plan.arguments(Some(Path::new("/r/serial.tty")), Path::new("/r"));
        assert_eq!(arguments, ["-b", "/r/serial.tty"]);
    }

    #[test]
    fn a_command_without_a_pipe_and_a_number_for_two_are_refused() {
        assert!(plan(&[], &["true"]).unwrap_err().contains("--serial"));
        assert!(plan(&["3=ep_81", "3=ep_02"], &["true"]).unwrap_err().contains("twice"));
    }

    proptest! {
        #[test]
        fn a_word_without_pipes_stays_as_it_is(word in "[{}a-z_0-9$é]{0,20}") {
            let mut asked = 0;
            let filled = filled(word.clone().into(), |_| {
                asked += 1;
                Some("path".to_owned())
            });
            prop_assert!(asked > 0 || filled == *word);
        }
    }
}
