//! Histories of Jepsen's in EDN: every framing, every liberty that they take, and the place of every mistake.

use labrys_history::{
    EventKind, Format, Process, ReadError, ReadOptions, ReadReport, Value, read_bytes, read_value,
};

fn read_as(text: &str, options: ReadOptions) -> Result<ReadReport, ReadError> {
    read_bytes(text.as_bytes(), "h.edn", options)
}

fn read(text: &str) -> ReadReport {
    read_as(text, ReadOptions::default()).unwrap_or_else(|error| panic!("{error}"))
}

fn error_of(text: &str) -> String {
    read_as(text, ReadOptions::default()).expect_err(text).to_string()
}

#[test]
fn a_vector_a_list_and_a_stream_are_the_same_history() {
    let stream =
        "{:process 0 :type :invoke :f :read :value nil}\n{:process 0, :type :ok, :f :read, :value 3}";
    let expected = read(stream).history;
    assert_eq!(expected.events().len(), 2);
    let tagged = stream.replace('{', "#jepsen.history.Op{");
    for text in [
        format!("[{stream}]"),
        format!("({stream})"),
        format!("; comment\n#_{{:not :this}}[\n{stream} ; comment\n #_ nil ]\n;end"),
        format!("#_ [] {stream}"),
        format!("[{}]", tagged),
        tagged,
        format!("\u{feff}{stream}"),
        stream.replace("}\n{", "},{"),
        stream.replace('\n', "\r\n"),
    ] {
        let report = read(&text);
        assert_eq!((report.format, &report.history), (Format::Edn, &expected), "{text}");
        assert!(report.warnings.is_empty(), "{:?}", report.warnings);
    }
}

#[test]
fn fields_become_those_of_our_events() {
    let report = read(
        "{:type :info, :f :kill, :process :nemesis, :time 12, :index 4, :value {\"n1\" :killed}, :error [:x 1], :node \"n1\"}
         {:type :invoke, :f append, :process 3, :key \"0\", :value \"x\", :time 12, :index 9, :jepsen.x/y nil}",
    );
    let [first, second] = report.history.events() else { panic!("two events") };
    assert_eq!((first.index, first.time_ns, first.kind), (4, 12, EventKind::Info));
    assert_eq!((&first.process, &*first.f), (&Process::nemesis(), "kill"));
    assert_eq!(first.value, read_value("{\"n1\" :killed}").unwrap());
    assert_eq!(first.error(), Some(&read_value("[:x 1]").unwrap()));
    assert_eq!(first.extra(), [("node".into(), Value::string("n1"))]);
    assert_eq!((&second.process, &*second.f), (&Process::Client(3), "append"));
    assert_eq!((&second.key, &second.value), (&Some(Value::string("0")), &Value::string("x")));
    assert_eq!(second.extra(), [("jepsen.x/y".into(), Value::Nil)]);
}

#[test]
fn what_is_left_out_is_filled_in_as_documented() {
    let report = read(
        "[{:type :invoke, :process 4}
          {:type :invoke, :process 1, :time 100, :index 7}
          {:type :invoke, :process 2, :time -1, :index -1}
          {:type :invoke, :process 3, :time 40}
          {:type :invoke, :time nil, :index nil, :process nil, :f nil}]",
    );
    let times: Vec<(u64, u64)> =
        report.history.events().iter().map(|event| (event.index, event.time_ns)).collect();
    assert_eq!(times, [(0, 0), (7, 100), (8, 100), (9, 100), (10, 100)]);
}

#[test]
fn what_is_mended_is_said_once_with_its_first_place() {
    let report = read(
        "{:type :invoke, :process 1, :time 100}
         {:type :invoke, :process 2, :time 40}
         {:type :invoke, :process 3, :time 41}
         {:type :invoke, :time 101}",
    );
    let warnings: Vec<String> = report.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "h.edn:2:10: events earlier than the one before them, which were given its time: 2",
            "h.edn:4:10: events without a process, taken for process 0: 1"
        ]
    );
    assert_eq!(report.history.events()[1].extra(), [("original-time".into(), Value::Int(40))]);
    assert_eq!(report.history.events()[3].process, Process::Client(0));
}

#[test]
fn an_operation_without_a_function_has_an_empty_name() {
    let report =
        read("{:type :invoke, :process 0, :value [[:r :x nil]]}{:type :ok, :process 0, :value [[:r :x 1]]}");
    assert_eq!(report.history.operations()[0].f(), "");
}

#[test]
fn independent_values_are_split_where_the_reader_is_told_so() {
    let text = "{:type :info, :process :nemesis, :f :start, :value [:a :b]}
                {:type :invoke, :process 0, :f :cas, :value [7 [1 2]]}
                {:type :info, :process 0, :f :cas, :value nil, :error :timeout}";
    let options = ReadOptions { independent: true, ..ReadOptions::default() };
    let history = read_as(text, options).unwrap().history;
    assert_eq!(history.events()[0].key, None);
    let operations = history.operations();
    assert_eq!(operations[0].key(), Some(&Value::Int(7)));
    assert_eq!(operations[0].value(), &read_value("[1 2]").unwrap());

    assert_eq!(read(text).history.operations()[0].key(), None);
    let error = read_as(&text.replace("[7 [1 2]]", "[7]"), options).unwrap_err().to_string();
    assert_eq!(error, "h.edn:2:17: expected a value [key value], found [7]");
}

