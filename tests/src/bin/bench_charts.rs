//! What `cargo xtask bench charts` starts: pictures of what benchmarks printed as JSON.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use dhcp_tests::bench::charts;

/// Makes SVG pictures of what benchmarks printed with `--json`.
#[derive(Debug, Parser)]
struct Arguments {
    /// Files with a JSON object each: of `bench peers`, `fastpath`, `gate` or `scale`.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Where the pictures go; made if it is not there.
    #[arg(long, default_value = "target/charts")]
    svg: PathBuf,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    std::fs::create_dir_all(&arguments.svg)
        .with_context(|| format!("cannot make {}", arguments.svg.display()))?;
    for file in &arguments.files {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let figures =
            serde_json::from_str(&text).with_context(|| format!("{} is no JSON", file.display()))?;
        let charts = charts::of(&figures);
        ensure!(!charts.is_empty(), "{} has no figures there is a picture of", file.display());
        for chart in charts {
            println!("{}", chart.write(&arguments.svg)?.display());
        }
    }
    Ok(())
}
