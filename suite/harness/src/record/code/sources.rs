//! Rust sources by what they mean: their tokens, without what no build of a probe sees.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result};
use proc_macro2::{Delimiter, Group, Spacing, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{
    Attribute, Block, File, ItemImpl, ItemMod, ItemTrait, Meta, Token,
    parse::Parser,
    punctuated::Punctuated,
    visit_mut::{self, VisitMut},
};

use super::{files_below, short_hash};

/// The hashes of a crate's root file and of every module that it declares, by path.
///
/// # Errors
/// Fails where a file cannot be read.
pub(super) fn hashes(root: &Path) -> Result<BTreeMap<PathBuf, String>> {
    let mut hashes = BTreeMap::new();
    let folder = root.parent().unwrap_or(Path::new(""));
    add(root, folder, &mut hashes)?;
    Ok(hashes)
}

/// Adds a file and the modules that it declares, whose files lie in `folder`.
fn add(file: &Path, folder: &Path, hashes: &mut BTreeMap<PathBuf, String>) -> Result<()> {
    if hashes.contains_key(file) {
        return Ok(());
    }
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let Some((meaning, modules)) = read_once(&bytes, file, folder) else {
        hashes.insert(file.into(), short_hash(&bytes));
        // It does not say which modules it has, so every file that may be one of them counts.
        for other in files_below(folder)? {
            if other.extension().is_some_and(|e| e == "rs") {
                add(&other, &other.with_extension(""), hashes)?;
            }
        }
        return Ok(());
    };
    hashes.insert(file.into(), meaning);
    for module in modules {
        add(&module.file, &module.folder, hashes)?;
    }
    Ok(())
}

/// The hash of what a source means, and its modules, as [`read`] gives them. Several studies ask for the same sources,
/// and parsing takes time: what these bytes mean is remembered.
fn read_once(bytes: &[u8], file: &Path, folder: &Path) -> Option<Meaning> {
    static KNOWN: Mutex<Meanings> = Mutex::new(BTreeMap::new());
    let key = (file.to_owned(), folder.to_owned(), short_hash(bytes));
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let there = |(_, modules): &Meaning| modules.iter().all(|module| module.file.is_file());
    if let Some(meaning) = known().get(&key).filter(|m| m.as_ref().is_none_or(there)) {
        return meaning.clone();
    }
    let meaning = read(bytes, file, folder);
    let meaning = meaning.map(|(text, modules)| (short_hash(text.as_bytes()), modules));
    known().insert(key, meaning.clone());
    meaning
}

/// What sources mean, by their file, the folder of their modules, and the hash of their bytes.
type Meanings = BTreeMap<(PathBuf, PathBuf, String), Option<Meaning>>;

/// The hash of a source, and the modules that it declares.
type Meaning = (String, Vec<Module>);

/// What a source means, and the modules that it declares and that are there; `None` where it is no
/// Rust that is understood here.
fn read(bytes: &[u8], file: &Path, folder: &Path) -> Option<(String, Vec<Module>)> {
    let mut parsed = syn::parse_file(std::str::from_utf8(bytes).ok()?).ok()?;
    let mut built = Built {
        file,
        folder: folder.into(),
        modules: Vec::new(),
    };
    built.visit_file_mut(&mut parsed);
    let mut meaning = String::new();
    write_tokens(parsed.into_token_stream(), &mut meaning);
    Some((meaning, built.modules))
}

/// A module in a file of its own.
#[derive(Clone)]
struct Module {
    file: PathBuf,
    /// Where the files of its own modules lie.
    folder: PathBuf,
}

/// Removes what only tests are built from, and notes the modules that are left.
struct Built<'a> {
    file: &'a Path,
    /// Where the files of the modules lie that are declared here.
    folder: PathBuf,
    modules: Vec<Module>,
}

