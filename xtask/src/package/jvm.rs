//! The Maven artifact, with the library for this platform. What is published holds those of all platforms:
//! `release.yml` puts them together.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};

use super::{Place, VERSION};
use crate::steps::{copy, finish, maven, printed, root};

/// Tried by the example, as a project that finds the artifact in a local repository.
pub fn make(place: &Place) -> Result<Vec<PathBuf>> {
    let built = root().join("uniffi-bindings/kotlin");
    finish(&mut maven(&built, &["-DskipTests", "package"]))?;
    let names = [format!("luacell-{VERSION}.jar"), format!("luacell-{VERSION}-sources.jar")];
    let mut files = Vec::new();
    for name in &names {
        copy(&built.join("target").join(name), &place.out.join(name))?;
        files.push(place.out.join(name));
    }
    let pom = place.out.join(format!("luacell-{VERSION}.pom"));
    copy(&built.join("pom.xml"), &pom)?;
    files.push(pom.clone());

    let [jar, sources] = &names;
    for (name, inside) in [(jar, "META-INF/THIRD-PARTY-NOTICES.md"), (sources, "luacell/Sandboxes.kt")] {
        let list = printed(Command::new("jar").arg("tf").arg(place.out.join(name)))?;
        ensure!(list.lines().any(|line| line == inside), "{inside} is missing in {name}");
    }
    let project = place.example("kotlin")?;
    let mut install = maven(&project, &["org.apache.maven.plugins:maven-install-plugin:3.1.4:install-file"]);
    install.arg(format!("-Dfile={}", place.out.join(jar).display())).arg(format!("-DpomFile={}", pom.display()));
    finish(&mut install)?;
    // Maven ends with a colour, whatever it is told.
    let report = printed(&mut maven(&project, &["compile", "exec:java"]))?;
    place.check_report(&anstream::adapter::strip_str(&report).to_string())?;
    Ok(files)
}
