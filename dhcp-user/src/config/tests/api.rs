//! `dhcp.api`: what it becomes, and what could be reached by others without TLS is refused.

use super::*;
use crate::config::{model::ApiRole, open_figures};

fn api(members: &str) -> String {
    dhcp(&format!(r#""store": {{"path": "/s"}}, "api": {{{members}}}"#))
}

#[test]
fn without_a_word_it_is_served_with_tls_and_a_certificate_of_its_own() {
    let config = good(&api(""));
    assert!(config.api.enabled && config.api.tls && config.api.certificate.is_none());
    assert_eq!(config.api.listen.to_string(), "0.0.0.0:8081");
    assert_eq!(config.api.state_path.to_str(), Some("/s/api"));
}

#[test]
fn everything_can_be_said() {
    let config = good(&api(
        r#""listen": "[::1]:9", "tls": false, "certificate": "/c", "key": "/k", "client_ca": "/a", "state_path": "/p",
        "metrics_listen": "127.0.0.1:9100", "requests_per_sec": 5,
        "client_certificates": [{"name": "ops", "role": "admin", "subnets": ["198.18.0.0/24"]}]"#,
    ));
    let api = config.api;
    assert_eq!(api.certificate, Some(("/c".into(), "/k".into())));
    assert_eq!((api.clients[0].role, api.clients[0].subnets.len()), (ApiRole::Admin, 1));
    assert_eq!((api.state_path.to_str(), api.requests_per_sec), (Some("/p"), 5));
}

#[test]
fn figures_that_others_may_read_are_told_of() {
    for (listen, told) in [
        ("127.0.0.1:9547", false),
        ("[::1]:9547", false),
        ("198.18.0.2:9547", true),
        ("0.0.0.0:9547", true),
        ("[::]:9547", true),
    ] {
        let config = good(&api(&format!(r#""metrics_listen": "{listen}""#)));
        let warning = open_figures(&config.api).unwrap_or_default();
        assert_eq!(warning.contains(listen) && warning.starts_with("dhcp.api.metrics_listen: "), told);
        assert_eq!(warning.is_empty(), !told, "{listen}: {warning}");
    }
    assert_eq!(open_figures(&good(&api("")).api), None);
}

#[test]
fn faults_are_named() {
    for (members, message) in [
        (
            r#""tls": false"#,
            "dhcp.api.listen: 0.0.0.0:8081 can be reached from elsewhere; leave `tls` on, or listen on 127.0.0.1",
        ),
        (
            r#""listen": "8081""#,
            "dhcp.api.listen: \"8081\" is not an address with a port; write 0.0.0.0:8081 or [::]:8081",
        ),
        (
            r#""metrics_listen": "0.0.0.0:8081""#,
            "dhcp.api.metrics_listen: is `listen` again; give it another port or leave it out",
        ),
        (
            r#""certificate": "/c""#,
            "dhcp.api: `certificate` without `key`; give both, or none for one that signs itself",
        ),
        (
            r#""key": "/c""#,
            "dhcp.api: `key` without `certificate`; give both, or none for one that signs itself",
        ),
        (r#""client_ca": "c""#, "dhcp.api.client_ca: \"c\" is not an absolute path; begin it with /"),
        (
            r#""requests_per_sec": 0"#,
            "dhcp.api.requests_per_sec: 0 is out of range; it may be 1 to 1000000 requests a second",
        ),
        (
            r#""client_certificates": [{"name": "x", "role": "admin"}]"#,
            "dhcp.api.client_certificates: nothing says who signs these; give `client_ca`",
        ),
        (
            r#""client_ca": "/c", "client_certificates": [{"name": "x", "role": "admin"}, {"name": "x", "role": "viewer"}]"#,
            "dhcp.api.client_certificates[1].name: \"x\" is listed already; remove one",
        ),
    ] {
        assert_eq!(messages(&api(members)), [message], "{members}");
    }
}
