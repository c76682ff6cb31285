import Bytes
import Crypto
import Objects

/// What a bucket's rules let go when.
struct Lifecycle: Sendable {
    /// One rule: which objects, and what happens to them.
    struct Rule: Sendable {
        var id = ""
        var isEnabled = true
        /// Whether it had a filter; else its prefix stands alone, as in the first version of the document.
        var hasFilter = true
        var prefix: [UInt8] = []
        var tags: [(name: String, value: String)] = []
        var sizeAbove: Int64?
        var sizeBelow: Int64?
        var days: Int64?
        /// Unix milliseconds.
        var date: Int64?
        var expiresMarkers = false
        var formerDays: Int64?
        var formerKept: Int?
        var uploadDays: Int64?

        /// Whether it speaks of a version.
        func covers(_ version: ObjectVersion) -> Bool {
            guard version.key.bytes.starts(with: prefix) else { return false }
            if let sizeAbove, version.size <= sizeAbove { return false }
            if let sizeBelow, version.size >= sizeBelow { return false }
            if tags.isEmpty { return true }
            let own = URICoding.query(Substring(version.attributes[Attribute.tags] ?? ""))
            return tags.allSatisfy { tag in own.contains { $0 == tag } }
        }
    }
    private static let rulesMax = 1000
    static let day: Int64 = 86_400_000
    private(set) var rules: [Rule] = []

    /// Reads what a client or this gateway wrote.
    init(_ document: [UInt8]) throws {
        let document = try XMLElement.parse(document, root: "LifecycleConfiguration")
        for element in document.all("Rule") { rules.append(try Self.rule(element)) }
        if rules.isEmpty || rules.count > Self.rulesMax { throw S3Error.malformedXML }
        if Set(rules.map(\.id)).count < rules.count { throw S3Error.invalidArgument("Rule ID must be unique.") }
    }

    private static func rule(_ element: XMLElement) throws -> Rule {
        var rule = Rule()
        rule.id = element.word("ID") ?? ""
        if rule.id.isEmpty { rule.id = Hex.encode(Random.bytes(16)) }
        if rule.id.unicodeScalars.count > 255 {
            throw S3Error.invalidArgument("ID length should not exceed allowed limit of 255")
        }
        switch element.word("Status") {
        case "Enabled": break
        case "Disabled": rule.isEnabled = false
        default: throw S3Error.malformedXML
        }
        for name in ["Transition", "NoncurrentVersionTransition"] where element.child(name) != nil {
            throw S3Error.notImplemented("\(name) of a lifecycle rule")
        }
        switch (element.child("Filter"), element.child("Prefix")) {
        case (.some(let filter), nil): try read(filter, &rule)
        case (nil, .some(let prefix)): (rule.hasFilter, rule.prefix) = (false, prefix.bytes)
        default: throw S3Error.malformedXML
        }
        try readActions(element, &rule)
        return rule
    }

    private static func read(_ filter: XMLElement, _ rule: inout Rule) throws {
        for element in filter.children {
            switch element.name {
            case "And": try read(element, &rule)
            case "Prefix": rule.prefix = element.bytes
            case "Tag":
                guard let name = element.child("Key")?.text, let value = element.child("Value")?.text else {
                    throw S3Error.malformedXML
                }
                rule.tags.append((name, value))
            case "ObjectSizeGreaterThan": rule.sizeAbove = try number(element, from: 0)
            case "ObjectSizeLessThan": rule.sizeBelow = try number(element, from: 1)
            default: throw S3Error.malformedXML
            }
        }
    }

    private static func readActions(_ element: XMLElement, _ rule: inout Rule) throws {
        if let expiration = element.child("Expiration") {
            rule.days = try expiration.child("Days").map { try number($0, from: 1) }
            if let text = expiration.word("Date") {
                guard let date = CivilTime(iso: text), date.seconds % 86_400 == 0 else {
                    throw S3Error.invalidArgument("'Date' must be at midnight GMT")
                }
                rule.date = date.seconds * 1000
            }
            rule.expiresMarkers = expiration.word("ExpiredObjectDeleteMarker") == "true"
            let count = (rule.days == nil ? 0 : 1) + (rule.date == nil ? 0 : 1) + (rule.expiresMarkers ? 1 : 0)
            if count != 1 { throw S3Error.malformedXML }
        }
        if let former = element.child("NoncurrentVersionExpiration") {
            guard let days = former.child("NoncurrentDays") else { throw S3Error.malformedXML }
            rule.formerDays = try number(days, from: 1)
            rule.formerKept = try former.child("NewerNoncurrentVersions").map { Int(try number($0, from: 1)) }
        }
        if let upload = element.child("AbortIncompleteMultipartUpload") {
            guard let days = upload.child("DaysAfterInitiation") else { throw S3Error.malformedXML }
            if !rule.tags.isEmpty {
                throw S3Error.invalidRequest("AbortIncompleteMultipartUpload cannot be specified with Tags.")
            }
            rule.uploadDays = try number(days, from: 1)
        }
        if rule.days == nil, rule.date == nil, !rule.expiresMarkers, rule.formerDays == nil, rule.uploadDays == nil {
            throw S3Error.malformedXML
        }
    }

