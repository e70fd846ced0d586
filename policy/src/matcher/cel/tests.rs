use super::*;

fn compile(text: &str) -> Result<Expression, String> {
    Expression::compile(text, &Arc::new(Env::stdlib()))
}

#[test]
fn accepted() {
    for (text, uses) in [
        ("port == 443", 0),
        ("name.endsWith(\".io\") && port in [80, 443]", Uses::NAME),
        (
            "request.method == \"GET\" && request.path.startsWith(\"/a\")",
            Uses::REQUEST,
        ),
        ("has(request.headers.authorization)", Uses::REQUEST),
        ("request.headers.exists(h, h == \"x-a\")", Uses::REQUEST),
        (
            "response.status >= 500 || tls.version == \"1.3\"",
            Uses::RESPONSE | Uses::TLS,
        ),
        ("workload.labels[\"app\"] == \"billing\"", Uses::WORKLOAD),
        ("name.matches(\"^a+$\")", Uses::NAME),
    ] {
        assert_eq!(
            compile(text).map(|found| found.uses),
            Ok(Uses(uses)),
            "{text}"
        );
    }
}

#[test]
fn refused() {
    let long = format!("port == 1{}", " || port == 1".repeat(200));
    let deep = format!("{}port == 1{}", "(".repeat(60), ")".repeat(60));
    for (text, message) in [
        ("", "cannot be parsed"),
        ("port ==", "cannot be parsed"),
        ("user == 1", "there is no variable \"user\""),
        ("frob(name)", "the function \"frob\" is not available"),
        ("name.matches(name)", "literal pattern"),
        (
            "request.headers.all(a, request.headers.all(b, request.headers[a] == request.headers[b]))",
            "may cost",
        ),
        (&long, "at most 2048"),
        (&deep, "nested deeper"),
    ] {
        let error = compile(text).map(|_| ()).unwrap_err();
        assert!(error.contains(message), "{text}: {error}");
    }
}

fn cost(text: &str) -> Result<(u64, u64, u64), String> {
    let program = Env::stdlib().compile(text).unwrap();
    let mut estimate = Estimate {
        uses: Uses::default(),
        bound: Vec::new(),
    };
    estimate
        .of(program.expression(), 0)
        .map(|found| (found.cost, found.size, found.entry))
}

/// Every way of growing has its price; a cheaper estimate would let an expression through that is too slow.
#[test]
fn estimates() {
    for (text, expected) in [
        ("name", (1, 253, 253)),
        ("port", (1, 1, 1)),
        ("\"abc\"", (1, 3, 3)),
        ("b\"abcd\"", (1, 4, 4)),
        ("7", (1, 1, 1)),
        ("request.path", (3, 65_536, 65_536)),
        ("request.headers", (3, 256, 65_536)),
        ("request.headers[\"a\"]", (7, 65_536, 65_536)),
        ("[\"abc\", name]", (3, 2, 253)),
        ("{\"abc\": name}", (3, 1, 253)),
        ("name == \"abc\"", (259, 1, 1)),
        ("!(port == 1)", (7, 1, 1)),
        ("port - 1", (4, 1, 1)),
        ("name.contains(\"abc\")", (515, 1, 1)),
        ("name in [\"abc\", \"abcd\"]", (13, 1, 1)),
        ("name in request.headers", (16_389, 1, 1)),
        ("string(port)", (3, 24, 1)),
        ("string(name)", (255, 253, 1)),
        ("name + \"abc\"", (259, 256, 253)),
        ("port == 1 ? name : \"abc\"", (8, 253, 253)),
        ("name.matches(\"a\")", (101_019, 1, 1)),
    ] {
        assert_eq!(cost(text), Ok(expected), "{text}");
    }
    // A loop costs its rounds, and all entries of a head are no larger than the head.
    let (loops, ..) = cost("request.headers.exists(h, h == \"abc\")").unwrap();
    assert!((256 * 256..256 * 600).contains(&loops), "{loops}");
    let (nested, ..) =
        cost("request.headers.exists(h, workload.labels.exists(l, l == h))").unwrap();
    assert!(nested > 256 * 256 * 256, "{nested}");
}

#[test]
fn limits_are_exact() {
    let padded = |length: usize| format!("port == 1{}", " ".repeat(length - 9));
    assert!(compile(&padded(MAX_TEXT)).is_ok());
    assert!(compile(&padded(MAX_TEXT + 1)).is_err());
    let bracketed = |depth: usize| format!("{}port == 1{}", "(".repeat(depth), ")".repeat(depth));
    assert!(compile(&bracketed(40)).is_ok());
    assert!(compile(&bracketed(41)).is_err());
    // One comparison inside thirty operations has 32 levels.
    let sum = |terms: usize| format!("port{} == 1", " + 0".repeat(terms));
    assert!(compile(&sum(30)).is_ok());
    let error = compile(&sum(31)).map(|_| ()).unwrap_err();
    assert!(error.contains("more than 32 operations"), "{error}");
    // What would exhaust an ordinary stack is refused before it is parsed.
    let conditional = "port == 1 ? true : ".repeat(100) + "false";
    let error = compile(&conditional).map(|_| ()).unwrap_err();
    assert!(error.contains("nested deeper than 40"), "{error}");
    let pattern = |length: usize| format!("name.matches(\"{}\")", "a".repeat(length));
    assert!(compile(&pattern(MAX_REGEX)).is_ok());
    assert!(compile(&pattern(MAX_REGEX + 1)).is_err());
    // 100,000 and four for each byte of name and pattern: the twentieth is too many.
    let several = |count: usize| vec!["name.matches(\"a\")"; count].join(" || ");
    assert!(compile(&several(19)).is_ok());
    assert!(compile(&several(20)).unwrap_err().contains("may cost"));
}

#[test]
fn nesting_counts_brackets_and_unary_operators() {
    for (text, expected) in [
        ("a", 0),
        ("(a)", 1),
        ("(a) + (b)", 1),
        ("([{a}])", 3),
        ("!!a", 2),
        ("! - !a", 3),
        ("!a || !b", 1),
        ("(!(!a))", 4),
        (")(", 1),
        ("a ? b : (c)", 2),
        ("a ? b : c ? d : e", 2),
    ] {
        assert_eq!(nesting(text), expected, "{text}");
    }
}

#[test]
fn uses_by_what_they_are_for() {
    let uses = |text: &str| compile(text).unwrap().uses();
    for (text, content, workload) in [
        ("port == 1", false, false),
        ("name == \"a\" || tls.sni == \"a\"", false, false),
        ("workload.name == \"a\"", false, true),
        ("request.method == \"GET\"", true, false),
        ("response.status == 200", true, false),
        (
            "response.status == 200 && request.method == \"GET\"",
            true,
            false,
        ),
    ] {
        let found = uses(text);
        assert_eq!(
            (found.needs_content(), found.needs_workload()),
            (content, workload),
            "{text}"
        );
    }
}

#[test]
fn messages_are_one_line_and_show_what_was_written() {
    let error = compile("port ==\n\n  ").map(|_| ()).unwrap_err();
    assert!(error.starts_with("the expression cannot be parsed: "));
    assert!(error.len() > 40 && !error.contains('\n'), "{error}");
    assert_eq!(
        format!("{:?}", compile("port == 1").unwrap()),
        "Expression(\"port == 1\")"
    );
    assert_eq!(length(None), Value::Int(-1));
    assert_eq!(length(Some(7)), Value::Int(7));
    assert_eq!(length(Some(u64::MAX)), Value::Int(i64::MAX));
}
