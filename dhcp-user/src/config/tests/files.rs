//! Reading the file: what is trusted, what is too large, what is missing.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use crate::config::{ConfigError, FILE_OCTETS_MAX, load};

fn refusal(path: &Path) -> String {
    match load(path) {
        Ok(config) => panic!("accepted: {config:?}"),
        Err(error) => error.to_string(),
    }
}

fn with_mode(mode: u32, content: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dhcp.json");
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    (dir, path)
}

#[test]
fn a_good_file_is_read() {
    let (_dir, path) = with_mode(0o640, br#"{"dhcp": {"interfaces": ["eth0"]}}"#);
    assert_eq!(load(&path).unwrap().interfaces[0].name, "eth0");
}

#[test]
fn a_file_everyone_may_write_is_refused() {
    let (_dir, path) = with_mode(0o646, br#"{"dhcp": {}}"#);
    let shown = path.display();
    assert_eq!(
        refusal(&path),
        format!(
            "the configuration {shown} can be written by everyone (mode 0646), so it is not trusted; run chmod o-w \
             {shown} after checking it"
        )
    );
}

#[test]
fn what_is_not_there_or_no_file_is_said_plainly() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("none.json");
    assert_eq!(
        refusal(&missing),
        format!("{}: there is no such file; name the configuration with --config FILE", missing.display())
    );
    assert_eq!(
        refusal(dir.path()),
        format!("{}: this is a directory; --config wants the JSON file itself", dir.path().display())
    );
    let (_dir, path) = with_mode(0o600, b"{\n\"dhcp\": \xff}");
    assert_eq!(refusal(&path), format!("{}:2: not UTF-8 text; save the file as UTF-8", path.display()));
}

#[test]
fn faults_are_shown_with_the_files_name() {
    let (_dir, path) = with_mode(0o600, b"{\n\"dhpc\": {}}");
    assert_eq!(
        refusal(&path),
        format!("{}:2:9: dhpc: unknown key `dhpc`; did you mean `dhcp`?", path.display())
    );
}

#[test]
fn a_file_without_end_is_not_read_to_its_end() {
    let (_dir, path) = with_mode(0o600, b"");
    fs::File::options().write(true).open(&path).unwrap().set_len(FILE_OCTETS_MAX + 1).unwrap();
    assert!(matches!(load(&path), Err(ConfigError::TooLarge { .. })));
    assert_eq!(
        refusal(&path),
        format!(
            "{}: larger than 16 MiB, which no configuration needs; is it the right file?",
            path.display()
        )
    );
    // Endless, and of size 0 to whoever asks.
    let zero = refusal(Path::new("/dev/zero"));
    assert!(zero.starts_with("the configuration /dev/zero can be written by everyone"), "{zero}");
}
