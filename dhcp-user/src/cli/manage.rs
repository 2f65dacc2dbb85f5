//! Commands that look at and change what the API manages besides showing leases and counters.

use std::{io::Write as _, net::Ipv4Addr};

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use hyper::Method;
use ipnet::Ipv4Net;
use serde_json::{Value, json};

use super::{
    ask::{print_json, wait},
    remote::Asking,
};
use crate::{
    api::routes::{subnets::SubnetPage, tokens::TokenView},
    config::model::ApiRole,
    control::client::{AskError, Daemon},
    server::view::{Forecast, LeaseView, PoolView, SubnetView},
};

/// What an export is written in.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ExportFormat {
    /// A JSON object on each line.
    Ndjson,
    /// Comma-separated values.
    Csv,
}

/// Tokens of the API.
#[derive(Debug, Subcommand)]
pub(super) enum Token {
    /// Make a token and print it, this once.
    Create(NewToken),
    /// List all tokens, without their secrets.
    List(Asking),
    /// Revoke a token: it is worth nothing from then on.
    Revoke {
        /// Its identifier.
        id: String,
        #[command(flatten)]
        asking: Asking,
    },
}

/// A token to be made.
#[derive(Debug, Args)]
pub(super) struct NewToken {
    /// What it is for.
    name: String,
    /// What its holder may do.
    #[arg(long, value_enum)]
    role: ApiRole,
    /// A subnet that it is restricted to; several times for several.
    #[arg(long = "subnet", value_name = "PREFIX")]
    subnets: Vec<Ipv4Net>,
    /// How many days it is good for.
    #[arg(long, value_name = "DAYS", default_value_t = 90, value_parser = clap::value_parser!(u64).range(1..=3650))]
    days: u64,
    #[command(flatten)]
    asking: Asking,
}

/// `leases release` and `leases extend`.
pub(super) fn change_lease(method: &Method, address: Ipv4Addr, act: &str, asking: &Asking) -> Result<()> {
    let daemon = asking.daemon()?;
    let path = format!("/api/v1/leases/{address}{act}");
    let lease: LeaseView = wait(async { Ok(daemon.send(method.clone(), &path, None).await?) })?;
    if asking.json {
        return print_json(&lease);
    }
    let mut out = std::io::stdout().lock();
    match *method {
        Method::DELETE => {
            writeln!(out, "{address} is being released; `leases show {address}` tells when it is free")?;
        }
        _ => writeln!(out, "{address} is {} until {}", lease.state, lease.expires_at)?,
    }
    Ok(())
}

/// All subnets with their pools.
pub(super) async fn all_subnets(daemon: &Daemon) -> Result<Vec<SubnetView>, AskError> {
    let mut all = Vec::new();
    let take = |page: SubnetPage| {
        all.extend(page.subnets);
        page.next
    };
    daemon.pages("/api/v1/subnets", take).await?;
    Ok(all)
}

/// `subnets`.
pub(super) fn subnets(asking: &Asking) -> Result<()> {
    let daemon = asking.daemon()?;
    let subnets = wait(async { Ok(all_subnets(&daemon).await?) })?;
    if asking.json {
        return print_json(&subnets);
    }
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{:<18}  {:<15}  {:<15}  {:>9}  {:>9}  {:>6}  FORECAST",
        "SUBNET", "FIRST", "LAST", "SIZE", "FREE", "USED"
    )?;
    for subnet in &subnets {
        for pool in &subnet.pools {
            let (first, last) = (pool.first.to_string(), pool.last.to_string());
            let (prefix, used) = (subnet.subnet.to_string(), pool.used_percent);
            writeln!(
                out,
                "{prefix:<18}  {first:<15}  {last:<15}  {:>9}  {:>9}  {used:>5.1}%  {}",
                pool.size,
                pool.free,
                forecast(pool)
            )?;
        }
    }
    Ok(())
}

/// When a pool will be full, in a word or two.
fn forecast(pool: &PoolView) -> String {
    match pool.forecast {
        _ if pool.free == 0 => "is full".to_owned(),
        None => "-".to_owned(),
        Some(Forecast { full_in_secs: None, .. }) => "does not fill".to_owned(),
        Some(Forecast { full_in_secs: Some(secs), .. }) => match secs {
            0..7_200 => format!("full in {} min", secs / 60),
            7_200..172_800 => format!("full in {} h", secs / 3_600),
            _ => format!("full in {} days", secs / 86_400),
        },
    }
}

/// `token`.
pub(super) fn token(command: Token) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match command {
        Token::Create(NewToken { name, role, subnets, days, asking }) => {
            let daemon = asking.daemon()?;
            let body = json!({"name": name, "role": role, "subnets": subnets, "lasts_secs": days * 86_400});
            let made: TokenView =
                wait(async { Ok(daemon.send(Method::POST, "/api/v1/tokens", Some(&body)).await?) })?;
            if asking.json {
                return print_json(&made);
            }
            // The token alone goes to stdout, for `> file`.
            eprintln!(
                "token {} ({}), {}, until {}:",
                made.id,
                made.name,
                made.role.as_str(),
                made.expires_at
            );
            writeln!(out, "{}", made.token.unwrap_or_default())?;
        }
        Token::List(asking) => {
            let daemon = asking.daemon()?;
            let tokens: Vec<TokenView> = wait(async { Ok(daemon.get("/api/v1/tokens").await?) })?;
            if asking.json {
                return print_json(&tokens);
            }
            writeln!(out, "{:<16}  {:<8}  {:<20}  NAME", "ID", "ROLE", "EXPIRES")?;
            for token in &tokens {
                writeln!(
                    out,
                    "{:<16}  {:<8}  {:<20}  {}",
                    token.id,
                    token.role.as_str(),
                    token.expires_at,
                    token.name
                )?;
            }
        }
        Token::Revoke { id, asking } => {
            let daemon = asking.daemon()?;
            // It goes into a path: no identifier has anything else in it.
            anyhow::ensure!(
                !id.is_empty() && id.bytes().all(|octet| octet.is_ascii_hexdigit()),
                "{id:?} is no identifier of a token; `token list` shows them"
            );
            let path = format!("/api/v1/tokens/{id}");
            let _: Value = wait(async { Ok(daemon.send(Method::DELETE, &path, None).await?) })?;
            if asking.json {
                return print_json(&json!({"revoked": id}));
            }
            writeln!(out, "token {id} is revoked")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forecast_is_said_in_units_that_fit_it() {
        let pool = |free, full_in_secs: Option<Option<u64>>| {
            let mut pool = PoolView::new([198, 18, 0, 1].into(), [198, 18, 0, 9].into(), free);
            pool.forecast = full_in_secs.map(|full_in_secs| Forecast {
                seen_secs: 600,
                taken_per_hour: 1.0,
                full_in_secs,
            });
            forecast(&pool)
        };
        assert_eq!(pool(0, None), "is full");
        assert_eq!(pool(1, None), "-");
        assert_eq!(pool(1, Some(None)), "does not fill");
        assert_eq!(pool(1, Some(Some(3_599))), "full in 59 min");
        assert_eq!(pool(1, Some(Some(7_200))), "full in 2 h");
        assert_eq!(pool(1, Some(Some(200_000))), "full in 2 days");
    }
}
