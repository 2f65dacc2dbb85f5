//! Copies the XDP object into `OUT_DIR`, from where the daemon includes it: one binary to install, and no object that
//! could be of another version. `cargo xtask build` makes the object; this script only finds it.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// Names an object to include instead, for packagers who build it apart.
const OVERRIDE: &str = "DHCP_EBPF_OBJECT";

/// The object's place below cargo's target directory; `xtask/src/workspace.rs` puts it there.
const OBJECT: &str = "ebpf/dhcp-ebpf.o";

fn main() -> Result<(), String> {
    println!("cargo::rerun-if-env-changed={OVERRIDE}");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets no OUT_DIR")?);
    let object = match env::var_os(OVERRIDE) {
        Some(path) => PathBuf::from(path),
        None => in_target_directory(&out)?,
    };
    println!("cargo::rerun-if-changed={}", object.display());
    fs::copy(&object, out.join("dhcp-ebpf.o")).map_err(|error| {
        format!("the XDP object {} cannot be read ({error}): run `cargo xtask build`", object.display())
    })?;
    Ok(())
}

/// `OUT_DIR` is `<target>[/<triple>]/<profile>/build/<package>/out`: the object is below one of its ancestors, wherever
/// the target directory is. Where it is missing, the place it should be is returned.
fn in_target_directory(out: &Path) -> Result<PathBuf, String> {
    let candidates = || out.ancestors().skip(4).take(3).map(|folder| folder.join(OBJECT));
    candidates()
        .find(|object| object.is_file())
        .or_else(|| candidates().next())
        .ok_or_else(|| format!("{} is not below a target directory", out.display()))
}
