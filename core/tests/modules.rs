//! Modules through the public interface; what `require` itself does is in the corpus.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use luacell::{ComputeOptions, Error, ErrorKind, Folder, Module, ModuleResolver, Sandbox, SandboxConfig};

fn with(resolver: impl ModuleResolver + 'static) -> Sandbox {
    Sandbox::with_config(SandboxConfig::new().modules(resolver)).unwrap()
}

#[test]
fn maps() {
    let lua = with(HashMap::from([("a.b".to_owned(), "return {n = 5, name = ...}")]));
    assert_eq!(lua.compute("return require('a.b').n, require('a.b').name").unwrap().values, [5.into(), "a.b".into()]);
    let error = lua.compute_with("require 'c'", ComputeOptions::new().name("=x")).unwrap_err();
    assert_eq!(
        error.message(),
        "x:1: module 'c' not found:\n\tno field package.preload['c']\n\tno module 'c' in the host's list"
    );
    let lua = with(BTreeMap::from([("big".to_owned(), format!("return '{}'", "x".repeat(300_000)))]));
    assert_eq!(lua.compute("return #require 'big'").unwrap().values, [300_000.into()]);
}

#[test]
fn functions_are_asked_once() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let lua = with(move |name: &str| {
        count.fetch_add(1, Ordering::Relaxed);
        match name {
            "down" => Err(Error::host("the module server is down")),
            "none" => Ok(None),
            _ => Ok(Some(Module { source: b"error 'oops'".to_vec(), chunk_name: "@lib/x.lua".to_owned() })),
        }
    });
    let error = lua.compute("require 'x'").unwrap_err();
    assert_eq!((error.chunk(), error.line()), (Some("lib/x.lua"), Some(1)));
    let error = lua.compute("require 'down'").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::HostFunction);
    assert!(error.message().contains("the module server is down"), "{error}");
    assert!(lua.compute("require 'none'").unwrap_err().message().contains("the host has no module 'none'"));
    assert_eq!(asked.load(Ordering::Relaxed), 3);
    let lua = with(|_: &str| -> Result<Option<Module>, Error> { panic!("no") });
    assert!(lua.compute("require 'x'").is_err());
    assert_eq!(lua.compute("return require('bigint').new('123', 10):tostring()").unwrap().values, ["123".into()]);
}

#[test]
fn folders() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("lib");
    std::fs::create_dir_all(root.join("sub")).unwrap();
    std::fs::create_dir_all(root.join("pack")).unwrap();
    std::fs::write(folder.path().join("secret.lua"), "return 'secret'").unwrap();
    std::fs::write(root.join("a.lua"), "return 'a'").unwrap();
    std::fs::write(root.join("sub/b.lua"), "\nerror('here')").unwrap();
    std::fs::write(root.join("pack/init.lua"), "#!shebang\nreturn 'pack'").unwrap();
    std::fs::write(root.join("v1.2.lua"), "return 'dots are folders'").unwrap();
    let lua = with(Folder::new(&root));
    assert_eq!(lua.compute("return require('a'), (require 'pack')").unwrap().values, ["a".into(), "pack".into()]);
    let error = lua.compute("require 'sub.b'").unwrap_err();
    assert!(error.message().contains("sub/b.lua:2: here"), "{error}");
    let error = lua.compute("require 'x.y'").unwrap_err();
    assert!(error.message().contains("no file 'x/y.lua'\n\tno file 'x/y/init.lua'"), "{error}");
    for name in
        ["../secret", "..secret", "/etc/passwd", "sub/../a", "a\\0", "", ".", "a.", ".a", "sub\\\\b", "v1.2", "~"]
    {
        let error = lua.compute(format!("return require '{name}'")).unwrap_err();
        assert!(error.message().contains("not found"), "{name}: {error}");
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(folder.path().join("secret.lua"), root.join("link.lua")).unwrap();
        let error = lua.compute("return require 'link'").unwrap_err();
        assert!(error.message().contains("leads out of"), "{error}");
        // Nor can it be found out what there is: what a link leads to is like nothing, and a file in place of a folder
        // too.
        std::os::unix::fs::symlink(folder.path().join("nothing.lua"), root.join("hole.lua")).unwrap();
        let seen = |name: &str| {
            let source = format!("local _, e = pcall(require, '{name}') return (e:gsub('{name}', 'x'))");
            lua.compute(source).unwrap().get::<String>().unwrap()
        };
        assert_eq!(seen("link"), seen("hole"));
        std::fs::write(folder.path().join("file"), "").unwrap();
        std::fs::create_dir(folder.path().join("pack")).unwrap();
        std::fs::write(folder.path().join("pack/init.lua"), "").unwrap();
        std::os::unix::fs::symlink(folder.path(), root.join("out")).unwrap();
        for name in ["out.file", "out.nothing", "out.secret", "out.pack", "out.lib.a"] {
            let error = lua.compute(format!("return require '{name}'")).unwrap_err();
            assert!(error.message().contains("not found"), "{name}: {error}");
        }
    }
}
