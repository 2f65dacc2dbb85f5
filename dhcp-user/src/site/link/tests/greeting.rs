//! Who is talked to: the right node with the right certificate and the same terms, and nobody else.

use std::{fs, time::Duration};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use super::{DAY, End, Odd, certificates, config, end, greet, greet_over, other};
use crate::{
    server::clock,
    site::{
        link::{
            greet::accept,
            hello::{HELLO_MAX, VERSION},
            tls::Tls,
        },
        pki,
        roster::Roster,
    },
};

async fn kinds(a: &End, b: &End) -> (&'static str, &'static str) {
    let (one, two) = greet(a, b).await;
    let kind = |greeted: Result<_, super::LinkError>| greeted.map_or_else(|error| error.kind(), |_| "well");
    (kind(one), kind(two))
}

#[tokio::test]
async fn two_nodes_of_one_cluster_greet() {
    let folder = certificates();
    let a = end("a.example", folder.path(), Odd::default());
    let b = end("b.example", folder.path(), Odd { cluster: Some([1; 16]), ..Odd::default() });
    let (one, two) = greet(&a, &b).await;
    assert_eq!((one.unwrap().hello.node.as_str(), two.unwrap().hello.cluster), ("b.example", None));
}

#[tokio::test]
async fn certificates_must_be_of_the_authority_good_and_made_out_to_the_node() {
    let folder = certificates();
    let a = end("a.example", folder.path(), Odd::default());
    // Of another authority.
    let strange = certificates();
    let b = end("b.example", strange.path(), Odd::default());
    assert_eq!(kinds(&a, &b).await, ("tls", "tls"));
    assert_eq!(kinds(&b, &a).await, ("tls", "tls"));
    // Its time is over.
    let expired = tempfile::tempdir().unwrap();
    let (ca, out) = (folder.path().join("pki"), expired.path().join("b"));
    let two_days_ago = clock::wall_ns() - 2 * u64::try_from(DAY.as_nanos()).unwrap();
    pki::node_at(&ca, "b.example", &out, two_days_ago, DAY).unwrap();
    let b = end("b.example", expired.path(), Odd::default());
    assert_eq!(kinds(&a, &b).await, ("tls", "tls"));
    let (called, _) = greet(&a, &b).await;
    assert!(called.unwrap_err().to_string().contains("xpired"));
    assert_eq!(kinds(&b, &a).await.1, "tls");
    // A node of the cluster that takes itself for another: a's certificate, b's name.
    let b_config = config("b.example", folder.path(), super::POOL);
    let roster = Roster::of(b_config.multi_site.as_ref().unwrap(), "?").unwrap();
    let liar = end("a.example", folder.path(), Odd { roster: Some(roster), ..Odd::default() });
    assert_eq!(kinds(&liar, &a).await.1, "name", "it called");
    assert_eq!(kinds(&a, &liar).await.0, "tls", "it was called");
}

#[tokio::test]
async fn a_certificate_of_nobody_is_refused_at_once_and_a_new_one_is_taken_up() {
    let folder = certificates();
    let sites = config("a.example", folder.path(), super::POOL).multi_site.unwrap();
    let error = Tls::open(&sites.link, "c.example").unwrap_err().to_string();
    assert!(error.contains("pki node c.example"), "{error}");
    let tls = Tls::open(&sites.link, "a.example").unwrap();
    assert!(!tls.refresh().unwrap());
    let ends = tls.ends_secs();
    pki::node(&folder.path().join("pki"), "a.example", &folder.path().join("a"), 9 * DAY).unwrap();
    assert!(tls.refresh().unwrap() && tls.ends_secs() > ends);
    fs::write(&sites.link.key, "x").unwrap();
    assert!(tls.refresh().is_err(), "what is in use stays");
    assert!(tls.ends_secs() > ends);
}

