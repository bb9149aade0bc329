//! What the commands of the shell that ask the vendor share: one call, a table, a line.

use std::{
    io::{self, Write},
    time::Duration,
};

use crate::{
    clock,
    model::{Answer, Call, CallId, Fault, Request},
    verkada::{Client, Permit},
};

/// How long a request may take before it is sent.
const WAITS: Duration = Duration::from_secs(10);
/// What stands for nothing in a table.
pub(crate) const NOTHING: &str = "-";

/// One call, made once; `id` sets it apart from the others of the command.
pub(crate) async fn ask(client: &Client, id: u64, request: Request) -> Result<Answer, Fault> {
    let call = Call { id: CallId(id), request, send_before: clock::now().mono + WAITS, opening: None };
    client.call(&call, &Permit::always()).await.result
}

/// A sentence that may quote the vendor, on one line.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Writes rows, the heads among them, with columns as wide as their widest cell.
pub(crate) fn table<R: AsRef<[String]>>(rows: &[R], out: &mut impl Write) -> io::Result<()> {
    let width = |text: &String| text.chars().count();
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        let row = row.as_ref();
        widths.resize(widths.len().max(row.len()), 0);
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = width(cell).max(*widest);
        }
    }
    for row in rows {
        let mut line = String::new();
        for (cell, widest) in row.as_ref().iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', widest.saturating_sub(width(cell)) + 2));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}
