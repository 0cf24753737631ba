//! `agent`: runs an agent in the foreground until it is told to end.

use std::path::PathBuf;

use agent::monitor::LogHub;
use config::{AgentConfig, AgentFlags, ThisMachine};
use daemon::Surroundings;

use crate::log::{self, LogFile, Rotation};
use crate::output::{self, CommandResult, Failure};
use crate::validate;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Address told to other agents.
    #[arg(long, value_name = "ADDRESS")]
    advertise: Option<String>,
    /// Address told to agents of other datacenters.
    #[arg(long, value_name = "ADDRESS")]
    advertise_wan: Option<String>,
    /// Network that may use endpoints which change something; repeat for more.
    #[arg(long, value_name = "CIDR")]
    allow_write_http_from: Vec<String>,
    /// Second domain to answer for in DNS.
    #[arg(long, value_name = "DOMAIN")]
    alt_domain: Option<String>,
    /// Address for traffic among agents.
    #[arg(long, value_name = "ADDRESS")]
    bind: Option<String>,
    /// Let this server become leader on its own.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    bootstrap: Option<bool>,
    /// How many servers to wait for before one becomes leader.
    #[arg(long, value_name = "COUNT")]
    bootstrap_expect: Option<i64>,
    /// Longest output kept of a check. Unit: bytes.
    #[arg(long = "check_output_max_size", value_name = "BYTES")]
    check_output_max_size: Option<i64>,
    /// Address for clients: HTTP, HTTPS, gRPC and DNS.
    #[arg(long, value_name = "ADDRESS")]
    client: Option<String>,
    /// Configuration file, or directory of .hcl and .json files; repeat for more, later ones win.
    #[arg(long, visible_alias = "config-dir", value_name = "PATH")]
    config_file: Vec<PathBuf>,
    /// Read files as hcl or json, whatever their names end in.
    #[arg(long, default_value = "", value_name = "FORMAT")]
    config_format: String,
    /// Directory in which the agent keeps its state.
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<String>,
    /// Name of the datacenter.
    #[arg(long, value_name = "NAME")]
    datacenter: Option<String>,
    /// How long a blocking query waits that does not say.
    #[arg(long, value_name = "DURATION")]
    default_query_time: Option<String>,
    /// Run a server for trying things out: in memory, on loopback, with the mesh on.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    dev: Option<bool>,
    /// Make a random node id instead of one derived from the host.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    disable_host_node_id: Option<bool>,
    /// Do not keep gossip keys in a file.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    disable_keyring_file: Option<bool>,
    /// Port for DNS; -1 turns it off.
    #[arg(long, allow_negative_numbers = true, value_name = "PORT")]
    dns_port: Option<i64>,
    /// Domain to answer for in DNS.
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// Allow script checks from configuration files only.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    enable_local_script_checks: Option<bool>,
    /// Allow script checks, also those registered over HTTP.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    enable_script_checks: Option<bool>,
    /// Key that encrypts gossip.
    #[arg(long, value_name = "KEY")]
    encrypt: Option<String>,
    /// Port for gRPC; -1 turns it off.
    #[arg(long, allow_negative_numbers = true, value_name = "PORT")]
    grpc_port: Option<i64>,
    /// A piece of configuration in HCL; repeat for more.
    #[arg(long, value_name = "HCL")]
    hcl: Vec<String>,
    /// Port for HTTP; -1 turns it off.
    #[arg(long, allow_negative_numbers = true, value_name = "PORT")]
    http_port: Option<i64>,
    /// Port for HTTPS; -1 turns it off.
    #[arg(long, allow_negative_numbers = true, value_name = "PORT")]
    https_port: Option<i64>,
    /// Agent to join at the start; repeat for more.
    #[arg(long, value_name = "ADDRESS")]
    join: Vec<String>,
    /// Server of another datacenter to join at the start; repeat for more.
    #[arg(long, value_name = "ADDRESS")]
    join_wan: Vec<String>,
    /// Beginning of the names of log files, or a directory for them.
    #[arg(long, value_name = "PATH")]
    log_file: Option<String>,
    /// Log lines as JSON objects.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    log_json: Option<bool>,
    /// Least severe level to log: trace, debug, info, warn or err.
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Size at which a log file is full. Unit: bytes.
    #[arg(long, value_name = "BYTES")]
    log_rotate_bytes: Option<i64>,
    /// Age at which a log file is full.
    #[arg(long, value_name = "DURATION")]
    log_rotate_duration: Option<String>,
    /// How many full log files are kept; 0 keeps all.
    #[arg(long, allow_negative_numbers = true, value_name = "COUNT")]
    log_rotate_max_files: Option<i64>,
    /// Longest a blocking query may wait.
    #[arg(long, value_name = "DURATION")]
    max_query_time: Option<String>,
    /// Name of this node, unique in the datacenter.
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Id of this node, a UUID; default is made once and kept.
    #[arg(long, value_name = "UUID")]
    node_id: Option<String>,
    /// Metadata of this node; repeat for more.
    #[arg(long, value_name = "KEY:VALUE")]
    node_meta: Vec<String>,
    /// Take no part in consensus; belongs to the enterprise edition.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    non_voting_server: Option<bool>,
    /// File to write the process id to.
    #[arg(long, value_name = "FILE")]
    pid_file: Option<String>,
    /// Mesh gateway of the primary datacenter; repeat for more.
    #[arg(long, value_name = "ADDRESS")]
    primary_gateway: Vec<String>,
    /// Version of the gossip protocol to speak.
    #[arg(long, value_name = "VERSION")]
    protocol: Option<i64>,
    /// Version of the consensus protocol to speak.
    #[arg(long, value_name = "VERSION")]
    raft_protocol: Option<i64>,
    /// DNS server to ask about other domains; repeat for more.
    #[arg(long, value_name = "ADDRESS")]
    recursor: Vec<String>,
    /// Join again after having left.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    rejoin: Option<bool>,
    /// Pause between attempts at joining.
    #[arg(long, value_name = "DURATION")]
    retry_interval: Option<String>,
    /// Pause between attempts at joining other datacenters.
    #[arg(long, value_name = "DURATION")]
    retry_interval_wan: Option<String>,
    /// Agent to join, tried until it works; repeat for more.
    #[arg(long, value_name = "ADDRESS")]
    retry_join: Vec<String>,
    /// Server of another datacenter to join, tried until it works; repeat for more.
    #[arg(long, value_name = "ADDRESS")]
    retry_join_wan: Vec<String>,
    /// How often to try to join; 0 is without end.
    #[arg(long, value_name = "COUNT")]
    retry_max: Option<i64>,
    /// How often to try to join other datacenters; 0 is without end.
    #[arg(long, value_name = "COUNT")]
    retry_max_wan: Option<i64>,
    /// Network segment to join; belongs to the enterprise edition.
    #[arg(long, value_name = "NAME")]
    segment: Option<String>,
    /// Network whose agents may join; repeat for more.
    #[arg(long, value_name = "CIDR")]
    serf_lan_allowed_cidrs: Vec<String>,
    /// Address for gossip within the datacenter.
    #[arg(long, value_name = "ADDRESS")]
    serf_lan_bind: Option<String>,
    /// Port for gossip within the datacenter.
    #[arg(long, allow_negative_numbers = true, value_name = "PORT")]
    serf_lan_port: Option<i64>,
    /// Network of other datacenters whose servers may join; repeat for more.
    #[arg(long, value_name = "CIDR")]
    serf_wan_allowed_cidrs: Vec<String>,
    /// Address for gossip between datacenters.
    #[arg(long, value_name = "ADDRESS")]
    serf_wan_bind: Option<String>,
    /// Port for gossip between datacenters; -1 turns it off.
    #[arg(long, allow_negative_numbers = true, value_name = "PORT")]
    serf_wan_port: Option<i64>,
    /// Take part in consensus and keep the state.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    server: Option<bool>,
    /// Port for calls among agents.
    #[arg(long, allow_negative_numbers = true, value_name = "PORT")]
    server_port: Option<i64>,
    /// Log to syslog.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    syslog: Option<bool>,
    /// Serve the web UI.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ui: Option<bool>,
    /// Path under which the web UI is served.
    #[arg(long, value_name = "PATH")]
    ui_content_path: Option<String>,
    /// Directory with the files of a web UI.
    #[arg(long, value_name = "DIRECTORY")]
    ui_dir: Option<String>,
    #[arg(hide = true)]
    rest: Vec<String>,
}

