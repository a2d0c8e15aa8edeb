//! The files that this process has open, so that it opens each of them once.

use std::sync::{Mutex, Weak};

use super::open_file::OpenFile;
use crate::util::process::PerProcess;

type Files = Mutex<Vec<Weak<OpenFile>>>;

const fn none() -> Files {
    Mutex::new(Vec::new())
}

static FILES: PerProcess<Files> = PerProcess::new(none());

/// What its parent had open is not open in a process that came from a fork.
pub(super) fn of_this_process() -> &'static Files {
    FILES.get(none)
}