impl VisitMut for Built<'_> {
    fn visit_file_mut(&mut self, file: &mut File) {
        file.items.retain(is_built);
        visit_mut::visit_file_mut(self, file);
    }

    fn visit_item_mod_mut(&mut self, module: &mut ItemMod) {
        let folder = self.folder.join(module.ident.to_string());
        let Some((_, items)) = &mut module.content else {
            let candidates = match path_of(&module.attrs) {
                Some(path) => {
                    let file = self.file.with_file_name(path);
                    let folder = file.parent().map(Path::to_owned).unwrap_or_default();
                    vec![Module { file, folder }]
                }
                None => [folder.with_extension("rs"), folder.join("mod.rs")]
                    .into_iter()
                    .map(|file| Module {
                        file,
                        folder: folder.clone(),
                    })
                    .collect(),
            };
            let mut there = candidates.into_iter().filter(|m| m.file.is_file());
            self.modules.extend(there.next());
            return;
        };
        items.retain(is_built);
        let outer = std::mem::replace(&mut self.folder, folder);
        visit_mut::visit_item_mod_mut(self, module);
        self.folder = outer;
    }

    fn visit_item_impl_mut(&mut self, item: &mut ItemImpl) {
        item.items.retain(is_built);
        visit_mut::visit_item_impl_mut(self, item);
    }

    fn visit_item_trait_mut(&mut self, item: &mut ItemTrait) {
        item.items.retain(is_built);
        visit_mut::visit_item_trait_mut(self, item);
    }

    fn visit_block_mut(&mut self, block: &mut Block) {
        block.stmts.retain(is_built);
        visit_mut::visit_block_mut(self, block);
    }
}

/// The path of `#[path = "…"]`.
fn path_of(attributes: &[Attribute]) -> Option<String> {
    let path = attributes.iter().find(|a| a.path().is_ident("path"))?;
    match &path.meta.require_name_value().ok()?.value {
        syn::Expr::Lit(syn::ExprLit {
            lit: syn::Lit::Str(path),
            ..
        }) => Some(path.value()),
        _ => None,
    }
}

/// Whether something is there where no test is built. Its tokens begin with its attributes, which the
/// types of items have no common accessor for.
fn is_built(part: &impl ToTokens) -> bool {
    let mut tokens = part.to_token_stream().into_iter().peekable();
    let mut first = TokenStream::new();
    while let Some(hash) =
        tokens.next_if(|t| matches!(t, TokenTree::Punct(p) if p.as_char() == '#'))
    {
        first.extend([hash].into_iter().chain(tokens.next()));
    }
    if first.is_empty() {
        return true;
    }
    let attributes = Attribute::parse_outer.parse2(first);
    !attributes.is_ok_and(|attributes| {
        attributes.iter().any(|attribute| {
            let is = |name| attribute.path().is_ident(name);
            is("test")
                || is("cfg")
                    && attribute
                        .parse_args()
                        .is_ok_and(|condition| needs_test(&condition))
        })
    })
}

/// Whether a condition of `cfg` holds in no build without `test`.
fn needs_test(condition: &Meta) -> bool {
    match condition {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) => {
            let parts = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
            let Ok(parts) = parts else {
                return false;
            };
            if list.path.is_ident("all") {
                parts.iter().any(needs_test)
            } else {
                list.path.is_ident("any") && !parts.is_empty() && parts.iter().all(needs_test)
            }
        }
        Meta::NameValue(_) => false,
    }
}

/// Writes tokens one after the other, without documentation. Macros keep theirs as tokens too, which
/// is why documentation is left out here and not where items are visited.
fn write_tokens(tokens: TokenStream, out: &mut String) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let is = |token: &TokenTree, c: char| matches!(token, TokenTree::Punct(p) if p.as_char() == c);
    let mut rest = &tokens[..];
    while let [token, after @ ..] = rest {
        rest = match rest {
            [hash, TokenTree::Group(group), after @ ..] if is(hash, '#') && is_doc(group) => after,
            [hash, not, TokenTree::Group(group), after @ ..]
                if is(hash, '#') && is(not, '!') && is_doc(group) =>
            {
                after
            }
            _ => {
                write_token(token, out);
                after
            }
        };
    }
}

fn write_token(token: &TokenTree, out: &mut String) {
    match token {
        TokenTree::Group(group) => {
            let (open, close) = match group.delimiter() {
                Delimiter::Parenthesis => ("(", ")"),
                Delimiter::Brace => ("{", "}"),
                Delimiter::Bracket => ("[", "]"),
                Delimiter::None => ("", ""),
            };
            *out += open;
            write_tokens(group.stream(), out);
            *out += close;
        }
        // `&&` is not `& &`.
        TokenTree::Punct(punct) if punct.spacing() == Spacing::Joint => out.push(punct.as_char()),
        other => {
            *out += &other.to_string();
            out.push(' ');
        }
    }
}

