//! Tests of a backend's own in the program that runs the suite.

use std::{
    fmt::Display,
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use libtest_mimic::{Failed, Trial};

/// What a test function may return: nothing, or an error that fails it.
pub trait Ended {
    /// # Errors
    /// Fails as the test has.
    fn ended(self) -> Result<(), Failed>;
}

impl Ended for () {
    fn ended(self) -> Result<(), Failed> {
        Ok(())
    }
}

impl<E: Display> Ended for Result<(), E> {
    fn ended(self) -> Result<(), Failed> {
        // The whole chain of causes, where there is one.
        self.map_err(|error| format!("{error:#}").into())
    }
}

/// Who has the engine in this process: one test [`alone`], or several [`together`].
static ENGINE: RwLock<()> = RwLock::new(());

/// For a test that uses the engine in this process: as long as the guard lives no other has one. Engines
/// keep settings for the whole process.
pub fn alone() -> RwLockWriteGuard<'static, ()> {
    // A test that failed has let go of the engine all the same.
    ENGINE.write().unwrap_or_else(PoisonError::into_inner)
}

/// For a test that uses the engine in this process with every knob at its default, and times and counts
/// nothing: as long as the guard lives no other is [`alone`].
pub(crate) fn together() -> RwLockReadGuard<'static, ()> {
    ENGINE.read().unwrap_or_else(PoisonError::into_inner)
}

/// A test that fails where the function panics or returns an error, and that runs [`alone`]. `path` is
/// the function's.
pub fn test<R: Ended + 'static>(path: &str, run: fn() -> R) -> Trial {
    // The program is the first part.
    let path = path.split_once("::").map_or(path, |(_, inner)| inner);
    Trial::test(path, move || {
        let _alone = alone();
        run().ended()
    })
}

/// The functions as tests, named by module and function: what `#[test]` does for a program without a
/// `main` of its own. A function that is forgotten is dead code, of which the compiler warns.
///
/// ```
/// fn two_and_two_is_four() {
///     assert_eq!(2 + 2, 4);
/// }
///
/// let [test] = &firstpass_conformance::tests![two_and_two_is_four][..] else {
///     panic!("one function is one test");
/// };
/// assert!(test.name().ends_with("two_and_two_is_four"));
/// ```
#[macro_export]
macro_rules! tests {
    ($($function:ident),+ $(,)?) => {
        vec![$($crate::test(
            concat!(module_path!(), "::", stringify!($function)),
            $function,
        )),+]
    };
}
