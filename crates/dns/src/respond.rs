//! From a packet to its answer, without waiting for anything.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use model::node::Node;
use model::query::{Consistency, Query, QueryOptions, Reply};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rpc::{Body, Cluster};

use crate::lookup::{self, Located, Lookup};
use crate::message::{
    self, CLASS_IN, Code, Malformed, Name, Question, Section, TYPE_A, TYPE_AAAA, TYPE_ANY,
    TYPE_AXFR, TYPE_CNAME, TYPE_NS, TYPE_PTR, TYPE_SOA, TYPE_SRV, TYPE_TXT, Writer,
};
use crate::prepared::{Instance, Prepared, Target, meta_texts, node_labels};
use crate::settings::Settings;

/// UDP size of a client without EDNS, RFC 1035 section 4.2.1.
const UDP_BYTES_PLAIN: usize = 512;
/// Largest UDP answer whatever the client says; larger ones only serve to amplify attacks.
const UDP_BYTES_MAX: usize = 4096;
const TCP_BYTES_MAX: usize = 65_535;
/// Records in a UDP answer without EDNS, whatever the setting.
const UDP_ANSWERS_MAX: usize = 8;
/// Records considered for one answer; more never fit.
const ANSWERS_MAX: usize = 4096;
/// Names whose records are kept ready per thread. Names come from clients, so it is bounded.
const CACHE_NAMES_MAX: usize = 16 * 1024;
/// An IPv4 address record whose owner is a pointer.
const ADDRESS_RECORD_BYTES: usize = 16;
/// Servers named at the apex.
const NAME_SERVERS_MAX: usize = 3;
/// The service under which servers are registered.
const SERVER_SERVICE: &str = "consul";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// What came of a packet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The answer is in the buffer.
    Ready,
    /// Not worth an answer.
    Drop,
    /// This must be known first; ask again when it is supplied.
    Needs(Need),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Need {
    /// The name is not ours: forward the whole packet.
    Recursion,
    /// An answer the cluster cannot give at once.
    Query(Query),
    /// The addresses of a host outside our domain, as wire labels.
    Host(Vec<u8>),
}

/// What an asynchronous caller has found out meanwhile.
#[derive(Default)]
pub(crate) struct Supplied {
    pub(crate) answers: HashMap<Query, Option<Arc<Body>>>,
    /// Addresses with their times to live in seconds.
    pub(crate) hosts: HashMap<Vec<u8>, Vec<(IpAddr, u32)>>,
}

/// Answers packets; one per thread, since it keeps prepared records.
pub(crate) struct Responder {
    cluster: Arc<dyn Cluster>,
    shared_settings: Arc<ArcSwap<Settings>>,
    settings: Arc<Settings>,
    services: HashMap<Vec<u8>, CachedService, foldhash::fast::RandomState>,
    reverse: Option<Reverse>,
    random: StdRng,
    lower_name: Vec<u8>,
    picks: Vec<usize>,
}

/// Prepared records of one asked name and the answer they were made from.
struct CachedService {
    version: Option<u64>,
    query: Query,
    domain_offset: usize,
    ttl: u32,
    body: Arc<Body>,
    prepared: Arc<Prepared>,
}

/// Node names by address, with the answer they were made from.
struct Reverse {
    nodes: Arc<Body>,
    names: HashMap<String, String>,
}

/// The current question on its way to an answer.
struct Asked<'q> {
    question: &'q Question<'q>,
    transport: Transport,
    domain_offset: usize,
}

impl Responder {
    pub(crate) fn new(cluster: Arc<dyn Cluster>, settings: Arc<ArcSwap<Settings>>) -> Self {
        Self {
            cluster,
            settings: settings.load_full(),
            shared_settings: settings,
            services: HashMap::default(),
            reverse: None,
            random: StdRng::from_rng(&mut rand::rng()),
            lower_name: Vec::with_capacity(message::NAME_BYTES_MAX),
            picks: Vec::new(),
        }
    }

