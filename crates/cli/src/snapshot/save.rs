//! `snapshot save`: writes what the servers send beside the file it is for, verifies it, and only
//! then gives it its name.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use api::{Client, QueryParams};

use super::{file_argument, open_error};
use crate::client_flags::{HttpFlags, block_on};
use crate::output::{self, CommandResult, Failure};

/// Owner may read and write, nobody else: keys and tokens are inside.
const MODE: u32 = 0o600;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The file.
    #[arg(value_name = "FILE")]
    arguments: Vec<String>,
    /// What to add to the file's name, before its extension: any of version, dc, node and status,
    /// separated by commas.
    #[arg(long, value_name = "WORDS")]
    append_filename: Option<String>,
    #[command(flatten)]
    http: HttpFlags,
}

pub(crate) fn run(args: &Args) -> CommandResult {
    let client = args.http.client()?;
    let path = file_argument(&args.arguments)?;
    block_on(async {
        let path = match &args.append_filename {
            Some(words) => with_words(path, words, &client).await?,
            None => path.to_owned(),
        };
        save(&client, &path).await
    })
}

async fn save(client: &Client, path: &Path) -> CommandResult {
    let saving = Failure::during::<api::Error>;
    let mut archive =
        client.snapshot_save(&QueryParams::default()).await.map_err(saving("saving snapshot"))?;
    let unverified = Unverified::create(path)?;
    let writing =
        |error: io::Error| Failure::new(format!("Error writing unverified snapshot file: {error}"));
    let mut out = BufWriter::new(&unverified.file);
    while let Some(piece) = archive.chunk().await.map_err(saving("saving snapshot"))? {
        out.write_all(&piece).map_err(writing)?;
    }
    out.flush().and_then(|()| unverified.file.sync_all()).map_err(writing)?;
    drop(out);
    let written = File::open(&unverified.path)
        .map_err(Failure::during("opening snapshot file for verify"))?;
    archive::inspect(written).map_err(Failure::during("verifying snapshot file"))?;
    unverified.keep(path)?;
    output::line(&format!("Saved and verified snapshot to index {}", archive.meta.index));
    Ok(0)
}

/// A file that goes away unless it is kept.
struct Unverified {
    path: PathBuf,
    file: File,
}

impl Unverified {
    fn create(path: &Path) -> Result<Self, Failure> {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".unverified.tmp{}", std::process::id()));
        let path = PathBuf::from(name);
        let file = File::options().write(true).create_new(true).mode(MODE).open(&path);
        let file = file.map_err(|error| {
            let reason = open_error(&path, &error);
            Failure::new(format!("Error writing unverified snapshot file: {reason}"))
        })?;
        Ok(Self { path, file })
    }

    fn keep(self, path: &Path) -> Result<(), Failure> {
        fs::rename(&self.path, path).map_err(Failure::during("renaming snapshot file"))
    }
}

impl Drop for Unverified {
    fn drop(&mut self) {
        // Kept, it has another name by now.
        let _ = fs::remove_file(&self.path);
    }
}

/// `path` with what the agent says of itself before the extension: `backup-1.8.7-dc1.snap`.
async fn with_words(path: &Path, words: &str, client: &Client) -> Result<PathBuf, Failure> {
    let agent = client.agent_self().await;
    let agent = agent.map_err(Failure::during("connecting to Consul agent and getting details"))?;
    let of = |key: &str| agent.config.get(key).and_then(|value| value.as_str()).unwrap_or_default();
    let mut added = String::new();
    for word in words.split(',') {
        added.push('-');
        added.push_str(match word.trim() {
            "version" => of("Version"),
            "dc" => of("Datacenter"),
            "node" => of("NodeName"),
            "status" => {
                let figures = agent.stats.get("consul");
                match figures.and_then(|figures| figures.get("leader")).map(String::as_str) {
                    Some("true") => "leader",
                    _ => "follower",
                }
            }
            other => {
                return Err(Failure::new(format!(
                    "unknown word {other:?} for -append-filename, want version, dc, node or status"
                )));
            }
        });
    }
    Ok(appended(path, &added))
}

fn appended(path: &Path, added: &str) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(added);
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_before_the_extension() {
        let check = |path: &str, want: &str| {
            assert_eq!(appended(Path::new(path), "-1.8.7-dc1"), Path::new(want));
        };
        check("backup.snap", "backup-1.8.7-dc1.snap");
        check("/var/a.b/backup", "/var/a.b/backup-1.8.7-dc1");
        check("backup.tar.gz", "backup.tar-1.8.7-dc1.gz");
    }
}
