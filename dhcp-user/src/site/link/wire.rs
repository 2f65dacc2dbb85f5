//! What goes over a link: messages on lanes, cut into chunks so that an urgent one never waits for the end of a long one.
//!
//! A chunk is a lane (one octet), flags (one octet: 1 for the last of its message, 2 for a message that is compressed),
//! a length (two octets, the most significant first) and that many octets. Every length is bounded before room is made.

use tokio::io::{AsyncRead, AsyncReadExt};

/// The octets of a message in one chunk, at most: with the header one TLS record.
pub const CHUNK_MAX: usize = 16_000;
/// The octets in front of them.
pub const HEADER: usize = 4;
const LAST: u8 = 1;
const PACKED: u8 = 2;

/// A lane: what is on an earlier one goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// The links' own questions, and consensus.
    Control,
    /// What is worth nothing if it waits: what a node's clock shows.
    Urgent,
    /// Everything about leases, in one order: an acknowledgement must not pass the updates before it. What somebody waits
    /// for goes ahead within that order (`site::node`, `ahead`).
    Bulk,
}

impl Lane {
    /// All, the most urgent first.
    pub const ALL: [Self; 3] = [Self::Control, Self::Urgent, Self::Bulk];

    /// The longest message taken on it, octets.
    pub const fn message_max(self) -> usize {
        match self {
            Self::Control => 4 << 20,
            Self::Urgent => 1 << 20,
            // A batch of updates that could not be compressed, and what goes around it.
            Self::Bulk => crate::site::replication::PLAIN_OCTETS_MAX + 4_096,
        }
    }

    /// Its place in [`ALL`](Self::ALL).
    pub const fn index(self) -> usize {
        self as usize
    }

    fn of(octet: u8) -> Option<Self> {
        Self::ALL.get(usize::from(octet)).copied()
    }
}

/// A message with its lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its lane.
    pub lane: Lane,
    /// Whether `octets` are to be decompressed.
    pub packed: bool,
    /// Its content.
    pub octets: Vec<u8>,
}

/// Why no message can be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The connection ended where none may.
    #[error("the stream ends in the middle of a message")]
    CutShort,
    /// The connection ended between messages, in order.
    #[error("closed by the other end")]
    Closed,
    /// A lane that there is not, or flags.
    #[error("no chunk of a message")]
    Nonsense,
    /// More than any node sends.
    #[error("a message longer than any node sends")]
    TooLong,
    /// The connection failed.
    #[error("{0}")]
    Io(std::io::Error),
}

/// A message on its way out.
#[derive(Debug)]
pub struct Outgoing {
    message: Message,
    sent: usize,
}

impl Outgoing {
    /// Nothing of it is sent yet.
    pub const fn new(message: Message) -> Self {
        Self { message, sent: 0 }
    }

    /// How long the next chunk is, with its header.
    pub fn next_len(&self) -> usize {
        HEADER + (self.message.octets.len() - self.sent).min(CHUNK_MAX)
    }

    /// Appends the next chunk to `out`; whether it was the last.
    pub fn put_next(&mut self, out: &mut Vec<u8>) -> bool {
        let rest = self.message.octets.get(self.sent..).unwrap_or_default();
        let chunk = rest.get(..CHUNK_MAX).unwrap_or(rest);
        let last = chunk.len() == rest.len();
        let flags = if last { LAST } else { 0 } | if self.message.packed { PACKED } else { 0 };
        // A chunk is never longer than CHUNK_MAX, which two octets hold.
        let [high, low] = u16::try_from(chunk.len()).unwrap_or(u16::MAX).to_be_bytes();
        out.extend([self.message.lane as u8, flags, high, low]);
        out.extend_from_slice(chunk);
        self.sent += chunk.len();
        last
    }
}

/// Puts chunks together again.
#[derive(Debug, Default)]
pub struct Assembler {
    lanes: [Vec<u8>; 3],
    chunk: Vec<u8>,
}

