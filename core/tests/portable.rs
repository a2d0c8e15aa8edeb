//! `_home` as one blob.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::expect_used, reason = "tests")]

use luacell::{ErrorKind, ImportOptions, MemoryStore, Sandbox, SandboxConfig, StoreLimit};
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
    let trusted = ImportOptions::new().trusted(true);
    other.import_home_with(&blob, &trusted).unwrap();
    assert!(other.compute(CHECK).unwrap().get::<bool>().unwrap());
    assert!(other.compute("return _home.before == nil and held[1] == 1").unwrap().get::<bool>().unwrap());
    other.compute("_home.new = {held}").unwrap();
    let again = Sandbox::new().unwrap();
    again.import_home_with(&other.export_home().unwrap(), &trusted).unwrap();
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

/// Functions of all kinds and wherever they are; what has none is taken in.
#[test]
fn functions_come_from_trusted_sources_only() {
    let kinds = [
        "_home.f = function() end",
        "local n = 0 _home.f = function() n = n + 1 return n end",
        "_home.deep = {{1, {inner = {f = function() end}}}}",
    ];
    for source in kinds {
        let from = Sandbox::new().unwrap();
        from.compute(source).unwrap();
        let blob = from.export_home().unwrap();
        let sandbox = Sandbox::new().unwrap();
        sandbox.compute("_home.here = true").unwrap();
        let error = sandbox.import_home(&blob).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains("function in") && error.message().contains("trusted"), "{error}");
        assert!(sandbox.compute("return _home.here").unwrap().get::<bool>().unwrap());
        sandbox.import_home_with(&blob, &ImportOptions::new().trusted(true)).unwrap();
        assert!(sandbox.compute("return _home.here == nil").unwrap().get::<bool>().unwrap());
    }
    let from = Sandbox::new().unwrap();
    // Built-ins are names, and a text that looks like bytecode is a text.
    from.compute("_home.upper, _home.math, _home.code, _home.t = string.upper, math, '\\27Lua', {_home}").unwrap();
    let sandbox = Sandbox::new().unwrap();
    sandbox.import_home(&from.export_home().unwrap()).unwrap();
    assert!(sandbox.compute("return _home.upper('x') == 'X' and _home.t[1] == _home").unwrap().get::<bool>().unwrap());
}

/// A store that others can write to: its functions are not loaded, whichever way they are read; everything else is.
#[test]
fn a_store_may_be_one_to_take_no_functions_from() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let open = |functions| Sandbox::with_config(SandboxConfig::new().store(&path).stored_functions(functions)).unwrap();
    open(true)
        .compute("local up = 1 _home.a, _home.f, _home.g, _home.t, _home.u = 1, print and function() return 1 end, function() up = up + 1 return up end, {2, function() end}, string.upper")
        .unwrap();
    let sandbox = open(false);
    let refused = [
        "return _home.f()",
        "return _home.g()",
        "return _home.t[2]",
        "for k, v in pairs(_home) do end",
        "local f = next(_home.t, 1)",
        "for i, v in ipairs(_home.t) do end",
    ];
    for source in refused {
        let error = sandbox.compute(source).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Store, "{source}");
        assert!(error.message().contains("stored_functions"), "{error}");
    }
    for key in ["f", "g"] {
        assert_eq!(sandbox.home().get(key).unwrap_err().kind(), ErrorKind::Store);
    }
    assert_eq!(sandbox.home().to_table().unwrap_err().kind(), ErrorKind::Store);
    assert_eq!(sandbox.export_home().unwrap_err().kind(), ErrorKind::Store);
    assert_eq!(sandbox.snapshot().unwrap_err().kind(), ErrorKind::Store);
    assert_eq!(sandbox.fork().unwrap_err().kind(), ErrorKind::Store);
    let good = "local n = 0 _home.own = function() return 5 end for i = 1, 1 do n = n + _home.t[i] end return _home.a + n + _home.own(), _home.u('x')";
    assert_eq!(sandbox.compute(good).unwrap().values, [8.into(), "X".into()]);
    sandbox.gc().unwrap();
    drop(sandbox);
    assert_eq!(open(true).compute("return _home.f() + _home.g() + _home.own()").unwrap().get::<i64>().unwrap(), 8);
}

