//! Files that are read whole.

use std::io;
use std::path::Path;

/// No file that a person keeps is longer, in bytes; reading and judging it must not hold up what runs.
const BYTES_MAX: u64 = 256 * 1024;

/// The text of a file. What is no plain file is not opened: a pipe would be waited for, without an end.
pub(super) fn text(path: &Path) -> io::Result<String> {
    let refused = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return refused("this is no plain file");
    }
    if metadata.len() > BYTES_MAX {
        return refused("this file has more than 256 KiB");
    }
    std::fs::read_to_string(path)
}