    /// Answers `packet` into `out`, asking `supplied` before the cluster.
    pub(crate) fn respond(
        &mut self,
        packet: &[u8],
        transport: Transport,
        supplied: &Supplied,
        out: &mut Vec<u8>,
    ) -> Verdict {
        let question = match message::read(packet) {
            Ok(question) => question,
            Err(Malformed::Drop) => return Verdict::Drop,
            Err(Malformed::Answer { id, opcode_bits, code }) => {
                message::bare(out, id, opcode_bits, code);
                return Verdict::Ready;
            }
        };
        if question.class != CLASS_IN {
            return self.code_only(&question, Code::Refused, out);
        }
        if question.qtype == TYPE_AXFR {
            return self.code_only(&question, Code::NotImp, out);
        }
        if !Arc::ptr_eq(&self.settings, &self.shared_settings.load()) {
            self.settings = self.shared_settings.load_full();
            self.services.clear();
        }
        self.lower_name.clear();
        self.lower_name.extend(question.name.iter().map(u8::to_ascii_lowercase));
        if !matches!(question.qtype, TYPE_SOA | TYPE_NS)
            && let Some(prepared) = self.cached_service(supplied)
        {
            let (domain_offset, ttl) = (prepared.1, prepared.2);
            let asked = Asked { question: &question, transport, domain_offset };
            return self.service(&asked, &prepared.0, ttl, supplied, out);
        }
        self.uncached(&question, transport, supplied, out)
    }

    /// The prepared records of the current name if they are still true.
    fn cached_service(&mut self, supplied: &Supplied) -> Option<(Arc<Prepared>, usize, u32)> {
        let cached = self.services.get_mut(self.lower_name.as_slice())?;
        let version = self.cluster.version();
        if version.is_none() || cached.version != version {
            let fresh = ask(&*self.cluster, &self.settings, supplied, &cached.query).ok()?;
            let is_same = fresh.is_some_and(|body| Arc::ptr_eq(&body, &cached.body));
            if !is_same {
                self.services.remove(self.lower_name.as_slice());
                return None;
            }
            cached.version = version;
        }
        Some((cached.prepared.clone(), cached.domain_offset, cached.ttl))
    }

    fn uncached(
        &mut self,
        question: &Question<'_>,
        transport: Transport,
        supplied: &Supplied,
        out: &mut Vec<u8>,
    ) -> Verdict {
        let Some(name) = message::name_text(question.name) else {
            return self.code_only(question, Code::NxDomain, out);
        };
        let settings = self.settings.clone();
        let domains = [Some(settings.domain.as_str()), settings.alt_domain.as_deref()];
        let domains: Vec<&str> = domains.into_iter().flatten().collect();
        let Some(Located { lookup, domain_offset }) =
            lookup::parse(&name, &domains, &settings.datacenter)
        else {
            return self.not_ours(question, out);
        };
        let asked = Asked { question, transport, domain_offset };
        let is_reverse = matches!(lookup, Lookup::Reverse(_));
        if matches!(question.qtype, TYPE_SOA | TYPE_NS) && !is_reverse {
            // Asked of any name of ours, these are answered for the domain it is in.
            return self.apex(&asked, supplied, out);
        }
        match lookup {
            Lookup::Nothing => self.negative(&asked, Code::NxDomain, out),
            Lookup::Address(address) => self.address(&asked, address, out),
            Lookup::Apex => self.apex(&asked, supplied, out),
            Lookup::Reverse(address) => self.reverse(&asked, address, supplied, out),
            Lookup::Node(node) => self.node(&asked, node, supplied, out),
            Lookup::Service { name, tag, mesh } => {
                let query = Query::Health {
                    name: name.clone(),
                    tags: tag.into_iter().collect(),
                    mesh,
                    passing_only: false,
                    node_meta: Vec::new(),
                };
                self.first_service(&asked, &name, query, supplied, out)
            }
        }
    }

