//! What to do about what Linux refuses, on one line: a device node that this user may not open (the rule to install or
//! the group to join), and memory for transfers. Opens nothing and changes nothing.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{Gid, Group, Uid, User, getegid, geteuid, getgroups};

/// The end of a sentence about the device `vid:pid` whose `node` (`/dev/bus/usb/001/004`, `/dev/ttyACM0`) could not be
/// opened for lack of permission: whose node it is, and the commands that give access. One line without a full stop.
pub fn permission_advice(vid: u16, pid: u16, node: &Path) -> String {
    let me = Me::current();
    advice(&me.install(vid, pid, group_id(SERVICE_GROUP)), &Node::of(node), &me)
}

/// The same for a serial port by its name, such as `/dev/ttyS0`, whatever is behind it. It has a group by itself; a rule
/// adds the person at the seat.
pub fn port_permission_advice(node: &Path) -> String {
    let plain = |name: &&str| name.bytes().all(|b| b.is_ascii_alphanumeric());
    let install = match node.strip_prefix("/dev").ok().and_then(Path::to_str).filter(plain) {
        Some(name) => format!("if you sit at this machine, {}", install(&format!("/dev/{name}"), name)),
        None => "run usbpipe as its owner".to_owned(),
    };
    advice(&install, &Node::of(node), &Me::current())
}

/// A file of its own for each device, so that one does not replace another, and before `73-seat-late.rules`, where the
/// access by seat is given.
fn install(selector: &str, name: &str) -> String {
    format!(
        "install the rule: usbpipe udev {selector} | sudo tee /etc/udev/rules.d/61-usbpipe-{name}.rules && sudo udevadm \
         control --reload && sudo udevadm trigger -s usb -s tty"
    )
}

/// The end of a sentence about transfers for which usbfs gave no memory: how much it lends at most, and how that is
/// changed.
pub(super) fn transfer_memory_advice() -> String {
    memory_advice(fs::read_to_string(TRANSFER_MEMORY).ok().and_then(|text| text.trim().parse().ok()))
}

/// `limit` in MiB; 0 is none.
fn memory_advice(limit: Option<u32>) -> String {
    let lower = "lower `transfer` or `queue`";
    match limit {
        Some(0) | None => format!("the kernel is short of memory for transfers; {lower}, or end other programs"),
        Some(limit) => format!(
            "the kernel lends {limit} MiB (usbfs_memory_mb) for the transfers of all programs together; {lower} of the \
             pipe, or raise the limit: echo {} | sudo tee {TRANSFER_MEMORY}",
            RAISED_MEMORY.max(limit.saturating_mul(2))
        ),
    }
}

/// A device node as `stat` shows it.
struct Node {
    path: String,
    owner: String,
    group: String,
    gid: Gid,
    mode: u32,
    /// Why it could not be looked at.
    problem: Option<String>,
}

/// Who asks.
struct Me {
    name: String,
    groups: Vec<Gid>,
    /// Groups of the user database, which a session that is older than the change does not have yet.
    listed: Vec<String>,
}

fn advice(install: &str, node: &Node, me: &Me) -> String {
    let Node { path, owner, group, mode, .. } = node;
    if let Some(problem) = &node.problem {
        return format!("{path} cannot be looked at ({problem}); {install}");
    }
    let whose = format!("{path} is for user {owner} and group {group} (mode {mode:04o})");
    if !node.is_for_its_group() || group == "root" {
        return format!("{whose}; {install}");
    }
    if me.groups.contains(&node.gid) {
        return format!(
            "{whose}, which you are in: something else forbids it, such as the limits of a container or DeviceAllow= of \
             a systemd unit"
        );
    }
    format!("{whose}; {}, or {install}", me.join(group))
}

impl Node {
    fn of(path: &Path) -> Self {
        let shown = path.display().to_string();
        match fs::metadata(path) {
            Ok(found) => {
                let (uid, gid) = (Uid::from_raw(found.uid()), Gid::from_raw(found.gid()));
                let mode = found.mode() & 0o7777;
                Self { path: shown, owner: user_name(uid), group: group_name(gid), gid, mode, problem: None }
            }
            Err(e) => Self {
                path: shown,
                owner: String::new(),
                group: String::new(),
                gid: Gid::from_raw(0),
                mode: 0,
                problem: Some(e.to_string()),
            },
        }
    }

    fn is_for_its_group(&self) -> bool {
        self.mode & GROUP_READS_AND_WRITES == GROUP_READS_AND_WRITES
    }
}

impl Me {
    fn current() -> Self {
        let name = user_name(geteuid());
        let mut groups = getgroups().unwrap_or_default();
        groups.push(getegid());
        let listed = [SERVICE_GROUP, "dialout", "plugdev", "uucp"].map(str::to_owned).into_iter();
        let listed = listed.filter(|group| is_member(group, &name)).collect();
        Self { name, groups, listed }
    }

    fn join(&self, group: &str) -> String {
        if self.listed.iter().any(|listed| listed == group) {
            return format!("you have joined {group}, so log in again");
        }
        format!("join the group and log in again: sudo usermod -aG {group} {}", self.name)
    }

    /// The commands that install the rules for a device, which give it to [`SERVICE_GROUP`], and let this user into that
    /// group.
    fn install(&self, vid: u16, pid: u16, group: Option<Gid>) -> String {
        let rule = install(&format!("{vid:04x}:{pid:04x}"), &format!("{vid:04x}-{pid:04x}"));
        if group.is_some_and(|gid| self.groups.contains(&gid)) {
            return rule;
        }
        // udevd ignores a group that is not there when it reads the rule.
        let make = if group.is_none() { "make its group: sudo groupadd --system usbpipe; " } else { "" };
        format!("{make}{rule}; then, unless you sit at this machine, {}", self.join(SERVICE_GROUP))
    }
}

