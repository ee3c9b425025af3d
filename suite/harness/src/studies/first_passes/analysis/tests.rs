use firstpass_probe::Error;

use super::*;
use crate::studies::first_passes::judge::latency::tests::observation;

#[test]
fn a_setting_that_does_not_run_is_no_fault_where_the_default_does() -> Result<()> {
    let mut works = observation(0, &[1.0]);
    works.cell = works.cell.default_of();
    works.process.outcome = Outcome::Completed;
    let mut tuned = works.clone();
    tuned.process.outcome = Outcome::Failed(Error::unsupported("x"));
    tuned.cell.knobs = tuned.cell.knobs.with("fusion", "off");
    let workspace = Workspace::find()?;
    let counts = |observations: &[&Observation]| -> Result<[usize; 2]> {
        let observations = observations.iter().copied().cloned().collect();
        let record = crate::record::tests::record(observations);
        let analysis = Analysis::new(&workspace, record)?;
        Ok([analysis.faults().len(), analysis.without_tuned().count()])
    };
    assert_eq!(counts(&[&works, &tuned])?, [0, 1]);
    assert_eq!(counts(&[&tuned])?, [1, 0]);
    let mut fails = works.clone();
    fails.process.outcome = Outcome::Failed(Error::unsupported("x"));
    // In the same words, so that it is said once.
    assert_eq!(counts(&[&fails, &tuned])?, [1, 0]);
    // What works only sometimes, or ends without a word, is no refusal.
    let mut sometimes = tuned.clone();
    sometimes.process.outcome = Outcome::Completed;
    assert_eq!(counts(&[&works, &tuned, &sometimes])?, [1, 0]);
    let mut crashed = tuned.clone();
    crashed.process.outcome = Outcome::Crashed {
        how: "signal 11".into(),
        after: crashed.process.stage(),
    };
    assert_eq!(counts(&[&works, &crashed])?, [1, 0]);
    Ok(())
}
