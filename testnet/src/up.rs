//! A testnet's life: up, down, and what can happen to one organisation in between.

use crate::manifest::{Manifest, Org, User};
use crate::{TestnetError, process};
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};

/// Nodes that one machine should run as processes.
const ORGS_MAX: usize = 64;
/// Accounts an organisation.
const USERS_MAX: usize = 1000;
/// Organisations that every other meets first.
const BOOTSTRAPS: usize = 2;

/// What to bring up.
#[derive(Debug, Clone)]
pub struct UpConfig {
    /// The binary whose processes these will be.
    pub binary: PathBuf,
    /// The testnet's directory; must not hold one.
    pub dir: PathBuf,
    /// Names of the organisations.
    pub orgs: Vec<String>,
    /// Names of the users of each organisation.
    pub users: Vec<Vec<String>>,
}

impl UpConfig {
    /// `org1`, `org2`, …, each with `user1`, `user2`, ….
    pub fn numbered(binary: PathBuf, dir: PathBuf, orgs: usize, users: usize) -> Self {
        let of_one = || (1..=users.min(USERS_MAX + 1)).map(|number| format!("user{number}")).collect();
        let names: Vec<String> = (1..=orgs.min(ORGS_MAX + 1)).map(|number| format!("org{number}")).collect();
        Self { binary, dir, users: names.iter().map(|_| of_one()).collect(), orgs: names }
    }
}

#[derive(Deserialize)]
struct Inited {
    peer_id: String,
    invite: String,
}

#[derive(Deserialize)]
struct Invited {
    invite: String,
}

#[derive(Deserialize)]
struct AccountMade {
    account: String,
    handle: String,
}

/// Makes the directories, starts the nodes, signs the users up. On failure nothing keeps running.
///
/// # Errors
/// [`TestnetError`].
pub async fn up(config: &UpConfig) -> Result<Manifest, TestnetError> {
    let most_users = config.users.iter().map(Vec::len).max().unwrap_or(0);
    for (what, max, got, min) in
        [("organisations", ORGS_MAX, config.orgs.len(), 1), ("users an organisation", USERS_MAX, most_users, 0)]
    {
        if got < min || got > max {
            return Err(TestnetError::Size { what, max, got });
        }
    }
    let dir = std::path::absolute(&config.dir).map_err(TestnetError::io("finding the directory"))?;
    for part in ["testnet.json", "orgs", "users"] {
        if dir.join(part).exists() {
            return Err(TestnetError::Exists(dir.join(part)));
        }
    }
    for part in ["orgs", "users"] {
        fs::create_dir_all(dir.join(part)).map_err(TestnetError::io(format!("making {}", dir.join(part).display())))?;
    }
    let mut manifest = Manifest { orgs: Vec::new() };
    let done = bring_up(config, &dir, &mut manifest).await;
    if let Err(error) = done {
        for org in &manifest.orgs {
            let _ = process::end(org, "TERM").await;
        }
        return Err(error);
    }
    Ok(manifest)
}

async fn bring_up(config: &UpConfig, dir: &Path, manifest: &mut Manifest) -> Result<(), TestnetError> {
    for (name, users) in config.orgs.iter().zip(&config.users) {
        let org_dir = dir.join("orgs").join(name);
        let org_dir_text = org_dir.to_string_lossy().into_owned();
        let bootstraps: Vec<String> = manifest.orgs.iter().take(BOOTSTRAPS).filter_map(Org::bootstrap).collect();
        let mut args = vec!["init", "--dir", &org_dir_text, "--name", name, "--profile", "testnet"];
        for address in &bootstraps {
            args.extend(["--bootstrap", address]);
        }
        let inited: Inited = process::run(&config.binary, &args).await?;
        let ready = process::serve(&config.binary, &org_dir).await?;
        manifest.orgs.push(Org {
            name: name.clone(),
            dir: org_dir,
            pid: ready.pid,
            peer_id: inited.peer_id,
            web: ready.web,
            listen: ready.listen,
            users: Vec::new(),
        });
        manifest.save(dir)?;
        let mut invite = inited.invite;
        if users.len() > 10 {
            // The first invite is for ten.
            let uses = users.len().to_string();
            let invited: Invited =
                process::run(&config.binary, &["invite", "--dir", &org_dir_text, "--uses", &uses]).await?;
            invite = invited.invite;
        }
        for user in users {
            let made = sign_up(config, dir, manifest.orgs.last(), user, &invite).await?;
            if let Some(org) = manifest.orgs.last_mut() {
                org.users.push(made);
            }
        }
        manifest.save(dir)?;
    }
    for org in &manifest.orgs {
        let others = manifest.orgs.iter().filter(|other| other.name != org.name).take(BOOTSTRAPS);
        fix_addresses(org, others.filter_map(Org::bootstrap).collect())?;
    }
    Ok(())
}

