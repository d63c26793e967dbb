//! Which pipes a command gets as which descriptors, with what its words ask for by `{…}`. It opens nothing.

use std::ffi::OsString;
use std::path::Path;

use super::wanted::{Descriptor, Name};
use crate::cli::args::ExecArgs;
use crate::session::Pass;

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
        let arguments = words.map(|word| with_paths(word, &mut descriptors)).collect();
        let (stdin, stdout) = if serial { (Some(Name::Receive), Some(Name::Send)) } else { (input, output) };
        let plan = Self { stdin, stdout, descriptors, program, arguments };
        if plan.names().next().is_none() && !plan.wants_port() {
            return Err(NOTHING.to_owned());
        }
        Ok(plan)
    }

    /// All pipes that it takes.
    pub(super) fn names(&self) -> impl Iterator<Item = Name> {
        let ends = [self.stdin, self.stdout].into_iter().flatten();
        ends.chain(self.descriptors.iter().map(|d| d.name))
    }

    /// Whether the command asks for the path of a serial port.
    pub(super) fn wants_port(&self) -> bool {
        self.arguments.iter().any(|word| word.to_str().is_some_and(|word| word.contains(PORT)))
    }

    /// The arguments, with this for the serial port.
    pub(super) fn arguments(&self, port: Option<&Path>) -> Vec<OsString> {
        let port = port.map_or_else(String::new, |port| port.display().to_string());
        let fill =
            |word: &OsString| word.to_str().map_or_else(|| word.clone(), |text| text.replace(PORT, &port).into());
        self.arguments.iter().map(fill).collect()
    }
}

/// The word with a path of a descriptor for each pipe that it names by `{…}`.
fn with_paths(word: OsString, descriptors: &mut Vec<Descriptor>) -> OsString {
    let Some(text) = word.to_str() else { return word };
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        let (before, brace) = rest.split_at(at);
        filled.push_str(before);
        let end = brace.find('}').map_or(brace.len(), |end| end + 1);
        match named(&brace[..end]) {
            Some(name) => {
                filled.push_str(&format!("/dev/fd/{}", number_of(name, descriptors)));
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

/// The pipe that `{ep_81}` and the like stand for. A socket has no path, so that `{serial}` stands for nothing.
fn named(braces: &str) -> Option<Name> {
    let inside = braces.strip_prefix('{')?.strip_suffix('}')?;
    let name: Name = inside.parse().ok()?;
    (name.to_string() == inside && name != Name::Serial).then_some(name)
}

/// The same pipe is the same descriptor in all words.
fn number_of(name: Name, descriptors: &mut Vec<Descriptor>) -> i32 {
    if let Some(known) = descriptors.iter().find(|d| d.name == name && d.pass == Pass::Pipe) {
        return known.number;
    }
    let is_free = |number: &i32| descriptors.iter().all(|d| d.number != *number);
    let number = (FIRST_FREE..).find(is_free).unwrap_or(FIRST_FREE);
    descriptors.push(Descriptor { number, name, pass: Pass::Pipe });
    number
}

/// What stands for the serial port in a command.
const PORT: &str = "{port}";
/// Shells and their scripts use those below.
const FIRST_FREE: i32 = 10;
const NOTHING: &str = "no pipe is given; say which by --in, --out, --serial or --fd, or in CMD by {port} or {ep_81}";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plan(fd: &[&str], command: &[&str]) -> Result<Plan, String> {
        Plan::new(ExecArgs {
            device: "d".to_owned(),
            input: None,
            output: None,
            serial: false,
            fd: fd.iter().map(|text| text.parse().unwrap()).collect(),
            command: command.iter().map(OsString::from).collect(),
        })
    }

    #[test]
    fn a_pipe_in_braces_is_a_descriptor_with_a_path() {
        let plan = plan(&["10=ep_02"], &["cmp", "{ep_81}", "x{ep_82},{ep_02}", "{ep_81}"]).unwrap();
        assert_eq!(plan.arguments(None), ["/dev/fd/11", "x/dev/fd/12,/dev/fd/10", "/dev/fd/11"]);
        let numbers: Vec<(i32, String)> = plan.descriptors.iter().map(|d| (d.number, d.name.to_string())).collect();
        assert_eq!(numbers, [(10, "ep_02".into()), (11, "ep_81".into()), (12, "ep_82".into())]);
    }

    #[test]
    fn other_braces_are_the_commands_own() {
        let words = ["{81}", "{serial}", "{ep_81", "{}{", "${x}"];
        let plan = plan(&["3=ep_81"], &[&["awk"], &words[..]].concat()).unwrap();
        assert_eq!(plan.arguments(None), words);
    }

    #[test]
    fn the_port_is_filled_in_when_it_is_known() {
        let plan = plan(&[], &["tio", "-b", "{port}"]).unwrap();
        assert!(plan.wants_port() && plan.names().next().is_none());
        assert_eq!(plan.arguments(Some(Path::new("/r/serial.tty"))), ["-b", "/r/serial.tty"]);
    }

    #[test]
    fn a_command_without_a_pipe_and_a_number_for_two_are_refused() {
        assert!(plan(&[], &["true"]).unwrap_err().contains("--serial"));
        assert!(plan(&["3=ep_81", "3=ep_02"], &["true"]).unwrap_err().contains("twice"));
    }

    proptest! {
        #[test]
        fn a_word_without_pipes_stays_as_it_is(word in "[{}a-z_0-9$é]{0,20}") {
            let mut descriptors = Vec::new();
            let filled = with_paths(word.clone().into(), &mut descriptors);
            prop_assert!(!descriptors.is_empty() || filled == *word);
        }
    }
}
