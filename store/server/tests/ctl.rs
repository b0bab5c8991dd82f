//! `labrys-store ctl` as a process, against three nodes in this one.

#![allow(clippy::disallowed_methods)] // Tests own clocks and start programs.

mod common;

use std::process::{Command, Output, Stdio};

use common::Cluster;
use serde_json::{Value, json};

struct Ctl {
    endpoints: String,
}

impl Ctl {
    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_labrys-store"));
        command.args(["ctl", "--timeout-ms", "30000", "--endpoints", &self.endpoints]).args(arguments);
        command.stdin(Stdio::null()).output().unwrap()
    }

    /// The lines of a verb that succeeds.
    fn lines(&self, arguments: &[&str]) -> Vec<Value> {
        let output = self.run(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The answer of a verb that succeeds.
    fn answer(&self, arguments: &[&str]) -> Value {
        let mut lines = self.lines(arguments);
        assert_eq!(lines.len(), 1, "{arguments:?}: {lines:?}");
        lines.remove(0)
    }

    /// What a write came to.
    fn outcome(&self, arguments: &[&str]) -> Value {
        self.answer(arguments)["outcome"].clone()
    }

    /// The exit code and the one line of a verb that fails.
    fn failure(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.stdout.is_empty() && text.trim_end().lines().count() == 1, "{arguments:?}: {text}");
        (output.status.code().unwrap(), text)
    }
}

/// The cluster serves on the runtime's threads while this one waits for processes.
fn with_cluster(count: u64, test: impl FnOnce(&Ctl)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let cluster = runtime.block_on(async {
        let cluster = Cluster::start(count);
        cluster.leader().await;
        cluster
    });
    test(&Ctl { endpoints: cluster.addresses().join(",") });
    runtime.block_on(async { drop(cluster) });
}

