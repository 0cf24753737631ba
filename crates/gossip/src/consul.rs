//! Consul's own rules about who may be in a pool; for an [`Admission`](crate::Admission) of the caller's.

use std::collections::BTreeMap;

use crate::member::{Member, Status};

/// First build whose node ids are unique; older ones may share those of their host.
const UNIQUE_IDS_BUILD: (u64, u64, u64) = (0, 8, 5);

/// Who we are in a LAN pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LanIdentity {
    pub name: String,
    pub id: String,
    pub datacenter: String,
    pub segment: String,
}

/// All are of our datacenter and segment, and nobody shares a node id.
pub fn admit_lan(own: &LanIdentity, members: &[Member]) -> Result<(), String> {
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    for member in members {
        let name = &member.name;
        let tag = |tag: &str| member.tags.get(tag).map(String::as_str).unwrap_or_default();
        let id = tag("id");
        if member.status != Status::Left && !id.is_empty() {
            if id == own.id && *name != own.name {
                return Err(format!("member '{name}' has our node ID '{id}'"));
            }
            if build(member).is_some_and(|build| build >= UNIQUE_IDS_BUILD)
                && let Some(other) = owners.insert(id, name)
                && other != name
            {
                return Err(format!("members '{other}' and '{name}' share node ID '{id}'"));
            }
        }
        if tag("dc") != own.datacenter {
            return Err(format!("member '{name}' is part of datacenter '{}'", tag("dc")));
        }
        if tag("segment") != own.segment {
            return Err(format!("member '{name}' is part of segment '{}'", tag("segment")));
        }
    }
    Ok(())
}

/// Nobody takes the node id of a member that lives elsewhere under another name: the catalog would take it for that
/// node renamed, and forget its services. A node that was renamed lives where it did.
pub fn admit_beside(
    members: &[Member],
    known: &mut dyn Iterator<Item = &Member>,
) -> Result<(), String> {
    let id = |member: &Member| member.tags.get("id").filter(|id| !id.is_empty()).cloned();
    let alive = |member: &&Member| member.status == Status::Alive;
    let owners: BTreeMap<String, &Member> =
        known.filter(alive).filter_map(|member| Some((id(member)?, member))).collect();
    for member in members.iter().filter(alive) {
        if let Some(id) = id(member)
            && let Some(owner) = owners.get(&id)
            && owner.name != member.name
            && owner.address.ip() != member.address.ip()
        {
            return Err(format!(
                "member '{}' has the node ID '{id}' of '{}'",
                member.name, owner.name
            ));
        }
    }
    Ok(())
}

/// All are servers.
pub fn admit_wan(members: &[Member]) -> Result<(), String> {
    match members.iter().find(|member| !is_server(member)) {
        Some(member) => Err(format!("member '{}' is not a server", member.name)),
        None => Ok(()),
    }
}

/// Whether tags say all that makes a server.
pub fn is_server(member: &Member) -> bool {
    let number = |tag: &str| member.tags.get(tag).and_then(|value| value.parse::<u32>().ok());
    member.tags.get("role").is_some_and(|role| role == "consul")
        && number("port").is_some()
        && number("vsn").is_some()
        && build(member).is_some()
}

/// The three numbers in the `build` tag.
fn build(member: &Member) -> Option<(u64, u64, u64)> {
    let text = member.tags.get("build")?;
    let start = text.find(|c: char| c.is_ascii_digit())?;
    let text = &text[start..];
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let mut numbers = text[..end].split('.').map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some((next()?, next()?, next()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::message::Versions;

    fn member(name: &str, status: Status, tags: &str) -> Member {
        let tags = tags.split_whitespace().map(|tag| {
            let (name, value) = tag.split_once('=').unwrap();
            (name.to_owned(), value.to_owned())
        });
        Member {
            name: name.to_owned(),
            address: "127.0.0.1:8301".parse().unwrap(),
            tags: tags.collect(),
            status,
            versions: Versions::OURS,
        }
    }

    #[test]
    fn lan_members() {
        let own = LanIdentity {
            name: "a".into(),
            id: "1".into(),
            datacenter: "dc1".into(),
            segment: "".into(),
        };
        let check = |members: &[(&str, Status, &str)], want: bool| {
            let members: Vec<Member> =
                members.iter().map(|(name, status, tags)| member(name, *status, tags)).collect();
            assert_eq!(admit_lan(&own, &members).is_ok(), want, "{members:?}");
        };
        use Status::{Alive, Left};
        check(&[("b", Alive, "dc=dc1 id=2")], true);
        check(&[("b", Alive, "dc=dc2 id=2")], false);
        check(&[("b", Alive, "dc=dc1 id=2 segment=x")], false);
        check(&[("b", Alive, "dc=dc1 id=1")], false);
        check(&[("b", Left, "dc=dc1 id=1")], true);
        check(&[("a", Alive, "dc=dc1 id=1")], true);
        let old = "dc=dc1 id=3 build=0.8.4:x";
        check(&[("b", Alive, old), ("c", Alive, old)], true);
        let new = "dc=dc1 id=3 build=1.8.7:x";
        check(&[("b", Alive, new), ("c", Alive, new)], false);
        check(&[("b", Alive, new), ("c", Left, new)], true);
    }

    #[test]
    fn ids_stay_with_living_members() {
        let known = [member("b", Status::Alive, "id=2"), member("c", Status::Failed, "id=3")];
        let check = |name: &str, host: u8, tags: &str, want: bool| {
            let mut told = member(name, Status::Alive, tags);
            told.address.set_ip([127, 0, 0, host].into());
            assert_eq!(admit_beside(&[told], &mut known.iter()).is_ok(), want, "{name} {tags}");
        };
        check("d", 2, "id=4", true);
        check("b", 2, "id=2", true);
        check("d", 2, "id=2", false);
        // Renamed, not another one.
        check("d", 1, "id=2", true);
        // Its holder is gone.
        check("d", 2, "id=3", true);
        check("d", 2, "", true);
    }

    #[test]
    fn wan_members() {
        let check = |tags: &str, want: bool| {
            assert_eq!(admit_wan(&[member("a.dc1", Status::Alive, tags)]).is_ok(), want, "{tags}");
        };
        check("role=consul port=8300 vsn=2 build=1.8.7:", true);
        check("role=node port=8300 vsn=2 build=1.8.7:", false);
        check("role=consul port=x vsn=2 build=1.8.7:", false);
        check("role=consul port=8300 build=1.8.7:", false);
        check("role=consul port=8300 vsn=2 build=unknown", false);
    }
}
