//! The picture, from the model alone.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style, Stylize as _},
    text::{Line, Span},
    widgets::{Block, Gauge, List, Row, Sparkline, Table},
};

use super::model::{Rate, Screen};
use crate::{
    server::{feed::FeedEvent, view::PoolView},
    site::driver::status::SiteDetail,
};

/// Below this many lines only the most important is drawn.
const LINES_FEW: u16 = 24;

/// Draws all of it.
pub fn draw(frame: &mut Frame<'_>, screen: &Screen) {
    let few = frame.area().height < LINES_FEW;
    let pools =
        screen.now.as_ref().map_or(0, |now| now.subnets.iter().map(|subnet| subnet.pools.len()).sum());
    let pools = u16::try_from(pools).unwrap_or(u16::MAX).clamp(1, 8) + 1;
    let sites = screen.now.as_ref().map_or(&[][..], |now| &now.sites);
    let sites_lines = u16::try_from(sites.len()).unwrap_or(u16::MAX).min(8);
    let [head, curves, reasons, bars, places, events, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(if few { 2 } else { 6 }),
        Constraint::Fill(2),
        Constraint::Length(if few { 2 } else { pools }),
        Constraint::Length(if sites.is_empty() { 0 } else { sites_lines + 1 }),
        Constraint::Fill(if few { 0 } else { 1 }),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(headline(screen), head);
    draw_curves(frame, curves, screen);
    let [kernel, daemon] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).spacing(2).areas(reasons);
    frame.render_widget(table("Kernel: not answered, because", &screen.kernel()), kernel);
    frame.render_widget(table("Daemon: messages", &screen.daemon()), daemon);
    draw_pools(frame, bars, screen);
    frame.render_widget(site_table(sites), places);
    frame.render_widget(event_list(screen), events);
    let keys = match &screen.trouble {
        Some(trouble) => Line::from(trouble.as_str()).style(Style::new().fg(Color::Red)),
        None => Line::from("q quits").style(Style::new().add_modifier(Modifier::DIM)),
    };
    frame.render_widget(keys, foot);
}

fn headline(screen: &Screen) -> Line<'_> {
    let mut spans = vec![Span::from("simple-dhcpd-datacenter").bold()];
    if let Some(now) = &screen.now {
        let leases = |state: &str| now.stats.leases.get(state).copied().unwrap_or(0);
        match &now.stats.kernel {
            None => spans.push(Span::from("  no fast path").fg(Color::Yellow)),
            Some(kernel) => {
                let on: Vec<_> =
                    kernel.interfaces.iter().map(|(name, mode)| format!("{name} ({mode})")).collect();
                spans.push(Span::from(format!("  on {}", on.join(", "))));
                let left = format!("  authority {} s", kernel.authority_remaining_secs);
                spans.push(Span::from(left));
            }
        }
        let (bound, quarantined) = (leases("bound"), leases("quarantined"));
        spans.push(Span::from(format!(
            "  {bound} leases bound, {quarantined} quarantined, {} offered",
            now.stats.daemon.offers
        )));
    }
    Line::from(spans)
}

fn draw_curves(frame: &mut Frame<'_>, area: Rect, screen: &Screen) {
    let (kernel, daemon) = screen.renewals();
    let share = if kernel + daemon > 0.0 {
        format!(", {:.1}% of all", kernel * 100.0 / (kernel + daemon))
    } else {
        String::new()
    };
    let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).spacing(2).areas(area);
    let curve = |area: Rect, title: String, colour, values: Vec<u64>| {
        let width = usize::from(area.width);
        let latest = values.get(values.len().saturating_sub(width)..).unwrap_or_default().to_vec();
        let title = Block::new().title(title).title_style(Style::new().bold());
        (Sparkline::default().block(title).data(latest).style(Style::new().fg(colour)), area)
    };
    let title = format!("Renewals by the kernel: {kernel:.0}/s{share}");
    let (widget, area) =
        curve(left, title, Color::Green, screen.history.iter().map(|(kernel, _)| *kernel).collect());
    frame.render_widget(widget, area);
    let title = format!("Renewals by the daemon: {daemon:.0}/s");
    let (widget, area) =
        curve(right, title, Color::Yellow, screen.history.iter().map(|(_, daemon)| *daemon).collect());
    frame.render_widget(widget, area);
}

