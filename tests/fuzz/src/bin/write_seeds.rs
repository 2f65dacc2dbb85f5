//! Writes the seeds of the target named first into the folder named second, for a fuzzer to begin with.

use std::{env, fs, path::PathBuf, process::ExitCode};

use dhcp_fuzz::Target;

fn main() -> ExitCode {
    let mut args = env::args().skip(1);
    let (Some(target), Some(folder)) = (args.next().and_then(|name| Target::named(&name)), args.next())
    else {
        let names: Vec<_> = Target::ALL.iter().map(|target| target.name).collect();
        eprintln!("usage: write_seeds {} FOLDER", names.join("|"));
        return ExitCode::FAILURE;
    };
    let folder = PathBuf::from(folder);
    for (number, seed) in (target.seeds)().iter().enumerate() {
        let file = folder.join(format!("seed-{number:03}"));
        if let Err(error) = fs::write(&file, seed) {
            eprintln!("{}: {error}", file.display());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
