//! Shared: dormant members of a children set that somebody else keeps, in berths of the process table's.
use colloquium_runtime::Pid;

/// Who keeps dormant members of a [`ChildrenSet`](crate::ChildrenSet) ([`ChildrenSet::set_roster`](crate::ChildrenSet::set_roster)):
/// such as begin and end with something that it has a record of anyway. A member that does not end dormant in its
/// [berth](colloquium_runtime::Berth) is still the roster's, until it leaves.
///
/// The set has no lock of its own while it asks, and these are to return at once.
pub trait Roster: Send + Sync + 'static {
    /// The set's holder is there, and members begin below it; or there is none, and none may begin.
    fn open(&self, holder: Option<Pid>);

    /// The members, in no order.
    fn pids(&self) -> Vec<Pid>;

    /// How many there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many have begun so far, and how many of them have ended abnormally.
    fn totals(&self) -> (u64, u64);

    /// A member is gone that was not in its berth any more; true if there is no holder, and no member left. For those that end in
    /// their berths the set is told likewise, by [`ChildrenSet::roster_emptied`](crate::ChildrenSet::roster_emptied).
    fn leave(&self, pid: Pid, abnormal: bool) -> bool;
}
