//! Paths of ports that may come and go anywhere: links of udev, of a person, of another program. It watches the folder
//! in which the next thing has to happen for a path to lead to something, and knows the names that matter there.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use inotify::{WatchMask, Watches};

/// What makes a name lead elsewhere or a node usable. One mask for all, because a folder has but one.
pub(super) const CHANGES: WatchMask = WatchMask::CREATE
    .union(WatchMask::DELETE)
    .union(WatchMask::MOVE)
    .union(WatchMask::ATTRIB)
    .union(WatchMask::ONLYDIR);

/// The paths, and the names on the way to them.
#[derive(Default)]
pub(super) struct Paths {
    wanted: BTreeSet<PathBuf>,
    names: BTreeSet<OsString>,
}

impl Paths {
    /// Watches this one, too.
    pub(super) fn add(&mut self, path: &Path, watches: &mut Watches) {
        self.wanted.insert(path.to_owned());
        self.watch(watches);
    }

    /// Whether something that has this name may be on the way to one of them.
    pub(super) fn are_concerned(&self, name: &OsStr) -> bool {
        self.names.contains(name)
    }

    /// Watches what has to be watched now. Twice is once.
    pub(super) fn watch(&mut self, watches: &mut Watches) {
        self.names.clear();
        for path in self.wanted.iter().flat_map(|path| links(path)) {
            self.names.extend(path.iter().map(OsStr::to_owned));
            if let Some(folder) = path.ancestors().skip(1).find(|folder| folder.is_dir()) {
                // What may not be watched is looked at when something else happens.
                let _ = watches.add(folder, CHANGES);
            }
        }
    }
}

/// A path, and one after the other where it leads if it is a link.
fn links(path: &Path) -> impl Iterator<Item = PathBuf> {
    let follow = |link: &PathBuf| Some(link.parent()?.join(link.read_link().ok()?));
    std::iter::successors(Some(path.to_owned()), follow).take(MOST_LINKS)
}

/// Linux follows 40 links; nobody means so many.
const MOST_LINKS: usize = 8;
