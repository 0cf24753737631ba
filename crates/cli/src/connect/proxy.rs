//! `connect proxy`: the built-in data plane of one service, until it is told to stop.

use std::net::SocketAddr;
use std::str::FromStr as _;

use api::{Client, QueryParams};
use model::duration::GoDuration;
use model::service::ServiceKind;
use proxy::source::{self, Role, Source};
use proxy::{Proxy, Settings};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::definition::{self, Upstream};
use super::metrics;
use super::register::Registration;
use crate::client_flags::{HttpFlags, block_on};
use crate::log;
use crate::output::{self, CommandResult, Failure};
use crate::signal::Stop;

/// Variables that say which proxy to be, for orchestrators that start proxies without flags.
const PROXY_ID_VARIABLE: &str = "CONNECT_PROXY_ID";
const SIDECAR_FOR_VARIABLE: &str = "CONNECT_SIDECAR_FOR";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Id of the service instance to be a sidecar for; its proxy must be registered.
    #[arg(long, default_value = "", value_name = "ID")]
    sidecar_for: String,
    /// Id of the proxy, as registered with the local agent.
    #[arg(long, default_value = "", value_name = "ID")]
    proxy_id: String,
    /// Name of the service to speak for, without a registration; the flags below say the rest.
    #[arg(long, default_value = "", value_name = "NAME")]
    service: String,
    /// Address of the application, for connections from the mesh; with -listen.
    #[arg(long, default_value = "", value_name = "HOST:PORT")]
    service_addr: String,
    /// Where to take connections from the mesh; with -service and -service-addr.
    #[arg(long, default_value = "", value_name = "HOST:PORT")]
    listen: String,
    /// A service to lead to and where to take connections for it, such as db:9191; repeat for
    /// more.
    #[arg(long, value_name = "NAME:ADDRESS", value_parser = definition::upstream)]
    upstream: Vec<Upstream>,
    /// Register the proxy with the local agent while it runs; with -service and -listen.
    #[arg(long)]
    register: bool,
    /// What to add to the registered id, to tell several proxies of a service apart.
    #[arg(long, default_value = "", value_name = "SUFFIX")]
    register_id: String,
    /// Least severe level to log: trace, debug, info, warn or err.
    #[arg(long, default_value = "INFO", value_name = "LEVEL")]
    log_level: String,
    /// Log lines as JSON objects.
    #[arg(long)]
    log_json: bool,
    /// Threads that carry connections; default is one per core, at most four.
    #[arg(long, value_name = "COUNT")]
    workers: Option<usize>,
    /// How long open connections may go on after the proxy was told to stop.
    #[arg(long, value_parser = GoDuration::from_str, value_name = "DURATION")]
    drain_timeout: Option<GoDuration>,
    /// Where to serve the proxy's counters at /metrics, in the Prometheus format.
    #[arg(long, value_name = "ADDRESS")]
    metrics_addr: Option<SocketAddr>,
    /// Accepted for compatibility; there are no profiling endpoints.
    #[arg(long, default_value = "", hide = true)]
    pprof_addr: String,
    #[arg(hide = true)]
    rest: Vec<String>,
    #[command(flatten)]
    http: HttpFlags,
}

pub(crate) fn run(args: &Args) -> CommandResult {
    if !args.rest.is_empty() {
        return Err(Failure::new("==> Should have no non-flag arguments."));
    }
    let level = log::level(&args.log_level)?;
    let client = args.http.client()?;
    output::line("==> Lictor Connect proxy starting...");
    let prepare =
        |failure: Failure| Failure::new(format!("==> Error preparing configuration: {failure}"));
    block_on(async {
        // From here on a signal ends the proxy in order.
        let stop = Stop::new()?;
        let role = role(args, &client).await.map_err(prepare)?;
        let registration = registration(args, &role)?;
        output::line("\n==> Log data will now stream in as it occurs:\n");
        log::start(level, args.log_json, None)?;
        if !args.pprof_addr.is_empty() {
            tracing::warn!("-pprof-addr has no effect: there are no profiling endpoints");
        }
        serve(args, client, role, registration, stop).await
    })
}

