//! Which files a configuration was read from, and what they held: told by hashes.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use sha2::{Digest, Sha256};

/// What the files of a directory held.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Revision {
    /// The hash of each file, by its path within the directory.
    files: BTreeMap<String, [u8; 32]>,
}

impl Revision {
    /// Reads the files that a configuration is made of. What cannot be read counts as not there.
    pub fn of(directory: &Path) -> Self {
        let mut files = BTreeMap::new();
        let mut add = |name: String| {
            if let Ok(content) = super::file::text(&directory.join(&name)) {
                files.insert(name, Sha256::digest(content).into());
            }
        };
        add("tenantry.toml".to_owned());
        add("policy.toml".to_owned());
        for folder in ["tenants", "grants"] {
            let Ok(entries) = std::fs::read_dir(directory.join(folder)) else {
                continue;
            };
            for entry in entries.flatten() {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                if Path::new(name.as_ref())
                    .extension()
                    .is_some_and(|end| end == "toml")
                {
                    add(format!("{folder}/{name}"));
                }
            }
        }
        Self { files }
    }

    /// The files that came, went or changed since another one.
    pub fn changed_since(&self, old: &Self) -> Vec<String> {
        let names = self.files.keys().chain(old.files.keys());
        let mut changed: Vec<String> = names
            .filter(|name| self.files.get(*name) != old.files.get(*name))
            .cloned()
            .collect();
        changed.sort_unstable();
        changed.dedup();
        changed
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut whole = Sha256::new();
        for (name, hash) in &self.files {
            whole.update(name.as_bytes());
            whole.update([0]);
            whole.update(hash);
        }
        for byte in whole.finalize().iter().take(8) {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &str| {
            std::fs::write(directory.path().join(name), content).unwrap();
        };
        std::fs::create_dir(directory.path().join("grants")).unwrap();
        write("tenantry.toml", "a");
        write("grants/one.toml", "a");
        let old = Revision::of(directory.path());
        write("policy.toml", "a");
        write("grants/one.toml", "b");
        write("grants/note.txt", "b");
        let new = Revision::of(directory.path());
        assert_eq!(new.changed_since(&old), ["grants/one.toml", "policy.toml"]);
        assert_eq!(old.changed_since(&new), ["grants/one.toml", "policy.toml"]);
        assert_ne!(old.to_string(), new.to_string());
        assert_eq!(new.to_string().len(), 16);
        assert!(new.changed_since(&new).is_empty());
    }
}
