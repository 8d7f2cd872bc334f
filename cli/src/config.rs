//! A node's directory: its config, its keys, its invites that wait for the node.
//!
//! Flags win over `ROOST_KEY` and `ROOST_SECTION__KEY` of the environment, these over `config.toml`, that over the defaults. An
//! unknown key is an error. Secrets are never in the config and never in a message.

use crate::output::{Failure, random};
use figment::Figment;
use figment::error::Kind;
use figment::providers::{Env, Format as _, Serialized, Toml};
use libp2p::Multiaddr;
use roost_crypto::keys::{PublicKey, SecretKey};
use roost_protocol::OrgId;
use roost_protocol::invite::invite_key;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Variables of the environment with our prefix that are no config keys.
const NOT_CONFIG: &[&str] = &["log", "bin", "require", "kills", "cuts", "places"];
/// A config longer than this is not ours.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// For whom a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// An organisation's server.
    #[default]
    Production,
    /// Many on one machine: loopback, any free port.
    Testnet,
}

impl Profile {
    /// Where libp2p listens unless told.
    pub fn listen(self) -> &'static str {
        match self {
            Self::Production => "/ip4/0.0.0.0/tcp/4001",
            Self::Testnet => "/ip4/127.0.0.1/tcp/0",
        }
    }

    /// Where the bridge listens unless told.
    pub fn web(self) -> &'static str {
        match self {
            Self::Production => "127.0.0.1:8080",
            Self::Testnet => "127.0.0.1:0",
        }
    }
}

/// Who may sign up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Registration {
    /// Whoever has an invite.
    #[default]
    Invite,
    /// Everybody.
    Open,
}

/// `config.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The organisation's name: the part of handles behind the `@`.
    pub name: String,
    /// For whom the node is.
    #[serde(default)]
    pub profile: Profile,
    /// libp2p addresses to listen on; empty takes the profile's.
    #[serde(default)]
    pub listen: Vec<String>,
    /// Where the bridge listens; empty takes the profile's.
    #[serde(default)]
    pub web: String,
    /// The bridge's address as users reach it; empty takes `http://` and where it listens.
    #[serde(default)]
    pub public_url: String,
    /// A TLS proxy stands in front of the bridge.
    #[serde(default)]
    pub trusted_proxy: bool,
    /// Web origins whose pages may connect, like `https://chat.acme.example`.
    #[serde(default)]
    pub origins: Vec<String>,
    /// Nodes to meet first, with their `/p2p/` part.
    #[serde(default)]
    pub bootstrap: Vec<String>,
    /// Who may sign up.
    #[serde(default)]
    pub registration: Registration,
    /// A hint for clients that choose the nearest bridge.
    #[serde(default)]
    pub region: String,
    /// Organisation ids (hex) that the operator has fixed to names.
    #[serde(default)]
    pub pins: BTreeMap<String, String>,
}

/// What the command line says; it wins.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Flags {
    /// `--listen`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub listen: Vec<String>,
    /// `--web`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web: Option<String>,
    /// `--bootstrap`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bootstrap: Vec<String>,
}

impl Config {
    /// Reads and checks everything that can be checked without opening sockets.
    ///
    /// # Errors
    /// Exit 2 with what is wrong, where it comes from, and what was probably meant.
    pub fn load(dir: &Path, flags: &Flags) -> Result<Self, Failure> {
        let path = dir.join("config.toml");
        let missing = |error: io::Error| {
            Failure::usage(
                "no_config",
                format_args!("{}: {error}", path.display()),
                "make the directory with `roost init`",
            )
        };
        if fs::metadata(&path).map_err(missing)?.len() > CONFIG_BYTES_MAX {
            return Err(Failure::usage("config", "the config is larger than 1 MiB", "this is not a config of Roost"));
        }
        let text = fs::read_to_string(&path).map_err(missing)?;
        let env = Env::prefixed("ROOST_").ignore(NOT_CONFIG).split("__");
        let figment = Figment::new().merge(Toml::string(&text)).merge(env).merge(Serialized::defaults(flags));
        let mut config: Self = figment.extract().map_err(|error| explain(&error))?;
        config.fill();
        config.check()?;
        Ok(config)
    }

