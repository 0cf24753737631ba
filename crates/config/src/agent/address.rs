//! From the texts about addresses and ports to sockets.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::Builder;
use crate::SettingError;
use crate::settings::network::Port;
use crate::sockaddr::{self, Interface};

/// Where an edge listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ListenAddress {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Tcp(address) => write!(f, "{address}"),
            ListenAddress::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// Every socket to open; a list is empty where the port is off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listen {
    /// UDP and TCP.
    pub dns: Vec<SocketAddr>,
    pub http: Vec<ListenAddress>,
    pub https: Vec<ListenAddress>,
    pub grpc: Vec<ListenAddress>,
    /// Requests of other agents.
    pub server: Option<SocketAddr>,
    pub serf_lan: Option<SocketAddr>,
    pub serf_wan: Option<SocketAddr>,
}

pub(super) struct Addresses {
    pub(super) bind: IpAddr,
    pub(super) advertise: IpAddr,
    pub(super) advertise_wan: IpAddr,
    pub(super) tagged: BTreeMap<String, String>,
    pub(super) clients: Vec<IpAddr>,
    pub(super) listen: Listen,
}

const DNS_PORT: u16 = 53;

impl Builder<'_> {
    pub(super) fn addresses(&self) -> Result<Addresses, SettingError> {
        let settings = self.settings;
        let bind = match self.address("bind_addr", &settings.bind_addr)? {
            Some(bind) => bind,
            None => return Err(self.invalid("bind_addr", "cannot be empty; write one address")),
        };
        let clients = self.ips("client_addr", &settings.client_addr)?;
        let advertise = self.advertise(bind)?;
        let advertise_wan =
            match self.advertised("advertise_addr_wan", &settings.advertise_addr_wan)? {
                Some(address) => address,
                None => advertise,
            };
        let listen = self.listen(bind, &clients)?;
        let tagged = self.tagged(advertise, advertise_wan)?;
        Ok(Addresses { bind, advertise, advertise_wan, tagged, clients, listen })
    }

    fn listen(&self, bind: IpAddr, clients: &[IpAddr]) -> Result<Listen, SettingError> {
        let ports = &self.settings.ports;
        let texts = &self.settings.addresses;
        let mut dns = Vec::new();
        for address in self.listeners("addresses.dns", &texts.dns, clients, ports.dns)? {
            match address {
                ListenAddress::Tcp(address) => dns.push(address),
                ListenAddress::Unix(_) => {
                    return Err(self.invalid(
                        "addresses.dns",
                        "DNS address cannot be a unix socket; write an address",
                    ));
                }
            }
        }
        let among =
            |key: &str, text: &str, port: Port| -> Result<Option<SocketAddr>, SettingError> {
                let address = self.address(key, text)?.unwrap_or(bind);
                Ok(port.0.map(|port| SocketAddr::new(address, port)))
            };
        let listen = Listen {
            dns,
            http: self.listeners("addresses.http", &texts.http, clients, ports.http)?,
            https: self.listeners("addresses.https", &texts.https, clients, ports.https)?,
            grpc: self.listeners("addresses.grpc", &texts.grpc, clients, ports.grpc)?,
            server: ports.server.0.map(|port| SocketAddr::new(bind, port)),
            serf_lan: among("serf_lan", &self.settings.serf_lan, ports.serf_lan)?,
            serf_wan: among("serf_wan", &self.settings.serf_wan, ports.serf_wan)?,
        };
        self.refuse_shared_sockets(&listen)?;
        Ok(listen)
    }

    fn refuse_shared_sockets(&self, listen: &Listen) -> Result<(), SettingError> {
        let tcp = |addresses: &[SocketAddr]| {
            addresses.iter().map(|a| ListenAddress::Tcp(*a)).collect::<Vec<_>>()
        };
        let one =
            |address: Option<SocketAddr>| address.map(ListenAddress::Tcp).into_iter().collect();
        let users = [
            ("dns", tcp(&listen.dns)),
            ("http", listen.http.clone()),
            ("https", listen.https.clone()),
            ("grpc", listen.grpc.clone()),
            ("server", one(listen.server)),
            ("serf_lan", one(listen.serf_lan)),
            ("serf_wan", one(listen.serf_wan)),
        ];
        let mut taken: BTreeMap<ListenAddress, &str> = BTreeMap::new();
        for (name, addresses) in users {
            for address in addresses {
                if let Some(other) = taken.get(&address) {
                    let reason = format!(
                        "address {address} already configured for {other}; choose another port"
                    );
                    return Err(self.invalid(&format!("ports.{name}"), reason));
                }
                taken.insert(address, name);
            }
        }
        Ok(())
    }

    /// The sockets of one edge: those of its own text, or the port on every client address.
    fn listeners(
        &self,
        key: &str,
        text: &str,
        clients: &[IpAddr],
        port: Port,
    ) -> Result<Vec<ListenAddress>, SettingError> {
        let expanded = self.expand(key, text)?;
        let mut listeners = Vec::new();
        for word in expanded.split_whitespace() {
            if let Some(path) = word.strip_prefix("unix://") {
                if path.is_empty() {
                    return Err(self.invalid(key, "unix:// needs a path"));
                }
                listeners.push(ListenAddress::Unix(PathBuf::from(path)));
                continue;
            }
            let address = self.ip(key, word)?;
            listeners.extend(port.0.map(|port| ListenAddress::Tcp(SocketAddr::new(address, port))));
        }
        if expanded.trim().is_empty() {
            let sockets =
                clients.iter().filter_map(|address| Some(SocketAddr::new(*address, port.0?)));
            listeners.extend(sockets.map(ListenAddress::Tcp));
        }
        Ok(listeners)
    }

    fn advertise(&self, bind: IpAddr) -> Result<IpAddr, SettingError> {
        let settings = self.settings;
        let by_family = if bind.is_ipv6() {
            ("advertise_addr_ipv6", &settings.advertise_addr_ipv6)
        } else {
            ("advertise_addr_ipv4", &settings.advertise_addr_ipv4)
        };
        for (key, text) in [("advertise_addr", &settings.advertise_addr), by_family] {
            if let Some(address) = self.advertised(key, text)? {
                return Ok(address);
            }
        }
        if !bind.is_unspecified() {
            return Ok(bind);
        }
        self.reachable_address(bind)
    }

    /// The one address of the machine that others can be told when every address is listened on.
    fn reachable_address(&self, bind: IpAddr) -> Result<IpAddr, SettingError> {
        let (family, fits): (&str, fn(&Interface) -> bool) = if bind.is_ipv6() {
            ("public IPv6", |i| i.address.is_ipv6() && !sockaddr::is_private(i.address))
        } else {
            ("private IPv4", |i| {
                i.address.is_ipv4() && !i.address.is_loopback() && sockaddr::is_private(i.address)
            })
        };
        let interfaces =
            self.interfaces().map_err(|reason| self.invalid("advertise_addr", reason))?;
        let mut found = interfaces.iter().filter(|interface| interface.is_up && fits(interface));
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one.address),
            (None, _) => {
                let reason = format!(
                    "this machine has no {family} address; write bind_addr or advertise_addr"
                );
                Err(self.invalid("advertise_addr", reason))
            }
            (Some(_), Some(_)) => {
                let reason = format!(
                    "this machine has several {family} addresses; write bind_addr or advertise_addr"
                );
                Err(self.invalid("advertise_addr", reason))
            }
        }
    }

    fn tagged(&self, lan: IpAddr, wan: IpAddr) -> Result<BTreeMap<String, String>, SettingError> {
        let settings = self.settings;
        let mut tagged = BTreeMap::from([
            ("lan".to_owned(), lan.to_string()),
            ("wan".to_owned(), wan.to_string()),
        ]);
        let families = [
            ("lan_ipv4", "advertise_addr_ipv4", &settings.advertise_addr_ipv4, lan, true),
            ("lan_ipv6", "advertise_addr_ipv6", &settings.advertise_addr_ipv6, lan, false),
            ("wan_ipv4", "advertise_addr_wan_ipv4", &settings.advertise_addr_wan_ipv4, wan, true),
            ("wan_ipv6", "advertise_addr_wan_ipv6", &settings.advertise_addr_wan_ipv6, wan, false),
        ];
        for (tag, key, text, general, is_v4) in families {
            let address = match self.advertised(key, text)? {
                Some(address) if address.is_ipv4() != is_v4 => {
                    let family = if is_v4 { "IPv4" } else { "IPv6" };
                    return Err(self.invalid(key, format!("{address} is no {family} address")));
                }
                Some(address) => Some(address),
                None => (general.is_ipv4() == is_v4).then_some(general),
            };
            if let Some(address) = address {
                tagged.insert(tag.to_owned(), address.to_string());
            }
        }
        Ok(tagged)
    }

    fn advertised(&self, key: &str, text: &str) -> Result<Option<IpAddr>, SettingError> {
        match self.address(key, text)? {
            Some(address) if address.is_unspecified() => Err(self.invalid(
                key,
                format!("cannot be {address}; write an address that others can reach"),
            )),
            other => Ok(other),
        }
    }

    /// The one address a text gives; `None` if it gives none.
    fn address(&self, key: &str, text: &str) -> Result<Option<IpAddr>, SettingError> {
        let mut addresses = self.ips(key, text)?.into_iter();
        match (addresses.next(), addresses.next()) {
            (first, None) => Ok(first),
            _ => Err(self.invalid(key, "cannot contain multiple addresses; write one")),
        }
    }

    fn ips(&self, key: &str, text: &str) -> Result<Vec<IpAddr>, SettingError> {
        let expanded = self.expand(key, text)?;
        expanded.split_whitespace().map(|word| self.ip(key, word)).collect()
    }

    fn ip(&self, key: &str, word: &str) -> Result<IpAddr, SettingError> {
        if word.starts_with("unix:") {
            return Err(self
                .invalid(key, format!("cannot be a unix socket, found {word}; write an address")));
        }
        let bare = word.strip_prefix('[').and_then(|word| word.strip_suffix(']')).unwrap_or(word);
        bare.parse().map_err(|_| {
            self.invalid(key, format!("invalid ip address: {word}; separate several by spaces"))
        })
    }

    fn expand(&self, key: &str, text: &str) -> Result<String, SettingError> {
        sockaddr::expand(text, || self.interfaces()).map_err(|reason| self.invalid(key, reason))
    }

    pub(super) fn interfaces(&self) -> Result<Vec<Interface>, String> {
        self.machine
            .interfaces()
            .map_err(|error| format!("cannot list the machine's interfaces: {error}"))
    }

    pub(super) fn recursors(&self) -> Result<Vec<SocketAddr>, SettingError> {
        let mut recursors = Vec::new();
        for text in &self.settings.recursors {
            for word in self.expand("recursors", text)?.split_whitespace() {
                let address = word.parse::<SocketAddr>().ok();
                let address = address.or_else(|| {
                    let bare = word
                        .strip_prefix('[')
                        .and_then(|word| word.strip_suffix(']'))
                        .unwrap_or(word);
                    Some(SocketAddr::new(bare.parse().ok()?, DNS_PORT))
                });
                let Some(address) = address else {
                    let reason = format!(
                        "{word:?} is no address; write one such as \"192.0.2.1\" or \"192.0.2.1:53\""
                    );
                    return Err(self.invalid("recursors", reason));
                };
                recursors.push(address);
            }
        }
        Ok(recursors)
    }
}
