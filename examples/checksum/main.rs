//! Driver: the SHA-256 of every file under a directory, by supervised consumers, in the format of `sha256sum`.
//!
//!     cargo run --release --example checksum -- [--consumers N] [--chaos] [DIR] | sha256sum -c
//!
//! Every file is a message. With `--chaos` consumers panic, are killed and hang at random meanwhile; what comes out is the same.
//! What cannot be read is a dead letter with its reason on standard error, and the exit code is 1 then.
mod chaos;
mod report;
mod walk;

use chaos::Chaos;
use colloquium::prelude::*;
use indicatif::{ProgressBar, ProgressStyle};
use report::{Report, line};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// What is to be hashed.
struct Job {
    path: PathBuf,
}

/// Files under way at a time, for each consumer.
const AHEAD: usize = 8;
/// A hash of a large file on a slow disk.
const PATIENCE: Duration = Duration::from_secs(600);
/// Without a hang it is over long before; with one it is tried again then.
const CHAOS_PATIENCE: Duration = Duration::from_secs(2);

struct Hasher {
    chaos: Option<Arc<Chaos>>,
}

impl Consumer for Hasher {
    type Message = Job;
    type Output = [u8; 32];

    async fn handle(&mut self, job: Delivery<Job>) -> Result<[u8; 32], Failure> {
        if let Some(chaos) = &self.chaos {
            chaos.strike().await;
        }
        let hashed = job.run_blocking_cancellable(|job, cancel| hash(job, || cancel.is_cancelled())).await?;
        match hashed {
            Ok(sum) => Ok(sum),
            // Those do not change by trying again.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::IsADirectory
                ) =>
            {
                Err(Failure::discard(error))
            }
            Err(error) => Err(Failure::retry(error)),
        }
    }
}

fn hash(job: &Job, cancelled: impl Fn() -> bool) -> io::Result<[u8; 32]> {
    let mut file = File::open(&job.path)?;
    let mut sum = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        if cancelled() {
            return Err(ErrorKind::Interrupted.into());
        }
        match file.read(&mut buffer) {
            Ok(0) => return Ok(sum.finalize().into()),
            Ok(read) => sum.update(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

struct Options {
    consumers: usize,
    chaos: bool,
    directory: PathBuf,
}

fn options() -> Result<Options, Failed> {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let mut options = Options { consumers: cores * 2, chaos: false, directory: PathBuf::new() };
    let mut words = std::env::args_os().skip(1);
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("--chaos") => options.chaos = true,
            Some("--consumers") => {
                let number = words.next().and_then(|word| word.to_str()?.parse().ok()).filter(|number| *number > 0);
                options.consumers = number.ok_or("--consumers takes a number above 0")?;
            }
            Some("--help") => return Err("checksum [--consumers N] [--chaos] [DIR]".into()),
            Some(word) if word.starts_with("--") => return Err(format!("no option {word}").into()),
            _ if options.directory.as_os_str().is_empty() => options.directory = word.into(),
            _ => return Err("one directory at a time".into()),
        }
    }
    if options.directory.as_os_str().is_empty() {
        options.directory = walk::some_directory();
    }
    Ok(options)
}

/// Set by the first Ctrl-C; the second one ends the program at once.
fn on_interrupt() -> io::Result<Arc<AtomicBool>> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

fn main() -> ExitCode {
    let ran = options().and_then(|options| {
        let runtime = Runtime::new()?;
        let stop = on_interrupt()?;
        let clean = runtime.block_on(run(&runtime, &options, &stop))?;
        runtime.block_on(runtime.shutdown(5 * SECOND));
        Ok(clean)
    });
    match ran {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("checksum: {error}");
            ExitCode::from(2)
        }
    }
}

/// Hashes all; whether every file was read.
async fn run(runtime: &Runtime, options: &Options, stop: &AtomicBool) -> Result<bool, Failed> {
    let (files, unreadable) = walk::files(&options.directory);
    let chaos = options.chaos.then(|| Arc::new(Chaos::new()));
    let for_consumers = chaos.clone();
    let start = move || {
        let chaos = for_consumers.clone();
        async move { Ok::<_, Failed>(Hasher { chaos }) }
    };
    let mut group = ConsumerGroup::of("hashers", options.consumers, start).waiting_room(AHEAD * options.consumers * 2);
    group = group.max_wait(PATIENCE).deadline(PATIENCE);
    if chaos.is_some() {
        // What happens to a message there is not its fault.
        group =
            group.poison_after(1000).attempts(1000).deadline(CHAOS_PATIENCE).cancel_grace(Duration::from_millis(50));
    }
    let hashers = group.start(&runtime.root()).await?;
    if let Some(chaos) = &chaos {
        chaos.unleash(runtime, &hashers)?;
    }
    let bar = ProgressBar::new(files.len() as u64);
    bar.set_style(ProgressStyle::with_template("{pos}/{len} files {wide_bar} {per_sec}")?);
    let mut report = Report::new(runtime.now(), &unreadable);
    let mut out = io::BufWriter::new(io::stdout().lock());
    let jobs = files.iter().map(|path| Job { path: path.clone() });
    let mut all = hashers.dispatch_all(jobs, AHEAD * options.consumers);
    for path in &files {
        if stop.load(Ordering::SeqCst) {
            all.stop();
        }
        let Some(mut result) = all.next().await else { break };
        // A consumer that hung had the message to its deadline. To hash again does no harm.
        while let Err(error) = &result
            && chaos.is_some()
            && error.kind() == DeadlineExceeded
        {
            result = hashers.dispatch(Arc::clone(error.message())).await;
        }
        match result {
            Ok(outcome) => {
                report.done(&outcome, path);
                out.write_all(&line(outcome.output(), path))?;
            }
            Err(error) => report.failed(path, &error),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    if let Some(chaos) = &chaos {
        chaos.calm();
    }
    out.flush()?;
    let tree = report::tree(runtime).await;
    let drained = hashers.drain(20 * SECOND).await;
    Ok(report.print(runtime, &hashers, files.len(), &tree, &drained))
}