impl Assembler {
    /// Reads until a message is whole; the octets read for it, headers included, are added to `octets`.
    ///
    /// # Errors
    /// If the stream ends, fails, or is no such stream: then nothing more can be read from it.
    pub async fn read(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        octets: &mut u64,
    ) -> Result<Message, ReadError> {
        loop {
            let mut header = [0; HEADER];
            self.header(from, &mut header).await?;
            let [lane, flags, high, low] = header;
            let lane = Lane::of(lane).filter(|_| flags & !(LAST | PACKED) == 0).ok_or(ReadError::Nonsense)?;
            let len = usize::from(u16::from_be_bytes([high, low]));
            if len > CHUNK_MAX || (len == 0 && flags & LAST == 0) {
                return Err(ReadError::Nonsense);
            }
            let whole = self.lanes.get_mut(lane.index()).ok_or(ReadError::Nonsense)?;
            if whole.len() + len > lane.message_max() {
                return Err(ReadError::TooLong);
            }
            self.chunk.resize(len, 0);
            from.read_exact(&mut self.chunk).await.map_err(ended)?;
            *octets += (HEADER + len) as u64;
            whole.extend_from_slice(&self.chunk);
            if flags & LAST != 0 {
                return Ok(Message { lane, packed: flags & PACKED != 0, octets: std::mem::take(whole) });
            }
        }
    }

    /// A header; the one place where a stream may end in order.
    async fn header(
        &self,
        from: &mut (impl AsyncRead + Unpin),
        header: &mut [u8; HEADER],
    ) -> Result<(), ReadError> {
        let (first, rest) = header.split_at_mut(1);
        match from.read(first).await {
            Ok(0) if self.lanes.iter().all(Vec::is_empty) => return Err(ReadError::Closed),
            Ok(0) => return Err(ReadError::CutShort),
            Ok(_) => {}
            Err(error) => return Err(ended(error)),
        }
        from.read_exact(rest).await.map(drop).map_err(ended)
    }
}

fn ended(error: std::io::Error) -> ReadError {
    // TLS that ends without saying so is cut, wherever that is.
    if error.kind() == std::io::ErrorKind::UnexpectedEof { ReadError::CutShort } else { ReadError::Io(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_all(octets: &[u8]) -> (Vec<Message>, ReadError) {
        let (mut assembler, mut from, mut count) = (Assembler::default(), octets, 0);
        let mut found = Vec::new();
        loop {
            match assembler.read(&mut from, &mut count).await {
                Ok(message) => found.push(message),
                Err(error) => return (found, error),
            }
        }
    }

    fn message(lane: Lane, len: usize) -> Message {
        Message { lane, packed: lane == Lane::Bulk, octets: (0..len).map(|n| (n % 251) as u8).collect() }
    }

    #[tokio::test]
    async fn an_urgent_message_passes_a_long_one() {
        let (long, short) = (message(Lane::Bulk, 40_000), message(Lane::Control, 3));
        let (mut first, mut second) = (Outgoing::new(long.clone()), Outgoing::new(short.clone()));
        let mut octets = Vec::new();
        assert!(!first.put_next(&mut octets) && second.put_next(&mut octets) && !first.put_next(&mut octets));
        assert_eq!(first.next_len(), HEADER + 8_000);
        assert!(first.put_next(&mut octets));
        let (found, end) = read_all(&octets).await;
        assert_eq!(found, [short, long]);
        assert!(matches!(end, ReadError::Closed));
        assert!(
            Outgoing::new(message(Lane::Control, 0)).put_next(&mut octets),
            "an empty one is a chunk too"
        );
    }

    #[tokio::test]
    async fn what_is_cut_or_nonsense_is_refused_and_no_room_is_made_for_it() {
        let mut octets = Vec::new();
        let mut long = Outgoing::new(message(Lane::Bulk, 20_000));
        long.put_next(&mut octets);
        let boundary = octets.len();
        long.put_next(&mut octets);
        for cut in [1, 3, 5, boundary - 1, boundary, octets.len() - 1] {
            let (found, end) = read_all(octets.get(..cut).unwrap()).await;
            assert!(found.is_empty() && matches!(end, ReadError::CutShort), "{cut}: {end:?}");
        }
        for nonsense in [[3, 1, 0, 0], [0, 4, 0, 1], [0, 0, 0, 0], [0, 1, 0xff, 0xff]] {
            assert!(matches!(read_all(&nonsense).await.1, ReadError::Nonsense), "{nonsense:?}");
        }
        let flood: Vec<u8> =
            [0, 0, 0x3e, 0x80].into_iter().chain([7; CHUNK_MAX]).collect::<Vec<_>>().repeat(300);
        assert!(matches!(read_all(&flood).await.1, ReadError::TooLong));
    }
}
