//! What can be done to a lab's cluster while it works.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::Running;
use crate::cluster::Cluster;

/// What there is to type.
pub const HELP: &str = "kill NODE · start NODE · pause NODE · resume NODE · cut SITE [one-way] · flap SITE · lossy SITE PERCENT · \
     heal · load RENEWALS/s [NEW/s] · more SITE CLIENTS · wait SECS · status · quit";

/// How long a flapping site is cut off, and whole, each.
const FLAP_EVERY: Duration = Duration::from_millis(1_500);

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// The node's machine is gone.
    Kill(String),
    /// It comes back, with its disk.
    Start(String),
    /// Its daemon stands still.
    Pause(String),
    /// It goes on.
    Resume(String),
    /// A site's links to the others are cut; one way: only what it sends is lost.
    Cut(String, bool),
    /// A site's links come and go.
    Flap(String),
    /// Of a hundred pieces to and from a site, so many are lost.
    Lossy(String, u8),
    /// All links are whole again.
    Heal,
    /// Renewals and new clients in a second.
    Load(u32, Option<u32>),
    /// More clients of a site.
    More(String, u32),
    /// Only watch for so many seconds.
    Wait(u64),
    /// Show everything now.
    Status,
    /// End.
    Quit,
}

impl Command {
    /// Reads a line; `None` if there is nothing but blanks or a remark on it.
    ///
    /// # Errors
    ///
    /// When it is no command: with those there are.
    pub fn parse(line: &str) -> Result<Option<Self>> {
        let words: Vec<&str> = line.split_whitespace().take_while(|word| !word.starts_with('#')).collect();
        let number = |word: &str| word.parse::<u32>().with_context(|| format!("{word} is no number"));
        let name = |word: &str| word.to_owned();
        Ok(Some(match words.as_slice() {
            [] => return Ok(None),
            ["kill", node] => Self::Kill(name(node)),
            ["start", node] => Self::Start(name(node)),
            ["pause", node] => Self::Pause(name(node)),
            ["resume", node] => Self::Resume(name(node)),
            ["cut", site] => Self::Cut(name(site), false),
            ["cut", site, "one-way"] => Self::Cut(name(site), true),
            ["flap", site] => Self::Flap(name(site)),
            ["lossy", site, percent] => {
                let percent = number(percent)?;
                ensure!(percent <= 90, "{percent} % lost leaves no link at all: 90 at most");
                Self::Lossy(name(site), u8::try_from(percent)?)
            }
            ["heal"] => Self::Heal,
            ["load", renewals] => Self::Load(number(renewals)?, None),
            ["load", renewals, new] => Self::Load(number(renewals)?, Some(number(new)?)),
            ["more", site, clients] => Self::More(name(site), number(clients)?),
            ["wait", secs] => Self::Wait(number(secs)?.into()),
            ["status"] => Self::Status,
            ["quit" | "exit"] => Self::Quit,
            _ => bail!("`{}` is no command: {HELP}", words.join(" ")),
        }))
    }
}

/// A site whose links come and go.
#[derive(Debug)]
pub struct Flapping {
    nodes: Vec<usize>,
    cut: bool,
    next: Instant,
}

impl Flapping {
    /// Cuts or heals, if it is time.
    pub fn turn(&mut self, cluster: &Cluster) {
        if Instant::now() >= self.next {
            self.cut = !self.cut;
            self.next = Instant::now() + FLAP_EVERY;
            cluster.between(&self.nodes, |way, _| way.cut = self.cut);
        }
    }
}

impl Running {
    /// Carries a command out, and says what came of it.
    pub(super) fn carry_out(&mut self, command: &Command) -> Result<String> {
        Ok(match command {
            Command::Kill(node) => {
                let node = self.cluster.find(node)?;
                self.mark_paused(node, false);
                self.node(node)?.lose()?;
                "its machine is gone; its disk is kept".to_owned()
            }
            Command::Start(node) => {
                let node = self.cluster.find(node)?;
                ensure!(self.node(node)?.daemon.is_none(), "it runs");
                self.node(node)?.start()?;
                "it runs".to_owned()
            }
            Command::Pause(node) => {
                let node = self.cluster.find(node)?;
                self.node(node)?.pause(true)?;
                self.mark_paused(node, true);
                "it stands still (SIGSTOP); its kernel answers renewals for a while".to_owned()
            }
            Command::Resume(node) => {
                let node = self.cluster.find(node)?;
                self.node(node)?.pause(false)?;
                self.mark_paused(node, false);
                "it goes on (SIGCONT)".to_owned()
            }
            Command::Cut(site, one_way) => {
                let (site, nodes) = self.site(site)?;
                self.cluster.between(&nodes, |way, out| way.cut |= out || !one_way);
                let what = if *one_way { "hears the others, who do not hear it" } else { "is cut off" };
                format!("{site} {what}; its clients reach it")
            }
            Command::Flap(site) => {
                let (site, nodes) = self.site(site)?;
                self.flapping.push(Flapping { nodes, cut: false, next: Instant::now() });
                format!("{site}'s links come and go until `heal`")
            }
            Command::Lossy(site, percent) => {
                let (site, nodes) = self.site(site)?;
                self.cluster.between(&nodes, |way, _| way.loss_percent = *percent);
                format!("{percent} % of what goes to and from {site} is lost, and sent again")
            }
            Command::Heal => {
                self.flapping.clear();
                self.cluster.heal();
                "all links are whole".to_owned()
            }
            Command::Load(renewals, new) => {
                let new = new.unwrap_or(self.load.arrivals_per_s);
                self.traffic.set_load(*renewals, new);
                format!("{renewals} renewals/s, {new} messages of new clients/s at most")
            }
            Command::More(site, clients) => {
                let name = self.site(site)?.0;
                let at = self.cluster.sites.iter().position(|site| *site == name).unwrap_or(0);
                self.traffic.more(at, *clients);
                format!("{clients} more clients come to {name}")
            }
            Command::Wait(_) | Command::Status | Command::Quit => String::new(),
        })
    }

    fn node(&mut self, number: usize) -> Result<&mut crate::cluster::Node> {
        self.cluster.nodes.get_mut(number).context("there is no such node")
    }

    fn mark_paused(&mut self, node: usize, is: bool) {
        if let Some(paused) = self.paused.get_mut(node) {
            *paused = is;
        }
    }

    /// A site by its name, or the beginning of it: name and nodes.
    fn site(&self, name: &str) -> Result<(String, Vec<usize>)> {
        let found = self.cluster.sites.iter().find(|site| site.starts_with(name));
        let site = found.with_context(|| format!("no site {name}: {}", self.cluster.sites.join(", ")))?;
        Ok((site.clone(), self.cluster.of_site(site)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_and_what_is_none_is_named() {
        assert_eq!(Command::parse("  # a remark").unwrap(), None);
        assert_eq!(Command::parse("cut us-w one-way").unwrap(), Some(Command::Cut("us-w".into(), true)));
        assert_eq!(Command::parse("load 200 5").unwrap(), Some(Command::Load(200, Some(5))));
        for wrong in ["cut", "lossy eu 91", "load many", "stop node1"] {
            assert!(Command::parse(wrong).is_err(), "{wrong}");
        }
        assert!(Command::parse("stop node1").unwrap_err().to_string().contains("pause NODE"));
    }
}
