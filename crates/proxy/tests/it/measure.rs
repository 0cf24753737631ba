//! Figures of a whole pair, printed. Run in release, one at a time: `--ignored --nocapture --test-threads=1`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use proxy::Settings;

use crate::world::{Behaviour, Pair, run, until, upstream};

/// Processor time of all worker threads so far.
fn workers_cpu() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    let nanos = tasks.flatten().filter_map(|task| {
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
        if !name.starts_with("proxy-") {
            return None;
        }
        let stat = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        stat.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

fn one_worker() -> Settings {
    Settings { workers: 1, ..Settings::default() }
}

fn echo_once(entry: SocketAddr) {
    let mut stream = TcpStream::connect(entry).expect("listens");
    stream.set_nodelay(true).expect("sets");
    stream.write_all(b"hello").expect("writes");
    stream.read_exact(&mut [0; 5]).expect("is echoed");
}

#[test]
#[ignore = "measures"]
fn connections() {
    run(async {
        let mut held = Pair::with(Behaviour::Echo, one_worker()).await;
        for is_resuming in [true, false] {
            if !is_resuming {
                // Tickets are good for one endpoint, so thousands of them make every handshake a full one.
                let mut pair = Pair::with(Behaviour::Echo, one_worker()).await;
                std::mem::swap(&mut pair, &mut held);
            }
            let pair = &held;
            let entry = pair.entry;
            if !is_resuming {
                let port = pair.db_address.port();
                let at = (0..20_000_u32).map(|number| {
                    let [_, _, high, low] = number.to_be_bytes();
                    SocketAddr::from(([127, 1, high, low], port))
                });
                let upstreams = vec![upstream(&pair.authority, "db", &at.collect::<Vec<_>>())];
                pair.web.apply(|snapshot| snapshot.upstreams = upstreams).await;
            }
            echo_once(entry);
            let (cpu, begun) = (workers_cpu(), Instant::now());
            let before = pair.db.metrics.snapshot();
            let count = 3000;
            let threads: Vec<_> = (0..4)
                .map(|_| std::thread::spawn(move || (0..count / 4).for_each(|_| echo_once(entry))))
                .collect();
            for thread in threads {
                thread.join().expect("connects");
            }
            let (took, used) = (begun.elapsed(), workers_cpu() - cpu);
            let after = pair.db.metrics.snapshot();
            println!(
                "{:.0} connections/s, {:.0} us CPU each for the pair; {} full, {} resumed",
                f64::from(count) / took.as_secs_f64(),
                used.as_secs_f64() * 1e6 / f64::from(count),
                after.handshakes_full - before.handshakes_full,
                after.handshakes_resumed - before.handshakes_resumed,
            );
        }
    });
}

#[test]
#[ignore = "measures"]
fn ping_pong() {
    run(async {
        let pair = Pair::with(Behaviour::Echo, one_worker()).await;
        for (name, to) in [("direct", pair.app.address), ("pair", pair.entry)] {
            let mut stream = TcpStream::connect(to).expect("listens");
            stream.set_nodelay(true).expect("sets");
            let cpu = workers_cpu();
            let mut times: Vec<_> = (0..20_000)
                .map(|_| {
                    let begun = Instant::now();
                    stream.write_all(&[7; 64]).expect("writes");
                    stream.read_exact(&mut [0; 64]).expect("is echoed");
                    begun.elapsed()
                })
                .collect();
            let used = workers_cpu() - cpu;
            times.sort();
            println!(
                "{name}: one way p50 {:?} p99 {:?}, {:?} CPU a round trip",
                times[times.len() / 2] / 2,
                times[times.len() / 100 * 99] / 2,
                used / 20_000
            );
        }
    });
}

#[test]
#[ignore = "measures"]
fn idle_memory() {
    run(async {
        let pair = Pair::with(Behaviour::Echo, one_worker()).await;
        let resident = || {
            let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
            let pages: u64 =
                text.split(' ').nth(1).and_then(|field| field.parse().ok()).expect("a number");
            pages * 4096
        };
        echo_once(pair.entry);
        let before = resident();
        const COUNT: usize = 2000;
        let mut held = Vec::new();
        for _ in 0..COUNT {
            let mut stream = TcpStream::connect(pair.entry).expect("listens");
            stream.write_all(b"hello").expect("writes");
            stream.read_exact(&mut [0; 5]).expect("is echoed");
            held.push(stream);
        }
        until("all are open", || pair.db.count(|metrics| metrics.inbound_open) >= COUNT as u64)
            .await;
        println!(
            "{} bytes an idle connection, both proxies and the test's own echo together",
            (resident() - before) / COUNT as u64
        );
    });
}
