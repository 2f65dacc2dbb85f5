//! A thread that makes batches durable, one at a time, beside whoever begins them.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
};

use super::{Batch, LeaseStore, StoreError};

/// The thread, and what is under way there.
pub(super) struct Worker {
    batches: Option<Sender<Arc<Batch>>>,
    outcomes: Receiver<Result<(), StoreError>>,
    state: State,
    thread: Option<JoinHandle<()>>,
    /// Where the store is.
    path: PathBuf,
}

/// What became of the last batch that was begun.
enum State {
    /// It is known.
    Told,
    /// It is not known yet.
    UnderWay,
    /// It is known here, and nobody has asked.
    Ended(Result<(), StoreError>),
}

/// What the thread works with.
struct Each<F>(F);

impl<F: FnMut(&Batch) -> Result<(), StoreError> + Send> LeaseStore for Each<F> {
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        (self.0)(batch)
    }
}

impl Worker {
    /// Starts the thread for the store at `path`, which begins with `prepare`, hands every batch to `commit` (in parts, if that is too much for it), and
    /// calls `ended` after each.
    pub fn start(
        path: PathBuf,
        prepare: impl FnOnce() + Send + 'static,
        commit: impl FnMut(&Batch) -> Result<(), StoreError> + Send + 'static,
        ended: impl Fn() + Send + 'static,
    ) -> io::Result<Self> {
        let (batches, inbox) = channel::<Arc<Batch>>();
        let (sender, outcomes) = channel();
        let work = move || {
            prepare();
            let mut store = Each(commit);
            for batch in inbox {
                let outcome = store.commit_in_parts(&batch);
                // Whoever is told finds nobody else holding it.
                drop(batch);
                if sender.send(outcome).is_err() {
                    return;
                }
                ended();
            }
        };
        let thread = thread::Builder::new().name("store".to_owned()).spawn(work)?;
        Ok(Self { batches: Some(batches), outcomes, state: State::Told, thread: Some(thread), path })
    }

    /// The thread failed, which takes a bug: nobody knows what it had written.
    fn gone(&self) -> StoreError {
        StoreError::Poisoned { path: self.path.clone() }
    }

    /// Hands a batch over. The one before has [ended](Self::end).
    pub fn begin(&mut self, batch: &Arc<Batch>) {
        let handed = self.batches.as_ref().is_some_and(|batches| batches.send(Arc::clone(batch)).is_ok());
        self.state = if handed { State::UnderWay } else { State::Ended(Err(self.gone())) };
    }

    /// Whether nothing is under way.
    pub fn has_ended(&mut self) -> bool {
        if matches!(self.state, State::UnderWay)
            && let Ok(outcome) = self.outcomes.try_recv()
        {
            self.state = State::Ended(outcome);
        }
        !matches!(self.state, State::UnderWay)
    }

    /// Waits until nothing is under way.
    pub fn wait(&mut self) {
        if matches!(self.state, State::UnderWay) {
            self.state = State::Ended(self.outcomes.recv().unwrap_or_else(|_| Err(self.gone())));
        }
    }

    /// Waits, and says what came of it.
    pub fn end(&mut self) -> Result<(), StoreError> {
        self.wait();
        match std::mem::replace(&mut self.state, State::Told) {
            State::Ended(outcome) => outcome,
            State::Told | State::UnderWay => Ok(()),
        }
    }
}

impl Drop for Worker {
    /// Waits until everything is done.
    fn drop(&mut self) {
        self.batches = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's thread failed: please report this");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc::sync_channel};

    use super::*;
    use crate::lease::store::MetaKey;

    fn batch(value: u8) -> Arc<Batch> {
        Arc::new(Batch { meta: vec![(MetaKey::Generation, vec![value])], ..Batch::default() })
    }

    #[test]
    fn a_batch_ends_when_it_is_durable_and_not_before() {
        let (let_go, may_end) = sync_channel(0);
        let (tell, ended) = channel();
        let done = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&done);
        let commit = move |batch: &Batch| {
            let outcome = may_end.recv().unwrap();
            written.lock().unwrap().push(batch.meta[0].1[0]);
            outcome
        };
        let mut worker = Worker::start("here".into(), || (), commit, move || tell.send(()).unwrap()).unwrap();
        assert!(worker.has_ended() && worker.end().is_ok(), "nothing was begun");
        worker.begin(&batch(1));
        assert!(!worker.has_ended());
        let_go.send(Ok(())).unwrap();
        ended.recv().unwrap();
        assert!(worker.has_ended());
        assert_eq!(*done.lock().unwrap(), [1]);
        assert!(worker.end().is_ok());
        worker.begin(&batch(2));
        let full = StoreError::Full { path: "here".into(), source: io::ErrorKind::StorageFull.into() };
        let_go.send(Err(full)).unwrap();
        worker.wait();
        assert!(worker.has_ended());
        assert!(matches!(worker.end(), Err(StoreError::Full { .. })), "told, though somebody waited before");
        assert!(worker.end().is_ok(), "told once");
    }

    #[test]
    fn a_thread_that_failed_leaves_a_store_that_takes_no_more() {
        let mut worker = Worker::start("here".into(), || (), |_: &Batch| panic!("a bug"), || ()).unwrap();
        worker.begin(&batch(1));
        assert!(matches!(worker.end(), Err(StoreError::Poisoned { .. })));
        worker.begin(&batch(2));
        assert!(matches!(worker.end(), Err(StoreError::Poisoned { .. })));
    }
}
