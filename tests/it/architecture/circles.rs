//! No circles: of the modules in one directory, none uses itself by way of others.
//!
//! A directory's `mod.rs` and its modules may use each other: the one is the outside of the others. A name that it
//! exports for a module counts as that module.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{File, files};

/// For every directory, which of its modules uses which.
#[derive(Default)]
struct Uses(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

impl Uses {
    fn of(files: &[File]) -> Self {
        let modules: BTreeSet<&[String]> = files.iter().map(|file| &file.module[..]).collect();
        let exports = exports(files);
        let mut uses = Self::default();
        for file in files {
            for name in file
                .names
                .iter()
                .filter(|name| name.is_ours && !name.in_test)
            {
                for depth in 1..file.module.len() {
                    let (directory, from) = (&file.module[..depth], &file.module[depth]);
                    let Some(to) = name.path.strip_prefix(directory).and_then(<[_]>::first) else {
                        break;
                    };
                    let of_module = exports.get(&(directory, to.as_str()));
                    let is_module =
                        modules.contains(&[directory, std::slice::from_ref(to)].concat()[..]);
                    if let Some(to) = of_module.copied().or(is_module.then_some(&to[..]))
                        && to != from
                    {
                        let directory = uses.0.entry(directory.join("::")).or_default();
                        let imported = directory.entry(from.clone()).or_default();
                        imported.insert(to.to_owned());
                    }
                }
            }
        }
        uses
    }

    /// One line for every group of modules that use each other: `directory: one ↔ two`.
    fn circles(&self) -> Vec<String> {
        let mut circles = BTreeSet::new();
        for (directory, uses) in &self.0 {
            for module in uses.keys() {
                let beyond = reachable(uses, module);
                let circle: Vec<&str> = beyond
                    .iter()
                    .copied()
                    .filter(|other| reachable(uses, other).contains(module.as_str()))
                    .collect();
                if !circle.is_empty() {
                    circles.insert(format!("{directory}: {}", circle.join(" ↔ ")));
                }
            }
        }
        circles.into_iter().collect()
    }
}

/// The names that a `mod.rs` takes from a module below it: by directory and name, the module.
fn exports(files: &[File]) -> BTreeMap<(&[String], &str), &str> {
    let mut exports = BTreeMap::new();
    for file in files {
        for name in file.names.iter().filter(|name| name.path.len() == 2) {
            if !name.is_ours && file.declares(&name.path[0]) {
                exports.insert((&file.module[..], name.last()), name.path[0].as_str());
            }
        }
    }
    exports
}

fn reachable<'a>(uses: &'a BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<&'a str> {
    let (mut found, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(module) = next.pop() {
        for used in uses.get(module).into_iter().flatten() {
            if found.insert(used.as_str()) {
                next.push(used);
            }
        }
    }
    found
}

#[test]
fn modules_of_a_directory_form_no_circle() {
    assert_eq!(Uses::of(&files()).circles(), [""; 0]);
}

#[test]
fn circle_through_an_exported_name_is_seen() {
    let mut files = vec![
        File::of(&["room"], "mod a; mod b; pub use b::{Thing as Other};"),
        File::of(&["room", "a"], "use super::Other; use crate::elsewhere::c;"),
        File::of(&["room", "b"], "use crate::room::c::d::X;"),
        File::of(&["room", "c"], "mod d; use d::X;"),
    ];
    assert_eq!(Uses::of(&files).circles(), [""; 0]);
    files.push(File::of(&["room", "c", "d"], "use super::super::a::A;"));
    assert_eq!(Uses::of(&files).circles(), ["room: a ↔ b ↔ c"]);
}