/// Which proxy to be, told on the terminal as it is found out.
async fn role(args: &Args, client: &Client) -> Result<Role, Failure> {
    let from_variable = |flag: &str, variable: &str| match flag {
        "" => std::env::var(variable).unwrap_or_default(),
        flag => flag.to_owned(),
    };
    let proxy_id = from_variable(&args.proxy_id, PROXY_ID_VARIABLE);
    let sidecar_for = from_variable(&args.sidecar_for, SIDECAR_FOR_VARIABLE);
    let tell = |name: &str, value: &str| output::line(&format!("{name:>22}: {value}"));
    let proxy_id = match (proxy_id.as_str(), sidecar_for.as_str()) {
        ("", "") => {
            let definition = definition::from_flags(
                &args.service,
                &args.listen,
                &args.service_addr,
                &args.upstream,
            )?;
            tell("Configuration mode", "Flags");
            tell("Service", &definition.service);
            for upstream in &args.upstream {
                tell("Upstream", &upstream.to_string());
            }
            let public = match args.listen.as_str() {
                "" => "Disabled".to_owned(),
                listen => format!("{listen} => {}", args.service_addr),
            };
            tell("Public listener", &public);
            return Ok(Role::Given(Box::new(definition)));
        }
        ("", service_id) => sidecar_of(client, service_id).await?,
        (proxy_id, _) => proxy_id.to_owned(),
    };
    tell("Configuration mode", "Agent API");
    if !sidecar_for.is_empty() {
        tell("Sidecar for ID", &sidecar_for);
    }
    tell("Proxy ID", &proxy_id);
    Ok(Role::Registered { proxy_id })
}

/// The id of the one proxy registered for this service instance.
async fn sidecar_of(client: &Client, service_id: &str) -> Result<String, Failure> {
    let services = client.agent_services(&QueryParams::default()).await.map_err(|error| {
        Failure::new(format!("Failed looking up sidecar proxy info for {service_id}: {error}"))
    })?;
    let is_meant = |service: &api::agent::AgentService| {
        service.kind == ServiceKind::ConnectProxy
            && service
                .proxy
                .as_ref()
                .is_some_and(|proxy| proxy.destination_service_id.eq_ignore_ascii_case(service_id))
    };
    let ids: Vec<String> =
        services.into_values().filter(is_meant).map(|service| service.id).collect();
    match &ids[..] {
        [] => Err(Failure::new(format!("No sidecar proxy registered for {service_id}"))),
        [id] => Ok(id.clone()),
        ids => Err(Failure::new(format!(
            "More than one sidecar proxy registered for {service_id}. Start the proxy with -proxy-id \
             and one of these IDs: {}",
            ids.join(", ")
        ))),
    }
}

fn registration(args: &Args, role: &Role) -> Result<Option<Registration>, Failure> {
    if !args.register {
        return Ok(None);
    }
    match role {
        Role::Given(definition) if definition.public.is_some() => {
            Ok(Registration::new(definition, &args.register_id))
        }
        _ => Err(Failure::new(
            "==> Failed initializing registration: -register may only be specified with -service \
             and -listen",
        )),
    }
}

async fn serve(
    args: &Args,
    client: Client,
    role: Role,
    registration: Option<Registration>,
    mut stop: Stop,
) -> CommandResult {
    raise_open_files();
    let defaults = Settings::default();
    let proxy = Proxy::new(Settings {
        workers: args.workers.unwrap_or(defaults.workers),
        drain_timeout: args.drain_timeout.map_or(defaults.drain_timeout, GoDuration::to_std),
        ..defaults
    });
    if let Some(address) = args.metrics_addr {
        metrics::serve(address, proxy.metrics()).await?;
    }
    let (snapshots, latest_snapshot) = watch::channel(None);
    let (ask, questions) = source::questions();
    let source =
        Source { client: client.clone(), role, snapshots, questions, metrics: proxy.metrics() };
    // The agent is followed until the last connection has ended: a drain is no reason to let a
    // connection go on that is no longer allowed.
    let following = CancellationToken::new();
    let source = tokio::spawn(source.run(following.clone()));
    let (draining, listening) = (CancellationToken::new(), proxy.listening());
    let serving = proxy.run(latest_snapshot, Some(ask), draining.clone());
    tokio::pin!(serving);
    let heartbeats = async {
        match &registration {
            Some(registration) => registration.keep(&client, listening).await,
            None => std::future::pending().await,
        }
    };
    let result = tokio::select! {
        result = &mut serving => result,
        () = heartbeats => Ok(()),
        () = stop.requested() => {
            tracing::info!("told to stop, open connections may end");
            if let Some(registration) = &registration {
                registration.remove(&client).await;
            }
            draining.cancel();
            tokio::select! {
                result = &mut serving => result,
                () = stop.requested() => {
                    tracing::warn!("told to stop again, open connections are cut");
                    Ok(())
                }
            }
        }
    };
    following.cancel();
    // Ends at once: its only wait is for the token.
    let _ = source.await;
    result.map_err(|error| Failure::new(format!("==> {}", output::with_causes(&error))))?;
    output::line("==> Lictor Connect proxy shutdown");
    Ok(0)
}

/// Two sockets a connection reach the usual limit soon; the system's own limit is higher.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // A limit that cannot be raised is met when connections are refused, and logged then.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
