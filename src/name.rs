//! Device names as they stand on disk: turns any text into one safe path component. Knows no run dir and opens nothing.

/// Longest name in bytes, so that a name and its suffix stay far below the 108 bytes of a Unix socket address.
pub const MAX_LEN: usize = 64;

/// The nearest safe name: characters outside `[A-Za-z0-9._-]` and a leading dot become `_`, the rest is cut to
/// [`MAX_LEN`] bytes, and the daemon's own names in the run dir get a `_` appended. Sanitising twice changes nothing.
pub fn sanitize(raw: &str) -> String {
    let mut name: String = raw.chars().take(MAX_LEN).map(|c| if is_plain(c) { c } else { '_' }).collect();
    if name.is_empty() || name.starts_with('.') {
        name.replace_range(..name.len().min(1), "_");
    }
    if RESERVED.iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
        name.push('_');
    }
    name
}

/// The name of a device without a configuration: `vvvv-pppp` in hex, `-SERIAL` appended where it has a serial number.
pub fn from_ids(vid: u16, pid: u16, serial: Option<&str>) -> String {
    match serial {
        Some(serial) if !serial.is_empty() => sanitize(&format!("{vid:04x}-{pid:04x}-{serial}")),
        _ => format!("{vid:04x}-{pid:04x}"),
    }
}

/// The name of the `nth` device, counted from 1, of those that would all be called `base`: `base`, `base-2`, `base-3`…
pub fn twin(base: &str, nth: usize) -> String {
    let mut name = sanitize(base);
    if nth > 1 {
        let suffix = format!("-{nth}");
        name.truncate(MAX_LEN - suffix.len());
        name.push_str(&suffix);
    }
    name
}

/// The name shared by all outlets of an endpoint, from its address: `ep_81` is IN 1, `ep_02` is OUT 2.
pub fn endpoint_file(address: u8) -> String {
    format!("ep_{address:02x}")
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// What the daemon and the demo put beside the devices. Compared without case, as some file systems do.
const RESERVED: [&str; 4] = ["lock", "admin.sock", "detached", "mock.sock"];

/// The name of a device's serial line, counted from 0: `serial`, `serial-2`.
pub fn serial_line(nth: usize) -> String {
    if nth == 0 { "serial".to_owned() } else { format!("serial-{}", nth + 1) }
}

/// The serial line that an outlet belongs to: `serial-2` of `serial-2.rx`, if it belongs to one.
pub fn line_of_outlet(outlet: &str) -> Option<&str> {
    let (line, _) = outlet.split_once('.')?;
    is_serial_line(line).then_some(line)
}

/// Whether a serial line may be called so.
pub fn is_serial_line(name: &str) -> bool {
    let number = name.strip_prefix("serial-").and_then(|number| number.parse::<usize>().ok());
    name == "serial" || number.is_some_and(|n| n > 1 && serial_line(n - 1) == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_safe(name: &str) -> bool {
        (1..=MAX_LEN).contains(&name.len())
            && name.chars().all(is_plain)
            && !name.starts_with('.')
            && !RESERVED.contains(&name)
    }

    #[test]
    fn a_plain_name_stays_as_it_is() {
        assert_eq!(sanitize("Probe_2.a-b"), "Probe_2.a-b");
    }

    #[test]
    fn a_path_cannot_leave_the_run_dir() {
        assert_eq!(sanitize("../../etc/passwd"), "_._.._etc_passwd");
        assert_eq!(sanitize(".."), "_.");
        assert_eq!(sanitize("."), "_");
        assert_eq!(sanitize("a\0b\n"), "a_b_");
    }

    #[test]
    fn an_empty_name_becomes_an_underscore() {
        assert_eq!(sanitize(""), "_");
    }

    #[test]
    fn the_daemons_own_names_are_left_to_it() {
        assert_eq!(sanitize("lock"), "lock_");
        assert_eq!(sanitize("Admin.Sock"), "Admin.Sock_");
        assert_eq!(sanitize("mock.sock"), "mock.sock_");
    }

    #[test]
    fn ids_are_four_hex_digits_and_an_empty_serial_number_adds_nothing() {
        assert_eq!(from_ids(0x2341, 0x43, None), "2341-0043");
        assert_eq!(from_ids(0x2341, 0x43, Some("")), "2341-0043");
        assert_eq!(from_ids(0x2341, 0x43, Some("A/B")), "2341-0043-A_B");
    }

    #[test]
    fn twins_are_counted_from_two_and_keep_their_number_when_cut() {
        assert_eq!(twin("zero", 1), "zero");
        assert_eq!(twin("zero", 2), "zero-2");
        assert!(twin(&"x".repeat(80), 17).ends_with("x-17"));
    }

    #[test]
    fn serial_lines_are_counted_from_two_and_their_outlets_say_which_it_is() {
        for nth in [0, 1, 9] {
            let line = serial_line(nth);
            assert!(is_serial_line(&line));
            assert_eq!(line_of_outlet(&format!("{line}.rx")), Some(line.as_str()));
        }
        assert_eq!((serial_line(0), serial_line(1)), ("serial".to_owned(), "serial-2".to_owned()));
        assert!(["serial-1", "serial-02", "serial-", "serialx", "ep_81"].iter().all(|name| !is_serial_line(name)));
        assert_eq!(line_of_outlet("ep_81.sock"), None);
    }

    #[test]
    fn endpoints_are_named_by_their_address() {
        assert_eq!(endpoint_file(0x81), "ep_81");
        assert_eq!(endpoint_file(0x02), "ep_02");
    }

    proptest! {
        #[test]
        fn whatever_a_device_claims_to_be_called_its_name_is_safe(
            raw in prop_oneof![any::<String>(), "[./\\\\\0-\u{1f}\u{7f}]{0,80}", "(?i)lock|admin\\.sock|mock\\.sock"],
            nth in any::<usize>(),
            vid in any::<u16>(),
        ) {
            let name = sanitize(&raw);
            prop_assert!(is_safe(&name), "{name:?}");
            prop_assert_eq!(sanitize(&name), name.clone());
            for made in [twin(&raw, nth), twin(&name, nth), from_ids(vid, vid, Some(&raw))] {
                prop_assert!(is_safe(&made), "{made:?}");
                prop_assert_eq!(sanitize(&made), made.clone());
            }
        }

        #[test]
        fn twins_of_one_name_differ(raw in any::<String>(), a in 1usize..5000, b in 1usize..5000) {
            prop_assert_eq!(twin(&raw, a) == twin(&raw, b), a == b);
        }
    }
}
