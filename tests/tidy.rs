//! Holds the structure of the workspace: what the documents promise about files, layers and lengths.
//!
//! Each rule is a function from text to violations, so that the tests at the end can plant a violation and see it
//! found: a check that cannot fail is worth nothing. Needles are built with `concat!`, or this file would find itself.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What a file outside its test modules may be long; a longer one mixes concerns that can live apart.
const FILE_LINES: usize = 500;
/// What a function may be long; a longer one does not fit a screen.
const FUNCTION_LINES: usize = 70;

/// The first words of a source file: which of the three kinds it is.
const KINDS: [&str; 3] = ["//! Pure: ", "//! Shared: ", "//! Driver: "];

/// What a pure file does without: time and chance are its arguments, and nothing runs beside it.
const IMPURE: [&str; 8] =
    ["Instant::now", "SystemTime", "Mutex", "RwLock", "Condvar", "thread::", "std::net", "thread_local!"];

/// What is meant to be gone before a commit.
const LEFTOVERS: [&str; 6] = [
    concat!("to", "do!("),
    concat!("unimpl", "emented!("),
    concat!("#[ig", "nore"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("HA", "CK"),
];

/// Folders of one machine: a path below one of them means nothing to the next reader.
const MACHINE_FOLDERS: [&str; 4] = ["home", "root", "work", "farm"];

/// Waiting for time to pass instead of for the thing itself.
const SLEEPS: [&str; 2] = [concat!("thread::", "sleep"), concat!("time::", "sleep")];

/// One crate of the workspace and the crates that it may use.
struct Layer {
    package: &'static str,
    folder: &'static str,
    below: &'static [&'static str],
}

const LAYERS: [Layer; 7] = [
    Layer { package: "colloquium-runtime", folder: "runtime", below: &[] },
    Layer { package: "colloquium-supervisor", folder: "supervisor", below: &["colloquium-runtime"] },
    Layer {
        package: "colloquium-transport",
        folder: "transport",
        below: &["colloquium-runtime", "colloquium-supervisor"],
    },
    Layer {
        package: "colloquium-dispatch",
        folder: "dispatch",
        below: &["colloquium-runtime", "colloquium-supervisor", "colloquium-transport"],
    },
    Layer {
        package: "colloquium",
        folder: "",
        below: &["colloquium-runtime", "colloquium-supervisor", "colloquium-transport", "colloquium-dispatch"],
    },
    Layer { package: "webhook", folder: "examples/webhook", below: &["colloquium"] },
    Layer { package: "with_tokio", folder: "examples/with_tokio", below: &["colloquium"] },
];

#[test]
fn every_source_file_says_its_kind() {
    hold("the first line of a source file says which kind it is", &each_source(kind_violations));
}

#[test]
fn crates_use_only_crates_below_them() {
    let mut violations = members_without_layer(&read("Cargo.toml"));
    for layer in &LAYERS {
        violations.extend(layer_violations(layer, &read(&below(layer.folder, "Cargo.toml"))));
    }
    hold("a crate uses only crates below it", &violations);
}

#[test]
fn pure_files_hold_no_clock_lock_thread_or_socket() {
    hold("a pure file takes time and chance as arguments and shares nothing", &each_source(purity_violations));
}

#[test]
fn files_and_functions_stay_short() {
    hold("files and functions stay short", &each_source(length_violations));
}

#[test]
fn every_crate_forbids_unsafe_code() {
    let mut violations = Vec::new();
    for layer in &LAYERS {
        let path = below(layer.folder, "src/lib.rs");
        match fs::read_to_string(root().join(&path)) {
            Ok(text) => violations.extend(unsafe_violations(&Source::new(&path, text))),
            Err(error) => violations.push(format!("{path}: {error}")),
        }
    }
    hold("every crate forbids unsafe code", &violations);
}

#[test]
fn architecture_names_paths_that_exist() {
    hold("ARCHITECTURE.md names what exists", &path_violations(&read("ARCHITECTURE.md"), &paths()));
}

