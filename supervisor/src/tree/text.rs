//! Pure: a dump as text: what it is, what is wrong, what has ended, and the tree.
use crate::tree::data::{
    Attention, Awaited, Doing, Exit, Mail, Next, Node, Restarts, Severity, Summary, SupervisionTree,
};
use crate::tree::format::{age, limit, number, period, time_of_day, timestamp};
use crate::tree::judge;
use crate::tree::options::Text;
use crate::tree::paint::{Page, Paint, columns, cut};
use crate::tree::word::State;
use std::collections::BTreeMap;
use std::fmt;

/// Widths of the columns beside the name's, which has [`NAME`] or what a narrow page leaves, and the last, which has the rest.
const PID: usize = 8;
const STATE: usize = 11;
const FOR: usize = 7;
const RESTARTS: usize = 10;
const MAIL: usize = 6;
const NAME: usize = 30;
/// On a page narrower than this, restarts and mail make room.
const ROOMY: usize = 80;
/// Lines that a trouble or an exit may take.
const LINES: usize = 4;

impl SupervisionTree {
    /// The dump as text.
    #[must_use]
    pub fn text(&self, options: &Text) -> String {
        let mut page = Page::new(options);
        self.head(&mut page);
        self.troubles(&mut page);
        self.endings(&mut page);
        page.row(&[("TREE", name_width(&page), Paint::Strong)], &titles(&page));
        for tree in self.trees.iter().chain(&self.unsupervised) {
            node(&mut page, tree, "", "");
        }
        if self.trees.is_empty() && self.unsupervised.is_none() {
            page.line(" (nothing)");
        }
        page.into_text()
    }

    fn head(&self, page: &mut Page) {
        let runtime = &self.runtime;
        let (up, at) = (age(runtime.up_ms), timestamp(self.at_ms));
        let took = match self.took_us {
            us if us < 1000 => format!("{us} µs"),
            us => format!("{} ms", us / 1000),
        };
        let (version, name, pid) = (&self.version, &runtime.name, self.os_pid);
        if let Some(occasion) = &self.occasion {
            page.wrapped("", &[(&format!("taken because {occasion}"), Paint::Bad)], LINES);
        }
        page.wrapped(
            "",
            &[
                (&format!("colloquium {version}  {name}"), Paint::Strong),
                (&format!("  os pid {pid}  up {up}  {at}  (sampled over {took})"), Paint::Plain),
            ],
            LINES,
        );
        let idle = runtime.workers.saturating_sub(runtime.busy);
        let busy = runtime.busy.saturating_sub(runtime.stalled);
        let spares = if runtime.spares > 0 { format!(", {} spare", runtime.spares) } else { String::new() };
        let stalled = if runtime.stalled > 0 { Paint::Bad } else { Paint::Plain };
        page.wrapped(
            "",
            &[
                (&format!("workers {}: {busy} busy, {idle} idle, ", runtime.workers), Paint::Plain),
                (&format!("{} stalled", runtime.stalled), stalled),
                (&spares, stalled),
                (
                    &format!(
                        "; run queue {}; blocking {}/{}, queue {}; processes {} of {}",
                        number(runtime.run_queue as u64),
                        runtime.blocking,
                        runtime.blocking_threads,
                        number(runtime.blocking_queue as u64),
                        number(runtime.processes as u64),
                        limit(runtime.process_limit as u64),
                    ),
                    Paint::Plain,
                ),
            ],
            LINES,
        );
    }

    fn troubles(&self, page: &mut Page) {
        let all = self.attention.len() + self.attention_more;
        if all == 0 {
            return page.painted("ATTENTION: nothing", Paint::Good);
        }
        page.painted(&format!("ATTENTION ({})", number(all as u64)), Paint::Bad);
        for attention in &self.attention {
            trouble(page, attention);
        }
        if self.attention_more > 0 {
            page.line(&format!(" … {} more", number(self.attention_more as u64)));
        }
    }

    fn endings(&self, page: &mut Page) {
        let exits = &self.exits;
        if exits.total == 0 {
            return;
        }
        let (shown, total, hour) = (exits.last.len(), number(exits.total), number(exits.last_hour as u64));
        page.painted(&format!("ABNORMAL EXITS (last {shown} of {total}; {hour} in this hour)"), Paint::Strong);
        exits.last.iter().for_each(|exit| ending(page, exit));
    }
}

impl fmt::Display for SupervisionTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(&Text::new()))
    }
}

