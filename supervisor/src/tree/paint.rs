//! Pure: a page of text: cells and lines that keep to its width, whatever names and reasons contain.
use crate::tree::options::Text;

/// How a piece of text is set off on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    Plain,
    Strong,
    Faint,
    Good,
    Doubtful,
    Bad,
}

impl Paint {
    fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Strong => Some("1"),
            Self::Faint => Some("2"),
            Self::Good => Some("32"),
            Self::Doubtful => Some("33"),
            Self::Bad => Some("1;31"),
        }
    }
}

pub(crate) struct Page {
    options: Text,
    text: String,
    /// Columns of the line that is written.
    at: usize,
    /// Gaps that are written if something comes after them.
    gap: usize,
    /// Where the next cell begins.
    stop: usize,
}

impl Page {
    pub(crate) fn new(options: &Text) -> Self {
        Self { options: *options, text: String::new(), at: 0, gap: 0, stop: 0 }
    }

    pub(crate) fn width(&self) -> usize {
        self.options.width
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }

    pub(crate) fn line(&mut self, text: &str) {
        self.painted(text, Paint::Plain);
    }

    pub(crate) fn painted(&mut self, text: &str, paint: Paint) {
        self.rest(text, paint);
        self.end();
    }

    /// A cell of this width. What is longer takes room from
    /// the cells after it: half a pid would be worse than a line out of step.
    pub(crate) fn cell(&mut self, text: &str, width: usize, paint: Paint) {
        let text = cut(text, self.width().saturating_sub(self.at + self.gap));
        self.stop += width;
        self.put(&text, paint);
        self.gap = self.stop.saturating_sub(self.at);
    }

    pub(crate) fn at_least_a_gap(&mut self) {
        self.gap = self.gap.max(1);
    }

    /// What is left of the line.
    pub(crate) fn rest(&mut self, text: &str, paint: Paint) {
        let text = cut(text, self.width().saturating_sub(self.at + self.gap));
        self.put(&text, paint);
    }

    pub(crate) fn end(&mut self) {
        self.text.push('\n');
        (self.at, self.gap, self.stop) = (0, 0, 0);
    }

    /// Pieces one after the other, on so many lines at most, the others indented.
    pub(crate) fn wrapped(&mut self, indent: &str, pieces: &[(&str, Paint)], lines: usize) {
        let mut left = lines.saturating_sub(1);
        for (piece, paint) in pieces {
            let piece = clean(piece);
            for word in piece.split_inclusive(' ') {
                let room = self.width().saturating_sub(self.at + self.gap);
                if columns(word.trim_end()) > room && left > 0 && self.at > columns(indent) {
                    left -= 1;
                    self.end();
                    self.put(indent, Paint::Faint);
                    if self.width().saturating_sub(self.at) < columns(word.trim_end()) {
                        self.long_word(indent, word, *paint, &mut left);
                        continue;
                    }
                }
                if left == 0 || columns(word.trim_end()) <= self.width().saturating_sub(self.at + self.gap) {
                    self.word(word, *paint);
                } else {
                    self.long_word(indent, word, *paint, &mut left);
                }
            }
        }
        self.end();
    }

    /// Gaps are put off, so that no line ends in one.
    fn word(&mut self, word: &str, paint: Paint) {
        let bare = word.trim_end();
        let bare = cut(bare, self.width().saturating_sub(self.at + self.gap));
        self.put(&bare, paint);
        self.gap += columns(word) - columns(word.trim_end());
    }

    fn long_word(&mut self, indent: &str, word: &str, paint: Paint, left: &mut usize) {
        let mut rest = word;
        while *left > 0 {
            let room = self.width().saturating_sub(self.at + self.gap);
            let end = end_of(rest, room);
            if end == rest.len() {
                break;
            }
            self.put(&rest[..end], paint);
            rest = &rest[end..];
            *left -= 1;
            self.end();
            self.put(indent, Paint::Faint);
        }
        self.word(rest, paint);
    }

