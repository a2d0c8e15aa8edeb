//! Inputs of earlier sessions, in the user's state folder.

use std::path::PathBuf;

use rustyline::Editor;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;

use super::input::Checker;

/// The history file.
pub struct History(PathBuf);

/// Reads the history into the editor. Without a place for it the session has none; that is no reason to complain.
pub fn open(editor: &mut Editor<Checker, FileHistory>) -> Option<History> {
    let folder = state_folder()?.join("luacell");
    std::fs::create_dir_all(&folder).ok()?;
    let file = folder.join("history");
    match editor.load_history(&file) {
        Ok(()) => {}
        Err(ReadlineError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => {}
        // Never overwrite what can't be read.
        Err(_) => return None,
    }
    Some(History(file))
}

impl History {
    /// Keeps an input, at once: a session may end by a signal.
    pub fn add(&self, editor: &mut Editor<Checker, FileHistory>, line: &str) {
        if editor.add_history_entry(line).is_ok_and(|added| added) {
            // A full disk must not end the session.
            let _ = editor.append_history(&self.0);
        }
    }
}

/// Where programs keep state: `XDG_STATE_HOME` if it is set, else the platform's habit.
fn state_folder() -> Option<PathBuf> {
    let from_environment = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if let Some(folder) = from_environment("XDG_STATE_HOME") {
        return Some(folder);
    }
    if cfg!(windows) {
        return from_environment("LOCALAPPDATA");
    }
    let home = from_environment("HOME")?;
    Some(if cfg!(target_os = "macos") { home.join("Library/Application Support") } else { home.join(".local/state") })
}
