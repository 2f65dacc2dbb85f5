//! The threads beside the service: one receives on each interface, one waits for grace periods.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, SyncSender, TrySendError, channel},
    },
    thread,
    time::{Duration, Instant},
};

use super::{StartError, interfaces::Probing};
use crate::{
    fastpath::grace::Grace,
    lease::store::TimedStore,
    net::{batch::ReceiveBuffers, packet_socket::PacketSocket},
    probe::arp,
    server::{inbox::Inbox, keeper::Withdrawal, service::Event, slice},
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

/// Starts the thread that makes durable what the service begins.
pub(super) fn let_store_work_beside(
    store: &mut TimedStore,
    events: &SyncSender<Event>,
) -> Result<(), StartError> {
    let events = events.clone();
    // With a full queue the service is awake, and looks for itself.
    let tell = move || drop(events.try_send(Event::Durable));
    store.work_beside(slice::ask_for_short_ones, tell).map_err(StartError::Thread)
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

/// Starts a thread for each interface, and one for ICMP, that hands answers to probes to the service. Anybody may send
/// some that nobody asked for: one beyond what may wait is as one that was never given.
pub(super) fn start_answers(
    probes: &Probing,
    events: &SyncSender<Event>,
    inbox: &Arc<Inbox>,
) -> Result<(), StartError> {
    for (interface, socket) in probes.arp.iter().enumerate() {
        let (socket, events, inbox) = (Arc::clone(socket), events.clone(), Arc::clone(inbox));
        let hear = move || {
            let mut buffers = ReceiveBuffers::default();
            hear(&events, &inbox, || {
                let mut frames = Vec::new();
                socket.receive(&mut buffers, &mut frames)?;
                let answers = frames.iter().filter_map(|frame| arp::answer(&frame.octets));
                Ok(answers.map(|(address, mac)| Event::InUse(address, Some(mac))).collect())
            });
        };
        spawn(format!("arp-{interface}"), hear)?;
    }
    if let Some(socket) = probes.echo.clone() {
        let (events, inbox) = (events.clone(), Arc::clone(inbox));
        let hear = move || {
            hear(&events, &inbox, || {
                let address = socket.receive()?;
                Ok(address.map(|address| Event::InUse(address, None)).into_iter().collect())
            });
        };
        spawn("icmp".to_owned(), hear)?;
    }
    Ok(())
}

fn spawn(name: String, work: impl FnOnce() + Send + 'static) -> Result<(), StartError> {
    thread::Builder::new().name(name).spawn(work).map_err(StartError::Thread).map(drop)
}

fn hear(events: &SyncSender<Event>, inbox: &Inbox, mut receive: impl FnMut() -> io::Result<Vec<Event>>) {
    loop {
        match receive() {
            Ok(heard) => {
                for event in heard {
                    if !inbox.admits_answer() {
                        continue;
                    }
                    match events.try_send(event) {
                        Ok(()) => {}
                        Err(TrySendError::Full(_)) => inbox.answer_taken(),
                        Err(TrySendError::Disconnected(_)) => return,
                    }
                }
            }
            // The interface is down, as a rule: it may come up again.
            Err(_) => thread::sleep(RECEIVE_AGAIN),
        }
    }
}

/// Hands frames to the service until it is gone.
fn receive(interface: usize, socket: &PacketSocket, events: &SyncSender<Event>, inbox: &Inbox) {
    slice::ask_for_short_ones();
    let mut failing = false;
    let mut buffers = ReceiveBuffers::default();
    loop {
        let mut frames = Vec::new();
        let received = socket.receive(&mut buffers, &mut frames);
        match &received {
            Err(error) if !failing => {
                tracing::warn!(interface, %error, "receiving fails; trying until it works");
            }
            Ok(()) if failing => tracing::info!(interface, "receiving again"),
            _ => {}
        }
        failing = received.is_err();
        frames.retain_mut(|frame| inbox.admits(frame));
        // There is room in the queue for everything that is admitted: this does not wait.
        if !frames.is_empty() && events.send(Event::Frames(interface, Instant::now(), frames)).is_err() {
            return;
        }
        if failing {
            // The interface is down, as a rule: it may come up again.
            thread::sleep(RECEIVE_AGAIN);
        }
    }
}
