//! A record: `run.json`, a NUL, and the lines of a backend. What can be read is judged.

#![no_main]

use firstpass_fuzz::Folder;
use firstpass_harness::{
    compare::{gate, limits::Limits, selection::Selection},
    record::Record,
    studies::first_passes::judge::{disturbance, latency},
};
use firstpass_trial::repeatability;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static FOLDER: Folder = Folder::new();
}

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(2, |&byte| byte == 0);
    let (Some(run), Some(lines)) = (parts.next(), parts.next()) else {
        return;
    };
    let record = FOLDER.with(|folder| {
        folder.write("run.json", run);
        folder.write("engine.jsonl", lines);
        Record::read(folder.path())
    });
    let Ok(record) = record else {
        return;
    };
    let _ = latency::summarise(record.observations());
    let _ = disturbance::summarise(record.observations(), record.run.machine.cores);
    let _ = repeatability::judge(record.observations());
    let (limits, all) = (Limits::default(), Selection::default());
    let _ = gate::judge(&record, Some(&record), &limits, &all);
});