    /// Takes the profile's addresses where none are given.
    pub fn fill(&mut self) {
        if self.listen.is_empty() {
            self.listen = vec![self.profile.listen().into()];
        }
        if self.web.is_empty() {
            self.web = self.profile.web().into();
        }
    }

    /// Whether every value can be used.
    ///
    /// # Errors
    /// Exit 2.
    pub fn check(&self) -> Result<(), Failure> {
        roost_protocol::handle::check_org_name(&self.name).map_err(|error| {
            Failure::usage("name", format_args!("the name {:?}: {error}", self.name), "like acme or acme.example")
        })?;
        self.listen()?;
        self.web()?;
        self.pins()?;
        for address in self.bootstrap()? {
            if !matches!(address.iter().last(), Some(libp2p::multiaddr::Protocol::P2p(_))) {
                return Err(Failure::usage(
                    "bootstrap",
                    format_args!("the bootstrap address {address} does not say which node it is"),
                    "add its peer id: /ip4/…/tcp/…/p2p/12D3Koo…",
                ));
            }
        }
        if !self.public_url.is_empty()
            && !self.public_url.starts_with("http://")
            && !self.public_url.starts_with("https://")
        {
            return Err(Failure::usage(
                "public_url",
                "public_url is no http:// or https:// address",
                "like https://chat.acme.example",
            ));
        }
        Ok(())
    }

    /// Where libp2p listens.
    ///
    /// # Errors
    /// Exit 2.
    pub fn listen(&self) -> Result<Vec<Multiaddr>, Failure> {
        addresses("listen", &self.listen)
    }

    /// Nodes to meet first.
    ///
    /// # Errors
    /// Exit 2.
    pub fn bootstrap(&self) -> Result<Vec<Multiaddr>, Failure> {
        addresses("bootstrap", &self.bootstrap)
    }

    /// Where the bridge listens.
    ///
    /// # Errors
    /// Exit 2.
    pub fn web(&self) -> Result<SocketAddr, Failure> {
        self.web.parse().map_err(|_| {
            Failure::usage("web", format_args!("web: expected IP:PORT, got {:?}", self.web), "like 127.0.0.1:8080")
        })
    }

    /// Names that the operator has fixed.
    ///
    /// # Errors
    /// Exit 2.
    pub fn pins(&self) -> Result<BTreeMap<String, OrgId>, Failure> {
        self.pins
            .iter()
            .map(|(name, id)| {
                let id = id.parse().map_err(|_| {
                    Failure::usage(
                        "pins",
                        format_args!("pins.{name}: expected an org_id, got {id:?}"),
                        "64 hex digits, as `roost init` prints them",
                    )
                })?;
                Ok((name.clone(), id))
            })
            .collect()
    }
}

fn addresses(key: &str, texts: &[String]) -> Result<Vec<Multiaddr>, Failure> {
    texts
        .iter()
        .map(|text| {
            text.parse().map_err(|error| {
                Failure::usage(
                    key,
                    format_args!("{key}: {text:?} is no multiaddr: {error}"),
                    "like /ip4/127.0.0.1/tcp/4001",
                )
            })
        })
        .collect()
}

/// Words for a config that does not read: where the value comes from, and for an unknown key what was probably meant.
fn explain(error: &figment::Error) -> Failure {
    let origin = error.metadata.as_ref().map_or("the config", |metadata| {
        if metadata.name.contains("TOML") {
            "config.toml"
        } else if metadata.name.contains("environment") {
            "the environment"
        } else {
            "the flags"
        }
    });
    match &error.kind {
        Kind::UnknownField(key, known) => {
            let hint = match nearest(key, known) {
                Some(name) => format!("did you mean {name:?}?"),
                None => format!("known are {}", known.join(", ")),
            };
            Failure::usage("unknown_key", format_args!("unknown key {key:?} in {origin}"), hint)
        }
        kind => {
            let path = error.path.join(".");
            let at = if path.is_empty() { String::new() } else { format!("{path}: ") };
            Failure::usage("config", format_args!("{at}{kind} (from {origin})"), "correct it there")
        }
    }
}

