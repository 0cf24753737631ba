//! Which server is asked: the first of a list in random order, until it fails or its turn is over.

use parking_lot::Mutex;
use rand::seq::SliceRandom as _;

use crate::ServerAddress;

#[derive(Debug, Default)]
pub(super) struct Router {
    servers: Mutex<Vec<ServerAddress>>,
}

impl Router {
    pub(super) fn first(&self) -> Option<ServerAddress> {
        self.servers.lock().first().cloned()
    }

    /// Takes the servers there are now. Those known keep their order, new ones come in at random
    /// behind the first.
    pub(super) fn set(&self, mut now: Vec<ServerAddress>) {
        let mut servers = self.servers.lock();
        servers.retain(|known| now.contains(known));
        now.retain(|server| !servers.contains(server));
        now.shuffle(&mut rand::rng());
        for server in now {
            let at = match servers.len() {
                0 => 0,
                length => rand::random_range(1..=length),
            };
            servers.insert(at, server);
        }
    }

    /// Puts a server that failed to the end, unless another was put before it already.
    pub(super) fn failed(&self, server: &ServerAddress) {
        let mut servers = self.servers.lock();
        if servers.first() == Some(server) {
            servers.rotate_left(1);
        }
    }

    pub(super) fn shuffled(&self) -> Vec<ServerAddress> {
        let mut servers = self.servers.lock().clone();
        servers.shuffle(&mut rand::rng());
        servers
    }

    /// Puts a server before the others.
    pub(super) fn prefer(&self, server: &ServerAddress) {
        let mut servers = self.servers.lock();
        if let Some(at) = servers.iter().position(|known| known == server) {
            servers.swap(0, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(number: u16) -> ServerAddress {
        ServerAddress {
            name: format!("s{number}"),
            address: ([127, 0, 0, 1], number).into(),
            datacenter: "dc1".into(),
            use_tls: false,
        }
    }

    #[test]
    fn the_first_stays_until_it_fails_or_leaves() {
        let router = Router::default();
        assert_eq!(router.first(), None);
        router.set(vec![server(1)]);
        router.set(vec![server(3), server(1), server(2)]);
        assert_eq!(router.first(), Some(server(1)));
        router.failed(&server(1));
        let second = router.first().unwrap();
        assert_ne!(second, server(1));
        // Told twice, it fails once.
        router.failed(&server(1));
        assert_eq!(router.first(), Some(second.clone()));
        router.prefer(&server(1));
        assert_eq!(router.first(), Some(server(1)));
        router.set(vec![server(2), server(3)]);
        assert_ne!(router.first(), Some(server(1)));
        assert_eq!(router.shuffled().len(), 2);
    }
}
