//! The project's own tasks: what a person would otherwise have to type or install by hand.
//!
//! `cargo xtask demo` and `cargo xtask test` are the two commands of the README. Everything that they need besides Rust
//! and a C compiler they install, or name in one line together with the command that installs it.

use std::env;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};

const HELP: &str = "\
cargo xtask TASK

  setup            install the system packages that Labrys needs (apt-get; sudo if not root)
  demo [ARGS]      set-up, release build, then `labrys test ARGS`: a Raft cluster, broken and judged
  test [ARGS]      set-up, release build of the binaries, then every test (ARGS go to cargo test)
  lint             formatting and lints, warnings as errors
  ci               lint, then test: what .ci/run calls
";

/// A system package, by the program or file that shows that it is there.
struct Package {
    name: &'static str,
    program: &'static str,
    need: &'static str,
}

/// What running a test needs.
const REQUIRED: &[Package] = &[
    Package { name: "iproute2", program: "ip", need: "network namespaces, links and addresses" },
    Package { name: "iptables", program: "iptables", need: "partitions" },
];

/// What the project's own tests use in addition; they skip, visibly, what they cannot have.
const FOR_TESTS: &[Package] = &[
    Package { name: "chromium", program: "chromium", need: "looking at the report in a real browser" },
    Package { name: "e2fsprogs", program: "mkfs.ext4", need: "tests of power cuts on a real file system" },
    Package {
        name: "faketime",
        program: "faketime",
        need: "clock faults of dynamically linked programs (--clock-by libfaketime)",
    },
    Package { name: "openssh-client", program: "ssh", need: "tests of nodes on other machines" },
];

/// The same, but a service: where installing it would start it, that is for the user to decide.
const SERVICES_FOR_TESTS: &[Package] =
    &[Package { name: "openssh-server", program: "sshd", need: "tests of nodes on other machines" }];

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(255)
        }
    }
}

fn run() -> Result<ExitCode> {
    env::set_current_dir(workspace_root()?).context("entering the workspace")?;
    let mut args = env::args().skip(1);
    let task = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    match task.as_str() {
        "setup" => setup(true).map(|()| ExitCode::SUCCESS),
        "demo" => demo(&rest),
        "test" => test(&rest).map(|()| ExitCode::SUCCESS),
        "lint" => lint().map(|()| ExitCode::SUCCESS),
        "ci" => {
            lint()?;
            test(&rest).map(|()| ExitCode::SUCCESS)
        }
        "" | "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        other => {
            eprint!("xtask: there is no task `{other}`\n\n{HELP}");
            Ok(ExitCode::from(254))
        }
    }
}

/// The folder above this crate's.
fn workspace_root() -> Result<PathBuf> {
    let manifest = env::var_os("CARGO_MANIFEST_DIR").context("xtask is run by cargo: `cargo xtask …`")?;
    Ok(Path::new(&manifest).parent().context("xtask has a folder above it")?.to_owned())
}

fn demo(args: &[String]) -> Result<ExitCode> {
    setup(false)?;
    build_binaries()?;
    let status =
        Command::new(binaries().join("labrys")).arg("test").args(args).status().context("starting labrys")?;
    // The run's verdict is the demo's: 0 valid, 1 invalid, 2 unknown.
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(255)))
}

fn test(args: &[String]) -> Result<()> {
    setup(true)?;
    build_binaries()?;
    let mut command = cargo(&["test", "--workspace", "--no-fail-fast"]);
    command.args(args).env("LABRYS_BINARIES", binaries());
    succeed(&mut command)
}

fn lint() -> Result<()> {
    succeed(&mut cargo(&["fmt", "--all", "--check"]))?;
    succeed(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    let mut documentation = cargo(&["doc", "--workspace", "--no-deps"]);
    succeed(documentation.env("RUSTDOCFLAGS", "-D warnings"))
}

/// The end-to-end tests and the demo run optimised binaries: a debug store is a different system.
fn build_binaries() -> Result<()> {
    succeed(&mut cargo(&["build", "--release", "--package", "labrys", "--package", "labrys-store"]))
}

fn binaries() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let release = target.join("release");
    std::path::absolute(&release).unwrap_or(release)
}

fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args);
    command
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("starting {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}

/// Installs what is missing. What only tests need is not worth failing for.
fn setup(for_tests: bool) -> Result<()> {
    install(REQUIRED)?;
    let skipped =
        |error| eprintln!("xtask: {error:#}; the tests that need it will say that they are skipped");
    if for_tests {
        install(FOR_TESTS).unwrap_or_else(skipped);
        install_services().unwrap_or_else(skipped);
    }
    Ok(())
}

fn install_services() -> Result<()> {
    // Where systemd runs, a service is started as soon as it is installed; in a container it is not.
    if !Path::new("/run/systemd/system").exists() {
        return install(SERVICES_FOR_TESTS);
    }
    let missing = SERVICES_FOR_TESTS.iter().find(|package| !on_path(package.program));
    if let Some(Package { name, program, need }) = missing {
        bail!(
            "`{program}` is missing ({need}), and not installed, as that would start it here: sudo apt-get install {name}"
        );
    }
    Ok(())
}

fn install(packages: &[Package]) -> Result<()> {
    let missing: Vec<&Package> = packages.iter().filter(|package| !on_path(package.program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    for package in &missing {
        eprintln!("xtask: `{}` is missing ({}): installing {}", package.program, package.need, package.name);
    }
    let by_hand = format!("sudo apt-get install -y {}", names.join(" "));
    apt_get(&["update", "-qq"])
        .and_then(|()| {
            let mut args = vec!["install", "-y", "-qq", "--no-install-recommends"];
            args.extend(&names);
            apt_get(&args)
        })
        .with_context(|| {
            format!("missing system packages: {}; install them with: {by_hand}", names.join(", "))
        })
}

fn apt_get(args: &[&str]) -> Result<()> {
    if !on_path("apt-get") {
        bail!("this machine has no apt-get");
    }
    let mut command = if is_root() {
        Command::new("apt-get")
    } else {
        let mut command = Command::new("sudo");
        if !std::io::stdin().is_terminal() {
            // A password that nobody types would hang a script; its reader is told the command instead.
            command.arg("-n");
        }
        command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        command
    };
    succeed(command.args(args).env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null()))
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// Whether `program` is on the path, or where administrators' programs are, which an ordinary user's path may lack.
fn on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let administrators = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(administrators).any(|folder| folder.join(program).is_file())
}
