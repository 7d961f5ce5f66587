//! `quorumq broker` and `quorumq nameserver`: configuration files and flags, from outside.
#![cfg(test)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn quorumq(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorumq"));
    command.args(args).env_remove("RUST_LOG").env("NAMESRV_ADDR", "127.0.0.1:9876").env("HOME", "/home/mq");
    command.output().unwrap()
}

fn file(dir: &tempfile::TempDir, text: &str) -> PathBuf {
    let path = dir.path().join("broker.conf");
    std::fs::write(&path, text).unwrap();
    path
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn config(path: &Path, more: &[&str]) -> Output {
    let mut args = vec!["broker", "-c", path.to_str().unwrap(), "--print-config"];
    args.extend(more);
    quorumq(&args)
}

const MEMBER: &str = "\
# a member of a DLedger group, as Apache's sample has it
brokerClusterName = RaftCluster
brokerName=RaftNode00
listenPort=30911
dLegerGroup=RaftNode00
dLegerPeers=n0-127.0.0.1:40911;\\
            n1-127.0.0.1:40912;n2-127.0.0.1:40913
dLegerSelfId=n1
sendMessageThreadPoolNums=16
";

#[test]
fn a_resolved_configuration_is_printed_and_read_back_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let first = config(&file(&dir, MEMBER), &[]);
    assert_eq!(first.status.code(), Some(0), "{}", text(&first.stderr));
    let printed = text(&first.stdout);
    for line in [
        "brokerClusterName=RaftCluster",
        "dLegerPeers=n0-127.0.0.1:40911;n1-127.0.0.1:40912;n2-127.0.0.1:40913",
        "flushDiskType=SYNC_FLUSH",
        "storePathRootDir=/home/mq/store",
        "namesrvAddr=127.0.0.1:9876",
        "maxMessageSize=4194304",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line}:\n{printed}");
    }
    let warning = "broker.conf:9: sendMessageThreadPoolNums is a RocketMQ setting that QuoruMQ does not implement";
    assert_eq!(text(&first.stderr).matches(warning).count(), 1, "{}", text(&first.stderr));
    assert_eq!(text(&first.stderr).lines().count(), 1);

    let values = |printed: &str| {
        let mut lines: Vec<_> = printed.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let second = config(&file(&dir, printed), &[]);
    assert_eq!(values(text(&second.stdout)), values(printed));
}

#[test]
fn flags_beat_the_file_in_either_spelling() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir, MEMBER);
    let more = ["--listen-port", "20911", "--brokerClusterName=Other", "--bootstrap", "-n", "ns:9876;ns2:9876"];
    let output = config(&path, &more);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    let (_, flags) = printed.split_once("# from flags\n").unwrap();
    let (flags, _) = flags.split_once('#').unwrap();
    assert_eq!(flags, "brokerClusterName=Other\nlistenPort=20911\nnamesrvAddr=ns:9876;ns2:9876\nbootstrap=true\n");
    let off = config(&path, &["--auto-create-topic-enable=false"]);
    assert!(text(&off.stdout).contains("\nautoCreateTopicEnable=false\n"));
}

#[test]
fn every_mistake_is_told_on_a_line_of_its_own_and_ends_with_code_2() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir, "brokerNmae=a\nflushDiskType=SYNC\n");
    let output = config(&path, &["--listen-port", "-5"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stdout), "");
    let path = path.display();
    assert_eq!(
        text(&output.stderr),
        format!(
            "error: {path}:1: unknown key \"brokerNmae\"; did you mean \"brokerName\"?\n\
             error: --listen-port: listenPort = -5: must be a whole number from 3 to 65534\n\
             error: {path}:2: flushDiskType = SYNC: must be SYNC_FLUSH or ASYNC_FLUSH\n"
        )
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let output = quorumq(&["broker", "-c", "/nowhere/broker.conf"]);
    assert_eq!(output.status.code(), Some(2));
    let said = "error: cannot read /nowhere/broker.conf: No such file or directory (os error 2); \
                give the path of a readable file with -c\n";
    assert_eq!(text(&output.stderr), said);
}

#[test]
fn a_broker_conf_with_an_unknown_key_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir, "brokerNmae=a\n");
    let store = dir.path().join("store");
    let output = quorumq(&["broker", "-c", path.to_str().unwrap(), "--store-path-root-dir", store.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(!store.exists(), "nothing is touched before the configuration is good");
}

#[test]
fn nameserver_settings_come_from_file_and_flags() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir, "listenPort=19876\n");
    let output = quorumq(&["nameserver", "-c", path.to_str().unwrap(), "--bind-address", "127.0.0.1", "-p"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let expected = "# from the file\nlistenPort=19876\n# from flags\nbindAddress=127.0.0.1\n";
    assert!(text(&output.stdout).starts_with(expected), "{}", text(&output.stdout));
    assert!(text(&output.stdout).contains("\nkvConfigPath=/home/mq/namesrv/kvConfig.json\n"));
}
