//! The task that owns recordings: it begins them, watches the disk while they go on, and deletes what has had its time.
//!
//! What a recording needs of its disk is done in a task of its own (`one`), and all that blocks on threads for that: a disk that hangs holds up no
//! call and no other recording's end.

mod asked;
mod folder;
mod one;
mod recovery;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use self::one::Recording;
use super::fact::{Fact, Facts};
use crate::call::Millis;
use crate::config;
use crate::media::recorder::{Container, RecordingNews, Sides};
use crate::media::{self, CallId, LineName, Media};
use crate::protocol::Dialog;
use crate::recording::{End, Format, Record, RecordingId, Retention, may_go_on, to_delete};
use crate::store::{KeptRecording, RecordingFilter, Store, StoreError};

pub use self::asked::{DeleteError, RecordError, RecordingFile};
pub(crate) use self::folder::Folder;
pub(super) use self::one::Wanted;

/// What waits for the task, which takes microseconds for each.
const QUEUE: usize = 1024;
/// The part of the queue that progress, which is told anew each second, does not fill.
const KEPT_FOR_NEWS: usize = 256;
/// What waits for one recording while its disk is slow.
const NEWS_QUEUE: usize = 64;
/// The part of it that progress does not fill.
const KEPT_FOR_ENDS: usize = 32;
/// How often the disk is looked at while something is recorded: ten calls at 2 Mbit/s write 2.5 MB a second.
const LOOK: Duration = Duration::from_secs(1);
/// How often recordings are looked through for those that have had their time.
const RETAIN: Duration = Duration::from_secs(3600);
/// Recordings are kept below their greatest size by this part of it.
const HEADROOM: u64 = 16;
/// For what is recorded when the gateway shuts down: media has a deadline of 6 s for the end of a file.
const QUIET_WITHIN: Duration = Duration::from_secs(7);

/// What the task is told.
#[derive(Debug)]
enum Told {
    Begin(Box<Wanted>, Option<oneshot::Sender<Result<RecordingId, RecordError>>>),
    Stop(LineName, oneshot::Sender<Result<RecordingId, RecordError>>),
    News(RecordingId, RecordingNews),
    Delete(RecordingId, oneshot::Sender<Result<(), DeleteError>>),
    Drain,
}

/// The way to the task; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Recordings {
    /// Whose media is recorded in a line's calls.
    record: Arc<BTreeMap<LineName, Record>>,
    told: mpsc::Sender<Told>,
    going: watch::Receiver<usize>,
    pub(super) shelf: Arc<Shelf>,
}

impl Recordings {
    /// Begins the recording of a call, if its line's are recorded. The call does not wait for it.
    pub(super) fn call_is_live(&self, call: CallId, line: &LineName, dialog: &Dialog) {
        let record = self.record.get(line).copied().unwrap_or_default();
        if record != Record::Off {
            let call = Some((call, dialog.other, dialog.session.clone()));
            let wanted = Wanted { line: line.clone(), line_key: dialog.line, call, record, max_length: None };
            self.tell(Told::Begin(Box::new(wanted), None));
        }
    }

    /// Hands on what media tells.
    pub(super) fn news(&self, id: media::recorder::RecordingId, news: RecordingNews) {
        let passing = matches!(news, RecordingNews::Progress { .. });
        if !passing || self.told.capacity() > KEPT_FOR_NEWS {
            self.tell(Told::News(RecordingId(id.0), news));
        }
    }

    /// Ends what is recorded without a call. What belongs to calls ends with them.
    pub(super) fn drain(&self) {
        self.tell(Told::Drain);
    }

    /// Waits until nothing is recorded any more, for a while. Media's events must be handed on meanwhile.
    pub(super) async fn quiet(&self) {
        let mut going = self.going.clone();
        let quiet = going.wait_for(|going| *going == 0);
        if tokio::time::timeout(QUIET_WITHIN, quiet).await.is_err() {
            tracing::error!(recordings = *self.going.borrow(), "recordings did not end in time");
        }
    }

