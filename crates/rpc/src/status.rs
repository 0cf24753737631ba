//! Who leads, who takes part, who lives: `Status.*`. Answered by every server at once.

use crate::service::{Call, Handled, encode, nothing};

pub(crate) async fn ping(_call: Call<'_>) -> Handled {
    nothing()
}

/// Empty while there is none.
pub(crate) async fn leader(call: Call<'_>) -> Handled {
    encode(&call.service.cluster.status().leader.unwrap_or_default())
}

pub(crate) async fn peers(call: Call<'_>) -> Handled {
    encode(&call.service.cluster.status().peers)
}