    fn first_service(
        &mut self,
        asked: &Asked<'_>,
        name: &str,
        query: Query,
        supplied: &Supplied,
        out: &mut Vec<u8>,
    ) -> Verdict {
        // Before the question: a change in between makes the kept version too old, never too new.
        let version = self.cluster.version();
        let body = match ask(&*self.cluster, &self.settings, supplied, &query) {
            Ok(Some(body)) => body,
            Ok(None) => return self.code_only(asked.question, Code::ServFail, out),
            Err(need) => return Verdict::Needs(need),
        };
        let Reply::Health(rows) = &body.reply else {
            return self.code_only(asked.question, Code::ServFail, out);
        };
        let prepared =
            Arc::new(Prepared::new(rows, self.settings.only_passing, &self.settings.datacenter));
        let ttl = self.settings.service_ttl.of(name);
        // Only names that exist are kept: those that do not are the asker's to invent.
        if !prepared.is_empty() {
            if self.services.len() >= CACHE_NAMES_MAX {
                self.services.clear();
            }
            let cached = CachedService {
                version,
                query,
                domain_offset: asked.domain_offset,
                ttl,
                body: body.clone(),
                prepared: prepared.clone(),
            };
            self.services.insert(self.lower_name.clone(), cached);
        }
        self.service(asked, &prepared, ttl, supplied, out)
    }

    fn service(
        &mut self,
        asked: &Asked<'_>,
        prepared: &Prepared,
        ttl: u32,
        supplied: &Supplied,
        out: &mut Vec<u8>,
    ) -> Verdict {
        if prepared.is_empty() {
            return self.negative(asked, Code::NxDomain, out);
        }
        if asked.question.qtype == TYPE_SRV {
            return self.srv(asked, prepared, ttl, out);
        }
        // Consul answers questions for texts with addresses, too.
        let (v4, v6) = match asked.question.qtype {
            TYPE_A => (prepared.v4.len(), 0),
            TYPE_AAAA => (0, prepared.v6.len()),
            TYPE_ANY | TYPE_TXT => (prepared.v4.len(), prepared.v6.len()),
            _ => return self.negative(asked, Code::NoError, out),
        };
        if v4 + v6 == 0 {
            return match prepared.hosts.first() {
                Some(host) => self.alias(asked, host, ttl, Some(ttl), supplied, out),
                None => self.negative(asked, Code::NoError, out),
            };
        }
        let mut limit = self.record_limit(asked);
        if self.settings.a_record_limit > 0 {
            limit = limit.min(self.settings.a_record_limit);
        }
        self.pick(v4 + v6, limit);
        let mut writer = self.start(asked, out);
        let mut written = 0u16;
        for &pick in &self.picks {
            let mark = writer.mark();
            match prepared.v4.get(pick).filter(|_| v4 > 0) {
                Some(address) => writer.a(Name::Question, ttl, *address),
                None => writer.aaaa(Name::Question, ttl, prepared.v6[pick - v4]),
            }
            if writer.is_overfull() {
                writer.rewind(mark);
                break;
            }
            written += 1;
        }
        writer.count(Section::Answer, written);
        if usize::from(written) < v4 + v6 && self.settings.enable_truncate {
            writer.set_truncated();
        }
        finish(writer, asked.question)
    }

