//! What a configuration asks of the machine it is for.

use std::io;

use crate::sockaddr::Interface;

/// The machine an agent runs on. Tests have one of their own making.
pub trait Machine {
    fn host_name(&self) -> io::Result<String>;
    /// Every address of every interface that is up.
    fn interfaces(&self) -> io::Result<Vec<Interface>>;
}

/// The machine this process runs on.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThisMachine;

impl Machine for ThisMachine {
    fn host_name(&self) -> io::Result<String> {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
            .or_else(|_| std::fs::read_to_string("/etc/hostname"))?;
        Ok(name.trim().to_owned())
    }

    fn interfaces(&self) -> io::Result<Vec<Interface>> {
        let default = default_interface();
        let interfaces = if_addrs::get_if_addrs()?.into_iter().map(|found| {
            let bits = match &found.addr {
                if_addrs::IfAddr::V4(v4) => v4.prefixlen,
                if_addrs::IfAddr::V6(v6) => v6.prefixlen,
            };
            Interface {
                address: found.ip(),
                bits,
                is_up: true,
                is_default: default.as_ref() == Some(&found.name),
                name: found.name,
            }
        });
        Ok(interfaces.collect())
    }
}

/// The interface of the route to everywhere, from the kernel's table; `None` where there is no such
/// file or route.
fn default_interface() -> Option<String> {
    let table = std::fs::read_to_string("/proc/net/route").ok()?;
    table.lines().skip(1).find_map(|line| {
        let mut columns = line.split_whitespace();
        let name = columns.next()?;
        (columns.next()? == "00000000").then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_name_and_a_loopback_address() {
        assert!(!ThisMachine.host_name().unwrap().is_empty());
        assert!(ThisMachine.interfaces().unwrap().iter().any(|i| i.address.is_loopback()));
    }
}