async fn sign_up(
    config: &UpConfig,
    dir: &Path,
    org: Option<&Org>,
    user: &str,
    invite: &str,
) -> Result<User, TestnetError> {
    let (name, web) = org.map(|org| (org.name.as_str(), org.web.as_str())).unwrap_or_default();
    let client = dir.join("users").join(format!("{user}@{name}"));
    let client_text = client.to_string_lossy().into_owned();
    let args = [
        "account",
        "create",
        "--server",
        web,
        "--handle",
        user,
        "--invite",
        invite,
        "--dir",
        client_text.as_str(),
        "--accept-strangers",
    ];
    let made: AccountMade = process::run(&config.binary, &args).await?;
    Ok(User { handle: made.handle, dir: client, account: made.account })
}

/// Writes the ports that the system gave, and whom to meet first, into the config: a restarted node comes back where it was.
fn fix_addresses(org: &Org, bootstrap: Vec<String>) -> Result<(), TestnetError> {
    let path = org.dir.join("config.toml");
    let wrong = |what: String| TestnetError::File { path: path.clone(), what };
    let text = fs::read_to_string(&path).map_err(TestnetError::io("reading a config"))?;
    let mut table: toml::Table = text.parse().map_err(|error: toml::de::Error| wrong(error.to_string()))?;
    let web = org.web.strip_prefix("http://").unwrap_or(&org.web).to_owned();
    table.insert("web".into(), web.into());
    table.insert("listen".into(), org.listen.clone().into());
    table.insert("bootstrap".into(), bootstrap.into());
    let text = toml::to_string(&table).map_err(|error| wrong(error.to_string()))?;
    let half = org.dir.join("config.toml.half");
    let write = || {
        fs::write(&half, text)?;
        fs::set_permissions(&half, fs::metadata(&path)?.permissions())?;
        fs::rename(&half, &path)
    };
    write().map_err(TestnetError::io("writing a config"))
}

/// Ends every node. Directories stay.
///
/// # Errors
/// [`TestnetError`]; the other nodes are ended all the same.
pub async fn down(dir: &Path) -> Result<Manifest, TestnetError> {
    let manifest = Manifest::load(dir)?;
    let mut first = None;
    let mut ending = tokio::task::JoinSet::new();
    for org in manifest.orgs.clone() {
        ending.spawn(async move { process::end(&org, "TERM").await });
    }
    while let Some(ended) = ending.join_next().await {
        if let Ok(Err(error)) = ended {
            first.get_or_insert(error);
        }
    }
    first.map_or(Ok(manifest), Err)
}

/// Kills an organisation's node without warning.
///
/// # Errors
/// [`TestnetError`].
pub async fn kill(dir: &Path, name: &str) -> Result<Org, TestnetError> {
    end(dir, name, "KILL").await
}

/// Ends an organisation's node, which drains.
///
/// # Errors
/// [`TestnetError`].
pub async fn stop(dir: &Path, name: &str) -> Result<Org, TestnetError> {
    end(dir, name, "TERM").await
}

async fn end(dir: &Path, name: &str, signal: &str) -> Result<Org, TestnetError> {
    let mut manifest = Manifest::load(dir)?;
    let org = manifest.org_mut(name)?.clone();
    process::end(&org, signal).await?;
    Ok(org)
}

/// Starts an organisation's node again, on the same ports.
///
/// # Errors
/// [`TestnetError`].
pub async fn start(binary: &Path, dir: &Path, name: &str) -> Result<Org, TestnetError> {
    let mut manifest = Manifest::load(dir)?;
    let org = manifest.org_mut(name)?;
    if process::runs(org) {
        return Err(TestnetError::Running { org: org.name.clone(), pid: org.pid });
    }
    let ready = process::serve(binary, &org.dir).await?;
    org.pid = ready.pid;
    org.peer_id = ready.peer_id;
    org.web = ready.web;
    org.listen = ready.listen;
    let org = org.clone();
    manifest.save(dir)?;
    Ok(org)
}