fn trouble(page: &mut Page, attention: &Attention) {
    let (mark, paint) = match attention.severity {
        Severity::Error => (" ✖ ", Paint::Bad),
        Severity::Warning => (" ! ", Paint::Doubtful),
    };
    let since = attention.for_ms.map(|for_ms| format!(" {}", age(for_ms))).unwrap_or_default();
    let pid = attention.pid.as_ref().map(|pid| format!(" ({pid})")).unwrap_or_default();
    let state = format!("  {}{since}", attention.state.word().to_uppercase());
    let text = format!("  {}", attention.text);
    let path = format!("{mark}{}{pid}", attention.path);
    page.wrapped("      ", &[(&path, Paint::Strong), (&state, paint), (&text, Paint::Plain)], LINES);
}

fn ending(page: &mut Page, exit: &Exit) {
    let (at, lived) = (time_of_day(exit.at_ms), age(exit.lived_ms));
    let note = exit.note.as_ref().map(|note| format!("  {note}")).unwrap_or_default();
    let text = format!("  {}{note}  up {lived}", judge::reason(&exit.reason));
    let path = if exit.path == exit.pid { exit.path.clone() } else { format!("{} ({})", exit.path, exit.pid) };
    page.wrapped(
        "      ",
        &[(&format!(" {at}  "), Paint::Plain), (&path, Paint::Strong), (&text, Paint::Plain)],
        LINES,
    );
}

fn name_width(page: &Page) -> usize {
    let others = widths(page).iter().sum::<usize>();
    // What the process does has a fifth of the page at least, on a narrow one.
    NAME.min((page.width() - page.width() / 5).saturating_sub(others)).max(12)
}

fn widths(page: &Page) -> Vec<usize> {
    if page.width() >= ROOMY { vec![PID, STATE, FOR, RESTARTS, MAIL] } else { vec![PID, STATE, FOR] }
}

fn titles(page: &Page) -> Vec<(String, Paint)> {
    let roomy = page.width() >= ROOMY;
    let titles: &[&str] =
        if roomy { &["pid", "state", "for", "restarts", "mail", "doing"] } else { &["pid", "state", "for", "doing"] };
    titles.iter().map(|title| ((*title).to_owned(), Paint::Faint)).collect()
}

impl Page {
    /// A line of the tree: what comes first, then the columns.
    fn row(&mut self, first: &[(&str, usize, Paint)], cells: &[(String, Paint)]) {
        let widths = widths(self);
        for (text, width, paint) in first {
            self.cell(text, *width, *paint);
        }
        for (at, (text, paint)) in cells.iter().enumerate() {
            self.at_least_a_gap();
            match widths.get(at) {
                Some(width) => self.cell(text, *width, *paint),
                None => self.rest(text, *paint),
            }
        }
        self.end();
    }
}

fn node(page: &mut Page, shown: &Node, branch: &str, below: &str) {
    let width = name_width(page);
    let kind = shown.kind.as_ref().map(|kind| format!("  {kind}")).unwrap_or_default();
    let branch = cut(branch, width / 2);
    let id = cut(&shown.id, width.saturating_sub(columns(&branch) + 1));
    let left = width.saturating_sub(columns(&branch) + columns(&id));
    let kind = cut(&kind, left.saturating_sub(1));
    let first = [
        (branch.as_str(), columns(&branch), Paint::Faint),
        (id.as_str(), columns(&id), Paint::Plain),
        (kind.as_str(), left, Paint::Faint),
    ];
    let cells = cells(page, shown);
    page.row(&first, &cells);
    let mut rest = shown.children.len() + usize::from(shown.more.is_some());
    for child in &shown.children {
        rest -= 1;
        let (branch, deeper) = if rest > 0 { ("├─ ", "│  ") } else { ("└─ ", "   ") };
        node(page, child, &format!("{below}{branch}"), &format!("{below}{deeper}"));
    }
    if let Some(more) = &shown.more {
        let text = summary(more, shown.children.is_empty());
        page.wrapped(&format!("{below}     "), &[(&format!("{below}└─ "), Paint::Faint), (&text, Paint::Plain)], LINES);
    }
}

fn cells(page: &Page, shown: &Node) -> Vec<(String, Paint)> {
    let dash = || "-".to_owned();
    let (state, paint) = match shown.state {
        Some(state) if state.is_trouble() => (state.word().to_uppercase(), of(state)),
        Some(state) => (state.word().to_owned(), of(state)),
        None => (String::new(), Paint::Plain),
    };
    let stated = shown.state.is_some();
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| if stated { dash() } else { String::new() });
    let mut cells = vec![
        (or_dash(shown.pid.clone()), Paint::Plain),
        (state, paint),
        (or_dash(shown.for_ms.map(age)), Paint::Plain),
    ];
    if page.width() >= ROOMY {
        cells.push((or_dash(shown.restarts.as_ref().map(restarts)), Paint::Plain));
        cells.push((or_dash(shown.mail.map(|mail| compact(mail.held))), Paint::Plain));
    }
    cells.push((doing(page, shown), Paint::Plain));
    cells
}

