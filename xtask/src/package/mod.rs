//! `cargo xtask package`: what is handed to users, into `target/packages/`. Each package is then installed in an empty
//! folder, away from this tree, and its example run there.

mod android;
mod c;
mod cli;
mod node;
mod python;
mod rust;
mod sbom;
mod swift;

/// The Maven artifact. (The module is not called `java`: Kotlin and Scala use it as well.)
mod jvm;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;

use crate::steps::{copy, files, finish, make_folder, printed, read, root, script, size};

/// Options of `cargo xtask package`.
#[derive(clap::Args)]
pub struct Args {
    /// One of them; without it all but those for Android and Apple's systems
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(clap::Subcommand)]
enum What {
    #[command(flatten)]
    Here(Package),
    /// The Kotlin artifact for Android: an AAR with the library of each ABI that can be built here
    Android(android::Args),
    /// The XCFramework of the Swift package; on macOS, with Xcode
    Apple,
}

/// What can be made, and tried, wherever its tools are. `ValueEnum` lists them all, and has the names of the commands.
#[derive(Clone, Copy, clap::Subcommand, clap::ValueEnum)]
enum Package {
    /// The crate luacell
    Rust,
    /// Headers, libraries, files for pkg-config and CMake, as a tarball
    C,
    /// The command line program, as a tarball
    Cli,
    /// The wheel, for all Pythons from 3.10 on, and the source distribution
    Python,
    /// The npm package luacell, and the one with the addon for this platform
    Node,
    /// The Maven artifact for the JVM, with the library for this platform, and its sources
    Jvm,
    /// The Swift package, with the library for this platform
    Swift,
    /// What each package is made of, for machines: CycloneDX
    Sbom,
}

impl Package {
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Makes its files, tries them, and names them.
    fn make(self, place: &Place) -> Result<Vec<PathBuf>> {
        match self {
            Package::Rust => rust::make(place),
            Package::C => c::make(place),
            Package::Cli => cli::make(place),
            Package::Python => python::make(place),
            Package::Node => node::make(place),
            Package::Jvm => jvm::make(place),
            Package::Swift => swift::make(place),
            Package::Sbom => sbom::make(place),
        }
    }
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What whoever passes a package on has to pass on with it.
pub const NOTICES: [&str; 3] = ["LICENSE-MIT", "LICENSE-APACHE", "THIRD-PARTY-NOTICES.md"];

/// Where things lie.
struct Place {
    /// Where packages are put.
    out: PathBuf,
    /// Where this package is put together.
    stage: PathBuf,
    /// Where this package is tried.
    clean: PathBuf,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let packages = match &args.what {
        Some(What::Android(args)) => return android::run(args),
        Some(What::Apple) => return finish(&mut script("bash", "uniffi-bindings/swift/tools/apple.sh")),
        Some(What::Here(package)) => std::slice::from_ref(package),
        None => Package::value_variants(),
    };
    let out = root().join("target/packages");
    make_folder(&out)?;
    let mut table = String::new();
    for package in packages {
        let name = package.name();
        eprintln!("\n== {name}");
        let work = root().join("target/package-work").join(&name);
        let place = Place { out: out.clone(), stage: fresh(work.join("stage"))?, clean: fresh(work.join("clean"))? };
        let files = package.make(&place).with_context(|| format!("the package {name}"))?;
        for file in files {
            let shown = file.strip_prefix(root()).unwrap_or(&file);
            table.push_str(&format!("{name:<8}{:>9.2} MB  {}\n", size(&file)? as f64 / 1e6, shown.display()));
        }
    }
    print!("\nmade, installed and tried:\n{table}");
    Ok(())
}

/// The folder, empty.
fn fresh(folder: PathBuf) -> Result<PathBuf> {
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    make_folder(&folder)?;
    Ok(folder)
}

impl Place {
    /// Copies licences and notices.
    fn notices(&self, folder: &Path) -> Result<()> {
        NOTICES.iter().try_for_each(|name| copy(&root().join(name), &folder.join(name)))
    }

    /// Packs a folder in the stage into a tarball of that name.
    fn tar(&self, name: &str) -> Result<PathBuf> {
        let file = self.out.join(format!("{name}.tar.gz"));
        // The same bytes from the same files.
        let mut command = Command::new("tar");
        command.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0", "-czf"]);
        finish(command.arg(&file).arg("-C").arg(&self.stage).arg(name))?;
        Ok(file)
    }

    /// Unpacks a tarball in the clean folder.
    fn untar(&self, file: &Path) -> Result<()> {
        finish(Command::new("tar").arg("-xzf").arg(file).arg("-C").arg(&self.clean))
    }

    /// The name of a package for this platform only.
    fn for_here(&self, name: &str) -> String {
        format!("{name}-{VERSION}-{}-{}", std::env::consts::OS, std::env::consts::ARCH)
    }

    /// Copies all files of a folder that git knows.
    fn copy_sources(&self, folder: &str, to: &Path) -> Result<()> {
        let mut list = Command::new("git");
        list.args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(root().join(folder));
        for file in printed(&mut list)?.lines() {
            copy(&root().join(folder).join(file), &to.join(file))?;
        }
        Ok(())
    }

    /// Copies an example into the clean folder, and the rules beside it that all examples run; its folder there.
    fn example(&self, name: &str) -> Result<PathBuf> {
        let (from, to) = (root().join("examples"), self.clean.join("examples"));
        for file in ["rules.lua", "rules-report.txt"] {
            copy(&from.join(file), &to.join(file))?;
        }
        let folder = to.join(name);
        self.copy_sources(&format!("examples/{name}"), &folder)?;
        Ok(folder)
    }

    /// What the example rules have to print in every language.
    fn check_report(&self, printed: &str) -> Result<()> {
        let expected = read(&root().join("examples/rules-report.txt"))?;
        ensure!(printed == expected, "the example prints\n{printed}instead of\n{expected}");
        Ok(())
    }

    /// The first code block in that language of a README.
    fn readme(&self, file: &str, language: &str) -> Result<String> {
        let text = read(&root().join(file))?;
        let block = text.split(&format!("```{language}\n")).nth(1).and_then(|rest| rest.split("```").next());
        block.map(str::to_owned).with_context(|| format!("{file} has no {language}"))
    }
}

/// The one file in a folder whose name ends so.
fn only(folder: &Path, suffix: &str) -> Result<PathBuf> {
    let mut found = files(folder, suffix)?;
    match found.pop() {
        Some(file) if found.is_empty() => Ok(file),
        _ => bail!("there should be one *{suffix} in {}", folder.display()),
    }
}
