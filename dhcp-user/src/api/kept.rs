//! An answer that is kept for a moment: however many ask and however often, it is made once in that time.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Mutex;

use super::problem::Problem;

/// When an answer was made, and it.
type Latest<T> = Option<(Instant, Result<T, Problem>)>;

/// The latest answer.
#[derive(Debug)]
pub struct Kept<T> {
    age_max: Duration,
    latest: Arc<Mutex<Latest<T>>>,
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Self { age_max: self.age_max, latest: Arc::clone(&self.latest) }
    }
}

impl<T: Clone> Kept<T> {
    /// For answers that may be so old.
    pub fn new(age_max: Duration) -> Self {
        Self { age_max, latest: Arc::default() }
    }

    /// The answer, made now or a moment ago. Those who ask meanwhile wait for it.
    ///
    /// # Errors
    /// What was in the way, for all who waited for it; the next one asks anew.
    pub async fn get(&self, make: impl AsyncFnOnce() -> Result<T, Problem>) -> Result<T, Problem> {
        self.get_if(|_| true, make).await
    }

    /// The answer, made now or a moment ago if it still `holds`.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn get_if(
        &self,
        holds: impl Fn(&T) -> bool,
        make: impl AsyncFnOnce() -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let asked = Instant::now();
        let mut latest = self.latest.lock().await;
        match &*latest {
            Some((made, Ok(answer))) if made.elapsed() < self.age_max && holds(answer) => {
                return Ok(answer.clone());
            }
            Some((made, Err(problem))) if *made >= asked => return Err(problem.clone()),
            _ => {}
        }
        let answer = make().await;
        *latest = Some((Instant::now(), answer.clone()));
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::{sync::Notify, task::JoinSet};

    use super::*;

    #[tokio::test]
    async fn many_who_ask_at_once_share_an_answer_and_a_failure_and_the_next_asks_anew() {
        let kept = Kept::new(Duration::from_secs(3_600));
        let (made, go) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let asked = Arc::new(AtomicU32::new(0));
        for (round, fails) in [(1, true), (2, false)] {
            let mut waiting = JoinSet::new();
            for _ in 0..20 {
                let (kept, made, go, asked) =
                    (kept.clone(), Arc::clone(&made), Arc::clone(&go), Arc::clone(&asked));
                waiting.spawn(async move {
                    asked.fetch_add(1, Ordering::Relaxed);
                    let make = async || {
                        let number = made.fetch_add(1, Ordering::Relaxed) + 1;
                        go.notified().await;
                        if fails { Err(Problem::unavailable("busy")) } else { Ok(number) }
                    };
                    kept.get(make).await
                });
            }
            while asked.load(Ordering::Relaxed) < 20 * round {
                tokio::task::yield_now().await;
            }
            go.notify_one();
            let answers = waiting.join_all().await;
            assert_eq!(made.load(Ordering::Relaxed), round);
            assert!(answers.iter().all(|answer| answer.is_err() == fails), "{answers:?}");
        }
        assert_eq!(kept.get(async || Err(Problem::unavailable("nobody asks"))).await, Ok(2));
        assert_eq!(kept.get_if(|number| *number > 2, async || Ok(3)).await, Ok(3));
        let fleeting = Kept::new(Duration::ZERO);
        assert_eq!(fleeting.get(async || Ok(1)).await, Ok(1));
        assert_eq!(fleeting.get(async || Ok(2)).await, Ok(2));
    }
}
