//! Pure: a small set of keyed peers, which most processes have none or few of and a hub has very many of.
use crate::near::NearBuildHasher;
use indexmap::IndexMap;
use indexmap::map::{Entry, IntoIter};
use smallvec::SmallVec;
use std::hash::Hash;

/// Above this many, a look through the list costs more than hashing.
const FEW: usize = 16;

/// Links by pid, or watchers by their monitor, in 32 bytes for none or one. The order is that of insertion but for
/// removals, and the same in every run: the hasher is fixed.
#[derive(Debug)]
pub(crate) enum PeerSet<K, P> {
    One(K, P),
    Other(Option<Box<Peers<K, P>>>),
}

#[derive(Debug)]
pub(crate) enum Peers<K, P> {
    Few(SmallVec<[(K, P); 4]>),
    Many(IndexMap<K, P, NearBuildHasher>),
    /// Many that are being taken out one by one: nobody looks for one of them any more, so that no index is kept.
    Leaving(IntoIter<K, P>),
}

impl<K, P> Default for PeerSet<K, P> {
    fn default() -> Self {
        Self::Other(None)
    }
}

impl<K: Copy + Eq + Hash, P> PeerSet<K, P> {
    /// Puts a peer in; gives it back if the key was there already, which changes nothing.
    pub(crate) fn insert(&mut self, key: K, peer: P) -> Result<(), P> {
        match self {
            Self::One(one, _) if *one == key => return Err(peer),
            Self::Other(Some(peers)) => return peers.insert(key, peer),
            Self::One(..) | Self::Other(None) => {}
        }
        *self = match std::mem::take(self) {
            Self::One(first, first_peer) => {
                let few = SmallVec::from_iter([(first, first_peer), (key, peer)]);
                Self::Other(Some(Box::new(Peers::Few(few))))
            }
            Self::Other(_) => Self::One(key, peer),
        };
        Ok(())
    }

    pub(crate) fn remove(&mut self, key: K) -> Option<P> {
        match self {
            Self::One(one, _) if *one == key => match std::mem::take(self) {
                Self::One(_, peer) => Some(peer),
                Self::Other(_) => None,
            },
            Self::Other(Some(peers)) => peers.remove(key),
            Self::One(..) | Self::Other(None) => None,
        }
    }

    pub(crate) fn contains(&self, key: K) -> bool {
        match self {
            Self::One(one, _) => *one == key,
            Self::Other(None) => false,
            Self::Other(Some(peers)) => match &**peers {
                Peers::Few(few) => few.iter().any(|(k, _)| *k == key),
                Peers::Many(many) => many.contains_key(&key),
                Peers::Leaving(rest) => rest.as_slice().keys().any(|k| *k == key),
            },
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::One(..) => 1,
            Self::Other(None) => 0,
            Self::Other(Some(peers)) => match &**peers {
                Peers::Few(few) => few.len(),
                Peers::Many(many) => many.len(),
                Peers::Leaving(rest) => rest.len(),
            },
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first `n` keys.
    pub(crate) fn keys(&self, n: usize) -> Vec<K> {
        match self {
            Self::One(key, _) => [*key].into_iter().take(n).collect(),
            Self::Other(None) => Vec::new(),
            Self::Other(Some(peers)) => match &**peers {
                Peers::Few(few) => few.iter().take(n).map(|(k, _)| *k).collect(),
                Peers::Many(many) => many.keys().take(n).copied().collect(),
                Peers::Leaving(rest) => rest.as_slice().keys().take(n).copied().collect(),
            },
        }
    }

    /// The first `n` peers.
    pub(crate) fn peers(&self, n: usize) -> Vec<&P> {
        match self {
            Self::One(_, peer) => [peer].into_iter().take(n).collect(),
            Self::Other(None) => Vec::new(),
            Self::Other(Some(peers)) => match &**peers {
                Peers::Few(few) => few.iter().take(n).map(|(_, peer)| peer).collect(),
                Peers::Many(many) => many.values().take(n).collect(),
                Peers::Leaving(rest) => rest.as_slice().values().take(n).collect(),
            },
        }
    }

    /// Takes one out, whichever is cheapest, of a set that is being emptied.
    pub(crate) fn pop(&mut self) -> Option<(K, P)> {
        if let Self::Other(peers) = self {
            return peers.as_mut()?.pop();
        }
        match std::mem::take(self) {
            Self::One(key, peer) => Some((key, peer)),
            Self::Other(_) => None,
        }
    }
}

impl<K: Copy + Eq + Hash, P> Peers<K, P> {
    fn pop(&mut self) -> Option<(K, P)> {
        if let Self::Many(many) = self {
            *self = Self::Leaving(std::mem::take(many).into_iter());
        }
        match self {
            Self::Few(few) => few.pop(),
            Self::Many(many) => many.pop(),
            Self::Leaving(rest) => rest.next_back(),
        }
    }

    /// The index is kept again, should one of those that are being taken out be looked for after all.
    fn stay(&mut self) {
        if let Self::Leaving(rest) = self {
            *self = Self::Many(std::mem::take(rest).collect());
        }
    }

    fn insert(&mut self, key: K, peer: P) -> Result<(), P> {
        self.stay();
        match self {
            Self::Few(few) if few.iter().any(|(k, _)| *k == key) => return Err(peer),
            Self::Few(few) if few.len() < FEW => few.push((key, peer)),
            Self::Few(few) => {
                let mut many: IndexMap<K, P, NearBuildHasher> = few.drain(..).collect();
                many.insert(key, peer);
                *self = Self::Many(many);
            }
            Self::Many(many) => match many.entry(key) {
                Entry::Occupied(_) => return Err(peer),
                Entry::Vacant(free) => {
                    free.insert(peer);
                }
            },
            Self::Leaving(_) => return Err(peer),
        }
        Ok(())
    }

    fn remove(&mut self, key: K) -> Option<P> {
        self.stay();
        match self {
            Self::Few(few) => few.iter().position(|(k, _)| *k == key).map(|at| few.swap_remove(at).1),
            Self::Many(many) => many.swap_remove(&key),
            Self::Leaving(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_takes_four_words() {
        assert_eq!(size_of::<PeerSet<crate::pid::Pid, std::sync::Arc<dyn Send>>>(), 32);
    }

    #[test]
    fn a_set_behaves_the_same_whatever_its_size() {
        let mut set = PeerSet::default();
        for key in 0..100 {
            assert_eq!(set.insert(key, key * 2), Ok(()));
            assert_eq!(set.insert(key, 7), Err(7), "a key counts once");
            assert_eq!(set.len(), key as usize + 1);
        }
        assert!(set.contains(99) && !set.contains(100));
        assert_eq!((set.remove(50), set.remove(50)), (Some(100), None));
        assert!(set.contains(51) && !set.contains(50));
        assert_eq!(set.keys(2), [0, 1]);
        let mut left = 0;
        while set.pop().is_some() {
            left += 1;
        }
        assert_eq!((left, set.is_empty()), (99, true));
        assert_eq!(set.insert(1, 2), Ok(()));
        assert_eq!((set.keys(9), set.remove(1), set.len()), (vec![1], Some(2), 0));
    }
}
