//! What `ssh` is told, and what it says when it fails, in words that help. Pure.
//!
//! The system's own `ssh`, as a child process with pipes: it knows the user's configuration, keys and agents. Not by way of a master
//! connection in the background (as the crate `openssh` does), which would outlive a harness that is killed; the child ends with its pipe.

use std::path::Path;

use super::inventory::Login;
use super::programs::Program;

/// The program.
pub(super) const SSH: &str = "ssh";

/// The arguments that make a connection on which `script` is run.
pub(super) fn arguments(login: &Login, script: &str) -> Vec<String> {
    let mut arguments = vec!["-T".to_owned()];
    let mut option = |text: String| arguments.extend(["-o".to_owned(), text]);
    // Nobody is asked anything, and no stranger is trusted.
    option("BatchMode=yes".to_owned());
    option("StrictHostKeyChecking=yes".to_owned());
    // One connection, which is ours, and which notices that it is dead before the agent gives us up.
    option("ControlMaster=no".to_owned());
    option("ControlPath=none".to_owned());
    // What the user's configuration forwards is for people: a port in use would end the connection, and a test machine needs no keys.
    option("ClearAllForwardings=yes".to_owned());
    option("ForwardAgent=no".to_owned());
    option("ConnectTimeout=5".to_owned());
    option("ServerAliveInterval=2".to_owned());
    option("ServerAliveCountMax=2".to_owned());
    if let Some(known_hosts) = &login.known_hosts {
        option(format!("UserKnownHostsFile={}", known_hosts.display()));
        option("GlobalKnownHostsFile=/dev/null".to_owned());
    }
    if let Some(key) = &login.key {
        option("IdentitiesOnly=yes".to_owned());
        arguments.extend(["-i".to_owned(), key.display().to_string()]);
    }
    if let Some(port) = login.port {
        arguments.extend(["-p".to_owned(), port.to_string()]);
    }
    if let Some(user) = &login.user {
        arguments.extend(["-l".to_owned(), user.clone()]);
    }
    arguments.extend([login.target.clone(), "--".to_owned(), script.to_owned()]);
    arguments
}

/// What the shell on the machine does: says what the machine is, takes each program that it has not, and becomes the first of them
/// with `arguments`.
///
/// Said, a line each: `machine LINUX x86_64`; `have NAME` or `need NAME`, upon which so many bytes are sent; `stored NAME`; `ready`. Each file
/// is there as a whole, under a name that has its checksum, or not at all.
pub(super) fn script(directory: &Path, programs: &[Program], sudo: bool, arguments: &[String]) -> String {
    let folder = directory.join("bin");
    let (directory_text, folder) = (directory.display(), folder.display());
    // What is in there is run, perhaps as root: nobody else may have made the folder, or may write to it.
    let mut script = format!(
        "umask 022; mkdir -p '{folder}' || exit 1; \
         for d in '{directory_text}' '{folder}'; do if [ -L \"$d\" ] || [ ! -O \"$d\" ]; then \
         echo \"foreign folder: $d is a link, or of another user\" >&2; exit 1; fi; chmod go-w \"$d\"; done; echo \"machine $(uname -s) $(uname -m)\"; \
         sum() {{ sha256sum | cut -d ' ' -f 1; }}; "
    );
    for Program { name, sum, length_bytes, .. } in programs {
        let file = format!("{folder}/{}", Program::file_name(name, sum));
        script.push_str(&format!(
            "f='{file}'; \
             if [ -f \"$f\" ] && [ \"$(sum < \"$f\")\" = {sum} ]; then echo 'have {name}'; else echo 'need {name}'; \
             t=\"$f.$$\"; head -c {length_bytes} > \"$t\" || {{ rm -f \"$t\"; exit 1; }}; \
             if [ \"$(sum < \"$t\")\" != {sum} ]; then rm -f \"$t\"; echo 'corrupt {name}'; exit 1; fi; \
             chmod 755 \"$t\" && mv -f \"$t\" \"$f\" && echo 'stored {name}' || exit 1; fi; "
        ));
    }
    let sudo = if sudo { "sudo -n -- " } else { "" };
    let program = programs.first().map(|program| program.on(directory)).unwrap_or_default();
    let quoted: Vec<String> = arguments.iter().map(|argument| format!("'{argument}'")).collect();
    script.push_str(&format!("echo ready; exec {sudo}'{}' {}", program.display(), quoted.join(" ")));
    script
}