    fn tell(&self, told: Told) {
        if let Err(error) = self.told.try_send(told) {
            tracing::error!(%error, "the recordings' task has too much to do");
        }
    }
}

/// What all recordings share.
#[derive(Debug)]
pub(super) struct Shelf {
    folder: Folder,
    settings: config::Recording,
    store: Arc<Store>,
    media: Media,
    facts: Arc<Facts>,
    ids: Ids,
    /// Recordings that are written or finished: nobody deletes them.
    busy: Mutex<HashSet<RecordingId>>,
    /// One digest or poster at a time: they take a core.
    finishing: Semaphore,
}

/// Numbers for recordings that rise, also when the clock goes back.
#[derive(Debug)]
struct Ids(AtomicU64);

impl Ids {
    fn next(&self, now: Millis) -> RecordingId {
        let next = |last: u64| Some(now.0.max(last.saturating_add(1)));
        let last = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap_or_default();
        RecordingId(now.0.max(last.saturating_add(1)))
    }
}

/// A recording that goes on, counted while it lives.
struct Going(watch::Sender<usize>);

impl Going {
    fn new(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|going| *going += 1);
        Self(count.clone())
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        self.0.send_modify(|going| *going -= 1);
    }
}

/// Runs what blocks on a thread for that.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
}

impl Shelf {
    fn busy(&self) -> HashSet<RecordingId> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn busy_with(&self, id: RecordingId) {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
    }

    fn done_with(&self, id: RecordingId) {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// The path of a recording's media.
    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.folder.path(file)
    }

    /// Writes sidecar and index. A recording goes on without them: what media writes is there.
    async fn keep(self: &Arc<Self>, kept: &KeptRecording) {
        let (shelf, written) = (self.clone(), kept.clone());
        let done = blocking(move || shelf.folder.write_sidecar(&written.file, &written.sidecar)).await;
        if let Err(error) = done.and_then(|written| written) {
            self.facts.record(&Fact::RecordingNotNoted { recording: kept.sidecar.id, error: &error });
        }
        self.index(kept).await;
    }

