//! The part of a page that a command writes, between two marks that name the command.

use std::path::Path;

use anyhow::Context;

/// Replaces what stands between the marks of `command` in `file` by `text`.
///
/// # Errors
/// The file cannot be read or written, or has no such marks.
pub fn replace(file: &Path, command: &str, text: &str) -> anyhow::Result<()> {
    let begin = format!("<!-- made by `{command}`: begin -->\n");
    let end = format!("<!-- made by `{command}`: end -->");
    let page = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let replaced = (|| {
        let (before, rest) = page.split_once(&begin)?;
        let (_, after) = rest.split_once(&end)?;
        Some(format!("{before}{begin}{text}{end}{after}"))
    })();
    let replaced =
        replaced.with_context(|| format!("{}: no lines `{}` and `{end}`", file.display(), begin.trim()))?;
    std::fs::write(file, replaced).with_context(|| file.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_of_the_command_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("page.md");
        let marks = |command: &str, text: &str| {
            format!("<!-- made by `{command}`: begin -->\n{text}\n<!-- made by `{command}`: end -->\n")
        };
        std::fs::write(&file, format!("# A\n{}{}z\n", marks("a", "old"), marks("b", "b"))).unwrap();
        replace(&file, "a", "new\n").unwrap();
        let page = std::fs::read_to_string(&file).unwrap();
        assert_eq!(page, format!("# A\n{}{}z\n", marks("a", "new"), marks("b", "b")));
        let error = replace(&file, "c", "new\n").unwrap_err();
        assert!(error.to_string().contains("no lines `<!-- made by `c`: begin -->`"), "{error}");
    }
}
