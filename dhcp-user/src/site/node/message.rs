//! What nodes tell each other about leases, and how that is written. Consensus has messages of its own.

use crate::{
    site::replication::{Cursor, Reader, WireError, put_number},
    time::Timestamp,
};

/// The longest message, in octets; a receiver refuses longer ones.
pub const MESSAGE_OCTETS_MAX: usize = (32 << 20) + 64;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// What does your clock show?
    Ask {
        /// What the asker's shows; to be sent back.
        asked_at: Timestamp,
    },
    /// My clock shows this.
    Told {
        /// What was sent with the question.
        asked_at: Timestamp,
        /// What the clock shows.
        clock: Timestamp,
        /// How many addresses are free.
        free: u64,
    },
    /// I have everything of your log up to there: go on from it. The first thing that is said.
    Resume {
        /// What is durable here of the receiver's log.
        cursor: Cursor,
        /// The sender's own log.
        log: u64,
    },
    /// What became of leases.
    Updates {
        /// From after this change on, of the sender's log.
        after: Cursor,
        /// Up to this change.
        until: u64,
        /// The updates ([`encode`](crate::site::replication::encode)), not compressed.
        octets: Vec<u8>,
    },
    /// Everything of your log up to there is durable here.
    Acknowledge {
        /// Up to where.
        cursor: Cursor,
    },
    /// What you granted of blocks that are mine is taken up here, up to there in your log; nothing else is, for you must
    /// hear of my grants first. Whatever I say after this takes yours into account.
    Heard {
        /// Up to where.
        cursor: Cursor,
    },
    /// Few addresses are left to me in a pool: hand some blocks on.
    Want {
        /// The pool: its index among all pools.
        pool: u32,
        /// How many blocks.
        blocks: u32,
    },
}

impl Message {
    /// The message as octets.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32);
        let numbers: &[u64] = match self {
            Self::Ask { asked_at } => &[0, asked_at.0],
            Self::Told { asked_at, clock, free } => &[1, asked_at.0, clock.0, *free],
            Self::Resume { cursor, log } => &[2, cursor.log, cursor.seq, *log],
            Self::Updates { after, until, .. } => &[3, after.log, after.seq, *until],
            Self::Acknowledge { cursor } => &[4, cursor.log, cursor.seq],
            Self::Want { pool, blocks } => &[5, u64::from(*pool), u64::from(*blocks)],
            Self::Heard { cursor } => &[6, cursor.log, cursor.seq],
        };
        numbers.iter().for_each(|number| put_number(*number, &mut out));
        if let Self::Updates { octets, .. } = self {
            out.extend_from_slice(octets);
        }
        out
    }

    /// Reads a message back.
    ///
    /// # Errors
    /// If the octets are none. The updates in it are not looked at yet.
    pub fn decode(octets: &[u8]) -> Result<Self, WireError> {
        if octets.len() > MESSAGE_OCTETS_MAX {
            return Err(WireError::TooMany);
        }
        let mut rest = Reader(octets);
        let moment = |rest: &mut Reader<'_>| rest.number().map(Timestamp);
        let cursor =
            |rest: &mut Reader<'_>| Ok::<_, WireError>(Cursor { log: rest.number()?, seq: rest.number()? });
        let small = |rest: &mut Reader<'_>| u32::try_from(rest.number()?).map_err(|_| WireError::Number);
        let message = match rest.number()? {
            0 => Self::Ask { asked_at: moment(&mut rest)? },
            1 => Self::Told { asked_at: moment(&mut rest)?, clock: moment(&mut rest)?, free: rest.number()? },
            2 => Self::Resume { cursor: cursor(&mut rest)?, log: rest.number()? },
            3 => {
                let (after, until) = (cursor(&mut rest)?, rest.number()?);
                return Ok(Self::Updates { after, until, octets: rest.0.to_vec() });
            }
            4 => Self::Acknowledge { cursor: cursor(&mut rest)? },
            5 => Self::Want { pool: small(&mut rest)?, blocks: small(&mut rest)? },
            6 => Self::Heard { cursor: cursor(&mut rest)? },
            _ => return Err(WireError::Unknown("message")),
        };
        if rest.0.is_empty() { Ok(message) } else { Err(WireError::TooLong) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_are_read_back() {
        let (at, cursor) = (Timestamp(1_764_000_000_123_456_789), Cursor { log: u64::MAX, seq: 300 });
        for message in [
            Message::Ask { asked_at: at },
            Message::Told { asked_at: at, clock: Timestamp(0), free: 1 << 40 },
            Message::Resume { cursor, log: 9 },
            Message::Updates { after: cursor, until: 301, octets: vec![1, 2, 3] },
            Message::Acknowledge { cursor },
            Message::Want { pool: 3, blocks: 7 },
            Message::Heard { cursor },
        ] {
            let octets = message.encode();
            assert_eq!(Message::decode(&octets), Ok(message.clone()));
            if !matches!(message, Message::Updates { .. }) {
                assert!(Message::decode(&[&octets[..], &[0]].concat()).is_err());
            }
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_a_message_or_none(octets in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(message) = Message::decode(&octets) {
                prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
            }
        }
    }
}
