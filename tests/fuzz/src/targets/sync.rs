//! Any octets as updates from another node: refused, or a batch that is in order, no larger than what came can fill, and
//! reads back as it was when it is sent on.

use dhcp_user::{
    site::replication::{self, UPDATES_MAX, Update},
    time::Timestamp,
};

/// No update takes fewer octets than this.
const UPDATE_OCTETS_MIN: usize = 6;

/// Takes one input: an octet that says whether the rest is compressed, and the rest.
///
/// # Panics
/// If a promise does not hold.
pub fn run(octets: &[u8]) {
    let Some((how, octets)) = octets.split_first() else { return };
    if how % 2 == 0 {
        judge(octets);
        return;
    }
    if let Ok(plain) = replication::decompress(octets) {
        judge(&plain);
    }
}

fn judge(plain: &[u8]) {
    let Ok((updates, now)) = replication::decode(plain) else { return };
    assert!(updates.len() <= UPDATES_MAX && updates.len() <= plain.len() / UPDATE_OCTETS_MIN);
    assert!(updates.is_sorted_by(|one, next| one.address < next.address), "one address, two updates");
    let held: usize = updates.iter().map(octets_held).sum();
    // A hardware address takes what it can have at most, however long it is.
    assert!(held <= plain.len() + 32 * updates.len(), "{held} octets from {}", plain.len());
    for update in &updates {
        assert!(update.granted_at <= update.expires && update.expires <= update.horizon, "{update:?}");
    }
    let again = replication::encode(&mut updates.clone(), now);
    let (read, then) = replication::decode(&again).expect("what was read can be sent on");
    assert_eq!(then, Timestamp::ZERO.max(now));
    assert_eq!(read, updates);
}

fn octets_held(update: &Update) -> usize {
    update.identity.as_ref().map_or(0, |identity| identity.hostname.len() + identity.relay_information.len())
}
