//! The container image by its recipe (`packaging/oci/Containerfile`), tried: built by Debian's buildah without a registry, on
//! a Debian made here, and its daemon started with the capabilities that the recipe names, in a network of its own.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::{
    folder,
    machine::{MIRROR, SUITE},
};
use crate::{
    apt, process,
    progress::during,
    workspace::{DAEMON, Workspace},
};

const DEBIAN_PACKAGES: [&str; 3] = ["buildah", "mmdebstrap", "iproute2"];
/// What the image is built on in place of a registry's.
const BASE: &str = "localhost/debian-slim";
const CONFIG: &str = r#"{"dhcp": {"interfaces": [{"name": "dhcp0", "mode": "generic"}],
"subnets": [{"subnet": "198.18.0.0/24", "interface": "dhcp0", "pools": [{"range": "198.18.0.100-198.18.0.199"}]}]}}
"#;
/// In namespaces of its own: a network, the image's root with what a container is given, and the daemon in it with the words
/// after the root's and the capabilities'; it is asked as the recipe's health check asks it, and ended as a container is.
const TRY: &str = r#"
root=$1 capabilities=$2 deadline=$3; shift 3
ip link set lo up
ip link add dhcp0 type veth peer name client0
ip address add 198.18.0.1/24 dev dhcp0
ip link set dhcp0 up; ip link set client0 up
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t bpf bpf "$root/sys/fs/bpf"
mount -t tmpfs -o mode=0755 tmpfs "$root/dev"
for device in null zero urandom random; do touch "$root/dev/$device"; mount --bind "/dev/$device" "$root/dev/$device"; done
mount -t tmpfs -o mode=0750 tmpfs "$root/run/simple-dhcpd"
mount -t tmpfs -o mode=0750 tmpfs "$root/var/lib/simple-dhcpd"
mount -t tmpfs -o mode=0750 tmpfs "$root/var/log/simple-dhcpd"
chroot "$root" setpriv --no-new-privs --bounding-set "-all,$capabilities" --inh-caps -all -- "$@" >&2 &
daemon=$!
tries=0
until chroot "$root" simple-dhcpd-datacenter stats --json > /dev/null 2>&1; do
    kill -0 $daemon || { echo "the daemon ended" >&2; exit 1; }
    tries=$((tries + 1))
    [ $tries -lt "$deadline" ] || { echo "the daemon does not answer" >&2; exit 1; }
    sleep 0.1
done
chroot "$root" simple-dhcpd-datacenter stats --json
kill -TERM $daemon
wait $daemon
"#;
/// Tenths of a second.
const ANSWER_DEADLINE: &str = "300";

/// buildah with storage of its own.
struct Buildah {
    storage: PathBuf,
}

impl Buildah {
    fn command(&self) -> Command {
        let mut command = Command::new("buildah");
        // Plain copies of folders: works on every file system, and in containers.
        command.args(["--storage-driver", "vfs", "--root"]).arg(self.storage.join("root"));
        command.arg("--runroot").arg(self.storage.join("run"));
        command
    }

    fn run(&self, words: &[&str]) -> Result<String> {
        Ok(process::stdout(self.command().args(words))?.trim().to_owned())
    }
}

impl Drop for Buildah {
    fn drop(&mut self) {
        drop(self.run(&["umount", "--all"]));
        drop(self.run(&["rm", "--all"]));
        drop(self.run(&["rmi", "--all", "--force"]));
        if let Err(error) = fs::remove_dir_all(&self.storage) {
            eprintln!("dist: cannot remove {}: {error}", self.storage.display());
        }
    }
}

