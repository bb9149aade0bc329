//! The database: made, checked, written and thinned out.

use std::{collections::VecDeque, path::Path, time::Duration};

use jiff::{SignedDuration, Timestamp};
use rusqlite::{
    Connection, OpenFlags, OptionalExtension as _, Row, TransactionBehavior,
    config::DbConfig,
    params,
    types::{Type, ValueRef},
};

use super::{
    Limits,
    chain::{Entry, START},
    place::{Identity, Place},
    trouble::Trouble,
};
use crate::model::Record;

/// Says that the file is a journal of ours: "v2mj".
const APPLICATION_ID: i32 = 0x7632_6d6a;
/// The version of the tables.
const VERSION: i32 = 1;
/// The tables, as SQLite keeps their text: a journal with others is not ours.
const TABLES: [(&str, &str); 2] = [
    ("anchor", "CREATE TABLE anchor (sequence INTEGER NOT NULL, hash TEXT NOT NULL) STRICT"),
    (
        "record",
        "CREATE TABLE record (sequence INTEGER PRIMARY KEY, run TEXT NOT NULL, number INTEGER NOT NULL, at TEXT NOT NULL, \
         stage TEXT NOT NULL, command TEXT, target TEXT, action TEXT, asked_by TEXT, received_at TEXT, outcome TEXT, \
         reason TEXT, text TEXT NOT NULL, hash TEXT NOT NULL) STRICT",
    ),
];
const COLUMNS: &str = "sequence, run, number, at, stage, command, target, action, asked_by, received_at, outcome, reason, \
                       text, hash";
/// How long another process may hold the file before that is told.
const OTHERS_MAY_HOLD: Duration = Duration::from_secs(2);
/// So many records in a row must be older before no younger one is looked for behind them: clocks may step.
const LOOK_BACK: usize = 1000;
/// How many records are removed at once, so that new ones need not wait long.
pub(super) const REMOVED_AT_ONCE: i64 = 1000;

/// The end of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) sequence: i64,
    pub(super) hash: String,
}

/// A row that breaks the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// The place in the journal.
    pub sequence: i64,
    /// What is wrong there.
    pub what: String,
}

/// What a walk along the chain found.
#[derive(Debug)]
pub(super) struct Walk {
    /// Where it ended: the last record that fits.
    pub(super) head: Head,
    /// The first row that does not fit, at which the walk ended.
    pub(super) bad: Option<BadRow>,
}

/// The open database of the one writer.
#[derive(Debug)]
pub(super) struct Store {
    db: Connection,
    file: Option<(Place, Identity)>,
    head: Head,
}

