//! The threads beside the service: one receives on each interface, one waits for grace periods.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, Sender, SyncSender, channel},
    },
    thread,
    time::Duration,
};

use super::StartError;
use crate::{
    fastpath::grace::Grace,
    net::packet_socket::PacketSocket,
    server::{inbox::Inbox, keeper::Withdrawal, service::Event},
};

/// How long receiving rests after it failed.
const RECEIVE_AGAIN: Duration = Duration::from_millis(500);

/// The thread that waits for programs to end, so that nobody else has to.
pub(super) fn start_grace(
    mut grace: Grace,
    events: SyncSender<Event>,
) -> Result<Sender<Vec<Withdrawal>>, StartError> {
    let (sender, receiver): (_, Receiver<Vec<Withdrawal>>) = channel();
    let wait = move || {
        while let Ok(mut withdrawn) = receiver.recv() {
            // Whatever was withdrawn while the last wait lasted shares the next one.
            receiver.try_iter().for_each(|more| withdrawn.extend(more));
            match grace.wait() {
                Ok(()) if events.send(Event::Graced(withdrawn)).is_err() => return,
                Ok(()) => {}
                Err(error) => {
                    tracing::error!(%error, "withdrawn addresses stay reserved: the kernel gave no barrier");
                }
            }
        }
    };
    thread::Builder::new().name("grace".to_owned()).spawn(wait).map_err(StartError::Thread)?;
    Ok(sender)
}

/// Starts a thread for each interface that hands its frames to the service.
pub(super) fn start_receivers(
    sockets: &[Arc<PacketSocket>],
    events: &SyncSender<Event>,
    inbox: &Arc<Inbox>,
) -> Result<(), StartError> {
    for (interface, socket) in sockets.iter().enumerate() {
        let (socket, events, inbox) = (Arc::clone(socket), events.clone(), Arc::clone(inbox));
        let receive = move || receive(interface, &socket, &events, &inbox);
        thread::Builder::new()
            .name(format!("receive-{interface}"))
            .spawn(receive)
            .map_err(StartError::Thread)?;
    }
    Ok(())
}

/// Hands frames to the service until it is gone.
fn receive(interface: usize, socket: &PacketSocket, events: &SyncSender<Event>, inbox: &Inbox) {
    let mut failing = false;
    loop {
        let received = socket.receive();
        match &received {
            Err(error) if !failing => {
                tracing::warn!(interface, %error, "receiving fails; trying until it works");
            }
            Ok(_) if failing => tracing::info!(interface, "receiving again"),
            _ => {}
        }
        failing = received.is_err();
        match received {
            Ok(None) => {}
            // There is room in the queue for everything that is admitted: this never waits.
            Ok(Some(mut frame)) => {
                if inbox.admits(&mut frame) && events.send(Event::Frame(interface, frame)).is_err() {
                    return;
                }
            }
            // The interface is down, as a rule: it may come up again.
            Err(_) => thread::sleep(RECEIVE_AGAIN),
        }
    }
}
