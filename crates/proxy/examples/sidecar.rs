//! The proxy of one registration on its own: `sidecar <agent address> <proxy id>`, for measuring and for trying it
//! against any agent. Ends on SIGTERM or interrupt, after draining.

use std::error::Error;

use proxy::source::{Role, Source, questions};
use proxy::{Proxy, Settings};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: sidecar <agent address> <proxy id>";
    let (address, proxy_id) = arguments.next().zip(arguments.next()).ok_or(usage)?;
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .init();

    let config = api::ClientConfig { address: address.parse()?, ..Default::default() };
    let proxy = Proxy::new(Settings::default());
    let (snapshots, follow) = watch::channel(None);
    let (ask, questions) = questions();
    let source = Source {
        client: api::Client::new(config)?,
        role: Role::Registered { proxy_id },
        snapshots,
        questions,
        metrics: proxy.metrics(),
    };
    let shutdown = CancellationToken::new();
    let asked_to_stop = shutdown.clone();
    tokio::spawn(async move {
        let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            _ = term.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        asked_to_stop.cancel();
        Ok::<_, std::io::Error>(())
    });
    tokio::spawn(source.run(shutdown.clone()));
    Ok(proxy.run(follow, Some(ask), shutdown).await?)
}
