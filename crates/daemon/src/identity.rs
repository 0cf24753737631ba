//! The agent's id: configured, or made once and kept in the data directory.

use std::io;
use std::path::Path;

use config::AgentConfig;

use crate::Error;

const FILE: &str = "node-id";

/// The UUID of this agent. Errors: the file that keeps it cannot be read or written.
pub(crate) fn node_id(config: &AgentConfig) -> Result<String, Error> {
    let fresh = || uuid::Uuid::new_v4().to_string();
    let Some(folder) = &config.data_dir else {
        return Ok(config.node_id.clone().unwrap_or_else(fresh));
    };
    let path = folder.join(FILE);
    let fail = |source| Error::File { path: path.clone(), source };
    std::fs::create_dir_all(folder)
        .map_err(|source| Error::File { path: folder.clone(), source })?;
    let kept = match std::fs::read_to_string(&path) {
        Ok(text) => Some(text.trim().to_ascii_lowercase()).filter(|id| !id.is_empty()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(fail(error)),
    };
    if let Some(kept) = &kept
        && uuid::Uuid::parse_str(kept).is_err()
    {
        let reason = format!("{kept:?} is no UUID; remove the file to have a new id made");
        return Err(fail(io::Error::new(io::ErrorKind::InvalidData, reason)));
    }
    let id = config.node_id.clone().or(kept.clone()).unwrap_or_else(fresh);
    if kept.as_ref() != Some(&id) {
        write_durably(&path, &id).map_err(fail)?;
    }
    Ok(id)
}

fn write_durably(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    std::fs::write(&temporary, text)?;
    std::fs::File::open(&temporary)?.sync_all()?;
    std::fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(folder: &Path, id: Option<&str>) -> AgentConfig {
        let mut config = AgentConfig::dev(&config::ThisMachine).unwrap();
        config.data_dir = Some(folder.to_owned());
        config.node_id = id.map(str::to_owned);
        config
    }

    #[test]
    fn an_id_is_made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let first = node_id(&config(folder.path(), None)).unwrap();
        assert_eq!(node_id(&config(folder.path(), None)).unwrap(), first);
        let set = "11111111-2222-3333-4444-555555555555";
        assert_eq!(node_id(&config(folder.path(), Some(set))).unwrap(), set);
        assert_eq!(node_id(&config(folder.path(), None)).unwrap(), set);
    }

    #[test]
    fn a_damaged_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), "nonsense").unwrap();
        let error = node_id(&config(folder.path(), None)).unwrap_err();
        assert!(error.to_string().contains("node-id"), "{error}");
    }
}
