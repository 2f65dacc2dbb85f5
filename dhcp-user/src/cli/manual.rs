//! `completions` and `man`: what shells and `man` know of the command line, made from the command line itself, so that
//! neither can say anything else than the program does.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;

use super::CommandLine;

/// Configuration, exit codes and files, which clap knows nothing of.
const EXTRA: &str = r#".SH "EXIT STATUS"
.TP
0
Done.
.TP
1
It failed; stderr says what, where, and the way out.
.TP
2
The command line or the configuration is wrong.
.SH FILES
.TP
/etc/simple\-dhcpd/dhcp.json
The configuration.
.TP
/var/lib/simple\-dhcpd
Leases and, below api, the certificate and tokens of the management API.
.TP
/var/log/simple\-dhcpd
The audit log.
.TP
/run/simple\-dhcpd/control.sock
The control socket; who is in the group simple\-dhcpd may ask on it.
.TP
/sys/fs/bpf/simple\-dhcpd
Pinned maps and links of the kernel program, which goes on answering renewals while the daemon is away.
.SH SIGNALS
SIGTERM and SIGINT end the daemon in order; the kernel program stays. SIGHUP takes up the configuration file as it is
now, all of it or nothing.
.SH ENVIRONMENT
.TP
RUST_LOG
What is logged, such as debug or info,dhcp_user=debug.
.SH "SEE ALSO"
.BR bpftool (8),
.BR ip (8),
.BR systemctl (1)
"#;

/// `completions`: the completion script for a shell.
pub(super) fn completions(shell: Shell) -> Result<()> {
    let mut command = CommandLine::command();
    let name = command.get_name().to_owned();
    // Made in memory: clap_complete panics where stdout is a pipe that somebody closed.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    io::stdout().lock().write_all(&script).context("cannot print")
}

/// `man`: the page to stdout, or with `directory` a page for each command into it.
pub(super) fn man(directory: Option<PathBuf>) -> Result<()> {
    let pages = pages()?;
    match directory {
        None => {
            let (_, page) = pages.first().context("there is no page")?;
            io::stdout().lock().write_all(page).context("cannot print")
        }
        Some(directory) => write_all(&directory, &pages),
    }
}

fn write_all(directory: &Path, pages: &[(String, Vec<u8>)]) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    for (name, page) in pages {
        let path = directory.join(name);
        fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Every page with its file name, the program's own first.
fn pages() -> Result<Vec<(String, Vec<u8>)>> {
    // Without `help` subcommands: each page would come twice.
    let mut root = CommandLine::command().disable_help_subcommand(true);
    root.build();
    let mut pages = Vec::new();
    let mut waiting = vec![(root.get_name().to_owned(), root)];
    while let Some((name, command)) = waiting.pop() {
        let under: Vec<_> = command
            .get_subcommands()
            .map(|sub| (format!("{name}-{}", sub.get_name()), sub.clone()))
            .collect();
        pages.push((
            format!("{name}.8"),
            page(&name, command, pages.is_empty()).context("cannot make a page")?,
        ));
        waiting.extend(under.into_iter().rev());
    }
    Ok(pages)
}

fn page(name: &str, command: Command, whole: bool) -> io::Result<Vec<u8>> {
    // The page of `leases list` is found as simple-dhcpd-datacenter-leases-list.
    let typed = command.get_bin_name().unwrap_or(name).to_owned();
    let man =
        Man::new(command.name(name.to_owned()).bin_name(typed)).section("8").manual("System administration");
    let mut page = Vec::new();
    man.render(&mut page)?;
    if whole {
        page.extend_from_slice(EXTRA.as_bytes());
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_that_names_it() {
        let pages = pages().unwrap();
        let text = |name: &str| {
            let (_, page) = pages.iter().find(|(file, _)| file == name).unwrap_or_else(|| panic!("{name}"));
            String::from_utf8(page.clone()).unwrap()
        };
        let whole = text("simple-dhcpd-datacenter.8");
        for part in [
            "EXIT STATUS",
            "FILES",
            "SIGNALS",
            "\\-\\-check\\-config",
            "simple\\-dhcpd\\-datacenter\\-leases",
        ] {
            assert!(whole.contains(part), "{part} is not in {whole}");
        }
        let list = text("simple-dhcpd-datacenter-leases-list.8");
        assert!(list.contains("simple\\-dhcpd\\-datacenter leases list"), "{list}");
        assert!(list.contains("\\-\\-socket"), "{list}");
        assert!(!pages.iter().any(|(file, _)| file.contains("-help")));
        let mut names: Vec<_> = pages.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), pages.len());
    }

    #[test]
    fn shells_learn_every_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(
                shell,
                &mut CommandLine::command(),
                "simple-dhcpd-datacenter",
                &mut script,
            );
            let script = String::from_utf8(script).unwrap();
            for command in ["leases", "stats", "completions", "unload"] {
                assert!(script.contains(command), "{command} is not in {shell}'s");
            }
        }
    }
}