#[test]
fn guarantees_name_tests_that_exist() {
    let rust: Vec<Source> = rust_paths().iter().map(|path| Source::new(path, read(path))).collect();
    hold("docs/guarantees.md names tests that exist", &guarantee_violations(&read("docs/guarantees.md"), &rust));
}

#[test]
fn nothing_is_left_over() {
    let mut violations = Vec::new();
    for path in rust_paths() {
        violations.extend(leftover_violations(&path, &read(&path)));
    }
    for path in paths() {
        // A file that is no text has no line to show a path in.
        if let Ok(text) = fs::read_to_string(root().join(&path)) {
            violations.extend(machine_path_violations(&path, &text));
        }
    }
    hold("no leftovers and no path of one machine", &violations);
}

#[test]
fn tests_do_not_sleep() {
    let mut violations = each_source(sleep_violations);
    for path in rust_paths().iter().filter(|path| path.starts_with("tests/") || path.contains("/tests/")) {
        let mut source = Source::new(path, read(path));
        source.test_only = true;
        violations.extend(sleep_violations(&source));
    }
    violations.sort();
    violations.dedup();
    hold("a test waits on the thing, with a bound", &violations);
}

// ---- the rules, from text to violations

fn kind_violations(source: &Source) -> Vec<String> {
    let first = source.text.lines().next().unwrap_or_default();
    if KINDS.iter().any(|kind| first.strip_prefix(kind).is_some_and(|sentence| !sentence.trim().is_empty())) {
        return Vec::new();
    }
    vec![format!("{}: opens with {first:?} instead of `//! Pure:`, `//! Shared:` or `//! Driver:`", source.path)]
}

fn purity_violations(source: &Source) -> Vec<String> {
    if !source.text.starts_with("//! Pure:") {
        return Vec::new();
    }
    let mut violations = Vec::new();
    for (number, line) in source.code_outside_tests().lines().enumerate() {
        let atomic = line.match_indices("Atomic").find_map(|(at, word)| {
            let next = line[at + word.len()..].chars().next();
            next.filter(char::is_ascii_uppercase).map(|_| word)
        });
        for needle in IMPURE.into_iter().filter(|needle| line.contains(needle)).chain(atomic) {
            violations.push(format!("{}:{}: a pure file names {needle}", source.path, number + 1));
        }
    }
    violations
}

fn length_violations(source: &Source) -> Vec<String> {
    let mut violations = Vec::new();
    let lines = source.lines_outside_tests();
    if lines > FILE_LINES {
        violations.push(format!("{}: {lines} lines outside tests, {FILE_LINES} allowed", source.path));
    }
    for Function { name, line, lines } in functions(&source.code_outside_tests()) {
        if lines > FUNCTION_LINES {
            let path = &source.path;
            violations.push(format!("{path}:{line}: fn {name} has {lines} lines, {FUNCTION_LINES} allowed"));
        }
    }
    violations
}

fn unsafe_violations(source: &Source) -> Vec<String> {
    if source.code.contains("#![forbid(unsafe_code)]") {
        return Vec::new();
    }
    vec![format!("{}: lacks #![forbid(unsafe_code)]", source.path)]
}

fn leftover_violations(path: &str, text: &str) -> Vec<String> {
    let mut violations = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for needle in LEFTOVERS.iter().filter(|needle| line.contains(**needle)) {
            violations.push(format!("{path}:{}: leftover {needle}", number + 1));
        }
    }
    violations
}

fn machine_path_violations(path: &str, text: &str) -> Vec<String> {
    let mut violations = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for folder in MACHINE_FOLDERS {
            let needle = format!("/{folder}/");
            // Behind a letter or a dot it is the inside of a relative path or of a URL.
            let names_machine = line.match_indices(&needle).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                before.is_none_or(|before| before != '.' && !before.is_alphanumeric())
            });
            if names_machine {
                violations.push(format!("{path}:{}: a path of one machine, below {needle}", number + 1));
            }
        }
    }
    violations
}

