use super::*;

/// A workspace with an engine, what it links, and a referee.
struct Small {
    dir: tempfile::TempDir,
}

impl Small {
    fn new() -> Result<Self> {
        let small = Self {
            dir: tempfile::tempdir()?,
        };
        let files = [
            (
                "Cargo.toml",
                "[workspace]\nmembers = [\"suite/*\", \"backends/*\"]\n\
                 [workspace.package]\nedition = \"2024\"\n\
                 [workspace.dependencies]\nprobe = { path = \"suite/probe\" }\n\
                 tests = { path = \"suite/tests\" }\nengine = \"=1.0.0\"\nproptest = \"1\"\n\
                 [profile.release.package.engine]\nopt-level = 3\n\
                 [profile.release.package.proptest]\nopt-level = 1\n",
            ),
            (
                "Cargo.lock",
                "[[package]]\nname = \"backend\"\nversion = \"0.1.0\"\n\
                 dependencies = [\"engine 1.0.0\", \"probe\", \"proptest\", \"tests\"]\n\
                 [[package]]\nname = \"probe\"\nversion = \"0.1.0\"\n\
                 dependencies = [\"proptest\"]\n\
                 [[package]]\nname = \"tests\"\nversion = \"0.1.0\"\n\
                 dependencies = [\"proptest\"]\n\
                 [[package]]\nname = \"engine\"\nversion = \"1.0.0\"\nsource = \"registry\"\n\
                 checksum = \"e1\"\ndependencies = [\"kernels\"]\n\
                 [[package]]\nname = \"engine\"\nversion = \"2.0.0\"\nsource = \"registry\"\n\
                 checksum = \"e2\"\n\
                 [[package]]\nname = \"kernels\"\nversion = \"1.0.0\"\nsource = \"registry\"\n\
                 checksum = \"k1\"\n\
                 [[package]]\nname = \"proptest\"\nversion = \"1.0.0\"\nsource = \"registry\"\n\
                 checksum = \"p1\"\n",
            ),
            (
                "backends/x/Cargo.toml",
                "[package]\nname = \"backend\"\ndescription = \"old\"\n\
                 edition.workspace = true\n[dependencies]\nengine.workspace = true\n\
                 probe.workspace = true\n[dev-dependencies]\nproptest.workspace = true\n\
                 tests.workspace = true\n",
            ),
            (
                "backends/x/src/lib.rs",
                "mod inner;\npub fn f() -> u8 { 1 }\n",
            ),
            ("backends/x/src/inner.rs", "pub fn g() {}\n"),
            ("backends/x/src/main.rs", "fn main() {}\n"),
            ("backends/x/shim/shim.cpp", "int f() { return 1; }\n"),
            (
                "suite/probe/Cargo.toml",
                "[package]\nname = \"probe\"\n[dev-dependencies]\nproptest = \"1\"\n",
            ),
            ("suite/probe/src/lib.rs", "pub fn run() {}\n"),
            ("suite/tests/Cargo.toml", "[package]\nname = \"tests\"\n"),
            ("suite/tests/src/lib.rs", "pub fn test() {}\n"),
            (
                "fixtures/manifest.toml",
                "[[file]]\npath = \"models/m/model.onnx\"\nsha256 = \"model\"\n\
                 [[file]]\npath = \"portraits/test.zip\"\nsha256 = \"portraits\"\n",
            ),
        ];
        for (path, text) in files {
            small.write(path, text)?;
        }
        Ok(small)
    }

    fn write(&self, path: &str, text: &str) -> Result<()> {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(&path))?;
        Ok(std::fs::write(path, text)?)
    }

    fn code(&self) -> Result<Code> {
        Code::observe(&self.workspace())
    }

    fn workspace(&self) -> Workspace {
        Workspace::at(self.dir.path().into())
    }

    /// The parts that a change of one file changes.
    fn changes(&self, path: &str, from: &str, to: &str) -> Result<Option<Vec<String>>> {
        let before = self.code()?;
        let file = self.dir.path().join(path);
        let text = std::fs::read_to_string(&file)?;
        assert!(text.contains(from), "{path} does not have {from:?}");
        std::fs::write(&file, text.replace(from, to))?;
        let changes = before.changes(&self.workspace(), &self.code()?);
        std::fs::write(&file, text)?;
        Ok(changes)
    }
}