/// The known key that a wrong one most resembles, if it does.
fn nearest<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    let scored = known.iter().map(|name| (strsim::jaro_winkler(key, name), *name));
    scored.filter(|(score, _)| *score > 0.75).max_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, name)| name)
}

/// Writes a file for the owner only, on disk when this returns. It must not exist.
///
/// # Errors
/// [`Failure`], exit 1.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(Failure::io(format_args!("writing {}", path.display())))
}

/// Makes a directory for the owner only.
///
/// # Errors
/// [`Failure`], exit 1.
pub fn make_private_dir(path: &Path) -> Result<(), Failure> {
    let mut builder = fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result.map_err(Failure::io(format_args!("making {}", path.display()))),
    }
}

/// Makes the names in a directory durable.
///
/// # Errors
/// [`Failure`], exit 1.
pub fn sync_dir(path: &Path) -> Result<(), Failure> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(Failure::io(format_args!("syncing {}", path.display())))
}

/// Draws a key and writes its seed in hex.
///
/// # Errors
/// [`Failure`], exit 1.
pub fn create_key(path: &Path) -> Result<SecretKey, Failure> {
    let seed = Zeroizing::new(random::<32>()?);
    let text = Zeroizing::new(hex::encode(seed.as_slice()));
    write_private(path, text.as_bytes())?;
    Ok(SecretKey::from_seed(&seed))
}

/// Reads a key that only the owner can read.
///
/// # Errors
/// [`Failure`]: absent, readable by others, or no seed. It never holds what the file holds.
pub fn read_key(path: &Path) -> Result<SecretKey, Failure> {
    let file = path.display();
    let metadata = fs::metadata(path).map_err(Failure::io(format_args!("reading {file}")))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        let hint = format!("chmod 600 {file}");
        return Err(Failure::failed("key_mode", format_args!("{file} can be read by others"), hint));
    }
    let bad = || {
        Failure::failed("key", format_args!("{file} holds no key"), "expected 64 hex digits; restore it from a backup")
    };
    if metadata.len() > 128 {
        return Err(bad());
    }
    let text = Zeroizing::new(fs::read_to_string(path).map_err(|_| bad())?);
    let mut seed = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.trim(), seed.as_mut_slice()).map_err(|_| bad())?;
    Ok(SecretKey::from_seed(&seed))
}

/// An invite: whoever has the token may sign up. The token is shown once and kept nowhere.
pub struct Invite {
    /// The secret that a user types.
    pub token: String,
    /// What the node learns of it.
    pub waiting: WaitingInvite,
}

/// An invite on its way to the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingInvite {
    /// The public half of the token's key.
    pub key: PublicKey,
    /// How often it can be used.
    pub uses: u32,
    /// Until when, milliseconds since 1970.
    pub expires_ms: u64,
}

impl Invite {
    /// Draws one.
    ///
    /// # Errors
    /// [`Failure`] without randomness.
    pub fn draw(uses: u32, expires_ms: u64) -> Result<Self, Failure> {
        let token = hex::encode(random::<16>()?);
        let key = invite_key(&token);
        Ok(Self { token, waiting: WaitingInvite { key, uses, expires_ms } })
    }

    /// Lays it down for the node, which imports it once. Durable when this returns.
    ///
    /// # Errors
    /// [`Failure`], exit 1.
    pub fn lay_down(&self, dir: &Path) -> Result<(), Failure> {
        let invites = dir.join("invites");
        make_private_dir(&invites)?;
        let name = hex::encode(self.waiting.key.as_bytes());
        let bytes = serde_json::to_vec(&self.waiting).map_err(|error| Failure::failed("json", error, ""))?;
        // Under its final name only when whole: the node may look at any time.
        let (half, whole) = (invites.join(format!("{name}.half")), invites.join(format!("{name}.json")));
        write_private(&half, &bytes)?;
        fs::rename(&half, &whole).map_err(Failure::io("naming the invite"))?;
        sync_dir(&invites)
    }

