//! `roost serve`: the node, its bridge and its control socket, until a signal ends them.

use crate::config::{Config, Flags, Profile, Registration, read_key};
use crate::control::{Context, Control, import};
use crate::output::{Failure, Printer};
use roost_node::network::Rates;
use roost_node::{Node, NodeConfig};
use roost_web_bridge::{BridgeConfig, BridgeError};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// For the bridge's connections; with [`STOP_WAIT`] below the ten seconds that the contract gives.
const DRAIN_WAIT: Duration = Duration::from_secs(4);
/// For the relay's last batch.
const STOP_WAIT: Duration = Duration::from_secs(4);

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The node's directory
    #[arg(long)]
    dir: PathBuf,
    /// libp2p address to listen on, instead of the config's; may be repeated
    #[arg(long, value_name = "MULTIADDR")]
    listen: Vec<String>,
    /// Where users connect, instead of the config's
    #[arg(long, value_name = "IP:PORT")]
    web: Option<String>,
    /// A node to meet first, instead of the config's; may be repeated
    #[arg(long, value_name = "MULTIADDR")]
    bootstrap: Vec<String>,
}

/// Runs it.
///
/// # Errors
/// Exit 4 when another process has the directory, 2 for a config that cannot work, 1 for the rest.
pub async fn run(args: Args, out: Printer) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::io("listening for signals"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::io("listening for signals"))?;
    let config = Config::load(&args.dir, &Flags { listen: args.listen, web: args.web, bootstrap: args.bootstrap })?;
    let (web_listen, metrics_listen) = (config.web()?, config.metrics()?);
    raise_descriptors();
    let keys = args.dir.join("keys");
    let node_config = NodeConfig {
        org_key: read_key(&keys.join("org.key"))?,
        node_key: read_key(&keys.join("node.key"))?,
        name: config.name.clone(),
        open_registration: config.registration == Registration::Open,
        store: args.dir.join("store"),
        listen: config.listen()?,
        bootstrap: config.bootstrap()?,
        pins: config.pins()?,
        region: config.region.clone(),
        peer_rates: if config.profile == Profile::Testnet { Rates::TESTNET } else { Rates::PRODUCTION },
        push: config.push.of_node(&config, &keys)?,
        limits: config.blobs.limits(config.profile.limits()),
        blobs: args.dir.join("blobs"),
    };
    let node = Node::start(node_config).await?;
    let handle = node.handle();
    let context = Arc::new(Context {
        dir: args.dir.clone(),
        node: handle.clone(),
        web: std::sync::OnceLock::new(),
        metrics: std::sync::OnceLock::new(),
        importing: tokio::sync::Mutex::new(()),
    });
    // The socket comes before the import: an invite laid down meanwhile is either found by the import or announced here.
    let control = Control::serve(context.clone())?;
    import(&context).await?;
    let (stop_bridge, stopped) = tokio::sync::oneshot::channel::<()>();
    let (stop_metrics, metrics_stopped) = tokio::sync::oneshot::channel::<()>();
    let metrics = match metrics_listen {
        None => None,
        Some(listen) => {
            let stop = async move { drop(metrics_stopped.await) };
            let (at, _task) = roost_web_bridge::serve_metrics(listen, handle.clone(), stop)
                .await
                .map_err(|error| Failure::failed("metrics", error, "is the metrics port free?"))?;
            let _ = context.metrics.set(at.to_string());
            Some(at.to_string())
        }
    };
    let bridge_config = bridge_config(&config, web_listen);
    let (web_addr, bridge) = roost_web_bridge::serve(bridge_config, handle.clone(), async move {
        let _ = stopped.await;
    })
    .await
    .map_err(|error| match error {
        BridgeError::Listen { .. } => Failure::failed("web", error, "is the web port free?"),
        BridgeError::PlainHttp(_) | BridgeError::Origin(_) => Failure::usage("web", error, "correct it in config.toml"),
    })?;
    let web = if config.public_url.is_empty() { format!("http://{web_addr}") } else { config.public_url.clone() };
    let _ = context.web.set(web_addr.to_string());
    let stopped = |error| Failure::failed("stopped", error, "look at the log");
    handle.announce(&web).await.map_err(stopped)?;
    let peer_id = handle.node().to_string();
    let listen: Vec<String> = node.listen().iter().map(ToString::to_string).collect();
    let mut value = serde_json::json!({
        "event": "ready", "org_id": handle.org().to_string(), "peer_id": peer_id, "pid": std::process::id(),
        "listen": listen, "web": web,
    });
    let listening = listen.join(", ");
    let mut words = format!("{} is ready\nnode    {peer_id}\nlisten  {listening}\nweb     {web}", config.name);
    if let (Some(at), Some(fields)) = (metrics, value.as_object_mut()) {
        words.push_str(&format!("\nmetrics http://{at}/metrics"));
        fields.insert("metrics".into(), format!("http://{at}/metrics").into());
    }
    out.print(&value, words)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    drop(control);
    drop(stop_bridge);
    drop(stop_metrics);
    if tokio::time::timeout(DRAIN_WAIT + Duration::from_millis(500), bridge).await.is_err() {
        tracing::warn!("some connections did not end in time");
    }
    if tokio::time::timeout(STOP_WAIT, node.stop()).await.is_err() {
        tracing::warn!("the node did not stop in time; what it acknowledged is on disk");
    }
    Ok(())
}

/// Takes as many file descriptors as the system allows: every device is one. Where it fails, there are as many as before.
fn raise_descriptors() {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = rustix::process::setrlimit(rustix::process::Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of open files was not raised");
    }
}

/// A testnet raises rates, never sizes: its users all come from one address.
fn bridge_config(config: &Config, listen: SocketAddr) -> BridgeConfig {
    let mut bridge = BridgeConfig::new(listen);
    bridge.origins.clone_from(&config.origins);
    bridge.trusted_proxy = config.trusted_proxy;
    bridge.drain_within = DRAIN_WAIT;
    if config.profile == Profile::Testnet {
        bridge.pending_per_address_max *= 50;
        bridge.sockets_per_address_max *= 100;
        bridge.handshakes = bridge.handshakes.raised(1_000);
        bridge.sign_ups = bridge.sign_ups.raised(10_000);
        bridge.sign_in_failures = bridge.sign_in_failures.raised(1_000);
        bridge.link_requests = bridge.link_requests.raised(1_000);
        bridge.frames_burst *= 50;
        bridge.frames_per_s *= 50;
    }
    bridge
}
