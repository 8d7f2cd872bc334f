//! `roost init`: makes a node's directory, whole or not at all.

use crate::config::{
    BlobsConfig, Config, Invite, Profile, Push, Registration, create_key, create_vapid_key, make_private_dir, sync_dir,
    write_private,
};
use crate::output::{Failure, Printer, now_ms, random};
use roost_crypto::ids::{NodeId, OrgId};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The first invite: enough for a small team.
const FIRST_USES: u32 = 10;
/// Seven days.
const FIRST_LIFE_MS: u64 = 7 * 86_400_000;

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directory to make
    #[arg(long)]
    dir: PathBuf,
    /// The organisation's name: the part of handles behind the @
    #[arg(long)]
    name: String,
    /// libp2p address to listen on; may be repeated
    #[arg(long, value_name = "MULTIADDR")]
    listen: Vec<String>,
    /// Where users connect
    #[arg(long, value_name = "IP:PORT")]
    web: Option<String>,
    /// A node to meet first, with its /p2p/ part; may be repeated
    #[arg(long, value_name = "MULTIADDR")]
    bootstrap: Vec<String>,
    /// For whom the node is
    #[arg(long, value_enum, default_value = "production")]
    profile: Profile,
}

/// Runs it.
///
/// # Errors
/// Exit 2 for an existing directory, which stays untouched, or a value that cannot work.
pub fn run(args: Args, out: Printer) -> Result<(), Failure> {
    let dir = std::path::absolute(&args.dir).map_err(Failure::io("finding the directory"))?;
    if fs::symlink_metadata(&dir).is_ok() {
        return Err(Failure::usage(
            "exists",
            format_args!("{} exists already", dir.display()),
            "name another directory; this one is untouched",
        ));
    }
    let mut config = Config {
        name: args.name,
        profile: args.profile,
        listen: args.listen,
        web: args.web.unwrap_or_default(),
        metrics: String::new(),
        public_url: String::new(),
        trusted_proxy: false,
        origins: Vec::new(),
        bootstrap: args.bootstrap,
        registration: Registration::Invite,
        region: String::new(),
        push: Push::default(),
        blobs: BlobsConfig::default(),
        pins: BTreeMap::new(),
    };
    config.fill();
    config.check()?;
    let (Some(parent), Some(name)) = (dir.parent(), dir.file_name()) else {
        return Err(Failure::usage("dir", "this is no directory that can be made", "name another one"));
    };
    fs::create_dir_all(parent).map_err(Failure::io("making the parent directory"))?;
    let half = parent.join(format!(".{}.init-{}", name.to_string_lossy(), hex::encode(random::<6>()?)));
    let made = make(&half, &config).and_then(|made| {
        fs::rename(&half, &dir).map_err(Failure::io(format_args!("naming {}", dir.display())))?;
        sync_dir(parent)?;
        Ok(made)
    });
    let made = match made {
        Ok(made) => made,
        Err(failure) => {
            let _ = fs::remove_dir_all(&half);
            return Err(failure);
        }
    };
    let path = dir.join("config.toml");
    let value = serde_json::json!({
        "org": config.name,
        "org_id": made.org.to_string(),
        "peer_id": made.node.to_string(),
        "config": path.display().to_string(),
        "invite": made.invite.token,
    });
    let words = format!(
        "made {}\norganisation  {}  {}\nnode          {}\nconfig        {}\ninvite        {}  ({FIRST_USES} uses, 7 days)\nnext: roost serve --dir {}",
        dir.display(),
        config.name,
        made.org,
        made.node,
        path.display(),
        made.invite.token,
        dir.display()
    );
    out.print(&value, words)
}

struct Made {
    org: OrgId,
    node: NodeId,
    invite: Invite,
}

fn make(dir: &Path, config: &Config) -> Result<Made, Failure> {
    make_private_dir(dir)?;
    let keys = dir.join("keys");
    make_private_dir(&keys)?;
    let org = create_key(&keys.join("org.key"))?;
    let node = create_key(&keys.join("node.key"))?;
    create_vapid_key(&keys.join("vapid.key"))?;
    sync_dir(&keys)?;
    let text = toml::to_string(config).map_err(|error| Failure::failed("config", error, ""))?;
    write_private(&dir.join("config.toml"), text.as_bytes())?;
    let invite = Invite::draw(FIRST_USES, now_ms() + FIRST_LIFE_MS)?;
    invite.lay_down(dir)?;
    sync_dir(dir)?;
    Ok(Made { org: OrgId::of(&org.public_key()), node: NodeId::of(node.public_key()), invite })
}
