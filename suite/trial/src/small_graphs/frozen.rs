//! What the referee gives of the fixed cases, in one file: an engine can then be judged in its own
//! process, without the referee.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result, ensure};
use firstpass_probe::{Data, Knobs, Tensor};
use serde::{Deserialize, Serialize};

use super::{Case, Expected, KINDS, Kind, fixed};
use crate::tensor_files::{read_named, write_npz};

/// Its name, in the folder of the kept cases. The outputs of case `n` are the array `n`, one row for each
/// [`super::Given`]; [`INDEX`] says which case and which rules these are.
pub const FILE: &str = "frozen.npz";

/// The array that holds a list of [`Entry`] as JSON.
const INDEX: &str = "cases";

/// All fixed cases with what the referee gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Frozen(Vec<FrozenCase>);

/// One of them.
#[derive(Debug, Clone, PartialEq)]
struct FrozenCase {
    kind: String,
    case: Case,
    expected: Expected,
}

/// A case and the rules of its rows, as the file has them.
#[derive(Serialize, Deserialize)]
struct Entry {
    kind: String,
    case: Case,
    rules: Vec<Vec<Knobs>>,
}

impl Frozen {
    /// Of the fixed cases, of which the kept ones lie in `folder`, by what `referee` gives of a case.
    ///
    /// # Errors
    /// Fails where a case cannot be read and where `referee` does.
    pub fn compute(
        folder: &Path,
        mut referee: impl FnMut(&Case) -> Result<Expected>,
    ) -> Result<Self> {
        let mut frozen = Vec::new();
        for kind in &KINDS {
            for case in fixed::cases(kind, folder)? {
                let expected = referee(&case).with_context(|| kind.name)?;
                frozen.push(FrozenCase {
                    kind: kind.name.into(),
                    case,
                    expected,
                });
            }
        }
        Ok(Self(frozen))
    }

    /// What the referee gives of a fixed case.
    ///
    /// # Errors
    /// Fails where the case is not frozen.
    pub fn expected(&self, kind: &Kind, case: &Case) -> Result<&Expected> {
        let mut all = self.0.iter();
        let found = all.find(|frozen| frozen.kind == kind.name && frozen.case == *case);
        let found = found.with_context(|| {
            format!(
                "a case of {:?} is not in {FILE}: run `cargo firstpass operators --freeze`",
                kind.name
            )
        })?;
        Ok(&found.expected)
    }

    /// The outputs of each case.
    pub fn all_expected(&self) -> impl Iterator<Item = &Expected> {
        self.0.iter().map(|frozen| &frozen.expected)
    }

    /// Writes [`FILE`] into a folder.
    ///
    /// # Errors
    /// Fails where the file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let mut entries = Vec::new();
        let mut arrays = BTreeMap::new();
        for (number, frozen) in self.0.iter().enumerate() {
            arrays.insert(number.to_string(), stacked(&frozen.expected)?);
            entries.push(Entry {
                kind: frozen.kind.clone(),
                case: frozen.case.clone(),
                rules: frozen.expected.iter().map(|g| g.rules.clone()).collect(),
            });
        }
        let index = serde_json::to_vec(&entries)?;
        arrays.insert(INDEX.into(), Tensor::new(&[index.len()], index)?);
        write_npz(&folder.join(FILE), &arrays)
    }

    /// Reads [`FILE`] in a folder.
    ///
    /// # Errors
    /// Fails where the file cannot be read.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let read = || {
            let mut arrays = read_named(&path)?;
            let mut array = |name: &str| {
                let array = arrays.remove(name);
                array.with_context(|| format!("it has no array {name:?}"))
            };
            let index = array(INDEX)?;
            let Data::U8(json) = index.data() else {
                anyhow::bail!("the array {INDEX:?} is no JSON");
            };
            let entries: Vec<Entry> = serde_json::from_slice(json)?;
            let frozen = entries.into_iter().enumerate().map(|(number, entry)| {
                let name = number.to_string();
                let expected = unstacked(&array(&name)?, entry.rules);
                Ok(FrozenCase {
                    kind: entry.kind,
                    case: entry.case,
                    expected: expected.with_context(|| format!("the array {name:?}"))?,
                })
            });
            frozen.collect::<Result<_>>().map(Self)
        };
        read().with_context(|| format!("{} is not as expected", path.display()))
    }
}

/// The outputs as rows of one array.
fn stacked(expected: &Expected) -> Result<Tensor> {
    let mut shape = vec![expected.len()];
    let mut values = Vec::new();
    for given in expected.iter() {
        values.extend_from_slice(given.output.f32s()?);
    }
    let one = expected.first().context("a referee has rules")?;
    shape.extend(one.output.shape());
    Ok(Tensor::new(&shape, values)?)
}

/// The other way round.
fn unstacked(array: &Tensor, rules: Vec<Vec<Knobs>>) -> Result<Expected> {
    let shape = array.shape().split_first();
    let (&rows, shape) = shape.context("it is a single number")?;
    ensure!(
        rows == rules.len() && rows > 0,
        "it has {rows} rows, and not {}",
        rules.len()
    );
    let values = array.f32s()?;
    let length = values.len() / rows;
    let mut outputs = Vec::new();
    for (row, rules) in rules.into_iter().enumerate() {
        let output = Tensor::new(shape, values[row * length..][..length].to_vec())?;
        outputs.extend(rules.into_iter().map(|rules| (rules, output.clone())));
    }
    Ok(Expected::new(outputs))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With a rule that makes a difference and one that makes none.
    fn frozen(folder: &Path) -> Result<Frozen> {
        Frozen::compute(folder, |case| {
            let values = case.tensor()?;
            let zeros = Tensor::new(&case.shape, vec![0.0_f32; case.values().len()])?;
            let rules = |value: &str| Knobs::default().with("rounding", value);
            Ok(Expected::new([
                (Knobs::default(), values.clone()),
                (rules("zero"), zeros),
                (rules("none"), values),
            ]))
        })
    }

    #[test]
    fn what_is_frozen_is_read_again() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let frozen = frozen(folder.path())?;
        assert_eq!(frozen.0.len(), KINDS.len() * fixed::ENOUGH);
        assert!(frozen.all_expected().all(|expected| expected.len() == 2));
        frozen.write(folder.path())?;
        assert_eq!(Frozen::read(folder.path())?, frozen);
        Ok(())
    }

    #[test]
    fn a_case_that_is_missing_is_no_success() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let mut frozen = frozen(folder.path())?;
        let cases = fixed::cases(&KINDS[0], folder.path())?;
        assert!(frozen.expected(&KINDS[0], &cases[0]).is_ok());
        assert!(frozen.expected(&KINDS[1], &cases[0]).is_err());
        frozen.0.remove(0);
        let error = frozen
            .expected(&KINDS[0], &cases[0])
            .expect_err("it is missing");
        assert!(error.to_string().contains("--freeze"), "{error}");
        Ok(())
    }

    #[test]
    fn rows_without_rules_are_refused() -> Result<()> {
        let array = Tensor::new(&[2, 1], vec![0.0_f32, 1.0])?;
        let rules = vec![vec![Knobs::default()]];
        let error = unstacked(&array, rules).expect_err("a row has no rules");
        assert!(error.to_string().contains("2 rows"), "{error}");
        Ok(())
    }
}
