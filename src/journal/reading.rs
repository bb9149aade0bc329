//! Reading the journal beside the gateway that writes it.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags};

use super::{
    chain::Entry,
    place::{self, Place},
    store::{self, BadRow, Head},
    trouble::Trouble,
};

/// How many records are read at once: between two pages the gateway can tidy up its file.
const PAGE: usize = 1000;

/// Why a journal cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is none.
    #[error("there is no journal at {0}: the gateway has not run with this state_dir")]
    Missing(PathBuf),
    /// It may not be read, or is none.
    #[error("cannot read the journal {path}: {cause}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// Whoever was given the records failed.
    #[error(transparent)]
    Output(#[from] io::Error),
}

/// Which records are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only what happened then or later.
    pub since: Option<Timestamp>,
    /// Only what is about this: `door/<id>` or `scenario/<id>`.
    pub target: Option<String>,
    /// Only up to this place in the journal.
    pub up_to: Option<i64>,
}

impl Filter {
    /// A time that cannot be read may be of any age.
    fn takes(&self, entry: &Entry) -> bool {
        let is_old = |since: Timestamp| entry.at.parse().is_ok_and(|at: Timestamp| at < since);
        !self.since.is_some_and(is_old) && (self.target.is_none() || entry.target == self.target)
    }
}

/// What the chain is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// How many records fit, from the first one that is kept.
    pub records: u64,
    /// The place of the record before the first one that is kept: so many were removed because they were old.
    pub removed: i64,
    /// The place of the last record that fits.
    pub last: i64,
    /// Its hash: the head of the chain, if no row is bad.
    pub head: String,
    /// The first row that does not fit.
    pub bad: Option<BadRow>,
    /// What became of a head that was published; `None` where none was given.
    pub published: Option<Published>,
}

/// Where a head that was published is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// It is the hash of this record: everything up to it is as it was then.
    At(i64),
    /// No record has it: the end was cut off, the chain was made anew, or the record was old and removed.
    Nowhere,
}

impl Chain {
    /// Whether nothing speaks against it.
    pub const fn is_whole(&self) -> bool {
        self.bad.is_none() && !matches!(self.published, Some(Published::Nowhere))
    }
}

/// The file of the journal in a state directory.
pub fn path(directory: &Path) -> PathBuf {
    Place::new(directory).file().to_owned()
}

/// The journals in a state directory that could not be used.
pub fn set_aside(directory: &Path) -> Vec<PathBuf> {
    Place::new(directory).set_aside_before()
}

/// Reads records in their order.
///
/// # Errors
/// If there is no journal, it cannot be read, or `each` fails.
pub fn read(
    directory: &Path,
    filter: &Filter,
    mut each: impl FnMut(&Entry) -> io::Result<()>,
) -> Result<(), ReadError> {
    let file = path(directory);
    let unreadable = |trouble: Trouble| explain(&file, &trouble);
    let db = connect(&file)?;
    let mut after = store::anchor(&db).map_err(unreadable)?.sequence;
    loop {
        let page = store::page(&db, after, PAGE).map_err(unreadable)?;
        let Some(last) = page.back() else { return Ok(()) };
        after = last.sequence;
        for entry in &page {
            if filter.up_to.is_some_and(|up_to| entry.sequence > up_to) {
                return Ok(());
            }
            if filter.takes(entry) {
                each(entry)?;
            }
        }
    }
}

/// Checks the whole chain, and looks for a head that was published.
///
/// # Errors
/// If there is no journal, or it cannot be read. A broken chain is none: it is in the answer.
pub fn verify(directory: &Path, published: Option<&str>) -> Result<Chain, ReadError> {
    let file = path(directory);
    let db = connect(&file)?;
    check(&db, published).map_err(|trouble| explain(&file, &trouble))
}

fn check(db: &Connection, published: Option<&str>) -> Result<Chain, Trouble> {
    // One view of the file for the whole walk, whatever the gateway writes or removes meanwhile.
    let view = db.unchecked_transaction()?;
    let Head { sequence: removed, hash } = store::anchor(&view)?;
    let found = |hash: &str| published.is_some_and(|head| head.eq_ignore_ascii_case(hash));
    let mut seen = found(&hash).then_some(removed);
    let mut records = 0;
    let walk = store::walk(&view, i64::MIN, |entry| {
        records += 1;
        if found(&entry.hash) {
            seen = Some(entry.sequence);
        }
    })?;
    Ok(Chain {
        records,
        removed,
        last: walk.head.sequence,
        head: walk.head.hash,
        bad: walk.bad,
        published: published.map(|_| seen.map_or(Published::Nowhere, Published::At)),
    })
}

/// The records since then, of a journal that cannot be written.
pub(super) fn recent(place: &Place, since: Timestamp, each: impl FnMut(Entry)) -> Result<(), Trouble> {
    let db = match connect(place.file()) {
        Ok(db) => db,
        Err(_) => store::connect_alone(place.file())?,
    };
    store::check_form(&db)?;
    let walk = store::walk(&db, store::recent(&db, since)?, each)?;
    walk.bad.map_or(Ok(()), |bad| Err(Trouble::Unusable(format!("record {} {}", bad.sequence, bad.what))))
}

/// Opens a journal that is there for reading.
fn connect(file: &Path) -> Result<Connection, ReadError> {
    match fs::metadata(file) {
        Ok(metadata) if metadata.is_file() && !place::is_hollow(file) => {}
        Ok(metadata) if metadata.is_file() => return Err(explain(file, &place::HOLLOW)),
        Ok(_) => return Err(explain(file, &"it is no file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ReadError::Missing(file.to_owned()));
        }
        Err(error) => return Err(explain(file, &error)),
    }
    // SQLite would only say that it cannot open it.
    fs::File::open(file).map_err(|error| {
        if error.kind() == io::ErrorKind::PermissionDenied {
            return explain(file, &"permission denied; run this as root or as the user of the gateway");
        }
        explain(file, &error)
    })?;
    let open = |path: &Path, access| {
        let db = store::connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY | access)?;
        store::check_form(&db).map(|()| db)
    };
    let opened = match open(file, OpenFlags::empty()) {
        // Where nothing can be made beside the file, it can still be read if all of it is in there.
        Err(Trouble::Surroundings(_)) if !has_more_beside(file) => {
            open(&unchanging(file), OpenFlags::SQLITE_OPEN_URI)
        }
        opened => opened,
    };
    opened.map_err(|trouble| explain(file, &trouble))
}

fn has_more_beside(file: &Path) -> bool {
    let mut beside = OsString::from(file.as_os_str());
    beside.push("-wal");
    fs::metadata(beside).is_ok_and(|metadata| metadata.len() > 0)
}

/// The address under which SQLite takes a file as one that nobody changes.
fn unchanging(file: &Path) -> PathBuf {
    let mut address = b"file:".to_vec();
    for byte in file.as_os_str().as_bytes() {
        match byte {
            b'%' | b'?' | b'#' => address.extend(format!("%{byte:02X}").into_bytes()),
            _ => address.push(*byte),
        }
    }
    address.extend(b"?immutable=1");
    OsString::from_vec(address).into()
}

fn explain(file: &Path, cause: &dyn std::fmt::Display) -> ReadError {
    ReadError::Unreadable { path: file.to_owned(), cause: cause.to_string() }
}
