//! What a shell and `man` know of the command line, made from it.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Failure};

/// `completions`.
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    /// Prints what the shell is to read.
    pub(super) fn run(&self) -> Result<ExitCode, Failure> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "verkada2mqtt", &mut text);
        print(&text)
    }
}

/// `man`.
#[derive(Debug, Args)]
pub(super) struct Man {
    /// An existing folder for the pages of all commands; without it the page of the program is printed.
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

impl Man {
    /// Prints one page, or writes all of them.
    pub(super) fn run(&self) -> Result<ExitCode, Failure> {
        let Some(directory) = &self.directory else {
            let (_, page) = page(&Cli::command(), "verkada2mqtt")?;
            return print(&page);
        };
        for (name, page) in pages()? {
            write(&directory.join(name), &page)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn write(path: &Path, page: &[u8]) -> Result<(), Failure> {
    fs::write(path, page).map_err(|error| Failure::new(&format!("cannot write {}: {error}", path.display())))
}

/// Every page under the name of its file.
fn pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let mut pages = Vec::new();
    add(&program, "verkada2mqtt", &mut pages)?;
    Ok(pages)
}

fn add(command: &clap::Command, name: &str, pages: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
    pages.push(page(command, name)?);
    let mut inner = command.get_subcommands().filter(|inner| !inner.is_hide_set());
    inner.try_for_each(|inner| add(inner, &format!("{name}-{}", inner.get_name()), pages))
}

fn page(command: &clap::Command, name: &str) -> io::Result<(String, Vec<u8>)> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone()).title(name).render(&mut text)?;
    Ok((format!("{name}.1"), text))
}

fn print(text: &[u8]) -> Result<ExitCode, Failure> {
    match io::stdout().write_all(text) {
        // Whoever reads it has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        result => Ok(result.map(|()| ExitCode::SUCCESS)?),
    }
}
