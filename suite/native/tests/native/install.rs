use std::{cell::Cell, fs, fs::File, io, rc::Rc};

use anyhow::anyhow;
use firstpass_native::{Progress, Status};

use crate::support::{
    Brings, ENTRIES, FILES, Fails, Place, manifest, recorded, silent, wheel, wheel_of,
};

#[test]
fn installs_what_is_wanted_and_nothing_else() {
    let place = Place::new();
    let (progress, lines) = recorded();
    let status = place
        .library()
        .install_with(&place.root(), &place.fetcher(), &progress)
        .expect("the installation succeeds");

    assert_eq!(
        status,
        Status::Installed {
            directory: place.directory()
        }
    );
    assert_eq!(place.read("lib/libengine.so"), "the library");
    assert_eq!(place.read("lib/libplain.so"), "the library");
    assert_eq!(place.read("include/a.h"), "a header");
    assert_eq!(place.read("include/deep/b.h"), "another header");
    assert_eq!(place.read("build-version"), "1.2.3+cpu");
    assert!(!place.directory().join("lib/libhuge.so").exists());
    assert_eq!(
        place.root_holds(),
        ["engine"],
        "neither wheels nor work are left"
    );

    let size = place.fetcher().wheel.len();
    let lines = lines.borrow();
    let expected = [
        "engine 1.2.3: not installed; setting it up".into(),
        format!("  fetching engine==1.2.3 ({size} B)"),
        "  unpacking engine==1.2.3".into(),
        format!("  53 B in {}", place.directory().display()),
    ];
    assert_eq!(lines[..], expected);
}

#[test]
fn does_nothing_when_all_is_in_place() {
    let place = Place::new();
    place.install();
    let before = fs::metadata(place.directory())
        .and_then(|m| m.modified())
        .expect("a time");

    let (fetcher, (progress, lines)) = (place.fetcher(), recorded());
    place
        .library()
        .install_with(&place.root(), &fetcher, &progress)
        .expect("nothing to do");

    assert_eq!(fetcher.times(), 0);
    let after = fs::metadata(place.directory())
        .and_then(|m| m.modified())
        .expect("a time");
    assert_eq!(before, after);
    let directory = place.directory();
    assert_eq!(
        *lines.borrow(),
        [format!(
            "engine 1.2.3: installed in {}",
            directory.display()
        )]
    );
}

#[test]
fn refuses_a_tampered_wheel() {
    let place = Place::new();
    let mut fetcher = place.fetcher();
    let middle = fetcher.wheel.len() / 2;
    fetcher.wheel[middle] ^= 1;

    let error = place.fail(&fetcher);

    assert!(
        error.contains("is not the file that native.toml pins"),
        "{error}"
    );
    assert_eq!(place.library().status(&place.root()), Status::Missing);
    assert!(!place.kept().exists(), "what was tampered with is not kept");
    place.install();
}

#[test]
fn a_failed_attempt_leaves_what_is_installed() {
    let place = Place::new();
    place.install();
    let newer = wheel(&[ENTRIES, &[("engine/include/c.h", "new")]].concat());
    place.write_manifest(&manifest(&newer, FILES));

    let error = place.fail(&Fails(|| anyhow!("no network")));

    assert!(error.contains("no network"), "{error}");
    assert!(error.contains("nothing has changed"), "{error}");
    assert_eq!(place.read("lib/libengine.so"), "the library");
}

#[test]
fn installs_anew_when_the_pins_change_but_not_for_a_remark() {
    let place = Place::new();
    place.install();
    place.write_manifest(&format!("# A remark.\n{}", place.manifest()));
    assert!(place.library().status(&place.root()).is_usable());

    let newer = wheel(&[ENTRIES, &[("engine/include/c.h", "new")]].concat());
    place.write_manifest(&manifest(&newer, FILES));
    let Status::Damaged { what } = place.library().status(&place.root()) else {
        panic!("other pins are noticed");
    };
    assert!(what.contains("other pins"), "{what}");

    let fetcher = Brings::new(newer);
    place
        .library()
        .install_with(&place.root(), &fetcher, &silent())
        .expect("it is replaced");
    assert_eq!(place.read("include/c.h"), "new");
    assert_eq!(place.root_holds(), ["engine"]);
}

#[test]
fn restarts_cleanly_after_an_interruption() {
    let place = Place::new();
    // As if killed while unpacking: work in progress, and a wheel that is cut off.
    let tree = place.root().join("partial/tree/lib");
    fs::create_dir_all(&tree).expect("a leftover folder");
    fs::write(tree.join("libengine.so"), "the lib").expect("a leftover file");
    fs::create_dir_all(place.root().join("partial/.tmp123/pip-unpack")).expect("pip's leftover");
    fs::create_dir_all(place.kept().parent().expect("a folder")).expect("the downloads");
    let cut_off = &place.fetcher().wheel[..40];
    fs::write(place.kept(), cut_off).expect("a partial download");
    assert_eq!(place.library().status(&place.root()), Status::Missing);

    place.install();

    assert_eq!(place.read("lib/libengine.so"), "the library");
    assert_eq!(place.root_holds(), ["engine"]);
}

