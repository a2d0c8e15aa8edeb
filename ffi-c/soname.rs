/// The name that programs are linked with: it changes when the library's interface may, which before 1.0 is with the
/// minor version.
pub fn soname(major: &str, minor: &str) -> String {
    if major == "0" { format!("libluacell.so.0.{minor}") } else { format!("libluacell.so.{major}") }
}
