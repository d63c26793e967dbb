//! Where outlets stand on Windows: a prefix of pipe names, and beside it a folder of this user's for plain files. Pipes
//! vanish with their last handle, so that nothing of them is ever left behind.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use super::{Access, Credentials, DirError, Want};

/// A prefix of pipe names and its folder.
#[derive(Debug, Clone)]
pub struct Dir {
    pipes: PathBuf,
    folder: PathBuf,
}

impl Dir {
    /// The prefix `path`, such as `\\.\pipe\usbpipe`, with its folder, which is made where it is missing. The second value
    /// says whether it was made.
    ///
    /// # Errors
    /// [`DirError`] when it is no such prefix, or the folder cannot be made.
    pub fn open_or_create(path: &Path) -> Result<(Self, bool), DirError> {
        let name = Self::name(path)?;
        let folder = local_data().join("usbpipe").join(folder_name(&name));
        let is_new = !folder.is_dir();
        fs::create_dir_all(&folder).map_err(|e| DirError::from_io(&folder, "cannot make the folder", e))?;
        Ok((Self { pipes: Path::new(PIPES).join(name), folder }, is_new))
    }

    /// A prefix that no other process takes.
    ///
    /// # Errors
    /// [`DirError`] when its folder cannot be made.
    pub fn private(prefix: &str) -> Result<Self, DirError> {
        Ok(Self::open_or_create(&Path::new(PIPES).join(format!("{prefix}-{}", std::process::id())))?.0)
    }

    /// What the names of its pipes begin with, after `\\.\pipe\`. Makes nothing.
    ///
    /// # Errors
    /// [`DirError`] when `path` is no prefix of pipe names.
    pub fn name(path: &Path) -> Result<String, DirError> {
        pipe_name(path).ok_or_else(|| {
            DirError::new(path, r"is no prefix of pipe names; on Windows --dir is one such as \\.\pipe\usbpipe")
        })
    }

    /// The directory `name` in this one. Owner, group and mode are Unix's and are refused before this.
    ///
    /// # Errors
    /// [`DirError`] when its folder cannot be made.
    pub fn subdir(&self, name: &str, _access: &Access) -> Result<Self, DirError> {
        let folder = self.folder.join(folder_of(name));
        fs::create_dir_all(&folder).map_err(|e| DirError::from_io(&folder, "cannot make the folder", e))?;
        Ok(Self { pipes: self.pipes.join(name), folder })
    }

    /// Replaces the file `name` as a whole: readers see the old or the new content, never a part. Who may read it is the
    /// folder's matter.
    ///
    /// # Errors
    /// [`DirError`] when it cannot be written.
    pub fn write_file(&self, name: &str, content: &[u8], _mode: u32, _access: &Access) -> Result<(), DirError> {
        let (path, temporary) = (self.file_path(name), self.file_path(&format!(".{name}.new")));
        let written = fs::write(&temporary, content).and_then(|()| fs::rename(&temporary, &path));
        written.map_err(|e| DirError::from_io(&path, "cannot write", e))
    }

    /// What the file `name` holds; `None` where there is none.
    ///
    /// # Errors
    /// [`DirError`] when it cannot be read.
    pub fn read_file(&self, name: &str) -> Result<Option<String>, DirError> {
        let path = self.file_path(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(DirError::from_io(&path, "cannot read", e)),
        }
    }

    /// Whether the file `name` is the one that is open here: nobody can remove one that is locked.
    pub fn holds(&self, name: &str, _file: &File) -> bool {
        self.file_path(name).is_file()
    }

    /// Removes the file `name`; one that is not there is as good.
    pub fn remove(&self, name: &str) {
        let _ = fs::remove_file(self.file_path(name));
    }

    /// Removes what daemons make in a device's folder.
    pub fn clear(&self) {
        self.remove(DEVICE);
        self.remove(&format!(".{DEVICE}.new"));
    }

    /// Names of folders in this one that look like a device's.
    pub fn device_dirs(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let devices = entries.filter(|entry| entry.path().join(DEVICE).is_file());
        let folders = devices.filter_map(|entry| entry.file_name().into_string().ok());
        folders.map(|folder| folder.trim_end_matches(MARK).to_owned()).collect()
    }

