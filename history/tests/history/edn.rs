//! The notation: what is read as what, and where mistakes are reported.

use labrys_history::{Value, read_value};

fn vector(elements: impl IntoIterator<Item = Value>) -> Value {
    Value::Vector(elements.into_iter().collect())
}

#[test]
fn every_form_is_read() {
    for (text, value) in [
        ("nil", Value::Nil),
        ("true", Value::Bool(true)),
        ("false", Value::Bool(false)),
        ("0", Value::Int(0)),
        ("+7", Value::Int(7)),
        ("-7", Value::Int(-7)),
        ("7N", Value::Int(7)),
        ("-9223372036854775808", Value::Int(i64::MIN)),
        ("9223372036854775808", Value::BigInt("9223372036854775808".into())),
        ("-123456789012345678901N", Value::BigInt("-123456789012345678901".into())),
        ("1.5", Value::Float(1.5)),
        ("-1e3", Value::Float(-1000.0)),
        ("-0.0", Value::Float(-0.0)),
        ("##Inf", Value::Float(f64::INFINITY)),
        ("##-Inf", Value::Float(f64::NEG_INFINITY)),
        ("##NaN", Value::Float(f64::NAN)),
        ("\"\"", Value::string("")),
        ("\"a \\\"\\\\\\n\\t\\r\\b\\f ü\"", Value::string("a \"\\\n\t\r\u{8}\u{c} ü")),
        ("\"\\u00fc\\uD83E\\uDE93\"", Value::string("ü🪓")),
        (":a", Value::keyword("a")),
        (":jepsen.nemesis/start!", Value::keyword("jepsen.nemesis/start!")),
        (":0", Value::keyword("0")),
        ("a.b/c'", Value::Symbol("a.b/c'".into())),
        ("-", Value::Symbol("-".into())),
        ("->x", Value::Symbol("->x".into())),
        ("1/2", Value::Symbol("1/2".into())),
        ("1.5M", Value::Symbol("1.5M".into())),
        ("0x4bd07fe5", Value::Symbol("0x4bd07fe5".into())),
        ("\\a", Value::Char('a')),
        ("\\u", Value::Char('u')),
        ("\\(", Value::Char('(')),
        ("\\\\", Value::Char('\\')),
        ("\\🪓", Value::Char('🪓')),
        ("\\newline", Value::Char('\n')),
        ("\\u0041", Value::Char('A')),
        ("()", Value::list(vec![])),
        ("(1 2)", Value::list(vec![Value::Int(1), Value::Int(2)])),
        ("[1,2]", vector([Value::Int(1), Value::Int(2)])),
        ("[\\a\\b]", vector([Value::Char('a'), Value::Char('b')])),
        ("[:a:b]", vector([Value::keyword("a:b")])),
        ("#{1}", Value::set(vec![Value::Int(1)])),
        (
            "{:a 1, 2 nil}",
            Value::map(vec![(Value::keyword("a"), Value::Int(1)), (Value::Int(2), Value::Nil)]),
        ),
        ("#:n{:a 1}", Value::map(vec![(Value::keyword("n/a"), Value::Int(1))])),
        ("#:n{:_/a 1}", Value::map(vec![(Value::keyword("a"), Value::Int(1))])),
        ("#:n{:m/a 1}", Value::map(vec![(Value::keyword("m/a"), Value::Int(1))])),
        ("#inst \"2026\"", Value::tagged("inst", Value::string("2026"))),
        ("#a.B{}", Value::tagged("a.B", Value::map(vec![]))),
        ("#a #b nil", Value::tagged("a", Value::tagged("b", Value::Nil))),
        (" ; comment\n , 1 ; another", Value::Int(1)),
        ("[1 #_2 3]", vector([Value::Int(1), Value::Int(3)])),
        ("[1 #_ #_ 2 3]", vector([Value::Int(1)])),
        ("[#_[:a #_:b {}]]", vector([])),
    ] {
        assert_eq!(read_value(text), Ok(value), "{text}");
    }
}

#[test]
fn what_is_no_edn_is_refused_and_says_what_was_expected() {
    for (text, expected) in [
        ("", "expected a value or a closing bracket, found the end of the file"),
        ("1 2", "expected a single EDN value"),
        ("[1", "expected a value or a closing bracket, found the end of the file"),
        (")", "expected a value, found `)`"),
        ("[1)", "expected a value, found `)`"),
        ("{1}", "expected the value of the key 1, found `}`"),
        ("\"a", "expected the string that begins here to end with `\"`"),
        ("\"\\x\"", "expected an escape"),
        ("\"\\u12\"", "expected four hexadecimal digits after \\u"),
        ("\"\\ud800\"", "expected a \\u escape that is a character, not half of one"),
        ("\"\\ud800\\u0041\"", "expected a \\u escape that is a character, not half of one"),
        (":", "expected a keyword: a colon and a name"),
        ("::a", "expected a keyword: a colon and a name"),
        ("\\abc", "expected a character"),
        ("\\u+123", "expected a character"),
        ("\\", "expected a character, found the end of the file"),
        ("017", "expected a decimal number without leading zeros, found `017`"),
        ("1a", "expected a number, found `1a`"),
        ("1.5.2", "expected a number, found `1.5.2`"),
        ("##inf", "expected ##NaN, ##Inf or ##-Inf"),
        ("#\"regex\"", "expected a tag, a set, a discard or a symbolic number after `#`"),
        ("#<Object>", "expected a tag"),
        ("#", "expected a tag"),
        ("#a", "found the end of the file"),
        ("#:n [1]", "expected a map, found `[`"),
        ("^:a b", "expected a value, found `^`"),
        ("'a", "expected a value, found `'a`"),
        ("@a", "expected a value, found `@`"),
        ("#_", "found the end of the file"),
    ] {
        let error = read_value(text).expect_err(text);
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn nesting_without_end_is_an_error_and_no_stack_overflow() {
    for open in
        ["[", "(", "{", "{1 ", "#{", "#a ", "#a[", "#_", "#_#_ ", "[#_", "#:a{:b ", "#labrys/tagged [\"a\" "]
    {
        let error = read_value(&open.repeat(300_000)).expect_err(open);
        assert!(error.contains("nested at most 128 deep"), "{open}: {error}");
    }
}

#[test]
fn what_edn_cannot_say_is_written_with_our_tags() {
    for (value, text) in [
        (Value::keyword("a b"), "#labrys/keyword \"a b\""),
        (Value::keyword(""), "#labrys/keyword \"\""),
        (Value::Symbol("nil".into()), "#labrys/symbol \"nil\""),
        (Value::Symbol("12".into()), "#labrys/symbol \"12\""),
        (Value::Symbol("1/2".into()), "1/2"),
        (Value::tagged("a b", Value::Nil), "#labrys/tagged [\"a b\" nil]"),
        (Value::tagged("labrys/keyword", Value::string("a")), "#labrys/tagged [\"labrys/keyword\" \"a\"]"),
        (Value::Char('\u{2003}'), "\\u2003"),
        (Value::Float(1e21), "1e21"),
    ] {
        assert_eq!(value.to_string(), text);
        assert_eq!(read_value(text), Ok(value));
    }
}
