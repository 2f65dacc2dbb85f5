//! Requests to the management API to begin with: every endpoint by every kind of caller, with every kind of parameter.

use std::{fs, path::Path};

/// Every request the description of the API knows, by those who may and those who may not; queries of every filter; bodies.
///
/// # Panics
/// If the examples of the documentation cannot be read.
pub fn all() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for peer in ["local", "remote", "remote:ops"] {
        for target in READ {
            seeds.push(format!("{peer} GET {target}\n\n").into_bytes());
        }
    }
    for token in ["TOKEN0", "TOKEN1", "TOKEN2", "wrong"] {
        for target in READ.iter().take(8) {
            seeds.push(format!("remote GET {target}\nauthorization: Bearer {token}\n\n").into_bytes());
        }
    }
    seeds.extend(CHANGES.iter().map(|request| request.as_bytes().to_vec()));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples");
    for example in fs::read_dir(folder).expect("the examples are there") {
        let body = fs::read(example.expect("an entry").path()).expect("an example");
        let head = b"local POST /api/v1/config/validate\ncontent-type: application/json\n\n";
        seeds.push([&head[..], &body].concat());
    }
    seeds
}

const READ: [&str; 27] = [
    "/api/v1/leases",
    "/api/v1/leases/198.18.1.7",
    "/api/v1/stats",
    "/api/v1/subnets",
    "/api/v1/tokens",
    "/api/v1/audit?limit=5",
    "/api/v1/events",
    "/healthz",
    "/api/v1/leases?limit=3&after=198.18.1.4&state=bound",
    "/api/v1/leases?first=198.18.1.2&last=198.18.1.9&renewed_by=kernel",
    "/api/v1/leases?subnet=198.18.1.0/30&hostname=host-1",
    "/api/v1/leases?hw_address=02:00:00:00:00:03&client_id=01000003",
    "/api/v1/leases?address=255.255.255.255&limit=0",
    "/api/v1/leases?unknown=%00%ff&limit=-1",
    "/api/v1/leases/999.1.1.1",
    "/api/v1/leases/%31%39%38.18.1.1",
    "/api/v1/leases/export?format=csv",
    "/api/v1/leases/export?format=ndjson&subnet=198.18.1.0/28",
    "/api/v1/reservations?limit=1&after=198.18.250.1",
    "/api/v1/openapi.json",
    "/metrics",
    "/readyz",
    "/api/v1/explain?address=198.18.1.7",
    "/api/v1/explain?frame=0102ff",
    "/api/v1/config",
    "/",
    "//api/v1/leases/..",
];

const CHANGES: [&str; 24] = [
    "local DELETE /api/v1/leases/198.18.1.7\n\n",
    "local DELETE /api/v1/leases/198.18.1.9\nif-match: \"x\", \"y\"\n\n",
    "local POST /api/v1/leases/198.18.1.8/extend\nif-match: *\n\n",
    "remote POST /api/v1/leases/198.18.1.8/extend\nauthorization: Bearer TOKEN1\nif-match: W/\"1\"\n\n",
    "remote DELETE /api/v1/leases/198.18.1.200\nauthorization: bearer TOKEN1\n\n",
    "local POST /api/v1/tokens\ncontent-type: application/json\n\n{\"name\": \"a\", \"role\": \"viewer\"}",
    "local POST /api/v1/tokens\ncontent-type: application/json\n\n{\"name\": \"b\", \"role\": \"operator\", \
     \"subnets\": [\"198.18.0.0/16\"], \"lasts_secs\": 315360000}",
    "local POST /api/v1/tokens\ncontent-type: application/json\n\n{\"name\": \"\", \"role\": \"root\", \"lasts_secs\": 1e99}",
    "local POST /api/v1/tokens\ncontent-type: text/plain\n\n{}",
    "local DELETE /api/v1/tokens/0011223344556677\n\n",
    "remote POST /api/v1/config/validate\nauthorization: Bearer TOKEN2\ncontent-type: application/json\n\n{\"dhcp\": {}}",
    "local POST /api/v1/config/validate\n\n\u{fffd}[[[[[[[[",
    "local POST /api/v1/config/diff\ncontent-type: application/json\n\n{\"dhcp\": {\"interfaces\": []}}",
    "local PUT /api/v1/config\nif-match: \"00\"\n\n{}",
    "local POST /api/v1/config/rollback\n\n",
    "local PUT /api/v1/leases\nx-request-id: a-b_c.d\n\n",
    "local GET /api/v1/events\nlast-event-id: 18446744073709551615\n\n",
    "local POST /api/v1/reservations\n\n{\"address\": \"198.18.250.9\", \"hw_address\": \"02:00:00:00:00:77\"}",
    "local POST /api/v1/reservations?even_if_held=true\n\n{\"address\": \"198.18.1.3\", \"client_id\": \"hex:00\", \
     \"options\": [{\"code\": 66, \"type\": \"text\", \"value\": \"x\"}]}",
    "remote POST /api/v1/reservations\nauthorization: Bearer TOKEN1\n\n{\"address\": \"198.18.1.9\", \"circuit_id\": \"text:a\"}",
    "local PUT /api/v1/reservations/198.18.250.1\nif-match: *\n\n{\"address\": \"198.18.250.1\", \"hw_address\": \"02-00\"}",
    "local DELETE /api/v1/reservations/198.18.250.1\nif-match: \"x\"\n\n",
    "local POST /api/v1/leases/198.18.1.4/reserve\n\n{\"identify_by\": \"client_id\", \"hostname\": \"a\"}",
    "local POST /api/v1/capture?count=2&hw_address=02:00:00:00:00:03&address=198.18.1.3&seconds=1\n\n",
];
