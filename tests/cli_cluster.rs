//! The commands against a running `quorumq dev`, as its user types them.
#![cfg(test)]

mod harness;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use harness::Directory;
use harness::node::STOP_LIMIT;
use harness::ports::Ports;
use harness::process::{Finished, Process, quorumq, run};

/// Enough for a slow machine.
const LONG: Duration = Duration::from_secs(60);
/// What the data of a first start may take.
const FIRST_START_BYTES: u64 = 250 << 20;
const NODES: [&str; 3] = ["n0", "n1", "n2"];

/// A `dev`'s place: its ports and its data.
struct Dev {
    dir: Directory,
    /// Three blocks in a row: the nodes' ports lie ten apart.
    ports: Vec<Ports>,
    /// Of the first start, and of the ones after it.
    starts: usize,
}

impl Dev {
    fn new(name: &str) -> Self {
        let mut ports = vec![Ports::take(), Ports::take(), Ports::take()];
        let are_adjacent = |ports: &[Ports]| ports.windows(2).all(|two| two[0].listen() + 10 == two[1].listen());
        while !are_adjacent(&ports[ports.len() - 3..]) {
            ports.push(Ports::take());
        }
        Self { dir: Directory::new(name), ports: ports.split_off(ports.len() - 3), starts: 0 }
    }

    fn data(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }

    fn namesrv(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0].name_server())
    }

    fn command(&self, data: &Path, namesrv_port: u16) -> Command {
        let mut command = quorumq();
        command.arg("dev").arg("--data").arg(data);
        command.args(["--namesrv-port", &namesrv_port.to_string()]);
        command.args(["--broker-port", &self.ports[0].listen().to_string()]);
        command
    }

    /// Starts it; the process, its banner, and how long that took to come.
    fn start(&mut self) -> (Process, String, Duration) {
        self.starts += 1;
        let log = self.dir.path().join(format!("dev-{}.log", self.starts));
        let begun = Instant::now();
        let mut process = Process::start("dev", &log, &mut self.command(&self.data(), self.ports[0].name_server()));
        loop {
            let output = process.output();
            if output.contains("Ctrl-C stops everything.") {
                let banner = output.lines().skip_while(|line| *line != "QuoruMQ is up.");
                return (process, banner.collect::<Vec<_>>().join("\n"), begun.elapsed());
            }
            assert!(process.ended().is_none() && begun.elapsed() < LONG, "no banner:\n{output}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Runs a client command to its end.
    fn run(&self, args: &[&str]) -> Finished {
        run(quorumq().args(args).args(["-n", &self.namesrv()]), LONG)
    }

    /// What a client command that succeeds prints.
    fn told(&self, args: &[&str]) -> String {
        let told = self.run(args).success();
        println!("$ quorumq {}\n  {}", args.join(" "), told.trim_end().replace('\n', "\n  "));
        told
    }

    fn aborts(&self) -> Vec<bool> {
        NODES.iter().map(|node| self.data().join(node).join("abort").exists()).collect()
    }
}

/// Bytes that a directory takes on its volume.
fn allocated(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).expect("a directory");
    let sizes = entries.map(|entry| {
        let path = entry.expect("an entry").path();
        if path.is_dir() { allocated(&path) } else { path.metadata().map_or(0, |data| data.blocks() * 512) }
    });
    sizes.sum()
}

/// The last word of each line.
fn bodies(consumed: &str) -> Vec<&str> {
    let mut bodies: Vec<_> = consumed.lines().filter_map(|line| line.split(' ').next_back()).collect();
    bodies.sort_unstable();
    bodies
}

#[test]
fn dev_starts_serves_the_commands_stops_and_goes_on_with_its_data() {
    let mut dev = Dev::new("dev");
    let (process, banner, took) = dev.start();
    let bytes = allocated(&dev.data());
    println!("first start: the banner came after {} ms; {} MiB on disk", took.as_millis(), bytes >> 20);
    println!("{banner}");
    assert!(bytes <= FIRST_START_BYTES, "{bytes} bytes");
    let (namesrv, port) = (dev.namesrv(), dev.ports[0].listen());
    let nodes = format!("broker-a, nodes on ports {port}, {}, {}; node ", port + 10, port + 20);
    let next = format!("quorumq topic create orders -n {namesrv}");
    for part in [&*namesrv, &*nodes, "leads in term ", "new, in ", "SYNC_FLUSH", &*next] {
        assert!(banner.contains(part), "{part:?} is not in the banner");
    }
    assert_eq!(dev.aborts(), [true; 3]);

    topics(&dev);
    send_and_consume(&dev);
    group_status(&dev);
    group_catch_up(&dev);
    assert_eq!(dev.told(&["topic", "delete", "letters"]).trim_end(), "topic letters deleted from broker-a");
    let gone = dev.run(&["topic", "route", "letters"]);
    assert_eq!(gone.status.code(), Some(1), "{gone:?}");
    assert!(gone.stderr.contains("letters"), "{gone:?}");

    stop(&dev, process);
    let (process, banner, took) = dev.start();
    println!("second start: the banner came after {} ms", took.as_millis());
    assert!(banner.contains("1 topics with 4 messages, in "), "{banner}");
    // The group goes on where it was: at the end.
    dev.told(&["send", "orders", "fifth"]);
    let consumed = dev.told(&["consume", "orders", "--group", "readers", "--count", "1"]);
    assert_eq!(bodies(&consumed), ["fifth"]);
    stop(&dev, process);
}

fn topics(dev: &Dev) {
    let told = dev.told(&["topic", "create", "orders", "--queues", "4"]);
    assert_eq!(told.trim_end(), "topic orders: 4 queues in each of broker-a");
    dev.told(&["topic", "create", "letters"]);
    let list = dev.told(&["topic", "list"]);
    assert!(list.lines().any(|topic| topic == "orders") && list.lines().any(|topic| topic == "letters"), "{list}");
    let route = dev.told(&["topic", "route", "orders"]);
    let row: Vec<_> = route.lines().nth(1).expect("a row").split_whitespace().collect();
    assert_eq!(row[..5], ["broker-a", "DefaultCluster", "4", "4", "RW-"]);
    let missing = dev.run(&["topic", "route", "order"]);
    assert_eq!(missing.status.code(), Some(1), "{missing:?}");
    assert!(missing.stderr.contains("quorumq topic create order"), "{missing:?}");
}

fn send_and_consume(dev: &Dev) {
    for (body, tag) in [("first", "a"), ("second", "b"), ("dritte-Meldung-ü", "a")] {
        let told = dev.told(&["send", "orders", body, "--tag", tag, "--keys", "k1"]);
        assert!(told.starts_with("SEND_OK broker-a queue "), "{told}");
    }
    let consumed = dev.told(&["consume", "orders", "--group", "readers", "--count", "3"]);
    assert_eq!(bodies(&consumed), ["dritte-Meldung-ü", "first", "second"]);
    assert!(consumed.lines().all(|line| line.contains(" keys k1 ")), "{consumed}");
    // Another group has offsets of its own, and its filter.
    let consumed = dev.told(&["consume", "orders", "--group", "others", "--filter", "a", "--count", "2"]);
    assert_eq!(bodies(&consumed), ["dritte-Meldung-ü", "first"]);
    // A group's offsets are kept: only what is new comes.
    dev.told(&["send", "orders", "fourth"]);
    let consumed = dev.told(&["consume", "orders", "--group", "readers", "--count", "1"]);
    assert_eq!(bodies(&consumed), ["fourth"]);
}

/// Every member is told the rate, as any of them may come to lead.
fn group_catch_up(dev: &Dev) {
    let rates = |args: &[&str]| {
        let told = dev.told(&[&["group", "catch-up", "broker-a"], args].concat());
        told.lines().skip(1).filter_map(|row| row.split_whitespace().last().map(str::to_owned)).collect::<Vec<_>>()
    };
    assert_eq!(rates(&[]), ["33554432"; 3]);
    assert_eq!(rates(&["--pause"]), ["paused"; 3]);
    assert_eq!(rates(&["--rate", "2097152"]), ["2097152"; 3]);
    assert_eq!(rates(&["--rate", "0"]), ["unlimited"; 3]);
    assert_eq!(rates(&["--resume"]), ["33554432"; 3]);
}

fn group_status(dev: &Dev) {
    let status = dev.told(&["group", "status"]);
    assert!(status.starts_with("group broker-a  leader "), "{status}");
    let roles = |role: &str| status.lines().filter(|line| line.contains(&format!("  {role}  "))).count();
    assert_eq!((roles("leader"), roles("follower"), status.lines().count()), (1, 2, 5), "{status}");
}

fn stop(dev: &Dev, process: Process) {
    let (status, took) = process.terminate(LONG);
    println!("SIGTERM: {status} after {} ms", took.as_millis());
    assert!(status.success() && took <= STOP_LIMIT, "{status} after {took:?}");
    assert_eq!(dev.aborts(), [false; 3]);
}

#[test]
fn a_second_dev_on_taken_ports_says_which_and_what_to_do() {
    let mut dev = Dev::new("dev-ports");
    let (process, ..) = dev.start();
    let other = dev.dir.path().join("other");
    let taken = run(&mut dev.command(&other, dev.ports[0].name_server()), LONG);
    port_error(&taken, dev.ports[0].name_server());
    let free = Ports::take();
    let taken = run(&mut dev.command(&other, free.name_server()), LONG);
    port_error(&taken, dev.ports[0].listen());
    drop(process);
}

fn port_error(ended: &Finished, port: u16) {
    println!("second dev: {}", ended.stderr.trim_end());
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains("error: ") && ended.stderr.contains(&port.to_string()), "{ended:?}");
    assert!(ended.stderr.contains("listenPort"), "the setting is named: {ended:?}");
}