    fn srv(
        &mut self,
        asked: &Asked<'_>,
        prepared: &Prepared,
        ttl: u32,
        out: &mut Vec<u8>,
    ) -> Verdict {
        let limit = self.record_limit(asked);
        self.pick(prepared.instances.len(), limit);
        let mut writer = self.start(asked, out);
        // Answers first: they must stand together, and a target's name is pointed to from below.
        let mut targets: Vec<(u16, &Instance)> = Vec::with_capacity(self.picks.len());
        for &pick in &self.picks {
            let instance = &prepared.instances[pick];
            let target = match &instance.target {
                Target::InDomain(labels) => Name::InDomain(labels),
                Target::Foreign(labels) => Name::Foreign(labels),
            };
            let mark = writer.mark();
            let at = writer.srv(Name::Question, ttl, instance.weight, instance.port, target);
            // Over UDP a target is of little use without its address: room for that is set aside.
            let is_crowded = asked.transport == Transport::Udp
                && writer.is_overfull_with((targets.len() + 1) * ADDRESS_RECORD_BYTES);
            if writer.is_overfull() || (is_crowded && !targets.is_empty()) {
                writer.rewind(mark);
                break;
            }
            targets.push((at, instance));
        }
        writer.count(Section::Answer, targets.len() as u16);
        if targets.len() < prepared.instances.len() && self.settings.enable_truncate {
            writer.set_truncated();
        }
        let node_ttl = self.settings.node_ttl;
        for (nth, (at, instance)) in targets.iter().enumerate() {
            let is_repeated =
                targets[..nth].iter().any(|(_, earlier)| earlier.target == instance.target);
            // Compression pointers reach the first 16 KiB only.
            if is_repeated || *at >= 0x4000 || matches!(instance.target, Target::Foreign(_)) {
                continue;
            }
            let mark = writer.mark();
            let owner = Name::At(*at);
            let is_node = instance.target == Target::InDomain(instance.node.clone());
            let meta_owner = if is_node { owner } else { Name::InDomain(&instance.node) };
            let mut records = 0;
            match instance.address {
                Some(IpAddr::V4(address)) => writer.a(owner, ttl, address),
                Some(IpAddr::V6(address)) => writer.aaaa(owner, ttl, address),
                None => continue,
            }
            records += 1;
            if self.settings.node_meta_txt {
                for text in instance.meta.iter() {
                    writer.txt(meta_owner, node_ttl, text.as_bytes());
                    records += 1;
                }
            }
            if writer.is_overfull() {
                writer.rewind(mark);
                break;
            }
            writer.count(Section::Additional, records);
        }
        finish(writer, asked.question)
    }

    /// An alias and the addresses it leads to, as far as they are known. `addresses_ttl`: instead
    /// of their own.
    fn alias(
        &mut self,
        asked: &Asked<'_>,
        host: &[u8],
        ttl: u32,
        addresses_ttl: Option<u32>,
        supplied: &Supplied,
        out: &mut Vec<u8>,
    ) -> Verdict {
        let addresses = match supplied.hosts.get(host) {
            Some(addresses) => addresses.as_slice(),
            None if self.settings.recursors.is_empty() => &[],
            None => return Verdict::Needs(Need::Host(host.to_vec())),
        };
        let mut writer = self.start(asked, out);
        let target = writer.pointing(Name::Question, TYPE_CNAME, ttl, Name::Foreign(host));
        writer.count(Section::Answer, 1);
        for (address, own_ttl) in addresses {
            let mark = writer.mark();
            let ttl = addresses_ttl.unwrap_or(*own_ttl);
            match (address, asked.question.qtype) {
                (IpAddr::V4(address), TYPE_A | TYPE_ANY) => {
                    writer.a(Name::At(target), ttl, *address);
                }
                (IpAddr::V6(address), TYPE_AAAA | TYPE_ANY) => {
                    writer.aaaa(Name::At(target), ttl, *address);
                }
                _ => continue,
            }
            if writer.is_overfull() {
                writer.rewind(mark);
                break;
            }
            writer.count(Section::Answer, 1);
        }
        finish(writer, asked.question)
    }

    fn node(
        &mut self,
        asked: &Asked<'_>,
        name: String,
        supplied: &Supplied,
        out: &mut Vec<u8>,
    ) -> Verdict {
        let query = Query::NodeServices { node: name };
        let body = match ask(&*self.cluster, &self.settings, supplied, &query) {
            Ok(Some(body)) => body,
            Ok(None) => return self.code_only(asked.question, Code::ServFail, out),
            Err(need) => return Verdict::Needs(need),
        };
        let Reply::NodeServices(found) = &body.reply else {
            return self.code_only(asked.question, Code::ServFail, out);
        };
        match found.as_ref().and_then(|found| found.node.as_ref()) {
            None => self.negative(asked, Code::NxDomain, out),
            Some(node) => self.existing_node(asked, node, supplied, out),
        }
    }

