//! Looking through `/proc` away from everything else: one thread does it, for all who ask meanwhile at once, and nobody waits
//! for it longer than [`PATIENCE`]. Where `/proc` does not answer at all nothing but that thread stands still.

use std::path::PathBuf;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::walk::{Question, Seen, walk};

/// Who has a file open. Nothing is known where that cannot be found out in time.
pub async fn look(question: Question) -> Seen {
    LOOKER.look(question).await
}

/// The same, for a thread that may wait.
pub fn look_blocking(question: Question) -> Seen {
    let (reply, answer) = sync_channel(1);
    LOOKER.ask(question, move |seen| drop(reply.try_send(seen)));
    answer.recv_timeout(PATIENCE).unwrap_or_default()
}

static LOOKER: LazyLock<Looker> = LazyLock::new(|| Looker::new("/proc".into()));

/// Whoever looks, on a thread that is there while anybody waits.
#[derive(Clone)]
struct Looker {
    root: PathBuf,
    queue: Arc<Mutex<Queue>>,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Asked>,
    is_looking: bool,
}

struct Asked {
    question: Question,
    reply: Box<dyn FnOnce(Seen) + Send>,
}

impl Looker {
    fn new(root: PathBuf) -> Self {
        Self { root, queue: Arc::default() }
    }

    async fn look(&self, question: Question) -> Seen {
        let (reply, answer) = oneshot::channel();
        self.ask(question, move |seen| drop(reply.send(seen)));
        timeout(PATIENCE, answer).await.ok().and_then(Result::ok).unwrap_or_default()
    }

    /// The reply is dropped where too many wait, and where there can be no thread.
    fn ask(&self, question: Question, reply: impl FnOnce(Seen) + Send + 'static) {
        let mut queue = self.queue();
        if queue.waiting.len() < MOST_WAITING {
            queue.waiting.push(Asked { question, reply: Box::new(reply) });
        }
        if !queue.is_looking {
            let looker = self.clone();
            let started = thread::Builder::new().name("proc".to_owned()).spawn(move || looker.run());
            queue.is_looking = started.is_ok();
            if started.is_err() {
                queue.waiting.clear();
            }
        }
    }

    fn run(&self) {
        loop {
            let all = {
                let mut queue = self.queue();
                queue.is_looking = !queue.waiting.is_empty();
                std::mem::take(&mut queue.waiting)
            };
            if all.is_empty() {
                return;
            }
            let questions: Vec<Question> = all.iter().map(|asked| asked.question.clone()).collect();
            let seen = walk(&self.root, &questions, Instant::now() + LONGEST_WALK);
            all.into_iter().zip(seen).for_each(|(asked, seen)| (asked.reply)(seen));
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long whoever asks waits: for the walk that is under way, and one more.
const PATIENCE: Duration = Duration::from_secs(2);
const LONGEST_WALK: Duration = Duration::from_millis(900);
const MOST_WAITING: usize = 1024;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    #[tokio::test]
    async fn a_proc_that_does_not_answer_holds_up_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let (file, process) = (dir.path().join("file"), dir.path().join("77"));
        std::fs::create_dir_all(process.join("fd")).unwrap();
        std::fs::write(&file, "").unwrap();
        symlink(&file, process.join("fd/5")).unwrap();
        // Whoever opens it waits for a writer.
        mkfifo(&process.join("comm"), Mode::S_IRWXU).unwrap();
        let looker = Looker::new(dir.path().to_owned());
        let question = Question::File(file);
        let (seen, ticks) = tokio::join!(looker.look(question.clone()), async {
            let began = Instant::now();
            let mut ticks = 0;
            while began.elapsed() < PATIENCE / 2 {
                tokio::time::sleep(Duration::from_millis(1)).await;
                ticks += 1;
            }
            ticks
        });
        assert!(!seen.is_whole && seen.holders.is_empty());
        assert!(ticks > 1, "other tasks go on");
        assert!(!looker.look(question).await.is_whole, "nor does the next one wait for ever");
    }

    #[tokio::test]
    async fn all_who_ask_are_answered() {
        let all = (0..100).map(|_| look(Question::Device("/dev/null".into())));
        let all = futures_util::future::join_all(all).await;
        assert!(all.iter().all(|seen| seen.is_whole));
        assert!(look_blocking(Question::Device("/dev/null".into())).is_whole);
    }
}