pub(crate) fn run(args: Args) -> CommandResult {
    if !args.rest.is_empty() {
        return Err(Failure::new(format!("==> Unexpected extra arguments: {:?}", args.rest)));
    }
    let flags = flags(args)?;
    let refused =
        |error: config::Error| Failure::new(format!("==> {}", output::with_causes(&error)));
    let config = config::load(&flags, &ThisMachine).map_err(refused)?;
    let log = start_log(&config)?;
    introduce(&config);
    let reread = Box::new(move || config::load(&flags, &ThisMachine));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::during("starting the runtime"))?;
    runtime
        .block_on(daemon::run(config, Surroundings { log, reread }))
        .map_err(|error| Failure::new(format!("==> {}", output::with_causes(&error))))?;
    Ok(0)
}

/// As `config` takes them. Destructured, so that a new flag does not compile until it has a place.
fn flags(args: Args) -> Result<AgentFlags, Failure> {
    let Args {
        advertise,
        advertise_wan,
        allow_write_http_from,
        alt_domain,
        bind,
        bootstrap,
        bootstrap_expect,
        check_output_max_size,
        client,
        config_file,
        config_format,
        data_dir,
        datacenter,
        default_query_time,
        dev,
        disable_host_node_id,
        disable_keyring_file,
        dns_port,
        domain,
        enable_local_script_checks,
        enable_script_checks,
        encrypt,
        grpc_port,
        hcl,
        http_port,
        https_port,
        join,
        join_wan,
        log_file,
        log_json,
        log_level,
        log_rotate_bytes,
        log_rotate_duration,
        log_rotate_max_files,
        max_query_time,
        node,
        node_id,
        node_meta,
        non_voting_server,
        pid_file,
        primary_gateway,
        protocol,
        raft_protocol,
        recursor,
        rejoin,
        retry_interval,
        retry_interval_wan,
        retry_join,
        retry_join_wan,
        retry_max,
        retry_max_wan,
        segment,
        serf_lan_allowed_cidrs,
        serf_lan_bind,
        serf_lan_port,
        serf_wan_allowed_cidrs,
        serf_wan_bind,
        serf_wan_port,
        server,
        server_port,
        syslog,
        ui,
        ui_content_path,
        ui_dir,
        rest: _,
    } = args;
    Ok(AgentFlags {
        advertise,
        advertise_wan,
        allow_write_http_from,
        alt_domain,
        bind,
        bootstrap,
        bootstrap_expect,
        check_output_max_size,
        client,
        config_files: config_file,
        config_format: validate::format(&config_format)?,
        data_dir,
        datacenter,
        default_query_time,
        dev,
        disable_host_node_id,
        disable_keyring_file,
        dns_port,
        domain,
        enable_local_script_checks,
        enable_script_checks,
        encrypt,
        grpc_port,
        hcl,
        http_port,
        https_port,
        join,
        join_wan,
        log_file,
        log_json,
        log_level,
        log_rotate_bytes,
        log_rotate_duration,
        log_rotate_max_files,
        max_query_time,
        node,
        node_id,
        node_meta,
        non_voting_server,
        pid_file,
        primary_gateway,
        protocol,
        raft_protocol,
        recursor,
        rejoin,
        retry_interval,
        retry_interval_wan,
        retry_join,
        retry_join_wan,
        retry_max,
        retry_max_wan,
        segment,
        serf_lan_allowed_cidrs,
        serf_lan_bind,
        serf_lan_port,
        serf_wan_allowed_cidrs,
        serf_wan_bind,
        serf_wan_port,
        server,
        server_port,
        syslog,
        ui,
        ui_content_path,
        ui_dir,
    })
}

