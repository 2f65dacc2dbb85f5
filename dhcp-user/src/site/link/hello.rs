//! The first words on a connection: who speaks, which protocol, of which cluster and under which terms; and the verdict.

use serde::{Deserialize, Serialize};

use super::{
    terms::Terms,
    wire::{Lane, Message},
};

/// The protocol spoken. A node of another version is refused: a cluster is upgraded within one version, and a change to
/// what goes over links makes a new one.
pub const VERSION: u16 = 6;
/// What every hello of every version begins with.
const MAGIC: [u8; 8] = *b"DHCPSITE";
/// The longest hello taken, octets.
pub const HELLO_MAX: usize = 512 << 10;
/// The longest verdict, octets.
const VERDICT_MAX: usize = 2_048;

/// Who speaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The node's name.
    pub node: String,
    /// Its cluster, if it has been part of one.
    pub cluster: Option<[u8; 16]>,
    /// A random number given when its state was made: another means that it has lost its memory.
    pub incarnation: u64,
    /// Whether what follows is encrypted by its configuration.
    pub encryption: bool,
    /// Random per connection: what was recorded of another one does not fit.
    pub nonce: u64,
    /// What must agree.
    pub terms: Terms,
}

/// Why a node is not talked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The octets are no hello.
    #[error("what it says first is no greeting of a node")]
    Nonsense,
    /// It speaks another protocol.
    #[error(
        "it speaks version {theirs} of the protocol, this node version {VERSION}: install the same release on both"
    )]
    Version {
        /// Which.
        theirs: u16,
    },
    /// It is not who it says.
    #[error("it says it is {said}, but its certificate does not: make one by `pki node {said}`")]
    Name {
        /// Its name by its own words.
        said: String,
    },
    /// Nobody knows it.
    #[error("node {said} is not in this node's dhcp.datacenter.multi_site.sites")]
    Unknown {
        /// Its name by its own words.
        said: String,
    },
    /// It is somebody else than was called.
    #[error("it is {said}, not {expected}: see dhcp.datacenter.multi_site.link.addresses")]
    Other {
        /// Its name.
        said: String,
        /// Whom we called.
        expected: String,
    },
    /// It is of another cluster.
    #[error(
        "it is of another cluster: the state in multi_site.link.state_path of one of the two is of other nodes"
    )]
    Cluster,
    /// Its configuration contradicts ours.
    #[error("its configuration contradicts this node's: {0}")]
    Terms(String),
    /// It wants no encryption, or it alone does.
    #[error("synchronization.encryption is on at one end and off at the other")]
    Encryption,
    /// It refuses us.
    #[error("it refuses this node: {0}")]
    Refused(String),
}

impl Refusal {
    /// Its name in counters.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Nonsense => "nonsense",
            Self::Version { .. } => "version",
            Self::Name { .. } => "name",
            Self::Unknown { .. } => "unknown_node",
            Self::Other { .. } => "other_node",
            Self::Cluster => "cluster",
            Self::Terms(_) => "configuration",
            Self::Encryption => "encryption",
            Self::Refused(_) => "refused_by_peer",
        }
    }
}

impl Hello {
    /// As the first message on a connection.
    pub fn message(&self) -> Message {
        let mut octets = MAGIC.to_vec();
        octets.extend(VERSION.to_be_bytes());
        // Text, numbers and maps of them: nothing in it that the encoder refuses.
        octets.extend(postcard::to_stdvec(self).unwrap_or_default());
        Message { lane: Lane::Control, packed: false, octets }
    }

    /// Reads one.
    ///
    /// # Errors
    /// If it is none, or of another version.
    pub fn read(message: &Message) -> Result<Self, Refusal> {
        let rest = message.octets.strip_prefix(&MAGIC).filter(|rest| rest.len() <= HELLO_MAX);
        let (version, rest) = rest.and_then(|rest| rest.split_first_chunk()).ok_or(Refusal::Nonsense)?;
        let theirs = u16::from_be_bytes(*version);
        if theirs != VERSION {
            return Err(Refusal::Version { theirs });
        }
        match postcard::take_from_bytes::<Self>(rest) {
            Ok((hello, [])) if hello.node.len() <= 255 => Ok(hello),
            _ => Err(Refusal::Nonsense),
        }
    }

