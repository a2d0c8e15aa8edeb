//! Text of scripts on its way to a terminal, which would obey some characters instead of showing them.

/// Whether a character does something else than to be seen: it moves the cursor, changes colours, is invisible or turns
/// text around.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

/// A character or byte as an escape sequence of Lua.
pub fn escape(c: char, out: &mut String) {
    if c.is_ascii() {
        escape_byte(c as u8, out);
    } else {
        out.push_str(&format!("\\u{{{:x}}}", u32::from(c)));
    }
}

/// A byte that is no text.
pub fn escape_byte(byte: u8, out: &mut String) {
    out.push_str(&format!("\\x{byte:02x}"));
}

/// Lines of text, with escape sequences for what is hidden or not UTF-8. Tabs and line ends stay.
pub fn text(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        let mut characters = chunk.valid().chars().peekable();
        while let Some(c) = characters.next() {
            match c {
                '\n' | '\t' => out.push(c),
                '\r' if characters.peek() == Some(&'\n') => out.push(c),
                c if is_hidden(c) => escape(c, &mut out),
                c => out.push(c),
            }
        }
        chunk.invalid().iter().for_each(|&byte| escape_byte(byte, &mut out));
    }
    out
}

/// JSON that means the same, without anything hidden.
pub fn json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(text(b"\x1b[31mred\x07\x7f"), r"\x1b[31mred\x07\x7f");
        assert_eq!(text("\u{9b}2J \u{85}".as_bytes()), r"\u{9b}2J \u{85}");
        assert_eq!(text("a\u{202e}b\u{2066}c\u{200b}d\u{feff}".as_bytes()), r"a\u{202e}b\u{2066}c\u{200b}d\u{feff}");
        assert_eq!(text(b"\x9b\xff\0"), r"\x9b\xff\x00", "bytes that an 8-bit terminal obeys");
        assert_eq!(text("over\rwritten".as_bytes()), r"over\x0dwritten");
    }

    #[test]
    fn what_is_seen_stays() {
        let plain = "a\tb\r\nc\nünï 漢字 e\u{301} \u{1f600} \\ \"";
        assert_eq!(text(plain.as_bytes()), plain);
        assert_eq!(
            json(plain.trim_end()).replace("\\u000a", "\n").replace("\\u0009", "\t").replace("\\u000d", "\r"),
            plain
        );
    }

    #[test]
    fn json_keeps_its_meaning() {
        let value = serde_json::json!({"k\u{202e}\u{7f}": "\u{9b}31m\u{e0041}"});
        let shown = json(&value.to_string());
        assert!(shown.is_ascii(), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).ok(), Some(value));
    }
}
