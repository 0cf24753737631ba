//! `members`: who is in the gossip pool.

use api::agent::{Member, MembersOptions};

use crate::client_flags::{ClientFlags, block_on};
use crate::output::{self, CommandResult, Failure};

/// Exit code when no member matches.
const NO_MATCH: u8 = 2;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Show all tags instead of the usual columns.
    #[arg(long)]
    detailed: bool,
    /// Only members whose status matches this regular expression.
    #[arg(long, default_value = ".*", value_name = "REGEX")]
    status: String,
    /// Only members of this network segment; segments belong to the enterprise edition.
    #[arg(long, default_value = "_all", value_name = "NAME")]
    segment: String,
    /// Members of the pool between datacenters; asked of a server.
    #[arg(long)]
    wan: bool,
    #[arg(hide = true)]
    ignored: Vec<String>,
    #[command(flatten)]
    http: ClientFlags,
}

pub(crate) fn run(args: &Args) -> CommandResult {
    let status = regex::Regex::new(&args.status)
        .map_err(|error| Failure::new(format!("Failed to compile status regexp: {error}")))?;
    let client = args.http.client()?;
    let options = MembersOptions { wan: args.wan, segment: args.segment.clone() };
    let mut members = block_on(async {
        client.members(&options).await.map_err(Failure::during("retrieving members"))
    })?;
    members.retain(|member| status.is_match(member.status_text()));
    if members.is_empty() {
        return Ok(NO_MATCH);
    }
    for member in &mut members {
        let segment = segment(member);
        member.tags.insert("segment".to_owned(), segment);
    }
    members.sort_by(|a, b| (a.tags.get("segment"), &a.name).cmp(&(b.tags.get("segment"), &b.name)));
    let rows = if args.detailed { detailed(&members) } else { standard(&members) };
    output::line(&output::table(&rows));
    Ok(0)
}

/// Servers are in all segments; a client is in its own or the default one.
fn segment(member: &Member) -> String {
    let own = member.tags.get("segment").map(String::as_str).unwrap_or_default();
    match (own, member.tags.get("role").map(String::as_str)) {
        ("", Some("consul")) => "<all>".to_owned(),
        ("", _) => "<default>".to_owned(),
        (own, _) => own.to_owned(),
    }
}

fn standard(members: &[Member]) -> Vec<Vec<String>> {
    let header = ["Node", "Address", "Status", "Type", "Build", "Protocol", "DC", "Segment"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for member in members {
        let tag = |name: &str| member.tags.get(name).cloned().unwrap_or_default();
        let kind = match tag("role").as_str() {
            "node" => "client",
            "consul" => "server",
            _ => "unknown",
        };
        let build = tag("build");
        let version = build.split(':').next().unwrap_or_default();
        rows.push(vec![
            member.name.clone(),
            member.socket_text(),
            member.status_text().to_owned(),
            kind.to_owned(),
            version.to_owned(),
            tag("vsn"),
            tag("dc"),
            tag("segment"),
        ]);
    }
    rows
}

fn detailed(members: &[Member]) -> Vec<Vec<String>> {
    let mut rows = vec![["Node", "Address", "Status", "Tags"].map(str::to_owned).to_vec()];
    for member in members {
        let tags: Vec<String> =
            member.tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
        rows.push(vec![
            member.name.clone(),
            member.socket_text(),
            member.status_text().to_owned(),
            tags.join(","),
        ]);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_show_role_build_and_segment() {
        let check = |tags: &[(&str, &str)], want: [&str; 4]| {
            let mut member = Member {
                name: "n".into(),
                addr: "::1".into(),
                port: 1,
                status: 1,
                ..Member::default()
            };
            member.tags = tags.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
            let segment = segment(&member);
            member.tags.insert("segment".into(), segment);
            let row = &standard(&[member])[1];
            assert_eq!([&row[1], &row[3], &row[4], &row[7]], want);
        };
        let server = [("role", "consul"), ("build", "1.8.7:abc"), ("segment", "")];
        check(&server, ["[::1]:1", "server", "1.8.7", "<all>"]);
        check(&[("role", "node"), ("segment", "")], ["[::1]:1", "client", "", "<default>"]);
        check(&[("role", "node"), ("segment", "a")], ["[::1]:1", "client", "", "a"]);
        check(&[], ["[::1]:1", "unknown", "", "<default>"]);
    }
}