/// Why a connection failed, in a sentence that says how to mend it, by what `ssh`, the shell, `sudo` or the agent have said. The second is
/// whether another try would be in vain.
pub(super) fn explain(login: &Login, said: &str) -> (String, bool) {
    let Login { name, target, .. } = login;
    let has = |text: &str| said.contains(text);
    let port = login.port.unwrap_or(22);
    let known_hosts =
        login.known_hosts.as_deref().unwrap_or(Path::new("~/.ssh/known_hosts")).display().to_string();
    let last = said.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("no reason given");
    let (why, is_final) = if has("REMOTE HOST IDENTIFICATION HAS CHANGED") {
        (
            format!(
                "{target} has another host key than {known_hosts} says: either the machine was made anew, or somebody is in \
                 between. If you know that it was, remove the old key with `ssh-keygen -R '[{target}]:{port}' -f {known_hosts}` (port 22: \
                 `-R {target}`) and add the new one"
            ),
            true,
        )
    } else if has("Host key verification failed") {
        (
            format!(
                "the host key of {target} is not known. Add it with `ssh-keyscan -p {port} {target} >> {known_hosts}`, and compare \
                 its fingerprint with that on the machine"
            ),
            true,
        )
    } else if has("Permission denied (") {
        let user = login.user.as_ref().map(|user| format!(" for user {user}")).unwrap_or_default();
        let key = login
            .key
            .as_ref()
            .map_or("the keys that ssh offers".to_owned(), |key| format!("the key {}", key.display()));
        (
            format!(
                "{target} refuses {key}{user}. Put the public key into ~/.ssh/authorized_keys there (ssh-copy-id), or name another \
                 user or key in hosts.toml"
            ),
            true,
        )
    } else if has("sudo: ") {
        (
            format!(
                "sudo asks for a password or refuses ({last}). Allow it without one on the machine (NOPASSWD in /etc/sudoers.d), or \
                 say sudo = false in hosts.toml and log in as root"
            ),
            true,
        )
    } else if has("foreign folder: ") {
        (format!("{last}. Remove it, or name another `directory` in hosts.toml"), true)
    } else if has("No space left on device") {
        (format!("the disk is full ({last}). Make room, or name another `directory` in hosts.toml"), true)
    } else if has("Permission denied") || has("Read-only file system") {
        (format!("{last}. Name a `directory` in hosts.toml that the user may write to"), true)
    } else if has("GLIBC_") || has("cannot execute") || has("Exec format error") {
        (
            format!(
                "labrys cannot run there ({last}). Build it on a machine with the same processor and an older C library, or for \
                 the target x86_64-unknown-linux-musl"
            ),
            true,
        )
    } else if has("Could not resolve hostname") {
        (format!("{target} cannot be looked up. Give its address in hosts.toml"), true)
    } else if ["Connection refused", "timed out", "No route to host", "unreachable"]
        .iter()
        .any(|text| has(text))
    {
        (
            format!("{target} cannot be reached at port {port} ({last}). Is the machine up, and sshd on it?"),
            false,
        )
    } else {
        (format!("the connection to {target} failed: {last}"), false)
    };
    (format!("{name}: {why}"), is_final)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login() -> Login {
        Login {
            name: "n3".to_owned(),
            target: "10.0.0.3".to_owned(),
            user: Some("u".to_owned()),
            key: Some("/keys/id".into()),
            port: Some(2222),
            sudo: true,
            known_hosts: Some("/keys/known".into()),
        }
    }

    #[test]
    fn no_stranger_is_trusted_and_nobody_is_asked() {
        let all = arguments(&login(), "true").join(" ");
        for part in [
            "-o BatchMode=yes",
            "-o StrictHostKeyChecking=yes",
            "-o UserKnownHostsFile=/keys/known",
            "-o ControlPath=none",
            "-i /keys/id",
            "-p 2222 -l u 10.0.0.3 -- true",
        ] {
            assert!(all.contains(part), "{part} in {all}");
        }
    }

    #[test]
    fn every_way_to_fail_has_one_message_with_the_machine_and_what_mends_it() {
        for (said, expected, is_final) in [
            ("Host key verification failed.\r\n", "ssh-keyscan -p 2222 10.0.0.3 >> /keys/known", true),
            (
                "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
                "ssh-keygen -R",
                true,
            ),
            ("u@10.0.0.3: Permission denied (publickey).", "refuses the key /keys/id for user u", true),
            ("sudo: a password is required\n", "NOPASSWD", true),
            ("head: write error: No space left on device", "the disk is full", true),
            ("mkdir: cannot create directory '/x': Permission denied", "may write to", true),
            ("labrys: /lib/libc.so.6: version `GLIBC_2.38' not found", "labrys cannot run there", true),
            ("ssh: Could not resolve hostname x: Name or service not known", "cannot be looked up", true),
            (
                "ssh: connect to host 10.0.0.3 port 2222: Connection refused",
                "cannot be reached at port 2222",
                false,
            ),
            ("ssh: connect to host 10.0.0.3 port 2222: Connection timed out", "cannot be reached", false),
            ("Timeout, server 10.0.0.3 not responding.", "failed: Timeout, server", false),
            ("", "no reason given", false),
        ] {
            let (message, final_) = explain(&login(), said);
            assert!(message.starts_with("n3: ") && message.contains(expected), "{said}: {message}");
            assert_eq!(final_, is_final, "{said}");
            assert_eq!(message.lines().count(), 1, "{message}");
        }
    }

    /// The script is run by the shell of this machine, with pipes in place of ssh.
    #[test]
    fn a_program_that_is_not_there_is_taken_whole_and_one_that_is_there_is_not_taken_again() {
        use std::io::{BufRead, BufReader, Write};
        use std::process::{Command, Stdio};
        let folder = tempfile::tempdir().expect("a folder");
        let source = folder.path().join("source");
        std::fs::write(&source, "#!/bin/sh\necho \"$@\"\n").expect("written");
        let program = Program::read("labrys", &source).expect("read");
        let directory = folder.path().join("there");
        let content = std::fs::read(&source).expect("read");
        let run = |programs: &[Program], content: &[u8]| {
            let text = script(&directory, programs, false, &["agent".to_owned(), "x".to_owned()]);
            let mut shell = Command::new("sh")
                .args(["-c", &text])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("sh");
            shell.stdin.take().expect("a pipe").write_all(content).expect("written");
            let output = BufReader::new(shell.stdout.take().expect("a pipe"));
            let lines: Vec<String> = output.lines().skip(1).map(|line| line.expect("text")).collect();
            (lines, shell.wait().expect("waited").success())
        };
        let programs = [program.clone()];
        let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        let corrupt = run(&programs, &[b'x'; 23]);
        assert_eq!(corrupt, (lines(&["need labrys", "corrupt labrys"]), false));
        let first = run(&programs, &content);
        assert_eq!(first, (lines(&["need labrys", "stored labrys", "ready", "agent x"]), true));
        let second = run(&programs, &[]);
        assert_eq!(second, (lines(&["have labrys", "ready", "agent x"]), true));
        // Damaged there, it is not trusted.
        std::fs::write(program.on(&directory), "#!/bin/sh\necho evil\n").expect("written");
        let third = run(&programs, &content);
        assert_eq!(third, (lines(&["need labrys", "stored labrys", "ready", "agent x"]), true));
        let files = std::fs::read_dir(directory.join("bin")).expect("listed").count();
        assert_eq!(files, 1, "nothing half is left");
    }
}