fn is_doc(attribute: &Group) -> bool {
    let first = attribute.stream().into_iter().next();
    attribute.delimiter() == Delimiter::Bracket
        && matches!(first, Some(TokenTree::Ident(name)) if name == "doc")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(text: &str) -> Option<String> {
        read(text.as_bytes(), Path::new("lib.rs"), Path::new("")).map(|(meaning, _)| meaning)
    }

    const SOURCE: &str = "pub fn f(a: &[u8]) -> usize { a.len() && macro_of! { x } }
        impl S { fn g() { let b = 1; } }
        mod m { fn h() {} }";

    #[test]
    fn what_no_probe_is_built_from_has_no_meaning() {
        let same = [
            "//! Docs.\n#![doc = \"more\"]\n
             /// One.
             pub fn f(a: &[u8]) -> usize { /* two */ a.len() && macro_of! { /// three
                x } }
             impl S {
                 // Four.
                 #[cfg(test)]
                 fn only_tested() {}
                 /** Five. */
                 fn g() { #[cfg(test)] let c = 2; let b = 1; }
             }
             mod m { #[cfg(test)] use super::*; fn h() {} }",
            &format!("{SOURCE}\n#[cfg(test)] mod tests {{ #[test] fn works() {{}} }}"),
            &format!("{SOURCE}\n#[cfg(all(test, unix))] mod tests;\n#[test] fn works() {{}}"),
        ];
        assert!(meaning(SOURCE).is_some());
        for text in same {
            assert_eq!(meaning(text), meaning(SOURCE), "{text}");
        }
    }

    #[test]
    fn every_token_of_a_probe_has_a_meaning() {
        let changes = [
            ("a.len()", "a.size()"),
            ("usize", "u64"),
            ("let b = 1", "let b = 2"),
            ("{ x }", "{ y }"),
            ("a.len() &&", "a.len() & &"),
            ("fn h", "#[cfg(not(test))] fn h"),
            ("fn h", "#[cfg(any(test, unix))] fn h"),
            ("fn h", "#[inline] fn h"),
        ];
        for (from, to) in changes {
            let text = SOURCE.replace(from, to);
            assert!(meaning(&text).is_some(), "{text}");
            assert_ne!(meaning(&text), meaning(SOURCE), "{text}");
        }
    }

    #[test]
    fn modules_are_followed_to_their_files_and_others_are_not_there() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let write = |path: &str, text: &str| -> Result<()> {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap_or(&path))?;
            Ok(std::fs::write(path, text)?)
        };
        let root =
            "mod a; mod inner { mod deep; } #[cfg(test)] mod tests; #[path = \"p/q.rs\"] mod b;";
        write("lib.rs", root)?;
        write("a.rs", "mod c;")?;
        write("a/c.rs", "")?;
        write("inner/deep/mod.rs", "")?;
        write("p/q.rs", "mod r;")?;
        write("p/r.rs", "")?;
        write("tests.rs", "")?;
        write("unlinked.rs", "")?;
        let modules_of = |root: &str| -> Result<Vec<String>> {
            let files = hashes(&dir.path().join(root))?.into_keys();
            let names = files.map(|file| Ok(file.strip_prefix(dir.path())?.display().to_string()));
            names.collect()
        };
        let modules = [
            "a/c.rs",
            "a.rs",
            "inner/deep/mod.rs",
            "lib.rs",
            "p/q.rs",
            "p/r.rs",
        ];
        assert_eq!(modules_of("lib.rs")?, modules);
        // Of a file that is not understood any other may be a module.
        write("lib.rs", "mod a; not Rust")?;
        assert_eq!(modules_of("lib.rs")?.len(), 8);
        Ok(())
    }

    #[test]
    fn a_file_that_is_no_rust_counts_by_its_bytes() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("lib.rs");
        let hash_of = |text: &str| -> Result<String> {
            std::fs::write(&file, text)?;
            Ok(hashes(&file)?.remove(&file).unwrap_or_default())
        };
        assert_ne!(hash_of("not Rust // one")?, hash_of("not Rust // two")?);
        assert_eq!(hash_of("fn f() {} // one")?, hash_of("fn f() {} // two")?);
        Ok(())
    }
}
