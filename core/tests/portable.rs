//! `_home` as one blob.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::expect_used, reason = "tests")]

use luacell::{ErrorKind, Sandbox, SandboxConfig};
use proptest::prelude::*;

const FILL: &str = "
    _home.plain = {1, 2.5, 'three', true}
    _home.self = _home
    local shared = {name = 'shared'}
    _home.a, _home.b = {shared}, {shared}
    local n = 0
    _home.count = function() n = n + 1 return n end
    _home.upper = string.upper
    _home['odd \\n key'], _home[1], _home['1'], _home[0.5], _home[false] = '\\xff', 'i', 's', 'f', 'b'
    _home.count()";

const CHECK: &str = "
    return #_home.plain == 4 and _home.plain[2] == 2.5 and _home.self == _home and _home.a[1] == _home.b[1]
        and _home.a[1].name == 'shared' and _home.count() == 2 and _home.upper('x') == 'X'
        and _home['odd \\n key'] == '\\xff' and _home[1] == 'i' and _home['1'] == 's' and _home[0.5] == 'f' and _home[false] == 'b'";

fn filled() -> Vec<u8> {
    let sandbox = Sandbox::new().unwrap();
    sandbox.compute(FILL).unwrap();
    sandbox.export_home().unwrap()
}

#[test]
fn everything_travels_between_stores() {
    let folder = tempfile::tempdir().unwrap();
    let blob = filled();
    assert_eq!(blob, filled(), "the same content gives the same bytes");
    let other = Sandbox::with_config(SandboxConfig::new().store(folder.path().join("state"))).unwrap();
    other.compute("_home.before = {1} held = _home.before").unwrap();
    other.import_home(&blob).unwrap();
    assert!(other.compute(CHECK).unwrap().get::<bool>().unwrap());
    assert!(other.compute("return _home.before == nil and held[1] == 1").unwrap().get::<bool>().unwrap());
    other.compute("_home.new = {held}").unwrap();
    let again = Sandbox::new().unwrap();
    again.import_home(&other.export_home().unwrap()).unwrap();
    assert!(again.compute("return _home.new[1][1] == 1 and _home.count() == 3").unwrap().get::<bool>().unwrap());
    let empty = Sandbox::new().unwrap().export_home().unwrap();
    again.import_home(&empty).unwrap();
    assert!(again.home().is_empty().unwrap());
}

#[test]
fn other_versions_are_refused() {
    let mut blob = filled();
    blob[8] = 2;
    let sandbox = Sandbox::new().unwrap();
    let error = sandbox.import_home(&blob).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.message().contains("format 2"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn damage_is_refused(at in any::<prop::sample::Index>(), bit in 0u8..8, cut in any::<prop::sample::Index>()) {
        let blob = filled();
        let sandbox = Sandbox::new().unwrap();
        sandbox.compute("_home.here = true").unwrap();
        let mut damaged = blob.clone();
        damaged[at.index(blob.len())] ^= 1 << bit;
        for bytes in [&damaged[..], &blob[..cut.index(blob.len())], &[blob.as_slice(), b"x"].concat()] {
            prop_assert_eq!(sandbox.import_home(bytes).unwrap_err().kind(), ErrorKind::InvalidArgument);
        }
        prop_assert!(sandbox.compute("return _home.here").unwrap().get::<bool>().unwrap());
    }
}
