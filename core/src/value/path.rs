//! Where in a value something is, for messages.

use crate::value::Value;

/// Longer ways are cut in the middle.
const SHOWN: usize = 12;

/// `root.name[1]["odd key"]`
pub(crate) fn path(root: &str, keys: impl ExactSizeIterator<Item = Value>) -> String {
    let mut out = root.to_owned();
    let n = keys.len();
    for (i, key) in keys.enumerate() {
        if n > SHOWN && i >= SHOWN / 2 && i < n - SHOWN / 2 {
            if i == SHOWN / 2 {
                out.push_str("...");
            }
            continue;
        }
        match &key {
            Value::String(s) if s.as_str().is_some_and(is_name) => {
                out.push('.');
                out.push_str(&s.to_string_lossy());
            }
            Value::String(s) => {
                let text: String = s.to_string_lossy().chars().take(60).collect();
                out.push_str(&format!("[{text:?}]"));
            }
            Value::Table(_) => out.push_str("[table]"),
            other => out.push_str(&format!("[{other:?}]")),
        }
    }
    out
}

fn is_name(text: &str) -> bool {
    text.len() <= 60
        && text.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
