//! `labrys-store ctl` as a process, against three nodes in this one.

#![allow(clippy::disallowed_methods)] // Tests own clocks and start programs.

mod common;

use std::process::{Command, Output, Stdio};

use common::Cluster;
use labrys_store::raft::{Defect, Defects};
use labrys_store::server::ServerOptions;
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

    /// Each node has applied what was written before: a read by a follower waits for that.
    fn wait_for_each_node(&self) {
        for endpoint in self.endpoints.split(',') {
            let node = Ctl { endpoints: endpoint.to_owned() };
            node.answer(&["get", "any", "--read-mode", "follower"]);
        }
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
    with_adjusted(count, |_| {}, test);
}

/// The same, with other than the usual options.
fn with_adjusted(count: u64, adjust: impl Fn(&mut ServerOptions) + 'static, test: impl FnOnce(&Ctl)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let cluster = runtime.block_on(async {
        let cluster = Cluster::start_adjusted(count, adjust);
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
        let latest = ctl.answer(&["get", "n"])["revision"].as_u64().unwrap();
        let first = latest - 1;
        assert_eq!(ctl.outcome(&["compact", "--keep", "1"]), json!({ "compacted": { "first": first } }));
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

/// What each node answered, in the order of their ids.
fn of_each(answer: &Value, count: usize) -> Vec<Value> {
    let nodes = answer["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), count, "{answer}");
    nodes.iter().map(|node| node["answer"].clone()).collect()
}

#[test]
fn status_tells_of_each_node_whichever_is_asked() {
    with_cluster(3, |ctl| {
        ctl.outcome(&["put", "x", "1"]);
        let one = Ctl { endpoints: ctl.endpoints.split(',').next().unwrap().to_owned() };
        let only = one.answer(&["--only", "status", "--json"]);
        assert_eq!(only["nodes"].as_array().unwrap().len(), 1, "{only}");
        let answer = one.answer(&["status", "--json"]);
        let nodes = of_each(&answer, 3);
        let ids: Vec<&Value> = nodes.iter().map(|node| &node["node"]).collect();
        assert_eq!(ids, [1, 2, 3]);
        for node in &nodes {
            assert_eq!(
                (&node["leader"], &node["term"]),
                (&nodes[0]["leader"], &nodes[0]["term"]),
                "{answer}"
            );
            assert!(node["digest_at_index"].is_u64(), "at the index that all have applied: {node}");
            assert_eq!(node["digest_at_index"], nodes[0]["digest_at_index"], "{answer}");
            let storage = &node["storage"];
            assert_eq!(
                (&storage["snapshot_index"], &storage["first_index"]),
                (&json!(0), &json!(1)),
                "{storage}"
            );
            assert!(storage["log_bytes"].as_u64() > Some(0), "{storage}");
            assert_eq!(storage["cluster"], nodes[0]["storage"]["cluster"]);
            let modes = json!(["log", "read-index", "follower", "lease", "local"]);
            assert_eq!(storage["read_modes"], modes);
        }
    });
}

#[test]
fn a_node_that_is_down_is_named_by_status_and_the_others_are_shown() {
    with_cluster(1, |ctl| {
        assert!(ctl.answer(&["members", "add", "2", "127.0.0.1:1"])["index"].is_u64());
        let output = ctl.run(&["status", "--json"]);
        let (shown, told) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains("127.0.0.1:1") && told.trim_end().lines().count() == 1, "{told}");
        let nodes = serde_json::from_str::<Value>(&shown).unwrap()["nodes"].clone();
        assert_eq!(
            (&nodes[0]["answer"]["node"], nodes[1]["error"].is_string()),
            (&json!(1), true),
            "{nodes}"
        );
    });
}

#[test]
fn a_snapshot_is_taken_by_each_node_and_contains_what_was_applied() {
    with_cluster(3, |ctl| {
        ctl.outcome(&["put", "x", "1"]);
        ctl.wait_for_each_node();
        let applied = |answer: &Value| -> Vec<u64> {
            of_each(answer, 3).iter().map(|node| node["applied_index"].as_u64().unwrap()).collect()
        };
        let before = applied(&ctl.answer(&["status"]));
        let taken = of_each(&ctl.answer(&["snapshot"]), 3);
        let after = of_each(&ctl.answer(&["status"]), 3);
        for ((taken, before), after) in taken.iter().zip(before).zip(after) {
            assert!(taken["index"].as_u64() >= Some(before), "{taken}, applied was {before}");
            assert!(taken["length_bytes"].as_u64() > Some(0), "{taken}");
            assert_eq!(after["storage"]["snapshot_index"], taken["index"]);
            assert_eq!(after["storage"]["snapshot_bytes"], taken["length_bytes"]);
        }
        // Nothing has changed since: the one that is there does.
        assert_eq!(of_each(&ctl.answer(&["snapshot"]), 3), taken);
    });
}

#[test]
fn defrag_frees_what_a_snapshot_stands_for_and_nothing_is_lost() {
    let adjust = |options: &mut ServerOptions| options.kept_entries = 0;
    with_adjusted(1, adjust, |ctl| {
        let value = "v".repeat(50_000);
        for key in ["a", "b", "c", "d"] {
            ctl.outcome(&["put", key, &value]);
        }
        let freed = of_each(&ctl.answer(&["defrag"]), 1).remove(0);
        let number = |name: &str| freed[name].as_u64().unwrap();
        assert!(number("freed_bytes") > 200_000, "{freed}");
        assert_eq!(number("log_bytes_before") - number("log_bytes_after"), number("freed_bytes"));
        let status = of_each(&ctl.answer(&["status"]), 1).remove(0);
        assert_eq!(status["storage"]["snapshot_index"], freed["snapshot_index"]);
        assert_eq!(ctl.answer(&["get", "c"])["record"]["value"], json!(value));
        assert_eq!(ctl.outcome(&["put", "e", "1"]), "put");
    });
}

#[test]
fn hashes_at_a_revision_are_equal_on_all_nodes_and_tell_revisions_apart() {
    with_cluster(3, |ctl| {
        ctl.outcome(&["put", "x", "1"]);
        ctl.outcome(&["put", "y", "2"]);
        ctl.wait_for_each_node();
        let hashes = |revision: &str| {
            let nodes = of_each(&ctl.answer(&["hash-at-revision", revision]), 3);
            assert!(nodes.iter().all(|node| *node == nodes[0]), "{nodes:?}");
            nodes[0]["hash"].clone()
        };
        let (first, second) = (hashes("1"), hashes("2"));
        assert_eq!((&first["key_count"], &second["key_count"]), (&json!(1), &json!(2)));
        assert_ne!(first["hash"], second["hash"]);
        let future = ctl.run(&["hash-at-revision", "9"]);
        let told = String::from_utf8(future.stderr).unwrap();
        assert_eq!(future.status.code(), Some(1), "{told}");
        assert!(told.contains("has got to revision 2 only"), "{told}");
    });
}

#[test]
fn nodes_that_have_diverged_are_found_by_hash_and_by_status_with_exit_code_13() {
    let adjust = |options: &mut ServerOptions| {
        options.defects = Defects::NONE.with(Defect::NondeterministicApply);
    };
    with_adjusted(3, adjust, |ctl| {
        ctl.outcome(&["put", "x", "1"]);
        ctl.wait_for_each_node();
        for arguments in [&["hash-at-revision", "1"][..], &["status"]] {
            let output = ctl.run(arguments);
            let told = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(13), "{arguments:?}: {told}");
            assert!(told.contains("have diverged"), "{told}");
            assert!(!output.stdout.is_empty(), "what they are is shown");
        }
    });
}

