//! `verkada2mqtt audit`: lists what the journal holds, and verifies that nobody changed it.

use std::{
    fmt::Write as _,
    io::{self, Write},
    path::Path,
};

use jiff::Timestamp;
use serde_json::json;

use crate::journal::{self, Chain, Entry, Filter, Published, ReadError};

/// The widest that the name of somebody is shown; whole names are in the JSON.
const WIDEST_NAME: usize = 24;
/// The widest that an id is shown: a caller may choose a long one.
const WIDEST_ID: usize = 40;
/// What stands for nothing.
const NOTHING: &str = "-";
/// The heads of the columns; the last one has no width.
const HEADS: [&str; COLUMNS] = ["TIME (UTC)", "STAGE", "ACTION", "TARGET", "RESULT", "COMMAND", "BY", "TEXT"];
const COLUMNS: usize = 8;

/// What is to be listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Only what happened then or later.
    pub since: Option<Timestamp>,
    /// Only what is about this: `door/<id>` or `scenario/<id>`.
    pub target: Option<String>,
    /// One JSON object a line, in place of a table.
    pub json: bool,
}

/// Lists the records of the journal in a state directory, the oldest first.
///
/// # Errors
/// If the journal cannot be read, or `out` cannot be written.
pub fn list(directory: &Path, wanted: &Listing, out: &mut impl Write) -> Result<(), ReadError> {
    let mut filter = Filter { since: wanted.since, target: wanted.target.clone(), up_to: None };
    if wanted.json {
        return journal::read(directory, &filter, |entry| {
            serde_json::to_writer(&mut *out, entry)?;
            writeln!(out)
        });
    }
    let (mut widths, mut any) = (HEADS.map(width), false);
    let mut last = 0;
    journal::read(directory, &filter, |entry| {
        for (widest, cell) in widths.iter_mut().zip(cells(entry)) {
            *widest = width(&cell).max(*widest);
        }
        (last, any) = (entry.sequence, true);
        Ok(())
    })?;
    if !any {
        return Ok(say_nothing(directory, wanted, out)?);
    }
    // What is written meanwhile might be wider.
    filter.up_to = Some(last);
    line(out, &widths, &HEADS.map(str::to_owned))?;
    journal::read(directory, &filter, |entry| line(out, &widths, &cells(entry)))
}

fn say_nothing(directory: &Path, wanted: &Listing, out: &mut impl Write) -> io::Result<()> {
    let mut text = format!("the journal {} holds no record", journal::path(directory).display());
    if let Some(target) = &wanted.target {
        push(&mut text, format_args!(" about {}", printable(target)));
    }
    if let Some(since) = wanted.since {
        push(&mut text, format_args!(" since {}", since.strftime("%Y-%m-%d %H:%M:%S UTC")));
    }
    writeln!(out, "{text}")
}

fn line(out: &mut impl Write, widths: &[usize; COLUMNS], cells: &[String; COLUMNS]) -> io::Result<()> {
    let mut text = String::new();
    for (widest, cell) in widths.iter().zip(cells) {
        text.push_str(cell);
        text.extend(std::iter::repeat_n(' ', widest.saturating_sub(width(cell)) + 2));
    }
    writeln!(out, "{}", text.trim_end())
}

fn cells(entry: &Entry) -> [String; COLUMNS] {
    let optional = |text: &Option<String>| text.as_deref().map_or_else(|| NOTHING.to_owned(), printable);
    let result = match (&entry.outcome, &entry.reason) {
        (None, None) => NOTHING.to_owned(),
        (Some(outcome), None) => printable(outcome),
        (None, Some(reason)) => printable(reason),
        (Some(outcome), Some(reason)) => printable(&format!("{outcome} {reason}")),
    };
    [
        time(&entry.at),
        printable(&entry.stage),
        optional(&entry.action),
        optional(&entry.target),
        result,
        shortened(&optional(&entry.command), WIDEST_ID),
        shortened(&optional(&entry.by), WIDEST_NAME),
        printable(&entry.text),
    ]
}

fn time(at: &str) -> String {
    at.parse::<Timestamp>()
        .map_or_else(|_| printable(at), |at| at.strftime("%Y-%m-%d %H:%M:%S.%3f").to_string())
}

/// The text on one line, and without what could steer a terminal or turn the order of letters around.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_hidden(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Whether a character shows nothing itself but changes how others show, or ends a line.
const fn is_hidden(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    )
}

fn shortened(text: &str, widest: usize) -> String {
    if width(text) <= widest {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(widest.saturating_sub(1)).collect();
    short.push('…');
    short
}

fn width(text: &str) -> usize {
    text.chars().count()
}

fn push(text: &mut String, more: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _written = text.write_fmt(more);
}

/// Verifies the journal in a state directory and says what was found; `head` is one that was published. Says whether all is
/// well.
///
/// # Errors
/// If the journal cannot be read, or `out` cannot be written.
pub fn verify(
    directory: &Path,
    head: Option<&str>,
    as_json: bool,
    out: &mut impl Write,
) -> Result<bool, ReadError> {
    let chain = journal::verify(directory, head)?;
    if as_json {
        writeln!(out, "{}", in_json(directory, &chain))?;
    } else {
        in_words(directory, head, &chain, out)?;
    }
    Ok(chain.is_whole())
}

fn in_json(directory: &Path, chain: &Chain) -> serde_json::Value {
    let published = match chain.published {
        Some(Published::At(sequence)) => Some(sequence),
        Some(Published::Nowhere) | None => None,
    };
    json!({
        "journal": journal::path(directory),
        "whole": chain.is_whole(),
        "records": chain.records,
        "removed": chain.removed,
        "last": chain.last,
        "head": chain.head,
        "bad": chain.bad.as_ref().map(|bad| json!({"sequence": bad.sequence, "what": bad.what})),
        "published_at": published,
    })
}

fn in_words(directory: &Path, head: Option<&str>, chain: &Chain, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}", journal::path(directory).display())?;
    let kept = match (chain.records, chain.removed) {
        (0, _) => "no record".to_owned(),
        (records, 0) => format!("{records} records"),
        (records, removed) => format!("{records} records, from {} on; older ones were removed", removed + 1),
    };
    match &chain.bad {
        None => {
            writeln!(out, "  ok   chain: {kept}, none changed, missing or added in between")?;
            writeln!(out, "       head: {} (record {})", chain.head, chain.last)?;
        }
        Some(bad) => {
            writeln!(out, "  FAIL chain: record {} is the first bad one: {}", bad.sequence, bad.what)?;
            writeln!(out, "       before it: {kept}, up to {}", chain.head)?;
        }
    }
    match (chain.published, chain.last) {
        (None, _) => {}
        (Some(Published::At(at)), last) if at == last && chain.bad.is_none() => {
            writeln!(out, "  ok   published head: it is that of the last record")?;
        }
        (Some(Published::At(at)), _) => {
            writeln!(
                out,
                "  ok   published head: it is that of record {at}; everything up to there is as it was"
            )?;
        }
        (Some(Published::Nowhere), _) => {
            let head = printable(head.unwrap_or_default());
            writeln!(out, "  FAIL published head: no record has {head}")?;
            writeln!(
                out,
                "       the end was cut off, the journal was made anew, or the record was removed because it was old"
            )?;
        }
    }
    for aside in journal::set_aside(directory) {
        writeln!(out, "       set aside before: {}", aside.display())?;
    }
    Ok(())
}
