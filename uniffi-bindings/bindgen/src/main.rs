//! The generator of the Swift and the Kotlin files, of the version that the library is built with. `cargo xtask
//! verify-generated` runs it.

fn main() {
    uniffi::uniffi_bindgen_main();
}
