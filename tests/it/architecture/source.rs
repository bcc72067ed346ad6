//! The sources as the rules see them: modules, and the paths that their code names. Comments and strings do not count.

use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, Group, Ident, TokenStream, TokenTree};

/// One file of the library below `src`.
pub(crate) struct File {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    /// `["transport", "connection", "reading"]`; of a `mod.rs`, its directory.
    pub(crate) module: Vec<String>,
    pub(crate) names: Vec<Name>,
    /// Modules that it declares and that have files of their own; and whether only tests have them.
    declared: Vec<(String, bool)>,
}

/// A path of at least two segments; absolute, and then without `crate`, if it begins with `crate`, `self` or `super`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) path: Vec<String>,
    pub(crate) is_ours: bool,
    /// Whether only `cfg(test)` has it.
    pub(crate) in_test: bool,
    /// The new name in `use … as …`.
    alias: Option<String>,
}

impl Name {
    /// The name by which the file knows it.
    pub(crate) fn last(&self) -> &str {
        let last = || self.path.last().expect("a segment");
        self.alias.as_ref().unwrap_or_else(last)
    }
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every file of the library: the binaries have rules of their own.
pub(crate) fn files() -> Vec<File> {
    let mut paths = Vec::new();
    below(&root(), &mut paths);
    assert!(paths.len() > 50, "the sources are not where they were");
    paths.sort();
    let mut files: Vec<File> = paths.into_iter().filter_map(File::read).collect();
    let of_tests: Vec<Vec<String>> = files.iter().flat_map(File::test_modules).collect();
    for file in &mut files {
        if of_tests
            .iter()
            .any(|module| file.module.starts_with(module))
        {
            file.names.iter_mut().for_each(|name| name.in_test = true);
        }
    }
    files
}

/// The Rust files below a directory.
pub(crate) fn below(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

impl File {
    fn read(path: PathBuf) -> Option<Self> {
        let inside = path.strip_prefix(root()).expect("a source file");
        let mut module: Vec<String> = inside
            .with_extension("")
            .iter()
            .map(|part| part.to_str().expect("a name").to_owned())
            .collect();
        if module.last().is_some_and(|last| last == "mod") {
            module.pop();
        }
        if ["lib", "main", "bin"].contains(&module[0].as_str()) {
            return None;
        }
        let text = fs::read_to_string(&path).expect("text");
        Some(Self::parsed(path, text, module))
    }

    /// A file of a test, with this code.
    pub(crate) fn of(module: &[&str], text: &str) -> Self {
        let module: Vec<String> = module.iter().map(|&part| part.to_owned()).collect();
        Self::parsed(PathBuf::new(), text.to_owned(), module)
    }

    fn parsed(path: PathBuf, text: String, module: Vec<String>) -> Self {
        let mut reader = Reader {
            module,
            in_test: false,
            names: Vec::new(),
            declared: Vec::new(),
        };
        reader.walk(&trees(text.parse().expect("Rust")));
        Self {
            path,
            text,
            module: reader.module,
            names: reader.names,
            declared: reader.declared,
        }
    }

    fn test_modules(&self) -> impl Iterator<Item = Vec<String>> {
        let of_tests = self.declared.iter().filter(|(_, in_test)| *in_test);
        of_tests.map(|(name, _)| [&self.module[..], std::slice::from_ref(name)].concat())
    }

    /// Whether `name` is a module below this one.
    pub(crate) fn declares(&self, name: &str) -> bool {
        self.declared.iter().any(|(declared, _)| declared == name)
    }

    /// The room: the first part of the module's path.
    pub(crate) fn room(&self) -> &str {
        &self.module[0]
    }
}

struct Reader {
    module: Vec<String>,
    in_test: bool,
    names: Vec<Name>,
    declared: Vec<(String, bool)>,
}

fn trees(tokens: TokenStream) -> Vec<TokenTree> {
    tokens.into_iter().collect()
}

fn is_punct(tokens: &[TokenTree], at: usize, which: char) -> bool {
    matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == which)
}

/// Whether the tokens are the brackets of `#[cfg(test)]`.
fn is_cfg_test(token: Option<&TokenTree>) -> bool {
    let words = token.map(|token| token.to_string().replace(' ', ""));
    words.is_some_and(|words| words == "[cfg(test)]" || words.starts_with("[cfg(all(test,"))
}

/// The place behind the item that begins at `at`.
fn end_of_item(tokens: &[TokenTree], at: usize) -> usize {
    let ends = |token: &TokenTree| match token {
        TokenTree::Punct(punct) => punct.as_char() == ';',
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        _ => false,
    };
    let rest = tokens[at..].iter();
    at + rest.take_while(|token| !ends(token)).count()
}

impl Reader {
    fn walk(&mut self, tokens: &[TokenTree]) {
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            let (next, third) = (tokens.get(at + 1), tokens.get(at + 2));
            match (token, next, third) {
                (TokenTree::Punct(_), attribute, _)
                    if is_punct(tokens, at, '#') && is_cfg_test(attribute) && !self.in_test =>
                {
                    let end = (end_of_item(tokens, at + 2) + 1).min(tokens.len());
                    self.in_test = true;
                    self.walk(&tokens[at + 2..end]);
                    self.in_test = false;
                    at = end;
                }
                // A module in the same file: its `super` is this module.
                (
                    TokenTree::Ident(word),
                    Some(TokenTree::Ident(name)),
                    Some(TokenTree::Group(body)),
                ) if word == "mod" => {
                    self.module.push(name.to_string());
                    self.walk(&trees(body.stream()));
                    self.module.pop();
                    at += 3;
                }
                (TokenTree::Ident(word), Some(TokenTree::Ident(name)), _)
                    if word == "mod" && is_punct(tokens, at + 2, ';') =>
                {
                    self.declared.push((name.to_string(), self.in_test));
                    at += 3;
                }
                (TokenTree::Ident(word), ..)
                    if !at
                        .checked_sub(1)
                        .is_some_and(|before| is_punct(tokens, before, '.')) =>
                {
                    at = self.path(tokens, at, word, &[]);
                }
                (TokenTree::Group(group), ..) => {
                    self.walk(&trees(group.stream()));
                    at += 1;
                }
                _ => at += 1,
            }
        }
    }

