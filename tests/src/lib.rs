//! The harness of the end-to-end tests: network namespaces, veth pairs, raw frames, the daemon, real clients and a relay.
//!
//! Everything here is taken down when its value is dropped, also when a test panics: a [`netns::NetNs`] kills what still
//! runs in it. What a killed test process leaves behind, the next one removes. All traffic stays in namespaces made
//! here. Root is needed.

pub mod bench;
pub mod bpf;
pub mod client;
pub mod cluster;
pub mod daemon;
pub mod fake_clock;
pub mod fixture;
pub mod hop;
pub mod https;
pub mod lab;
pub mod load;
pub mod netns;
pub mod one_relay;
pub mod oracle;
pub mod packet;
mod packet_socket;
pub mod parse;
pub mod peers;
pub mod pins;
pub mod process;
pub mod raw;
pub mod relay;
pub mod responder;
pub mod sim;
pub mod tools;
pub mod torture;
pub mod veth;
pub mod wait;
pub mod wan;
