//! The main job, as a program: what it prints is checked by `sha256sum` itself.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The example's program, which cargo builds beside the tests.
fn program() -> PathBuf {
    let tests = std::env::current_exe().expect("a test has a path");
    let target = tests.parent().and_then(Path::parent).expect("target/debug/deps");
    let program = target.join("examples/checksum");
    assert!(program.exists(), "build it with `cargo build --example checksum` ({})", program.display());
    program
}

/// A directory of this test's own, with files of many sizes and some names that need care.
fn directory(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    drop(fs::remove_dir_all(&directory));
    fs::create_dir_all(directory.join("below/far below")).expect("a directory");
    for n in 0..300_usize {
        let folder = if n % 3 == 0 { "below/far below" } else { "." };
        let path = directory.join(folder).join(format!("file {n}"));
        fs::write(path, vec![u8::try_from(n % 251).expect("small"); n * n * 3]).expect("a file");
    }
    fs::write(directory.join("back\\slash\nline"), "x").expect("a file");
    directory
}

fn run(words: &[&str], directory: &Path) -> Output {
    Command::new(program()).args(words).arg(directory).output().expect("it runs")
}

/// The number of files that `sha256sum -c` finds right; it fails if any is wrong.
fn checked(output: &[u8]) -> usize {
    let mut check = Command::new("sha256sum").args(["-c", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let check = check.as_mut().expect("sha256sum is there");
    let mut input = check.stdin.take().expect("piped");
    let lines = output.to_vec();
    let checked = std::thread::scope(|scope| {
        scope.spawn(move || std::io::Write::write_all(&mut input, &lines).expect("it reads"));
        std::io::read_to_string(check.stdout.take().expect("piped")).expect("text")
    });
    assert!(check.wait().expect("it ends").success(), "{checked}");
    checked.lines().filter(|line| line.ends_with(": OK")).count()
}

#[test]
fn it_prints_what_sha256sum_prints() {
    let directory = directory("plain");
    let output = run(&["--consumers", "3"], &directory);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert_eq!(checked(&output.stdout), 301);
    assert!(told.contains("301 files") && told.contains("dead letters: 0") && told.contains("consumers"), "{told}");
}

#[test]
fn chaos_changes_nothing_of_what_it_prints() {
    let directory = directory("chaos");
    let calm = run(&[], &directory);
    let output = run(&["--chaos", "--consumers", "4"], &directory);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert_eq!((checked(&output.stdout), output.stdout == calm.stdout), (301, true));
    assert!(!told.contains("restarts: 0;") && told.contains("re-routes: "), "{told}");
}

#[test]
fn what_cannot_be_read_is_told_and_is_no_success() {
    let directory = directory("unreadable");
    // Its name is in the directory, and nothing behind it: what a file is that goes away meanwhile.
    let missing = directory.join("no such directory");
    let output = run(&[], &missing);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{told}");
    assert!(told.contains("no such directory"), "{told}");
}