    fn existing_node(
        &mut self,
        asked: &Asked<'_>,
        node: &Node,
        supplied: &Supplied,
        out: &mut Vec<u8>,
    ) -> Verdict {
        let qtype = asked.question.qtype;
        let ttl = self.settings.node_ttl;
        let wants = |wanted| qtype == wanted || qtype == TYPE_ANY;
        let address: Option<IpAddr> = node.address.parse().ok();
        if address.is_none()
            && matches!(qtype, TYPE_A | TYPE_AAAA | TYPE_ANY)
            && let Some(host) = message::labels(&node.address)
        {
            return self.alias(asked, &host, ttl, None, supplied, out);
        }
        let meta = meta_texts(&node.meta);
        let with_meta_txt = self.settings.node_meta_txt;
        let mut writer = self.start(asked, out);
        match address {
            Some(IpAddr::V4(address)) if wants(TYPE_A) => {
                writer.a(Name::Question, ttl, address);
                writer.count(Section::Answer, 1);
            }
            Some(IpAddr::V6(address)) if wants(TYPE_AAAA) => {
                writer.aaaa(Name::Question, ttl, address);
                writer.count(Section::Answer, 1);
            }
            _ => {}
        }
        let section = if wants(TYPE_TXT) { Section::Answer } else { Section::Additional };
        let has_room_for_meta =
            wants(TYPE_TXT) || (with_meta_txt && matches!(qtype, TYPE_A | TYPE_AAAA));
        for text in meta.iter().filter(|_| has_room_for_meta) {
            let mark = writer.mark();
            writer.txt(Name::Question, ttl, text.as_bytes());
            if writer.is_overfull() {
                writer.rewind(mark);
                break;
            }
            writer.count(section, 1);
        }
        finish(writer, asked.question)
    }

    fn address(&mut self, asked: &Asked<'_>, address: IpAddr, out: &mut Vec<u8>) -> Verdict {
        let qtype = asked.question.qtype;
        let ttl = self.settings.node_ttl;
        let fits = match address {
            IpAddr::V4(_) => matches!(qtype, TYPE_A | TYPE_ANY),
            IpAddr::V6(_) => matches!(qtype, TYPE_AAAA | TYPE_ANY),
        };
        if !fits {
            return self.negative(asked, Code::NoError, out);
        }
        let mut writer = self.start(asked, out);
        match address {
            IpAddr::V4(address) => writer.a(Name::Question, ttl, address),
            IpAddr::V6(address) => writer.aaaa(Name::Question, ttl, address),
        }
        writer.count(Section::Answer, 1);
        finish(writer, asked.question)
    }

    /// SOA and NS of the domain itself.
    fn apex(&mut self, asked: &Asked<'_>, supplied: &Supplied, out: &mut Vec<u8>) -> Verdict {
        let qtype = asked.question.qtype;
        if !matches!(qtype, TYPE_SOA | TYPE_NS) {
            return self.negative(asked, Code::NxDomain, out);
        }
        let query = Query::Health {
            name: SERVER_SERVICE.to_owned(),
            tags: Vec::new(),
            mesh: false,
            passing_only: false,
            node_meta: Vec::new(),
        };
        let body = match ask(&*self.cluster, &self.settings, supplied, &query) {
            Ok(Some(body)) => body,
            Ok(None) => return self.code_only(asked.question, Code::ServFail, out),
            Err(need) => return Verdict::Needs(need),
        };
        let Reply::Health(rows) = &body.reply else {
            return self.code_only(asked.question, Code::ServFail, out);
        };
        let datacenter = self.settings.datacenter.clone();
        let servers: Vec<(Vec<u8>, Option<IpAddr>)> = rows
            .iter()
            .filter(|row| row.status() != model::check::CheckStatus::Critical)
            .filter_map(|row| {
                Some((node_labels(&row.node.name, &datacenter)?, row.node.address.parse().ok()))
            })
            .collect();
        self.pick(servers.len(), NAME_SERVERS_MAX);
        let ttl = self.settings.node_ttl;
        let (soa, serial) = (self.settings.soa, unix_seconds());
        let mut writer = self.start(asked, out);
        if qtype == TYPE_SOA {
            writer.soa(serial, &soa);
            writer.count(Section::Answer, 1);
        }
        let section = if qtype == TYPE_SOA { Section::Authority } else { Section::Answer };
        let mut glue = Vec::with_capacity(self.picks.len());
        for &pick in &self.picks {
            let (labels, address) = &servers[pick];
            let at = writer.pointing(Name::InDomain(&[]), TYPE_NS, ttl, Name::InDomain(labels));
            writer.count(section, 1);
            glue.extend(address.map(|address| (at, address)));
        }
        for (at, address) in glue {
            match address {
                IpAddr::V4(address) => writer.a(Name::At(at), ttl, address),
                IpAddr::V6(address) => writer.aaaa(Name::At(at), ttl, address),
            }
            writer.count(Section::Additional, 1);
        }
        finish(writer, asked.question)
    }

