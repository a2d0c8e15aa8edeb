//! Gives the shared library its name.

mod soname;

fn main() {
    println!("cargo::rerun-if-changed=soname.rs");
    let linux_like = std::env::var("CARGO_CFG_TARGET_FAMILY").is_ok_and(|family| family == "unix")
        && std::env::var("CARGO_CFG_TARGET_VENDOR").is_ok_and(|vendor| vendor != "apple");
    if linux_like {
        let soname = soname::soname(env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"));
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,{soname}");
    }
}