fn start_log(config: &AgentConfig) -> Result<LogHub, Failure> {
    let settings = &config.settings;
    let level = log::level(&settings.log_level)?;
    let file = match settings.log_file.as_str() {
        "" => None,
        path => {
            let rotation = Rotation {
                bytes_max: u64::try_from(settings.log_rotate_bytes).unwrap_or(0),
                age_max: settings.log_rotate_duration.to_std(),
                files_max: settings.log_rotate_max_files,
            };
            let file = LogFile::create(path, rotation).map_err(|error| {
                Failure::new(format!("==> cannot open a log file at {path}: {error}"))
            })?;
            Some(file)
        }
    };
    log::start(level, settings.log_json, file)
}

/// Says what is about to run.
fn introduce(config: &AgentConfig) {
    let tell = |name: &str, value: String| output::line(&format!("{name:>18}: {value}"));
    let some =
        |values: Vec<String>| if values.is_empty() { "off".to_owned() } else { values.join(", ") };
    let listen = &config.listen;
    output::line("==> Starting Lictor agent...");
    tell("Version", env!("CARGO_PKG_VERSION").to_owned());
    tell("Node name", config.node_name.clone());
    tell("Datacenter", config.datacenter.clone());
    tell("Server", (config.settings.server || config.is_dev).to_string());
    tell("HTTP", some(listen.http.iter().map(ToString::to_string).collect()));
    tell("HTTPS", some(listen.https.iter().map(ToString::to_string).collect()));
    tell("DNS", some(listen.dns.iter().map(ToString::to_string).collect()));
    let kept =
        config.data_dir.as_ref().map_or("in memory only".to_owned(), |d| d.display().to_string());
    tell("State", kept);
    output::line("\n==> Log data will now stream in as it occurs:\n");
}
