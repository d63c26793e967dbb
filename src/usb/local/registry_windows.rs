//! The list of serial ports that Windows keeps in its registry, and news of changes to it. Opens no port.
//!
//! Drivers enter a port when it comes and strike it off when it goes, whatever is behind it. One thread of the process waits
//! for changes, from the first question on.

use std::io;
use std::ptr::{null, null_mut};
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;
use windows_sys::Win32::Foundation::{ERROR_SUCCESS, FALSE, HANDLE, TRUE};
use windows_sys::Win32::System::Registry::{
    HKEY, HKEY_LOCAL_MACHINE, KEY_NOTIFY, KEY_QUERY_VALUE, REG_NOTIFY_CHANGE_LAST_SET, REG_NOTIFY_CHANGE_NAME, REG_SZ,
    RegCloseKey, RegEnumValueW, RegNotifyChangeKeyValue, RegOpenKeyExW,
};

/// The names of the serial ports that there are, such as `COM5`.
pub fn serial_port_names() -> Vec<String> {
    let Ok(key) = Key::open(PORTS, KEY_QUERY_VALUE) else { return Vec::new() };
    (0..).map_while(|index| key.text(index)).flatten().collect()
}

/// Changes whenever the list may have.
///
/// # Errors
/// Those of RegOpenKeyEx and of starting a thread.
pub fn serial_port_changes() -> io::Result<watch::Receiver<()>> {
    static RUNNING: Mutex<Option<watch::Receiver<()>>> = Mutex::new(None);
    let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    if running.is_none() {
        // The list itself is not there before the first port, so the key above it is watched.
        let key = Key::open(DEVICES, KEY_NOTIFY)?;
        let (sender, receiver) = watch::channel(());
        std::thread::Builder::new().name("serial ports".to_owned()).spawn(move || watch_key(&key, &sender))?;
        *running = Some(receiver);
    }
    let mut changes = running.clone().ok_or(io::ErrorKind::NotFound)?;
    changes.mark_unchanged();
    Ok(changes)
}

/// Until the registry cannot be watched any more.
fn watch_key(key: &Key, news: &watch::Sender<()>) {
    while key.changed() {
        news.send_replace(());
    }
}

/// An open key of the registry.
struct Key(HKEY);

// SAFETY: a key may be used by any thread: "Registry Functions" name none that may not.
unsafe impl Send for Key {}

impl Key {
    fn open(path: &str, rights: u32) -> io::Result<Self> {
        let path: Vec<u16> = path.encode_utf16().chain([0]).collect();
        let mut key = null_mut();
        // SAFETY: the path ends with a zero, and both pointers outlive the call.
        match unsafe { RegOpenKeyExW(HKEY_LOCAL_MACHINE, path.as_ptr(), 0, rights, &mut key) } {
            ERROR_SUCCESS => Ok(Self(key)),
            code => Err(io::Error::from_raw_os_error(code as i32)),
        }
    }

    /// Waits until something in the key or below it has changed.
    fn changed(&self) -> bool {
        let what = REG_NOTIFY_CHANGE_NAME | REG_NOTIFY_CHANGE_LAST_SET;
        let no_event: HANDLE = null_mut();
        // SAFETY: the key is open, and without an event the call itself waits.
        unsafe { RegNotifyChangeKeyValue(self.0, TRUE, what, no_event, FALSE) == ERROR_SUCCESS }
    }

    /// The text of this value: `None` beyond the last, `Some(None)` for what is no text.
    fn text(&self, index: u32) -> Option<Option<String>> {
        let (mut name, mut data) = ([0u16; LONGEST], [0u16; LONGEST]);
        let (mut name_length, mut length, mut kind) = (LONGEST as u32, size_of_val(&data) as u32, 0);
        // SAFETY: the lengths are those of the buffers, the one of the name in characters and the other in bytes.
        let code = unsafe {
            let (name, data) = (name.as_mut_ptr(), data.as_mut_ptr().cast());
            RegEnumValueW(self.0, index, name, &mut name_length, null(), &mut kind, data, &mut length)
        };
        let text = data[..length as usize / 2].split(|&unit| unit == 0).next().unwrap_or_default();
        (code == ERROR_SUCCESS).then(|| (kind == REG_SZ).then(|| String::from_utf16_lossy(text)))
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: the key is open and used no more.
        unsafe { RegCloseKey(self.0) };
    }
}

const DEVICES: &str = r"HARDWARE\DEVICEMAP";
const PORTS: &str = r"HARDWARE\DEVICEMAP\SERIALCOMM";
/// Characters of the longest name or text here; a driver's name for a port has some twenty.
const LONGEST: usize = 256;