#[test]
fn each_verb_of_the_data_model_does_what_it_says() {
    with_cluster(3, |ctl| {
        assert_eq!(ctl.answer(&["get", "x"])["record"], Value::Null);
        assert_eq!(ctl.outcome(&["put", "x", "one"]), "put");
        let record = ctl.answer(&["get", "x"])["record"].clone();
        assert_eq!((&record["value"], &record["version"]), (&json!("one"), &json!(1)));
        assert_eq!(ctl.outcome(&["cas", "x", "two", "--expected", "one"]), "swapped");
        assert_eq!(ctl.outcome(&["cas", "x", "new"]), json!({ "not-swapped": { "actual": "two" } }));
        assert_eq!(ctl.answer(&["get", "x", "--revision", "1"])["record"]["value"], "one");
        assert_eq!(ctl.outcome(&["append", "x", "!"]), json!({ "appended": { "length_bytes": 4 } }));
        assert_eq!(ctl.outcome(&["increment", "n"]), json!({ "incremented": { "value": 1 } }));
        assert_eq!(ctl.outcome(&["increment", "n", "-3"]), json!({ "incremented": { "value": -2 } }));
        assert_eq!(ctl.outcome(&["increment", "x"]), json!({ "problem": "not-a-number" }));

        let txn = [
            "txn",
            "--if",
            "value x = two!",
            "--if",
            "version n > 1",
            "--then",
            "put y a b",
            "--then",
            "get n",
            "--else",
            "get x",
        ];
        let done = ctl.outcome(&txn);
        assert_eq!((&done["held"], &done["results"][0]), (&json!(true), &json!("put")));
        assert_eq!(done["results"][1]["record"]["value"], "-2");
        assert_eq!(ctl.outcome(&["delete", "x"]), json!({ "deleted": { "existed": true } }));
        assert_eq!(ctl.outcome(&txn)["held"], false);

        let keys = |arguments: &[&str]| -> Vec<String> {
            let range = ctl.answer(arguments)["range"].clone();
            let items = range["items"].as_array().unwrap().clone();
            items.iter().map(|item| item["key"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(keys(&["range"]), ["n", "y"]);
        assert_eq!(keys(&["range", "--prefix", "n"]), ["n"]);
        assert_eq!(keys(&["range", "--start", "n", "--end", "z", "--limit", "1"]), ["n"]);
        assert_eq!(keys(&["range", "--revision", "2"]), ["x"]);

        let seen = ctl.lines(&["watch", "--from", "1", "--prefix", "x", "--count", "3"]);
        let revisions: Vec<u64> = seen.iter().filter_map(|line| line["revision"].as_u64()).collect();
        assert_eq!(revisions, [1, 2, 3], "{seen:?}");
        assert_eq!(ctl.outcome(&["compact", "4"]), json!({ "compacted": { "first": 4 } }));
        assert_eq!(
            ctl.answer(&["get", "x", "--revision", "1"])["problem"],
            json!({ "compacted": { "first": 4 } })
        );
        let (code, text) = ctl.failure(&["watch", "--from", "1"]);
        assert!(code == 1 && text.contains("the revisions up to 4 are compacted"), "{code}: {text}");
    });
}

#[test]
fn leases_and_locks_are_granted_shown_and_given_back() {
    with_cluster(1, |ctl| {
        assert_eq!(ctl.outcome(&["lease", "grant", "3600000"]), json!({ "lease": 1 }));
        assert_eq!(ctl.outcome(&["put", "x", "1", "--lease", "1"]), "put");
        assert_eq!(
            ctl.outcome(&["lock", "acquire", "l", "--lease", "1"]),
            json!({ "acquired": { "token": 1 } })
        );
        assert_eq!(ctl.outcome(&["lease", "grant", "3600000"]), json!({ "lease": 2 }));
        let busy = ctl.outcome(&["lock", "acquire", "l", "--lease", "2"]);
        assert_eq!(busy, json!({ "busy": { "lease": 1, "token": 1 } }));
        assert_eq!(ctl.answer(&["lock", "show", "l"])["holder"], json!({ "lease": 1, "token": 1 }));
        let lease = ctl.answer(&["lease", "show", "1"])["lease"].clone();
        assert_eq!((&lease["keys"], &lease["locks"]), (&json!(1), &json!(1)));
        assert_eq!(ctl.outcome(&["lock", "release", "l", "--token", "1"]), "released");
        assert_eq!(ctl.outcome(&["lock", "release", "l", "--token", "1"]), "not-held");
        assert_eq!(ctl.outcome(&["lease", "renew", "1"]), json!({ "renewed": { "ttl_ms": 3_600_000 } }));
        assert_eq!(ctl.outcome(&["lease", "revoke", "1"]), "revoked");
        assert_eq!(ctl.outcome(&["lease", "revoke", "1"]), "lease-unknown");
        assert_eq!(ctl.answer(&["get", "x"])["record"], Value::Null);
    });
}

#[test]
fn what_fails_is_one_line_and_its_exit_code_says_what_is_known() {
    with_cluster(1, |ctl| {
        let long = "k".repeat(5000);
        let (code, text) = ctl.failure(&["put", &long, "1"]);
        assert!(
            code == 11 && text.contains("too-large") && text.contains("did not happen"),
            "{code}: {text}"
        );
        let (code, text) = ctl.failure(&["txn", "--then", "set x 1"]);
        assert!(code == 2 && text.contains("`set x 1` is not a step"), "{code}: {text}");
        let (code, text) = ctl.failure(&["put", "x"]);
        assert!(code == 2 && text.contains("<VALUE>"), "{code}: {text}");
    });
    let nobody = Ctl { endpoints: "127.0.0.1:1".to_owned() };
    let (code, text) = nobody.failure(&["--timeout-ms", "100", "get", "x"]);
    assert!(code == 2 && text.contains("--timeout-ms"), "given twice: {code}: {text}");
    let nowhere = Ctl { endpoints: "nowhere".to_owned() };
    let (code, text) = nowhere.failure(&["get", "x"]);
    assert!(code == 2 && text.contains("host:port"), "{code}: {text}");
}
