use super::checks::LARGEST_SEED;
use labrys_nemesis::FaultKind;

use super::*;

fn options(text: &str) -> TestOptions {
    TestOptions::parse(text, Path::new("campaign.toml")).unwrap_or_else(|error| panic!("{error}"))
}

fn problem(text: &str) -> String {
    options(text).resolve(Seed(1)).expect_err(text).to_string()
}

#[test]
fn flags_win_over_the_file_and_the_file_over_the_defaults() {
    let flags = TestOptions { nodes: Some(3), ..TestOptions::default() };
    let config = flags.or(options("nodes = 7\nrate = 5.0")).resolve(Seed(9)).expect("valid");
    assert_eq!((config.nodes, config.rate, config.key_count), (3, 5.0, 5));
    assert_eq!(config.seed, Seed(9));
}

#[test]
fn flags_of_the_store_are_checked_before_anything_is_started() {
    let good = options("store-option = [\"snapshot-entries=50\", \"segment-bytes=4096\"]");
    assert_eq!(good.resolve(Seed(1)).expect("valid").store_option.len(), 2);
    for (option, expected) in [
        ("snapshot-entries", "is not NAME=VALUE"),
        ("snapshot-entries=many", "invalid value 'many'"),
        ("snapshots=1", "unexpected argument '--snapshots'"),
        ("data-dir=/", "is set by labrys test itself"),
    ] {
        let problem = problem(&format!("store-option = [\"{option}\"]"));
        assert!(problem.starts_with("--store-option: ") && problem.contains(expected), "{problem}");
    }
}

#[test]
fn what_a_run_records_as_its_configuration_is_a_campaign_that_resolves_to_the_same() {
    let text = "nodes = 3\nconcurrency = \"2n\"\nnemesis = [\"kill-all\"]\ntime-limit = \"1m 30s\"";
    let config = options(text).resolve(Seed(LARGEST_SEED)).expect("valid");
    let recorded = config.to_toml();
    let again = options(&recorded).resolve(Seed(0)).expect("valid");
    assert_eq!(again, config, "{recorded}");
}

#[cfg(unix)]
#[test]
fn a_folder_that_no_toml_can_name_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let out = PathBuf::from(std::ffi::OsStr::from_bytes(b"runs-\xff"));
    let options = TestOptions { out: Some(out), ..TestOptions::default() };
    let problem = options.resolve(Seed(1)).expect_err("not UTF-8").to_string();
    assert!(problem.starts_with("--out: "), "{problem}");
}

#[test]
fn a_concurrency_is_a_number_or_a_multiple_of_the_nodes() {
    assert_eq!("10".parse::<Concurrency>().expect("a number").threads(5), 10);
    assert_eq!("2n".parse::<Concurrency>().expect("per node").threads(5), 10);
    assert!("n".parse::<Concurrency>().is_err());
    assert!("-1".parse::<Concurrency>().is_err());
}

#[test]
fn commands_are_lines_or_tables_and_are_there_where_they_are_asked_for() {
    let text = "nemesis = [\"application-command\"]\n[commands]\nflush = [\"sh\", \"-c\", \"echo {node}\"]\n\
                slow = { run = [\"a\"], undo = [\"b\", \"{address}\"] }\nsnapshot = [\"s\"]";
    let config = options(text).resolve(Seed(1)).expect("valid");
    assert_eq!(config.commands.own_names(), ["flush", "slow"]);
    let on_n2 = config.commands.of_node("n2", "10.0.0.2");
    assert_eq!(on_n2["flush"].run.0[2], "echo n2");
    assert_eq!(on_n2["slow"].undo.as_ref().expect("an undo").0[1], "10.0.0.2");
    assert_eq!(options(&config.to_toml()).resolve(Seed(0)).expect("valid"), config);

    let given = read_command("flush=echo {node}").expect("a command");
    assert_eq!(given.0["flush"].run.0, ["sh", "-c", "echo {node}"]);
}

#[test]
fn all_faults_are_those_that_the_testbed_has() {
    let count =
        |text: &str| options(text).resolve(Seed(1)).expect("valid").fault_kinds().expect("known").len();
    assert_eq!(count("nemesis = [\"all\"]"), 10);
    assert_eq!(count("nemesis = [\"all\"]\ntestbed = \"sim\""), 7);
}

