//! Why measurements are not of the workspace as it stands. That is a warning and no fault: a page that
//! says by which code its figures were measured is not wrong.

use std::path::PathBuf;

use firstpass_trial::workspace::Workspace;

use crate::record::code::Code;

/// One reason why measurements are stale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stale {
    /// How they were measured, to stand behind `was`.
    pub reason: String,
    /// What has changed since, where that can be told.
    pub changes: Vec<String>,
}

impl Stale {
    /// A reason of which no list of changes is known.
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            changes: Vec::new(),
        }
    }

    /// Whether `then` is other code than `now`, with what changed.
    pub fn by_code(workspace: &Workspace, then: &Code, now: &Code) -> Option<Self> {
        let changes = then.changes(workspace, now)?;
        Some(Self {
            changes,
            ..Self::new("measured by older code")
        })
    }

    /// Whether `sources`, over which a hash was taken, have changed since the code `then`. A record
    /// without parts has a hash of another kind, and git is asked instead.
    pub fn by_sources(
        workspace: &Workspace,
        then: &Code,
        is_same_hash: bool,
        sources: &[PathBuf],
        reason: impl Into<String>,
    ) -> Option<Self> {
        let changes = if then.parts.is_empty() {
            then.changed_files(workspace, sources)?
        } else if is_same_hash {
            return None;
        } else {
            Vec::new()
        };
        Some(Self {
            changes,
            ..Self::new(reason)
        })
    }
}
