//! The files of the journal: their names, who may read them, and where unusable ones go.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{
        DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
    },
    path::{Path, PathBuf},
};

use super::trouble::Trouble;

/// The file of the journal in the state directory.
pub(super) const FILE_NAME: &str = "journal.sqlite";
/// What SQLite keeps beside it while it is open: what was written last, and an index of that.
const BESIDE: [&str; 2] = ["-wal", "-shm"];
/// What is said of a file that [`is_hollow`].
pub(super) const HOLLOW: &str = "it is empty, although what was written last still stands beside it";
/// Who did what is for the owner alone.
const PRIVATE: u32 = 0o600;
/// How many unusable journals are kept. None is ever removed: then no new one is begun before somebody looked.
const MAX_SET_ASIDE: u32 = 9;

/// The journal's place in a directory.
#[derive(Debug, Clone)]
pub(super) struct Place {
    file: PathBuf,
}

/// Which file this is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity(u64, u64);

impl Place {
    pub(super) fn new(directory: &Path) -> Self {
        Self { file: directory.join(FILE_NAME) }
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    fn directory(&self) -> &Path {
        self.file.parent().unwrap_or_else(|| Path::new("."))
    }

    /// The file with another ending.
    fn with_ending(&self, ending: &str) -> PathBuf {
        let mut name = OsString::from(self.file.as_os_str());
        name.push(ending);
        name.into()
    }

    /// Makes the file if it is missing, and its folder; nobody but the owner may read it.
    pub(super) fn prepare(&self) -> Result<Identity, Trouble> {
        DirBuilder::new().recursive(true).mode(0o700).create(self.directory())?;
        match fs::symlink_metadata(&self.file) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.move_orphans()?;
                let made = OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(&self.file);
                made.and_then(|file| file.sync_all())?;
                self.sync_directory()?;
            }
            Err(error) => return Err(error.into()),
        }
        self.check_kind()?;
        self.make_private()?;
        // SQLite would only say that it cannot open something.
        OpenOptions::new().append(true).open(&self.file)?;
        Ok(self.identity()?)
    }

    /// Whether the path leads to a file, before it is opened: opening a pipe waits for its other end.
    fn check_kind(&self) -> Result<(), Trouble> {
        let kind = fs::metadata(&self.file)?.file_type();
        let what = if kind.is_dir() {
            "it is a folder"
        } else if is_hollow(&self.file) {
            HOLLOW
        } else if kind.is_fifo() || kind.is_socket() || kind.is_block_device() || kind.is_char_device() {
            "it is no regular file"
        } else {
            return Ok(());
        };
        Err(Trouble::unusable(what))
    }

    /// SQLite gives what it makes beside the file the same mode; what is there already may have another one.
    fn make_private(&self) -> io::Result<()> {
        for path in std::iter::once(self.file.clone()).chain(BESIDE.map(|ending| self.with_ending(ending))) {
            match fs::metadata(&path) {
                Ok(metadata) if metadata.mode() & 0o777 != PRIVATE => {
                    fs::set_permissions(&path, fs::Permissions::from_mode(PRIVATE))?;
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Which file is at the path now.
    pub(super) fn identity(&self) -> io::Result<Identity> {
        let metadata = fs::metadata(&self.file)?;
        Ok(Identity(metadata.dev(), metadata.ino()))
    }

    /// Moves the journal out of the way, with what SQLite keeps beside it; says where it is now.
    pub(super) fn set_aside(&self) -> Result<PathBuf, Trouble> {
        let aside = self.free_name()?;
        // In this order: what stands beside a missing file is moved at the next start, but a file that lost what stood
        // beside it would look whole.
        for ending in ["", BESIDE[0], BESIDE[1]] {
            let mut to = OsString::from(aside.as_os_str());
            to.push(ending);
            match fs::rename(self.with_ending(ending), to) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.sync_directory()?;
        Ok(aside)
    }

    /// SQLite would apply what stands beside a missing file to a new one.
    fn move_orphans(&self) -> Result<(), Trouble> {
        let orphan = BESIDE.iter().any(|ending| exists(&self.with_ending(ending)));
        if orphan {
            let aside = self.set_aside()?;
            tracing::warn!(kept_as = %aside.display(), "the journal is gone; what stood beside it was set aside");
        }
        Ok(())
    }

    fn free_name(&self) -> Result<PathBuf, Trouble> {
        let taken = |n: u32| {
            let name = format!(".unusable-{n}");
            ["", BESIDE[0], BESIDE[1]]
                .iter()
                .any(|ending| exists(&self.with_ending(&format!("{name}{ending}"))))
        };
        (1..=MAX_SET_ASIDE).find(|n| !taken(*n)).map(|n| self.with_ending(&format!(".unusable-{n}"))).ok_or_else(
            || {
                Trouble::Surroundings(format!(
                    "{MAX_SET_ASIDE} unusable journals were set aside already; look into them and move them away"
                ))
            },
        )
    }

    /// The journals that were set aside.
    pub(super) fn set_aside_before(&self) -> Vec<PathBuf> {
        let names = (1..=MAX_SET_ASIDE).map(|n| self.with_ending(&format!(".unusable-{n}")));
        names.filter(|path| exists(path)).collect()
    }

    /// A renamed or new file outlasts a power cut once its folder is written.
    fn sync_directory(&self) -> io::Result<()> {
        File::open(self.directory())?.sync_all()
    }
}

/// Whether a file is empty although the log beside it is not: SQLite would then remove that log, even for a reader. It takes
/// a single byte for nothing as well.
pub(super) fn is_hollow(file: &Path) -> bool {
    let bytes = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    let mut log = OsString::from(file.as_os_str());
    log.push(BESIDE[0]);
    fs::metadata(file).is_ok_and(|metadata| metadata.len() <= 1) && bytes(Path::new(&log)) > 0
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}
