//! The connections there are, as many as there may be: when one more comes, the one goes that has asked nothing for the
//! longest time. Clients that hold connections without a word keep nobody out.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::task::{AbortHandle, Id, JoinSet};

/// The connections.
pub(super) struct Crowd {
    most: usize,
    tasks: JoinSet<()>,
    members: HashMap<Id, (AbortHandle, Activity)>,
    clock: Arc<AtomicU64>,
}

/// When a connection last had a request, counted in requests and connections of all.
#[derive(Clone)]
pub(super) struct Activity {
    last: Arc<AtomicU64>,
    clock: Arc<AtomicU64>,
}

impl Activity {
    /// Says that there is a request now.
    pub(super) fn note(&self) {
        self.last.store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
    }
}

impl Crowd {
    /// Room for so many.
    pub(super) fn of(most: usize) -> Crowd {
        Crowd { most, tasks: JoinSet::new(), members: HashMap::new(), clock: Arc::default() }
    }

    /// Adds a connection, which tells when it has requests. Where there is no room, the idlest goes first.
    pub(super) async fn admit<F>(&mut self, connection: impl FnOnce(Activity) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.forget(ended);
        }
        while self.members.len() >= self.most {
            self.cut_the_idlest();
            match self.tasks.join_next_with_id().await {
                Some(ended) => self.forget(ended),
                None => break,
            }
        }
        let activity = Activity { last: Arc::default(), clock: Arc::clone(&self.clock) };
        activity.note();
        let handle = self.tasks.spawn(connection(activity.clone()));
        self.members.insert(handle.id(), (handle, activity));
    }

    fn cut_the_idlest(&self) {
        let idlest = self.members.values().min_by_key(|(_, activity)| activity.last.load(Ordering::Relaxed));
        if let Some((handle, _)) = idlest {
            handle.abort();
        }
    }

    fn forget(&mut self, ended: Result<(Id, ()), tokio::task::JoinError>) {
        let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
        self.members.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn the_idlest_goes_and_who_ended_is_forgotten() {
        let mut crowd = Crowd::of(2);
        let mut activities = Vec::new();
        for _ in 0..2 {
            crowd
                .admit(|activity| {
                    activities.push(activity);
                    pending()
                })
                .await;
        }
        activities[0].note();
        let second = Arc::clone(&activities[1].last);
        crowd.admit(|_| async {}).await;
        assert_eq!(crowd.members.len(), 2);
        assert!(crowd.members.values().all(|(_, member)| !Arc::ptr_eq(&member.last, &second)));
        tokio::task::yield_now().await;
        crowd.admit(|_| async {}).await;
        assert!(crowd.members.values().any(|(_, member)| Arc::ptr_eq(&member.last, &activities[0].last)));
    }
}