    async fn index(self: &Arc<Self>, kept: &KeptRecording) {
        let (shelf, written) = (self.clone(), kept.clone());
        match blocking(move || shelf.store.keep_recording(&written)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                self.facts.record(&Fact::RecordingNotNoted { recording: kept.sidecar.id, error: &error });
            }
            Err(error) => self.facts.record(&Fact::RecordingNotNoted { recording: kept.sidecar.id, error: &error }),
        }
    }

    /// Makes what takes long once a recording is closed: its digest, and its poster. One that already has either keeps it.
    async fn complete(self: &Arc<Self>, mut kept: KeptRecording) {
        let Ok(_turn) = self.finishing.acquire().await else { return };
        let (shelf, file) = (self.clone(), kept.file.clone());
        let made = blocking(move || {
            let digest = shelf.folder.digest(&file);
            let poster = kept.poster || shelf.make_poster(&file);
            (digest, poster, shelf.folder.disk_bytes(&file))
        });
        match made.await {
            Ok((Ok((bytes, sha256)), poster, disk_bytes)) => {
                kept.poster = poster;
                kept.sidecar.bytes = bytes;
                kept.sidecar.sha256 = Some(sha256);
                kept.disk_bytes = disk_bytes;
                self.keep(&kept).await;
                self.facts.record(&Fact::RecordingComplete { recording: kept.sidecar.id, bytes });
            }
            Ok((Err(error), ..)) | Err(error) => {
                self.facts.record(&Fact::RecordingNotNoted { recording: kept.sidecar.id, error: &error });
            }
        }
    }

    /// Whether there is one now. Blocks.
    fn make_poster(&self, file: &str) -> bool {
        let written = match media::recorder::poster(&self.folder.path(file)) {
            Ok(jpeg) => self.folder.write_poster(file, &jpeg),
            // Sound alone has none.
            Err(error) => {
                tracing::debug!(file, %error, "no poster");
                return false;
            }
        };
        if let Err(error) = &written {
            tracing::warn!(file, %error, "a poster cannot be written");
        }
        written.is_ok()
    }

    /// Deletes a recording's files, and takes it out of the index.
    async fn remove(self: &Arc<Self>, kept: &KeptRecording) {
        let (shelf, kept) = (self.clone(), kept.clone());
        let removed = blocking(move || shelf.remove_now(&kept)).await;
        if let Err(error) | Ok(Err(error)) = removed {
            tracing::error!(%error, "a recording cannot be deleted");
        }
    }

    fn remove_now(&self, kept: &KeptRecording) -> io::Result<()> {
        self.folder.delete(&kept.file)?;
        self.store.forget_recording(kept.sidecar.id).map(drop).map_err(io::Error::other)
    }

    /// Deletes what retention says, and tells what that was. Blocks.
    fn retain(&self, now: Millis) -> Result<(), StoreError> {
        let retention = &self.settings.retention;
        let mut candidates = self.store.retained_recordings()?;
        let busy = self.busy();
        for candidate in candidates.iter_mut().filter(|candidate| busy.contains(&candidate.id)) {
            candidate.live = true;
            // It has grown since it was last noted.
            if let Some(kept) = self.store.recording(candidate.id)? {
                candidate.bytes = self.folder.disk_bytes(&kept.file);
            }
        }
        // What is live grows until the next look: there is room for it.
        let retention = &Retention { size: retention.size.map(|size| size - size / HEADROOM), ..*retention };
        let free = retention.free.and_then(|_| self.folder.free().ok());
        let gone = to_delete(&candidates, retention, now, free);
        let kept = candidates.iter().filter(|candidate| !gone.contains(&candidate.id));
        let bytes: u64 = kept.map(|candidate| candidate.bytes).sum();
        for id in gone {
            let Some(kept) = self.store.recording(id)? else { continue };
            match self.remove_now(&kept) {
                Ok(()) => {
                    self.facts.record(&Fact::RecordingDeleted { recording: id, file: &kept.file, why: "retention" })
                }
                Err(error) => tracing::error!(recording = %id, %error, "a recording cannot be deleted"),
            }
        }
        tracing::debug!(bytes, "recordings kept");
        Ok(())
    }
}

/// A recording as the task holds it.
struct Live {
    line: LineName,
    call: Option<CallId>,
    news: mpsc::Sender<RecordingNews>,
    stopped: Arc<OnceLock<End>>,
    /// Media has said its last word.
    over: bool,
}

struct Keeper {
    shelf: Arc<Shelf>,
    live: HashMap<RecordingId, Live>,
    running: JoinSet<RecordingId>,
    /// The look at the disk, and retention: one of each at a time.
    jobs: JoinSet<Job>,
    looking: bool,
    retaining: bool,
    /// Retention is wanted once more.
    retain_again: bool,
    going: watch::Sender<usize>,
    draining: bool,
}

/// What a job of the task came to.
enum Job {
    Free(io::Result<u64>),
    Retained,
    Recovered,
}

