//! Pure: which choices of a failing run are needed for its failure: some are left out, and it is tried whether it still fails.
//!
//! First all, then all of a kind, then all behind a point, then runs of them, each half as long as before, down to single ones, from the
//! end (delta debugging). It is greedy: what comes out cannot be had without one of its choices, but there may be shorter ones.
use crate::simulation::choices::{Choice, Choices};

/// What a try has come to.
pub(super) struct Tried {
    /// The choices that it has made, if it failed in the same way.
    pub(super) same: Option<Choices>,
    /// How many steps it took.
    pub(super) steps: u64,
}

/// What is left to be spent: tries, and their steps.
pub(super) struct Bounds {
    pub(super) tries: u32,
    pub(super) steps: u64,
}

struct Search<F> {
    best: Choices,
    left: Bounds,
    attempt: F,
}

/// The fewest choices that were found to fail likewise; `from` do.
pub(super) fn shrink(from: Choices, left: Bounds, attempt: impl FnMut(&Choices) -> Tried) -> Choices {
    let mut search = Search { best: from, left, attempt };
    search.without(|_, _| true);
    search.kinds();
    search.tail();
    while search.runs() {}
    search.best
}

impl<F: FnMut(&Choices) -> Tried> Search<F> {
    fn is_over(&self) -> bool {
        self.best.is_empty() || self.left.tries == 0 || self.left.steps == 0
    }

    /// Leaves out those for which it holds; true if that is better.
    fn without(&mut self, leave_out: impl Fn(usize, &Choice) -> bool) -> bool {
        let all = self.best.as_slice().iter().enumerate();
        let kept: Vec<Choice> = all.filter(|(at, choice)| !leave_out(*at, choice)).map(|(_, choice)| *choice).collect();
        if self.is_over() || kept.len() == self.best.len() {
            return false;
        }
        let Tried { same, steps } = (self.attempt)(&Choices::new(kept));
        self.left.tries -= 1;
        self.left.steps = self.left.steps.saturating_sub(steps);
        // What it has made may be more than what it was given asked for, never by choices that it was not given.
        let better = same.filter(|made| made.len() < self.best.len());
        let found = better.is_some();
        self.best = better.unwrap_or_else(|| std::mem::take(&mut self.best));
        found
    }

    fn kinds(&mut self) {
        let mut kinds: Vec<_> = self.best.as_slice().iter().map(|choice| choice.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        for kind in kinds {
            self.without(|_, choice| choice.kind == kind);
        }
    }

    /// How much of the beginning is enough.
    fn tail(&mut self) {
        let mut needed = 0;
        while needed < self.best.len() && !self.is_over() {
            let middle = needed.midpoint(self.best.len());
            if !self.without(|at, _| at >= middle) {
                needed = middle + 1;
            }
        }
    }

    /// One round; true if another may find more.
    fn runs(&mut self) -> bool {
        let before = self.best.len();
        let mut length = before.div_ceil(2);
        loop {
            let mut end = self.best.len();
            while end > 0 && !self.is_over() {
                let start = end.saturating_sub(length);
                self.without(|at, _| (start..end).contains(&at));
                end = start.min(self.best.len());
            }
            if length <= 1 {
                break;
            }
            length = length.div_ceil(2);
        }
        self.best.len() < before && !self.is_over()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::choices::Kind;

    fn many() -> Choices {
        let kinds = [Kind::Run, Kind::Time, Kind::Fire];
        Choices::new((0..100).flat_map(|step| kinds.map(|kind| Choice::of(step, kind))).collect())
    }

    fn shrunk(left: Bounds, needed: &str) -> (Choices, u32) {
        let (needed, mut tries) = (needed.parse::<Choices>().expect("choices"), 0);
        let found = shrink(many(), left, |choices| {
            tries += 1;
            let has = |wanted: &Choice| choices.as_slice().contains(wanted);
            Tried { same: needed.as_slice().iter().all(has).then(|| choices.clone()), steps: 10 }
        });
        (found, tries)
    }

    const ENOUGH: Bounds = Bounds { tries: 1000, steps: 100_000 };

    #[test]
    fn what_is_needed_is_left() {
        for needed in ["", "0r1", "99t1", "3r1,50r1", "3r1,4t1,5f1,80r1,81r1", "0f1,99f1"] {
            let (found, tries) = shrunk(ENOUGH, needed);
            assert!(found.to_string() == needed && tries < 250, "{found} for {needed}, {tries} tries");
        }
    }

    #[test]
    fn it_ends_when_its_bounds_are_reached_with_the_best_so_far() {
        for (left, most) in [(Bounds { tries: 9, steps: 1000 }, 9), (Bounds { tries: 100, steps: 75 }, 8)] {
            let (found, tries) = shrunk(left, "3r1,50t1");
            assert!(tries == most && found.len() < many().len() && found.len() > 2, "{tries}, {}", found.len());
        }
    }

    #[test]
    fn what_fails_otherwise_or_with_as_many_choices_is_no_improvement() {
        let found = shrink(many(), ENOUGH, |_| Tried { same: None, steps: 1 });
        assert_eq!(found, many());
        let found = shrink(many(), ENOUGH, |_| Tried { same: Some(many()), steps: 1 });
        assert_eq!(found, many());
    }
}
