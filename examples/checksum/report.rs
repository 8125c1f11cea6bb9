//! Driver: the lines of `sha256sum`, and what is told at the end.
use crate::Job;
use colloquium::DrainReport;
use colloquium::prelude::*;
use colloquium::tree::Look;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// As `sha256sum` prints it: a name with a backslash, line feed or carriage return is escaped, and the line then begins with a
/// backslash.
pub(crate) fn line(sum: &[u8; 32], path: &Path) -> Vec<u8> {
    let name = path.as_os_str().as_encoded_bytes();
    let mut line = Vec::with_capacity(68 + name.len());
    if name.iter().any(|byte| b"\\\n\r".contains(byte)) {
        line.push(b'\\');
    }
    line.extend(sum.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()));
    line.extend(b"  ");
    for byte in name {
        match byte {
            b'\\' => line.extend(b"\\\\"),
            b'\n' => line.extend(b"\\n"),
            b'\r' => line.extend(b"\\r"),
            byte => line.push(*byte),
        }
    }
    line.push(b'\n');
    line
}

pub(crate) struct Report {
    begun: Duration,
    files: u64,
    bytes: u64,
    reroutes: Vec<Duration>,
    failed: u64,
}

impl Report {
    pub(crate) fn new(begun: Duration, unreadable: &[(PathBuf, std::io::Error)]) -> Self {
        for (path, error) in unreadable {
            eprintln!("checksum: {}: {error}", path.display());
        }
        Self { begun, files: 0, bytes: 0, reroutes: Vec::new(), failed: unreadable.len() as u64 }
    }

    pub(crate) fn done(&mut self, outcome: &DispatchOutcome<[u8; 32]>, path: &Path) {
        self.files += 1;
        self.bytes += path.metadata().map_or(0, |data| data.len());
        self.reroutes.extend(outcome.reroute_timings());
    }

    pub(crate) fn failed(&mut self, path: &Path, error: &DispatchError<Job>) {
        self.failed += 1;
        eprintln!("checksum: {}: {error}", path.display());
    }

    /// Prints it all to standard error; true if every file was hashed.
    pub(crate) fn print(
        mut self,
        runtime: &Runtime,
        hashers: &DispatchConversation<Job, [u8; 32]>,
        asked: usize,
        tree: &str,
        drained: &DrainReport,
    ) -> bool {
        let took = runtime.now().saturating_sub(self.begun).as_secs_f64();
        let snapshot = hashers.group().snapshot();
        let megabytes = self.bytes as f64 / 1e6;
        eprintln!(
            "{} files, {megabytes:.1} MB in {took:.2} s: {:.0} files/s, {:.0} MB/s",
            self.files,
            self.files as f64 / took,
            megabytes / took
        );
        self.reroutes.sort_unstable();
        let quantile = |part: f64| self.reroutes.get(((self.reroutes.len().max(1) - 1) as f64 * part) as usize);
        match (quantile(0.5), quantile(0.99)) {
            (Some(half), Some(most)) => {
                eprintln!(
                    "re-routes: {}, p50 {half:?}, p99 {most:?} (waiting for room and retry delays included)",
                    self.reroutes.len()
                );
            }
            _ => eprintln!("re-routes: none"),
        }
        eprintln!("restarts: {}; dead letters: {}", snapshot.totals.restarts, snapshot.dead_letters_total);
        eprint!("{tree}");
        let left = (asked as u64).saturating_sub(self.files + self.failed);
        if left > 0 {
            eprintln!("interrupted: {left} files were not hashed");
        }
        if !drained.wedged.is_empty() {
            eprintln!("wedged: {:?}", drained.wedged);
        }
        self.failed == 0 && left == 0
    }
}

/// The supervision tree with the group in it, as a dump shows it.
pub(crate) async fn tree(runtime: &Runtime) -> String {
    match runtime.root().tree().await {
        Ok(tree) => tree.look(&Look::new()).to_string(),
        Err(error) => format!("no tree: {error}\n"),
    }
}
