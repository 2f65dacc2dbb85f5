//! `explain` and `top` of a running daemon: what is foretold is what happens, and asking changes nothing.

use dhcp_tests::{
    client::scripted::Scripted,
    daemon::{Daemon, binary},
    lab::{Cable, Server, Stats},
    process::stdout,
};
use serde_json::Value;

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Who would answer, and what kernel and daemon find.
fn explained(daemon: &Daemon, what: &str) -> (String, Vec<(String, String)>) {
    let all = daemon.ask(&["explain", what]).expect("an explanation");
    let one = &all[0];
    let steps = one["steps"].as_array().expect("steps").iter();
    let text = |value: &Value| value.as_str().expect("words").to_owned();
    (text(&one["answered_by"]), steps.map(|step| (text(&step["part"]), text(&step["outcome"]))).collect())
}

fn finds(steps: &[(String, String)], part: &str) -> String {
    let found = steps.iter().find(|(of, _)| of == part);
    found.unwrap_or_else(|| panic!("{part} is not in {steps:?}")).1.clone()
}

#[test]
fn what_is_foretold_of_a_frame_happens_and_asking_changes_nothing() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let daemon = server.start(&server.config()).unwrap();
    let client = Scripted::new(&cable.socket, 1);

    let discover = client.message(1, &[]);
    let (by, steps) = explained(&daemon, &hexadecimal(&discover.build()));
    assert_eq!((by.as_str(), finds(&steps, "kernel").as_str()), ("daemon", "not_renewal"));
    assert_eq!(finds(&steps, "daemon"), "offered");
    // Nothing was offered: the address is still anybody's, and no message was counted.
    assert_eq!(daemon.ask(&["stats"]).unwrap()["daemon"]["offers"], 0);

    let address = client.dora().unwrap().address;
    let before = Stats::of(&daemon).unwrap().answered();
    let renewal = client.renewal(address);
    for _ in 0..3 {
        let (by, steps) = explained(&daemon, &hexadecimal(&renewal.build()));
        assert_eq!((by.as_str(), finds(&steps, "kernel").as_str()), ("kernel", "answered"));
        assert_eq!(finds(&steps, "daemon"), "acked_renewal", "the daemon would say the same");
    }
    assert_eq!(Stats::of(&daemon).unwrap().answered(), before, "asking is no renewal");
    client.ask(&renewal).unwrap();
    assert_eq!(Stats::of(&daemon).unwrap().answered(), before + 1);

    // Another octet in an option, and the kernel does not know it; another client, and it is refused.
    let (by, steps) = explained(
        &daemon,
        &hexadecimal(&Scripted::new(&cable.socket, 1).with(12, b"x").renewal(address).build()),
    );
    assert_eq!((by.as_str(), finds(&steps, "kernel").as_str()), ("daemon", "fingerprint"));
    let (by, steps) =
        explained(&daemon, &hexadecimal(&Scripted::new(&cable.socket, 2).renewal(address).build()));
    assert_eq!((by.as_str(), finds(&steps, "kernel").as_str()), ("daemon", "other_client"));
    assert_eq!(finds(&steps, "daemon"), "nak_taken");

    let (by, steps) = explained(&daemon, &address.to_string());
    assert_eq!((by.as_str(), finds(&steps, "lease").as_str()), ("kernel", "bound"));
    let (_, steps) = explained(&daemon, "198.18.77.1");
    assert_eq!(finds(&steps, "lease"), "none");
    let text = stdout(
        server
            .ns
            .command(binary().unwrap())
            .args(["explain", &address.to_string(), "--socket"])
            .arg(server.folder.path().join("control.sock")),
    );
    assert!(text.unwrap().contains("is answered in the kernel"));
}

#[test]
fn top_paints_one_picture() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let _daemon = server.start(&server.config()).unwrap();
    Scripted::new(&cable.socket, 1).dora().unwrap();
    let mut command = server.ns.command(binary().unwrap());
    let text =
        stdout(command.args(["top", "--once", "--socket"]).arg(server.folder.path().join("control.sock")))
            .unwrap();
    for part in
        ["on s0 (", "1 leases bound", "Renewals by the kernel", "acked_new", "198.18.1.0-198.18.1.255"]
    {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}
