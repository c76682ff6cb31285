import Testing

@testable import Service

private let options: [Option] = [
    .required("state", "folder"), .integer("port", "port", default: 80, in: 1...65535), .flag("quick", "be quick"),
    .list("peer", "peers"), .choice("level", "level", of: ["low", "high"], default: "low"), .text("config", "file"),
    .text("name", "a name"),
]

private func read(
    _ arguments: [String], _ environment: [String: String] = [:], file: String = ""
) throws(SettingsError) -> Settings {
    try Settings(options: options, arguments: arguments, environment: environment, prefix: "ZERO_TOY_") { _ in file }
}

@Test func flagsWinOverEnvironmentOverFileOverDefault() throws {
    let file = "# comment\nport = 4  # four\n\n name=a b # c\nlevel = high\npeer = x\npeer = y#z\n"
    let settings = try read(
        ["--state", "/s", "--config=/f", "--level", "low"], ["ZERO_TOY_PORT": "5", "HOME": "/"], file: file)
    #expect(settings.text("state") == "/s")
    #expect(settings.integer("port") == 5)
    #expect(settings.text("name") == "a b")
    #expect(settings.text("level") == "low")
    #expect(settings.list("peer") == ["x", "y#z"])
    #expect(!settings.isOn("quick"))
    #expect(try read(["--state=/s"], file: file).integer("port") == 80)
    #expect(try read(["--state=/s", "--quick"]).isOn("quick"))
    #expect(settings.printed().contains("port = 5  # environment\n"))
    #expect(settings.printed().contains("level = low  # flag\n"))
    #expect(settings.printed().contains("quick = no  # default\n"))
    let again = try read(["--config=/f"], file: settings.printed())
    #expect(again.printed().filter { !$0.isLetter } == settings.printed().filter { !$0.isLetter })
}

private let wrong: [([String], [String: String], String, String)] = [
    ([], [:], "", "--state is missing: folder"),
    (["--stat", "x"], [:], "", "unknown option “--stat”; did you mean “--state”?"),
    (["--state"], [:], "", "--state needs a value"),
    (["--state=a", "--state=b"], [:], "", "--state is given twice"),
    (["--state=a", "--port=0"], [:], "", "--port is 0; between 1 and 65535"),
    (["--state=a", "--port=x"], [:], "", "--port is “x”, which is no whole number"),
    (["--state=a", "--level=mid"], [:], "", "--level is “mid”; say one of low, high"),
    (["--state=a", "extra"], [:], "", "unexpected argument “extra”"),
    (
        ["--state=a"], ["ZERO_TOY_PROT": "1"], "",
        "unknown environment variable “ZERO_TOY_PROT”; did you mean “ZERO_TOY_PORT”?"
    ),
    (["--state=a", "--config=f"], [:], "port 3\n", "f line 1: “port 3” is not “key = value”"),
    (["--state=a", "--config=f"], [:], "\nprot = 3\n", "unknown key in f line 2 “prot”; did you mean “port”?"),
    (["--state=a", "--config=f"], [:], "quick = 1\n", "f line 1: quick is “1”; say yes or no"),
]

@Test(arguments: wrong) func wrongSettingsAreNamed(_ sample: ([String], [String: String], String, String)) {
    let error = #expect(throws: SettingsError.self) { try read(sample.0, sample.1, file: sample.2) }
    #expect(error?.description == sample.3)
}

@Test func aLogLineIsOneLine() {
    let log = Log(service: "toy")
    let line = log.line(.info, "started", [("a", "1"), ("b", "x y\n\"q\""), ("c", "")], time: "T")
    #expect(line == "T info toy started a=1 b=\"x y\\n\\\"q\\\"\" c=\"\"\n")
    let json = Log(service: "toy", isJSON: true).line(.warn, "e", [("a", "1\n")], time: "T")
    #expect(json == #"{"a":"1\n","event":"e","level":"warn","service":"toy","time":"T"}"# + "\n")
    #expect(Log.timestamp().count == 24)
    #expect(Log.quoted(String(repeating: "x", count: 5000)).utf8.count < 1100)
}

@Test func metricsArePrometheusText() {
    let metrics = Metrics()
    metrics.counter("toys_total", "Toys.", ["kind": "a\"b"]).add(2)
    metrics.counter("toys_total", "Toys.", ["kind": "a\"b"]).add()
    metrics.gauge("size").set(-4)
    let text = metrics.text()
    #expect(text.contains("# HELP toys_total Toys.\n# TYPE toys_total counter\ntoys_total{kind=\"a\\\"b\"} 3\n"))
    #expect(text.contains("# TYPE size gauge\nsize -4\n"))
    #expect(text.contains("process_resident_memory_bytes "))
}
