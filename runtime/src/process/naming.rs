//! Driver: what processes are called for people that have no label of their own: what their parent calls them.
//!
//! A supervisor knows what each of its children is called. Were that put down with each child it would cost memory in all of
//! them; so the parent is asked, when it matters: at an abnormal end, or when somebody looks at the process.
use crate::pid::Pid;
use crate::process::context::Context;
use crate::process::control::Head;
use crate::process::ending::{caught, drop_caught};
use std::sync::Arc;

/// What a parent calls one of its children.
pub(crate) type Namer = Arc<dyn Fn(Pid) -> Option<Arc<str>> + Send + Sync>;

impl<M: Send + 'static> Context<M> {
    /// Says how to find out what the processes are called that this one spawns: they are labelled so for people, unless they
    /// have labels of their own or names.
    ///
    /// `name` is called by whoever looks at one of them and, at its abnormal end, by its own worker, for as long as this
    /// process lives. It is to give an answer at once and without waiting for anybody. If it panics, there is no label.
    pub fn name_children(&mut self, name: impl Fn(Pid) -> Option<Arc<str>> + Send + Sync + 'static) {
        let name: Namer = Arc::new(name);
        let old = self.control.inner.lock().core.extra().namer.replace(name);
        drop_caught(old);
    }
}

/// What its parent calls a process. Not to be called under a lock.
pub(crate) fn named_by_parent(head: &Head) -> Option<Arc<str>> {
    let parent = Pid::from_word(head.parent, head.pid.runtime())?;
    let parent = head.home.shared.table.get(parent)?;
    let namer = parent.core().extra.as_ref()?.namer.clone()?;
    let mut name = None;
    caught(|| name = namer(head.pid));
    drop_caught(namer);
    name
}
