//! A record whose words are others': `run.json`, a NUL, and the lines of an engine. Its pages and what a terminal
//! shows give no orders, whatever the record says.

#![no_main]

use firstpass_fuzz::Folder;
use firstpass_harness::{
    record::Record,
    report::{render, terminal},
    studies::first_passes::analysis::Analysis,
};
use firstpass_probe::is_invisible;
use firstpass_trial::workspace::Workspace;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static FOLDER: Folder = Folder::new();
    static WORKSPACE: Workspace = Workspace::find().expect("the checkout");
}

fn is_harmless(text: &str) -> bool {
    let seen = |c: char| matches!(c, '\n' | '\t') || !(c.is_control() || is_invisible(c));
    text.chars().all(seen) && !text.to_lowercase().contains("<script")
}

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(2, |&byte| byte == 0);
    let (Some(run), Some(lines)) = (parts.next(), parts.next()) else {
        return;
    };
    FOLDER.with(|folder| {
        folder.write("run.json", run);
        folder.write("engine.jsonl", lines);
    });
    let folder = FOLDER.with(|folder| folder.path().to_owned());
    WORKSPACE.with(|workspace| {
        let Ok(record) = Record::read(&folder) else {
            return;
        };
        let Ok(analysis) = Analysis::new(workspace, record) else {
            return;
        };
        if let Ok(summary) = terminal::summary(&analysis) {
            assert!(is_harmless(&summary), "{summary:?}");
        }
        if let Ok(rendered) = render(workspace, &folder, &analysis) {
            assert!(is_harmless(&rendered.block), "{:?}", rendered.block);
            for (path, bytes) in &rendered.files {
                let text = String::from_utf8_lossy(bytes);
                if path.extension().is_some_and(|e| e == "md") {
                    assert!(is_harmless(&text), "{}: {text}", path.display());
                }
            }
        }
    });
});