fn sleep_violations(source: &Source) -> Vec<String> {
    let mut violations = Vec::new();
    for (number, line) in source.code_of_tests().lines().enumerate() {
        for needle in SLEEPS.iter().filter(|needle| line.contains(**needle)) {
            violations.push(format!("{}:{}: a test calls {needle}", source.path, number + 1));
        }
    }
    violations
}

/// Every member of the workspace needs a row in [`LAYERS`], or nothing would hold it.
fn members_without_layer(manifest: &str) -> Vec<String> {
    let list = manifest.split("members = [").nth(1).and_then(|rest| rest.split(']').next());
    let Some(list) = list else {
        return vec!["Cargo.toml: no `members = [` found".to_owned()];
    };
    let members = list.split('"').skip(1).step_by(2);
    let unknown = members.filter(|member| LAYERS.iter().all(|layer| layer.folder != *member));
    unknown.map(|member| format!("Cargo.toml: member {member} has no layer in tests/tidy.rs")).collect()
}

fn layer_violations(layer: &Layer, manifest: &str) -> Vec<String> {
    let mut violations = Vec::new();
    let mut section = String::new();
    for line in manifest.lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']).to_owned();
        }
        // What the workspace offers to its members is no dependency of the root package.
        if section.starts_with("workspace") || !section.contains("dependencies") {
            continue;
        }
        for used in LAYERS.iter().filter(|other| other.package != layer.package && names_package(line, other.package)) {
            if !layer.below.contains(&used.package) {
                violations.push(format!("{} uses {}, which is not below it", layer.package, used.package));
            }
        }
    }
    violations
}

/// Whether a line of a manifest names the package as a whole word; quotes, dots and brackets end a word, hyphens do not.
fn names_package(line: &str, package: &str) -> bool {
    line.split(|c: char| !c.is_alphanumeric() && c != '-' && c != '_').any(|word| word == package)
}

fn path_violations(document: &str, paths: &[String]) -> Vec<String> {
    let spans = code_spans(document);
    let named: Vec<&String> = spans.iter().filter(|span| looks_like_path(span)).collect();
    if named.is_empty() {
        return vec!["it names no path at all".to_owned()];
    }
    let missing = named.into_iter().filter(|span| !exists(span, paths));
    missing.map(|span| format!("`{span}` does not exist; name each path in full, without braces")).collect()
}

/// A source file, or anything with a slash that could be a path; braces and stars count, so that they cannot hide one.
fn looks_like_path(span: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./{},*".contains(c);
    span.chars().all(plain) && (span.ends_with(".rs") || span.contains('/'))
}

/// Whether the name is that of a file or folder, written from the root or from any folder above it.
fn exists(name: &str, paths: &[String]) -> bool {
    let name = name.strip_prefix("./").unwrap_or(name).trim_end_matches('/');
    let (file, folder) = (format!("/{name}"), format!("/{name}/"));
    paths.iter().map(|path| format!("/{path}")).any(|path| path.ends_with(&file) || path.contains(&folder))
}

fn guarantee_violations(document: &str, sources: &[Source]) -> Vec<String> {
    let spans = code_spans(document);
    let named: Vec<(&str, &str)> = spans.iter().filter_map(|span| test_reference(span)).collect();
    if named.is_empty() {
        return vec!["it names no test at all, in the form `file::test_name`".to_owned()];
    }
    let missing = named.into_iter().filter(|(file, test)| {
        let needle = format!("fn {test}");
        let mut files = sources.iter().filter(|source| is_named(&source.path, file));
        !files.any(|source| word_positions(&source.code, &needle).next().is_some())
    });
    missing.map(|(file, test)| format!("`{file}::{test}`: no such function there")).collect()
}

/// `file::test_name` or `file::module::test_name`, all lower case; types and calls are something else.
fn test_reference(span: &str) -> Option<(&str, &str)> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-./:".contains(c);
    let (file, rest) = span.split_once("::")?;
    let test = rest.rsplit("::").next()?;
    (span.chars().all(plain) && !file.is_empty() && !test.is_empty()).then_some((file, test))
}