    private static func number(_ element: XMLElement, from least: Int64) throws -> Int64 {
        guard let number = Int64(element.word) else { throw S3Error.malformedXML }
        // Days that many milliseconds still count.
        if element.name != "ObjectSizeGreaterThan", element.name != "ObjectSizeLessThan", number > Int64(Int32.max) {
            throw S3Error.invalidArgument("'\(element.name)' is too large")
        }
        if number < least { throw S3Error.invalidArgument("'\(element.name)' must be at least \(least)") }
        return number
    }

    /// As it is kept and given back.
    var document: [UInt8] {
        var xml = XMLWriter("LifecycleConfiguration")
        for rule in rules { xml.group("Rule") { Self.write(rule, &$0) } }
        return xml.finished()
    }

    private static func write(_ rule: Rule, _ xml: inout XMLWriter) {
        xml.leaf("ID", rule.id)
        let prefix = String(decoding: rule.prefix, as: UTF8.self)
        if rule.hasFilter {
            let count =
                rule.tags.count + (rule.sizeAbove == nil ? 0 : 1) + (rule.sizeBelow == nil ? 0 : 1)
                + (rule.prefix.isEmpty ? 0 : 1)
            xml.begin("Filter")
            if count > 1 { xml.begin("And") }
            if !rule.prefix.isEmpty || count == 0 { xml.leaf("Prefix", prefix) }
            for tag in rule.tags {
                xml.group("Tag") { xml in
                    xml.leaf("Key", tag.name)
                    xml.leaf("Value", tag.value)
                }
            }
            xml.leaf("ObjectSizeGreaterThan", ifPresent: rule.sizeAbove.map { "\($0)" })
            xml.leaf("ObjectSizeLessThan", ifPresent: rule.sizeBelow.map { "\($0)" })
            if count > 1 { xml.end() }
            xml.end()
        } else {
            xml.leaf("Prefix", prefix)
        }
        xml.leaf("Status", rule.isEnabled ? "Enabled" : "Disabled")
        if rule.days != nil || rule.date != nil || rule.expiresMarkers {
            xml.group("Expiration") { xml in
                xml.leaf("Days", ifPresent: rule.days.map { "\($0)" })
                xml.leaf("Date", ifPresent: rule.date.map { CivilTime.iso(milliseconds: $0) })
                if rule.expiresMarkers { xml.leaf("ExpiredObjectDeleteMarker", "true") }
            }
        }
        if let days = rule.formerDays {
            xml.group("NoncurrentVersionExpiration") { xml in
                xml.leaf("NewerNoncurrentVersions", ifPresent: rule.formerKept.map { "\($0)" })
                xml.leaf("NoncurrentDays", "\(days)")
            }
        }
        if let days = rule.uploadDays {
            xml.group("AbortIncompleteMultipartUpload") { $0.leaf("DaysAfterInitiation", "\(days)") }
        }
    }

    // MARK: When

    /// When something of that age is due: the midnight behind so many days. Where a day is another length (in tests), just so much later.
    static func due(_ since: Int64, _ days: Int64, day: Int64) -> Int64 {
        let moment = since + days * day
        return day == Self.day ? (moment + day - 1) / day * day : moment
    }

    /// When a newest version goes, and by which rule; the earliest.
    func expiration(of version: ObjectVersion, day: Int64 = Self.day) -> (time: Int64, rule: String)? {
        var found: (time: Int64, rule: String)?
        for rule in rules where rule.isEnabled && rule.covers(version) {
            guard let time = rule.date ?? rule.days.map({ Self.due(version.modified, $0, day: day) }) else { continue }
            if time < found?.time ?? .max { found = (time, rule.id) }
        }
        return found
    }

    /// Whether a former version is due: `since` when it was replaced, `rank` how many former ones are newer.
    func letsGo(_ version: ObjectVersion, since: Int64, rank: Int, now: Int64, day: Int64) -> Bool {
        rules.contains { rule in
            guard rule.isEnabled, let days = rule.formerDays, rule.covers(version) else { return false }
            return rank >= rule.formerKept ?? 0 && Self.due(since, days, day: day) <= now
        }
    }

    /// Whether a delete marker that hides nothing any more is due.
    func letsGo(marker version: ObjectVersion, now: Int64, day: Int64) -> Bool {
        rules.contains { rule in
            guard rule.isEnabled, rule.covers(version) else { return false }
            if rule.expiresMarkers { return true }
            return (rule.date ?? rule.days.map { Self.due(version.modified, $0, day: day) }).map { $0 <= now } ?? false
        }
    }

    /// Whether an upload is due.
    func letsGo(_ upload: Upload, now: Int64, day: Int64) -> Bool {
        rules.contains { rule in
            guard rule.isEnabled, let days = rule.uploadDays, upload.key.bytes.starts(with: rule.prefix) else {
                return false
            }
            return Self.due(upload.started, days, day: day) <= now
        }
    }
}