fn doing(page: &Page, shown: &Node) -> String {
    let mut parts = Vec::new();
    parts.extend(shown.next.map(next));
    parts.extend(shown.mail.and_then(oldest));
    parts.extend(shown.note.clone());
    parts.extend(shown.doing.as_ref().and_then(|doing| doing_text(doing, shown)));
    if page.width() < ROOMY {
        parts.extend(shown.mail.filter(|mail| mail.held > 0).map(|mail| format!("mail {}", compact(mail.held))));
    }
    parts.extend(shown.mail.and_then(dropped));
    if shown.state.is_some_and(|state| matches!(state, State::Stopped | State::Failed | State::Restarting)) {
        parts.extend(shown.last_exit.as_ref().map(judge::reason));
    }
    parts.join(", ")
}

fn doing_text(doing: &Doing, shown: &Node) -> Option<String> {
    match doing {
        // A node that has none says so by having none.
        Doing::Supervises(children) if children.is_empty() => None,
        Doing::Supervises(children) => Some(states(children)),
        // A poll that is worth telling is told as the node's state, with its age.
        Doing::Polled { .. } => None,
        Doing::Calls(pid) => Some(format!("calls {pid}")),
        Doing::Awaits(what) => Some(
            match what {
                Awaited::Answer => "awaits an answer",
                Awaited::Room => "awaits room in a mailbox",
                Awaited::End => "awaits an end",
                Awaited::Time => "sleeps",
                Awaited::Io => "awaits a socket",
                Awaited::Other => "awaits something foreign",
            }
            .to_owned(),
        ),
        Doing::Blocking { for_ms } if shown.for_ms == Some(*for_ms) => Some("blocking pool".to_owned()),
        Doing::Blocking { for_ms } => Some(format!("blocking pool {}", age(*for_ms))),
    }
}

fn next(next: Next) -> String {
    match next {
        Next::Start { in_ms } => format!("start in {}", age(in_ms)),
        Next::Kill { in_ms } => format!("kill in {}", age(in_ms)),
        Next::GiveUp { in_ms } => format!("wedged in {}", age(in_ms)),
    }
}

/// Of the mailbox, if that is worth a word: messages wait a moment in ordinary life.
fn oldest(mail: Mail) -> Option<String> {
    judge::is_old(mail.oldest_ms).map(|oldest| format!("oldest mail {}", age(oldest)))
}

fn dropped(mail: Mail) -> Option<String> {
    (mail.dropped > 0).then(|| format!("{} dropped", number(mail.dropped)))
}

fn restarts(restarts: &Restarts) -> String {
    match restarts {
        Restarts::Window { used, limit, period_ms } => {
            let text = format!("{used}/{limit} in {}", period(*period_ms));
            // The column is narrow, and a large limit says little.
            if columns(&text) < RESTARTS { text } else { format!("{used}/{}", compact(*limit)) }
        }
        // One that is never given up.
        Restarts::Unhealthy { starts, give_up_after: u32::MAX } => starts.to_string(),
        Restarts::Unhealthy { starts, give_up_after } => format!("{starts} of {give_up_after}"),
        Restarts::Times(times) => compact(usize::try_from(*times).unwrap_or(usize::MAX)),
        Restarts::Other(text) => text.clone(),
    }
}

/// A number in six characters at most.
fn compact(n: usize) -> String {
    match n {
        0..1_000_000 => number(n as u64).replace(' ', ""),
        1_000_000..1_000_000_000 => format!("{}M", n / 1_000_000),
        _ => "many".to_owned(),
    }
}

fn states(states: &BTreeMap<State, usize>) -> String {
    let text: Vec<String> = states.iter().map(|(state, count)| format!("{} {state}", number(*count as u64))).collect();
    text.join(" ")
}

fn summary(more: &Summary, alone: bool) -> String {
    let mut text = format!("… {}{}", number(more.count as u64), if alone { "" } else { " more" });
    if !more.states.is_empty() {
        text += &format!(": {}", states(&more.states));
    }
    if more.mail > 0 {
        text += &format!("; {} messages", number(more.mail as u64));
        if let Some(oldest) = judge::is_old(more.oldest_mail_ms) {
            text += &format!(", oldest {}", age(oldest));
        }
    }
    if more.oldest_ms > 0 {
        text += &format!("; longest {}", age(more.oldest_ms));
    }
    if let Some(note) = &more.note {
        text += &format!("; {note}");
    }
    text
}

fn of(state: State) -> Paint {
    match state {
        State::Stuck | State::Wedged | State::Failed | State::BackOff => Paint::Bad,
        State::Overloaded | State::Unread | State::Starting | State::Restarting | State::Draining => Paint::Doubtful,
        State::Stopped => Paint::Faint,
        _ => Paint::Good,
    }
}
