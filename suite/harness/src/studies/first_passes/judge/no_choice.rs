//! Engines that are no choice, however fast.

use std::collections::BTreeSet;

use firstpass_probe::Format;
use firstpass_trial::observation::Cell;

/// The engines, each with a model and a format, that gave outputs that cannot be used. Who is fastest is asked among
/// the others.
#[derive(Debug, Default)]
pub struct NoChoice(BTreeSet<(String, String, Format)>);

impl NoChoice {
    pub fn contains(&self, cell: &Cell) -> bool {
        self.0.contains(&key(cell))
    }
}

impl<'a> FromIterator<&'a Cell> for NoChoice {
    fn from_iter<I: IntoIterator<Item = &'a Cell>>(cells: I) -> Self {
        Self(cells.into_iter().map(key).collect())
    }
}

fn key(cell: &Cell) -> (String, String, Format) {
    (cell.backend.clone(), cell.model.clone(), cell.format)
}
