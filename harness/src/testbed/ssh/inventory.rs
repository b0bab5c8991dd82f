//! [`Inventory`]: the machines of a testbed, as `hosts.toml` lists them.
//!
//! ```toml
//! user = "labrys"                       # for all machines that say nothing else, as are key, port and sudo
//! key = "~/.ssh/id_ed25519"
//! sudo = true
//! known-hosts = "~/.ssh/known_hosts"
//! directory = "/var/tmp/labrys"
//!
//! [[hosts]]
//! name = "n1"
//! address = "192.168.7.11"
//!
//! [[hosts]]
//! name = "n2"
//! address = "192.168.7.12"
//! port = 2222
//! ```

use std::collections::BTreeSet;
use std::net::{IpAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where Labrys keeps its things on a machine, unless it is told otherwise. Not in memory, and not removed at a boot.
const DEFAULT_DIRECTORY: &str = "/var/tmp/labrys";

/// The machines of a testbed, and how they are reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Inventory {
    /// The user to log in as; else whom ssh would take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The private key; else what ssh would take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// The port; else 22, or what the user's configuration of ssh says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Whether the agent is started with `sudo -n`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sudo: Option<bool>,
    /// The file with the keys of the machines; else ssh's own. Who is not in it is not talked to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known_hosts: Option<PathBuf>,
    /// Where Labrys keeps its things on the machines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
    /// Whether clock faults move the machines' own clocks; else they are those of a system that has a clock of its own.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub real_clock: bool,
    /// The machines, `[[hosts]]`: the first one is the first node.
    #[serde(rename = "hosts", skip_serializing_if = "Vec::is_empty")]
    pub machines: Vec<Machine>,
}

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Machine {
    /// The node's name.
    pub name: String,
    /// Where the other nodes and the clients reach it: an address, or a name that this machine can resolve.
    pub address: String,
    /// Where ssh reaches it, if that is another address or a name of the user's configuration of ssh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_address: Option<String>,
    /// As of the inventory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// As of the inventory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// As of the inventory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// As of the inventory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sudo: Option<bool>,
}

impl Inventory {
    /// Reads a `hosts.toml`. Paths in it are relative to its folder, and `~` is the user's.
    ///
    /// # Errors
    /// In a sentence that names the file, and the line where there is one.
    pub fn read(path: &Path) -> Result<Inventory, String> {
        let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| named(&error))?;
        let mut inventory: Inventory = toml::from_str(&text).map_err(|error| named(&error))?;
        inventory.check().map_err(|problem| named(&problem))?;
        let path = std::path::absolute(path).map_err(|error| named(&error))?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let keys = inventory.machines.iter_mut().map(|machine| &mut machine.key);
        for file in keys.chain([&mut inventory.key, &mut inventory.known_hosts]).flatten() {
            *file = match (file.strip_prefix("~"), &home) {
                (Ok(below), Some(home)) => home.join(below),
                _ => folder.join(&*file),
            };
        }
        Ok(inventory)
    }

    /// What is wrong with it, in a sentence.
    ///
    /// # Errors
    /// That.
    pub fn check(&self) -> Result<(), String> {
        let directory = self.directory();
        let is_plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'_' | b'-' | b'+');
        let text = directory.to_string_lossy();
        if !(directory.is_absolute() && directory.components().count() > 2 && text.bytes().all(is_plain)) {
            return Err(format!(
                "directory: `{text}` is not such as /var/tmp/labrys: absolute, of two folders or more, of letters, digits and . _ - +"
            ));
        }
        let mut names = BTreeSet::new();
        let mut addresses = BTreeSet::new();
        for (number, machine) in (1..).zip(&self.machines) {
            let Machine { name, address, .. } = machine;
            let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            if name.is_empty() || name.len() > 60 || !name.bytes().all(is_word) {
                return Err(format!(
                    "machine {number}: `{name}` is no name: up to 60 letters, digits, - or _"
                ));
            }
            if labrys_nemesis::is_reserved(name) {
                return Err(format!(
                    "machine {number}: `{name}` has a meaning of its own where faults are aimed; give it another name"
                ));
            }
            if !names.insert(name) {
                return Err(format!("machine {number}: there is a machine `{name}` already"));
            }
            if !addresses.insert(address) {
                return Err(format!(
                    "machine {number}: `{address}` is the address of another one, too: a node needs its own"
                ));
            }
            let targets =
                [Some(address), machine.ssh_address.as_ref(), machine.user.as_ref(), self.user.as_ref()];
            // What begins with a dash would be an option of ssh.
            if let Some(bad) =
                targets.into_iter().flatten().find(|target| target.is_empty() || target.starts_with('-'))
            {
                return Err(format!("machine {number}: `{bad}` is neither an address nor a user"));
            }
        }
        Ok(())
    }

    /// Where Labrys keeps its things on the machines.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.as_deref().unwrap_or(Path::new(DEFAULT_DIRECTORY))
    }

    /// The same inventory of the first `count` machines alone.
    #[must_use]
    pub fn first(&self, count: usize) -> Inventory {
        Inventory { machines: self.machines.iter().take(count).cloned().collect(), ..self.clone() }
    }

    /// How a machine is reached, with what the inventory says for all.
    #[must_use]
    pub fn login(&self, machine: &Machine) -> Login {
        Login {
            name: machine.name.clone(),
            target: machine.ssh_address.clone().unwrap_or_else(|| machine.address.clone()),
            user: machine.user.clone().or_else(|| self.user.clone()),
            key: machine.key.clone().or_else(|| self.key.clone()),
            port: machine.port.or(self.port),
            sudo: machine.sudo.or(self.sudo).unwrap_or(false),
            known_hosts: self.known_hosts.clone(),
        }
    }
}

