//! The command line from outside: usage, exit codes, signals, taken ports.
#![cfg(test)]

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};

fn quorumq(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorumq"));
    command.args(args).env_remove("RUST_LOG").env_remove("NAMESRV_ADDR");
    command
}

fn run(args: &[&str]) -> Output {
    quorumq(args).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A process that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn start(args: &[&str]) -> Self {
        Self(quorumq(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    fn first_line(&mut self) -> String {
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        line
    }

    fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    fn ended(&mut self) -> (Option<i32>, String) {
        let code = self.0.wait().unwrap().code();
        let mut stderr = String::new();
        self.0.stderr.as_mut().unwrap().read_to_string(&mut stderr).unwrap();
        (code, stderr)
    }
}

fn name_server() -> Running {
    let dir = std::env::temp_dir().join(format!("quorumq-cli-{}", std::process::id()));
    let kv = dir.join("kvConfig.json").display().to_string();
    Running::start(&["nameserver", "--listen-port", "0", "--bind-address", "127.0.0.1", "--kv-config-path", &kv])
}

#[test]
fn wrong_arguments_end_with_code_2_and_a_hint() {
    for (args, said) in [
        (&["brocker"][..], "'broker'"),
        (&["bench", "--duration", "20"], "must be a number and a unit, ms, s, m or h, e.g. 20s"),
        (&["bench", "--in-flight", "0"], "0 is not in 1..=1000000"),
        (&["bench", "--in-flight", "1000000", "--connections", "1"], "is more than 65536 on one"),
        (&["group", "remove", "g", "--id", "n1"], "invalid value 'n1' for '--id <ID>'"),
        (&["group", "add", "g", "--raft", "h"], "must be host:port, e.g. 10.0.0.4:40911"),
        (&["send", "T", "body", "--property", "x"], "must be name=value"),
        (&["topic", "create", "T", "--queues", "0"], "0 is not in 1..=65536"),
        (&["--log", "quorumq=loud", "topic", "list"], "--log quorumq=loud"),
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output.stderr).contains(said), "{args:?}: {}", text(&output.stderr));
    }
}

#[test]
fn help_and_version_are_no_failures() {
    for args in [&["--help"][..], &["--version"], &["broker", "--help"], &["bench", "-h"]] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(!output.stdout.is_empty());
    }
    assert_eq!(run(&[]).status.code(), Some(2));
}

#[test]
fn a_command_without_a_nameserver_says_which_one_did_not_answer() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = run(&["send", "T", "body", "-n", &free.to_string()]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.starts_with("error: ") && said.contains(&free.to_string()), "{said}");
    assert!(said.contains("NAMESRV_ADDR names the NameServers"), "{said}");
}

#[test]
fn a_cluster_without_brokers_and_an_unknown_topic_are_told_with_what_to_do() {
    let mut server = name_server();
    let line = server.first_line();
    let addr = line.trim().strip_prefix("NameServer listening on ").unwrap();
    let with_server = |args: &[&str]| quorumq(args).env("NAMESRV_ADDR", addr).output().unwrap();
    let no_route = "error: no route for topic orders: No topic route info in name server for the topic: orders\n  \
                    Create it with: quorumq topic create orders, or name other NameServers with -n.\n";
    let no_broker = "error: no broker is registered\n  Start a broker, or name other NameServers with -n.\n";
    for (args, said) in [
        (&["send", "orders", "body"][..], no_route),
        (&["consume", "orders"], no_route),
        (&["topic", "route", "orders"], no_route),
        (&["topic", "create", "orders"], no_broker),
        (&["bench"], no_broker),
    ] {
        let output = with_server(args);
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), said), "{args:?}");
    }
    let listed = with_server(&["topic", "list"]);
    assert_eq!((listed.status.code(), text(&listed.stdout)), (Some(0), ""));
    let status = with_server(&["group", "status"]);
    let said = format!("error: no broker is registered at {addr}\n  Start one, or name other NameServers with -n.\n");
    assert_eq!((status.status.code(), text(&status.stderr)), (Some(1), said.as_str()));
    assert_eq!(text(&with_server(&["group", "status", "--json"]).stdout), "[]\n");
}

#[test]
fn a_nameserver_stops_on_sigterm_and_ctrl_c_with_code_0() {
    for signal in ["TERM", "INT"] {
        let mut server = name_server();
        let line = server.first_line();
        assert!(line.starts_with("NameServer listening on 127.0.0.1:"), "{line}");
        server.signal(signal);
        let (code, stderr) = server.ended();
        assert_eq!(code, Some(0), "{stderr}");
        assert!(stderr.contains("received, stopping"), "{stderr}");
    }
}

#[test]
fn a_taken_port_is_told_with_port_setting_and_what_to_do() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port().to_string();
    let output = run(&["nameserver", "--listen-port", &port, "--bind-address", "127.0.0.1"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.starts_with(&format!("error: port {port} is taken (127.0.0.1:{port}, setting listenPort)")), "{said}");
    assert!(said.contains("set listenPort to a free port"), "{said}");
}

#[test]
fn output_that_nobody_reads_is_no_failure() {
    // The reader is gone before the first line is written, as with `| true`.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = quorumq(&["broker", "-p", "-n", "127.0.0.1:9876"]).stdout(writer).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn logs_are_one_line_an_event_without_colours() {
    let mut server = name_server();
    server.first_line();
    server.signal("TERM");
    let (_, stderr) = server.ended();
    assert!(!stderr.contains('\u{1b}'), "{stderr}");
    for line in stderr.lines() {
        assert!(line.contains("INFO") || line.contains("WARN"), "{line}");
    }
}
