//! Watches the sites for who follows the events: a look every second, and what is different from the one before is told.

use std::sync::Arc;

use tokio::time::{MissedTickBehavior, interval};

use super::{trend::LOOK_EVERY, views::Views};
use crate::{
    server::feed::Feed,
    site::driver::{
        Sites,
        chronicle::{Look, between},
    },
};

/// Watches, for ever. A look that the service is too busy for is left out: what it would have shown, the next one does.
pub async fn follow(sites: Arc<Sites>, views: Views, feed: Arc<Feed>) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before: Option<Look> = None;
    loop {
        ticks.tick().await;
        let Ok(view) = views.sites().await else { continue };
        let Some(now) = sites.look(view.as_ref().as_ref()) else { return };
        if let Some(before) = &before {
            let news = between(before, &now);
            if !news.is_empty() {
                feed.sites(now.at, news);
            }
        }
        before = Some(now);
    }
}
