//! The certificate authority: `ConnectCA.*`.

use std::sync::Arc;

use model::ca::{CaConfiguration, CaRoots, IssuedCert};
use model::query::{Query, Reply, Token};
use serde::{Deserialize, Serialize};

use crate::failure::Fault;
use crate::remote::{Ask, Asked, Written};
use crate::service::{Call, Handled, encode, nothing};
use crate::wire::Empty;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Signing {
    #[serde(rename = "CSR")]
    csr: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Configuring {
    config: CaConfiguration,
}

pub(crate) async fn roots(call: Call<'_>) -> Handled {
    call.answer(Query::CaRoots).await
}

pub(crate) async fn sign(call: Call<'_>) -> Handled {
    let Signing { csr } = call.read()?;
    let issued = call.service.cluster.sign_leaf(csr, call.token()?).await?;
    encode(&issued)
}

pub(crate) async fn configuration(call: Call<'_>) -> Handled {
    let answer = call.ask(Query::CaConfiguration).await?;
    match &answer.body.reply {
        Reply::CaConfiguration(Some(config)) => encode(&**config),
        Reply::CaConfiguration(None) => encode(&CaConfiguration::default()),
        _ => Err(Fault::new("the configuration was answered with something else")),
    }
}

pub(crate) async fn configure(call: Call<'_>) -> Handled {
    let Configuring { config } = call.read()?;
    call.service.cluster.configure_ca(config, call.token()?).await?;
    nothing()
}

pub(crate) async fn ask_roots(ask: &Ask<'_>) -> Asked {
    let (meta, roots): (_, CaRoots) = ask.rows("ConnectCA.Roots", &Empty {}).await?;
    Ok((meta, Reply::CaRoots(Arc::new(roots))))
}

pub(crate) async fn ask_configuration(ask: &Ask<'_>) -> Asked {
    let (meta, config): (_, CaConfiguration) =
        ask.rows("ConnectCA.ConfigurationGet", &Empty {}).await?;
    let config = Some(config).filter(|config| !config.provider.is_empty());
    Ok((meta, Reply::CaConfiguration(config.map(Arc::new))))
}

pub(crate) async fn send_sign(
    remote: &crate::Remote,
    csr: String,
    token: &Token,
) -> Written<IssuedCert> {
    remote.write("ConnectCA.Sign", &Signing { csr }, token).await
}

pub(crate) async fn send_configure(
    remote: &crate::Remote,
    config: CaConfiguration,
    token: &Token,
) -> Written<()> {
    let _: Empty =
        remote.write("ConnectCA.ConfigurationSet", &Configuring { config }, token).await?;
    Ok(())
}
