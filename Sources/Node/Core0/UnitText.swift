import CanonicalJSON

/// The text format of unit files and of `settings.conf`: one `key = value` a line; see `Documentation/formats/units.md`.
struct UnitText {
    struct Entry {
        let key: String
        let value: String
        let line: Int
    }

    let subject: String
    private(set) var entries: [Entry] = []

    init(_ bytes: [UInt8], subject: String) throws(UnitError) {
        self.subject = subject
        guard bytes.count <= Limits.unitBytesMax else {
            throw UnitError(subject, "longer than \(Limits.unitBytesMax) bytes")
        }
        guard let text = String(validating: bytes, as: UTF8.self) else { throw UnitError(subject, "not UTF-8") }
        var seen: [String: Int] = [:]
        for (index, raw) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let number = index + 1
            let line = UnitText.trim(raw)
            if line.isEmpty || line.hasPrefix("#") { continue }
            guard let equals = line.firstIndex(of: "=") else {
                throw UnitError(subject, line: number, "“key = value” was expected")
            }
            let key = UnitText.trim(line[..<equals])
            let value = UnitText.trim(line[line.index(after: equals)...])
            guard UnitText.isKey(key) else { throw UnitError(subject, line: number, "“\(key)” is not a key") }
            guard value.unicodeScalars.allSatisfy({ $0.value >= 0x20 && $0.value != 0x7f }) else {
                throw UnitError(subject, line: number, "a control character")
            }
            if let earlier = seen[String(key)] {
                throw UnitError(subject, line: number, "“\(key)” stands twice, first in line \(earlier)")
            }
            seen[String(key)] = number
            entries.append(Entry(key: String(key), value: String(value), line: number))
        }
    }

    static func trim(_ text: Substring) -> Substring {
        var text = text
        while let first = text.first, first == " " || first == "\t" || first == "\r" { text.removeFirst() }
        while let last = text.last, last == " " || last == "\t" || last == "\r" || last == "\r\n" { text.removeLast() }
        return text
    }

    private static func isKey(_ text: Substring) -> Bool {
        guard let first = text.utf8.first, (0x61...0x7a).contains(first), text.utf8.count <= 40 else { return false }
        return text.utf8.allSatisfy { (0x61...0x7a).contains($0) || (0x30...0x39).contains($0) || $0 == 0x5f }
    }
}

extension UnitText.Entry {
    private func refuse(_ subject: String, _ what: String) -> UnitError {
        UnitError(subject, line: line, "“\(key)” must be \(what), not “\(value)”")
    }

    /// Words between spaces; a word in double quotes may hold spaces.
    func words(_ subject: String) throws(UnitError) -> [String] {
        var words: [String] = []
        var word: String?
        var quoted = false
        var escaped = false
        for letter in value {
            if escaped {
                guard letter == "\"" || letter == "\\" else {
                    throw UnitError(subject, line: line, "“\\\(letter)” in “\(key)” is not an escape")
                }
                word?.append(letter)
                escaped = false
            } else if quoted, letter == "\\" {
                escaped = true
            } else if letter == "\"" {
                quoted.toggle()
                word = word ?? ""
            } else if !quoted, letter == " " || letter == "\t" {
                if let done = word { words.append(done) }
                word = nil
            } else {
                word = (word ?? "") + String(letter)
            }
        }
        guard !quoted else { throw UnitError(subject, line: line, "a quote in “\(key)” does not end") }
        if let done = word { words.append(done) }
        return words
    }

    /// One of a few words.
    func choice<Value>(_ subject: String, _ choices: [(String, Value)]) throws(UnitError) -> Value {
        if let found = choices.first(where: { $0.0 == value }) { return found.1 }
        throw refuse(subject, choices.map(\.0).joined(separator: ", "))
    }

    /// A number with one of the units, or the bare number where `bare` is a unit.
    private func quantity(
        _ subject: String, _ units: [(String, UInt64)], bare: UInt64?, _ what: String
    ) throws(UnitError) -> UInt64 {
        let digits = value.prefix { $0.isASCII && $0.isNumber }
        let unit = String(UnitText.trim(value[digits.endIndex...]))
        let factor = unit.isEmpty ? bare : units.first { $0.0 == unit }?.1
        guard let number = UInt64(digits), let factor else { throw refuse(subject, what) }
        let (result, overflow) = number.multipliedReportingOverflow(by: factor)
        guard !overflow, result > 0, result <= UInt64(Int64.max) else { throw refuse(subject, what) }
        return result
    }

    /// Nanoseconds, at most a day.
    func duration(_ subject: String) throws(UnitError) -> UInt64 {
        let what = "a duration such as “250 ms”, “30 s” or “5 min”, at most a day"
        let units = [("ms", Time.millisecond), ("s", Time.second), ("min", 60 * Time.second)]
        let found = try quantity(subject, units, bare: nil, what)
        guard found <= 86_400 * Time.second else { throw refuse(subject, what) }
        return found
    }

    /// Bytes.
    func size(_ subject: String) throws(UnitError) -> UInt64 {
        let units: [(String, UInt64)] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)]
        return try quantity(subject, units, bare: 1, "a size such as “512 KiB” or “4 MiB”")
    }

    /// A plain number.
    func number(_ subject: String, _ range: ClosedRange<UInt64>) throws(UnitError) -> UInt64 {
        guard let number = UInt64(value), range.contains(number) else {
            throw refuse(subject, "a number from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }
}