    fn reverse(
        &mut self,
        asked: &Asked<'_>,
        address: IpAddr,
        supplied: &Supplied,
        out: &mut Vec<u8>,
    ) -> Verdict {
        let query = Query::Nodes { node_meta: Vec::new() };
        let nodes = match ask(&*self.cluster, &self.settings, supplied, &query) {
            Ok(Some(body)) => body,
            Ok(None) => return self.code_only(asked.question, Code::ServFail, out),
            Err(need) => return Verdict::Needs(need),
        };
        let is_current =
            self.reverse.as_ref().is_some_and(|reverse| Arc::ptr_eq(&reverse.nodes, &nodes));
        if !is_current {
            let Reply::Nodes(rows) = &nodes.reply else {
                return self.code_only(asked.question, Code::ServFail, out);
            };
            let names = rows.iter().map(|node| (node.address.clone(), node.name.clone())).collect();
            self.reverse = Some(Reverse { nodes, names });
        }
        let address = address.to_string();
        let node = self.reverse.as_ref().and_then(|reverse| reverse.names.get(&address));
        let (datacenter, domain) = (&self.settings.datacenter, &self.settings.domain);
        let name = match node {
            Some(node) => Some(format!("{node}.node.{datacenter}.{domain}")),
            None => match self.service_at(&address, supplied) {
                Ok(service) => {
                    service.map(|service| format!("{service}.service.{datacenter}.{domain}"))
                }
                Err(need) => return Verdict::Needs(need),
            },
        };
        let Some(target) = name.as_deref().and_then(message::labels) else {
            return self.not_ours(asked.question, out);
        };
        let mut writer = self.start(asked, out);
        if matches!(asked.question.qtype, TYPE_PTR | TYPE_ANY) {
            writer.pointing(Name::Question, TYPE_PTR, 0, Name::Foreign(&target));
            writer.count(Section::Answer, 1);
        }
        finish(writer, asked.question)
    }

    /// The first service with an instance of its own at `address`. Walks the whole catalog, which
    /// reverse lookups of service addresses are rare enough for.
    fn service_at(&self, address: &str, supplied: &Supplied) -> Result<Option<String>, Need> {
        let names = Query::Services { node_meta: Vec::new() };
        let Some(names) = ask(&*self.cluster, &self.settings, supplied, &names)? else {
            return Ok(None);
        };
        let Reply::Services(names) = &names.reply else { return Ok(None) };
        for name in names.keys() {
            let query = Query::Health {
                name: name.clone(),
                tags: Vec::new(),
                mesh: false,
                passing_only: false,
                node_meta: Vec::new(),
            };
            let Some(body) = ask(&*self.cluster, &self.settings, supplied, &query)? else {
                continue;
            };
            if let Reply::Health(rows) = &body.reply
                && rows.iter().any(|row| row.service.address == address)
            {
                return Ok(Some(name.clone()));
            }
        }
        Ok(None)
    }

    fn not_ours(&self, question: &Question<'_>, out: &mut Vec<u8>) -> Verdict {
        if self.settings.recursors.is_empty() {
            return self.code_only(question, Code::Refused, out);
        }
        Verdict::Needs(Need::Recursion)
    }

