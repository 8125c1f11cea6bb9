//! Shared: a section as a tree or a supervisor has it, and whether it is being asked: by one dump at a time, whoever sets the flag.
use crate::tree::section::Section;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A section that is shown with whatever is shown of a supervisor ([`SupervisorRef::add_section`]), until this is dropped.
///
/// [`SupervisorRef::add_section`]: crate::SupervisorRef::add_section
#[derive(Debug)]
#[must_use = "dropped, the section is shown no longer"]
pub struct Attached {
    _slot: Arc<Slot>,
}

impl Attached {
    pub(crate) fn new(slot: Arc<Slot>) -> Self {
        Self { _slot: slot }
    }
}

/// A section, as a tree has it.
pub(crate) struct Slot {
    pub(crate) section: Box<dyn Section>,
    /// It was asked and has not come back.
    pub(crate) asked: AtomicBool,
}

impl Slot {
    pub(crate) fn new(section: impl Section) -> Arc<Self> {
        Arc::new(Self { section: Box::new(section), asked: AtomicBool::new(false) })
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slot({})", self.section.name())
    }
}
