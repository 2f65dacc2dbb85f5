//! A real node and somebody who has a certificate of the cluster: one of its nodes has been taken over, or has gone mad. What
//! it says is refused or bounded, counted by kind and told once; the others go on, and the node itself is welcome again
//! when it makes sense.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use dhcp_tests::{
    client::scripted::Scripted,
    cluster::{self, AGREED, Cluster},
    wait::wait_for,
};
use dhcp_user::{
    config::{self, Config},
    site::link::{
        hello::{self, Hello, VERSION},
        terms::Terms,
        tls::Tls,
        wire::{HEADER, Lane, Message, Outgoing},
    },
};
use rustls::{ClientConnection, StreamOwned, pki_types::ServerName};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);

/// The node that is attacked, and the one in whose name.
const VICTIM: usize = 0;
const STOLEN: usize = 2;

/// Somebody with the certificate of a node that is not running.
struct Hostile<'a> {
    cluster: &'a Cluster,
    config: Config,
    tls: Tls,
}

type Stream = StreamOwned<ClientConnection, TcpStream>;

impl<'a> Hostile<'a> {
    fn of(cluster: &'a Cluster) -> Result<Self> {
        let node = &cluster.nodes[STOLEN];
        let config = config::parse(&node.config.to_string(), "stolen");
        let config = config.map_err(|error| anyhow::anyhow!("{error}"))?;
        let sites = config.multi_site.as_ref().context("a node of no cluster")?;
        let tls = Tls::open(&sites.link, &node.name)?;
        Ok(Self { cluster, config, tls })
    }

    fn hello(&self) -> Hello {
        Hello {
            node: self.cluster.nodes[STOLEN].name.clone(),
            cluster: None,
            incarnation: 7,
            encryption: true,
            nonce: 99,
            terms: Terms::of(&self.config),
        }
    }

    /// A connection with TLS, and nothing said on it.
    fn connect(&self) -> Result<Stream> {
        let to = SocketAddr::from((cluster::address(VICTIM), 8067));
        let ns = &self.cluster.nodes[STOLEN].server.ns;
        let tcp = ns.run(|| TcpStream::connect_timeout(&to, SOON))??;
        tcp.set_read_timeout(Some(SOON))?;
        tcp.set_write_timeout(Some(SOON))?;
        let name = ServerName::try_from(self.cluster.nodes[VICTIM].name.clone())?;
        Ok(StreamOwned::new(ClientConnection::new(self.tls.client(), name)?, tcp))
    }

    /// A connection that the node takes for a link.
    fn greet(&self) -> Result<Stream> {
        let mut stream = self.connect()?;
        say(&mut stream, self.hello().message())?;
        let theirs = Hello::read(&hear(&mut stream)?)?;
        say(&mut stream, hello::verdict(theirs.nonce, &Ok(())))?;
        hello::read_verdict(&hear(&mut stream)?, self.hello().nonce)?;
        Ok(stream)
    }

    fn failures(&self, kind: &str) -> u64 {
        let sync = self.cluster.nodes[VICTIM].get("sync").expect("it answers");
        sync["failures"][kind].as_u64().unwrap_or(0)
    }

    /// Waits until the node has counted so many failures of a kind.
    fn wait_failures(&self, kind: &str, count: u64) -> Result<()> {
        let what = format!("{count} of {kind}");
        self.cluster.nodes[VICTIM]
            .wait_get(&what, "sync", |sync| sync["failures"][kind].as_u64() == Some(count))?;
        Ok(())
    }
}

fn say(stream: &mut Stream, message: Message) -> Result<()> {
    let (mut outgoing, mut octets) = (Outgoing::new(message), Vec::new());
    while !outgoing.put_next(&mut octets) {}
    stream.write_all(&octets)?;
    Ok(stream.flush()?)
}

fn hear(stream: &mut Stream) -> Result<Message> {
    let mut octets = Vec::new();
    loop {
        let mut header = [0; HEADER];
        stream.read_exact(&mut header)?;
        let [_, flags, high, low] = header;
        let before = octets.len();
        octets.resize(before + usize::from(u16::from_be_bytes([high, low])), 0);
        stream.read_exact(&mut octets[before..])?;
        if flags & 1 != 0 {
            return Ok(Message { lane: Lane::Control, packed: false, octets });
        }
        ensure!(octets.len() < 1 << 20, "a greeting without an end");
    }
}

/// Reads until the node ends the connection.
fn wait_end(stream: &mut Stream) -> Result<()> {
    let began = Instant::now();
    let mut some = [0; 4_096];
    while began.elapsed() < SOON {
        match stream.read(&mut some) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
            {
                bail!("it goes on listening")
            }
            Err(_) => return Ok(()),
        }
    }
    bail!("it goes on talking")
}

/// How often a node's log says something.
fn told(cluster: &Cluster, text: &str) -> usize {
    cluster.nodes[VICTIM].log().matches(text).count()
}

