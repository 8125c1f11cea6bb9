//! Shared: sending in a simulation: each send is noted, and some are held back for a while.
//!
//! A signal that is held back stands with its receiver, in a queue for its sender, under the control lock; the simulation
//! knows which queues there are. While a queue holds something, everything more from that sender joins it, so that signals of
//! a pair keep their order. What was accepted has its place: it is let in however full the mailbox has become meanwhile.
use crate::pid::Pid;
use crate::process::control::{Control, Core, apply_exit};
use crate::process::ending::drop_caught;
use crate::process::send::{Refusal, Senders};
use crate::scheduler::worker::Local;
use crate::signal::Exit;
use std::collections::VecDeque;

/// What is held back of what was sent to a process.
pub(super) struct Attended<M> {
    queues: Vec<(Pid, VecDeque<Held<M>>)>,
}

enum Held<M> {
    Message(M),
    Exit(Exit),
}

impl<M> Attended<M> {
    fn queue(&mut self, from: Pid) -> Option<&mut VecDeque<Held<M>>> {
        self.queues.iter_mut().find(|(sender, _)| *sender == from).map(|(_, queue)| queue)
    }

    /// Takes the oldest of a sender's; with it, whether there are more.
    fn take(&mut self, from: Pid) -> Option<(Held<M>, bool)> {
        let at = self.queues.iter().position(|(sender, _)| *sender == from)?;
        let held = self.queues[at].1.pop_front()?;
        let more = !self.queues[at].1.is_empty();
        if !more {
            self.queues.remove(at);
        }
        Some((held, more))
    }
}

impl<M: Send + 'static> Control<M> {
    /// From now on, sends to this process are attended to.
    pub(super) fn attend(&self) {
        let attended = Box::new(Attended { queues: Vec::new() });
        self.inner.lock().senders = Some(Box::new(Senders::new(Some(attended))));
    }

    /// The sender whose signal to this process is to be held back, if it is.
    fn held_back_sender(&self, accepted: bool) -> Option<Pid> {
        let from = Local::current().filter(|from| *from != self.head.pid)?;
        let simulator = self.head.home.shared.scheduler.simulator.as_ref()?;
        let queued = self.inner.lock().attended()?.queue(from).is_some();
        if queued {
            return Some(from);
        }
        let process = self.head.home.shared.table.get(self.head.pid).filter(|_| accepted)?;
        simulator.hold_back(from, &process).then_some(from)
    }

    /// Puts a message into the mailbox, or among those that are held back.
    #[cold]
    pub(super) fn push_attended(&self, message: M, note: impl FnOnce(&mut Core)) -> Result<(), (Refusal, M)> {
        let mut inner = self.inner.lock();
        if !inner.nobody_waits() {
            let wakers = inner.admit(&self.head);
            drop(inner);
            wakers.into_iter().for_each(std::task::Waker::wake);
            inner = self.inner.lock();
        }
        let dead = inner.core.fate.is_some();
        let behind = !inner.nobody_waits();
        let accepted = !dead && !behind && inner.room(&self.head);
        drop(inner);
        let pushed = if !dead && behind {
            Err((Refusal::Full, message))
        } else if accepted && let Some(from) = self.held_back_sender(accepted) {
            // Who waits for the answer is told of the process's end from now on.
            note(&mut self.inner.lock().core);
            self.hold(from, Held::Message(message));
            return Ok(());
        } else {
            self.push_now(self.inner.lock(), message, note)
        };
        if let Some(simulator) = &self.head.home.shared.scheduler.simulator {
            simulator.sent(&self.head, pushed.is_ok());
        }
        pushed
    }

    fn hold(&self, from: Pid, held: Held<M>) {
        let mut inner = self.inner.lock();
        let Some(attended) = inner.attended() else { return };
        match attended.queue(from) {
            Some(queue) => queue.push_back(held),
            None => attended.queues.push((from, VecDeque::from([held]))),
        }
    }

    /// Holds an exit signal that a process sends by a call of `exit` back, or gives it back. One that a link carries is sent
    /// at the end of its process, when nothing of that is held back any more.
    pub(super) fn hold_exit_back(&self, exit: Exit) -> Option<Exit> {
        if exit.by_link || exit.from.is_none() || exit.from != Local::current() {
            return Some(exit);
        }
        match self.held_back_sender(self.head.is_alive()) {
            Some(from) => self.hold(from, Held::Exit(exit)),
            None => return Some(exit),
        }
        None
    }

    /// Lets the oldest of what is held back of this sender arrive; true if there is more.
    pub(super) fn arrive(&self, from: Pid) -> bool {
        let taken = self.inner.lock().attended().and_then(|attended| attended.take(from));
        let Some((held, more)) = taken else { return false };
        match held {
            Held::Message(message) => self.let_in(message),
            Held::Exit(exit) => {
                if let Some(process) = self.head.home.shared.table.get(self.head.pid) {
                    apply_exit(&process, exit);
                } else {
                    drop_caught(exit);
                }
            }
        }
        more
    }

    fn let_in(&self, message: M) {
        let mut inner = self.inner.lock();
        if inner.core.fate.is_some() {
            drop(inner);
            return drop_caught(message);
        }
        let waker = inner.take_in(&self.head, message);
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<M> crate::process::control::Inner<M> {
    fn attended(&mut self) -> Option<&mut Attended<M>> {
        self.senders.as_mut()?.attended.as_deref_mut()
    }
}
