//! The templates of requests that are known, and which of them is whose: each is held once, however many clients ask so.

use std::{collections::HashSet, net::Ipv4Addr, sync::Arc};

use ahash::AHashMap;
use dhcp_common::abi::Form;
use xxhash_rust::xxh3::Xxh3;

use super::template::Template;

/// Templates held at once, at most.
pub const TEMPLATES_MAX: usize = 8_192;
/// After a look for templates nobody uses found too few, so many new ones are left out before the next look.
const LOOK_AGAIN: u64 = 512;

/// How a client's renewals come in: direct, then relayed.
pub type Asked = [Option<Arc<Template>>; 2];

/// Templates by address.
#[derive(Clone, Debug, Default)]
pub struct Book {
    known: HashSet<Arc<Template>>,
    by_address: AHashMap<Ipv4Addr, Asked>,
    left_out: u64,
    next_look: u64,
}

impl Book {
    /// How the renewals of an address's client come in.
    pub fn of(&self, address: Ipv4Addr) -> Asked {
        self.by_address.get(&address).cloned().unwrap_or_default()
    }

    /// A digest of that, to tell whether a receiver has it; 0 if nothing is known.
    pub fn digest(&self, address: Ipv4Addr) -> u64 {
        let Some(asked) = self.by_address.get(&address) else { return 0 };
        let mut hash = Xxh3::new();
        for template in asked {
            let octets = template.as_ref().map_or(&[][..], |template| template.octets());
            hash.update(&(octets.len() as u64).to_le_bytes());
            hash.update(octets);
        }
        hash.digest()
    }

    /// Takes note of how one of a client's renewals comes in, or that it is not known.
    pub fn note(&mut self, address: Ipv4Addr, form: Form, template: Option<Template>) {
        let mut asked = self.of(address);
        let template = template.and_then(|template| self.shared(Arc::new(template)));
        let [direct, relayed] = &mut asked;
        match form {
            Form::Direct => *direct = template,
            Form::Relayed => *relayed = template,
        }
        self.put(address, asked);
    }

    /// Takes over what another node says of a client's renewals; whether that is news. Who says nothing knows no better.
    pub fn adopt(&mut self, address: Ipv4Addr, told: Asked) -> bool {
        let before = self.of(address);
        let mut asked = before.clone();
        for (slot, told) in asked.iter_mut().zip(told) {
            if let Some(template) = told.and_then(|template| self.shared(template)) {
                *slot = Some(template);
            }
        }
        let news = before != asked;
        if news {
            self.put(address, asked);
        }
        news
    }

    /// Nobody renews an address any more.
    pub fn forget(&mut self, address: Ipv4Addr) {
        self.by_address.remove(&address);
    }

    /// All addresses of which a template is known.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        self.by_address.keys().copied()
    }

    /// How many templates are held.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Templates there was no room for.
    pub const fn left_out(&self) -> u64 {
        self.left_out
    }

    fn put(&mut self, address: Ipv4Addr, asked: Asked) {
        if asked.iter().any(Option::is_some) {
            self.by_address.insert(address, asked);
        } else {
            self.by_address.remove(&address);
        }
    }

    /// The one copy of a template; `None` if there is no room for another.
    fn shared(&mut self, template: Arc<Template>) -> Option<Arc<Template>> {
        if let Some(known) = self.known.get(&template) {
            return Some(Arc::clone(known));
        }
        if self.known.len() >= TEMPLATES_MAX && self.left_out >= self.next_look {
            self.known.retain(|known| Arc::strong_count(known) > 1);
            self.next_look = self.left_out + LOOK_AGAIN;
        }
        if self.known.len() >= TEMPLATES_MAX {
            self.left_out += 1;
            return None;
        }
        self.known.insert(Arc::clone(&template));
        Some(template)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(n: usize) -> Template {
        let mut octets = vec![0, 0, 0, 0, 0, 0, 2];
        octets.extend((n as u16).to_be_bytes());
        Template::decode(&octets).unwrap()
    }

    #[test]
    fn each_is_held_once_and_what_nobody_uses_makes_room() {
        let mut book = Book::default();
        let address = |n: usize| Ipv4Addr::from(0xc612_0000 + n as u32);
        for n in 0..TEMPLATES_MAX {
            book.note(address(n), Form::Direct, Some(template(n)));
        }
        let relayed = [None, Some(Arc::new(template(3)))];
        assert!(book.adopt(address(9_999), relayed.clone()) && !book.adopt(address(9_999), relayed));
        assert!(!book.adopt(address(9_999), [None, None]), "nothing said is nothing new");
        assert_eq!((book.len(), book.left_out()), (TEMPLATES_MAX, 0));
        assert!(book.digest(address(3)) != book.digest(address(9_999)) && book.digest(address(3)) != 0);
        book.note(address(10_000), Form::Direct, Some(template(10_000)));
        assert_eq!((book.of(address(10_000)), book.digest(address(10_000))), ([None, None], 0));
        assert_eq!(book.left_out(), 1);
        for n in 0..100 {
            book.forget(address(n));
        }
        for _ in 0..LOOK_AGAIN {
            book.note(address(10_000), Form::Direct, Some(template(10_000)));
        }
        assert_eq!(book.of(address(10_000))[0].as_deref(), Some(&template(10_000)));
        assert_eq!(book.len(), TEMPLATES_MAX - 98, "number 3 is somebody's still");
        book.note(address(10_000), Form::Direct, None);
        assert_eq!(book.addresses().count(), TEMPLATES_MAX - 99);
    }
}