fn is_member(group: &str, user: &str) -> bool {
    matches!(Group::from_name(group), Ok(Some(found)) if found.mem.iter().any(|name| name == user))
}

fn group_id(name: &str) -> Option<Gid> {
    Group::from_name(name).ok().flatten().map(|group| group.gid)
}

fn user_name(uid: Uid) -> String {
    User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}

fn group_name(gid: Gid) -> String {
    Group::from_gid(gid).ok().flatten().map_or_else(|| gid.to_string(), |group| group.name)
}

/// The group that the shipped rules give devices to.
const SERVICE_GROUP: &str = "usbpipe";
const GROUP_READS_AND_WRITES: u32 = 0o060;
/// The limit of usbfs in MiB: drivers/usb/core/devio.c of Linux.
const TRANSFER_MEMORY: &str = "/sys/module/usbcore/parameters/usbfs_memory_mb";
/// MiB: room for two pipes as large as a configuration allows.
const RAISED_MEMORY: u32 = 128;

#[cfg(test)]
mod tests {
    use super::*;

    const USBPIPE: Gid = Gid::from_raw(999);
    const INSTALL: &str = "install it";

    fn node(group: &str, gid: u32, mode: u32) -> Node {
        Node {
            path: "/dev/bus/usb/001/004".into(),
            owner: "root".into(),
            group: group.into(),
            gid: Gid::from_raw(gid),
            mode,
            problem: None,
        }
    }

    fn me(groups: &[u32], listed: &[&str]) -> Me {
        let groups = groups.iter().map(|&gid| Gid::from_raw(gid)).collect();
        Me { name: "ada".into(), groups, listed: listed.iter().map(|&group| group.to_owned()).collect() }
    }

    #[test]
    fn a_node_without_a_rule_is_told_which_one_to_install() {
        let text =
            advice(&me(&[1000], &[]).install(0x2341, 0x43, Some(USBPIPE)), &node("root", 0, 0o664), &me(&[1000], &[]));
        assert!(text.starts_with("/dev/bus/usb/001/004 is for user root and group root (mode 0664); "), "{text}");
        let command =
            "; install the rule: usbpipe udev 2341:0043 | sudo tee /etc/udev/rules.d/61-usbpipe-2341-0043.rules && ";
        assert!(text.contains(command) && text.contains("udevadm control --reload"), "{text}");
        assert!(!text.contains('\n'), "{text}");
    }

    #[test]
    fn a_group_that_has_the_node_is_told_to_be_joined() {
        let text = advice(INSTALL, &node("dialout", 20, 0o660), &me(&[1000], &[]));
        assert!(text.contains("; join the group and log in again: sudo usermod -aG dialout ada, or install"), "{text}");
    }

    #[test]
    fn a_group_that_was_joined_in_this_session_needs_a_new_one() {
        let text = advice(INSTALL, &node("dialout", 20, 0o660), &me(&[1000], &["dialout"]));
        assert!(text.contains("you have joined dialout, so log in again"), "{text}");
    }

    #[test]
    fn a_member_of_the_group_is_not_told_to_join_it() {
        let text = advice(INSTALL, &node("dialout", 20, 0o660), &me(&[1000, 20], &["dialout"]));
        assert!(text.contains("DeviceAllow=") && !text.contains("usermod"), "{text}");
    }

    #[test]
    fn a_node_that_is_gone_is_named() {
        let text = permission_advice(0x1209, 1, Path::new("/dev/bus/usb/999/999"));
        assert!(text.contains("/dev/bus/usb/999/999 cannot be looked at"), "{text}");
        assert!(text.contains("usbpipe udev 1209:0001 |"), "{text}");
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn a_limit_of_memory_is_named_and_raised() {
        let text = memory_advice(Some(16));
        assert!(text.contains("lends 16 MiB") && text.contains("echo 128 | sudo tee /sys/module/usbcore"), "{text}");
        assert!(memory_advice(Some(200)).contains("echo 400 |"));
        assert!(!memory_advice(Some(0)).contains("echo"), "there is no limit that could be raised");
    }

    #[test]
    fn a_port_gets_a_rule_by_its_name_where_rules_can_name_it() {
        let text = port_permission_advice(Path::new("/dev/null"));
        assert!(text.starts_with("/dev/null is for user root and group root"), "{text}");
        assert!(text.contains("usbpipe udev /dev/null | sudo tee /etc/udev/rules.d/61-usbpipe-null.rules"), "{text}");
        let text = port_permission_advice(Path::new("/dev/serial/by-id/x;y"));
        assert!(text.ends_with("run usbpipe as its owner"), "{text}");
    }

    #[test]
    fn a_group_that_is_missing_is_made_before_the_rule_names_it() {
        let text = me(&[], &[]).install(0x2341, 0x43, None);
        assert!(text.contains("sudo groupadd --system usbpipe; install the rule: usbpipe udev 2341:0043 |"), "{text}");
        assert!(text.ends_with("join the group and log in again: sudo usermod -aG usbpipe ada"), "{text}");
    }

    #[test]
    fn who_is_in_the_group_has_nothing_to_join() {
        let text = me(&[999], &[]).install(0x2341, 0x43, Some(USBPIPE));
        assert!(text.ends_with("udevadm trigger -s usb -s tty"), "{text}");
        let text = me(&[1000], &["usbpipe"]).install(0x2341, 0x43, Some(USBPIPE));
        assert!(text.ends_with("you have joined usbpipe, so log in again"), "{text}");
    }
}
