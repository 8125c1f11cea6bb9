//! Pure: what a supervisor does by hand: OTP's calls, with an answer for every state that a child can be in.
use crate::children::{Key, Rest, Standing, Turn};
use crate::event::{Action, Answer, Place, Refusal, Request, Ticket, Who};
use crate::operation::{Operation, Purpose, nobody, only};
use crate::spec::Kept;
use crate::state::Machine;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

impl<P: Copy + Eq + Hash> Machine<P> {
    pub(crate) fn request(&mut self, ticket: Ticket, request: Request<P>, now: Duration) {
        match request {
            Request::Add(id, settings) => self.add_by_hand(ticket, id, settings, now),
            Request::Look => self.answer(ticket, Answer::Done),
            Request::Terminate(who) => self.with(ticket, &who, |machine, key| machine.terminate(ticket, key, now)),
            Request::Restart(who) => self.with(ticket, &who, |machine, key| machine.restart_by_hand(ticket, key)),
            Request::Delete(who) => self.with(ticket, &who, |machine, key| machine.delete(ticket, key)),
        }
    }

    fn with(&mut self, ticket: Ticket, who: &Who<P>, act: impl FnOnce(&mut Self, Key)) {
        let key = match who {
            Who::Id(id) => self.children.key_named(id),
            Who::Process(process) => self.children.key_of(*process),
        };
        match key {
            Some(key) => act(self, key),
            None => self.refuse(ticket, Refusal::NotFound),
        }
    }

    fn add_by_hand(&mut self, ticket: Ticket, id: Option<Arc<str>>, settings: Kept, now: Duration) {
        if let Some(key) = id.as_deref().and_then(|id| self.children.key_named(id)) {
            let process = self.children.get(key).and_then(|child| child.standing.process());
            return self.refuse(ticket, process.map_or(Refusal::AlreadyPresent, Refusal::AlreadyStarted));
        }
        if let Some(most) = self.flags.dynamic.filter(|most| self.children.len() >= *most) {
            return self.refuse(ticket, Refusal::Full(most));
        }
        match self.add(id, settings, now) {
            Ok(child) => {
                self.actions.push_back(Action::Adopt(ticket, child));
                let purpose = Purpose::Add { child, asked: ticket };
                self.operation = Some(Operation::new(purpose, nobody(), only(child)));
            }
            Err(error) => self.refuse(ticket, Refusal::Spec(error)),
        }
    }

    /// Stops a child, and nothing follows from that: no restart, no shutdown of the supervisor.
    fn terminate(&mut self, ticket: Ticket, key: Key, now: Duration) {
        let Some(child) = self.children.get(key) else { return };
        if child.standing.process().is_some() {
            self.operation = Some(Operation::new(Purpose::Terminate { asked: ticket }, only(key), nobody()));
            return;
        }
        if child.is_temporary() {
            self.remove(key);
        } else if !matches!(child.standing, Standing::Stopped(_)) {
            self.set(key, Standing::Stopped(Rest::ByHand), now);
            self.show(key, Place::Stopped);
        }
        self.answer(ticket, Answer::Done);
    }

    /// Starts a stopped child, without counting that; one that backs off need not wait any longer, nor its group.
    fn restart_by_hand(&mut self, ticket: Ticket, key: Key) {
        let Some(child) = self.children.get(key) else { return };
        match child.standing {
            Standing::Stopped(_) => {
                let purpose = Purpose::Revive { child: key, asked: ticket };
                self.operation = Some(Operation::new(purpose, nobody(), only(key)));
            }
            Standing::Again(Turn::At(_)) => self.begin_restart(key, None, Some(ticket)),
            Standing::Again(Turn::Message(_)) | Standing::Fallen(_) => self.refuse(ticket, Refusal::Restarting),
            Standing::Up(_) | Standing::Starting(_) | Standing::Stopping(_) => self.refuse(ticket, Refusal::Running),
        }
    }

    fn delete(&mut self, ticket: Ticket, key: Key) {
        let Some(child) = self.children.get(key) else { return };
        match child.standing {
            Standing::Stopped(_) => {
                self.remove(key);
                self.answer(ticket, Answer::Done);
            }
            Standing::Again(_) | Standing::Fallen(_) => self.refuse(ticket, Refusal::Restarting),
            Standing::Up(_) | Standing::Starting(_) | Standing::Stopping(_) => self.refuse(ticket, Refusal::Running),
        }
    }
}
