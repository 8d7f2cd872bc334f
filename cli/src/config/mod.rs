//! A node's directory: its config, its keys, its invites that wait for the node.
//!
//! Flags win over `ROOST_KEY` and `ROOST_SECTION__KEY` of the environment, these over `config.toml`, that over the defaults. An
//! unknown key is an error. Secrets are never in the config and never in a message.

mod blobs;
mod explain;
mod files;
mod invites;
mod keys;
mod push;

pub use blobs::BlobsConfig;
pub use files::{make_private_dir, sync_dir, write_private};
pub use invites::Invite;
pub use keys::{create_key, create_vapid_key, read_key, read_vapid_key};
pub use push::Push;

use crate::output::Failure;
use figment::Figment;
use figment::providers::{Env, Format as _, Serialized, Toml};
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use roost_node::relay::Limits;
use roost_protocol::OrgId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// Variables of the environment with our prefix that are no config keys.
const NOT_CONFIG: &[&str] = &["log", "bin", "require", "kills", "cuts", "places", "changes"];
/// A config longer than this is not ours.
const CONFIG_BYTES_MAX: u64 = 1 << 20;
/// The config's keys, in the order of [`Config`].
const KEYS: &[&str] = &[
    "name",
    "profile",
    "listen",
    "web",
    "metrics",
    "public_url",
    "trusted_proxy",
    "origins",
    "bootstrap",
    "registration",
    "region",
    "push",
    "blobs",
    "pins",
];

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

    /// How often accounts and other nodes may cost the node something: a testnet raises rates, never sizes.
    pub fn limits(self) -> Limits {
        match self {
            Self::Production => Limits::PRODUCTION,
            Self::Testnet => Limits::TESTNET,
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
    /// Where the metrics are shown, like `127.0.0.1:9090`; empty: nowhere.
    #[serde(default)]
    pub metrics: String,
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
    /// How devices that are away are woken.
    #[serde(default)]
    pub push: Push,
    /// What is kept of files.
    #[serde(default)]
    pub blobs: BlobsConfig,
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
        Self::examine(dir, flags).map_err(|faults| {
            let none = || Failure::failed("config", "the config does not read", "look at it");
            faults.into_iter().next().unwrap_or_else(none)
        })
    }

    /// As [`Self::load`], with everything that is wrong instead of the first.
    ///
    /// # Errors
    /// At least one [`Failure`].
    pub fn examine(dir: &Path, flags: &Flags) -> Result<Self, Vec<Failure>> {
        let figment = Self::sources(dir, flags).map_err(|failure| vec![failure])?;
        let mut config: Self = figment.extract().map_err(|error| explain::all(&figment, &error))?;
        config.fill();
        let mut faults = config.faults();
        faults.extend(config.plain_http());
        if faults.is_empty() { Ok(config) } else { Err(faults) }
    }

    fn sources(dir: &Path, flags: &Flags) -> Result<Figment, Failure> {
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
        Ok(Figment::new().merge(Toml::string(&text)).merge(env).merge(Serialized::defaults(flags)))
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
        self.faults().into_iter().next().map_or(Ok(()), Err)
    }

    /// The bridge refuses to serve so; not asked at `init`, whose config may still get its `trusted_proxy`.
    fn plain_http(&self) -> Option<Failure> {
        let web = self.web().ok().filter(|web| !web.ip().is_loopback() && !self.trusted_proxy)?;
        let hint = "listen on 127.0.0.1 behind a TLS proxy, or set trusted_proxy = true if it is on a private network";
        Some(Failure::usage("web", format_args!("web: {web} would speak plain HTTP over a network"), hint))
    }

    /// Every value that cannot work, alone or beside another.
    fn faults(&self) -> Vec<Failure> {
        let name = roost_protocol::handle::check_org_name(&self.name).map_err(|error| {
            Failure::usage("name", format_args!("the name {:?}: {error}", self.name), "like acme or acme.example")
        });
        let (listen, web, metrics) = (self.listen(), self.web(), self.metrics());
        let mut faults = Vec::new();
        if let (Ok(web), Ok(Some(metrics))) = (&web, &metrics)
            && clash(web, metrics)
        {
            let message = format_args!("metrics: {metrics} is where the bridge listens (web)");
            faults.push(Failure::usage("metrics", message, "take another port, like 127.0.0.1:9090"));
        }
        for address in listen.iter().flatten().filter_map(tcp_address) {
            let web = web.as_ref().ok().map(|web| ("web", *web));
            let metrics = metrics.as_ref().ok().and_then(|metrics| metrics.map(|metrics| ("metrics", metrics)));
            for (key, _) in web.into_iter().chain(metrics).filter(|(_, other)| clash(&address, other)) {
                let message = format_args!("listen: {address} is also where {key} listens");
                faults.push(Failure::usage("listen", message, "give each its own port"));
            }
        }
        if let Err(error) = roost_web_bridge::check_origins(&self.origins) {
            faults.push(Failure::usage("origins", format_args!("origins: {error}"), "like https://chat.acme.example"));
        }
        for address in self.bootstrap().into_iter().flatten() {
            if !matches!(address.iter().last(), Some(Protocol::P2p(_))) {
                faults.push(Failure::usage(
                    "bootstrap",
                    format_args!("the bootstrap address {address} does not say which node it is"),
                    "add its peer id: /ip4/…/tcp/…/p2p/12D3Koo…",
                ));
            }
        }
        for address in listen.iter().flatten().filter(|address| tcp_port(address).is_none()) {
            let message = format_args!("listen: {address} has no TCP port");
            faults.push(Failure::usage("listen", message, "like /ip4/0.0.0.0/tcp/4001"));
        }
        if !self.public_url.is_empty()
            && !self.public_url.starts_with("http://")
            && !self.public_url.starts_with("https://")
        {
            let message = "public_url is no http:// or https:// address";
            faults.push(Failure::usage("public_url", message, "like https://chat.acme.example"));
        }
        faults.extend(self.push.faults());
        let unreadable =
            [name.err(), listen.err(), web.err(), metrics.err(), self.pins().err(), self.bootstrap().err()];
        faults.extend(unreadable.into_iter().flatten());
        faults.extend(self.blobs.faults());
        faults
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

    /// Where the metrics are shown, if they are.
    ///
    /// # Errors
    /// Exit 2.
    pub fn metrics(&self) -> Result<Option<SocketAddr>, Failure> {
        if self.metrics.is_empty() {
            return Ok(None);
        }
        self.metrics.parse().map(Some).map_err(|_| {
            let message = format_args!("metrics: expected IP:PORT, got {:?}", self.metrics);
            Failure::usage("metrics", message, "like 127.0.0.1:9090; empty for none")
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

/// Whether two listeners want the same port of the same address; port 0 takes a free one.
fn clash(one: &SocketAddr, other: &SocketAddr) -> bool {
    let everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && (one.ip() == other.ip() || everywhere)
}

fn tcp_port(address: &Multiaddr) -> Option<u16> {
    address.iter().find_map(|part| if let Protocol::Tcp(port) = part { Some(port) } else { None })
}

/// Address and port of `/ip4/…/tcp/…` and `/ip6/…/tcp/…`; a name is none.
pub fn tcp_address(address: &Multiaddr) -> Option<SocketAddr> {
    let ip: IpAddr = address.iter().find_map(|part| match part {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(ip.into()),
        _ => None,
    })?;
    Some(SocketAddr::new(ip, tcp_port(address)?))
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
            ("name = \"acme\"\n[push]\ncontact = \"op@acme.example\"", "push"),
            ("name = \"acme\"\n[push]\nburst = 0", "push"),
            ("name = \"acme\"\n[push]\ncontcat = \"\"", "unknown_key"),
            ("name = \"acme\"\nlisten = [\"/ip4/127.0.0.1/udp/4001\"]", "listen"),
            ("name = \"acme\"\nmetrics = \"9090\"", "metrics"),
            ("name = \"acme\"\nweb = \"127.0.0.1:9090\"\nmetrics = \"127.0.0.1:9090\"", "metrics"),
            ("name = \"acme\"\nweb = \"127.0.0.1:4001\"", "listen"),
            ("name = \"acme\"\nweb = \"0.0.0.0:8080\"", "web"),
            ("name = \"acme\"\norigins = [\"chat.acme.example/path\"]", "origins"),
            ("name = \"acme\"\n[blobs]\nkeep_days = 0", "blobs"),
            ("name = \"acme\"\npublic_url = \"chat.acme.example\"", "public_url"),
            ("profile = \"testnet\"", "missing_key"),
            ("name = \"acme\"\nprofile = \"tesnet\"", "unknown_value"),
            ("name = \"acme\"\ntrusted_proxy = \"yes\"", "wrong_type"),
            ("name = acme", "syntax"),
        ] {
            assert_eq!(load(text).unwrap_err().code, code, "{text:?}");
        }
    }

    #[test]
    fn a_mistake_is_explained_with_its_place_and_what_was_probably_meant() {
        for (text, code, message, hint) in [
            (
                "name = \"acme\"\nprofile = \"tesnet\"",
                "unknown_value",
                "profile: \"tesnet\" is none of production, testnet (config.toml)",
                "did you mean \"testnet\"?",
            ),
            (
                "name = \"acme\"\ntrusted_proxy = \"yes\"",
                "wrong_type",
                "trusted_proxy: expected a boolean, got string \"yes\" (config.toml)",
                "true or false, without quotes",
            ),
            (
                "name = \"acme\"\nbootstrap = \"/ip4/1.2.3.4/tcp/1\"",
                "wrong_type",
                "bootstrap: expected a sequence, got string \"/ip4/1.2.3.4/tcp/1\" (config.toml)",
                "a list: [\"…\", \"…\"]",
            ),
            ("profile = \"testnet\"", "missing_key", "the key \"name\" is missing", "add it: name = \"acme\""),
        ] {
            let failure = load(text).unwrap_err();
            let told = (failure.code.as_str(), failure.message.as_str(), failure.hint.as_str());
            assert_eq!(told, (code, message, hint), "{text:?}");
        }
    }

    #[test]
    fn an_examination_tells_every_fault_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let text = "name = \"acme\"\nbootstarp = []\nregoin = \"eu\"\nweb = 8080\n";
        fs::write(dir.path().join("config.toml"), text).unwrap();
        let faults = Config::examine(dir.path(), &Flags::default()).unwrap_err();
        let hints: Vec<&str> = faults.iter().map(|fault| fault.hint.as_str()).collect();
        assert_eq!(faults.len(), 3, "two keys and a type: {faults:?}");
        for key in ["bootstrap", "region"] {
            assert!(hints.contains(&format!("did you mean {key:?}?").as_str()), "{key} is suggested: {hints:?}");
        }
        let text = "name = \"Acme\"\nlisten = [\"nowhere\"]\nweb = \"8080\"\n";
        fs::write(dir.path().join("config.toml"), text).unwrap();
        let faults = Config::examine(dir.path(), &Flags::default()).unwrap_err();
        let codes: Vec<&str> = faults.iter().map(|fault| fault.code.as_str()).collect();
        assert_eq!(codes, ["name", "listen", "web"], "each value that cannot work");
    }

    #[test]
    fn the_list_of_keys_is_the_configs() {
        let config: Config = serde_json::from_str("{\"name\": \"acme\"}").unwrap();
        let value = serde_json::to_value(&config).unwrap();
        let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        let mut listed = KEYS.to_vec();
        keys.sort_unstable();
        listed.sort_unstable();
        assert_eq!(listed, keys, "a new key is listed, or its misspellings are not told all at once");
    }
}
