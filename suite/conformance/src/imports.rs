//! Which modules of a crate import from which, and whether imports run in a circle.
//!
//! For tests of a crate's architecture. It reads paths as text: `crate::…` and `super::…`, without
//! comments and tests.

use std::collections::{BTreeMap, BTreeSet};
use std::{fs, io, path::Path};

/// Texts by module, which is written like `kernels::avx2::`; the root is empty.
pub type Sources = BTreeMap<String, String>;
/// By module of a folder, those beside it that it imports from. The folder's own `lib.rs` or `mod.rs`
/// is empty: it depends on all that it declares, and whoever takes another name from it depends on it.
pub type Imports = BTreeMap<String, BTreeSet<String>>;

/// The Rust files of a folder, without tests.
///
/// # Errors
/// Fails where a file cannot be read.
pub fn read(folder: &Path) -> io::Result<Sources> {
    let (mut sources, mut left) = (Sources::new(), vec![(folder.to_owned(), String::new())]);
    while let Some((folder, parent)) = left.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            let module = match &*name {
                "tests" | "main" => continue,
                "lib" | "mod" => parent.clone(),
                _ => format!("{parent}{name}::"),
            };
            if path.is_dir() {
                left.push((path, module));
            } else {
                sources.insert(module, fs::read_to_string(&path)?);
            }
        }
    }
    Ok(sources)
}

/// The paths of a source file that begin in its own crate, without comments and inline tests.
fn paths(text: &str) -> Vec<String> {
    let is_in_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let tests = ["", "pub(crate) "].map(|vis| format!("#[cfg(test)]\n{vis}mod tests {{"));
    let end = tests.iter().filter_map(|tests| text.find(tests)).min();
    let lines = text[..end.unwrap_or(text.len())].lines();
    let lines = lines.filter_map(|line| line.split("//").next());
    let mut code = lines.collect::<Vec<_>>().join(" ");
    // `a::{b, c}` becomes `a::b,a::c,`, from the innermost braces on.
    while let Some(open) = code.rfind("::{") {
        let close = open + code[open..].find('}').unwrap_or_default();
        let start = code[..open].trim_end_matches(is_in_path).len();
        let (prefix, names) = (&code[start..open], code[open + 3..close].split([',', ' ']));
        let names = names.filter(|name| !name.is_empty());
        let paths: String = names.map(|name| format!("{prefix}::{name},")).collect();
        code.replace_range(start..=close, &paths);
    }
    let paths = code.split(|c| !is_in_path(c)).map(str::to_owned);
    let is_own = |path: &String| path.starts_with("crate::") || path.starts_with("super::");
    paths.filter(is_own).collect()
}

/// The imports between the modules directly below `folder`.
pub fn imports(folder: &str, sources: &Sources) -> Imports {
    let room = |module: &str| Some(module.strip_prefix(folder)?.split("::").next()?.to_owned());
    let rooms: BTreeSet<String> = sources.keys().filter_map(|module| room(module)).collect();
    let mut imports = Imports::from([(String::new(), rooms.clone())]);
    for (module, text) in sources {
        for path in paths(text) {
            let mut to: Vec<&str> = module.split_terminator("::").collect();
            for name in path.split("::") {
                match name {
                    "crate" => to.clear(),
                    "super" => drop(to.pop()),
                    name => to.push(name),
                }
            }
            if let (Some(from), Some(to)) = (room(module), room(&to.join("::"))) {
                let to = rooms.get(&to).cloned().unwrap_or_default();
                imports.entry(from).or_default().insert(to);
            }
        }
    }
    imports
}

/// The modules to which a depth-first search that begins at them comes back.
pub fn circles(imports: &Imports) -> Vec<&str> {
    let is_on_circle = |room: &&String| {
        let (mut reached, mut next) = (BTreeSet::new(), vec![*room]);
        while let Some(room) = next.pop() {
            let others = imports.get(room).into_iter().flatten();
            next.extend(others.filter(|other| *other != room && reached.insert(*other)));
        }
        reached.contains(room)
    };
    let rooms = imports.keys().filter(is_on_circle);
    rooms.map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circles_are_found() {
        let plan = "use crate::{geometry::Span, ops::{self as operators, clamp::*}};";
        for (clamp, expected) in [
            ("use super::Operation; use crate::geometry::{A as B};", ""),
            ("use crate::{geometry, plan::{Bounds, Node}};", "ops plan"),
            ("fn f(bounds: &super::super::plan::Bounds)", "ops plan"),
            ("use crate::Bounds;", " ops plan"),
        ] {
            let files = [("plan", plan), ("geometry", "//"), ("ops::clamp", clamp)];
            let sources = files.map(|(name, text)| (format!("{name}::"), text.into()));
            let imports = imports("", &sources.into());
            assert_eq!(circles(&imports).join(" "), expected, "{clamp}");
        }
    }
}