#[test]
fn a_mistake_is_reported_with_its_place_and_what_was_expected() {
    for (text, expected) in [
        ("{:process 0\n :type :begin}", "h.edn:2:8: expected :invoke, :ok, :fail or :info, found `:begin`"),
        ("{:process 0\n :type 7}", "h.edn:2:8: expected :invoke, :ok, :fail or :info, found `7`"),
        ("{:process 0}", "h.edn:1:1: expected a field :type, one of :invoke, :ok, :fail and :info"),
        ("{:process -1, :type :ok}", "h.edn:1:11: expected a process: an integer from 0, a keyword or nil"),
        ("{:process 1.5, :type :ok}", "h.edn:1:11: expected a process: an integer from 0, a keyword or nil"),
        ("{:time 1.5}", "h.edn:1:8: expected a time: an integer of nanoseconds"),
        ("{:index :a}", "h.edn:1:9: expected an index: an integer"),
        ("{ :f :a \"type\" :ok}", "h.edn:1:9: expected a keyword, the name of a field, or `}`, found `\"`"),
        ("{:type :ok :type :ok}", "h.edn:1:12: a field that stands twice; expected each field once"),
        ("{:type :ok :value}", "h.edn:1:18: expected the value of the field :value, found `}`"),
        ("{:type :ok", "h.edn:1:11: expected a value or a closing bracket, found the end of the file"),
        (
            "[{:type :invoke :process 0}",
            "h.edn:1:28: expected an operation or `]`, found the end of the file",
        ),
        ("[] {}", "h.edn:1:4: expected the end of the file after the collection, found `{`"),
        (
            "[7]",
            "h.edn:1:2: expected an operation: a map such as {:process 0, :type :invoke, :f :read}, found `7`",
        ),
        ("{:ü \"\\x\"}", "h.edn:1:6: expected an escape"),
        ("{:type :ok :process 3 :f :read}", "h.edn:1:1: process 3 completes `read` with `ok`"),
        ("{:type :invoke :index 3}{:type :ok :index 3}", "h.edn:1:25: index 3 follows index 3"),
        (
            "{:type :invoke :process 1}{:type :invoke :process 1}",
            "h.edn:1:27: process 1 invokes `` while its ``",
        ),
    ] {
        let error = error_of(text);
        assert!(error.starts_with(expected), "{text}: {error}");
    }
    let error = read_bytes(b"{:type :ok\xff}", "h.edn", ReadOptions::default()).unwrap_err().to_string();
    assert_eq!(error, "h.edn:1:11: expected UTF-8");
}

#[test]
fn the_format_is_found_out_from_the_content() {
    let detect =
        |text: &str, file: &str| read_bytes(text.as_bytes(), file, ReadOptions::default()).map(|r| r.format);
    assert_eq!(detect("", "x").unwrap(), Format::JsonLines);
    assert_eq!(detect(" \n", "x.edn").unwrap(), Format::Edn);
    assert_eq!(detect("{", "x").unwrap(), Format::JsonLines);
    assert_eq!(detect(" { \"ind", "x.edn").unwrap(), Format::JsonLines);
    assert_eq!(detect("; nothing", "x.jsonl").unwrap(), Format::Edn);
    assert_eq!(detect("[]", "x").unwrap(), Format::Edn);
    let nemesis = "{\"index\":0,\"type\":\"info\",\"process\":\"nemesis\"}";
    for text in [format!(" [ {nemesis}]"), nemesis.to_owned(), nemesis.repeat(2)] {
        let report = read_bytes(text.replacen("0,", "-1,", 2).as_bytes(), "x", ReadOptions::default());
        assert_eq!(report.unwrap().format, Format::Json, "{text}");
    }
    let torn = read_bytes(b"[{\"type\":\"ok\",\"f", "x", ReadOptions::default()).unwrap_err().to_string();
    assert_eq!(torn, "x:1:17: expected the rest of a string, found the end of the file");
    assert_eq!(detect("[]", "x.json").unwrap(), Format::Json);
    assert_eq!(detect("{\"index\":0,\"kind\":\"o", "x.json").unwrap(), Format::JsonLines);
    assert_eq!(detect("a\nINFO  jepsen.util - 0\t:invoke\t:read\tnil", "x").unwrap(), Format::JepsenLog);
    for (text, expected) in [
        (
            "[{\"index\":0,\"kind\":\"invoke\"}]",
            "x: this is a JSON array of our events, not JSON Lines: expected one event a line; the formats are FORMATS",
        ),
        ("w 1 2\n", "x: this is no history: it begins with \"w 1 2\\n\"; the formats are FORMATS"),
    ] {
        let names = Format::ALL.iter().map(|format| format.name()).collect::<Vec<_>>().join(", ");
        assert_eq!(detect(text, "x").unwrap_err().to_string(), expected.replace("FORMATS", &names));
    }
    for format in Format::ALL.iter().copied() {
        assert_eq!(Format::named(format.name()), Some(format));
    }
}

#[test]
fn a_file_without_events_is_read_with_a_warning() {
    for text in ["", "[]", "; nothing", "{"] {
        let report = read_bytes(text.as_bytes(), "x", ReadOptions::default()).unwrap();
        assert!(report.history.events().is_empty());
        let last = report.warnings.last().expect("a warning").to_string();
        assert_eq!(last, "x:1:1: there is no event in this file", "{text}");
    }
}

#[test]
fn a_file_that_is_not_there_is_an_error_with_its_name() {
    let error =
        labrys_history::read_history("/no/such/file", ReadOptions::default()).unwrap_err().to_string();
    assert!(error.starts_with("cannot read /no/such/file: "), "{error}");
}