    fn put(&mut self, text: &str, paint: Paint) {
        if text.is_empty() {
            return;
        }
        self.at += self.gap + columns(text);
        (0..std::mem::take(&mut self.gap)).for_each(|_| self.text.push(' '));
        let code = paint.code().filter(|_| self.options.colours);
        if let Some(code) = code {
            self.text.push_str(&format!("\x1b[{code}m"));
        }
        for c in text.chars() {
            self.text.push(if self.options.ascii { plain(c) } else { c });
        }
        if code.is_some() {
            self.text.push_str("\x1b[0m");
        }
    }
}

/// Each character by one, so that the widths stay.
fn plain(c: char) -> char {
    match c {
        '✖' => 'X',
        '├' => '+',
        '└' => '`',
        '─' => '-',
        '│' => '|',
        '…' => '~',
        'µ' => 'u',
        '–' => '-',
        c if c.is_ascii() => c,
        _ => '?',
    }
}

/// What comes from users may hold anything: nothing of it is to move the cursor or break the line.
fn clean(text: &str) -> String {
    text.chars().map(visible).collect()
}

fn visible(c: char) -> char {
    // Control characters, and those that change the direction or the width of what comes after them.
    let hidden = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    if c.is_control() || hidden { ' ' } else { c }
}

/// The text, made visible, in so many columns at most.
pub(crate) fn cut(text: &str, width: usize) -> String {
    let text = clean(text);
    if columns(&text) <= width {
        return text;
    }
    let end = end_of(&text, width.saturating_sub(1));
    if width == 0 { String::new() } else { format!("{}…", &text[..end]) }
}

/// How much of a text fits.
fn end_of(text: &str, width: usize) -> usize {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += column(c);
        if used > width {
            return at;
        }
    }
    text.len()
}

/// How many columns a terminal gives it.
pub(crate) fn columns(text: &str) -> usize {
    text.chars().map(column).sum()
}

/// Scripts of East Asia and pictures take two. (What combines with the letter before it is counted as one: lines get shorter
/// by that, never longer.)
fn column(c: char) -> usize {
    let wide = matches!(
        c,
        '\u{1100}'..='\u{115f}'
            | '\u{2e80}'..='\u{a4cf}'
            | '\u{ac00}'..='\u{d7a3}'
            | '\u{f900}'..='\u{faff}'
            | '\u{fe30}'..='\u{fe6f}'
            | '\u{ff00}'..='\u{ff60}'
            | '\u{ffe0}'..='\u{ffe6}'
            | '\u{1f300}'..='\u{1faff}'
            | '\u{20000}'..='\u{3fffd}'
    );
    if wide { 2 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_users_say_moves_no_cursor_and_breaks_no_line() {
        let mut page = Page::new(&Text::new().width(40));
        page.wrapped("  ", &[("a\x1b[2Jb\nc\u{202e}d", Paint::Plain)], 2);
        assert_eq!(page.into_text(), "a [2Jb c d\n");
        assert_eq!(cut("eins\tzwei", 6), "eins …");
        assert_eq!(cut("日本語", 5), "日本…");
    }

    #[test]
    fn long_text_goes_on_below_and_is_cut_in_the_end() {
        let mut page = Page::new(&Text::new().width(40));
        let text = "word ".repeat(30);
        page.wrapped("   ", &[("first ", Paint::Plain), (&text, Paint::Plain)], 3);
        let text = page.into_text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].starts_with("first word") && lines[1].starts_with("   word"), "{text}");
    }

    proptest! {
        #[test]
        fn no_line_is_longer_than_the_page(
            pieces in prop::collection::vec(".{0,120}", 0..4), width in 40usize..120, lines in 1usize..5,
        ) {
            let mut page = Page::new(&Text::new().width(width));
            let pieces: Vec<(&str, Paint)> = pieces.iter().map(|piece| (piece.as_str(), Paint::Bad)).collect();
            page.wrapped("   ", &pieces, lines);
            let text = page.into_text();
            prop_assert!(text.lines().count() <= lines);
            for line in text.lines() {
                prop_assert!(columns(line) <= width, "{line:?}");
            }
        }
    }
}