#[test]
fn every_senseless_value_is_refused_with_the_option_that_it_belongs_to() {
    for (text, expected) in [
        ("nodes = 0", "--nodes: 0 is not between 1 and 99"),
        ("concurrency = 0", "--concurrency"),
        ("rate = -1.0", "--rate: -1 is not a rate"),
        ("rate = nan", "--rate"),
        ("key-count = 0", "--key-count"),
        ("key-count = 4\nconcurrency = 3", "--key-count: 4 keys"),
        ("ops-per-key = 0", "--ops-per-key"),
        ("time-limit = \"0s\"", "--time-limit: must be at least 1ms"),
        ("name = \"a/b\"", "--name"),
        ("db = \"oracle\"", "--db: there is no `oracle`"),
        ("workload = \"banana\"", "--workload"),
        ("nemesis = [\"earthquake\"]", "--nemesis"),
        (
            "nemesis = [\"disk-read-errors\"]\ntestbed = \"sim\"",
            "--nemesis: `disk-read-errors` is a fault that the simulator does not have",
        ),
        (
            "testbed = \"sim\"\nfaults = [{ at-ms = 1, lasts-ms = 1, kind = \"disk\", target = \"one\", trouble = \"reads-fail\" }]",
            "--faults: the simulator has no `disk` fault \"reads fail\"",
        ),
        (
            "faults = [{ at-ms = 1, lasts-ms = 1, kind = \"disk\", target = \"one\", trouble = { slow-sync-ms = 3001 } }]",
            "--faults: `slow-sync-ms` is at most 3000",
        ),
        ("nemesis = [\"kill=often\"]", "--nemesis: `kill=often`: "),
        ("nemesis = [\"quake=3s\"]", "--nemesis: unknown fault kind `quake`"),
        ("require-bite = [\"disk\"]", "--require-bite: `disk` is not among the faults"),
        (
            "nemesis = [\"application\"]\ntestbed = \"sim\"",
            "--nemesis: `application` is a fault that the simulator does not have",
        ),
        (
            "nemesis = [\"application-command\"]",
            "--commands: there is no command that application-command could run",
        ),
        ("commands = { any-command = [\"x\"] }", "--commands: `any-command` means any"),
        ("commands = { x = [] }", "--commands: `x` has a command line without a program"),
        (
            "faults = [{ at-ms = 1, lasts-ms = 1, kind = \"application\", target = \"all\", order = { command = \"x\" } }]",
            "--faults: there is no command `x`",
        ),
        (
            "nemesis = [\"application-failpoint\"]\ntestbed = \"sim\"",
            "--nemesis: `application-failpoint` is a fault that the simulator does not have",
        ),
        (
            "faults = [{ at-ms = 1, lasts-ms = 1, kind = \"application\", target = \"all\", order = { failpoint = { at = \"lunch\", action = \"exit\" } } }]",
            "--faults: at: there is no failpoint `lunch`; there are: before-intake, ",
        ),
        (
            "faults = [{ at-ms = 1, lasts-ms = 1, kind = \"application\", target = \"all\", order = { failpoint = { at = \"before-step\", action = \"sleep\" } } }]",
            "--faults: action: `sleep` is no action of a failpoint",
        ),
        ("testbed = \"moon\"", "--testbed: there is no `moon`; known: netns, ssh, sim"),
        ("defect = [\"bad-luck\"]", "--defect"),
    ] {
        let problem = problem(text);
        assert!(problem.contains(expected), "{text}: {problem}");
    }
}

#[test]
fn explicit_faults_that_cannot_be_carried_out_are_refused_with_their_field() {
    for (fault, expected) in [
        ("kind = \"kill\", target = \"leeder\"", "--faults: there is no node `leeder`"),
        ("kind = \"kill\", target = \"#6\"", "--faults: there is no node #6 in a cluster of 5"),
        (
            "kind = \"clock\", target = \"all\", change = { drift-percent = 10000 }",
            "--faults: fault 1 (clock at 5 ms): drift-percent: 10000 is not between -100 and 9900",
        ),
        (
            "kind = \"network\", target = \"all\", trouble = { }",
            "--faults: fault 1 (network at 5 ms): trouble: there is none",
        ),
    ] {
        let problem = problem(&format!("faults = [{{ at-ms = 5, lasts-ms = 10, {fault} }}]"));
        assert!(problem.contains(expected), "{fault}: {problem}");
    }
}