    /// Reads the path that begins with `first` at `at`, and continues `prefix`; returns the place behind it.
    fn path(&mut self, tokens: &[TokenTree], at: usize, first: &Ident, prefix: &[String]) -> usize {
        let mut segments = [prefix, &[first.to_string()]].concat();
        let mut at = at + 1;
        while is_punct(tokens, at, ':') && is_punct(tokens, at + 1, ':') {
            match tokens.get(at + 2) {
                Some(TokenTree::Ident(segment)) => segments.push(segment.to_string()),
                Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                    self.tree(group, &segments);
                    return at + 3;
                }
                _ => break,
            }
            at += 3;
        }
        let alias = match (tokens.get(at), tokens.get(at + 1)) {
            (Some(TokenTree::Ident(word)), Some(TokenTree::Ident(alias))) if word == "as" => {
                at += 2;
                Some(alias.to_string())
            }
            _ => None,
        };
        self.name(&segments, alias);
        at
    }

    /// Reads the braces of `use prefix::{…}`.
    fn tree(&mut self, group: &Group, prefix: &[String]) {
        let tokens = trees(group.stream());
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at = match token {
                TokenTree::Ident(first) => self.path(&tokens, at, first, prefix),
                _ => at + 1,
            };
        }
    }

    fn name(&mut self, segments: &[String], alias: Option<String>) {
        let supers = |segments: &[String]| segments.iter().take_while(|it| *it == "super").count();
        let (above, rest) = match segments[0].as_str() {
            "crate" => (0, &segments[1..]),
            "self" => {
                let up = supers(&segments[1..]);
                (self.module.len() - up, &segments[1 + up..])
            }
            "super" => {
                let up = supers(segments);
                (self.module.len() - up, &segments[up..])
            }
            _ if segments.len() == 1 => return,
            _ => (0, segments),
        };
        let is_ours = ["crate", "self", "super"].contains(&segments[0].as_str());
        let rest = rest.iter().filter(|it| *it != "self").cloned();
        let path: Vec<String> = self.module[..above].iter().cloned().chain(rest).collect();
        if !path.is_empty() {
            self.names.push(Name {
                path,
                is_ours,
                in_test: self.in_test,
                alias,
            });
        }
    }
}

#[test]
fn names_are_read_from_code_alone() {
    let text = "
        use crate::{a::{b, c as d}, e::*};
        //! [`crate::comment`]
        fn f() { let x = \"crate::string\"; super::g(x.h::<u8>()); tokio::select! { _ = self::i::j() => {} } }
        mod inner { use super::k; use super::super::l::{self, m}; }
        #[cfg(test)] mod tests { use n::o; } #[cfg(test)] mod more; use p::q;
    ";
    let file = File::of(&["room", "file"], text);
    let said: Vec<String> = file
        .names
        .iter()
        .map(|name| {
            let place = if name.in_test { " in a test" } else { "" };
            format!("{} {}{place}", name.path.join("::"), name.last())
        })
        .collect();
    assert_eq!(
        said,
        [
            "a::b b",
            "a::c d",
            "e e",
            "room::g g",
            "tokio::select select",
            "room::file::i::j j",
            "room::file::k k",
            "room::l l",
            "room::l::m m",
            "n::o o in a test",
            "p::q q",
        ]
    );
    assert_eq!(file.declared, [("more".to_owned(), true)]);
}