/// Starts the task. It ends with the last handle.
pub(super) fn start(
    settings: config::Recording,
    record: BTreeMap<LineName, Record>,
    store: Arc<Store>,
    media: Media,
    facts: Arc<Facts>,
) -> Result<Recordings, StoreError> {
    let folder = Folder::at(settings.directory.clone());
    // Before anything can be recorded. What fails here fails again in the recovery, which tells of it.
    let _ = folder.make();
    let newest = store.recordings(&RecordingFilter::default(), 1)?;
    let newest = newest.first().map_or(0, |newest| newest.sidecar.id.0);
    let shelf = Arc::new(Shelf {
        folder,
        settings,
        store,
        media,
        facts,
        ids: Ids(AtomicU64::new(newest)),
        busy: Mutex::default(),
        finishing: Semaphore::new(1),
    });
    let (told_to, told) = mpsc::channel(QUEUE);
    let (going_to, going) = watch::channel(0);
    let mut keeper = Keeper {
        shelf: shelf.clone(),
        live: HashMap::new(),
        running: JoinSet::new(),
        jobs: JoinSet::new(),
        looking: false,
        retaining: false,
        retain_again: false,
        going: going_to,
        draining: false,
    };
    // The folder may have recordings of before even when no line records now.
    let since = shelf.ids.next(super::clock::Clock::start().now());
    let recovered = recovery::recover(shelf.clone(), since);
    keeper.jobs.spawn(async move {
        recovered.await;
        Job::Recovered
    });
    tokio::spawn(keeper.run(told));
    Ok(Recordings { record: Arc::new(record), told: told_to, going, shelf })
}