const TWO_MACHINES: &str = "testbed = \"ssh\"\nhosts = { hosts = [{ name = \"a\", address = \"10.0.0.1\" }, { name = \"b\", address = \"10.0.0.2\" }] }\n";

#[test]
fn the_library_moves_clocks_of_programs_on_this_machine_only() {
    assert_eq!(options("").resolve(Seed(1)).unwrap().clock_by, ClockBy::Orders);
    let by_library = options("clock-by = \"libfaketime\"").resolve(Seed(1)).unwrap();
    assert_eq!(by_library.clock_by, ClockBy::Libfaketime);
    assert!(by_library.to_toml().contains("clock-by = \"libfaketime\"\n"));
    assert!(
        problem("clock-by = \"libfaketime\"\ntestbed = \"sim\"")
            .contains("--clock-by: `libfaketime` is for programs on this machine")
    );
    assert!(problem(&format!("clock-by = \"libfaketime\"\n{TWO_MACHINES}")).contains("real-clock"));
    let refused = |text: &str| problem(&format!("clock-by = \"libfaketime\"\n{text}"));
    for nemesis in ["resource", "resource-descriptors", "resource-memory"] {
        let problem = refused(&format!("nemesis = [\"{nemesis}\"]"));
        assert!(problem.contains("opens a file at each look at its clock"), "{problem}");
    }
    let listed = "kind = \"resource\", target = \"one\", trouble = \"descriptors\"";
    assert!(
        refused(&format!("faults = [{{ at-ms = 5, lasts-ms = 10, {listed} }}]")).contains("opens a file")
    );
    let fast = "kind = \"clock\", target = \"one\", change = { drift-percent = 1001 }";
    assert!(refused(&format!("faults = [{{ at-ms = 5, lasts-ms = 10, {fast} }}]")).contains("at most 1000"));
    let all = options("clock-by = \"libfaketime\"\nnemesis = [\"all\"]").resolve(Seed(1)).expect("valid");
    let names: Vec<_> = all.fault_kinds().expect("known").into_iter().map(FaultKind::name).collect();
    assert!(names.contains(&"resource-processor") && !names.contains(&"resource"), "{names:?}");
}

#[test]
fn results_are_not_left_where_they_end_with_the_run() {
    assert!(problem("out = \"/dev/shm/runs\"").contains("--out: a run has an empty /dev/shm of its own"));
    assert!(options("out = \"/dev/shm/runs\"\ntestbed = \"sim\"").resolve(Seed(1)).is_ok());
}

#[test]
fn a_fault_of_any_family_may_be_given_explicitly_and_the_simulator_refuses_what_it_has_not() {
    for (fault, is_simulated) in [
        ("kind = \"kill\", target = \"one\"", true),
        ("kind = \"membership\", target = \"one\", change = \"remove\"", false),
        ("kind = \"resource\", target = \"one\", trouble = \"descriptors\"", false),
        ("kind = \"restart\", target = \"one\", data = \"old\"", false),
    ] {
        let text = format!("faults = [{{ at-ms = 5, lasts-ms = 10, {fault} }}]");
        options(&text).resolve(Seed(1)).unwrap_or_else(|error| panic!("{fault}: {error}"));
        let simulated = options(&format!("testbed = \"sim\"\n{text}")).resolve(Seed(1));
        assert_eq!(simulated.is_ok(), is_simulated, "{fault}");
    }
}

