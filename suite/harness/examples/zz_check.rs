fn main() {
    let workspace = firstpass_harness::workspace::Workspace::find().expect("here");
    match firstpass_harness::report::check(&workspace, &workspace.reports()) {
        Ok(()) => println!("up to date"),
        Err(error) => println!("{error:#}"),
    }
}