#[test]
fn what_changes_no_probe_changes_no_part() -> Result<()> {
    let small = Small::new()?;
    let unit_test = "pub fn run() {}\n#[cfg(test)]\nmod tests { #[test] fn works() {} }";
    let none = [
        ("suite/probe/src/lib.rs", "pub", "// A comment.\npub"),
        ("suite/probe/src/lib.rs", "pub", "/// A doc comment.\npub"),
        ("suite/probe/src/lib.rs", "pub fn run() {}", unit_test),
        ("suite/tests/src/lib.rs", "test", "other"),
        ("backends/x/Cargo.toml", "old", "new"),
        ("backends/x/Cargo.toml", "[dev", "# A comment.\n[dev"),
        ("backends/x/Cargo.toml", "proptest.workspace = true", ""),
        ("Cargo.toml", "proptest = \"1\"", "proptest = \"2\""),
        ("Cargo.toml", "opt-level = 1", "opt-level = 2"),
        ("Cargo.lock", "p1", "p2"),
        ("Cargo.lock", "e2", "e3"),
        ("fixtures/manifest.toml", "\"portraits\"", "\"others\""),
    ];
    for (path, from, to) in none {
        assert_eq!(small.changes(path, from, to)?, None, "{path}: {to}");
    }
    small.write("backends/x/src/unlinked.rs", "pub fn h() {}")?;
    small.write("backends/x/README.md", "# x")?;
    let before = small.code()?;
    std::fs::remove_file(small.dir.path().join("backends/x/src/unlinked.rs"))?;
    assert_eq!(before.changes(&small.workspace(), &small.code()?), None);
    Ok(())
}

#[test]
fn the_list_names_exactly_what_changed() -> Result<()> {
    let small = Small::new()?;
    let changes: [(&str, &str, &str, &[&str]); 9] = [
        (
            "suite/probe/src/lib.rs",
            "run",
            "go",
            &["suite/probe/src/lib.rs"],
        ),
        (
            "backends/x/src/inner.rs",
            "g",
            "h",
            &["backends/x/src/inner.rs"],
        ),
        (
            "backends/x/shim/shim.cpp",
            "1",
            "2",
            &["backends/x/shim/shim.cpp"],
        ),
        ("Cargo.lock", "k1", "k2", &["crate kernels 1.0.0"]),
        ("Cargo.toml", "=1.0.0", "=1.0.1", &["backends/x/Cargo.toml"]),
        (
            "Cargo.toml",
            "opt-level = 3",
            "opt-level = 2",
            &["release profile"],
        ),
        ("Cargo.toml", "2024", "2021", &["backends/x/Cargo.toml"]),
        (
            "Cargo.lock",
            "\"engine 1.0.0\"",
            "\"engine 2.0.0\"",
            &[
                "crate engine 1.0.0",
                "crate engine 2.0.0",
                "crate kernels 1.0.0",
            ],
        ),
        (
            "fixtures/manifest.toml",
            "\"model\"",
            "\"other\"",
            &["fixtures/models/m/model.onnx"],
        ),
    ];
    for (path, from, to, expected) in changes {
        let changed = small.changes(path, from, to)?.unwrap_or_default();
        assert_eq!(changed, expected, "{path}: {to}");
    }
    Ok(())
}

#[test]
fn an_older_record_names_the_files_that_git_knows_to_have_changed() -> Result<()> {
    let small = Small::new()?;
    let older = |commit: Option<String>| Code {
        commit,
        measured_sha256: "of another kind".into(),
        parts: BTreeMap::new(),
    };
    let changes = |older: Code| Ok(older.changes(&small.workspace(), &small.code()?));
    let unknown: Result<_> = changes(older(None));
    assert_eq!(unknown?, Some(Vec::new()));

    let git = |arguments: &[&str]| -> Result<()> {
        let settings = [
            "user.name=x",
            "user.email=x@example.org",
            "commit.gpgsign=false",
        ];
        let mut git = Command::new("git");
        git.current_dir(small.dir.path());
        git.args(settings.iter().flat_map(|setting| ["-c", setting]))
            .args(arguments);
        anyhow::ensure!(git.output()?.status.success(), "git {arguments:?} failed");
        Ok(())
    };
    git(&["init", "--quiet"])?;
    git(&["add", "."])?;
    git(&["commit", "--quiet", "--message=x"])?;
    let commit = small.code()?.commit;
    assert_eq!(changes(older(commit.clone()))?, None);
    small.write("suite/probe/src/lib.rs", "pub fn go() {}\n")?;
    small.write("suite/tests/src/lib.rs", "")?;
    let changed = Some(vec!["suite/probe/src/lib.rs".to_owned()]);
    assert_eq!(changes(older(commit.map(|c| c + "+")))?, changed);
    assert_eq!(
        changes(older(Some("0123456789ab".into())))?,
        Some(Vec::new())
    );
    Ok(())
}

#[test]
fn the_parts_of_this_workspace_are_what_its_engines_link() -> Result<()> {
    let parts = Code::observe(&Workspace::find()?)?.parts;
    let has = |start: &str| parts.keys().any(|name| name.starts_with(start));
    for linked in [
        "crate safetensors 0.",
        "crate serde_json 1.",
        "suite/onnx/src/lib.rs",
        "suite/probe/Cargo.toml",
        "fixtures/models/",
        "release profile",
    ] {
        assert!(has(linked), "{linked}");
    }
    for other in [
        "crate plotters ",
        "crate proptest ",
        "crate firstpass-",
        "suite/harness/",
        "suite/conformance/",
        "fixtures/portraits/",
    ] {
        assert!(!has(other), "{other}");
    }
    assert!(parts.values().all(|hash| hash.len() == 16));
    Ok(())
}