/// Builds the image of `package` and starts its daemon.
///
/// # Errors
///
/// Without root or Debian's tools, when the recipe fails, or its daemon does not serve with what the recipe gives it.
pub fn try_out(workspace: &Workspace, package: &Path) -> Result<()> {
    if !apt::is_root() {
        bail!("building and trying the image takes root: run it with sudo");
    }
    apt::ensure(&DEBIAN_PACKAGES, "building the image")?;
    let dist = folder(workspace);
    let base = dist.join(format!("{SUITE}-slim.tar"));
    if !base.exists() {
        make_base(&base)?;
    }
    let storage = dist.join(format!("image-{}", std::process::id()));
    fs::create_dir_all(&storage).with_context(|| format!("cannot make {}", storage.display()))?;
    let buildah = Buildah { storage };
    during("taking the base in", || {
        let from = buildah.run(&["from", "scratch"])?;
        buildah.run(&["add", &from, &base.to_string_lossy(), "/"])?;
        buildah.run(&["commit", "--rm", "--quiet", &from, BASE])
    })?;
    let recipe = workspace.root.join("packaging/oci/Containerfile");
    let name = package.file_name().context("the package has no name")?.to_string_lossy();
    let image = format!("localhost/{DAEMON}");
    during("building the image", || {
        let mut build = buildah.command();
        // Docker's format: the other one has no health checks.
        build.args(["build", "--quiet", "--format", "docker", "--isolation", "chroot", "--pull-never"]);
        build.args(["--build-arg", &format!("BASE={BASE}"), "--build-arg", &format!("PACKAGE={name}")]);
        build.args(["--tag", &image, "--file"]).arg(&recipe).arg(&dist);
        process::stdout(&mut build)
    })?;
    let said: Value = serde_json::from_str(&buildah.run(&["inspect", "--type", "image", &image])?)
        .context("buildah inspect prints no JSON")?;
    let words = |field: &str| -> Vec<String> {
        let list = said.pointer(&format!("/Docker/config/{field}")).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let health = said.pointer("/Docker/config/Healthcheck/Test").map(Value::to_string).unwrap_or_default();
    ensure!(
        health.contains("simple-dhcpd-datacenter") && health.contains("stats"),
        "the image has no health check: {health}"
    );
    let entry: Vec<String> = [words("Entrypoint"), words("Cmd")].concat();
    ensure!(entry.len() > 1, "the image has no entry point: {entry:?}");
    let container = buildah.run(&["from", "--pull-never", &image])?;
    let root = PathBuf::from(buildah.run(&["mount", &container])?);
    fs::write(root.join("etc/simple-dhcpd/dhcp.json"), CONFIG)
        .context("cannot write into the image's root")?;
    let capabilities = capabilities(&fs::read_to_string(&recipe).context("cannot read the recipe")?);
    ensure!(!capabilities.is_empty(), "the recipe names no capabilities");
    let mut daemon = Command::new("unshare");
    daemon.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", TRY, "sh"]);
    daemon.arg(&root).arg(capabilities.join(",")).arg(ANSWER_DEADLINE).args(&entry).process_group(0);
    let stats = during("starting the image's daemon", || process::stdout(&mut daemon))?;
    let stats: Value =
        serde_json::from_str(&stats).with_context(|| format!("the image's daemon says no JSON: {stats}"))?;
    let modes = stats.pointer("/kernel/interfaces").context("no kernel program runs in the container")?;
    println!("{image}: built by its recipe; its daemon serves with {}: {modes}", capabilities.join(" "));
    Ok(())
}

/// The capabilities a recipe's comment gives to `podman run`, as setpriv has them.
fn capabilities(recipe: &str) -> Vec<String> {
    let words: Vec<&str> = recipe.split_whitespace().collect();
    let given = words.windows(2).filter_map(|pair| match pair {
        ["--cap-add", name] => Some(format!("+{}", name.to_lowercase())),
        _ => None,
    });
    given.collect()
}

fn make_base(archive: &Path) -> Result<()> {
    let unfinished = archive.with_extension("unfinished.tar");
    let mut make = Command::new("mmdebstrap");
    make.args(["--quiet", "--variant=minbase", SUITE]).arg(&unfinished).arg(MIRROR);
    during(format!("making a small Debian {SUITE} (once)"), || process::run(&mut make))?;
    fs::rename(&unfinished, archive).with_context(|| format!("cannot rename to {}", archive.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recipe_names_the_capabilities_it_needs() {
        let recipe = include_str!("../../../packaging/oci/Containerfile");
        let expected = ["+bpf", "+net_admin", "+perfmon", "+net_raw", "+net_bind_service"];
        assert_eq!(capabilities(recipe), expected);
    }
}