#[test]
fn a_blob_that_is_too_large_changes_nothing() {
    let from = Sandbox::new().unwrap();
    from.compute("for i = 1, 100 do _home[i] = {x = ('x'):rep(100)} end").unwrap();
    let blob = from.export_home().unwrap();
    for limit in [StoreLimit::new(u64::MAX, 199), StoreLimit::new(5000, u64::MAX)] {
        for store in [false, true] {
            let config = SandboxConfig::new().store_limit(limit);
            let config = if store { config.store(MemoryStore::new()) } else { config };
            let sandbox = Sandbox::with_config(config).unwrap();
            sandbox.compute("_home.here = true").unwrap();
            assert_eq!(sandbox.import_home(&blob).unwrap_err().kind(), ErrorKind::StoreLimit);
            let snapshot = from.snapshot().unwrap();
            let with_tables = luacell::RestoreOptions::new().tables(true);
            assert_eq!(sandbox.restore_with(&snapshot, &with_tables).unwrap_err().kind(), ErrorKind::StoreLimit);
            assert!(sandbox.compute("return _home.here and #_home == 0").unwrap().get::<bool>().unwrap());
        }
    }
    let enough = Sandbox::with_config(SandboxConfig::new().store_limit(StoreLimit::new(1 << 20, 200))).unwrap();
    enough.import_home(&blob).unwrap();
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

/// A blob that says what it likes, with a checksum that is right.
fn blob_of(tables: &[&[(&str, &[u8])]]) -> Vec<u8> {
    let mut body = (tables.len() as u32).to_le_bytes().to_vec();
    for entries in tables {
        body.extend((entries.len() as u64).to_le_bytes());
        for (key, value) in *entries {
            for part in [key.as_bytes(), value] {
                body.extend((part.len() as u64).to_le_bytes());
                body.extend(part);
            }
        }
    }
    let head = [b"LUACELL\n".as_slice(), &1u32.to_le_bytes()].concat();
    let rest = [(body.len() as u64).to_le_bytes().as_slice(), &body].concat();
    let sum = crc32fast::hash(&[head.as_slice(), &rest].concat());
    [head.as_slice(), &sum.to_le_bytes(), &rest].concat()
}

#[test]
fn an_edited_blob_is_refused_or_means_one_thing() {
    const ONE: &[u8] = &[2, 1, 0, 0, 0, 0, 0, 0, 0];
    const TWO: &[u8] = &[2, 2, 0, 0, 0, 0, 0, 0, 0];
    let sandbox = Sandbox::new().unwrap();
    sandbox.compute("_home.here = true").unwrap();
    let two_values = [ONE, TWO].concat();
    for entries in [
        &[("a", ONE), ("a", TWO)][..],
        &[("1", ONE), ("\\f1", TWO)],
        &[("abc", ONE), ("\\sabc", TWO)],
        &[("\\f1.5", ONE), ("\\f1.50", TWO)],
        &[("a", &[])],
        &[("a", &[0])],
        &[("a", &two_values)],
        &[("a", &[9, 0, 0, 0, 0])],
        &[("a", &[8, 1, 0, 0, 0, 0, 0, 0, 0])],
    ] {
        let error = sandbox.import_home(&blob_of(&[entries])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{entries:?}");
        assert!(sandbox.compute("return _home.here").unwrap().get::<bool>().unwrap());
    }
    // A key in another form than Lua's is the same key.
    let odd = [("\\f2", TWO), ("\\sabc", ONE), ("\\f1.50", ONE), ("\\odd", ONE), ("", ONE), ("-0", ONE)];
    sandbox.import_home(&blob_of(&[&odd])).unwrap();
    let source = r"
        assert(_home[2] == 2 and _home.abc == 1 and _home[1.5] == 1 and _home['\\odd'] == 1 and _home[''] == 1 and _home['-0'] == 1)
        local n = 0
        for k, v in pairs(_home) do assert(_home[k] == v) n = n + 1 end
        for k in pairs(_home) do _home[k] = nil end
        return n == 6 and next(_home) == nil";
    assert!(sandbox.compute(source).unwrap().get::<bool>().unwrap());
}