    /// Judges another's hello, whose name has been checked, by this node's own.
    ///
    /// # Errors
    /// Why it is not talked to.
    pub fn judge(&self, theirs: &Self) -> Result<(), Refusal> {
        if self.encryption != theirs.encryption {
            return Err(Refusal::Encryption);
        }
        if let (Some(ours), Some(theirs)) = (self.cluster, theirs.cluster)
            && ours != theirs
        {
            return Err(Refusal::Cluster);
        }
        let found = self.terms.contradictions(&theirs.terms);
        if found.is_empty() { Ok(()) } else { Err(Refusal::Terms(found)) }
    }
}

/// The verdict on the hello with this nonce, as the second message on a connection.
pub fn verdict(nonce: u64, judged: &Result<(), Refusal>) -> Message {
    let mut octets = nonce.to_be_bytes().to_vec();
    if let Err(refusal) = judged {
        let text = refusal.to_string();
        octets.extend(text.bytes().take(VERDICT_MAX));
    }
    Message { lane: Lane::Control, packed: false, octets }
}

/// Reads the other's verdict on this node's hello.
///
/// # Errors
/// If it is none, or one against us.
pub fn read_verdict(message: &Message, nonce: u64) -> Result<(), Refusal> {
    let rest = message.octets.strip_prefix(&nonce.to_be_bytes()).filter(|rest| rest.len() <= VERDICT_MAX);
    match rest {
        Some([]) => Ok(()),
        Some(text) => Err(Refusal::Refused(String::from_utf8_lossy(text).escape_debug().to_string())),
        None => Err(Refusal::Nonsense),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(node: &str) -> Hello {
        Hello {
            node: node.to_owned(),
            cluster: None,
            incarnation: 1,
            encryption: true,
            nonce: 7,
            terms: Terms::default(),
        }
    }

    #[test]
    fn a_hello_is_read_back_and_nothing_else_is_one() {
        let one = hello("a");
        let message = one.message();
        assert_eq!(Hello::read(&message), Ok(one));
        let with = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut octets = message.octets.clone();
            change(&mut octets);
            Hello::read(&Message { octets, ..message.clone() })
        };
        assert_eq!(with(&|octets| octets.truncate(12)), Err(Refusal::Nonsense));
        assert_eq!(with(&|octets| octets.push(0)), Err(Refusal::Nonsense));
        assert_eq!(with(&|octets| octets[0] = b'X'), Err(Refusal::Nonsense));
        // A newer version is known by its number, whatever comes after.
        assert_eq!(
            with(&|octets| {
                octets[9] = VERSION as u8 + 1;
                octets.truncate(10);
                octets.extend(b"who knows");
            }),
            Err(Refusal::Version { theirs: VERSION + 1 })
        );
    }

    #[test]
    fn clusters_and_encryption_must_agree_and_verdicts_fit_one_connection() {
        let one = hello("a");
        assert_eq!(one.judge(&hello("b")), Ok(()));
        let with = |cluster| Hello { cluster, ..hello("b") };
        assert_eq!(with(Some([1; 16])).judge(&with(Some([2; 16]))), Err(Refusal::Cluster));
        assert_eq!(with(Some([1; 16])).judge(&with(None)), Ok(()), "a newcomer");
        assert_eq!(one.judge(&Hello { encryption: false, ..hello("b") }), Err(Refusal::Encryption));
        assert_eq!(read_verdict(&verdict(7, &Ok(())), 7), Ok(()));
        assert_eq!(read_verdict(&verdict(8, &Ok(())), 7), Err(Refusal::Nonsense));
        let refused = read_verdict(&verdict(7, &Err(Refusal::Cluster)), 7).unwrap_err().to_string();
        assert!(refused.contains("another cluster"), "{refused}");
    }
}
