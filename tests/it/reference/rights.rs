//! The Redis user of `docs/clustering.md` may do all that the daemon does.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn read(path: impl AsRef<Path>) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The commands between these words and the next quote, in lower case.
fn commands(text: &str, before: &str, quote: char) -> Vec<String> {
    let after = text.split(before).skip(1);
    after
        .filter_map(|rest| rest.split_once(quote))
        .map(|(command, _)| command.to_lowercase())
        .collect()
}

/// The commands of every file with this extension in the directory.
fn used(directory: &str, extension: &str, before: &str, quote: char) -> BTreeSet<String> {
    let entries = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(directory));
    let paths = entries
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path());
    paths
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .flat_map(|path| commands(&read(path), before, quote))
        .collect()
}

#[test]
fn redis_user_may_run_every_command() {
    let page = read("docs/clustering.md");
    let (_, line) = page.split_once("user castaway on ").expect("the user");
    let (line, _) = line.split_once("\n\n").expect("its end");
    let granted: BTreeSet<&str> = line
        .split_whitespace()
        .filter_map(|word| word.strip_prefix('+'))
        .collect();
    let scripts = used("src/cluster/scripts", "lua", "redis.call('", '\'');
    let calls = used("src/cluster", "rs", "redis::cmd(\"", '"');
    assert!(
        scripts.len() > 10 && calls.len() > 2,
        "commands are written in another way"
    );
    for command in scripts.union(&calls) {
        assert!(
            granted.contains(command.as_str()),
            "docs/clustering.md: the user needs +{command}"
        );
    }
}
