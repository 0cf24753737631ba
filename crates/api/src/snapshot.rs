//! `/v1/snapshot`: the whole state of the servers as an archive.

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;

use crate::client::Client;
use crate::error::Error;
use crate::params::QueryParams;
use crate::response::ResponseStream;

const PATH: &str = "/v1/snapshot";
/// How long servers may take to take a state in, beyond what any answer may take.
pub const RESTORE_WAIT: Duration = Duration::from_secs(60 * 60);

impl Client {
    /// Opens an archive of the state as it is; its pieces come as the servers make them.
    ///
    /// Shape: gzip. The meta tells the index the state has. An archive that was cut off ends with
    /// an error.
    pub async fn snapshot_save(&self, params: &QueryParams) -> Result<ResponseStream, Error> {
        self.stream(PATH, params).await
    }

    /// Replaces the whole state by an archive's.
    ///
    /// Errors: `Status` for an archive that is not sound, of which nothing is used.
    pub async fn snapshot_restore(&self, archive: Bytes) -> Result<(), Error> {
        let params = QueryParams::default();
        self.call_within(RESTORE_WAIT, Method::PUT, PATH, &params, archive).await?.ok()?;
        Ok(())
    }
}
