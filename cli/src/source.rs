//! Reading scripts.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, Result};

/// More than any sandbox takes as a script.
const MOST_TEXT: u64 = 64 << 20;

/// More than a `_home` takes as a blob with the limits that there are.
pub const MOST_DATA: u64 = 2 << 30;

/// Reads to the end, if there is one: a device would fill all memory.
pub fn read_to_end(from: impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("it has more than {most} bytes")));
    }
    Ok(bytes)
}

/// A script's text and the name that Lua gives it in messages.
#[derive(Debug, PartialEq)]
pub struct Source {
    pub text: Vec<u8>,
    pub chunk: String,
}

impl Source {
    /// Reads a file, or standard input when it is `-`.
    pub fn read(file: &Path) -> Result<Self> {
        let (text, chunk) = if file == Path::new("-") {
            let text = read_to_end(io::stdin().lock(), MOST_TEXT).context("cannot read standard input")?;
            (text, "=stdin".to_owned())
        } else {
            let text = File::open(file).and_then(|file| read_to_end(file, MOST_TEXT));
            let text = text.with_context(|| format!("cannot read {}", file.display()))?;
            (text, format!("@{}", file.display()))
        };
        Ok(Self { text: skip_first_comment(text), chunk })
    }
}

/// As Lua does with files: no byte order mark, and a first line that starts with `#` (for Unix) is taken out. Its
/// newline stays, so that line numbers are right.
pub fn skip_first_comment(mut text: Vec<u8>) -> Vec<u8> {
    let mark = text.len() - without_mark(&text).len();
    text.drain(..mark);
    if text.starts_with(b"#") {
        let end = text.iter().position(|&byte| byte == b'\n').unwrap_or(text.len());
        text.drain(..end);
    }
    text
}

/// Text without the mark of the byte order that editors of Windows put in front.
pub fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::skip_first_comment;

    #[test]
    fn a_first_line_for_unix_leaves_its_newline() {
        let skipped = |text: &[u8]| skip_first_comment(text.to_vec());
        assert_eq!(skipped(b"#!/usr/bin/luacell\nreturn 1"), b"\nreturn 1");
        assert_eq!(skipped(b"\xEF\xBB\xBF# comment\r\nreturn 1"), b"\nreturn 1");
        assert_eq!(skipped(b"\xEF\xBB\xBFreturn 1"), b"return 1");
        assert_eq!(skipped(b"#only"), b"");
        assert_eq!(skipped(b"return #x"), b"return #x");
    }
}