#[test]
fn a_complete_wheel_is_not_fetched_again() {
    let place = Place::new();
    fs::create_dir_all(place.kept().parent().expect("a folder")).expect("the downloads");
    fs::write(place.kept(), place.fetcher().wheel).expect("a complete download");
    let fetcher = place.fetcher();

    let status = place
        .library()
        .install_with(&place.root(), &fetcher, &silent());

    assert!(status.expect("the installation succeeds").is_usable());
    assert_eq!(fetcher.times(), 0);
}

#[test]
fn wheels_fetched_before_a_failure_are_kept() {
    // The wheel is as pinned, but lacks a file.
    let files = r#"{ from = "engine/lib/libother.so", to = "lib/" }"#;
    let place = Place::with_wheel(&wheel(ENTRIES), files);

    let error = place.fail(&place.fetcher());

    assert!(
        error.contains("holds no `engine/lib/libother.so`"),
        "{error}"
    );
    assert!(place.kept().exists());
    assert!(!place.root().join("partial").exists());
    assert!(!place.directory().exists());
}

#[test]
fn refuses_a_wheel_that_reaches_out_of_its_folder() {
    for name in [
        "engine/include/../../../evil",
        "engine/include//../evil",
        "engine/include/a\\b",
    ] {
        let place = Place::with_wheel(&wheel(&[ENTRIES, &[(name, "evil")]].concat()), FILES);
        let error = place.fail(&place.fetcher());
        assert!(
            error.contains("is not as native.toml says"),
            "{name}: {error}"
        );
        assert!(!place.directory().exists());
        assert!(!place.root().join("evil").exists());
    }
}

#[test]
fn refuses_what_is_not_a_wheel() {
    let place = Place::with_wheel(b"<html>Please log in", FILES);
    let error = place.fail(&place.fetcher());
    assert!(
        error.contains(&format!("cannot read {}", place.kept().display())),
        "{error}"
    );
}

#[test]
fn names_the_folder_that_cannot_be_written() {
    let place = Place::new();
    fs::write(place.root(), "a file in its place stops even root").expect("a file");

    let error = place.fail(&place.fetcher());

    let expected = format!("cannot create {}", place.root().display());
    assert!(error.contains(&expected), "{error}");
    assert!(error.contains("run set-up again"), "{error}");
}

#[test]
fn says_what_to_do_about_a_full_disk() {
    let place = Place::new();
    let full = || {
        let error = anyhow::Error::from(io::Error::from(io::ErrorKind::StorageFull));
        error.context("cannot write some file")
    };
    let error = place.fail(&Fails(full));
    assert!(error.contains("free some space"), "{error}");
    assert!(
        error.contains("cannot write some file: no storage space"),
        "{error}"
    );
    assert!(
        !place.root().join("partial").exists(),
        "what filled the disk is removed"
    );
}

#[test]
fn two_set_ups_wait_for_each_other() {
    let place = Place::new();
    fs::create_dir(place.root()).expect("the native root");
    let other = File::create(place.root().join(".lock")).expect("the lock's file");
    other.lock().expect("the lock");

    let waited = Rc::new(Cell::new(false));
    let noted = Rc::clone(&waited);
    let progress = Progress::lines_to(move |line| {
        if line.contains("another set-up") {
            noted.set(true);
            other.unlock().expect("the other set-up ends");
        }
        assert!(noted.get(), "nothing is done before: {line}");
    });
    let status = place
        .library()
        .install_with(&place.root(), &place.fetcher(), &progress);

    assert!(status.expect("the installation succeeds").is_usable());
    assert!(waited.get());
}

#[test]
#[cfg(target_os = "linux")]
fn links_a_library_that_only_names_others() {
    use std::process::Command;

    let folder = tempfile::tempdir().expect("a temporary folder");
    let real = folder.path().join("libreal.so");
    let linked = Command::new("cc")
        .args(["-shared", "-fPIC", "-nostdlib", "-x", "c", "/dev/null"])
        .args(["-Wl,-soname,libreal.so.7", "-o"])
        .arg(&real)
        .status()
        .expect("cc, which rustc needs too");
    assert!(linked.success());
    let real = fs::read(real).expect("the library");
    let wheel = wheel_of(&[("engine/lib/libreal.so", &real)]);
    let place = Place::with_wheel(&wheel, r#"{ from = "engine/lib/libreal.so", to = "lib/" }"#);
    let forwarding = r#"
        [[platform.forwarding-library]]
        path = "lib/libname.so"
        needs = ["lib/libreal.so"]
        [[platform.text]]"#;
    place.write_manifest(
        &place
            .manifest()
            .replacen("[[platform.text]]", forwarding, 1),
    );

    place.install();

    let library = fs::read(place.directory().join("lib/libname.so")).expect("it is linked");
    for name in ["libname.so\0", "libreal.so.7\0", "$ORIGIN\0"] {
        let found = library
            .windows(name.len())
            .any(|bytes| bytes == name.as_bytes());
        assert!(found, "it names {name:?}");
    }

    fs::remove_dir_all(place.directory()).expect("it is removed");
    let library = place.library_on("some-os", &[("CC", "/no/such/compiler".into())]);
    let error = library
        .install_with(&place.root(), &place.fetcher(), &silent())
        .expect_err("there is no such compiler");
    assert!(format!("{error:#}").contains("no C compiler"), "{error:#}");
}
