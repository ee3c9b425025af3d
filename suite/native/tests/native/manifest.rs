use std::{fs, path::Path};

use firstpass_native::{Host, NativeLibrary};

use crate::support::{FILES, Place};

#[test]
fn a_backend_without_a_manifest_needs_no_library() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    assert!(
        NativeLibrary::read(folder.path())
            .expect("no error")
            .is_none()
    );
}

#[test]
fn a_mistake_is_named_with_its_line() {
    let place = Place::new();
    let right = place.manifest();
    let mistakes = [
        ("bytes = ", "byte = ", "unknown field `byte`"),
        (
            "directory = \"engine\"",
            "directory = \"../engine\"",
            "not a path inside a folder",
        ),
        (
            "directory = \"engine\"",
            "directory = \"/engine\"",
            "not a path inside a folder",
        ),
        (
            "to = \"lib/\"",
            "to = \"lib/../..\"",
            "not a path inside a folder",
        ),
        ("sha256 = \"", "sha256 = \"XY", "not a SHA-256"),
        ("cp311-cp311-", "", "not the file name of a wheel"),
        (
            "value = \"flag\"",
            "value = \"maybe\"",
            "unknown variant `maybe`",
        ),
    ];
    for (from, to, expected) in mistakes {
        assert!(right.contains(from), "{from}");
        place.write_manifest(&right.replacen(from, to, 1));
        let error = NativeLibrary::read(&place.backend()).expect_err("a mistake");
        let error = format!("{error:#}");
        assert!(error.contains(expected), "{error}");
        assert!(
            error.contains("native.toml") && error.contains("line "),
            "{error}"
        );
    }
    assert!(FILES.contains("lib/"));
}

/// Those of the backends in this workspace, whichever they are.
#[test]
fn every_manifest_knows_the_same_platforms() {
    let backends = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../backends");
    let root = Path::new("native");
    for entry in fs::read_dir(backends).expect("the folder of backends") {
        let Some(library) =
            NativeLibrary::read(&entry.expect("an entry").path()).expect("it is right")
        else {
            continue;
        };
        for (os, arch) in [
            ("linux", "x86_64"),
            ("linux", "aarch64"),
            ("macos", "aarch64"),
        ] {
            let library = library.clone().on(Host::new(os, arch, &[]));
            let environment = library.environment(root);
            assert!(!environment.is_empty(), "{library} on {os} {arch}");
        }
    }
}