#[test]
fn a_node_gone_mad_is_refused_bounded_counted_and_told_once_and_the_cluster_goes_on() {
    let mut cluster = Cluster::new(&[("a", 1), ("b", 1), ("c", 1)], |_| {}).unwrap();
    cluster.nodes[STOLEN].later = true;
    cluster.start().unwrap();
    cluster.wait_in_step().unwrap();
    let memory = cluster.nodes[VICTIM].daemon.as_ref().unwrap().memory_octets().unwrap();
    let hostile = Hostile::of(&cluster).unwrap();

    // A newer version of the protocol is refused, with words that name it.
    for count in 1..=2 {
        let mut stream = hostile.connect().unwrap();
        let mut greeting = hostile.hello().message();
        greeting.octets.splice(8..10, (VERSION + 1).to_be_bytes());
        greeting.octets.extend(b"what nobody knows yet");
        say(&mut stream, greeting).unwrap();
        assert_eq!(Hello::read(&hear(&mut stream).unwrap()).unwrap().node, cluster.nodes[VICTIM].name);
        let refusal = hello::read_verdict(&hear(&mut stream).unwrap(), 0).unwrap_err().to_string();
        assert!(refusal.contains(&format!("version {}", VERSION + 1)), "{refusal}");
        wait_end(&mut stream).unwrap();
        hostile.wait_failures("version", count).unwrap();
    }
    assert_eq!(told(&cluster, &format!("it speaks version {}", VERSION + 1)), 1);

    // Let in, it sends what is no stream, breaks off in the middle of a message, and says what makes no sense.
    let too_long = [&[2, 0, 0x3e, 0x80][..], &[7; 16_000]].concat();
    for (kind, octets, words) in [
        ("nonsense", &[9, 9, 9, 9][..], "no chunk of a message"),
        ("truncated", &[2, 1, 0, 9, 4], "ends in the middle of a message"),
        ("message", &[2, 1, 0, 2, 99, 1], "messages that make no sense"),
        ("too_long", &too_long, "longer than any node sends"),
    ] {
        for count in 1..=3 {
            let mut stream = hostile.greet().unwrap();
            let times = if kind == "too_long" { 3_000 } else { 1 };
            for _ in 0..times {
                // It may have had enough before the last.
                if stream.write_all(octets).and_then(|()| stream.flush()).is_err() {
                    break;
                }
            }
            if kind == "truncated" {
                // Not even TLS is ended in order. It goes on listening: to whom something could not be sent is another failure.
                drop(stream.sock.shutdown(std::net::Shutdown::Write));
            }
            wait_end(&mut stream).unwrap();
            hostile.wait_failures(kind, count).unwrap_or_else(|error| panic!("{error:#}"));
        }
        assert_eq!(told(&cluster, words), 1, "{kind}: {}", cluster.nodes[VICTIM].log());
    }
    let seen = cluster.nodes[VICTIM].get("sites/c").unwrap();
    assert_eq!(seen["members"][0]["linked"], false, "{seen}");
    assert!(seen["members"][0]["links"].as_u64() >= Some(12), "{seen}");

    // It asks and asks, and takes no answer: what waits for it is bounded, and it is given up.
    let mut deaf = hostile.greet().unwrap();
    let ping = [0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0].repeat(1_200);
    let silent = hostile.failures("silent");
    let began = Instant::now();
    deaf.sock.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    while deaf.write_all(&ping).and_then(|()| deaf.flush()).is_ok() || hostile.failures("silent") == silent {
        assert!(began.elapsed() < AGREED, "it is heard for ever");
    }
    assert_eq!(hostile.failures("silent"), silent + 1);
    let now = cluster.nodes[VICTIM].daemon.as_ref().unwrap().memory_octets().unwrap();
    assert!(now.0 < memory.0 + (96 << 20), "{memory:?}, now {now:?}");
    drop(deaf);

    // Nobody else noticed.
    for (number, node) in (1..).zip(&cluster.nodes[..STOLEN]) {
        let sync = node.get("sync").unwrap();
        assert_eq!(sync["role"], "active", "{sync}");
        // A client asks again, as they do: a node that has just been given its share may keep silent at first.
        wait_for(AGREED, "a lease", || Ok(Scripted::new(&node.cable.socket, number).dora().ok())).unwrap();
    }
    let other = cluster.nodes[1].get("sync").unwrap();
    for kind in ["nonsense", "truncated", "message", "too_long", "version", "closed"] {
        assert_eq!(other["failures"][kind], Value::Null, "{other}");
    }
    let metrics = cluster.nodes[VICTIM].daemon.as_ref().unwrap().text("/metrics", SOON).unwrap();
    assert!(metrics.contains("dhcp_site_link_failures_total{reason=\"truncated\"} 3"), "{metrics}");
    // The node it was taken for comes, and is one of them.
    drop(hostile);
    cluster.nodes[STOLEN].start().unwrap();
    cluster.nodes[STOLEN]
        .wait("the real node to be in", &["site", "sync"], |sync| sync["role"] == "active")
        .unwrap();
}
