//! Files of the state directory.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

/// Replaces a file by one that this user alone can read, or leaves the former one. Both the content and the name are on
/// the disk when it returns.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    replace_by_parts(path, [content])
}

/// As [`replace`], by parts that are written one after the other.
pub fn replace_by_parts<'a>(
    path: &Path,
    parts: impl IntoIterator<Item = &'a [u8]>,
) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(directory)?.sync_all()
}