/// Whether a path is meant by its stem (`mailbox`), by its end (`src/mailbox.rs`), or by its folder (`timer`, of `mod.rs`).
fn is_named(path: &str, name: &str) -> bool {
    let stem = name.strip_suffix(".rs").unwrap_or(name);
    let path = format!("/{path}");
    [".rs", "/mod.rs", "/main.rs"].iter().any(|end| path.ends_with(&format!("/{stem}{end}")))
}

/// What stands between single backticks, fenced blocks left out.
fn code_spans(document: &str) -> Vec<String> {
    let prose = document.split("```").step_by(2).collect::<Vec<_>>().join(" ");
    prose.split('`').skip(1).step_by(2).map(|span| span.trim().to_owned()).collect()
}

// ---- a source file, as far as the rules need to understand it

struct Source {
    path: String,
    text: String,
    /// The text with comments, strings and characters blanked: every other character stands where it stood.
    code: String,
    /// The whole file is a test module, declared as one in another file.
    test_only: bool,
}

/// A module that is compiled for tests only.
struct TestModule {
    name: String,
    range: Range<usize>,
    inline: bool,
}

struct Function {
    name: String,
    line: usize,
    lines: usize,
}

impl Source {
    fn new(path: &str, text: String) -> Self {
        let code = blanked(&text);
        Self { path: path.to_owned(), text, code, test_only: false }
    }

    fn code_outside_tests(&self) -> String {
        self.keep(|in_tests| !in_tests)
    }

    fn code_of_tests(&self) -> String {
        self.keep(|in_tests| in_tests)
    }

    fn lines_outside_tests(&self) -> usize {
        let tests = self.test_ranges();
        let in_tests = |at: usize| tests.iter().any(|range| range.contains(&at));
        let starts = std::iter::once(0).chain(self.code.match_indices('\n').map(|(at, _)| at + 1));
        starts.filter(|start| *start < self.code.len() && !in_tests(*start)).count()
    }

    fn test_ranges(&self) -> Vec<Range<usize>> {
        if self.test_only {
            return std::iter::once(0..self.code.len()).collect();
        }
        test_modules(&self.code).into_iter().map(|module| module.range).collect()
    }

    fn keep(&self, wanted: impl Fn(bool) -> bool) -> String {
        let tests = self.test_ranges();
        let in_tests = |at: usize| tests.iter().any(|range| range.contains(&at));
        let characters = self.code.char_indices();
        characters.map(|(at, c)| if c == '\n' || wanted(in_tests(at)) { c } else { ' ' }).collect()
    }

    /// The folder-like prefixes of the files that this one declares as test modules: `mod tests;` under `cfg(test)`.
    fn test_files(&self) -> Vec<String> {
        let stem = self.path.strip_suffix(".rs").unwrap_or(&self.path);
        let (folder, name) = stem.rsplit_once('/').unwrap_or(("", stem));
        let folder = if ["lib", "main", "mod"].contains(&name) { folder } else { stem };
        let modules = test_modules(&self.code).into_iter().filter(|module| !module.inline);
        modules.map(|module| format!("{folder}/{}", module.name)).collect()
    }
}

