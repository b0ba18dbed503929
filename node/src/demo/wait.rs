//! Waiting with patience for what the nodes do by themselves, and doing something for many people at once.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::report::Named;
use super::world::World;

/// Most people whose phones and desks are busy at once.
const AT_ONCE: usize = 24;

/// Rest between two looks at something that is awaited.
const LOOK_EVERY: Duration = Duration::from_millis(60);

/// How long something that the nodes do by themselves may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience(pub(super) Duration);

impl Patience {
    /// Looks until something is there, or patience is at its end.
    ///
    /// # Errors
    ///
    /// A look fails.
    pub(super) async fn until<T>(
        self,
        look: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<Option<T>> {
        look_until(Instant::now() + self.0, look).await
    }
}

async fn look_until<T>(
    deadline: Instant,
    mut look: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<Option<T>> {
    loop {
        if let Some(found) = look().await? {
            return Ok(Some(found));
        }
        if Instant::now() > deadline {
            return Ok(None);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

impl World {
    /// Waits until a voucher is in a stage by what a node knows; returns the stage last seen.
    pub(super) async fn until_stage(&self, institution: &str, id: &str, stage: &str) -> String {
        self.stage_by(Instant::now() + self.patience.0, institution, id, stage).await
    }

    async fn stage_by(&self, deadline: Instant, institution: &str, id: &str, stage: &str) -> String {
        let mut seen = String::new();
        let reached = look_until(deadline, async || {
            seen = self.stage_at(institution, id).await;
            Ok((seen == stage).then_some(()))
        });
        // A look that found nobody saw no stage: there is no error to pass on.
        let _ = reached.await;
        seen
    }

    /// Waits until every one of these vouchers is in a stage by what a node knows, all within one patience; returns how
    /// many are.
    pub(super) async fn count_in_stage(&self, institution: &str, ids: &[String], stage: &str) -> usize {
        let deadline = Instant::now() + self.patience.0;
        let looks = ids.iter().map(|id| self.stage_by(deadline, institution, id, stage));
        let seen: Vec<String> = futures_util::stream::iter(looks).buffered(AT_ONCE).collect().await;
        seen.iter().filter(|s| *s == stage).count()
    }

    /// Waits until a node holds a record of another's log. Where a voucher comes back to a stage it had before, the stage
    /// alone does not tell whether the node has heard of it.
    pub(super) async fn until_held(&self, institution: &str, record: &Named) {
        let path = format!("/v1/records/{}.{}", record.institution, record.index);
        let held = self.patience.until(async || Ok(self.desk(institution).get(&path).await?.is_good().then_some(())));
        // Whoever does not hear of it shows it in what it answers next: there is no error to pass on.
        let _ = held.await;
    }

    /// Waits until something is noted about a voucher by what the issuer knows; returns whether it is.
    ///
    /// # Errors
    ///
    /// The issuer's node does not answer.
    pub(super) async fn until_note(&self, id: &str, kind: &str) -> anyhow::Result<bool> {
        let noted = self.patience.until(async || Ok(self.history(id).await?.note(kind).map(drop))).await?;
        Ok(noted.is_some())
    }

    /// Waits until a hospital knows that a voucher's QR was sent ahead (unit V4).
    ///
    /// # Errors
    ///
    /// It does not answer, or does not hear of it.
    pub(super) async fn until_presented(&self, hospital: &str, id: &str) -> anyhow::Result<()> {
        let known = self.patience.until(async || {
            let seen = self.voucher_at(hospital, id).await?;
            Ok((seen["notes"]["use_presented"] == true).then_some(()))
        });
        known.await?.with_context(|| format!("{hospital} does not hear that {id} was sent ahead"))
    }
}

/// Does something for each, many at once, and gives the results in order.
///
/// # Errors
///
/// The first error of any.
pub(super) async fn each<'a, I, T, F>(items: &'a [I], work: impl Fn(&'a I) -> F) -> anyhow::Result<Vec<T>>
where
    F: Future<Output = anyhow::Result<T>>,
{
    futures_util::stream::iter(items.iter().map(work)).buffered(AT_ONCE).try_collect().await
}

/// The same, where one for whom it goes wrong does not keep the others from going on.
pub(super) async fn tried<'a, I, T, F>(items: &'a [I], work: impl Fn(&'a I) -> F) -> Tried<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    Tried(futures_util::stream::iter(items.iter().map(work)).buffered(AT_ONCE).collect().await)
}

/// What came of trying something for many, in order.
pub(super) struct Tried<T>(pub(super) Vec<anyhow::Result<T>>);

impl<T> Tried<T> {
    /// For how many it went well.
    pub(super) fn good(&self) -> usize {
        self.0.iter().filter(|tried| tried.is_ok()).count()
    }

    /// Why it went wrong for the first; empty if it did for nobody.
    pub(super) fn why(&self) -> String {
        let first = self.0.iter().find_map(|tried| tried.as_ref().err());
        first.map(|error| format!("; first failure: {error:#}")).unwrap_or_default()
    }

    /// What each is now; where it went wrong, what it was before.
    pub(super) fn or_as_before(self, before: &[T]) -> Vec<T>
    where
        T: Clone,
    {
        self.0.into_iter().zip(before).map(|(now, before)| now.unwrap_or_else(|_| before.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_who_fails_stays_as_before_and_is_told() {
        let people = [1, 2, 3];
        let tried = tried(&people, |n| async move {
            anyhow::ensure!(*n != 2, "no place for {n}");
            Ok(n * 10)
        })
        .await;
        assert_eq!((tried.good(), tried.why()), (2, "; first failure: no place for 2".to_owned()));
        assert_eq!(tried.or_as_before(&people), [10, 2, 30]);
    }

    #[tokio::test]
    async fn patience_ends() {
        let mut looks = 0;
        let found = Patience(Duration::from_millis(100)).until(async || {
            looks += 1;
            Ok(None::<()>)
        });
        assert_eq!(found.await.unwrap(), None);
        assert!((2..=10).contains(&looks), "{looks}");
    }
}
