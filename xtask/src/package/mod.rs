//! `cargo xtask package`: what is handed to users, into `target/packages/`. Each package is then installed in an empty folder, away from this
//! tree, and its example run there.

mod android;
mod apple;
mod c;
mod cli;
mod node;
mod python;
mod rust;
mod sbom;
mod swift;

/// The Maven artifact. (The module is not called `java`: Kotlin and Scala use it as well.)
mod jvm;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::steps::{copy, finish};

/// Options of `cargo xtask package`.
#[derive(clap::Args)]
pub struct Args {
    /// One of them; without it all but those for Android and Apple's systems
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(clap::Subcommand)]
enum What {
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
    /// The Kotlin artifact for Android: an AAR with the library of each ABI that can be built here
    Android(android::Args),
    /// The XCFramework of the Swift package; on macOS, with Xcode
    Apple,
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What whoever passes a package on has to pass on with it.
pub const NOTICES: [&str; 3] = ["LICENSE-MIT", "LICENSE-APACHE", "THIRD-PARTY-NOTICES.md"];

/// Where things lie.
struct Place<'a> {
    root: &'a Path,
    /// Where packages are put.
    out: PathBuf,
    /// Where this package is put together.
    stage: PathBuf,
    /// Where this package is tried.
    clean: PathBuf,
}

type Make = fn(&Place<'_>) -> Result<Vec<PathBuf>>;

/// Each makes its packages, tries them, and names them.
const ALL: [(&str, Make); 8] = [
    ("rust", rust::make),
    ("c", c::make),
    ("cli", cli::make),
    ("python", python::make),
    ("node", node::make),
    ("jvm", jvm::make),
    ("swift", swift::make),
    ("sbom", sbom::make),
];

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the package has no parent folder")?;
    let name = match &args.what {
        None => return each(root, &ALL),
        Some(What::Android(args)) => return android::run(root, args),
        Some(What::Apple) => return apple::run(root),
        Some(What::Rust) => "rust",
        Some(What::C) => "c",
        Some(What::Cli) => "cli",
        Some(What::Python) => "python",
        Some(What::Node) => "node",
        Some(What::Jvm) => "jvm",
        Some(What::Swift) => "swift",
        Some(What::Sbom) => "sbom",
    };
    let chosen: Vec<_> = ALL.into_iter().filter(|(known, _)| *known == name).collect();
    each(root, &chosen)
}

fn each(root: &Path, packages: &[(&str, Make)]) -> Result<()> {
    let out = root.join("target/packages");
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let mut table = String::new();
    for (name, make) in packages {
        eprintln!("\n== {name}");
        let work = root.join("target/package-work").join(name);
        let place = Place { root, out: out.clone(), stage: work.join("stage"), clean: work.join("clean") };
        fresh(&place.stage)?;
        fresh(&place.clean)?;
        let files = make(&place).with_context(|| format!("the package {name}"))?;
        for file in files {
            let bytes = fs::metadata(&file).with_context(|| format!("cannot read {}", file.display()))?.len();
            let shown = file.strip_prefix(root).unwrap_or(&file);
            table.push_str(&format!("{name:<8}{:>9.2} MB  {}\n", bytes as f64 / 1e6, shown.display()));
        }
    }
    print!("\nmade, installed and tried:\n{table}");
    Ok(())
}

/// An empty folder.
fn fresh(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

impl Place<'_> {
    /// Copies licences and notices.
    fn notices(&self, folder: &Path) -> Result<()> {
        NOTICES.iter().try_for_each(|name| copy(&self.root.join(name), &folder.join(name)))
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
        list.args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(self.root.join(folder));
        for file in crate::steps::printed(&mut list)?.lines() {
            copy(&self.root.join(folder).join(file), &to.join(file))?;
        }
        Ok(())
    }

    /// What the example rules have to print in every language.
    fn check_report(&self, printed: &str) -> Result<()> {
        let expected = fs::read_to_string(self.root.join("examples/rules-report.txt"))?;
        ensure!(printed == expected, "the example prints\n{printed}instead of\n{expected}");
        Ok(())
    }

    /// A code block of the README, the first in that language.
    fn readme(&self, file: &str, language: &str) -> Result<String> {
        let text = fs::read_to_string(self.root.join(file)).with_context(|| format!("cannot read {file}"))?;
        let block = text.split(&format!("```{language}\n")).nth(1).and_then(|rest| rest.split("```").next());
        block.map(str::to_owned).with_context(|| format!("{file} has no {language}"))
    }
}

/// The one file in a folder whose name ends so.
fn only(folder: &Path, suffix: &str) -> Result<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(suffix) {
            found.push(path);
        }
    }
    match found.pop() {
        Some(file) if found.is_empty() => Ok(file),
        _ => bail!("there should be one *{suffix} in {}", folder.display()),
    }
}