/// The code alone: comments, strings and characters become spaces, new-lines stay.
fn blanked(text: &str) -> String {
    let text: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let end = end_of_opaque(&text, at);
        if let Some(end) = end {
            code.extend(text[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
        } else {
            code.push(text[at]);
        }
        at = end.unwrap_or(at + 1);
    }
    code
}

/// Where the comment, string or character that starts here ends; nothing if none starts here.
fn end_of_opaque(text: &[char], at: usize) -> Option<usize> {
    let from = |at: usize| text.get(at..).unwrap_or_default();
    match (text[at], text.get(at + 1)) {
        ('/', Some('/')) => Some(find(text, at, &['\n'])),
        ('/', Some('*')) => Some(end_of_block_comment(text, at)),
        ('"', _) => Some(end_of_quoted(text, at + 1, '"')),
        // Anything that is not closed right behind one character is a lifetime.
        ('\'', Some('\\')) => Some(end_of_quoted(text, at + 1, '\'')),
        ('\'', Some(_)) if text.get(at + 2) == Some(&'\'') => Some(at + 3),
        ('r', Some('"' | '#')) => {
            let hashes = from(at + 1).iter().take_while(|c| **c == '#').count();
            let opening = at + 1 + hashes;
            // Hashes without a quote behind them make a raw identifier.
            (text.get(opening) == Some(&'"')).then(|| {
                let closing: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
                (find(text, opening + 1, &closing) + closing.len()).min(text.len())
            })
        }
        _ => None,
    }
}

fn find(text: &[char], from: usize, needle: &[char]) -> usize {
    let from = from.min(text.len());
    text[from..].windows(needle.len()).position(|window| window == needle).map_or(text.len(), |found| from + found)
}

fn end_of_quoted(text: &[char], from: usize, quote: char) -> usize {
    let mut at = from;
    while at < text.len() && text[at] != quote {
        at += if text[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(text.len())
}

fn end_of_block_comment(text: &[char], from: usize) -> usize {
    let (mut at, mut depth) = (from, 0);
    while at < text.len() {
        match (text[at], text.get(at + 1)) {
            ('/', Some('*')) => (at, depth) = (at + 2, depth + 1),
            ('*', Some('/')) => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// The modules under a `cfg` that holds in tests only; `any(test, …)` and `not(test)` hold elsewhere too.
fn test_modules(code: &str) -> Vec<TestModule> {
    let mut modules: Vec<TestModule> = Vec::new();
    for (start, _) in code.match_indices("#[cfg(") {
        let attribute = end_of_group(code, start + 1);
        let predicate = &code[start..attribute];
        let tests_only = word_positions(predicate, "test").next().is_some()
            && !predicate.contains("not(test)")
            && !predicate.contains("any(");
        let nested = modules.last().is_some_and(|module| module.range.contains(&start));
        if !tests_only || nested {
            continue;
        }
        let Some(keyword) = after_attributes_and_visibility(code, attribute) else {
            continue;
        };
        let Some(rest) = code[keyword..].strip_prefix("mod ") else {
            continue;
        };
        let name: String = rest.chars().take_while(|c| is_word(*c)).collect();
        let body = code[keyword..].find(['{', ';']).map_or(code.len(), |found| keyword + found);
        let inline = code[body..].starts_with('{');
        let end = if inline { end_of_group(code, body) } else { body };
        modules.push(TestModule { name, range: start..end, inline });
    }
    modules
}

/// Where the item begins that the attribute ending here belongs to.
fn after_attributes_and_visibility(code: &str, from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += code[at..].find(|c: char| !c.is_whitespace())?;
        let rest = &code[at..];
        if rest.starts_with("#[") {
            at = end_of_group(code, at + 1);
        } else if rest.starts_with("pub(") {
            at = end_of_group(code, at + "pub".len());
        } else if rest.starts_with("pub ") {
            at += "pub".len();
        } else {
            return Some(at);
        }
    }
}

/// The functions that have a body, nested ones too; a pointer type `fn(…)` has no name and is passed over.
fn functions(code: &str) -> Vec<Function> {
    let mut functions = Vec::new();
    for at in word_positions(code, "fn") {
        let name: String = code[at + "fn".len()..].trim_start().chars().take_while(|c| is_word(*c)).collect();
        let Some(body) = start_of_body(code, at) else { continue };
        if name.is_empty() {
            continue;
        }
        let line = code[..at].matches('\n').count() + 1;
        let lines = code[at..end_of_group(code, body)].matches('\n').count() + 1;
        functions.push(Function { name, line, lines });
    }
    functions
}

/// The brace that opens the body; none if the declaration ends without one.
fn start_of_body(code: &str, from: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (offset, c) in code[from..].char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth = depth.checked_sub(1)?,
            '{' if depth == 0 => return Some(from + offset),
            ';' | '}' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// Just behind the bracket that closes the one standing here; the end of the code if none does.
fn end_of_group(code: &str, opening: usize) -> usize {
    let mut depth = 0_usize;
    for (offset, c) in code[opening..].char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return opening + offset + c.len_utf8();
        }
    }
    code.len()
}

fn word_positions<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = code[..*at].chars().next_back();
        let after = code[*at + word.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

// ---- the tree

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn below(folder: &str, path: &str) -> String {
    if folder.is_empty() { path.to_owned() } else { format!("{folder}/{path}") }
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file of the checkout, from the root and in order; build output and hidden folders but `.ci` are left out.
fn paths() -> Vec<String> {
    let mut paths = Vec::new();
    walk(&root(), "", &mut paths);
    paths.sort();
    paths
}

fn walk(folder: &Path, prefix: &str, paths: &mut Vec<String>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let entry = entry.expect("a folder can be listed to its end");
        let name = entry.file_name().into_string().expect("file names are UTF-8");
        let path = below(prefix, &name);
        if name == ".git" {
            // A linked worktree has a file of that name, which holds a path of its machine by design.
            continue;
        }
        if !entry.path().is_dir() {
            paths.push(path);
        } else if name == ".ci" || (name != "target" && !name.starts_with('.')) {
            walk(&entry.path(), &path, paths);
        }
    }
}

fn rust_paths() -> Vec<String> {
    paths().into_iter().filter(|path| path.ends_with(".rs")).collect()
}

/// Applies a rule to every file under the crates' `src`; a crate without any is a violation of whatever is asked.
fn each_source(rule: impl Fn(&Source) -> Vec<String>) -> Vec<String> {
    let all = rust_paths();
    let mut violations = Vec::new();
    let mut sources = Vec::new();
    for layer in &LAYERS {
        let folder = below(layer.folder, "src/");
        let before = sources.len();
        let own = all.iter().filter(|path| path.starts_with(&folder));
        sources.extend(own.map(|path| Source::new(path, read(path))));
        if sources.len() == before {
            violations.push(format!("{folder}: no source file"));
        }
    }
    let test_files: Vec<String> = sources.iter().flat_map(Source::test_files).collect();
    for source in &mut sources {
        let stem = source.path.strip_suffix(".rs").unwrap_or(&source.path);
        source.test_only = test_files.iter().any(|file| stem == file || stem.starts_with(&format!("{file}/")));
    }
    violations.extend(sources.iter().flat_map(rule));
    violations
}

fn hold(rule: &str, violations: &[String]) {
    assert!(violations.is_empty(), "{rule}; {} violations:\n  {}", violations.len(), violations.join("\n  "));
}

// ---- planted violations

mod planted {
    use super::*;

    fn source(text: &str) -> Source {
        Source::new("runtime/src/planted.rs", text.to_owned())
    }

    /// A function of that many lines.
    fn function_of(lines: usize) -> String {
        format!("fn planted() {{\n{}}}\n", "    work();\n".repeat(lines - 2))
    }

    #[test]
    fn a_file_without_a_kind_is_found() {
        for text in ["", "//! Just a file.\n", "//! Pure:\n", "// Pure: not a doc.\n", "\n//! Pure: too late.\n"] {
            assert_eq!(kind_violations(&source(text)).len(), 1, "{text:?}");
        }
        for text in ["//! Pure: a table.\n", "//! Shared: a cell.\n", "//! Driver: a loop.\n"] {
            assert!(kind_violations(&source(text)).is_empty(), "{text:?}");
        }
    }

    #[test]
    fn a_dependency_on_a_crate_above_is_found() {
        let supervisor = &LAYERS[1];
        for manifest in [
            "[dependencies]\ncolloquium-dispatch.workspace = true",
            "[dev-dependencies]\ncolloquium-transport = { path = \"../transport\" }",
            "[target.'cfg(loom)'.dependencies]\nabove = { package = \"colloquium-dispatch\" }",
            "[dependencies.colloquium]\npath = \"..\"",
        ] {
            assert_eq!(layer_violations(supervisor, manifest).len(), 1, "{manifest}");
        }
        for manifest in [
            "[package]\nname = \"colloquium-supervisor\"\n[dependencies]\ncolloquium-runtime.workspace = true",
            "[dependencies]\n# colloquium-dispatch stands above\nslab = \"0.4\"",
            "[workspace.dependencies]\ncolloquium-dispatch = { path = \"dispatch\" }",
        ] {
            assert_eq!(layer_violations(supervisor, manifest), Vec::<String>::new(), "{manifest}");
        }
        assert_eq!(layer_violations(&LAYERS[0], "[dependencies]\ncolloquium-supervisor = \"1\"").len(), 1);
    }

    #[test]
    fn a_member_without_a_layer_is_found() {
        assert_eq!(members_without_layer("members = [\"runtime\",\n  \"stranger\"]").len(), 1);
        assert_eq!(members_without_layer("[workspace]").len(), 1);
        assert!(members_without_layer("members = [\"runtime\", \"dispatch\"]").is_empty());
    }

    #[test]
    fn an_impure_line_is_found() {
        for needle in IMPURE.into_iter().chain(["AtomicU64"]) {
            let text = format!("//! Pure: planted.\nfn f() {{ {needle} }}\n");
            assert_eq!(purity_violations(&source(&text)).len(), 1, "{needle}");
            let shared = text.replace("Pure", "Shared");
            assert!(purity_violations(&source(&shared)).is_empty(), "{needle}");
        }
    }

    #[test]
    fn purity_is_asked_of_code_outside_tests_only() {
        let text = "//! Pure: not a Mutex.\n/* Mutex /* RwLock */ Mutex */\nconst A: &str = \"Mutex\";\n\
                    const B: &str = r#\"a \" Mutex\"#;\nstruct Atomically;\n\
                    #[cfg(all(test, not(loom)))]\n#[allow(dead_code)]\npub(crate) mod tests {\n    use Mutex;\n}\n";
        assert_eq!(purity_violations(&source(text)), Vec::<String>::new());
        let behind = format!("{text}fn f() {{ Mutex }}\n");
        assert_eq!(purity_violations(&source(&behind)).len(), 1);
        for predicate in ["not(test)", "any(test, loom)", "loom", "feature = \"test\""] {
            let text = format!("//! Pure: planted.\n#[cfg({predicate})]\nmod m {{\n    use Mutex;\n}}\n");
            assert_eq!(purity_violations(&source(&text)).len(), 1, "{predicate}");
        }
    }

    #[test]
    fn a_long_file_is_found() {
        let tests = "#[cfg(test)]\nmod tests {\n    // Long.\n    fn f() {}\n}\n";
        let fits = format!("{}{tests}", "//! A line.\n".repeat(FILE_LINES));
        assert_eq!(source(&fits).lines_outside_tests(), FILE_LINES);
        assert!(length_violations(&source(&fits)).is_empty());
        assert_eq!(length_violations(&source(&format!("//! One more.\n{fits}"))).len(), 1);
        assert_eq!(length_violations(&source(&format!("{fits}fn behind() {{}}\n"))).len(), 1);
    }

    #[test]
    fn a_long_function_is_found() {
        assert!(length_violations(&source(&function_of(FUNCTION_LINES))).is_empty());
        let found = length_violations(&source(&format!("\n{}", function_of(FUNCTION_LINES + 1))));
        assert_eq!(found, ["runtime/src/planted.rs:2: fn planted has 71 lines, 70 allowed"]);
        let in_tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", function_of(FUNCTION_LINES + 1));
        assert!(length_violations(&source(&in_tests)).is_empty());
    }

    #[test]
    fn braces_in_literals_and_comments_do_not_count() {
        let text = "fn a<'x>(c: &'x u8) -> [u8; 2] {\n    let _ = ('{', '\\'', '\\u{7b}', b'{', \"{\\\"{\", r\"{\", br##\"{\"#{\"##);\n\
                    \x20   // {\n    /* { /* { */ */\n    let r#fn = 1;\n}\nfn b(f: fn(u8) -> u8);\nfn c() {}\n";
        let found: Vec<_> = functions(&blanked(text)).into_iter().map(|f| (f.name, f.line, f.lines)).collect();
        assert_eq!(found, [("a".to_owned(), 1, 6), ("c".to_owned(), 8, 1)]);
    }

    #[test]
    fn a_test_module_in_a_file_of_its_own_is_known() {
        let library = Source::new("runtime/src/lib.rs", "#[cfg(all(test, loom))]\nmod loom_models;\n".to_owned());
        assert_eq!(library.test_files(), ["runtime/src/loom_models"]);
        let module = Source::new("runtime/src/timer/wheel.rs", "#[cfg(test)] mod tests;\nmod real;\n".to_owned());
        assert_eq!(module.test_files(), ["runtime/src/timer/wheel/tests"]);
    }

    #[test]
    fn a_crate_that_allows_unsafe_code_is_found() {
        assert_eq!(unsafe_violations(&source("// #![forbid(unsafe_code)]\n#![deny(unsafe_code)]\n")).len(), 1);
        assert!(unsafe_violations(&source("//! Doc.\n#![forbid(unsafe_code)]\n")).is_empty());
    }

    #[test]
    fn a_path_that_does_not_exist_is_found() {
        let paths = ["runtime/src/timer/wheel.rs".to_owned(), "docs/decisions/0001-a.md".to_owned()];
        for document in ["`runtime/src/gone.rs`", "`gone/`", "`timer/{wheel,gone}.rs`", "`heel.rs`", "no path"] {
            assert_eq!(path_violations(document, &paths).len(), 1, "{document}");
        }
        for name in ["runtime/src/timer/wheel.rs", "timer/wheel.rs", "wheel.rs", "runtime/", "docs/decisions"] {
            let document = format!("```\n`gone/`\n```\n`{name}` and `Context::recv` and `cargo test`");
            assert_eq!(path_violations(&document, &paths), Vec::<String>::new(), "{document}");
        }
    }

    #[test]
    fn a_guarantee_without_its_test_is_found() {
        let text = "// fn commented() {}\nfn s_001_order() {}\nfn longer_name() {}\n".to_owned();
        let sources = [Source::new("tests/conformance_order.rs", text)];
        for reference in ["s_002_gone", "commented", "longer"] {
            let document = format!("`conformance_order::{reference}`");
            assert_eq!(guarantee_violations(&document, &sources).len(), 1, "{document}");
        }
        for document in ["`elsewhere::s_001_order`", "`ExitReason::Normal` and `Context::recv`"] {
            assert_eq!(guarantee_violations(document, &sources).len(), 1, "{document}");
        }
        for file in ["conformance_order", "tests/conformance_order.rs"] {
            let document = format!("`{file}::s_001_order` holds `Context::recv`");
            assert_eq!(guarantee_violations(&document, &sources), Vec::<String>::new(), "{document}");
        }
    }

    #[test]
    fn a_leftover_is_found() {
        for needle in LEFTOVERS {
            assert_eq!(leftover_violations("a.rs", &format!("fn f() {{}}\n// {needle}")).len(), 1, "{needle}");
        }
        assert!(leftover_violations("a.rs", "fn todo() {}\n").is_empty());
    }

    #[test]
    fn a_path_of_one_machine_is_found() {
        for folder in MACHINE_FOLDERS {
            for before in ["", "see ", "\"", "("] {
                let line = format!("{before}/{folder}/someone");
                assert_eq!(machine_path_violations("a.md", &line).len(), 1, "{line}");
            }
            let line = format!("https://example.org/{folder}/page and ./{folder}/page");
            assert!(machine_path_violations("a.md", &line).is_empty(), "{line}");
        }
    }

    #[test]
    fn a_sleeping_test_is_found() {
        for needle in SLEEPS {
            let body = format!("fn f() {{ std::{needle}(d) }}");
            let in_tests = format!("#[cfg(test)]\nmod tests {{\n{body}\n}}\n");
            assert_eq!(sleep_violations(&source(&in_tests)).len(), 1, "{needle}");
            assert!(sleep_violations(&source(&body)).is_empty(), "{needle}");
            let whole = Source { test_only: true, ..source(&body) };
            assert_eq!(sleep_violations(&whole).len(), 1, "{needle}");
            assert!(sleep_violations(&source(&in_tests.replace("std::", "// "))).is_empty(), "{needle}");
        }
    }
}