#[test]
fn a_key_is_read_in_every_mode() {
    with_cluster(1, |ctl| {
        ctl.outcome(&["put", "x", "1"]);
        for mode in ["log", "read-index", "follower", "lease", "local"] {
            let read = ctl.answer(&["get", "x", "--read-mode", mode]);
            assert_eq!(read["record"]["value"], "1", "{mode}");
            let read = ctl.answer(&["range", "--read-mode", mode]);
            assert_eq!(read["range"]["items"][0]["key"], "x", "{mode}");
        }
        let (code, text) = ctl.failure(&["get", "x", "--read-mode", "guess"]);
        assert!(code == 2 && text.contains("read-index"), "{code}: {text}");
    });
}

#[test]
fn failpoints_are_set_listed_and_cleared_and_what_there_is_not_is_refused_with_what_there_is() {
    with_adjusted(
        1,
        |options| options.failpoints = true,
        |ctl| {
            let points = |verb: &[&str]| -> Vec<Value> {
                let answer = ctl.answer(&[&["--only", "failpoint"], verb].concat());
                answer["nodes"][0]["answer"]["failpoints"].as_array().unwrap().clone()
            };
            let of = |points: &[Value], name: &str| -> Value {
                points.iter().find(|point| point["name"] == name).unwrap().clone()
            };
            let set =
                of(&points(&["set", "before-log-remove", "pause 3000", "--times", "2"]), "before-log-remove");
            let expected = json!({ "name": "before-log-remove", "action": "pause 3000", "times_left": 2, "passes": 0, "struck": 0 });
            assert_eq!(set, expected);
            points(&["set", "before-snapshot-rename", "error"]);
            let listed = points(&["list"]);
            assert_eq!(of(&listed, "before-log-remove"), expected);
            assert_eq!(of(&listed, "before-snapshot-rename")["action"], "error");
            assert!(of(&listed, "before-step")["passes"].as_u64().unwrap() > 0);
            let left = points(&["clear", "before-log-remove"]);
            assert_eq!(of(&left, "before-log-remove")["action"], Value::Null);
            assert_eq!(of(&left, "before-snapshot-rename")["action"], "error");
            assert!(points(&["clear"]).iter().all(|point| point["action"].is_null()));

            for (verb, named) in [
                (["set", "before-lunch", "exit"], "before-wal-sync"),
                (["set", "before-step", "sleep 3"], "`pause MS`"),
                (["set", "before-step", "pause 0"], "1 to 600000"),
            ] {
                let (code, text) = ctl.failure(&[&["failpoint"], &verb[..]].concat());
                assert_eq!(code, 2, "{text}");
                assert!(text.contains(named), "{text}");
            }
        },
    );
}

#[test]
fn a_node_that_takes_no_orders_for_failpoints_says_how_it_would() {
    with_cluster(1, |ctl| {
        let output = ctl.run(&["failpoint", "list"]);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("--failpoints") && text.contains("LABRYS_FAILPOINTS=1"), "{text}");
    });
}
