//! Driver: whom an operation is for: an address, a pid, or a name.
use crate::pid::Pid;
use crate::process::address::Address;
use crate::process::control::AnyProcess;
use crate::scheduler::Home;
use std::sync::Arc;

/// Whom a link, monitor or exit signal is for: an [`Address`], a [`Pid`], or a registered name (`&str`, `Arc<str>`).
///
/// A pid or name is looked up when the operation is carried out; an address needs no look-up.
pub trait Target: sealed::Sealed {
    /// The process; the pid, where one is known, if there is no such process.
    #[doc(hidden)]
    fn find(&self, seeker: &Seeker<'_>) -> Found;

    /// The name, if it is one.
    #[doc(hidden)]
    fn name(&self) -> Option<Arc<str>> {
        None
    }
}

/// Where to look; opaque to users.
#[doc(hidden)]
pub struct Seeker<'a>(pub(crate) &'a Home);

/// What was found; opaque to users.
#[doc(hidden)]
pub struct Found(pub(crate) Result<AnyProcess, Option<Pid>>);

mod sealed {
    pub trait Sealed {}
}

/// Looks a target up.
pub(crate) fn find(target: &impl Target, home: &Home) -> Result<AnyProcess, Option<Pid>> {
    home.shared.settle();
    target.find(&Seeker(home)).0
}

impl<M> sealed::Sealed for Address<M> {}
impl<M: Send + 'static> Target for Address<M> {
    fn find(&self, _: &Seeker<'_>) -> Found {
        Found(Ok(self.control.clone()))
    }
}

impl sealed::Sealed for Pid {}
impl Target for Pid {
    fn find(&self, seeker: &Seeker<'_>) -> Found {
        Found(seeker.0.shared.table.get(*self).ok_or(Some(*self)))
    }
}

impl sealed::Sealed for str {}
impl Target for str {
    fn find(&self, seeker: &Seeker<'_>) -> Found {
        Found(seeker.0.shared.registry.find(self).ok_or(None))
    }

    fn name(&self) -> Option<Arc<str>> {
        Some(self.into())
    }
}

impl sealed::Sealed for Arc<str> {}
impl Target for Arc<str> {
    fn find(&self, seeker: &Seeker<'_>) -> Found {
        Target::find(&**self, seeker)
    }

    fn name(&self) -> Option<Arc<str>> {
        Some(Arc::clone(self))
    }
}

impl<T: sealed::Sealed + ?Sized> sealed::Sealed for &T {}
impl<T: Target + ?Sized> Target for &T {
    fn find(&self, seeker: &Seeker<'_>) -> Found {
        (**self).find(seeker)
    }

    fn name(&self) -> Option<Arc<str>> {
        (**self).name()
    }
}