#[test]
fn machines_are_the_nodes_and_a_run_records_them() {
    let config = options(TWO_MACHINES).resolve(Seed(1)).expect("valid");
    assert_eq!((config.nodes, config.node_names()), (2, vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(options(&config.to_toml()).resolve(Seed(0)).expect("valid"), config);
    for (more, expected) in [
        ("nodes = 3", "--nodes: 3 nodes need as many machines, and --hosts has 2"),
        ("nemesis = [\"partition-client-links\"]", "cannot be on the testbed ssh"),
        ("nemesis = [\"membership\"]", "cannot be on the testbed ssh"),
    ] {
        let problem = problem(&format!("{more}\n{TWO_MACHINES}"));
        assert!(problem.contains(expected), "{more}: {problem}");
    }
    assert!(problem("testbed = \"ssh\"").contains("add --hosts hosts.toml"));
    assert!(problem(&TWO_MACHINES.replace("\"ssh\"", "\"netns\"")).contains("are for --testbed ssh"));
}

#[test]
fn the_clocks_of_machines_are_moved_only_if_asked_for_and_only_as_machines_can() {
    let real = TWO_MACHINES.replace("hosts = { ", "hosts = { real-clock = true, ");
    let config = options(&format!("nemesis = [\"clock\", \"clock-jump\"]\n{real}")).resolve(Seed(1));
    let config = config.expect("valid");
    assert!(
        config.hosts.real_clock && !options(TWO_MACHINES).resolve(Seed(1)).expect("valid").hosts.real_clock
    );
    assert_eq!(options(&config.to_toml()).resolve(Seed(0)).expect("valid"), config);
    let fault = |change: &str| {
        format!(
            "faults = [{{ at-ms = 5, lasts-ms = 10, kind = \"clock\", target = \"one\", change = {change} }}]"
        )
    };
    for (more, expected) in [
        (
            "nemesis = [\"clock-skew\"]".to_owned(),
            "--nemesis: `clock-skew` cannot be done to the clocks of machines",
        ),
        ("nemesis = [\"clock-strobe\"]".to_owned(), "--nemesis: `clock-strobe` cannot be done to the clocks"),
        (fault("\"freeze\""), "--faults: a machine's own clock cannot stand still"),
        (
            fault("{ drift-percent = 11 }"),
            "--faults: a machine's own clock can run 10 percent fast or slow at most",
        ),
    ] {
        let problem = problem(&format!("{more}\n{real}"));
        assert!(problem.contains(expected), "{more}: {problem}");
        options(&format!("{more}\n{TWO_MACHINES}")).resolve(Seed(1)).expect("the store's own clock can");
    }
    options(&format!("{}\n{real}", fault("{ drift-percent = -10 }"))).resolve(Seed(1)).expect("valid");
}

#[test]
fn a_mistake_in_a_file_is_named_with_file_and_line() {
    let error = TestOptions::parse("nodes = 3\nnemisis = []", Path::new("c.toml"))
        .expect_err("a mistake")
        .to_string();
    assert!(error.contains("c.toml") && error.contains("line 2") && error.contains("nemisis"), "{error}");
}

#[test]
fn a_real_file_system_loses_power_and_is_asked_for_nothing_else() {
    let plain = "disk = \"ext4\"\nnemesis = [\"power-cut-plain=3s\", \"kill\"]";
    assert_eq!(options(plain).resolve(Seed(1)).expect("valid").disk, DiskKind::Ext4);
    let all = options("disk = \"ext4\"\nnemesis = [\"all\"]").resolve(Seed(1)).expect("valid");
    let names: Vec<_> = all.fault_kinds().expect("known").into_iter().map(FaultKind::name).collect();
    assert!(
        names.contains(&"power-cut-plain") && !names.iter().any(|name| ["power-cut", "disk"].contains(name))
    );
    let cut = "{ at-ms = 1, lasts-ms = 1, kind = \"power-cut\", target = \"all\", loss = \"everything\" }";
    let listed = options(&format!("disk = \"ext4\"\nnemesis = [\"disk\"]\nfaults = [{cut}]"));
    assert!(listed.resolve(Seed(1)).is_ok(), "what is listed takes the place of what is planned");

    let slow =
        "{ at-ms = 1, lasts-ms = 1, kind = \"disk\", target = \"all\", trouble = { slow-sync-ms = 3 } }";
    for (text, expected) in [
        ("nemesis = [\"power-cut-torn\"]".to_owned(), "`ext4` cannot do `power-cut-torn`;"),
        ("nemesis = [\"partition\", \"disk-full=2s\"]".to_owned(), "`ext4` cannot do `disk-full`;"),
        (format!("faults = [{cut}, {slow}]"), "`ext4` cannot do fault 2 of the list;"),
        (format!("faults = [{}]", cut.replace("everything", "torn")), "fault 1 of the list;"),
        ("testbed = \"sim\"".to_owned(), "the simulator has disks of its own. Leave --disk out"),
        (TWO_MACHINES.to_owned(), "`ext4` is for --testbed netns alone"),
    ] {
        let problem = problem(&format!("disk = \"ext4\"\n{text}"));
        assert!(problem.starts_with("--disk: ") && problem.contains(expected), "{problem}");
    }
    let unknown = TestOptions::parse("disk = \"ext3\"", Path::new("campaign.toml")).expect_err("unknown");
    assert!(unknown.to_string().contains("`fuse` or `ext4`"), "{unknown}");
}
