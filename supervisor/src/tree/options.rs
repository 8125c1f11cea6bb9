//! Pure: what a look at a tree takes in, and how it is written.
use std::time::Duration;

/// What a look takes in ([`Tree::look`](crate::tree::Tree::look)).
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "options do nothing by themselves"]
pub struct Look {
    pub(crate) subtree: Option<String>,
    pub(crate) depth: usize,
    pub(crate) children: usize,
    pub(crate) occasion: Option<String>,
}

/// How a dump is written ([`SupervisionTree::text`](crate::SupervisionTree::text)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "options do nothing by themselves"]
pub struct Text {
    pub(crate) width: usize,
    pub(crate) ascii: bool,
    pub(crate) colours: bool,
}

/// Nodes in trouble that are shown below one node besides the first few.
pub(crate) const TROUBLED: usize = 50;
/// Troubles that are listed.
pub(crate) const ATTENTION: usize = 40;
/// Abnormal exits that are listed.
pub(crate) const EXITS: usize = 10;
/// How long a lock is waited for: longer than anybody holds one who is not stopped altogether.
pub(crate) const PATIENCE: Duration = Duration::from_millis(2);
/// How long the sections of other crates are waited for, altogether.
pub(crate) const SECTIONS: Duration = Duration::from_millis(200);
/// Characters of a reason that are kept.
pub(crate) const REASON: usize = 200;
/// Supervisors below supervisors, further than which none are followed: a tree as people build them has a few.
pub(crate) const DEPTH: usize = 64;

impl Default for Look {
    fn default() -> Self {
        Self { subtree: None, depth: DEPTH, children: 16, occasion: None }
    }
}

impl Look {
    /// Everything; of many like children of one node the first 16, and those in trouble.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only the node with this path, and what is below it: ids from the root down, with `/` between, as the list of what is
    /// wrong has them.
    pub fn subtree(mut self, path: impl Into<String>) -> Self {
        self.subtree = Some(path.into());
        self
    }

    /// Only so many levels below each root, the root itself being the first. What is wrong further below is listed all the
    /// same.
    pub fn depth(mut self, levels: usize) -> Self {
        self.depth = levels.min(DEPTH);
        self
    }

    /// So many of the children of one node one by one, besides those in trouble (50 at most); the others are summed up.
    pub fn children(mut self, most: usize) -> Self {
        self.children = most;
        self
    }

    /// Why it is taken, for the head of the dump.
    pub fn occasion(mut self, why: impl Into<String>) -> Self {
        self.occasion = Some(why.into());
        self
    }
}

impl Default for Text {
    fn default() -> Self {
        Self { width: 100, ascii: false, colours: false }
    }
}

impl Text {
    /// A hundred columns, with box characters, without colours.
    pub fn new() -> Self {
        Self::default()
    }

    /// So many columns; 40 at least.
    pub fn width(mut self, columns: usize) -> Self {
        self.width = columns.max(40);
        self
    }

    /// Nothing but ASCII.
    pub fn ascii(mut self) -> Self {
        self.ascii = true;
        self
    }

    /// With colours, as terminals know them.
    pub fn colours(mut self) -> Self {
        self.colours = true;
        self
    }
}