    /// Opens the file `name` for reading and writing, making it where it is missing.
    ///
    /// # Errors
    /// [`DirError`] when it cannot be opened.
    pub fn open_file(&self, name: &str) -> Result<File, DirError> {
        let path = self.file_path(name);
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        opened.map_err(|e| DirError::from_io(&path, "cannot open", e))
    }

    /// Removes the folder `name` if it is empty.
    pub fn remove_subdir(&self, name: &str) {
        let _ = fs::remove_dir(self.folder.join(folder_of(name)));
    }

    /// Whether a process with these credentials may enter it: a prefix has no doors.
    pub fn lets_in(&self, _who: &Credentials) -> bool {
        true
    }

    /// Whether a process with these credentials may open the outlet `name`: any that Windows let in.
    pub fn lets_open(&self, _name: &str, _want: Want, _who: &Credentials) -> bool {
        true
    }

    /// Where the file `name` stands.
    pub fn file_path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Removes the folder itself if it is empty.
    pub fn remove_itself(&self) {
        let _ = fs::remove_dir(&self.folder);
    }

    /// What the names of its pipes begin with.
    pub fn path(&self) -> &Path {
        &self.pipes
    }
}

/// What follows `\\.\pipe\`, which may be written with other slashes.
fn pipe_name(path: &Path) -> Option<String> {
    let text = path.to_str()?.replace('/', r"\");
    let prefix = text.get(..PIPES.len()).filter(|start| start.eq_ignore_ascii_case(PIPES))?;
    let name = text[prefix.len()..].trim_matches('\\');
    let is_plain = name.chars().all(|c| !c.is_control() && !r#":*?"<>|"#.contains(c)) && !name.contains("..");
    (!name.is_empty() && is_plain && name.len() <= LONGEST_NAME).then(|| name.to_owned())
}

/// The folder of a prefix: a name of its own, which leads nowhere else.
fn folder_name(name: &str) -> String {
    name.replace('\\', "+")
}

/// The folder of the device `name`. Windows takes `COM5` and `nul` for devices of its own, and drops a full stop at the end.
fn folder_of(name: &str) -> String {
    let stem = name.split('.').next().unwrap_or(name).to_ascii_uppercase();
    let numbered = |prefix| stem.strip_prefix(prefix).is_some_and(|n| n.len() == 1 && n.as_bytes()[0].is_ascii_digit());
    let is_taken = TAKEN.contains(&&*stem) || numbered("COM") || numbered("LPT") || name.ends_with('.');
    if is_taken { format!("{name}{MARK}") } else { name.to_owned() }
}

/// The folder of this user's programs' data that stays on this machine.
fn local_data() -> PathBuf {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("LOCALAPPDATA").or_else(|| set("APPDATA")).unwrap_or_else(env::temp_dir)
}

const PIPES: &str = r"\\.\pipe\";
const DEVICE: &str = "device.json";
/// Names of Windows' own devices, beside COM0 to COM9 and LPT0 to LPT9.
const TAKEN: [&str; 4] = ["CON", "PRN", "AUX", "NUL"];
/// What the name of a device never has.
const MARK: char = '+';
/// A pipe's whole name has at most 256 characters: CreateNamedPipe.
const LONGEST_NAME: usize = 120;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_taken_with_any_slashes_and_leads_nowhere_else() {
        let name = |text: &str| pipe_name(Path::new(text));
        assert_eq!(name(r"\\.\pipe\usbpipe").as_deref(), Some("usbpipe"));
        assert_eq!(name("//./PIPE/lab/one/").as_deref(), Some(r"lab\one"));
        for wrong in [r"C:\usbpipe", r"\\.\pipe\", r"\\.\pipe\a\..\b", r"\\.\pipe\a:b", r"\\host\pipe\usbpipe", ""] {
            assert_eq!(name(wrong), None, "{wrong}");
        }
        assert_eq!(folder_name(r"lab\one"), "lab+one");
    }

    #[test]
    fn a_device_may_be_called_as_one_of_windows() {
        for name in ["COM5", "com5", "nul", "Aux.2", "con.x.y", "lpt0", "uno."] {
            assert_eq!(folder_of(name), format!("{name}+"));
        }
        for name in ["com", "com10", "comb", "console", "uno", "null", "x.com5"] {
            assert_eq!(folder_of(name), name);
        }
    }
}