    /// No such name (`NxDomain`) or no record of that type (`NoError`), with the SOA that bounds
    /// how long this may be remembered.
    fn negative(&self, asked: &Asked<'_>, code: Code, out: &mut Vec<u8>) -> Verdict {
        let mut writer = self.start(asked, out);
        writer.set_code(code);
        writer.soa(unix_seconds(), &self.settings.soa);
        writer.count(Section::Authority, 1);
        finish(writer, asked.question)
    }

    /// An answer of a code alone, as from somebody without authority over the name.
    pub(crate) fn code_only(
        &self,
        question: &Question<'_>,
        code: Code,
        out: &mut Vec<u8>,
    ) -> Verdict {
        let mut writer = Writer::new(out, question, 0, true, UDP_BYTES_PLAIN);
        if !self.settings.recursors.is_empty() {
            writer.set_recursion_available();
        }
        writer.set_code(code);
        finish(writer, question)
    }

    fn start<'o>(&self, asked: &Asked<'_>, out: &'o mut Vec<u8>) -> Writer<'o> {
        let bytes_max = match (asked.transport, asked.question.edns_bytes) {
            (Transport::Tcp, _) => TCP_BYTES_MAX,
            (Transport::Udp, None) => UDP_BYTES_PLAIN,
            (Transport::Udp, Some(size)) => usize::from(size).clamp(UDP_BYTES_PLAIN, UDP_BYTES_MAX),
        };
        let compress = !self.settings.disable_compression;
        let mut writer = Writer::new(out, asked.question, asked.domain_offset, compress, bytes_max);
        writer.set_authoritative();
        if !self.settings.recursors.is_empty() {
            writer.set_recursion_available();
        }
        writer
    }

    fn record_limit(&self, asked: &Asked<'_>) -> usize {
        match (asked.transport, asked.question.edns_bytes) {
            (Transport::Udp, None) => self.settings.udp_answer_limit.min(UDP_ANSWERS_MAX),
            // The smallest record takes 16 bytes.
            (Transport::Udp, Some(size)) => usize::from(size).clamp(512, UDP_BYTES_MAX) / 16,
            (Transport::Tcp, _) => ANSWERS_MAX,
        }
    }

    /// Fills `picks` with up to `limit` distinct numbers below `count` in random order, in time
    /// proportional to how many are picked.
    fn pick(&mut self, count: usize, limit: usize) {
        self.picks.clear();
        let limit = limit.min(count);
        if count <= 2 * limit {
            self.picks.extend(0..count);
            for nth in 0..limit {
                let other = self.random.random_range(nth..count);
                self.picks.swap(nth, other);
            }
            self.picks.truncate(limit);
            return;
        }
        let mut seen = std::collections::HashSet::new();
        while self.picks.len() < limit {
            let pick = self.random.random_range(0..count);
            let is_new = match limit {
                ..32 => !self.picks.contains(&pick),
                _ => seen.insert(pick),
            };
            if is_new {
                self.picks.push(pick);
            }
        }
    }
}

/// An answer the caller supplied or the cluster gives at once. `Ok(None)`: it failed.
fn ask(
    cluster: &dyn Cluster,
    settings: &Settings,
    supplied: &Supplied,
    query: &Query,
) -> Result<Option<Arc<Body>>, Need> {
    if let Some(answer) = supplied.answers.get(query) {
        return Ok(answer.clone());
    }
    match cluster.query_now(query, &options(settings)) {
        Some(Ok(answer)) => Ok(Some(answer.body)),
        Some(Err(_)) => Ok(None),
        None => Err(Need::Query(query.clone())),
    }
}

/// DNS reads are stale ones: availability before freshness.
pub(crate) fn options(settings: &Settings) -> QueryOptions {
    QueryOptions {
        token: settings.token.clone(),
        consistency: Consistency::Stale,
        ..QueryOptions::default()
    }
}

fn finish(mut writer: Writer<'_>, question: &Question<'_>) -> Verdict {
    if let Some(size) = question.edns_bytes {
        writer.opt(size);
    }
    Verdict::Ready
}

fn unix_seconds() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as u32)
}

#[cfg(test)]
mod tests;