impl Store {
    /// Opens or makes the journal, proves that it can be written, and checks the chain of the records since `since`. They
    /// are given to `each`, the oldest first. Without a place it lives in memory.
    pub(super) fn open(
        place: Option<&Place>,
        since: Timestamp,
        mut each: impl FnMut(Entry),
    ) -> Result<Self, Trouble> {
        let Some(place) = place else {
            let mut db = Connection::open_in_memory()?;
            create(&mut db)?;
            return Ok(Self { db, file: None, head: Head { sequence: 0, hash: START.to_owned() } });
        };
        let identity = place.prepare()?;
        let mut db = connect(place.file(), OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        // What turns out to be unusable stays as it was found, for whoever looks into it.
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        if is_blank(&db)? {
            create(&mut db)?;
        }
        check_form(&db)?;
        if db.is_readonly("main")? {
            return Err(Trouble::unusable("its first bytes say that it may only be read"));
        }
        prepare_for_writing(&db)?;
        let walk = walk(&db, recent(&db, since)?, &mut each)?;
        if let Some(BadRow { sequence, what }) = walk.bad {
            return Err(Trouble::Unusable(format!("record {sequence} breaks the chain: {what}")));
        }
        // What is written goes behind what is found from the end: damage may hide either end from the other.
        if head(&db)? != walk.head {
            return Err(Trouble::unusable("its end is not where the chain ends"));
        }
        db.execute("UPDATE anchor SET sequence = sequence", [])?;
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        Ok(Self { db, file: Some((place.clone(), identity)), head: walk.head })
    }

    /// The end of the chain.
    pub(super) const fn head(&self) -> &Head {
        &self.head
    }

    /// Whether the journal holds this record, or removed it in order.
    pub(super) fn holds(&self, head: &Head) -> Result<bool, Trouble> {
        let anchor = anchor(&self.db)?;
        if head.sequence <= anchor.sequence {
            return Ok(head.sequence < anchor.sequence || head.hash == anchor.hash);
        }
        Ok(hash_of(&self.db, head.sequence)?.is_some_and(|hash| hash == head.hash))
    }

    /// Writes records to the end; all of them are on the disk when this returns, or none is in the journal.
    pub(super) fn append<'r>(
        &mut self,
        run: &str,
        records: impl Iterator<Item = &'r Record>,
    ) -> Result<&Head, Trouble> {
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut head = head(&transaction)?;
        if head != self.head {
            return Err(Trouble::Surroundings("another process wrote to it".to_owned()));
        }
        {
            let mut insert = transaction.prepare(&format!(
                "INSERT INTO record ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            ))?;
            for record in records {
                let mut entry = entry(run, record, head.sequence.saturating_add(1));
                entry.hash = entry.hash_after(&head.hash);
                insert.execute(params![
                    entry.sequence,
                    entry.run,
                    entry.number,
                    entry.at,
                    entry.stage,
                    entry.command,
                    entry.target,
                    entry.action,
                    entry.by,
                    entry.received_at,
                    entry.outcome,
                    entry.reason,
                    entry.text,
                    entry.hash,
                ])?;
                head = Head { sequence: entry.sequence, hash: entry.hash };
            }
        }
        transaction.commit()?;
        if let Some((place, identity)) = &self.file
            && place.identity().ok() != Some(*identity)
        {
            return Err(Trouble::Surroundings("it was removed or replaced while it was written".to_owned()));
        }
        self.head = head;
        Ok(&self.head)
    }

    /// Removes the oldest records beyond the limits, some at a time, and moves the anchor of the chain behind them. Says
    /// whether there may be more.
    pub(super) fn thin_out(&mut self, limits: &Limits, now: Timestamp) -> Result<bool, Trouble> {
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let anchor = anchor(&transaction)?;
        let rows = i64::try_from(limits.rows).unwrap_or(i64::MAX);
        let last = anchor.sequence.saturating_add(REMOVED_AT_ONCE);
        let too_many = self.head.sequence.saturating_sub(rows);
        let too_old = last_older(&transaction, now, limits)?;
        let end = too_many.max(too_old).min(last);
        if end <= anchor.sequence {
            return Ok(false);
        }
        let Some(hash) = hash_of(&transaction, end)? else {
            return Err(Trouble::Unusable(format!("record {end} is missing")));
        };
        transaction.execute("UPDATE anchor SET sequence = ?, hash = ?", params![end, hash])?;
        transaction.execute("DELETE FROM record WHERE sequence <= ?", [end])?;
        transaction.commit()?;
        Ok(end == last)
    }

    /// How SQLite is set.
    #[cfg(test)]
    pub(super) fn setting(&self, name: &str) -> String {
        let read =
            |row: &Row<'_>| row.get(0).or_else(|_| row.get::<_, i64>(0).map(|number| number.to_string()));
        self.db.pragma_query_value(None, name, read).unwrap()
    }

    /// Leaves the files as they are, for whoever looks into them.
    pub(super) fn leave_as_it_is(self) {
        if let Err(error) = self.db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true) {
            tracing::debug!(%error, "the journal may be tidied up while it is closed");
        }
    }
}

/// Opens a file that exists, so that no part of it is trusted to be well formed.
pub(super) fn connect(file: &Path, access: OpenFlags) -> Result<Connection, Trouble> {
    let db = connect_unread(file, access)?;
    db.execute_batch("PRAGMA cell_size_check = ON; PRAGMA cache_size = -512;")?;
    Ok(db)
}

/// As [`connect`], for a process that is alone with the file: it then shares no index with others, for which a full disk
/// has no room.
pub(super) fn connect_alone(file: &Path) -> Result<Connection, Trouble> {
    let db = connect_unread(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // Has no effect once something was read.
    db.execute_batch("PRAGMA locking_mode = EXCLUSIVE; PRAGMA cell_size_check = ON;")?;
    Ok(db)
}

fn connect_unread(file: &Path, access: OpenFlags) -> Result<Connection, Trouble> {
    let db = Connection::open_with_flags(file, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(OTHERS_MAY_HOLD)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    Ok(db)
}

/// Whether nobody has put anything into the file.
fn is_blank(db: &Connection) -> Result<bool, Trouble> {
    let objects: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(objects == 0 && pragma(db, "application_id")? == 0 && pragma(db, "user_version")? == 0)
}

fn pragma(db: &Connection, name: &str) -> Result<i32, Trouble> {
    Ok(db.pragma_query_value(None, name, |row| row.get(0))?)
}

/// Makes the tables, all or none.
fn create(db: &mut Connection) -> Result<(), Trouble> {
    prepare_for_writing(db)?;
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for (_, sql) in TABLES {
        transaction.execute(sql, [])?;
    }
    transaction.execute("INSERT INTO anchor VALUES (0, ?)", [START])?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    Ok(())
}

/// Whether the database is a journal of this version, with our tables and nothing else.
pub(super) fn check_form(db: &Connection) -> Result<(), Trouble> {
    if pragma(db, "application_id")? != APPLICATION_ID {
        return Err(Trouble::unusable("it is a database of something else"));
    }
    let version = pragma(db, "user_version")?;
    if version > VERSION {
        return Err(Trouble::Unusable(format!(
            "a newer version of verkada2mqtt wrote it (form {version}, this one knows {VERSION})"
        )));
    }
    let mut objects = db.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name")?;
    let objects = objects
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<Vec<(String, String)>, _>>()?;
    let ours = objects.iter().map(|(name, sql)| (name.as_str(), sql.as_str()));
    if version != VERSION || !ours.eq(TABLES) {
        return Err(Trouble::unusable("its tables are not those of a journal"));
    }
    Ok(())
}

/// What is committed is on the disk. Where the file system cannot do write-ahead logging, SQLite keeps another journal,
/// for which `EXTRA` does the same.
fn prepare_for_writing(db: &Connection) -> Result<(), Trouble> {
    db.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    db.execute_batch(
        "PRAGMA synchronous = EXTRA; PRAGMA secure_delete = ON; PRAGMA journal_size_limit = 4194304;",
    )?;
    Ok(())
}

/// The record before the first one that is kept.
pub(super) fn anchor(db: &Connection) -> Result<Head, Trouble> {
    let head = |row: &Row<'_>| Ok(Head { sequence: row.get(0)?, hash: row.get(1)? });
    let anchors = db
        .prepare("SELECT sequence, hash FROM anchor")?
        .query_map([], head)?
        .collect::<Result<Vec<_>, _>>()?;
    match <[Head; 1]>::try_from(anchors) {
        Ok([anchor]) => Ok(anchor),
        Err(anchors) => Err(Trouble::Unusable(format!("it has {} anchors in place of one", anchors.len()))),
    }
}

/// The newest record, or the anchor where there is none.
fn head(db: &Connection) -> Result<Head, Trouble> {
    let newest = db
        .query_row("SELECT sequence, hash FROM record ORDER BY sequence DESC LIMIT 1", [], |row| {
            Ok(Head { sequence: row.get(0)?, hash: row.get(1)? })
        })
        .optional()?;
    newest.map_or_else(|| anchor(db), Ok)
}

fn hash_of(db: &Connection, sequence: i64) -> Result<Option<String>, Trouble> {
    Ok(db.query_row("SELECT hash FROM record WHERE sequence = ?", [sequence], |row| row.get(0)).optional()?)
}

/// The first record that may be younger than `since`.
pub(super) fn recent(db: &Connection, since: Timestamp) -> Result<i64, Trouble> {
    let mut statement = db.prepare("SELECT sequence, at FROM record ORDER BY sequence DESC")?;
    let mut rows = statement.query([])?;
    let (mut first, mut older) = (None, 0);
    while let Some(row) = rows.next()? {
        let at: String = row.get(1)?;
        older = if at.parse().is_ok_and(|at: Timestamp| at < since) { older + 1 } else { 0 };
        first = Some(row.get(0)?);
        if older >= LOOK_BACK {
            break;
        }
    }
    match first {
        Some(first) => Ok(first),
        None => Ok(anchor(db)?.sequence.saturating_add(1)),
    }
}

/// The last of the oldest records that are all older than allowed.
fn last_older(db: &Connection, now: Timestamp, limits: &Limits) -> Result<i64, Trouble> {
    let Some(bound) = SignedDuration::try_from(limits.keep).ok().and_then(|keep| now.checked_sub(keep).ok())
    else {
        return Ok(0);
    };
    let mut statement = db.prepare("SELECT sequence, at FROM record ORDER BY sequence LIMIT ?")?;
    let mut rows = statement.query([REMOVED_AT_ONCE])?;
    let mut last = 0;
    while let Some(row) = rows.next()? {
        let at: String = row.get(1)?;
        if !at.parse().is_ok_and(|at: Timestamp| at < bound) {
            break;
        }
        last = row.get(0)?;
    }
    Ok(last)
}

/// Walks along the chain from a record to its end, or to the first row that does not fit.
pub(super) fn walk(db: &Connection, from: i64, mut each: impl FnMut(Entry)) -> Result<Walk, Trouble> {
    let anchor = anchor(db)?;
    let mut head = match hash_of(db, from.saturating_sub(1))? {
        Some(hash) => Head { sequence: from.saturating_sub(1), hash },
        None => anchor,
    };
    let mut statement =
        db.prepare(&format!("SELECT {COLUMNS} FROM record WHERE sequence >= ? ORDER BY sequence"))?;
    let mut rows = statement.query([from])?;
    while let Some(row) = rows.next()? {
        let sequence: i64 = row.get(0)?;
        let expected = head.sequence.saturating_add(1);
        let bad = |sequence, what: &str| Some(BadRow { sequence, what: what.to_owned() });
        if sequence < expected {
            return Ok(Walk { bad: bad(sequence, "it stands before the first record that is kept"), head });
        }
        if sequence > expected {
            return Ok(Walk { bad: bad(expected, "it is missing"), head });
        }
        let entry = match read(row) {
            Ok(entry) => entry,
            Err(error) => return Ok(Walk { bad: bad(sequence, &error.to_string()), head }),
        };
        if entry.hash != entry.hash_after(&head.hash) {
            return Ok(Walk { bad: bad(sequence, "it is not what was written there"), head });
        }
        head = Head { sequence, hash: entry.hash.clone() };
        each(entry);
    }
    Ok(Walk { head, bad: None })
}

/// A page of records after one.
pub(super) fn page(db: &Connection, after: i64, size: usize) -> Result<VecDeque<Entry>, Trouble> {
    let mut statement =
        db.prepare(&format!("SELECT {COLUMNS} FROM record WHERE sequence > ? ORDER BY sequence LIMIT ?"))?;
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    let entries = statement.query_map(params![after, size], read)?.collect::<Result<_, _>>()?;
    Ok(entries)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        sequence: row.get(0)?,
        run: row.get(1)?,
        number: row.get(2)?,
        at: row.get(3)?,
        stage: row.get(4)?,
        command: text(row, 5)?,
        target: text(row, 6)?,
        action: text(row, 7)?,
        by: text(row, 8)?,
        received_at: text(row, 9)?,
        outcome: text(row, 10)?,
        reason: text(row, 11)?,
        text: row.get(12)?,
        hash: row.get(13)?,
    })
}

fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<String>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        ValueRef::Text(_) => row.get(column).map(Some),
        ValueRef::Integer(_) | ValueRef::Real(_) | ValueRef::Blob(_) => {
            Err(rusqlite::Error::InvalidColumnType(column, "text".to_owned(), Type::Blob))
        }
    }
}

fn entry(run: &str, record: &Record, sequence: i64) -> Entry {
    Entry {
        sequence,
        run: run.to_owned(),
        number: i64::try_from(record.number.0).unwrap_or(i64::MAX),
        at: record.at.to_string(),
        stage: record.stage.word().to_owned(),
        command: record.command.clone(),
        target: record.target.as_ref().map(crate::model::Target::path),
        action: record.action.map(str::to_owned),
        by: record.by.clone(),
        received_at: record.received_at.map(|at| at.to_string()),
        outcome: record.outcome.map(|outcome| outcome.word().to_owned()),
        reason: record.reason.map(|reason| reason.word().to_owned()),
        text: record.text.clone(),
        hash: String::new(),
    }
}
