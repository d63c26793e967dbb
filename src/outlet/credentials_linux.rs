//! Who a process is that connected to a Unix socket, as the kernel noted it then: unix(7). Good for deciding who may do what,
//! unlike its name: it cannot change, and no process that got its number later is taken for it.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::libc::{self, gid_t, socklen_t};
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::{Gid, Uid, geteuid};

use super::descriptor::Seen;

/// User and groups of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    user: Uid,
    /// The first is the primary one.
    groups: Vec<Gid>,
}

/// What a file is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// To read from it.
    Read,
    /// To write to it, or to connect to it.
    Write,
    /// To go on through it, of a directory.
    Enter,
}

impl Credentials {
    /// Those of the process that connected.
    ///
    /// # Errors
    /// Those of getsockopt(2), for what is no Unix socket.
    pub fn of(socket: impl AsFd) -> io::Result<Self> {
        let noted = getsockopt(&socket, sockopt::PeerCredentials)?;
        let mut groups = vec![Gid::from_raw(noted.gid())];
        groups.extend(more_groups(&socket)?.into_iter().map(Gid::from_raw));
        Ok(Self { user: Uid::from_raw(noted.uid()), groups })
    }

    /// Whether it may do everything: root, and the user who runs this process.
    pub fn is_trusted(&self) -> bool {
        self.user.is_root() || self.user == geteuid()
    }

    /// Whether it may open a file for this: path_resolution(7).
    pub(super) fn may(&self, want: Want, file: &Seen) -> bool {
        let bit = match want {
            Want::Read => 0o4,
            Want::Write => 0o2,
            Want::Enter => 0o1,
        };
        let class = match self {
            _ if self.user.is_root() => return true,
            _ if self.user == file.user => 6,
            _ if self.groups.contains(&file.group) => 3,
            _ => 0,
        };
        file.mode & (bit << class) != 0
    }
}

/// The supplementary groups of the process that connected: SO_PEERGROUPS.
fn more_groups(socket: impl AsFd) -> io::Result<Vec<gid_t>> {
    let fd = socket.as_fd().as_raw_fd();
    let mut groups: Vec<gid_t> = vec![0; 32];
    loop {
        let mut length = socklen_t::try_from(size_of_val(&*groups)).unwrap_or(socklen_t::MAX);
        // SAFETY: the buffer outlives the call and has the length in bytes that is said.
        let result = unsafe {
            libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEERGROUPS, groups.as_mut_ptr().cast(), &mut length)
        };
        let error = io::Error::last_os_error();
        let count = length as usize / size_of::<gid_t>();
        match (result, error.raw_os_error()) {
            (0, _) => {
                groups.truncate(count);
                return Ok(groups);
            }
            // How many there are is said then.
            (_, Some(libc::ERANGE)) if count > groups.len() => groups.resize(count, 0),
            _ => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use nix::unistd::{getegid, getgroups};

    use super::*;

    #[test]
    fn the_peer_of_a_socketpair_has_the_groups_of_this_process() {
        let (one, _other) = UnixStream::pair().unwrap();
        let credentials = Credentials::of(&one).unwrap();
        assert_eq!(credentials.groups[0], getegid());
        let mut expected = getgroups().unwrap();
        expected.sort_by_key(|group| group.as_raw());
        let mut found = credentials.groups[1..].to_vec();
        found.sort_by_key(|group| group.as_raw());
        assert_eq!(found, expected);
        assert!(credentials.is_trusted());
    }

    #[test]
    fn the_first_class_that_fits_decides() {
        let ada = Credentials { user: Uid::from_raw(1000), groups: vec![Gid::from_raw(1000), Gid::from_raw(20)] };
        let root = Credentials { user: Uid::from_raw(0), groups: Vec::new() };
        let temp = tempfile::tempfile().unwrap();
        let file = |user, group, mode| {
            let seen = Seen::of(&temp).unwrap();
            Seen { user: Uid::from_raw(user), group: Gid::from_raw(group), mode, ..seen }
        };
        assert!(ada.may(Want::Read, &file(0, 20, 0o640)) && !ada.may(Want::Write, &file(0, 20, 0o640)));
        assert!(ada.may(Want::Write, &file(0, 20, 0o620)) && !ada.may(Want::Read, &file(0, 20, 0o620)));
        assert!(!ada.may(Want::Read, &file(0, 20, 0o604)), "a member of the group is none of the others");
        assert!(!ada.may(Want::Read, &file(1000, 20, 0o040)), "the owner is none of the group");
        assert!(ada.may(Want::Read, &file(0, 0, 0o604)) && !ada.may(Want::Read, &file(0, 0, 0o660)));
        assert!(ada.may(Want::Enter, &file(0, 20, 0o750)) && !ada.may(Want::Enter, &file(0, 5, 0o750)));
        assert!(root.may(Want::Read, &file(1000, 1000, 0)));
    }
}
