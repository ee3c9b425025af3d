//! The report as HTML in a real browser: it renders without an error, tables sort, and what others wrote does
//! nothing. Without a browser the test is ignored and says so, but where [`REQUIRED`] is set that is a failure.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use firstpass_harness::page::html::{Page, document_with};
use libtest_mimic::{Arguments, Failed, Trial};

/// Where this is set, a missing browser is a failure.
const REQUIRED: &str = "FIRSTPASS_REQUIRE_BROWSER";

const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// Clicks on the second column of the first table, and says in the page what happened.
const CLICK: &str = r#"
document.querySelectorAll("th button")[1].click();
const order = Array.from(document.querySelectorAll("tbody tr")).map((row) => row.cells[0].textContent.trim());
document.body.setAttribute("data-order", order.join(","));
document.body.setAttribute("data-pwned", String(window.pwned));
"#;

fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let files = BROWSERS
        .iter()
        .flat_map(|name| folders.iter().map(move |f| f.join(name)));
    let mut files = files.collect::<Vec<_>>().into_iter();
    files.find(|file| file.is_file())
}

/// The page as the browser shows it, and what it said on its console.
fn shown(browser: &Path, html: &str) -> Result<(String, String)> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("report.html");
    std::fs::write(&file, html)?;
    let output = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--enable-logging=stderr",
            "--virtual-time-budget=2000",
            "--dump-dom",
        ])
        .arg(format!(
            "--user-data-dir={}",
            folder.path().join("profile").display()
        ))
        .arg(format!("file://{}", file.display()))
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", browser.display()))?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    ensure!(output.status.success(), "{}", text(output.stderr));
    Ok((text(output.stdout), text(output.stderr)))
}

fn renders_and_sorts(browser: &Path) -> Result<()> {
    let hostile = "# T\n\n<script>window.pwned = 1</script> <img src=x onerror=\"window.pwned=2\">\n\n\
                   | engine | ms |\n|---|---|\n| b | 10.5 |\n| a | 9 |\n| c | – |\n\n\
                   <details>\n<summary>more</summary>\n\n![p](p.svg)\n\n</details>\n";
    let page = Page {
        file: "README.md",
        title: "<script>window.pwned = 3</script>",
        text: hostile,
    };
    let files = BTreeMap::from([(
        PathBuf::from("p.svg"),
        b"<svg xmlns=\"http://www.w3.org/2000/svg\"><script>window.pwned = 4</script></svg>"
            .to_vec(),
    )]);
    let html = document_with(
        "</title><script>window.pwned = 5</script>",
        &[page],
        &files,
        CLICK,
    )?;
    let (dom, console) = shown(browser, &html)?;
    ensure!(
        dom.contains("data-order=\"a,b,c\""),
        "the table is not sorted: {dom}"
    );
    ensure!(
        dom.contains("data-pwned=\"undefined\""),
        "a name ran as a program: {dom}"
    );
    // The browser says there what it refuses to run; an error of our own script is a fault.
    let faults: Vec<&str> = console
        .lines()
        .filter(|line| line.contains("CONSOLE") && line.contains("Uncaught"))
        .collect();
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}

fn main() {
    let arguments = Arguments::from_args();
    let browser = browser();
    let is_required = std::env::var_os(REQUIRED).is_some();
    let name = match (&browser, is_required) {
        (None, false) => {
            "the report renders and sorts in a browser (ignored: there is none; install chromium)"
        }
        _ => "the report renders and sorts in a browser",
    };
    let is_ignored = browser.is_none() && !is_required;
    let trial = Trial::test(name, move || {
        let browser = browser.context("there is no browser: install the package chromium");
        browser
            .and_then(|browser| renders_and_sorts(&browser))
            .map_err(|error| Failed::from(format!("{error:#}")))
    });
    libtest_mimic::run(&arguments, vec![trial.with_ignored_flag(is_ignored)]).exit();
}