    /// The invites that wait for the node, each with its file.
    ///
    /// # Errors
    /// [`Failure`] when one does not read.
    pub fn waiting(dir: &Path) -> Result<Vec<(PathBuf, WaitingInvite)>, Failure> {
        let entries = match fs::read_dir(dir.join("invites")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            result => result.map_err(Failure::io("reading the invites"))?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.map_err(Failure::io("reading the invites"))?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let bytes = fs::read(&path).map_err(Failure::io("reading an invite"))?;
                let invite = serde_json::from_slice(&bytes).map_err(|error| {
                    Failure::failed(
                        "invite",
                        format_args!("an invite file does not read: {error}"),
                        "remove it and make a new one",
                    )
                })?;
                found.push((path, invite));
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn load(text: &str) -> Result<Config, Failure> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config.toml"), text).unwrap();
        Config::load(dir.path(), &Flags::default())
    }

    #[test]
    fn a_misspelt_key_is_refused_with_the_right_one() {
        let failure = load("name = \"acme\"\nbootstarp = []\n").unwrap_err();
        assert_eq!(failure.exit, crate::output::Exit::Usage, "a wrong config is an input error");
        assert_eq!(failure.code, "unknown_key", "programs can tell");
        assert!(failure.message.contains("bootstarp"), "it names the key: {}", failure.message);
        assert_eq!(failure.hint, "did you mean \"bootstrap\"?", "it names what was meant");
    }

    #[test]
    fn a_key_that_resembles_nothing_gets_the_list() {
        let failure = load("name = \"acme\"\nxyzzy = 1\n").unwrap_err();
        assert!(failure.hint.starts_with("known are name, "), "the list helps: {}", failure.hint);
    }

    #[test]
    fn the_profile_fills_what_is_absent_and_flags_win() {
        let config = load("name = \"acme\"\nprofile = \"testnet\"\n").unwrap();
        assert_eq!(config.listen, ["/ip4/127.0.0.1/tcp/0"], "a testnet stays on this machine");
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config.toml"), "name = \"acme\"\nweb = \"127.0.0.1:1\"\n").unwrap();
        let flags = Flags { web: Some("127.0.0.1:2".into()), ..Flags::default() };
        assert_eq!(Config::load(dir.path(), &flags).unwrap().web, "127.0.0.1:2", "a flag wins over the file");
    }

    #[test]
    fn values_that_cannot_work_are_refused_at_once() {
        for (text, code) in [
            ("name = \"Acme Inc\"", "name"),
            ("name = \"acme\"\nlisten = [\"localhost:4001\"]", "listen"),
            ("name = \"acme\"\nweb = \"8080\"", "web"),
            ("name = \"acme\"\nbootstrap = [\"/ip4/1.2.3.4/tcp/1\"]", "bootstrap"),
            ("name = \"acme\"\n[pins]\nbirch = \"abc\"", "pins"),
            ("profile = \"testnet\"", "config"),
        ] {
            assert_eq!(load(text).unwrap_err().code, code, "{text:?}");
        }
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.key");
        let made = create_key(&path).unwrap();
        assert_eq!(read_key(&path).unwrap().public_key(), made.public_key(), "the key comes back");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let failure = read_key(&path).unwrap_err();
        assert_eq!(failure.code, "key_mode", "the mode is the fault");
        let secret = fs::read_to_string(&path).unwrap();
        assert!(!failure.render(true).contains(&secret), "no message holds the key");
    }

    #[test]
    fn an_invite_waits_on_disk_until_it_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let invite = Invite::draw(10, 5).unwrap();
        invite.lay_down(dir.path()).unwrap();
        let waiting = Invite::waiting(dir.path()).unwrap();
        assert_eq!(waiting.len(), 1, "one file");
        assert_eq!(waiting.first().unwrap().1, invite.waiting, "the same invite");
    }
}
