use std::{fs, path::PathBuf};

use firstpass_native::Status;

use crate::support::{Place, recorded, silent};

#[test]
fn notices_a_file_that_was_damaged_later() {
    let place = Place::new();
    place.install();
    let library = place.directory().join("lib/libengine.so");

    fs::write(&library, "cut").expect("it is damaged");
    let Status::Damaged { what } = place.library().status(&place.root()) else {
        panic!("another size is noticed");
    };
    assert!(what.contains("libengine.so has 3 bytes where 11"), "{what}");

    fs::remove_file(&library).expect("it is removed");
    let Status::Damaged { what } = place.library().status(&place.root()) else {
        panic!("a lost file is noticed");
    };
    assert!(what.contains("cannot find"), "{what}");

    place.install();
    assert_eq!(place.read("lib/libengine.so"), "the library");
}

#[test]
fn set_up_notices_damage_of_the_same_size() {
    let place = Place::new();
    place.install();
    fs::write(place.directory().join("lib/libengine.so"), "THE library").expect("it is damaged");

    assert!(
        place.library().status(&place.root()).is_usable(),
        "status compares sizes only"
    );
    let Status::Damaged { what } = place.library().verify(&place.root()) else {
        panic!("other contents are noticed");
    };
    assert!(
        what.contains("libengine.so is not what was installed"),
        "{what}"
    );

    place.install();
    assert_eq!(place.read("lib/libengine.so"), "the library");
}

#[test]
fn notices_what_was_not_installed_by_set_up() {
    let place = Place::new();
    fs::create_dir_all(place.directory()).expect("a folder");
    let status = place.library().status(&place.root());
    assert!(matches!(status, Status::Damaged { .. }), "{status}");
    fs::write(place.directory().join("installed.json"), "{").expect("a broken stamp");
    let status = place.library().status(&place.root());
    assert!(matches!(status, Status::Damaged { .. }), "{status}");
    place.install();
}

#[test]
fn the_environment_leads_to_the_library() {
    let place = Place::new();
    place.install();
    let expected = [
        ("ENGINE".to_owned(), place.directory()),
        (
            "ENGINE_FILE".to_owned(),
            place.directory().join("lib/libengine.so"),
        ),
    ];
    let environment = place.library().environment(&place.root());
    assert_eq!(environment, expected);
    // `.` is not left at the end: cargo compares the values as text.
    assert_eq!(environment[0].1.as_os_str(), place.directory().as_os_str());
    assert_eq!(place.library().cargo_features(), ["native"]);
}

#[test]
fn a_library_of_the_user_is_honoured() {
    let place = Place::new();
    let own = tempfile::tempdir().expect("a temporary folder");
    let path = Some(own.path().to_owned());
    let cases = [
        ("ENGINE", own.path().into(), path),
        (
            "ENGINE",
            "libengine.so".into(),
            Some(PathBuf::from("libengine.so")),
        ),
        ("ENGINE_FROM_PYTHON", "".into(), None),
    ];
    // On a platform that is not supported, too.
    for os in ["some-os", "unknown-os"] {
        for (variable, value, path) in cases.clone() {
            let library = place.library_on(os, &[(variable, value)]);
            let fetcher = place.fetcher();
            let expected = Status::ProvidedByUser {
                variable: variable.into(),
                path,
            };

            assert_eq!(library.status(&place.root()), expected);
            let status = library.install_with(&place.root(), &fetcher, &silent());
            assert_eq!(status.expect("nothing to do"), expected);
            assert_eq!(fetcher.times(), 0);
            assert!(
                library.environment(&place.root()).is_empty(),
                "a child inherits the user's"
            );
            assert!(!place.root().exists());
        }
    }
}

#[test]
fn what_leads_to_the_native_root_is_not_the_users_own() {
    let place = Place::new();
    for value in [
        place.directory(),
        place.directory().join("lib/libengine.so"),
        "".into(),
    ] {
        let library = place.library_on("some-os", &[("ENGINE", value.into())]);
        assert_eq!(library.status(&place.root()), Status::Missing);
    }
}

#[test]
fn says_where_the_users_library_is_not() {
    let place = Place::new();
    let nowhere = place.backend().join("nowhere");
    let library = place.library_on("some-os", &[("ENGINE", nowhere.clone().into())]);

    let status = library.status(&place.root());
    assert!(!status.is_usable());
    let error = library
        .install_with(&place.root(), &place.fetcher(), &silent())
        .expect_err("the user is told");
    let expected = format!(
        "engine 1.2.3: ENGINE names {}, where nothing is",
        nowhere.display()
    );
    assert!(format!("{error:#}").starts_with(&expected), "{error:#}");
}

#[test]
fn says_what_works_where_there_are_no_wheels() {
    let place = Place::new();
    let library = place.library_on("unknown-os", &[]);
    let (progress, lines) = recorded();

    let status = library
        .install_with(&place.root(), &place.fetcher(), &progress)
        .expect("this is not an error");

    let expected = "engine 1.2.3 cannot be set up on unknown-os x86_64, only on some-os x86_64, \
                    other-os x86_64 (untested). Backends without a native.toml work on every \
                    platform. For this one, install engine 1.2.3 yourself and name it by \
                    ENGINE_FROM_PYTHON or ENGINE";
    assert_eq!(
        status,
        Status::UnsupportedPlatform {
            message: expected.into()
        }
    );
    assert_eq!(*lines.borrow(), [expected]);
    assert!(!status.is_usable());
    assert!(library.environment(&place.root()).is_empty());
}

#[test]
fn an_untested_platform_is_called_so() {
    let place = Place::new();
    let (progress, lines) = recorded();
    place
        .library_on("other-os", &[])
        .install_with(&place.root(), &place.fetcher(), &progress)
        .expect("the installation succeeds");
    assert_eq!(
        lines.borrow()[1],
        "  other-os x86_64 is prepared, but was never tested"
    );
}