impl Keeper {
    async fn run(mut self, mut told: mpsc::Receiver<Told>) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut retentions = tokio::time::interval_at(Instant::now() + RETAIN, RETAIN);
        retentions.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                said = told.recv() => match said {
                    Some(said) => self.take(said).await,
                    None => break,
                },
                Some(ended) = self.running.join_next() => {
                    match ended {
                        Ok(id) => drop(self.live.remove(&id)),
                        Err(error) => tracing::error!(%error, "a recording's task failed"),
                    }
                    self.retain();
                }
                Some(done) = self.jobs.join_next() => self.job_done(done).await,
                _ = looks.tick(), if self.live.values().any(|live| !live.over) => self.look(),
                _ = retentions.tick() => self.retain(),
            }
        }
    }

    async fn take(&mut self, told: Told) {
        match told {
            Told::Begin(wanted, begun) => self.begin(*wanted, begun),
            Told::Stop(line, done) => {
                let found = self.live.iter().find(|(_, live)| live.line == line && live.call.is_none() && !live.over);
                let stopped = match found.map(|(id, _)| *id) {
                    Some(id) => {
                        self.stop(id, End::Stopped).await;
                        Ok(id)
                    }
                    None => Err(RecordError::NotRecorded),
                };
                let _ = done.send(stopped);
            }
            Told::News(id, news) => self.news(id, news),
            Told::Delete(id, done) => {
                let shelf = self.shelf.clone();
                // Whether it is busy is asked here, where nothing can begin meanwhile; a recording that is closed never becomes busy again.
                let busy = shelf.busy().contains(&id);
                tokio::task::spawn_blocking(move || done.send(asked::delete(&shelf, id, busy)));
            }
            Told::Drain => {
                self.draining = true;
                let without_call: Vec<_> =
                    self.live.iter().filter(|(_, live)| live.call.is_none()).map(|(id, _)| *id).collect();
                for id in without_call {
                    self.stop(id, End::Stopped).await;
                }
            }
        }
    }

    fn begin(&mut self, wanted: Wanted, begun: Option<oneshot::Sender<Result<RecordingId, RecordError>>>) {
        let call = wanted.call.as_ref().map(|(call, ..)| *call);
        let same = |live: &Live| live.line == wanted.line && live.call == call && !live.over;
        let refused = if self.draining {
            Some(RecordError::Draining)
        } else if self.live.values().any(same) {
            Some(RecordError::RecordedAlready)
        } else {
            None
        };
        if let Some(refused) = refused {
            if let Some(begun) = begun {
                let _ = begun.send(Err(refused));
            }
            return;
        }
        let id = self.shelf.ids.next(super::clock::Clock::start().now());
        self.shelf.busy_with(id);
        let (news_to, news) = mpsc::channel(NEWS_QUEUE);
        let stopped = Arc::new(OnceLock::new());
        let live = Live { line: wanted.line.clone(), call, news: news_to, stopped: stopped.clone(), over: false };
        self.live.insert(id, live);
        let recording =
            Recording { id, wanted, shelf: self.shelf.clone(), news, stopped, going: Going::new(&self.going) };
        self.running.spawn(async move {
            recording.run(begun).await;
            id
        });
    }

    /// Ends a recording for this reason, unless it has one already.
    async fn stop(&mut self, id: RecordingId, end: End) {
        if let Some(live) = self.live.get(&id) {
            let _ = live.stopped.set(end);
            self.shelf.media.send(media::Command::StopRecording { id: media::recorder::RecordingId(id.0) }).await;
        }
    }

    fn news(&mut self, id: RecordingId, news: RecordingNews) {
        let Some(live) = self.live.get_mut(&id) else { return };
        live.over |= matches!(news, RecordingNews::Ended { .. });
        let passing = matches!(news, RecordingNews::Progress { .. });
        if passing && live.news.capacity() <= KEPT_FOR_ENDS {
            return;
        }
        if live.news.try_send(news).is_err() {
            tracing::error!(recording = %id, "a recording's disk does not keep up");
        }
    }

    fn look(&mut self) {
        if self.shelf.settings.retention.size.is_some() {
            self.retain();
        }
        if !self.looking {
            self.looking = true;
            let shelf = self.shelf.clone();
            self.jobs
                .spawn(async move { Job::Free(blocking(move || shelf.folder.free()).await.and_then(|free| free)) });
        }
    }

    fn retain(&mut self) {
        if self.retaining {
            self.retain_again = true;
            return;
        }
        self.retaining = true;
        self.retain_again = false;
        let shelf = self.shelf.clone();
        let now = super::clock::Clock::start().now();
        self.jobs.spawn(async move {
            let done = blocking(move || shelf.retain(now)).await;
            if let Ok(Err(error)) = done {
                tracing::error!(%error, "retention cannot look at the recordings");
            }
            Job::Retained
        });
    }

    async fn job_done(&mut self, done: Result<Job, tokio::task::JoinError>) {
        match done {
            Ok(Job::Free(free)) => {
                self.looking = false;
                match free {
                    Ok(free) => self.has_left(free).await,
                    // A disk that is gone ends its recordings by itself.
                    Err(error) => tracing::warn!(%error, "the recordings' disk does not say what it has left"),
                }
            }
            Ok(Job::Retained) => {
                self.retaining = false;
                if self.retain_again {
                    self.retain();
                }
            }
            Ok(Job::Recovered) => self.retain(),
            Err(error) => {
                tracing::error!(%error, "a job of the recordings failed");
                (self.looking, self.retaining) = (false, false);
            }
        }
    }

    async fn has_left(&mut self, free: u64) {
        let settings = &self.shelf.settings;
        if settings.retention.free.is_some_and(|wanted| free < wanted) {
            self.retain();
        }
        if may_go_on(free, self.shelf.settings.floor) {
            return;
        }
        let going: Vec<RecordingId> =
            self.live.iter().filter(|(_, live)| live.stopped.get().is_none()).map(|(id, _)| *id).collect();
        if !going.is_empty() {
            self.shelf.facts.record(&Fact::DiskFloor {
                free,
                floor: self.shelf.settings.floor,
                recordings: going.len(),
            });
        }
        for id in going {
            self.stop(id, End::DiskFloor).await;
        }
    }
}

fn sides(record: Record) -> Sides {
    match record {
        Record::Caller => Sides::Caller,
        Record::Off | Record::Line => Sides::Line,
        Record::Both => Sides::Both,
    }
}

fn container(format: Format) -> Container {
    match format {
        Format::Mkv => Container::Matroska,
        Format::Mp4 => Container::Mp4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recordings_numbers_are_their_times_and_never_the_same() {
        let ids = Ids(AtomicU64::new(100));
        assert_eq!([50, 50, 200, 200, 1000].map(|now| ids.next(Millis(now)).0), [101, 102, 200, 201, 1000]);
    }
}
