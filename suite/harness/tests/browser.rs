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

/// Says in the page how wide it is, and how wide the window.
const MEASURE: &str = r#"
const root = document.documentElement;
document.body.setAttribute("data-fits", String(root.scrollWidth <= root.clientWidth));
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
            // A phone.
            "--window-size=400,800",
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

/// Long names are broken, and what is wide scrolls by itself: nobody has to scroll a page sideways.
fn fits_a_phone(browser: &Path) -> Result<()> {
    let name = "long_name_without_end".repeat(12);
    let wide = "| wide |".repeat(30);
    let text = format!(
        "# {name}\n\n*Which engine runs {name} best?*\n\n- **{name}**: `{name}`\n\n### {name}\n\n{wide}\n{}\n{wide}\n\n\
         ![p](p.svg)\n",
        "|---|".repeat(30)
    );
    let page = Page {
        file: "README.md",
        title: &name,
        text: &text,
    };
    let plot = b"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"900\" height=\"300\" viewBox=\"0 0 900 300\"></svg>";
    let files = BTreeMap::from([(PathBuf::from("p.svg"), plot.to_vec())]);
    let html = document_with(&name, &[page], &files, MEASURE)?;
    let (dom, _) = shown(browser, &html)?;
    ensure!(
        dom.contains("data-fits=\"true\""),
        "the page is wider than its window: {dom}"
    );
    Ok(())
}

fn main() {
    let arguments = Arguments::from_args();
    let browser = browser();
    let is_required = std::env::var_os(REQUIRED).is_some();
    let is_ignored = browser.is_none() && !is_required;
    type Test = fn(&Path) -> Result<()>;
    let tests: [(&str, Test); 2] = [
        (
            "the report renders and sorts in a browser",
            renders_and_sorts,
        ),
        ("the report fits a phone", fits_a_phone),
    ];
    let trials = tests.map(|(name, test)| {
        let browser = browser.clone();
        let name = match is_ignored {
            true => format!("{name} (ignored: there is no browser; install chromium)"),
            false => name.to_owned(),
        };
        let trial = Trial::test(name, move || {
            let browser = browser.context("there is no browser: install the package chromium");
            browser
                .and_then(|browser| test(&browser))
                .map_err(|error| Failed::from(format!("{error:#}")))
        });
        trial.with_ignored_flag(is_ignored)
    });
    libtest_mimic::run(&arguments, trials.into()).exit();
}
