//! A fault: what is done, what must then be said, and what must survive.

use std::path::Path;

use anyhow::Result;

use crate::place::{Ended, Place};

/// What is done to the folder of a record.
pub type Damage = fn(&Path) -> Result<()>;

/// Something that goes wrong.
#[derive(Clone, Copy)]
pub struct Fault {
    pub what: &'static str,
    /// Whether it is tried on each engine that is there, or on one.
    pub is_of_each_engine: bool,
    done: Done,
    /// The exit code.
    pub code: i32,
    /// What must be said.
    pub says: &'static [&'static str],
    /// Whether what must survive has.
    pub survives: fn(&Place, &Ended) -> Result<()>,
}

#[derive(Clone, Copy)]
enum Done {
    Anything(fn(&Place) -> Result<Ended>),
    /// A command on a record that is damaged.
    Damage(fn(&Place, Damage) -> Result<Ended>, Damage),
}

impl Fault {
    /// A fault that is tried once; `done` does it, and returns how the command ended that it was done to.
    pub const fn new(
        what: &'static str,
        done: fn(&Place) -> Result<Ended>,
        code: i32,
        says: &'static [&'static str],
    ) -> Self {
        Self {
            what,
            is_of_each_engine: false,
            done: Done::Anything(done),
            code,
            says,
            survives: |_, _| Ok(()),
        }
    }

    /// A fault of a record; `command` makes one, does the damage, and returns how the command on it ended.
    pub const fn damaged(
        what: &'static str,
        command: fn(&Place, Damage) -> Result<Ended>,
        damage: Damage,
        code: i32,
        says: &'static [&'static str],
    ) -> Self {
        Self {
            done: Done::Damage(command, damage),
            what,
            is_of_each_engine: false,
            code,
            says,
            survives: |_, _| Ok(()),
        }
    }

    pub const fn on_each_engine(self) -> Self {
        Self {
            is_of_each_engine: true,
            ..self
        }
    }

    pub const fn surviving(self, survives: fn(&Place, &Ended) -> Result<()>) -> Self {
        Self { survives, ..self }
    }

    pub fn happen(&self, place: &Place) -> Result<Ended> {
        match self.done {
            Done::Anything(done) => done(place),
            Done::Damage(command, damage) => command(place, damage),
        }
    }
}