/// Empty: none was given.
impl FromStr for Inventory {
    type Err = String;

    fn from_str(path: &str) -> Result<Inventory, String> {
        let inventory = Inventory::read(Path::new(path))?;
        if inventory.machines.is_empty() {
            return Err(format!("{path}: no machine in it; each begins with a line [[hosts]]"));
        }
        Ok(inventory)
    }
}

impl Machine {
    /// Its address, looked up if it is a name.
    ///
    /// # Errors
    /// In a sentence.
    pub fn ip_address(&self) -> Result<IpAddr, String> {
        if let Ok(address) = self.address.parse() {
            return Ok(address);
        }
        let found = (self.address.as_str(), 0).to_socket_addrs().map_err(|error| error.to_string());
        let first = found.and_then(|mut found| found.next().ok_or_else(|| "it has no address".to_owned()));
        first.map(|address| address.ip()).map_err(|error| {
            format!(
                "{}: `{}` cannot be looked up: {error}; give its address in hosts.toml",
                self.name, self.address
            )
        })
    }
}

/// How a machine is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The node's name.
    pub name: String,
    /// What ssh is told to connect to.
    pub target: String,
    /// As whom.
    pub user: Option<String>,
    /// With which key.
    pub key: Option<PathBuf>,
    /// At which port.
    pub port: Option<u16>,
    /// Whether the agent is started with `sudo -n`.
    pub sudo: bool,
    /// Where the machine's key is looked up.
    pub known_hosts: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Inventory, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("hosts.toml");
        std::fs::write(&path, text).expect("written");
        let read = Inventory::read(&path);
        read.map_err(|error| error.replace(&*folder.path().to_string_lossy(), "FOLDER"))
    }

    #[test]
    fn what_a_machine_does_not_say_the_inventory_says_for_all() {
        let inventory = read(
            "user = \"all\"\nkey = \"/k\"\nsudo = true\n[[hosts]]\nname = \"n1\"\naddress = \"10.0.0.1\"\n\
             [[hosts]]\nname = \"n2\"\naddress = \"10.0.0.2\"\nssh-address = \"second\"\nuser = \"one\"\nport = 2222\nsudo = false",
        )
        .expect("valid");
        let [first, second] = &inventory.machines[..] else { panic!("{inventory:?}") };
        let (first, second) = (inventory.login(first), inventory.login(second));
        assert_eq!((first.user.as_deref(), first.port, first.sudo), (Some("all"), None, true));
        assert_eq!((first.target.as_str(), second.target.as_str()), ("10.0.0.1", "second"));
        assert_eq!((second.user.as_deref(), second.port, second.sudo), (Some("one"), Some(2222), false));
        assert_eq!(second.key, Some("/k".into()));
        assert_eq!(inventory.directory(), Path::new("/var/tmp/labrys"));
        assert_eq!(inventory.first(1).machines.len(), 1);
    }

    #[test]
    fn files_are_relative_to_the_inventory() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("hosts.toml");
        std::fs::write(&path, "key = \"id\"\nknown-hosts = \"/etc/known\"").expect("written");
        let inventory = Inventory::read(&path).expect("valid");
        assert_eq!(inventory.key, Some(folder.path().join("id")));
        assert_eq!(inventory.known_hosts, Some("/etc/known".into()));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_file_and_the_machine() {
        let one = "[[hosts]]\nname = \"n1\"\naddress = \"10.0.0.1\"\n";
        for (text, expected) in [
            ("[[hosts]]\nname = \"n1\"", "missing field `address`"),
            ("sudoo = true", "unknown field `sudoo`"),
            ("directory = \"/tmp\"", "directory: `/tmp` is not such as"),
            ("directory = \"/tmp/a b\"", "directory: `/tmp/a b`"),
            ("[[hosts]]\nname = \"a b\"\naddress = \"x\"", "machine 1: `a b` is no name"),
            ("[[hosts]]\nname = \"n1\"\naddress = \"-oProxyCommand=x\"", "is neither an address"),
            (&format!("{one}{one}"), "machine 2: there is a machine `n1` already"),
            (&format!("{one}{}", one.replace("n1", "n2")), "machine 2: `10.0.0.1` is the address of another"),
        ] {
            let problem = read(text).expect_err(text);
            assert!(
                problem.starts_with("FOLDER/hosts.toml: ") && problem.contains(expected),
                "{text}: {problem}"
            );
        }
    }
}
