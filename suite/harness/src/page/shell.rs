//! Commands that a reader copies into a shell: the one that was given, with something changed.

use firstpass_trial::shell_word::quoted;

/// The words of the command that was given, after the name of the program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Given(Vec<String>);

impl Given {
    /// That of this process.
    pub fn now() -> Self {
        let words = std::env::args_os().skip(1);
        Self(
            words
                .map(|word| word.to_string_lossy().into_owned())
                .collect(),
        )
    }

    /// The same with another subcommand.
    #[must_use]
    pub fn instead_of(mut self, subcommand: &str, other: &str) -> Self {
        if let Some(word) = self.0.iter_mut().find(|word| *word == subcommand) {
            other.clone_into(word);
        }
        self
    }

    /// The same without these options, `flags` that stand alone and `valued` that have a value.
    #[must_use]
    pub fn without(self, flags: &[&str], valued: &[&str]) -> Self {
        self.keeping(flags, valued, 0)
    }

    /// The same with no more than the first of each of these options, which have a value.
    #[must_use]
    pub fn with_first_of(self, valued: &[&str]) -> Self {
        let one_by_one = |given: Self, option: &&str| given.keeping(&[], &[option], 1);
        valued.iter().fold(self, one_by_one)
    }

    /// The same with so many of these options and no more.
    fn keeping(self, flags: &[&str], valued: &[&str], most: usize) -> Self {
        let mut kept = Vec::new();
        let mut seen = 0;
        let mut words = self.0.into_iter();
        while let Some(word) = words.next() {
            let with_value = word.split_once('=').map(|(option, _)| option);
            let is_alone = valued.contains(&word.as_str());
            let is_option = flags.contains(&word.as_str())
                || is_alone
                || with_value.is_some_and(|option| valued.contains(&option));
            let value = is_alone.then(|| words.next()).flatten();
            seen += usize::from(is_option);
            if !is_option || seen <= most {
                kept.push(word);
                kept.extend(value);
            }
        }
        Self(kept)
    }

    /// The words, to be kept.
    pub fn words(self) -> Vec<String> {
        self.0
    }
}

/// A command of this program, as a shell takes it.
pub(crate) fn command<W: AsRef<str>>(words: impl IntoIterator<Item = W>) -> String {
    let words = words.into_iter().map(|word| quoted(word.as_ref()));
    let words: Vec<String> = words.collect();
    format!("cargo firstpass {}", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(command(["check", "a b"]), "cargo firstpass check 'a b'");
    }

    #[test]
    fn what_follows_a_command_keeps_what_it_is_about() {
        let given = "check models/m.onnx --sample a.npy --budget 90s --sample=b.npy --mean 0,0,0 --open --budget=2m";
        let given = Given(given.split(' ').map(str::to_owned).collect());
        let longer = given.clone().without(&["--open"], &["--budget"]);
        assert_eq!(
            command(longer.words()),
            "cargo firstpass check models/m.onnx --sample a.npy --sample=b.npy --mean 0,0,0"
        );
        let blame = given.instead_of("check", "blame");
        let blame = blame.without(&["--open"], &["--budget"]);
        assert_eq!(
            command(blame.with_first_of(&["--sample", "--image"]).words()),
            "cargo firstpass blame models/m.onnx --sample a.npy --mean 0,0,0"
        );
    }
}
