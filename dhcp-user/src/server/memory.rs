//! What the store held, judged by the configuration of today: do key, generation, answers and forms still hold?

use dhcp_common::abi::Control;

use crate::{
    fastpath::{answers::AnswerTable, stored},
    lease::{
        record::LeaseRecord,
        store::{Batch, MetaKey, Recovered},
    },
    time::Timestamp,
};

/// What is remembered.
#[derive(Debug)]
pub struct Memory {
    /// The leases, without forms that hold no more.
    pub leases: Vec<LeaseRecord>,
    /// Key and generation.
    pub control: Control,
    /// The answers that still hold.
    pub answers: AnswerTable,
    /// Since when every renewal granted by the kernel is known.
    pub marks_known_since: Timestamp,
    /// To be made durable before anything is learnt or published.
    pub batch: Batch,
}

impl Memory {
    /// Judges what was recovered. `digest` is of everything that shapes replies; `random` is the key to use if a new one
    /// is needed, [`stored::KEY_LEN`] octets.
    pub fn judge(
        recovered: &Recovered,
        mut leases: Vec<LeaseRecord>,
        digest: Vec<u8>,
        answers_max: u32,
        random: &[u8],
    ) -> Self {
        let generation_before = meta(recovered, MetaKey::Generation)
            .and_then(|octets| octets.try_into().ok())
            .map_or(0, u32::from_le_bytes);
        let key_before = meta(recovered, MetaKey::FingerprintKey).and_then(stored::decode_key);
        let mut answers = AnswerTable::new(answers_max);
        let restored = meta(recovered, MetaKey::ConfigDigest) == Some(&digest[..])
            && restore_answers(recovered, generation_before, &mut answers);
        let mut control = Control::default();
        let mut dropped_answers = Vec::new();
        match key_before.filter(|_| restored) {
            Some(key) => {
                control.generation = generation_before;
                control.key = key;
            }
            None => {
                // Nothing the kernel knew holds any more: another generation, another key, everything learnt anew.
                answers = AnswerTable::new(answers_max);
                control.generation = generation_before.wrapping_add(1).max(1);
                control.key = stored::decode_key(random).unwrap_or(control.key);
                leases.iter_mut().for_each(|lease| lease.forms = [None, None]);
                dropped_answers = recovered.answers.iter().map(|answer| answer.id).collect();
            }
        }
        let marks_known_since = meta(recovered, MetaKey::MarksKnownSince)
            .and_then(|octets| octets.try_into().ok())
            .map_or(Timestamp::ZERO, |octets| Timestamp(u64::from_le_bytes(octets)));
        let batch = Batch {
            meta: vec![
                (MetaKey::ConfigDigest, digest),
                (MetaKey::Generation, control.generation.to_le_bytes().to_vec()),
                (MetaKey::FingerprintKey, stored::encode_key(&control)),
            ],
            dropped_answers,
            ..Batch::default()
        };
        Self { leases, control, answers, marks_known_since, batch }
    }
}

/// A bookkeeping value, if the store held it.
pub fn meta(recovered: &Recovered, key: MetaKey) -> Option<&[u8]> {
    recovered.meta.iter().find(|(found, _)| *found == key).map(|(_, value)| value.as_slice())
}

/// Puts the stored answers back; whether all of them could be.
fn restore_answers(recovered: &Recovered, generation: u32, answers: &mut AnswerTable) -> bool {
    recovered.answers.iter().all(|answer| {
        stored::decode_answer(&answer.bytes)
            .filter(|decoded| decoded.generation == generation)
            .is_some_and(|decoded| answers.restore(answer.id, &decoded))
    })
}