#[tokio::test]
async fn what_must_agree_is_named_at_both_ends() {
    let folder = certificates();
    let a = end("a.example", folder.path(), Odd { cluster: Some([1; 16]), ..Odd::default() });
    let b = end("b.example", folder.path(), Odd { pool: Some("198.18.1.0/25"), ..Odd::default() });
    let (one, two) = greet(&a, &b).await;
    let (one, two) = (one.unwrap_err(), two.unwrap_err());
    assert_eq!((one.kind(), two.kind()), ("configuration", "configuration"));
    assert!(one.to_string().contains("198.18.1.127 there"), "{one}");
    let trouble = b.shared.status()[0].trouble.clone().unwrap_or_default();
    assert!(trouble.contains("198.18.1.127 here"), "who was called shows it too: {trouble}");
    let b = end("b.example", folder.path(), Odd { cluster: Some([2; 16]), ..Odd::default() });
    assert_eq!(kinds(&a, &b).await, ("cluster", "cluster"));
    let open = |node: &str| end(node, folder.path(), Odd { unencrypted: true, ..Odd::default() });
    assert_eq!(kinds(&open("a.example"), &open("b.example")).await, ("well", "well"));
    // One end wants TLS and the other does not: no greeting, and no hanging.
    let (called, accepted) = kinds(&open("a.example"), &b).await;
    assert!(called != "well" && accepted == "tls", "{called}, {accepted}");
}

#[tokio::test]
async fn who_says_nothing_or_nonsense_is_let_go() {
    let folder = certificates();
    let open = || end("b.example", folder.path(), Odd { unencrypted: true, ..Odd::default() });
    let version = (VERSION + 1).to_be_bytes();
    let newer = [&[0, 1, 0, 14], &b"DHCPSITE"[..], &version, &b"more"[..]].concat();
    let long = [&[0, 0, 0x3e, 0x80][..], &[0; 16_000]].concat().repeat(HELLO_MAX / 16_000 + 9);
    let mut ended = long.clone();
    ended.extend([0, 1, 0, 0]);
    for (octets, kind) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "nonsense"),
        (&newer, "version"),
        (&ended, "nonsense"),
        (newer.get(..9).unwrap(), "truncated"),
        (&[], "closed"),
    ] {
        let (mut one, two) = duplex(1 << 20);
        one.write_all(octets).await.unwrap();
        one.shutdown().await.unwrap();
        let error = accept(&open().shared, two).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }
    // It is connected and silent.
    let patience = Some(Duration::from_millis(200));
    let hasty = end("b.example", folder.path(), Odd { unencrypted: true, patience, ..Odd::default() });
    let (_one, two) = duplex(1 << 20);
    assert_eq!(accept(&hasty.shared, two).await.unwrap_err().kind(), "silent");
}

/// What was recorded of one connection is worth nothing on another, with TLS or without.
#[tokio::test]
async fn a_recorded_greeting_cannot_be_played_again() {
    let folder = certificates();
    for unencrypted in [false, true] {
        let odd = || Odd { unencrypted, ..Odd::default() };
        let (a, b) = (end("a.example", folder.path(), odd()), end("b.example", folder.path(), odd()));
        // Everything a says goes through our hands.
        let ((one, mut near), (mut far, two)) = (duplex(1 << 16), duplex(1 << 16));
        let relay = tokio::spawn(async move {
            let mut said = Vec::new();
            let (mut from_a, mut from_b) = ([0; 4_096], [0; 4_096]);
            loop {
                tokio::select! {
                    read = near.read(&mut from_a) => match read {
                        Ok(len) if len != 0 => {
                            said.extend_from_slice(&from_a[..len]);
                            far.write_all(&from_a[..len]).await.unwrap();
                        }
                        _ => return said,
                    },
                    read = far.read(&mut from_b) => match read {
                        Ok(len) if len != 0 => near.write_all(&from_b[..len]).await.unwrap(),
                        _ => return said,
                    },
                }
            }
        });
        let (called, accepted) = greet_over(&a, &b, one, two).await;
        drop((called.unwrap(), accepted.unwrap()));
        let said = relay.await.unwrap();
        let (mut again, two) = duplex(1 << 20);
        again.write_all(&said).await.unwrap();
        let error = accept(&b.shared, two).await.unwrap_err();
        assert_eq!(error.kind(), if unencrypted { "nonsense" } else { "tls" }, "{error}");
    }
}

#[tokio::test]
async fn strangers_and_mixed_up_addresses_are_told_apart() {
    let folder = certificates();
    let a = end("a.example", folder.path(), Odd::default());
    // Somebody calls itself.
    assert_eq!(kinds(&a, &a).await.0, "tls");
    let open = |node: &str| end(node, folder.path(), Odd { unencrypted: true, ..Odd::default() });
    let (a, b) = (open("a.example"), open("b.example"));
    assert_eq!(other(&b).name, "a.example");
    // Both call where nobody but themselves listens.
    assert_eq!(kinds(&a, &a).await, ("other_node", "unknown_node"));
}
