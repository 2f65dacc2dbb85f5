//! Octets of a lease that are nearly always few: client identifiers and host names. With millions of leases an allocation
//! each would cost more than the octets do.

use std::{fmt, ops::Deref};

/// How many octets are kept in place. With their number and the kind of keeping that makes three words.
const IN_PLACE: usize = 22;

/// Octets, in place if they are 22 or fewer.
#[derive(Clone)]
pub struct Octets(Kept);

#[derive(Clone)]
enum Kept {
    InPlace { len: u8, octets: [u8; IN_PLACE] },
    Apart(Box<[u8]>),
}

impl Deref for Octets {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Kept::InPlace { len, octets } => octets.get(..usize::from(*len)).unwrap_or(octets),
            Kept::Apart(octets) => octets,
        }
    }
}

impl From<&[u8]> for Octets {
    fn from(octets: &[u8]) -> Self {
        let mut held = [0; IN_PLACE];
        match (held.get_mut(..octets.len()), u8::try_from(octets.len())) {
            (Some(place), Ok(len)) => {
                place.copy_from_slice(octets);
                Self(Kept::InPlace { len, octets: held })
            }
            _ => Self(Kept::Apart(octets.into())),
        }
    }
}

impl From<Vec<u8>> for Octets {
    fn from(octets: Vec<u8>) -> Self {
        if octets.len() <= IN_PLACE { octets.as_slice().into() } else { Self(Kept::Apart(octets.into())) }
    }
}

impl<const LEN: usize> From<[u8; LEN]> for Octets {
    fn from(octets: [u8; LEN]) -> Self {
        octets.as_slice().into()
    }
}

impl Default for Octets {
    fn default() -> Self {
        [].into()
    }
}

// However they are kept, the octets alone count.

impl PartialEq for Octets {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Octets {}

impl PartialOrd for Octets {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Octets {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (**self).cmp(&**other)
    }
}

impl std::hash::Hash for Octets {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl fmt::Debug for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn three_words() {
        assert_eq!(size_of::<Octets>(), 24);
    }

    proptest! {
        #[test]
        fn are_what_they_were_made_of(
            one in prop::collection::vec(any::<u8>(), 0..=300), other in prop::collection::vec(0..2_u8, 0..=24)
        ) {
            for octets in [&one, &other] {
                prop_assert_eq!(&*Octets::from(octets.as_slice()), octets.as_slice());
                prop_assert_eq!(Octets::from(octets.clone()), Octets::from(octets.as_slice()));
            }
            prop_assert_eq!(
                Octets::from(one.as_slice()).cmp(&other.as_slice().into()), one.as_slice().cmp(other.as_slice())
            );
        }
    }
}