fn table<'a>(title: &'a str, rates: &[Rate]) -> Table<'a> {
    let rows = rates.iter().map(|rate| {
        let dim = if rate.per_sec > 0.0 { Modifier::empty() } else { Modifier::DIM };
        let cells = [rate.name.clone(), format!("{:>9.1}/s", rate.per_sec), format!("{:>12}", rate.count)];
        Row::new(cells).style(Style::new().add_modifier(dim))
    });
    let widths = [Constraint::Fill(1), Constraint::Length(11), Constraint::Length(12)];
    Table::new(rows.collect::<Vec<_>>(), widths)
        .block(Block::new().title(title).title_style(Style::new().bold()))
}

fn draw_pools(frame: &mut Frame<'_>, area: Rect, screen: &Screen) {
    let Some(now) = &screen.now else { return };
    let mut pools: Vec<&PoolView> = now.subnets.iter().flat_map(|subnet| &subnet.pools).collect();
    pools.sort_by(|a, b| b.used_percent.total_cmp(&a.used_percent));
    let room = usize::from(area.height.saturating_sub(1));
    let title = match pools.len().checked_sub(room) {
        Some(more) if more > 0 => format!("Pools, the fullest first; {more} more"),
        _ => "Pools".to_owned(),
    };
    let mut lines = Layout::vertical(vec![Constraint::Length(1); room + 1]).split(area).to_vec().into_iter();
    if let Some(line) = lines.next() {
        frame.render_widget(Line::from(title).bold(), line);
    }
    for (pool, line) in pools.into_iter().zip(lines) {
        let [name, bar] = Layout::horizontal([Constraint::Length(33), Constraint::Fill(1)]).areas(line);
        frame.render_widget(Line::from(format!("{}-{}", pool.first, pool.last)), name);
        let colour = match pool.used_percent {
            90.0.. => Color::Red,
            75.0.. => Color::Yellow,
            _ => Color::Green,
        };
        let label = format!("{:.1}%, {} free", pool.used_percent, pool.free);
        let ratio = (pool.used_percent / 100.0).clamp(0.0, 1.0);
        frame.render_widget(
            Gauge::default().ratio(ratio).label(label).gauge_style(Style::new().fg(colour)),
            bar,
        );
    }
}

/// Each site, how it stands, and what its nodes have not been told yet: the worst of them counts.
fn site_table(sites: &[SiteDetail]) -> Table<'_> {
    let rows = sites.iter().map(|site| {
        let colour = match site.short.status.as_str() {
            "active" => Color::Green,
            "degraded" | "unknown" => Color::Yellow,
            _ => Color::Red,
        };
        let updates = site.members.iter().filter_map(|node| node.lag_updates).max();
        let secs = site.members.iter().filter_map(|node| node.lag_secs).max();
        let lag = match (updates, secs) {
            (None, _) => "-".to_owned(),
            (Some(updates), secs) => format!("{updates} updates, {} s behind", secs.unwrap_or(0)),
        };
        let status = Span::from(site.short.status.as_str()).fg(colour);
        Row::new([Line::from(site.short.name.as_str()), Line::from(status), Line::from(lag)])
    });
    let widths = [Constraint::Length(32), Constraint::Length(10), Constraint::Fill(1)];
    let block = Block::new().title(Line::from("Sites").bold());
    let table = Table::new(rows.collect::<Vec<_>>(), widths);
    if sites.is_empty() { table } else { table.block(block) }
}

fn event_list(screen: &Screen) -> List<'_> {
    let items: Vec<Line<'_>> = screen
        .events
        .iter()
        .map(|event| match event {
            FeedEvent::Lease(lease) => Line::from(format!(
                "{:>8}  {:<15}  {:<11}  {}",
                lease.id, lease.address, lease.state, lease.hw_address
            )),
            FeedEvent::Site(site) => Line::from(format!("{:>8}  {}", site.id, site.news.detail)).bold(),
        })
        .collect();
    List::new(items).block(Block::new().title(Line::from("Events").bold()))
}
