//! The functions of the usual extensions, `extensions.tsv`.
//!
//! In: the name of a function outside `pg_catalog`. Out: what the file says of it, if each function of this
//! name in its schema belongs to the extension: one of the application's own could be called in its place.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::names::Listed;
use super::proof::Proof;

const EXTENSIONS: &str = include_str!("extensions.tsv");

/// By extension and name.
static LISTED: LazyLock<BTreeMap<(&'static str, &'static str), Listed>> = LazyLock::new(|| {
    let lines = EXTENSIONS.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let mut fields = line.split('\t');
            let (extension, names) = (fields.next()?, fields.next()?);
            let _reason = fields.next()?;
            let flags: Vec<&'static str> = fields.next()?.split(' ').collect();
            let listed = names
                .split(' ')
                .map(move |name| ((extension, name), Listed::new(name, flags.clone())));
            Some(listed)
        })
        .flatten()
        .collect()
});

impl Proof<'_> {
    /// What is listed of a function of an extension.
    pub(super) fn of_extension(&self, schema: &str, name: &str) -> Option<&'static Listed> {
        let here = self.catalog().functions_named(name);
        let mut here = here.filter(|function| function.schema == schema).peekable();
        let extension = here.peek()?.extension.as_deref()?;
        let is_its = here.all(|function| function.extension.as_deref() == Some(extension));
        LISTED
            .iter()
            .find(|((of, called), _)| is_its && *of == extension && *called == name)
            .map(|(_, listed)| listed)
    }
}
