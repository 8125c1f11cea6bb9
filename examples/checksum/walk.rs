//! Driver: the files under a directory.
use std::fs;
use std::path::{Path, PathBuf};

/// A directory that every machine has: the first of those that is there.
pub(crate) fn some_directory() -> PathBuf {
    let known = ["/usr/share/doc", "/usr/share/man", "/usr/include", "/usr/lib"];
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    known.iter().map(PathBuf::from).find(|path| path.is_dir()).unwrap_or(here)
}

/// All regular files below, in the order of their names, and what could not be looked into. Links are not followed.
pub(crate) fn files(directory: &Path) -> (Vec<PathBuf>, Vec<(PathBuf, std::io::Error)>) {
    let (mut files, mut unreadable) = (Vec::new(), Vec::new());
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        let entries = fs::read_dir(&directory).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let entries = match entries {
            Ok(entries) => entries,
            Err(error) => {
                unreadable.push((directory, error));
                continue;
            }
        };
        for entry in entries {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => left.push(entry.path()),
                Ok(kind) if kind.is_file() => files.push(entry.path()),
                Ok(_) => {}
                Err(error) => unreadable.push((entry.path(), error)),
            }
        }
    }
    files.sort();
    (files, unreadable)
}
